"""How good the answers are on each of some slices of the rows: the average hides the slice that fares worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.evaluate.chance import shares_by_chance
from bunryu.evaluate.class_intervals import sums_of, wilson, wilson_of_groups
from bunryu.evaluate.difference import BETTER
from bunryu.evaluate.figures import GroupMetrics
from bunryu.evaluate.significance import below, numbered
from bunryu.settings.evaluate import BOOTSTRAP

_Ints = NDArray[np.int64]


def measure_groups(
    probs_NK: NDArray[np.floating[Any]],
    true_N: NDArray[np.integer[Any]],
    slices: Sequence[str],
    *,
    units: Sequence[str] | None = None,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
) -> dict[str, GroupMetrics]:
    """Measure the accuracy on each slice, with its 95 % interval, and whether chance explains a low one.

    The interval is Wilson's, of rows in groups that of as many groups: see `class_intervals`; a slice with rows of one
    group alone has none. Whether a slice fares worse is tested, not read off its interval: see
    `chance.shares_by_chance`.

    Args:
        probs_NK: class probabilities, shape (N, K).
        true_N: index of the true class, shape (N,).
        slices: N names.
        units: N names of the groups (`data.group_column`) whose rows are not independent; None where all rows are.
        bootstrap: neither intervals nor tests when 0.
        seed: names the draws.

    Returns:
        {slice: its figures}, the worst first.
    """
    right_N = probs_NK.argmax(axis=1) == true_N
    names, of_N = np.unique(np.array(slices, dtype=str), return_inverse=True)
    n_S, right_S = np.bincount(of_N), np.bincount(of_N[right_N], minlength=len(names))
    more: list[dict[str, Any]] = [{} for _ in names]
    if bootstrap:
        counts = _counts(right_N, of_N, numbered(units))
        worse = below(BETTER, shares_by_chance(*counts, tests=len(names), seed=seed))
        ends = wilson(*counts) if counts[0].ndim == 1 else wilson_of_groups(*counts)
        for own, low, interval in zip(more, worse, ends, strict=True):
            own |= {"worse": len(names) > 1 and low}
            own |= {} if interval is None else {"accuracy_ci": interval}
    found = {
        str(name): GroupMetrics(n=n, accuracy=right / n, **own)
        for name, n, right, own in zip(names, n_S.tolist(), right_S.tolist(), more, strict=True)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].accuracy))


def _counts(right_N: NDArray[np.bool_], of_N: _Ints, unit_N: _Ints | None) -> list[NDArray[np.float64]]:
    """Return right answers and rows of each slice, shape (S,); or by unit too, (U, S)."""
    slices = int(of_N.max()) + 1
    if unit_N is None:
        return [np.bincount(rows_N, minlength=slices).astype(np.float64) for rows_N in (of_N[right_N], of_N)]
    units = int(unit_N.max()) + 1
    return [sums_of(unit_N[right_N], of_N[right_N], units, slices), sums_of(unit_N, of_N, units, slices)]


def worst_accuracy(by_group: Mapping[str, GroupMetrics]) -> float:
    """Return the accuracy on the worst of the groups."""
    return min(own.accuracy for own in by_group.values())
