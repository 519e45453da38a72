"""augment.ops as one change of a picture: the same for the same seed, in whatever thread it runs."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from typing import Any, TypeAlias

import numpy as np
import torch

from bunryu.core.errors import ConfigError
from bunryu.data.augment import albumentations_ops, torchvision_ops
from bunryu.data.images.decode import Pixels, fit
from bunryu.settings.augment import AugmentSettings
from bunryu.settings.augment_ops import OPERATIONS, operation
from bunryu.settings.data import InputSpec
from bunryu.settings.validate import replaced

Change: TypeAlias = Callable[[Pixels, int], Pixels]
"""Pixels (H, W, C) and a seed -> pixels of the input's size."""
_Step: TypeAlias = Callable[[Any], Any]
_PICTURES = 4
"""How many pictures each operation is tried on before a run begins."""


def pipeline(augment: AugmentSettings, input: InputSpec) -> Change:
    """Return what augment.ops do to a picture, which may be run by several threads at once.

    What comes out in another size than the input's is fitted to it (`input.fit`).

    Raises:
        ConfigError: an operation that the backend does not have or cannot make, or that needs colours.
    """
    plain = replaced(input, {"center_crop": None, "crop_pct": 1.0})
    fill, mean = _whole(input.pad_colour, input), [round(255 * value) for value in input.mean]
    backend = torchvision_ops if augment.backend == "torchvision" else albumentations_ops

    def made() -> list[tuple[str, Any]]:
        return [
            (name, backend.transform(name, given, input, fill, mean))
            for item in augment.ops or []
            for name, given in item.items()
        ]

    if input.channels == "grey":
        _require_no_colours(augment)
    run = _torchvision(made()) if augment.backend == "torchvision" else _albumentations(made)

    def change(pixels: Pixels, seed: int) -> Pixels:
        changed = run(pixels, seed)
        return changed if changed.shape[:2] == (input.height, input.width) else fit(changed, plain)

    return change


def _torchvision(steps: list[tuple[str, Any]]) -> Change:
    def run(pixels: Pixels, seed: int) -> Pixels:
        x = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
        with torch.no_grad(), torchvision_ops.own_draws(seed):
            for name, step in steps:
                x = _done(name, step, x, pixels.shape)
                if not isinstance(x, torch.Tensor) or x.dtype != torch.uint8 or x.shape[:-2] != (pixels.shape[2],):
                    raise _no_picture(name, getattr(x, "dtype", type(x).__name__), list(getattr(x, "shape", [])))
        return np.ascontiguousarray(x.numpy().transpose(1, 2, 0))

    return run


def _albumentations(make: Callable[[], list[tuple[str, Any]]]) -> Change:
    make()  # mistakes are told at once
    own = threading.local()

    def run(pixels: Pixels, seed: int) -> Pixels:
        if not hasattr(own, "steps"):
            own.steps = make()
        draws = np.random.default_rng(seed), random.Random(seed)
        x = pixels
        for name, step in own.steps:
            step.set_random_state(*draws)
            x = _done(name, partial(_of_array, step), x, pixels.shape)
            if x.dtype != np.uint8 or x.shape[2:] != pixels.shape[2:]:
                raise _no_picture(name, x.dtype, list(x.shape))
        return np.ascontiguousarray(x)

    return run


def _of_array(step: Any, x: Pixels) -> Any:
    return step(image=x)["image"]


def _done(name: str, step: _Step, x: Any, shape: tuple[int, ...]) -> Any:
    try:
        return step(x)
    except Exception as error:  # whatever the library says of it
        told = " ".join(str(error).split())[:300]
        size = "x".join(map(str, shape))
        raise ConfigError(f"augment.ops: {name} fails on a picture of {size}: {told}") from error


def _no_picture(name: str, dtype: object, shape: list[int]) -> ConfigError:
    return ConfigError(
        f"augment.ops: {name} gives {dtype} of {shape}; expected a picture again, in 8 bits and as many channels. "
        "Leave it out: pixels are scaled (input.mean, input.std) after the operations."
    )


def _require_no_colours(augment: AugmentSettings) -> None:
    for item in augment.ops or []:
        for name, given in item.items():
            wanted = operation(name, given) if name in OPERATIONS else None
            if name in ("hsv", "grayscale") or any(getattr(wanted, colour, 0) for colour in ("saturation", "hue")):
                mend = "leave it out" if name in ("hsv", "grayscale") else "set its saturation and hue to 0"
                raise ConfigError(f"augment.ops: {name} changes colours; with input.channels=grey {mend}.")


def _whole(colour: tuple[int, int, int], input: InputSpec) -> list[int]:
    r, g, b = colour
    return [r, g, b] if input.depth == 3 else [round(0.299 * r + 0.587 * g + 0.114 * b)]


def require_working(augment: AugmentSettings, input: InputSpec) -> None:
    """Try the operations on a few pictures of noise, so that what cannot work is told before a run begins.

    Raises:
        ConfigError: see `pipeline`.
    """
    if augment.ops is None:
        return
    change = pipeline(augment, input)
    shape = (input.height, input.width, input.depth)
    for seed in range(_PICTURES):
        change(np.random.default_rng(seed).integers(0, 256, shape, np.uint8), seed)


def described(augment: AugmentSettings) -> dict[str, Any]:
    """Return what the sealed record says of augmentation: the operations in their order, and who carries them out."""
    if augment.ops is not None:
        return {"backend": augment.backend, "version": version(augment.backend), "operations": augment.ops}
    used = augment.model_dump(mode="json", exclude={"preset", "ops", "backend"})
    return {"backend": "bunryu", "operations": used}
