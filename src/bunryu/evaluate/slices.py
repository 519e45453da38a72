"""How good the answers are on each of some slices of the rows: the average hides the slice that fares worst."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.randomness import generator
from bunryu.evaluate.bootstrap import draw
from bunryu.evaluate.chance import slices_by_chance
from bunryu.evaluate.class_intervals import groups_with, spread, wilson
from bunryu.evaluate.difference import BETTER
from bunryu.evaluate.figures import GroupMetrics, Interval
from bunryu.evaluate.significance import holm, numbered
from bunryu.settings.evaluate import BOOTSTRAP

_Ints = NDArray[np.int64]
_CHUNK = 4_000_000
"""Numbers held at once while resampling."""


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

    Rows that are independent have Wilson's interval (1927). Of rows in groups whole groups are resampled, and a slice
    with rows of one group alone has no interval. Whether a slice fares worse is tested, not read off its interval: see
    `chance.slices_by_chance`.

    Args:
        probs_NK: class probabilities, shape (N, K).
        true_N: index of the true class, shape (N,).
        slices: N names.
        units: N names of the groups (`data.group_column`) whose rows are not independent; None where all rows are.
        bootstrap: resamples of groups; neither intervals nor tests when 0.
        seed: names the draws.

    Returns:
        {slice: its figures}, the worst first.
    """
    right_N = probs_NK.argmax(axis=1) == true_N
    names, of_N = np.unique(np.array(slices, dtype=str), return_inverse=True)
    n_S, right_S = np.bincount(of_N), np.bincount(of_N[right_N], minlength=len(names))
    more: list[dict[str, Any]] = [{} for _ in names]
    if bootstrap:
        p_values = holm(slices_by_chance(right_N, of_N, units, seed=seed))
        ends = _intervals(right_N, of_N, units, bootstrap, seed)
        for own, p, interval in zip(more, p_values, ends, strict=True):
            own |= {"worse": len(names) > 1 and p < BETTER}
            own |= {} if interval is None else {"accuracy_ci": interval}
    found = {
        str(name): GroupMetrics(n=n, accuracy=right / n, **own)
        for name, n, right, own in zip(names, n_S.tolist(), right_S.tolist(), more, strict=True)
    }
    return dict(sorted(found.items(), key=lambda item: item[1].accuracy))


def _intervals(
    right_N: NDArray[np.bool_], of_N: _Ints, units: Sequence[str] | None, resamples: int, seed: int
) -> list[Interval | None]:
    """Return the interval of the accuracy on each slice."""
    of_NS = of_N[:, None] == np.arange(int(of_N.max()) + 1)
    unit_N = numbered(units)
    if unit_N is None or units is None:
        return wilson((of_NS & right_N[:, None]).sum(axis=0).astype(np.float64), of_NS.sum(axis=0).astype(np.float64))
    brings_G2S = np.zeros((int(unit_N.max()) + 1, 2 * of_NS.shape[1]))
    np.add.at(brings_G2S, unit_N, np.hstack([of_NS & right_N[:, None], of_NS]).astype(np.float64))
    brings_G2S = brings_G2S[np.lexsort(brings_G2S.T)]  # so that the order of the rows does not matter
    once, rng = np.ones(len(brings_G2S), np.int64), generator(seed, "bootstrap-slices")
    step, shares = max(1, _CHUNK // len(once)), []
    for start in range(0, resamples, step):
        right_RS, n_RS = np.split(draw(rng, once, min(step, resamples - start)) @ brings_G2S, 2, axis=1)
        with np.errstate(invalid="ignore"):
            shares.append(right_RS / n_RS)
    drawn_SR = np.concatenate(shares).T
    return [spread(own_R, int(many)) for own_R, many in zip(drawn_SR, groups_with(units, of_NS), strict=True)]


def worst_accuracy(by_group: Mapping[str, GroupMetrics]) -> float:
    """Return the accuracy on the worst of the groups."""
    return min(own.accuracy for own in by_group.values())
