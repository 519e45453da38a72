"""Which rows an epoch has, and in what order.

A row that comes again within an epoch has the number of its coming in the high bits of its id, so that it is
augmented anew; `plain` takes that away.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bunryu.randomness import generator
from bunryu.train.settings import TrainSettings

Rows = NDArray[np.int64]
_BITS = 40


def plain(rows: Rows) -> Rows:
    """Return the ids in the table."""
    return rows & ((1 << _BITS) - 1)


def epoch_rows(rows: Rows, target_N: Rows, settings: TrainSettings, epoch: int) -> Rows:
    """Return an epoch's rows in random order: as many as there are, by `train.sampler`.

    Args:
        rows: ids of the training rows.
        target_N: their classes.
        settings: sampler, sampler_power and seed.
        epoch: counted over the whole run.
    """
    if settings.sampler == "shuffle":
        return rows[generator(settings.seed, "order", epoch).permutation(len(rows))]
    return class_aware(rows, target_N, settings.sampler_power, settings.seed, epoch)


def class_aware(rows: Rows, target_N: Rows, power: float, seed: int, epoch: int) -> Rows:
    """Return as many rows as there are, class k in proportion to n_k^power, spread evenly over the epoch.

    Class-aware sampling of Shen, Lin & Huang 2016 ("Relay backpropagation", section 4) with power 0: classes in
    turn, and within a class all of its rows before any comes again. Between 0 and 1 as Mahajan et al. 2018
    ("Exploring the limits of weakly supervised pretraining", section 3: power 1/2).
    """
    n = len(rows)
    draw = generator(seed, "class-aware", epoch)
    classes, counts = np.unique(target_N, return_counts=True)
    share = counts.astype(np.float64) ** power
    edges = np.floor(np.cumsum(share / share.sum()) * n + draw.random()).astype(np.int64)  # systematic rounding
    edges[-1] = n
    picked, places = [], []
    for k, wanted in zip(classes, np.diff(edges, prepend=0), strict=True):
        own = rows[target_N == k]
        turns = -(-int(wanted) // len(own))
        comings = [own[draw.permutation(len(own))] | (turn << _BITS) for turn in range(turns)]
        picked += [np.concatenate(comings)[:wanted]] if comings else []
        places.append((np.arange(wanted) + draw.random()) / max(int(wanted), 1))
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate(picked)[order]
