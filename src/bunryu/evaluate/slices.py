"""How good the answers are on each of some groups of rows: the average hides the group that fares worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from bunryu.evaluate.figures import GroupMetrics, Interval


def measure_groups(
    probs_NK: NDArray[np.floating[Any]], true_N: NDArray[np.integer[Any]], groups: Sequence[str]
) -> dict[str, GroupMetrics]:
    """Measure the accuracy on each group, with its 95 % interval (Wilson 1927); the worst comes first.

    Args:
        probs_NK: class probabilities, shape (N, K).
        true_N: index of the true class, shape (N,).
        groups: N names.
    """
    right_N = probs_NK.argmax(axis=1) == true_N
    names, of_N = np.unique(np.array(groups, dtype=str), return_inverse=True)
    found = {}
    for index, name in enumerate(names):
        own = right_N[of_N == index]
        ends = binomtest(int(own.sum()), len(own)).proportion_ci(method="wilson")
        interval = Interval(float(ends.low), float(ends.high))
        found[str(name)] = GroupMetrics(n=len(own), accuracy=float(own.mean()), accuracy_ci=interval)
    return dict(sorted(found.items(), key=lambda item: item[1].accuracy))


def worst_accuracy(by_group: Mapping[str, GroupMetrics]) -> float:
    """Return the accuracy on the worst of the groups."""
    return min(own.accuracy for own in by_group.values())
