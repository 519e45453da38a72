"""What the input record takes from the data: a size, and the mean and std of the training pictures."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from bunryu.core import console
from bunryu.core.cache import kept, key_of_facts
from bunryu.core.randomness import generator
from bunryu.data.images.contents import Contents
from bunryu.data.images.decode import Source
from bunryu.data.images.load import load_batches
from bunryu.data.images.pixel_cache import pixel_facts
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
    table: Table,
    decode: DecodeSpec,
    input: InputSpec,
    *,
    seed: int,
    workers: int | None,
    contents: Contents | None = None,
    cache_gb: float = 0.0,
) -> tuple[list[float], list[float]]:
    """Return each channel's mean and std in 0 to 1, over (at most 2,000 drawn) training rows as they are fitted.

    Args:
        table: with the splits.
        decode: how files become pixels.
        input: how pixels are fitted.
        seed: names the draw.
        workers: threads; one a core when None.
        contents: what the check has read of the files.
        cache_gb: as `data.cache_gb`: the same pictures are not measured again by a later run.
    """
    rows = table.split("train")
    if len(rows) > _ROWS:
        drawn = generator(seed, "statistics").permutation(len(rows))[:_ROWS]
        rows = np.sort(rows[drawn])
    source = table.file if contents is None else lambda row: contents.of(table.file(row))

    def measure() -> NDArray[np.float64]:
        return _mean_and_std(source, rows, decode, input, workers)

    if table.digests is None:
        mean, std = measure()
    else:
        key = key_of_facts(images=table.digests[rows].tolist(), **pixel_facts(decode, input))
        mean, std = kept("statistics", key, measure, cache_gb)
    return mean.tolist(), std.tolist()


def _mean_and_std(
    source: Callable[[int], Source], rows: NDArray[np.int64], decode: DecodeSpec, input: InputSpec, workers: int | None
) -> NDArray[np.float64]:
    """Return mean and std of each channel, float64 (2, C), to six digits."""
    total, squares, count = np.zeros(input.depth), np.zeros(input.depth), 0
    chunks = [rows[start : start + 64] for start in range(0, len(rows), 64)]
    batches = load_batches(source, chunks, decode, input, workers=workers)
    for batch in console.tracked_rows(batches, "Measuring mean and std", len(rows)):
        pixels = batch.pixels_BHWC.reshape(-1, input.depth).astype(np.float64) / 255
        total, squares, count = total + pixels.sum(0), squares + (pixels**2).sum(0), count + len(pixels)
    mean = total / max(count, 1)
    std = np.sqrt(np.maximum(squares / max(count, 1) - mean**2, 1e-4))
    return np.array([[round(float(value), 6) for value in values] for values in (mean, std)])
