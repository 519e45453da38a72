"""What the input record takes from the data: a size, and the mean and std of the training pictures."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bunryu.core import console
from bunryu.core.randomness import generator
from bunryu.data.images.load import load_batches
from bunryu.data.table import Table
from bunryu.settings.data import DecodeSpec, InputSpec

_ROWS = 2000


def size_from_data(widths: NDArray[np.int32], heights: NDArray[np.int32]) -> tuple[int, int]:
    """Return a square size: the median short side, rounded up to a multiple of 8, from 32 to 128; 64 unknown."""
    sides = np.minimum(widths, heights)
    side = int(np.median(sides[sides > 0])) if (sides > 0).any() else 64
    side = min(max(-(-side // 8) * 8, 32), 128)
    return side, side


def mean_and_std(
    table: Table, decode: DecodeSpec, input: InputSpec, *, seed: int, workers: int | None
) -> tuple[list[float], list[float]]:
    """Return each channel's mean and std in 0 to 1, over (at most 2,000 drawn) training rows as they are fitted."""
    rows = table.split("train")
    if len(rows) > _ROWS:
        drawn = generator(seed, "statistics").permutation(len(rows))[:_ROWS]
        rows = np.sort(rows[drawn])
    total, squares, count = np.zeros(input.depth), np.zeros(input.depth), 0
    chunks = [rows[start : start + 64] for start in range(0, len(rows), 64)]
    batches = load_batches(table.file, chunks, decode, input, workers=workers)
    for batch in console.tracked_rows(batches, "Measuring mean and std", len(rows)):
        pixels = batch.pixels_BHWC.reshape(-1, input.depth).astype(np.float64) / 255
        total, squares, count = total + pixels.sum(0), squares + (pixels**2).sum(0), count + len(pixels)
    mean = total / max(count, 1)
    std = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 1e-4))
    return [round(float(value), 6) for value in mean], [round(float(value), 6) for value in std]
