"""Pretrained weights from the hub, a file or another run: loaded in full for the backbone, or refused."""

from __future__ import annotations

import difflib
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from bunryu.core.errors import ModelError, some
from bunryu.models.build import Library, build, classifier_prefixes, find, libraries_with, torchvision_names
from bunryu.models.classifier import Classifier
from bunryu.models.lazy_imports import import_timm, import_torchvision_models
from bunryu.models.record import Architecture
from bunryu.models.weights_file import Held, State, read_state
from bunryu.models.weights_fit import Fit, choose, readings, remark, require_numbers


@dataclass(frozen=True)
class Loaded:
    """What was loaded from where, for the echo and the model's provenance."""

    source: str
    loaded: int
    left_out: list[str]
    remark: str = ""
    """What else the file held, and how to take that."""

    def told(self) -> str:
        """Say it in a sentence."""
        if not self.loaded:
            return self.source
        rest = f"; left out, as the head is new: {some(self.left_out, 4)}" if self.left_out else ""
        return f"{self.source}: all {self.loaded} tensors of the backbone loaded{rest}{self.remark}"


def choose_library(name: str, path: Path) -> str:
    """Return the prefixed name for a bare `name` that two libraries know: the one whose naming the file has."""
    candidates = libraries_with(name) if "/" not in name else []
    if len(candidates) < 2:
        return name
    held = read_state(path)
    return next((candidate for candidate in candidates if _matches(candidate, held)), name)


def load_file_into(net: Classifier, architecture: Architecture, path: Path, *, averaged: bool = False) -> Loaded:
    """Load a file's backbone into `net`; its classifier, if any, is left out.

    Of a file that holds the network twice, the weights themselves and their average (EMA), `averaged` says which.

    Raises:
        ModelError: a key of the backbone is missing, extra, or of another shape (the net the file fits is named); a
            value is quantised or no number; or it cannot be told which of several networks in it is meant.
    """
    library, bare = find(architecture.name)
    own = architecture.own
    head = (f"{own.head}.",) if own else classifier_prefixes(library, bare)
    target = net.backbone.state_dict()
    found = readings(read_state(path), target, head, lambda state: _mended(library, bare, state, net.backbone))
    whole = [reading for reading in found if reading.fit.whole]
    if not whole:
        raise _misfit(architecture.name, path, found[0].held, found[0].state, target, found[0].fit)
    chosen = choose(whole, averaged, path)
    wanted = {key: chosen.state[key] for key in target if key in chosen.state}
    require_numbers(wanted, target, path)
    net.load_state_dict({f"backbone.{key}": value for key, value in wanted.items()}, strict=False)
    return Loaded(str(path), len(wanted), *remark(chosen, whole))


def _mended(library: Library, bare: str, state: State, backbone: nn.Module) -> State:
    """Let the library bring tensors of an older naming, or positions of another input size, to the net's."""
    try:
        if library == "timm":
            mend = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
            return dict(mend(dict(state), backbone)) if mend else state
        if bare.startswith("vit_"):
            from torchvision.models.vision_transformer import interpolate_embeddings

            return dict(interpolate_embeddings(backbone.image_size, backbone.patch_size, dict(state)))
    except Exception:  # made for files that fit; the misfit as it was says more
        return state
    return state


def _misfit(
    name: str, path: Path, held: Held, state: State, target: Mapping[str, torch.Tensor], fit: Fit
) -> ModelError:
    parts = []
    if fit.missing:
        parts.append(f"{len(fit.missing)} of {len(target)} tensors are missing ({some(fit.missing, 3)})")
    if fit.extra:
        parts.append(f"{len(fit.extra)} are not of this model ({some(fit.extra, 3)})")
    if fit.shapes:
        key = fit.shapes[0]
        parts.append(
            f"{len(fit.shapes)} have another shape ({key}: expected {list(target[key].shape)}, "
            f"received {list(state[key].shape)})"
        )
    other = None if name.startswith("own/") else _recognise(name, path.stem, held)
    hint = f" The file fits {other}: model.name={other}" if other else " Give the file that was made for this model."
    return ModelError(f"model.weights: {path} does not fit {name}: {'; '.join(parts)}. Nothing was loaded.{hint}")


def _recognise(name: str, stem: str, held: Held) -> str | None:
    """Find the model that the file fits: any of torchvision, and those of timm with a name like the model's or file's.

    The nearest names come first, for building all of them takes some seconds.
    """
    timm = import_timm()
    models = import_torchvision_models()

    numbers = sum(value.numel() for value in held.tensors.values())

    def near_in_size(bare: str) -> bool:
        return 0.4 < numbers / int(models.get_model_weights(bare).DEFAULT.meta["num_params"]) < 2.5

    words = [name.rpartition("/")[2].split(".")[0], stem]
    known = [(f"torchvision/{n}", n) for n in torchvision_names() if near_in_size(n)]
    alike = {n for word in words for n in difflib.get_close_matches(word, timm.list_models(), n=8, cutoff=0.5)}
    known += [(f"timm/{n}", n) for n in sorted(alike)]

    def likeness(bare: str) -> float:
        return max(difflib.SequenceMatcher(None, bare, word).ratio() for word in words)

    candidates = [full for full, _ in sorted(known, key=lambda pair: -likeness(pair[1])) if full != name]
    return next((candidate for candidate in candidates if _matches(candidate, [held])), None)


def _matches(name: str, held: Sequence[Held]) -> bool:
    library, bare = find(name)
    try:
        with torch.device("meta"):
            backbone = build(Architecture(name=name), 2).backbone
    except ModelError:  # a few cannot be built without their numbers
        return False
    head = classifier_prefixes(library, bare)
    return readings(held, backbone.state_dict(), head, lambda state: state)[0].fit.whole
