"""Figures of the order of scores, which know no threshold: ROC AUC and its interval, resamples of the mean AP.

Pure functions on arrays, torch-free.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.randomness import generator
from bunryu.evaluate.bootstrap import draw, rank_resamples
from bunryu.evaluate.class_intervals import Z
from bunryu.evaluate.figures import Interval

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]
Counts = NDArray[np.float64]
_CHUNK = 4_000_000
"""Numbers held at once while resampling."""


def roc_auc(positive_N: NDArray[np.bool_], score_N: NDArray[np.floating[Any]]) -> float:
    """Return the area under the ROC curve: how often a positive row has a higher score than another, ties as half.

    That is the Mann-Whitney statistic (Hanley & McNeil 1982). Scikit-learn's gives the same, but takes 0.9 s to import.
    """
    _, place_N, times = np.unique(score_N, return_inverse=True, return_counts=True)
    rank_N = (np.cumsum(times) - (times - 1) / 2)[place_N]
    positives, n = int(positive_N.sum()), len(positive_N)
    above = rank_N[positive_N].sum() - positives * (positives + 1) / 2
    return float(above / (positives * (n - positives)))


def resampled_map(probs_NL: Floats, held_NL: Bools, groups: list[str] | None, resamples: int, seed: int) -> Counts:
    """Return the mean average precision (R,) of resamples of rows or groups.

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
    ap_LR = np.full((labels, resamples), np.nan)
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
            with np.errstate(invalid="ignore"):
                ap_LR[k, part] = (found_RE * tp_RE / np.maximum(said_RE, 1)).sum(axis=1) / tp_RE[:, -1]
    defined = ~np.isnan(ap_LR)
    several_R = defined.sum(axis=0)
    return np.where(several_R > 0, np.where(defined, ap_LR, 0.0).sum(axis=0) / np.maximum(several_R, 1), np.nan)


def auc_intervals(auc_K: Counts, positives_K: Counts, others_K: Counts, z_K: Counts | float = Z) -> list[Interval]:
    """Return the 95 % interval of each ROC AUC of independent rows, which stays within 0 and 1 and has a width at 1.

    As Wilson does for a share, it takes the values of which what was found lies within 1.96 standard errors, that are
    theirs (Newcombe 2006, "Confidence intervals for an effect size measure based on the Mann-Whitney statistic. Part
    2", Statistics in Medicine 25, method 5).

    Args:
        auc_K: what was found.
        positives_K: rows of the class, one or more.
        others_K: rows of the others, one or more.
        z_K: how many standard errors.
    """

    def end(inside_K: Counts, outside_K: Counts) -> Counts:
        for _ in range(50):  # halved until it is exact
            middle_K = (inside_K + outside_K) / 2
            far_K = np.abs(middle_K - auc_K) > z_K * _auc_error(middle_K, positives_K, others_K)
            inside_K, outside_K = np.where(far_K, inside_K, middle_K), np.where(far_K, middle_K, outside_K)
        return inside_K

    low_K = np.where(auc_K > 0, end(auc_K, np.zeros_like(auc_K)), 0.0)
    high_K = np.where(auc_K < 1, end(auc_K, np.ones_like(auc_K)), 1.0)
    return [Interval(low, high) for low, high in zip(low_K.tolist(), high_K.tolist(), strict=True)]


def _auc_error(auc_K: Counts, positives_K: Counts, others_K: Counts) -> Counts:
    """Return the standard error of an AUC of this value (Newcombe's form of Hanley & McNeil's, both sides alike)."""
    rows_K = np.maximum((positives_K + others_K) / 2 - 1, 0)
    factor_K = 1 + rows_K * (1 - auc_K) / (2 - auc_K) + rows_K * auc_K / (1 + auc_K)
    found: Counts = np.sqrt(auc_K * (1 - auc_K) * factor_K / (positives_K * others_K))
    return found


def class_aucs(
    probs_NK: Floats, held_NK: Bools, groups: Sequence[str] | None, *, intervals: bool
) -> list[dict[str, Any]]:
    """Return of each class its ROC AUC against all others, and the interval of it, as fields.

    The AUC is null where the rows are all of the class, or none. The interval of rows in groups is that of as many
    independent rows as would spread so: see `_by_groups`.

    Args:
        probs_NK: scores of each class.
        held_NK: which rows are of it.
        groups: the group of each row, or None.
        intervals: whether there shall be some.
    """
    from bunryu.evaluate.significance import numbered  # it takes scipy, which is slow to load

    yes_K, n, k = held_NK.sum(axis=0), *held_NK.shape
    known = np.flatnonzero((yes_K > 0) & (yes_K < n))
    found: list[dict[str, Any]] = [{"roc_auc": None} for _ in range(k)]
    auc_K = np.array([roc_auc(held_NK[:, c], probs_NK[:, c]) for c in known])
    unit_N, ends = numbered(groups), list[Interval | None]([None] * len(known))
    if intervals and unit_N is None:
        positives_K = yes_K[known].astype(np.float64)
        ends = list(auc_intervals(auc_K, positives_K, n - positives_K))
    elif intervals and unit_N is not None:
        ends = [_by_groups(probs_NK[:, c], held_NK[:, c], auc, unit_N) for c, auc in zip(known, auc_K, strict=True)]
    for c, auc, interval in zip(known.tolist(), auc_K.tolist(), ends, strict=True):
        found[c] = {"roc_auc": auc} | ({} if interval is None else {"roc_auc_ci": interval})
    return found


def _by_groups(score_N: Floats, held_N: Bools, auc: float, unit_N: NDArray[np.int64]) -> Interval | None:
    """Return the interval of the AUC of rows in groups; None where the class, or what is not of it, is in one alone.

    The variance is that of what each group adds to the AUC (Obuchowski 1997, "Nonparametric analysis of clustered ROC
    curve data", Biometrics 53); the interval Newcombe's for as many rows as have it, with Student's t of the groups
    with rows of the class, or with others, whichever are fewer. Of an AUC of 0 or 1 it is that of so many groups.
    """
    from scipy.special import stdtrit

    units = int(unit_N.max()) + 1
    with_2 = np.array([np.count_nonzero(np.bincount(unit_N[rows_N])) for rows_N in (held_N, ~held_N)], np.float64)
    if with_2.min() < 2:
        return None
    one = np.array([auc])
    if auc in (0.0, 1.0):
        return auc_intervals(one, *with_2[:, None])[0]
    yes, no = float(held_N.sum()), float((~held_N).sum())
    _, place_N, times = np.unique(score_N, return_inverse=True, return_counts=True)
    yes_S = np.bincount(place_N[held_N], minlength=len(times))
    no_S = times - yes_S
    below_S, above_S = (np.cumsum(no_S) - no_S / 2) / no, 1 - (np.cumsum(yes_S) - yes_S / 2) / yes
    beyond_N = np.where(held_N, (below_S[place_N] - auc) / yes, (above_S[place_N] - auc) / no)
    variance = (np.bincount(unit_N, beyond_N) ** 2).sum() * units / (units - 1)
    alike = float(_auc_error(one, np.array([yes]), np.array([no]))[0]) ** 2 / max(variance, np.finfo(np.float64).tiny)
    alike = min(max(alike, 1 / min(yes, no)), 1.0)
    z = float(stdtrit(with_2.min() - 1, 0.975))
    return auc_intervals(one, np.array([alike * yes]), np.array([alike * no]), z)[0]
