"""Two classifiers on the same rows: is one better, or is it noise? Pure functions on arrays, torch-free."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.randomness import generator
from bunryu.evaluate.bootstrap import Units, percentile_interval, resampled, units_of
from bunryu.evaluate.difference import LEVEL, Difference
from bunryu.evaluate.metrics import averages, counts_of
from bunryu.evaluate.significance import draws_for, holm, share_reaching, swaps
from bunryu.settings.evaluate import BOOTSTRAP

_Ints = NDArray[np.integer[Any]]
_Floats = NDArray[np.float64]


def macro_f1_difference(
    pred_N: _Ints,
    other_N: _Ints,
    true_N: _Ints,
    k: int,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = BOOTSTRAP,
    of: int = 1,
    seed: int = 0,
    columns: Sequence[int] = (),
) -> Difference:
    """Return macro-F1 of `pred_N` minus that of `other_N`, whether noise explains it, and a 95 % interval.

    The p is that of the paired randomisation test (Noreen 1989, "Computer-Intensive Methods for Testing Hypotheses";
    Yeh 2000, "More accurate tests for the statistical significance of result differences"): were both equally good, the
    two answers to a row, or to all rows of a group, could as well be the other way round. Of answers that weigh alike
    it is McNemar's exact test. The interval is a paired bootstrap (Efron & Tibshirani 1993, chapter 16), which is too
    narrow where few answers differ: where the test leaves room for no difference, it reaches to zero.

    Args:
        pred_N: class indices that the one answers, shape (N,).
        other_N: those of the other.
        true_N: class indices of the truth.
        k: the number of classes.
        groups: rows of one group are not independent.
        resamples: of the interval; none when 0.
        of: how many comparisons there are, over which p is adjusted later; see `adjusted`.
        seed: names the draws.
        columns: of several label columns how many classes each has, of the k together. The figure is then the mean of
            their macro-F1; the rows are those of each column, one after the other, and `groups` says which are one.
    """
    cells_N = (true_N.astype(np.int64) * k + pred_N) * k + other_N
    units = units_of(cells_N, groups, seed)
    true, pred, other = units.row_cell // k**2, units.row_cell // k % k, units.row_cell % k
    figures = [_macro_f1(*counts_of(answers_N, true_N, k), columns) for answers_N in (pred_N, other_N)]
    value = figures[0] - figures[1]
    p = _swapped(units, true, pred, other, k, of, seed, columns)
    if not resamples:
        return Difference(float(value), None, None, p)

    def drawn(answers: _Ints) -> _Floats:
        chunks = resampled(units._replace(row_cell=true * k + answers), k, resamples, seed)
        return np.concatenate([_macro_f1(*counts, columns) for counts in chunks])

    low, high = percentile_interval(drawn(pred) - drawn(other))
    if p >= LEVEL:
        low, high = min(low, 0.0), max(high, 0.0)
    return Difference(float(value), low, high, p)


def adjusted(differences: Sequence[Difference], of: int) -> list[Difference]:
    """Return the same with p adjusted for being told out of so many comparisons; see `significance.holm`."""
    p_values = holm([1.0 if one.p is None else one.p for one in differences], of)
    return [dataclasses.replace(one, p=p) for one, p in zip(differences, p_values, strict=True)]


def _macro_f1(tp: _Floats, support: _Floats, predicted: _Floats, columns: Sequence[int] = ()) -> _Floats:
    """Return the macro-F1, or the mean of that of each of several label columns."""
    if not columns:
        return averages(tp, support, predicted)["macro_f1"]
    edges = np.cumsum(columns)[:-1]
    of_each = zip(*(np.split(counts, edges) for counts in (tp, support, predicted)), strict=True)
    found: _Floats = np.mean([averages(*counts)["macro_f1"] for counts in of_each], axis=0)
    return found


def _swapped(
    units: Units, true: _Ints, pred: _Ints, other: _Ints, k: int, of: int, seed: int, columns: Sequence[int]
) -> float:
    """Return the p of the difference against those found with the two answers of units the other way round."""
    from scipy.sparse import csr_array

    times_U, row_unit = units.times, units.row_unit
    unit_rows, places, signs = [], [], []  # of right answers (0 to K) and answers (K to 2K), as a swap changes them
    for answers, sign in ((pred, -1.0), (other, 1.0)):
        right = (answers == true) & (pred != other)
        for at, rows in ((answers, right), (answers + k, pred != other)):
            unit_rows.append(row_unit[rows])
            places.append(at[rows])
            signs.append(np.full(int(rows.sum()), sign))
    where = (np.concatenate(unit_rows), np.concatenate(places))
    change_U2K = csr_array((np.concatenate(signs), where), shape=(len(times_U), 2 * k))
    differ = np.flatnonzero(abs(change_U2K).sum(axis=1))
    change_U2K, swapped_U = change_U2K[differ], times_U[differ]
    of_each = [_totals(answers, true, times_U[row_unit], k) for answers in (pred, other)]
    support_K1 = np.bincount(true, times_U[row_unit], k)[:, None]

    def difference(change_R2K: _Floats) -> _Floats:
        own, others = (
            _macro_f1(counts[:k], np.broadcast_to(support_K1, (k, len(change_R2K))), counts[k:], columns)
            for counts in (of_each[0][:, None] + change_R2K.T, of_each[1][:, None] - change_R2K.T)
        )
        return np.abs(own - others)

    def drawn() -> Iterator[_Floats]:
        for swapped_RU in swaps(swapped_U, draws_for(of), generator(seed, "swaps"), max(len(differ), 6 * k)):
            yield difference(swapped_RU @ change_U2K)

    return float(share_reaching(float(difference(np.zeros((1, 2 * k)))[0]), drawn()))


def _totals(answers: _Ints, true: _Ints, weight: _Ints, k: int) -> _Floats:
    """Return right answers and answers of each class, shape (2K,)."""
    right = answers == true
    return np.concatenate([np.bincount(answers[right], weight[right], k), np.bincount(answers, weight, k)])
