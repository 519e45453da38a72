"""Is one picture a copy of another? By their pixels: what is similar to a network need not be the same."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bunryu.core.errors import ConfigError

SAME = 0.92
"""Least correlation of the fine detail of copies; what it finds is measured in docs/training/in-a-hurry.md."""
_ALIKE = 0.6
"""Least correlation of the thumbnails for a closer look: a slight crop of thin lines keeps this much."""
_SIDE, _FINE, _STORED = 32, 64, 128
_BLUR = 2.0
"""Sigma, in pixels of `_FINE`: what it leaves is where pictures are alike, what it takes where copies are the same."""
_SHARES = (1.0, 0.96, 0.92, 0.88)
"""Shares of a side that a slight crop leaves."""
_STEPS = (0.02, 0.01, 0.005)
_FLAT = 1e-6

_Box = tuple[float, float, float, float]
_Floats = NDArray[np.float32]


def _windows() -> Iterator[_Box]:
    """Yield the whole, then slight crops: left, top, right and bottom as shares of a side."""
    yield 0.0, 0.0, 1.0, 1.0
    for share in _SHARES[1:]:
        for left in (0.0, 0.5, 1.0):
            for top in (0.0, 0.5, 1.0):
                x, y = left * (1 - share), top * (1 - share)
                yield x, y, x + share, y + share


_WINDOWS = tuple(_windows())


class Thumbnails(NamedTuple):
    """A small grey version of a picture, and tiny ones, each of mean 0 and length 1: of the whole and of each crop."""

    grey: Image.Image
    windows_WP: _Floats


def thumbnails(pixels: NDArray[np.uint8]) -> Thumbnails:
    """Return the thumbnails of a picture, uint8 (H, W, C)."""
    if pixels.ndim != 3 or not pixels.size:
        raise ConfigError(f"Expected the pixels of a picture, (H, W, C), received the shape {pixels.shape}.")
    grey = Image.fromarray(np.ascontiguousarray(pixels[..., :3].mean(axis=2).round().astype(np.uint8)))
    scale = _STORED / max(grey.size)
    if scale < 1:
        width, height = (max(1, round(side * scale)) for side in grey.size)
        grey = grey.resize((width, height), Image.Resampling.BICUBIC)
    return Thumbnails(grey, np.stack([_unit(_cut(grey, box, _SIDE)) for box in _WINDOWS]))


def same_picture(one: Thumbnails, other: Thumbnails) -> bool:
    """Return whether one is a copy of the other: written anew, resized, a little brighter or darker, slightly cropped.

    Mirrored or turned copies are not found.
    """
    return agreement(one, other) >= SAME


def agreement(one: Thumbnails, other: Thumbnails) -> float:
    """Return how far the fine detail agrees where one picture is laid best on the other, -1 to 1.

    Of two drawings of guitars, or two faces, all that is coarse agrees; their lines do not lie on each other. A
    correlation knows neither brightness nor contrast. 0 for a picture of one grey, and where the pictures are not
    even alike.
    """
    ways = [(one, other), (other, one)]
    coarse = [small.windows_WP[0] @ large.windows_WP.T for small, large in ways]
    if max(found.max() for found in coarse) < _ALIKE:
        return 0.0
    return max(
        _laid_best(small.grey, large.grey, _WINDOWS[int(found.argmax())])
        for (small, large), found in zip(ways, coarse, strict=True)
    )


def _laid_best(small: Image.Image, large: Image.Image, box: _Box) -> float:
    """Move the sides of `box` while that part of `large` becomes more like the whole of `small`; compare the detail."""
    whole = _cut(small, _WINDOWS[0], _FINE)
    wanted = _unit(whole)
    best = float(_unit(_cut(large, box, _FINE)) @ wanted)
    for step in _STEPS:
        moved = True
        while moved:
            moved = False
            for tried in _moves(box, step):
                found = float(_unit(_cut(large, tried, _FINE)) @ wanted)
                if found > best + _FLAT:
                    best, box, moved = found, tried, True
    return float(_unit(_detail(whole)) @ _unit(_detail(_cut(large, box, _FINE))))


def _moves(box: _Box, step: float) -> Iterator[_Box]:
    """Yield the boxes with one side moved, as long as only a slight crop is cut off."""
    for side in range(4):
        for by in (-step, step):
            moved = list(box)
            moved[side] += by
            left, top, right, bottom = moved
            if min(left, top) >= 0 and max(right, bottom) <= 1 and min(right - left, bottom - top) >= _SHARES[-1]:
                yield left, top, right, bottom


def _cut(grey: Image.Image, box: _Box, side: int) -> _Floats:
    """Return a part of a picture, squared, (side, side)."""
    width, height = grey.size
    part = (box[0] * width, box[1] * height, box[2] * width, box[3] * height)
    return np.asarray(grey.resize((side, side), Image.Resampling.BILINEAR, box=part), np.float32)


def _detail(pixels: _Floats) -> _Floats:
    from scipy.ndimage import gaussian_filter  # slow to load, and few have pictures that are alike

    blurred: _Floats = gaussian_filter(pixels, _BLUR)
    return pixels - blurred


def _unit(pixels: _Floats) -> _Floats:
    flat_P = pixels.reshape(-1) - pixels.mean()
    length = float(np.linalg.norm(flat_P))
    unit_P: _Floats = flat_P / length if length > _FLAT else np.zeros_like(flat_P)
    return unit_P
