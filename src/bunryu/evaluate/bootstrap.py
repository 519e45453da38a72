"""The bootstrap of figures that come from counts: it resamples those counts, never the rows.

- rows that are independent of each other: a resample of n rows is a multinomial draw over the
  non-zero cells of the confusion matrix (Efron & Tibshirani, "An Introduction to the Bootstrap", 1993);
- rows in groups (persons, patients, videos): whole groups are drawn with replacement (Davison & Hinkley,
  "Bootstrap Methods and their Application", 1997, section 3.8; Field & Welsh, "Bootstrapping clustered
  data", JRSS B 69, 2007). Groups with the same counts are one kind of unit, so that is a multinomial too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bunryu.core.randomness import generator
from bunryu.evaluate.figures import Bootstrap, Interval

_Counts = NDArray[np.float64]
_FREQUENT = 8
"""Units seen at least this often are drawn as counts, rarer ones one by one: about equal cost here."""
_LEAST, _RANKED = 200, 100_000_000
"""Resamples of scores, at least; and of their rows times classes, at most: a few seconds."""
_CHUNK = 1_500_000
"""Counts held at once while resampling: a few tens of MB, which still fit a processor's cache."""


class Units(NamedTuple):
    """Kinds of bootstrap units: how often each occurs, and the confusion cells each brings along."""

    times: NDArray[np.int64]
    row_unit: NDArray[np.int64]
    """Index into `times` for each listed cell."""
    row_cell: NDArray[np.int64]
    """Cell of the confusion matrix, true * K + predicted; listed once a row of the unit."""


def units_of(cells_N: NDArray[np.int64], groups: Sequence[str] | None, seed: int) -> Units:
    """Return what a bootstrap draws: rows by their cells, or whole groups of rows."""
    if groups is None:
        cells, times = np.unique(cells_N, return_counts=True)
        return Units(times, np.arange(len(cells)), cells)
    ids = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    group_N = np.fromiter((ids[name] for name in groups), np.int64, len(groups))
    # Groups are alike when their cells are, as multisets: compare sums of one random 64-bit word a cell.
    distinct, cell_N = np.unique(cells_N, return_inverse=True)
    words = generator(seed, "bootstrap-cells").integers(0, 2**64, len(distinct), dtype=np.uint64)
    prints_G = np.zeros(len(ids), np.uint64)
    np.add.at(prints_G, group_N, words[cell_N])
    _, first, unit_G, times = np.unique(prints_G, return_index=True, return_inverse=True, return_counts=True)
    mine = first[unit_G[group_N]] == group_N
    return Units(times, unit_G[group_N][mine], cells_N[mine])


def drawn_from(units: Units, grouped: bool, resamples: int, *, perfect: bool, scores: int = 0) -> Bootstrap:
    """Say what is resampled. Where every answer is right that would find no spread: see `exact_interval`.

    Args:
        units: what is drawn.
        grouped: they are groups of rows.
        resamples: how often.
        perfect: every answer is right.
        scores: rows times classes whose order is resampled too; see `rank_resamples`.
    """
    of: Literal["rows", "groups"] = "groups" if grouped else "rows"
    fewer = rank_resamples(resamples, scores)
    more = {"rank_resamples": fewer} if fewer < resamples and not perfect else {}
    return Bootstrap(resamples=0 if perfect else resamples, of=of, units=int(units.times.sum()), **more)


def rank_resamples(resamples: int, scores: int) -> int:
    """Return how often the order of so many scores is resampled: fewer times than asked for where it takes long."""
    return min(resamples, max(_LEAST, _RANKED // max(scores, 1)))


def exact_interval(units: int) -> Interval:
    """Return the two-sided interval of a proportion of so many units without one error (Clopper & Pearson 1934)."""
    return Interval(0.025 ** (1 / units), 1.0)


def percentile_interval(values_R: _Counts, units: int) -> Interval:
    """Return the 95 % interval of resamples: their 2.5th and 97.5th percentile, a little further out of few units.

    Resamples of n units spread by sqrt((n - 1) / n) too little, and are normal where n units have Student's t: the
    "expanded percentile interval" takes the percentiles that make up for both (Hesterberg 2015, "What Teachers Should
    Know About the Bootstrap", The American Statistician 69, section 5.3). Of 1,000 units they are 2.49 and 97.51.

    Args:
        values_R: what was found in each resample.
        units: the rows or groups that were drawn.
    """
    from scipy.special import ndtr, stdtrit

    units = max(units, 2)
    least = ndtr(np.sqrt(units / (units - 1)) * stdtrit(units - 1, 0.025))
    low, high = np.quantile(values_R, [least, 1 - least])
    return Interval(float(low), float(high))


def resampled(units: Units, k: int, resamples: int, seed: int) -> Iterator[tuple[_Counts, _Counts, _Counts]]:
    """Yield (tp, support, predicted), each of shape (K, R), for R resamples at a time.

    Units of the same `times` are drawn alike, whatever their cells: so two classifiers are measured on the same rows.
    """
    from scipy.sparse import csr_array

    u = len(units.times)
    true, pred = units.row_cell // k, units.row_cell % k
    right = true == pred
    rows = np.concatenate([true[right], true + k, pred + 2 * k])
    columns = np.concatenate([units.row_unit[right], units.row_unit, units.row_unit])
    brings = csr_array((np.ones(len(rows), np.float32), (rows, columns)), shape=(3 * k, u))
    rng = generator(seed, "bootstrap")
    step = max(1, _CHUNK // max(u, 3 * k))
    for start in range(0, resamples, step):
        drawn_RU = draw(rng, units.times, min(step, resamples - start))
        totals = np.asarray(brings @ drawn_RU.T, np.float64).reshape(3, k, -1)
        yield totals[0], totals[1], totals[2]


def draw(rng: np.random.Generator, times_U: NDArray[np.int64], resamples: int) -> NDArray[np.float32]:
    """Draw as many units as there are, with replacement: how often each kind comes up, shape (R, U).

    The same as ``rng.multinomial(times_U.sum(), times_U / times_U.sum(), resamples)``, which takes too
    long when there are many rare kinds: those are one kind at first, then drawn one by one.
    """
    often = times_U >= _FREQUENT
    rare = np.repeat(np.flatnonzero(~often), times_U[~often])
    shares = np.append(times_U[often], len(rare)) / times_U.sum()
    counts = rng.multinomial(times_U.sum(), shares, resamples)
    drawn_RU = np.zeros((resamples, len(times_U)), np.float32)
    drawn_RU[:, often] = counts[:, :-1]
    if len(rare):
        for row, number in zip(drawn_RU, counts[:, -1], strict=True):
            row += np.bincount(rare[rng.integers(0, len(rare), number)], minlength=len(times_U))
    return drawn_RU
