"""augment.ops by albumentations, each picture with draws of its own.

A transform holds its generator, so every thread has transforms of its own. Their random state is set by
``set_random_state``, one generator for all of a list: ``set_random_seed`` would give each the same draws.
"""

from __future__ import annotations

import inspect
import os
from typing import Any

from bunryu.core.errors import ConfigError, nearest
from bunryu.data.augment.torchvision_ops import made_of
from bunryu.settings import augment_ops as ops
from bunryu.settings.augment_ops import Operation
from bunryu.settings.data import InputSpec


def library() -> Any:
    """Import albumentations.

    Raises:
        ConfigError: it is not installed.
    """
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network for a newer one
    try:
        import albumentations
    except ImportError as error:
        raise ConfigError(
            f"augment.backend=albumentations needs albumentations ({error}): pip install 'bunryu[albumentations]'"
        ) from None
    return albumentations


def transform(name: str, given: dict[str, Any], input: InputSpec, fill: list[int], mean: list[int]) -> Any:
    """Return one operation of augment.ops as an albumentations transform; as `torchvision_ops.transform`."""
    a = library()
    if name in ops.OPERATIONS:
        return _ours(a, ops.operation(name, given), input, tuple(fill), tuple(mean))
    kinds = {key: kind for key, kind in vars(a).items() if inspect.isclass(kind) and issubclass(kind, a.BasicTransform)}
    if name not in kinds:
        raise ConfigError(f"augment.ops: albumentations has no class {name!r}.{nearest(name, kinds)}")
    return made_of(kinds[name], given)


def _ours(a: Any, wanted: Operation, input: InputSpec, fill: tuple[int, ...], mean: tuple[int, ...]) -> Any:
    size, p = (input.height, input.width), wanted.p
    match wanted:
        case ops.HFlip():
            return a.HorizontalFlip(p=p)
        case ops.VFlip():
            return a.VerticalFlip(p=p)
        case ops.Rotate(degrees=degrees):
            return a.Rotate((-degrees, degrees), fill=fill, p=p)
        case ops.Affine(degrees=degrees, translate=move, scale=scale, shear=shear):
            moves = {"x": (-move, move), "y": (-move, move)}
            sheared = {"x": (-shear, shear), "y": (0.0, 0.0)}
            turn = (-degrees, degrees)
            return a.Affine(scale, moves, rotate=turn, shear=sheared, keep_ratio=True, fill=fill, p=p)
        case ops.Perspective(distortion=distortion):
            return a.Perspective((0.0, distortion / 2), fill=fill, p=p)
        case ops.RandomResizedCrop(scale=scale, ratio=ratio):
            return a.RandomResizedCrop(size, scale, ratio, area_for_downscale="image", p=p)
        case ops.RandomCrop(padding=padding):
            padded = a.Pad(padding, fill=fill, p=1.0)
            return a.Sequential([padded, a.RandomCrop(*size, pad_if_needed=True, fill=fill, p=1.0)], p=p)
        case ops.CenterCrop(size=middle):
            return a.CenterCrop(*middle, pad_if_needed=True, p=p)
        case ops.ColourJitter(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue):
            factors = [(1 - most, 1 + most) for most in (brightness, contrast, saturation)]
            return a.ColorJitter(*factors, (-hue, hue), p=p)
        case ops.BrightnessContrast(brightness=brightness, contrast=contrast):
            factors = [(1 - most, 1 + most) for most in (brightness, contrast)]
            return a.ColorJitter(*factors, (1.0, 1.0), (0.0, 0.0), p=p)
        case ops.HSV(hue=hue, saturation=saturation, value=value):
            return a.HueSaturationValue(hue * 180, saturation * 255, value * 255, p=p)
        case ops.GaussianNoise(std=std):
            return a.GaussNoise((std, std), p=p)
        case ops.GaussianBlur(sigma=sigma):
            return a.GaussianBlur(0, sigma, p=p)
        case ops.RandomErasing(scale=scale, ratio=ratio):
            return a.Erasing(scale, ratio, fill=mean, p=p)
        case ops.Grayscale():
            return a.ToGray(p=p)
    raise AssertionError(f"{type(wanted).__name__} is not written for albumentations")
