"""Is one picture a copy of another? By their pixels: what is similar to a network need not be the same."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bunryu.core.errors import ConfigError

SAME = 0.95
"""Least correlation of the thumbnails of copies; what it finds is measured in docs/training/in-a-hurry.md."""
_SIDE = 32
_WINDOWS = (0.96, 0.92, 0.88)
"""Shares of a side that a slight crop leaves."""
_FLAT = 1e-6


class Thumbnails(NamedTuple):
    """Small grey versions of a picture, each of mean 0 and length 1: the whole, and the whole after slight crops."""

    whole_P: NDArray[np.float32]
    windows_WP: NDArray[np.float32]


def thumbnails(pixels: NDArray[np.uint8]) -> Thumbnails:
    """Return the thumbnails of a picture, uint8 (H, W, C)."""
    if pixels.ndim != 3 or not pixels.size:
        raise ConfigError(f"Expected the pixels of a picture, (H, W, C), received the shape {pixels.shape}.")
    grey = Image.fromarray(np.ascontiguousarray(pixels[..., :3].mean(axis=2).round().astype(np.uint8)))
    width, height = grey.size
    boxes = [(0.0, 0.0, float(width), float(height))]
    for share in _WINDOWS:
        for left in (0.0, 0.5, 1.0):
            for top in (0.0, 0.5, 1.0):
                x, y = left * (1 - share) * width, top * (1 - share) * height
                boxes.append((x, y, x + share * width, y + share * height))
    found = np.stack([_unit(grey.resize((_SIDE, _SIDE), Image.Resampling.BILINEAR, box=box)) for box in boxes])
    return Thumbnails(found[0], found)


def same_picture(one: Thumbnails, other: Thumbnails) -> bool:
    """Return whether one is a copy of the other: written anew, resized, a little brighter or darker, slightly cropped.

    The correlation of grey values knows neither brightness nor contrast; the windows undo a crop. Mirrored or turned
    copies are not found.
    """
    return correlation(one, other) >= SAME


def correlation(one: Thumbnails, other: Thumbnails) -> float:
    """Return how far the grey values agree where they agree best, -1 to 1; 0 of a picture of one grey."""
    return float(max((one.windows_WP @ other.whole_P).max(), (other.windows_WP @ one.whole_P).max()))


def _unit(thumbnail: Image.Image) -> NDArray[np.float32]:
    grey_P = np.asarray(thumbnail, np.float32).reshape(-1)
    grey_P = grey_P - grey_P.mean()
    length = float(np.linalg.norm(grey_P))
    unit_P: NDArray[np.float32] = grey_P / length if length > _FLAT else np.zeros_like(grey_P)
    return unit_P
