"""Two classifiers on the same rows: is one better, or is it noise? Pure functions on arrays, torch-free."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bunryu.evaluate.metrics import averages
from bunryu.randomness import generator

_Ints = NDArray[np.integer[Any]]


class Difference(NamedTuple):
    """How much better one is than the other: `value`, and the ends of its 95 % interval."""

    value: float
    low: float
    high: float

    @property
    def clear(self) -> bool:
        """Return whether noise alone does not explain it: the interval leaves zero out."""
        return self.low > 0 or self.high < 0


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
    from scipy.sparse import csr_array

    if groups is None:
        cells_N = (true_N.astype(np.int64) * k + pred_N) * k + other_N
        _, first, unit_N, times = np.unique(cells_N, return_index=True, return_inverse=True, return_counts=True)
        rows, units = first, np.arange(len(first))
    else:
        _, unit_N = np.unique(np.asarray(groups, dtype=object).astype(str), return_inverse=True)
        times = np.ones(int(unit_N.max()) + 1, np.int64)
        rows, units = np.arange(len(true_N)), unit_N
    n = int(times.sum())
    drawn_UR = generator(seed, "comparison").multinomial(n, times / n, resamples).T.astype(np.float32)
    drawn_UR = np.concatenate([times[:, None], drawn_UR], axis=1)  # the first column is what was measured

    def macro_f1(answers_N: _Ints) -> NDArray[np.float64]:
        truth, said = true_N[rows], answers_N[rows]
        right = truth == said
        at = np.concatenate([truth[right], truth + k, said + 2 * k])
        of = np.concatenate([units[right], units, units])
        brings = csr_array((np.ones(len(at), np.float32), (at, of)), shape=(3 * k, len(times)))
        tp, support, predicted = np.asarray(brings @ drawn_UR, np.float64).reshape(3, k, -1)
        return averages(tp, support, predicted)["macro_f1"]

    differences = macro_f1(pred_N) - macro_f1(other_N)
    low, high = np.quantile(differences[1:], [0.025, 0.975])
    return Difference(float(differences[0]), float(low), float(high))
