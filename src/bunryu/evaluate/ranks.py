"""Figures of the order of scores, which know no threshold: ROC AUC, its interval, resamples of it and of the AP.

Pure functions on arrays, torch-free.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.randomness import generator
from bunryu.evaluate.bootstrap import draw, percentile_interval, rank_resamples
from bunryu.evaluate.class_intervals import Z, groups_with
from bunryu.evaluate.figures import Interval

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]
Counts = NDArray[np.float64]
_CHUNK = 4_000_000
"""Numbers held at once while resampling."""
_MOST = 2_000_000
"""Rows times classes beyond which the ROC AUCs of classes are not resampled: it would take a minute."""


def roc_auc(positive_N: NDArray[np.bool_], score_N: NDArray[np.floating[Any]]) -> float:
    """Return the area under the ROC curve: how often a positive row has a higher score than another, ties as half.

    That is the Mann-Whitney statistic (Hanley & McNeil 1982). Scikit-learn's gives the same, but takes 0.9 s to import.
    """
    _, place_N, times = np.unique(score_N, return_inverse=True, return_counts=True)
    rank_N = (np.cumsum(times) - (times - 1) / 2)[place_N]
    positives, n = int(positive_N.sum()), len(positive_N)
    above = rank_N[positive_N].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (n - positives)))


def resampled_ranks(
    probs_NL: Floats, held_NL: Bools, groups: list[str] | None, resamples: int, seed: int
) -> tuple[Counts, Counts]:
    """Return the mean average precision (R,) and each label's ROC AUC (L, R) of resamples of rows or groups.

    Scores are sorted once; a row that is drawn w times counts w times in the steps of the curves. What is not defined
    for a resample is nan. The resamples are fewer where that would take long: see `bootstrap.rank_resamples`.
    """
    n, labels = held_NL.shape
    resamples = rank_resamples(resamples, n * labels)
    if groups is None:  # numbered by what they are, so that the rows' order does not matter
        unit_N = np.empty(n, np.int64)
        unit_N[np.lexsort([*probs_NL.T, *held_NL.T])] = np.arange(n)
    else:
        unit_N = np.unique(np.array(groups), return_inverse=True)[1]
    rng, step = generator(seed, "bootstrap-ranks"), max(1, _CHUNK // n)
    order_NL = np.argsort(-probs_NL, axis=0, kind="stable")
    ap_LR, auc_LR = np.full((labels, resamples), np.nan), np.full((labels, resamples), np.nan)
    for start in range(0, resamples, step):
        part = slice(start, min(start + step, resamples))
        drawn_RU = draw(rng, np.ones(int(unit_N.max()) + 1, np.int64), part.stop - start)
        for k in np.flatnonzero(held_NL.any(axis=0)):
            order = order_NL[:, k]
            ends = np.flatnonzero(np.append(np.diff(probs_NL[order, k]) != 0, True))
            times_RN = drawn_RU[:, unit_N[order]]
            tp_RE = np.cumsum(times_RN * held_NL[order, k], axis=1)[:, ends].astype(np.float64)
            said_RE = np.cumsum(times_RN, axis=1)[:, ends]
            found_RE = np.diff(tp_RE, prepend=0.0, axis=1)
            fp_RE = np.diff(said_RE - tp_RE, prepend=0.0, axis=1)
            yes_R, no_R = tp_RE[:, -1], said_RE[:, -1] - tp_RE[:, -1]
            with np.errstate(invalid="ignore"):
                ap_LR[k, part] = (found_RE * tp_RE / np.maximum(said_RE, 1)).sum(axis=1) / yes_R
                auc_LR[k, part] = (fp_RE * (tp_RE - found_RE / 2)).sum(axis=1) / (yes_R * no_R)
    defined = ~np.isnan(ap_LR)
    several_R = defined.sum(axis=0)
    map_R = np.where(several_R > 0, np.where(defined, ap_LR, 0.0).sum(axis=0) / np.maximum(several_R, 1), np.nan)
    return map_R, auc_LR


def auc_intervals(auc_K: Counts, positives_K: Counts, others_K: Counts) -> list[Interval]:
    """Return the 95 % interval of each ROC AUC of independent rows, which stays within 0 and 1 and has a width at 1.

    As Wilson does for a share, it takes the values of which what was found lies within 1.96 standard errors, that are
    theirs (Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part
    2", Statistics in Medicine 25, method 5).

    Args:
        auc_K: what was found.
        positives_K: rows of the class, one or more.
        others_K: rows of the others, one or more.
    """

    def end(inside_K: Counts, outside_K: Counts) -> Counts:
        for _ in range(50):  # halved until it is exact
            middle_K = (inside_K + outside_K) / 2
            far_K = np.abs(middle_K - auc_K) > Z * _auc_error(middle_K, positives_K, others_K)
            inside_K, outside_K = np.where(far_K, inside_K, middle_K), np.where(far_K, middle_K, outside_K)
        return inside_K

    low_K = np.where(auc_K > 0, end(auc_K, np.zeros_like(auc_K)), 0.0)
    high_K = np.where(auc_K < 1, end(auc_K, np.ones_like(auc_K)), 1.0)
    return [Interval(low, high) for low, high in zip(low_K.tolist(), high_K.tolist(), strict=True)]


def _auc_error(auc_K: Counts, positives_K: Counts, others_K: Counts) -> Counts:
    """Return the standard error of an AUC of this value (Newcombe's form of Hanley & McNeil's, both sides alike)."""
    rows_K = (positives_K + others_K) / 2 - 1
    factor_K = 1 + rows_K * (1 - auc_K) / (2 - auc_K) + rows_K * auc_K / (1 + auc_K)
    found: Counts = np.sqrt(auc_K * (1 - auc_K) * factor_K / (positives_K * others_K))
    return found


def class_aucs(
    probs_NK: Floats, held_NK: Bools, groups: list[str] | None, resamples: int, seed: int
) -> list[dict[str, Any]]:
    """Return of each class its ROC AUC against all others, and the interval of it, as fields.

    The AUC is null where the rows are all of the class, or none. With groups the interval is that of resampled groups;
    where all of these agree it is that of so many independent groups.

    Args:
        probs_NK: scores of each class.
        held_NK: which rows are of it.
        groups: the group of each row, or None.
        resamples: of groups, where rows times classes are not more than two million; no intervals when 0.
        seed: names the draws.
    """
    yes_K, n, k = held_NK.sum(axis=0), *held_NK.shape
    known = np.flatnonzero((yes_K > 0) & (yes_K < n))
    found: list[dict[str, Any]] = [{"roc_auc": None} for _ in range(k)]
    auc_K = np.array([roc_auc(held_NK[:, c], probs_NK[:, c]) for c in known])
    if resamples and groups is None:
        ends: list[Interval | None] = list(auc_intervals(auc_K, *_counts(yes_K[known], n)))
    elif resamples and groups is not None and resampled_scores(yes_K, n, groups):
        ends = _by_groups(probs_NK[:, known], held_NK[:, known], auc_K, groups, resamples, seed)
    else:
        ends = [None] * len(known)
    for c, auc, interval in zip(known.tolist(), auc_K.tolist(), ends, strict=True):
        found[c] = {"roc_auc": auc} | ({} if interval is None else {"roc_auc_ci": interval})
    return found


def resampled_scores(yes_K: NDArray[np.integer[Any]], n: int, groups: list[str] | None) -> int:
    """Return how many scores `class_aucs` resamples: rows times the classes that have an ROC AUC; 0 for none.

    Args:
        yes_K: rows of each class.
        n: rows.
        groups: the group of each row, or None: no resampling is needed then.
    """
    scores = n * int(((yes_K > 0) & (yes_K < n)).sum())
    return scores if groups is not None and scores <= _MOST else 0


def _counts(yes_K: NDArray[np.int64], n: int) -> tuple[Counts, Counts]:
    return yes_K.astype(np.float64), (n - yes_K).astype(np.float64)


def _by_groups(
    probs_NK: Floats, held_NK: Bools, auc_K: Counts, groups: list[str], resamples: int, seed: int
) -> list[Interval | None]:
    """Return the intervals of the AUCs of rows in groups; None where a class, or what is not of it, is in one alone."""
    with_K = [groups_with(groups, rows_NK).astype(np.float64) for rows_NK in (held_NK, ~held_NK)]
    independent = auc_intervals(auc_K, *with_K)
    drawn_KR = resampled_ranks(probs_NK, held_NK, groups, resamples, seed)[1]
    found: list[Interval | None] = []
    for drawn_R, fewest, of_groups in zip(drawn_KR, np.minimum(*with_K), independent, strict=True):
        defined = drawn_R[~np.isnan(drawn_R)]
        if fewest < 2 or not len(defined):
            found.append(None)
        else:
            found.append(percentile_interval(defined, int(fewest)) if np.ptp(defined) > 0 else of_groups)
    return found
