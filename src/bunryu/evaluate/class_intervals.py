"""95 % intervals of the precision, recall and F1 of each class, from its counts: closed forms, no resamples.

- rows that are independent of each other: precision and recall are shares, and get Wilson's interval (1927). F1 does
  too, by way of F* = tp / (rows that are of the class or are answered with it), which is a share as well: F1 is
  2 F* / (1 + F*) (Lam, Gopal & Qian 2023, "Confidence Intervals for the F1 Score: A Comparison of Four Methods",
  arXiv 2309.14621: the Wilson indirect method);
- rows in groups: the same of as many rows as would spread so (Korn & Graubard 1998, "Confidence Intervals for
  Proportions with Small Expected Number of Positive Counts Estimated from Survey Data"), with Student's t of the groups
  that have such rows. Where every answer is right, or none, it is the exact interval of so many groups.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bunryu.evaluate.figures import Interval

Counts = NDArray[np.float64]
Z = 1.959963984540054
"""The 97.5th percentile of the normal distribution."""
FIGURES = ("precision", "recall", "f1")


def wilson(successes_K: Counts, trials_K: Counts) -> list[Interval | None]:
    """Return the interval of each share (Wilson 1927, without a correction for continuity); None without a trial."""
    share_K = successes_K / np.maximum(trials_K, 1)
    ends = zip(*_wilson(share_K, np.maximum(trials_K, 1), np.full(len(share_K), Z)), trials_K, strict=True)
    return [Interval(float(a), float(b)) if rows else None for a, b, rows in ends]


def wilson_of_groups(successes_GK: Counts, trials_GK: Counts) -> list[Interval | None]:
    """Return the same of rows in G groups, whose rows are not independent; None where fewer than two have a trial."""
    from scipy.special import stdtrit

    groups_K, n_K = (trials_GK > 0).sum(axis=0), np.maximum(trials_GK.sum(axis=0), 1)
    share_K, several_K = successes_GK.sum(axis=0) / n_K, np.maximum(groups_K, 2)
    variance_K = ((successes_GK - share_K * trials_GK) ** 2).sum(axis=0) * several_K / (several_K - 1) / n_K**2
    alike_K = share_K * (1 - share_K) / np.maximum(variance_K, np.finfo(np.float64).tiny)
    low_K, high_K = _wilson(share_K, np.clip(alike_K, 1, n_K), stdtrit(several_K - 1, 0.975))
    exact_K = 0.025 ** (1 / several_K)
    low_K = np.where(share_K == 1, exact_K, low_K)
    high_K = np.where(share_K == 0, 1 - exact_K, high_K)
    ends = zip(low_K.tolist(), high_K.tolist(), groups_K, strict=True)
    return [Interval(a, b) if groups > 1 else None for a, b, groups in ends]


def _wilson(share_K: Counts, n_K: Counts, z_K: Counts) -> tuple[Counts, Counts]:
    middle_K = share_K + z_K**2 / (2 * n_K)
    half_K = z_K * np.sqrt(share_K * (1 - share_K) / n_K + z_K**2 / (4 * n_K**2))
    below_K = 1 + z_K**2 / n_K
    low_K, high_K = (middle_K - half_K) / below_K, (middle_K + half_K) / below_K
    return np.where(share_K == 0, 0.0, low_K), np.where(share_K == 1, 1.0, high_K)


def of_counts(tp: Counts, support: Counts, predicted: Counts) -> list[dict[str, Interval]]:
    """Return of each class the intervals of `FIGURES`, as fields; those that are defined.

    Args:
        tp: right answers by class, shape (K,); or by group and class, (G, K), where rows of a group are not
            independent.
        support: rows of the truth, likewise.
        predicted: answers given, likewise.
    """
    shares = wilson if tp.ndim == 1 else wilson_of_groups
    either = [
        None if found is None else Interval(*(2 * end / (1 + end) for end in found))
        for found in shares(tp, support + predicted - tp)
    ]
    rows = zip(shares(tp, predicted), shares(tp, support), either, strict=True)
    return [
        {f"{name}_ci": found for name, found in zip(FIGURES, row, strict=True) if found is not None} for row in rows
    ]


def sums_of(unit_N: NDArray[np.int64], kind_N: NDArray[np.int64], units: int, kinds: int) -> Counts:
    """Return how many rows of each kind each unit has, shape (units, kinds)."""
    cells = np.bincount(unit_N * kinds + kind_N, minlength=units * kinds)
    return cells.reshape(units, kinds).astype(np.float64)
