"""Which rows an epoch has, and in what order.

A row that comes again within an epoch has the number of its coming in the high bits of its id, so that it is
augmented anew; see `randomness.coming`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.randomness import coming, generator
from bunryu.settings.train import TrainSettings

Rows = NDArray[np.int64]
Counts = Sequence[float] | NDArray[np.integer[Any]] | NDArray[np.floating[Any]]
"""Of each class; a mean of several tables has fractions."""


def epoch_rows(rows: Rows, target_N: Rows, settings: TrainSettings, epoch: int, balance_to: int | None = None) -> Rows:
    """Return an epoch's rows in random order: as many as there are, by `train.sampler`, and copies of `balance_to`.

    Args:
        rows: ids of the training rows.
        target_N: their classes.
        settings: sampler, sampler_power and seed.
        epoch: counted over the whole run.
        balance_to: how many rows each class has at least; see `balanced`.
    """
    if settings.sampler == "shuffle":
        every = rows if balance_to is None else balanced(rows, target_N, balance_to, settings.seed, epoch)
        return every[generator(settings.seed, "order", epoch).permutation(len(every))]
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
        comings = [coming(own[draw.permutation(len(own))], turn) for turn in range(turns)]
        picked += [np.concatenate(comings)[:wanted]] if comings else []
        places.append((np.arange(wanted) + draw.random()) / max(int(wanted), 1))
    order = np.argsort(np.concatenate(places), kind="stable")
    return np.concatenate(picked)[order]


def balanced(rows: Rows, target_N: Rows, to: int, seed: int, epoch: int) -> Rows:
    """Return the rows and after them copies, until each class has `to`: all of its rows are copied before any again.

    A copy is the row's next coming, so that it is augmented anew. Classes with more are whole, and have no copies.
    """
    draw = generator(seed, "balance", epoch)
    copies = [rows]
    for k in np.unique(target_N):
        own = rows[target_N == k]
        missing = max(to - len(own), 0)
        turns = -(-missing // len(own))
        again = [coming(own[draw.permutation(len(own))], turn + 1) for turn in range(turns)]
        copies += [np.concatenate(again)[:missing]] if again else []
    return np.concatenate(copies)


def epoch_counts(counts: Counts, settings: TrainSettings, balance_to: int | None = None) -> Sequence[float]:
    """Return how many rows of each class an epoch of `epoch_rows` shows, on average over the epochs.

    Everything that goes by how frequent a class is asks this: ReMix, and (where rows are mixed by it with what
    `mixup.label_counts` makes of them) class weights and the priors of logit adjustment in the loss and after it. A
    class without rows is not shown.

    Args:
        counts: rows of each class.
        settings: sampler and sampler_power.
        balance_to: see `balanced`.
    """
    if settings.sampler == "class_aware":
        count_K = np.asarray(counts, np.float64)
        share_K = np.where(count_K > 0, count_K**settings.sampler_power, 0.0)
        shown: list[float] = (share_K / share_K.sum() * count_K.sum()).tolist()
        return shown
    return [max(float(count), float(balance_to or 0)) if count else 0.0 for count in counts]


def apart_in_batches(shown: Sequence[float], settings: TrainSettings, processes: int = 1) -> float:
    """Return how often two rows of one batch are of two given classes, against two rows drawn independently.

    A row may be paired with itself: that is less than 1 for small batches, and 0 for batches of one row. A shuffled
    batch is drawn without replacement; of class_aware it has the classes as evenly as whole numbers allow, and what
    is returned is the mean over the pairs of classes, which is near each from about 8 rows on.

    Args:
        shown: rows of each class in an epoch.
        settings: sampler and batch_size.
        processes: that share each batch, every one mixing its part.
    """
    n = float(sum(shown))
    size = max(1.0, min(settings.batch_size / processes, n))
    if settings.sampler == "shuffle":
        return (n - max(n / size, 1.0)) / (n - 1) if n > 1 else 0.0
    share_K = np.asarray(shown, np.float64) / n
    rest_K = size * share_K % 1.0
    squares = float(((size * share_K) ** 2 + rest_K * (1 - rest_K)).sum()) / size**2
    return (1 - squares) / max(1 - float((share_K**2).sum()), np.finfo(np.float64).tiny)
