"""Pretrained weights from the hub, a file or another run: loaded in full for the backbone, or refused."""

from __future__ import annotations

import difflib
import pickle
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bunryu.core.errors import ModelError, some
from bunryu.models.build import Library, build, classifier_prefixes, find, libraries_with, torchvision_names
from bunryu.models.classifier import Classifier
from bunryu.models.lazy_imports import import_timm, import_torchvision_models
from bunryu.models.record import Architecture

State = dict[str, torch.Tensor]
_WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema", "state_dict_ema", "params")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.")
_OLD_NAMES = (  # in torchvision's own files: DenseNet's and ViT's
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)


@dataclass(frozen=True)
class Loaded:
    """What was loaded from where, for the echo and the model's provenance."""

    source: str
    loaded: int
    left_out: list[str]

    def told(self) -> str:
        """Say it in a sentence."""
        if not self.loaded:
            return self.source
        rest = f"; left out, as the head is new: {some(self.left_out, 4)}" if self.left_out else ""
        return f"{self.source}: all {self.loaded} tensors of the backbone loaded{rest}"


@dataclass(frozen=True)
class _Fit:
    """How a file's tensors lie over a backbone's."""

    missing: list[str]
    extra: list[str]
    shapes: list[str]
    left_out: list[str]

    @property
    def whole(self) -> bool:
        return not (self.missing or self.extra or self.shapes)


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a plain state dict of tensors from .safetensors, or from .pth/.pt/.bin with weights_only.

    Raises:
        ModelError: the file is damaged, holds code, or holds no tensors.
    """
    from safetensors.torch import load_file

    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        more = re.search(r"GLOBAL (\S+)", str(error)) if isinstance(error, pickle.UnpicklingError) else None
        code = f"it holds more than tensors ({more[1]}), which could run code" if more else ""
        why = code or f"it is damaged ({_said(error)})"
        raise ModelError(
            f"model.weights: cannot read {path}: {why}. Expected a plain state dict: "
            "torch.save(model.state_dict(), FILE), or safetensors."
        ) from None
    for wrapper in _WRAPPERS:
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    tensors = {str(k): v for k, v in state.items() if isinstance(v, torch.Tensor)} if isinstance(state, Mapping) else {}
    if not tensors:
        raise ModelError(f"model.weights: {path} holds no tensors by name. Expected a state dict.")
    return tensors


def choose_library(name: str, path: Path) -> str:
    """Return the prefixed name for a bare `name` that two libraries know: the one whose naming the file has."""
    candidates = libraries_with(name) if "/" not in name else []
    if len(candidates) < 2:
        return name
    state = read_state(path)
    return next((candidate for candidate in candidates if _matches(candidate, state)), name)


def load_file_into(net: Classifier, architecture: Architecture, path: Path) -> Loaded:
    """Load a file's backbone into `net`; its classifier, if any, is left out.

    Raises:
        ModelError: a key of the backbone is missing, extra, or of another shape; the net the file fits is named.
    """
    library, bare = find(architecture.name)
    own = architecture.own
    head = (f"{own.head}.",) if own else classifier_prefixes(library, bare)
    state = _named(read_state(path), net.backbone)
    target = net.backbone.state_dict()
    fit = _compare(state, target, head)
    if not fit.whole:
        mended = _mended(library, bare, state, net.backbone)
        if (other := _compare(mended, target, head)).whole:
            state, fit = mended, other
    if not fit.whole:
        raise _misfit(architecture.name, path, state, target, fit)
    wanted = {f"backbone.{key}": state[key] for key in target if key in state}
    net.load_state_dict(wanted, strict=False)
    return Loaded(str(path), len(wanted), fit.left_out)


def _compare(state: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor], head: tuple[str, ...]) -> _Fit:
    left_out = [key for key in state if key not in target]
    return _Fit(
        missing=[key for key in target if key not in state and not key.endswith("num_batches_tracked")],
        extra=[key for key in left_out if not key.startswith(head)],
        shapes=[key for key in target if key in state and state[key].shape != target[key].shape],
        left_out=left_out,
    )


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
    name: str, path: Path, state: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor], fit: _Fit
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
    other = None if name.startswith("own/") else _recognise(name, path.stem, state)
    hint = f" The file fits {other}: model.name={other}" if other else " Give the file that was made for this model."
    return ModelError(f"model.weights: {path} does not fit {name}: {'; '.join(parts)}. Nothing was loaded.{hint}")


def _recognise(name: str, stem: str, state: Mapping[str, torch.Tensor]) -> str | None:
    """Find the model that the file fits: any of torchvision, and those of timm with a name like the model's or file's.

    The nearest names come first, for building all of them takes some seconds.
    """
    timm = import_timm()
    models = import_torchvision_models()

    numbers = sum(value.numel() for value in state.values())

    def near_in_size(bare: str) -> bool:
        return 0.4 < numbers / int(models.get_model_weights(bare).DEFAULT.meta["num_params"]) < 2.5

    words = [name.rpartition("/")[2].split(".")[0], stem]
    known = [(f"torchvision/{n}", n) for n in torchvision_names() if near_in_size(n)]
    alike = {n for word in words for n in difflib.get_close_matches(word, timm.list_models(), n=8, cutoff=0.5)}
    known += [(f"timm/{n}", n) for n in sorted(alike)]

    def likeness(bare: str) -> float:
        return max(difflib.SequenceMatcher(None, bare, word).ratio() for word in words)

    candidates = [full for full, _ in sorted(known, key=lambda pair: -likeness(pair[1])) if full != name]
    return next((candidate for candidate in candidates if _matches(candidate, state)), None)


def _matches(name: str, state: Mapping[str, torch.Tensor]) -> bool:
    library, bare = find(name)
    try:
        with torch.device("meta"):
            backbone = build(Architecture(name=name), 2).backbone
    except ModelError:  # a few cannot be built without their numbers
        return False
    return _compare(_named(dict(state), backbone), backbone.state_dict(), classifier_prefixes(library, bare)).whole


def _named(state: State, backbone: nn.Module) -> State:
    """Take off a prefix that wrappers put before every key, and mend old names, where that makes keys fit."""
    wanted = set(backbone.state_dict())
    for _ in range(3):
        prefix = next((p for p in _PREFIXES if any(key.startswith(p) for key in state)), None)
        if prefix is None or wanted & set(state):
            break
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return {_new_name(key, wanted): value for key, value in state.items()}


def _new_name(key: str, wanted: set[str]) -> str:
    if key in wanted:
        return key
    renamed = key
    for old, new in _OLD_NAMES:
        renamed = old.sub(new, renamed)
    return renamed if renamed in wanted else key


def _said(error: Exception) -> str:
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    return (text or type(error).__name__).splitlines()[0].split(". ")[0][:160]
