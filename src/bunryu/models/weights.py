"""Pretrained weights from the hub, a file or another run: loaded in full for the backbone, or refused."""

from __future__ import annotations

import difflib
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn

from bunryu.errors import ModelError, some
from bunryu.models.build import (
    Architecture,
    Classifier,
    build,
    classifier_prefixes,
    find,
    libraries_with,
    torchvision_names,
)

WEIGHT_SUFFIXES = (".safetensors", ".pth", ".pt", ".bin")
_WRAPPERS = ("state_dict", "model_state_dict", "model", "model_ema", "state_dict_ema", "params")
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "net.")


@dataclass(frozen=True)
class Loaded:
    """What was loaded from where, for the echo and the model's provenance."""

    source: str
    loaded: int
    left_out: list[str]

    def told(self) -> str:
        """Say it in a sentence."""
        rest = f"; left out, as the head is new: {some(self.left_out, 4)}" if self.left_out else ""
        return f"weights: {self.source}: all {self.loaded} tensors of the backbone loaded{rest}"


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read a plain state dict of tensors from .safetensors, or from .pth/.pt/.bin with weights_only.

    Raises:
        ModelError: the file is damaged, holds code, or holds no tensors.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: Any = load_file(path) if path.suffix == ".safetensors" else torch.load(path, "cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        why = "it holds more than tensors, which could run code" if isinstance(error, pickle.UnpicklingError) else error
        raise ModelError(
            f"model.weights: cannot read {path}: {str(why).splitlines()[0]}. "
            "Expected a plain state dict: torch.save(model.state_dict(), FILE), or safetensors."
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
    state = _stripped(read_state(path), net.backbone)
    head = classifier_prefixes(library, bare)
    if architecture.channels == 1:
        _sum_first_convolution(state, net.backbone)
    target = net.backbone.state_dict()
    left_out = [key for key in state if key not in target]
    extra = [key for key in left_out if not key.startswith(head)]
    missing = [key for key in target if key not in state and not key.endswith("num_batches_tracked")]
    shapes = [key for key in target if key in state and state[key].shape != target[key].shape]
    if missing or extra or shapes:
        raise _misfit(architecture.name, path, state, target, missing, extra, shapes)
    net.backbone.load_state_dict({key: state[key] for key in target if key in state}, strict=False)
    return Loaded(str(path), sum(key in state for key in target), left_out)


def _misfit(
    name: str,
    path: Path,
    state: Mapping[str, torch.Tensor],
    target: Mapping[str, torch.Tensor],
    missing: list[str],
    extra: list[str],
    shapes: list[str],
) -> ModelError:
    parts = []
    if missing:
        parts.append(f"{len(missing)} of {len(target)} tensors are missing ({some(missing, 3)})")
    if extra:
        parts.append(f"{len(extra)} are not of this model ({some(extra, 3)})")
    if shapes:
        key = shapes[0]
        parts.append(
            f"{len(shapes)} have another shape ({key}: expected {list(target[key].shape)}, "
            f"received {list(state[key].shape)})"
        )
    other = _recognise(name, state)
    hint = f" The file fits {other}: model.name={other}" if other else " Give the file that was made for this model."
    return ModelError(f"model.weights: {path} does not fit {name}: {'; '.join(parts)}. Nothing was loaded.{hint}")


def _recognise(name: str, state: Mapping[str, torch.Tensor]) -> str | None:
    """Find the model that the file fits: any of torchvision, and those of timm with a name alike."""
    import timm

    bare = name.rpartition("/")[2].split(".")[0]
    alike = difflib.get_close_matches(bare, timm.list_models(), n=12, cutoff=0.4)
    ordered = difflib.get_close_matches(bare, torchvision_names(), n=200, cutoff=0.0)
    candidates = [*(f"torchvision/{n}" for n in ordered), *(f"timm/{n}" for n in alike)]
    return next((candidate for candidate in candidates if candidate != name and _matches(candidate, state)), None)


def _matches(name: str, state: Mapping[str, torch.Tensor]) -> bool:
    library, bare = find(name)
    with torch.device("meta"):
        try:
            backbone = build(Architecture(name=name), 2).backbone
        except ModelError:
            return False
    stripped = _stripped(dict(state), backbone)
    target = backbone.state_dict()
    head = classifier_prefixes(library, bare)
    fits = all(
        (key in stripped and stripped[key].shape == value.shape) or key.endswith("num_batches_tracked")
        for key, value in target.items()
    )
    return fits and all(key in target or key.startswith(head) for key in stripped)


def _stripped(state: dict[str, torch.Tensor], backbone: nn.Module) -> dict[str, torch.Tensor]:
    """Take off a prefix that wrappers put before every key, where that makes keys fit."""
    wanted = set(backbone.state_dict())
    for _ in range(3):
        if wanted & set(state):
            return state
        prefix = next((p for p in _PREFIXES if any(key.startswith(p) for key in state)), None)
        if prefix is None:
            return state
        state = {key.removeprefix(prefix): value for key, value in state.items()}
    return state


def _sum_first_convolution(state: dict[str, torch.Tensor], backbone: nn.Module) -> None:
    """Make the file's first convolution take one grey channel, as `to_grey` did to the net."""
    for name, module in backbone.named_modules():
        if isinstance(module, nn.Conv2d):
            key = f"{name}.weight"
            if module.in_channels == 1 and key in state and state[key].shape[1] == 3:
                state[key] = state[key].sum(dim=1, keepdim=True)
            return
