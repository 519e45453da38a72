"""How good the answers are on each of some groups of rows: the average hides the group that fares worst."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

WORST = "worst_group_accuracy"


def measure_groups(
    probs_NK: NDArray[np.floating[Any]], true_N: NDArray[np.integer[Any]], groups: Sequence[str]
) -> dict[str, Any]:
    """Measure the accuracy on each group.

    Args:
        probs_NK: class probabilities, shape (N, K).
        true_N: index of the true class, shape (N,).
        groups: N names.

    Returns:
        ``by_group`` {group: n, accuracy, accuracy_ci (95 %, Wilson 1927)}, the worst first, and
        ``worst_group_accuracy``.
    """
    right_N = probs_NK.argmax(axis=1) == true_N
    names, of_N = np.unique(np.array(groups, dtype=str), return_inverse=True)
    found: dict[str, dict[str, Any]] = {}
    for index, name in enumerate(names):
        own = right_N[of_N == index]
        ends = binomtest(int(own.sum()), len(own)).proportion_ci(method="wilson")
        found[str(name)] = {"n": len(own), "accuracy": float(own.mean()), "accuracy_ci": [ends.low, ends.high]}
    worst_first = sorted(found, key=lambda name: float(found[name]["accuracy"]))
    return {"by_group": {name: found[name] for name in worst_first}, WORST: found[worst_first[0]]["accuracy"]}
