"""How pictures are read and answered in one pass, and what comes back of it. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bunryu.data.images.pixel_cache import PixelCache

BATCH = 32
"""Pictures in one forward pass, everywhere, so that the same files give the same bits."""


@dataclass(frozen=True)
class Reading:
    """How a pass over pictures goes.

    Attributes:
        batch_size: pictures in one forward pass.
        workers: threads that decode; the number of cores when None.
        told: shown with the progress; none is shown when None.
        cache: where the pictures of the rows' table are kept; None to decode them.
    """

    batch_size: int = BATCH
    workers: int | None = None
    told: str | None = None
    cache: PixelCache | None = None


PLAIN = Reading()
"""Nothing shown, nothing kept."""


@dataclass(frozen=True)
class Answers:
    """What a model answers to pictures.

    Attributes:
        rows: those that could be read, in the order asked for, int64 (N,).
        probs_NK: class probabilities of each, float32 (N, K).
        failed: row -> reason of the others.
    """

    rows: NDArray[np.int64]
    probs_NK: NDArray[np.float32]
    failed: dict[int, str] = field(default_factory=dict)


def in_chunks(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows `size` at a time, in order."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
