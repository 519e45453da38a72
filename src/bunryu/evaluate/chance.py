"""Better than chance, or worse than the rest? Of scores, of answers, of classes, and of slices of the rows.

Rows that are independent of each other have exact tests; rows in groups are tested by group, see `significance`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.evaluate.significance import numbered, rank_sum, shuffled, sign_flips, too_many

_Floats = NDArray[np.float64]
_MOST = 5_000
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
        from scipy.stats import rankdata  # a second to load

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
    support_K = np.bincount(true_N, minlength=int(max(pred_N.max(), true_N.max())) + 1)
    return _dealt(pred_N, true_N, 1 / np.maximum(support_K, 1), groups, tests, seed)


def accuracy_by_chance(
    pred_N: NDArray[np.int64], true_N: NDArray[np.int64], groups: Sequence[str] | None, *, seed: int
) -> float:
    """Return how often answers that know nothing of the truth have as high an accuracy; see `recall_by_chance`.

    That is a test of Cohen's kappa (1960) being above 0.
    """
    return _dealt(pred_N, true_N, np.ones(int(max(pred_N.max(), true_N.max())) + 1), groups, 1, seed)


def _dealt(
    pred_N: NDArray[np.int64],
    true_N: NDArray[np.int64],
    weight_K: _Floats,
    groups: Sequence[str] | None,
    tests: int,
    seed: int,
) -> float:
    """Return the p of the right answers, each with the weight of its class, of answers dealt out in any order."""
    unit_N, n = numbered(groups), len(true_N)
    if unit_N is None and n <= _MOST:
        order = np.lexsort((pred_N, true_N))
        pred_N, true_N = pred_N[order], true_N[order]
        weight_N = weight_K[true_N]
        return shuffled(lambda pred_RN: (pred_RN == true_N) @ weight_N, pred_N, tests=tests, seed=seed)
    share_K, of_K = (np.bincount(rows, minlength=len(weight_K)) / n for rows in (pred_N, true_N))
    # the sum over classes of weight x (row of the class) x (answered so), both centred
    of_K = of_K * weight_K
    gain_N = weight_K[true_N] * ((pred_N == true_N) - share_K[true_N]) - (of_K[pred_N] - (of_K * share_K).sum())
    return float(sign_flips(gain_N[:, None], np.arange(n) if unit_N is None else unit_N, tests, seed)[0])


def classes_by_chance(tp: _Floats, support: _Floats, predicted: _Floats, *, seed: int) -> list[float]:
    """Return of each class how often chance makes one that is no worse than the others fare as badly.

    Its recall is compared with that of all rows, its precision with that of all answers: see `shares_by_chance`. Where
    many classes fail together none is below the others, so the rows of a class that is never right are held against a
    coin too. p is the smallest of the three, times three (Bonferroni); nan for a class without a row.

    Args:
        tp: right answers by class, shape (K,); or by group and class, (G, K), where rows of a group are not
            independent.
        support: rows of the truth, likewise.
        predicted: answers given, likewise.
        seed: names the draws.
    """
    tests = 3 * tp.shape[-1]
    units_K = support if support.ndim == 1 else (support > 0).sum(axis=0)
    never_K = np.atleast_2d(tp).sum(axis=0) == 0
    coin_K = np.where(never_K, 0.5**units_K, 1.0)
    low_3K = [shares_by_chance(tp, trials, tests=tests, seed=seed) for trials in (support, predicted)]
    p_K = np.minimum(1.0, 3 * np.minimum(np.min(np.array(low_3K), axis=0), coin_K))
    return [float(p) for p in np.where(units_K > 0, p_K, np.nan)]


def shares_by_chance(right: _Floats, trials: _Floats, *, tests: int, seed: int) -> list[float]:
    """Return of each of K shares, right of trials, how often so many of all trials taken at random have as few right.

    Independent rows: by the hypergeometric distribution (Fisher's exact test). Rows in groups: see `sign_flips`.

    Args:
        right: shape (K,), or by group (G, K).
        trials: likewise.
        tests: over how many tests Holm's adjustment will go.
        seed: names the draws.
    """
    right_K, trials_K = (np.atleast_2d(sums).sum(axis=0) for sums in (right, trials))
    total = max(float(trials_K.sum()), 1.0)
    wrong = float(trials_K.sum() - right_K.sum())
    if right.ndim == 1:
        return [too_many(*own, int(wrong), int(total)) for own in zip(trials_K - right_K, trials_K, strict=True)]
    beyond_GK = trials - right - wrong / total * trials  # wrong ones beyond as many as of all
    gains_GK = beyond_GK - trials_K / total * beyond_GK.sum(axis=1, keepdims=True)
    return [float(p) for p in sign_flips(gains_GK, np.arange(len(gains_GK)), tests, seed)]


def _centred(values_NL: NDArray[Any]) -> _Floats:
    found_NL: _Floats = values_NL - values_NL.mean(axis=0, dtype=np.float64)
    return found_NL
