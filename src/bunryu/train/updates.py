"""An epoch as a sequence of updates: which batches each learns from, and at what rate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray

from bunryu.core.randomness import plain
from bunryu.train.checkpoint import Progress
from bunryu.train.data_parallel import part
from bunryu.train.feed import Feed
from bunryu.train.state import Job
from bunryu.train.weight_averaging import factor

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Update:
    """One update of the weights: the gradients of several batches, then a step of the optimiser.

    Attributes:
        batches: each on the device, with its rows: this process's part of it.
        rows: of all its batches, on all processes.
        rate: factor of the base rates.
    """

    batches: Iterator[tuple[torch.Tensor, Rows]]
    rows: Rows
    rate: float


def updates(job: Job, progress: Progress, feed: Feed, batches: list[Rows]) -> Iterator[Update]:
    """Yield the updates of (the rest of) an epoch. Take all batches of one before the next.

    Args:
        job: with the settings.
        progress: where it is: at the first update that is missing.
        feed: what gives the batches.
        batches: rows of each batch of the whole epoch.
    """
    size = job.settings.train.accumulate
    groups = [batches[start : start + size] for start in range(0, len(batches), size)]
    read = feed.batches([part(batch) for batch in batches[progress.step :]], progress.total_epochs)
    for number in range(progress.step // size, len(groups)):
        group = groups[number]
        yield Update(islice(read, len(group)), plain(np.concatenate(group)), factor(job, progress, len(groups), number))
    left = next(read, None)  # asked for outside of the assert, since it also lets the feed's threads go
    assert left is None
