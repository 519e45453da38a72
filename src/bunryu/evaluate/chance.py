"""Better than chance? Of the scores of labels, of the answers of attributes, and of the answers to a slice of the rows.

Rows that are independent of each other have exact tests; rows in groups are tested by group, see `significance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import hypergeom, rankdata

from bunryu.evaluate.significance import numbered, rank_sum, shuffled, sign_flips

_Floats = NDArray[np.float64]
_MOST = 20_000
"""Rows whose answers are shuffled; of more, signs are flipped, which is as good then and quicker."""


def ranks_by_chance(
    held_NL: NDArray[np.bool_], probs_NL: NDArray[np.floating[Any]], groups: Sequence[str] | None, *, seed: int
) -> list[float]:
    """Return of each label how often scores that know nothing of it have an ROC AUC as high; nan where it has none.

    Args:
        held_NL: which labels hold, shape (N, L).
        probs_NL: the scores.
        groups: N names, or None.
        seed: names the draws.
    """
    found_L, unit_N = np.full(held_NL.shape[1], np.nan), numbered(groups)
    defined = np.flatnonzero(held_NL.any(axis=0) & ~held_NL.all(axis=0))
    if unit_N is None:
        for k in defined:
            found_L[k] = rank_sum(held_NL[:, k], probs_NL[:, k], tests=len(defined), seed=seed)
    elif len(defined):
        ranks_ND = rankdata(probs_NL[:, defined], axis=0)
        found_L[defined] = sign_flips(_centred(held_NL[:, defined]) * _centred(ranks_ND), unit_N, len(defined), seed)
    return found_L.tolist()


def recall_by_chance(
    pred_N: NDArray[np.int64], true_N: NDArray[np.int64], groups: Sequence[str] | None, *, tests: int, seed: int
) -> float:
    """Return how often answers that know nothing of the truth have as high a macro recall.

    Args:
        pred_N: class indices of the answers, shape (N,).
        true_N: those of the truth.
        groups: N names, or None.
        tests: over how many tests Holm's adjustment will go.
        seed: names the draws.
    """
    unit_N = numbered(groups)
    if unit_N is None and len(true_N) <= _MOST:
        order = np.lexsort((pred_N, true_N))
        pred_N, true_N = pred_N[order], true_N[order]
        weight_N = 1.0 / np.bincount(true_N)[true_N]
        return shuffled(lambda pred_RN: (pred_RN == true_N) @ weight_N, pred_N, tests=tests, seed=seed)
    k = int(max(pred_N.max(), true_N.max())) + 1
    share_K = np.bincount(pred_N, minlength=k) / len(pred_N)
    # the sum over classes of (row of the class) x (answered so), each centred, over the rows of the class
    support_K = np.bincount(true_N, minlength=k)
    gain_N = ((pred_N == true_N) - share_K[true_N]) / support_K[true_N]
    inverse_K = np.where(support_K > 0, 1.0 / len(true_N), 0.0)
    gain_N = gain_N - (inverse_K[pred_N] - (inverse_K * share_K).sum())
    return float(sign_flips(gain_N[:, None], _each(unit_N, len(true_N)), tests, seed)[0])


def slices_by_chance(
    right_N: NDArray[np.bool_], slice_N: NDArray[np.int64], groups: Sequence[str] | None, *, seed: int
) -> list[float]:
    """Return of each slice how often so many rows taken at random have as low an accuracy.

    Args:
        right_N: whether each row is answered right.
        slice_N: the slice of each row, numbered from 0.
        groups: N names of what is independent, or None.
        seed: names the draws.
    """
    unit_N, wrong_N = numbered(groups), ~right_N
    slices, n = int(slice_N.max()) + 1, len(right_N)
    if unit_N is None:
        sizes_S, wrong_S = np.bincount(slice_N), np.bincount(slice_N[wrong_N], minlength=slices)
        return [float(p) for p in hypergeom.sf(wrong_S - 1, n, int(wrong_N.sum()), sizes_S)]
    of_slice_NS = slice_N[:, None] == np.arange(slices)
    found = sign_flips(_centred(of_slice_NS) * _centred(wrong_N[:, None]), unit_N, slices, seed)
    return [float(p) for p in found]


def _centred(values_NL: NDArray[Any]) -> _Floats:
    found_NL: _Floats = values_NL - values_NL.mean(axis=0, dtype=np.float64)
    return found_NL


def _each(unit_N: NDArray[np.int64] | None, n: int) -> NDArray[np.int64]:
    return np.arange(n) if unit_N is None else unit_N
