"""Two classifiers on the same rows: is one better, or is it noise? Pure functions on arrays, torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.evaluate.bootstrap import percentile_interval, resampled, units_of
from bunryu.evaluate.figures import Difference
from bunryu.evaluate.metrics import averages, counts_of

_Ints = NDArray[np.integer[Any]]


def macro_f1_difference(
    pred_N: _Ints,
    other_N: _Ints,
    true_N: _Ints,
    k: int,
    *,
    groups: Sequence[str] | None = None,
    resamples: int = 2000,
    seed: int = 0,
) -> Difference:
    """Return macro-F1 of `pred_N` minus that of `other_N`, by a paired bootstrap.

    Both are measured on the same resamples (Efron & Tibshirani 1993, chapter 16; Berg-Kirkpatrick et al., "An
    empirical investigation of statistical significance in NLP", 2012), of rows, or of whole groups.

    Args:
        pred_N: class indices that the one answers, shape (N,).
        other_N: those of the other.
        true_N: class indices of the truth.
        k: the number of classes.
        groups: rows of one group are not independent.
        resamples: how many.
        seed: names the draws.
    """
    cells_N = (true_N.astype(np.int64) * k + pred_N) * k + other_N
    units = units_of(cells_N, groups, seed)
    true, pred, other = units.row_cell // k**2, units.row_cell // k % k, units.row_cell % k

    def macro_f1(answers: _Ints) -> NDArray[np.float64]:
        chunks = resampled(units._replace(row_cell=true * k + answers), k, resamples, seed)
        return np.concatenate([averages(*counts)["macro_f1"] for counts in chunks])

    def measured(answers_N: _Ints) -> float:
        return float(averages(*counts_of(answers_N, true_N, k))["macro_f1"])

    return Difference(measured(pred_N) - measured(other_N), *percentile_interval(macro_f1(pred) - macro_f1(other)))
