"""95 % intervals of the precision, recall and F1 of each class: from its counts, or by drawing whole groups again.

- rows that are independent of each other: precision and recall are shares, and get Wilson's interval (1927). F1 does
  too, by way of F* = tp / (rows that are of the class or are answered with it), which is a share as well: F1 is
  2 F* / (1 + F*) (Lam, Gopal & Qian 2023, "Confidence Intervals for the F1 Score: A Comparison of Four Methods",
  arXiv 2309.14621: the Wilson indirect method);
- rows in groups: the percentiles of the resamples of `bootstrap`. Where all of them agree since every answer of a class
  is right, or none, that finds no spread: the interval is then the exact one of so many groups without an exception.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bunryu.evaluate.bootstrap import exact_interval, percentile_interval
from bunryu.evaluate.figures import Interval

Counts = NDArray[np.float64]
Bools = NDArray[np.bool_]
Z = 1.959963984540054
"""The 97.5th percentile of the normal distribution."""
FIGURES = ("precision", "recall", "f1")


def wilson(successes_K: Counts, trials_K: Counts) -> list[Interval | None]:
    """Return the interval of each share (Wilson 1927, without a correction for continuity); None without a trial."""
    n = np.maximum(trials_K, 1)
    share, z2 = successes_K / n, Z**2
    middle, half = share + z2 / (2 * n), Z * np.sqrt(share * (1 - share) / n + z2 / (4 * n**2))
    low = np.where(successes_K == 0, 0.0, (middle - half) / (1 + z2 / n))
    high = np.where(successes_K == trials_K, 1.0, (middle + half) / (1 + z2 / n))
    ends = zip(low.tolist(), high.tolist(), trials_K, strict=True)
    return [Interval(a, b) if rows else None for a, b, rows in ends]


def of_rows(tp_K: Counts, support_K: Counts, predicted_K: Counts) -> list[dict[str, Interval]]:
    """Return of each class the intervals of `FIGURES`, as fields; those that are defined.

    Args:
        tp_K: right answers by class.
        support_K: rows of the truth.
        predicted_K: answers given.
    """
    either = [
        None if found is None else Interval(*(2 * end / (1 + end) for end in found))
        for found in wilson(tp_K, support_K + predicted_K - tp_K)
    ]
    return _fields(wilson(tp_K, predicted_K), wilson(tp_K, support_K), either)


def of_groups(
    resamples: Iterable[tuple[Counts, Counts, Counts]], groups: Mapping[str, NDArray[np.int64]]
) -> list[dict[str, Interval]]:
    """Return the same of rows in groups.

    Args:
        resamples: (tp, support, predicted), each of shape (K, R), as `bootstrap.resampled` yields them.
        groups: of each of `FIGURES` how many groups have a row that it counts, shape (K,): see `groups_counted`.
    """
    chunks = [_shares(*counts) for counts in resamples]
    drawn = [np.concatenate([chunk[at] for chunk in chunks], axis=1) for at in range(len(FIGURES))]
    columns = [
        [spread(values_R, int(units)) for values_R, units in zip(values_KR, groups[name], strict=True)]
        for name, values_KR in zip(FIGURES, drawn, strict=True)
    ]
    return _fields(*columns)


def spread(values_R: Counts, units: int) -> Interval | None:
    """Return the percentiles of the resamples in which a share is defined; see the module for those without a spread.

    Args:
        values_R: a share in each resample; nan where it is not defined.
        units: how many groups it comes from; of fewer than two there is no interval.
    """
    defined = values_R[~np.isnan(values_R)]
    if units < 2 or not len(defined):
        return None
    found = percentile_interval(defined)
    if found.low < found.high or found.low not in (0.0, 1.0):
        return found
    exact = exact_interval(units)
    return exact if found.low == 1.0 else Interval(0.0, 1.0 - exact.low)


def groups_with(groups: Sequence[str], rows_NK: Bools) -> NDArray[np.int64]:
    """Return how many groups have a row of each of K kinds, shape (K,).

    Args:
        groups: the group of each row.
        rows_NK: which rows are of each kind.
    """
    of_N = np.unique(np.array(groups), return_inverse=True)[1]
    return np.array([np.count_nonzero(np.bincount(of_N[rows_N])) for rows_N in rows_NK.T], np.int64)


def groups_counted(groups: Sequence[str], true_NK: Bools, said_NK: Bools) -> dict[str, NDArray[np.int64]]:
    """Return of each of `FIGURES` how many groups have a row that it counts, from the truth and the answers."""
    counted = {"precision": said_NK, "recall": true_NK, "f1": true_NK | said_NK}
    return {name: groups_with(groups, rows_NK) for name, rows_NK in counted.items()}


def _shares(tp: Counts, support: Counts, predicted: Counts) -> tuple[Counts, Counts, Counts]:
    with np.errstate(invalid="ignore"):
        return tp / predicted, tp / support, 2 * tp / (support + predicted)


def _fields(*columns: list[Interval | None]) -> list[dict[str, Interval]]:
    return [
        {f"{name}_ci": found for name, found in zip(FIGURES, row, strict=True) if found is not None}
        for row in zip(*columns, strict=True)
    ]
