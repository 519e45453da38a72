"""Rows onto sides: units of rows are never cut, and each stratum is spread over the sides by its shares.

Units of several rows (a person, copies of one picture) are placed one by one, those that matter most first,
each where it leaves the strata nearest to their shares: the greedy of scikit-learn's StratifiedGroupKFold,
for shares of any size and with sparse counts. Single rows then fill up what is missing, by exact rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
_EPSILON = 1e-9
_TRIES = 8  # a greedy split of few large groups depends much on luck
_MANY = 5000


def join(*keys: Ints) -> Ints:
    """Return the unit of each row: rows that share a key, directly or through others, are one unit.

    Args:
        keys: shape (rows,) each; a negative key is shared with no one.

    Returns:
        Units numbered from 0 in the order of their first rows.
    """
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    rows = len(keys[0])
    nodes = rows
    ends: list[tuple[Ints, Ints]] = []
    for key in keys:
        shared = np.flatnonzero(key >= 0)
        ends.append((shared, key[shared] + nodes))
        nodes += int(key.max(initial=-1)) + 1
    tails, heads = (np.concatenate(side) for side in zip(*ends, strict=True))
    graph = coo_array((np.ones(len(tails), dtype=np.int8), (tails, heads)), shape=(nodes, nodes))
    _, part = connected_components(graph, directed=False)
    return number(part[:rows])


def number(values: NDArray[Any]) -> Ints:
    """Number equal values alike, from 0 in the order in which they first appear."""
    _, first, inverse = np.unique(values, return_index=True, return_inverse=True)
    rank = np.empty(len(first), dtype=np.int64)
    rank[np.argsort(first)] = np.arange(len(first))
    return rank[inverse]


@dataclass(frozen=True)
class Holdings:
    """How many rows of each kind each unit holds, sparse: unit u's are ``[start[u]:start[u + 1]]``."""

    start: Ints
    kinds: Ints
    counts: Floats

    @classmethod
    def of(cls, units: Ints, kinds: Ints) -> Holdings:
        """Count `kinds` (one a row) in `units` (one a row)."""
        many = int(kinds.max(initial=-1)) + 1
        pairs, counts = np.unique(units * many + kinds, return_counts=True)
        start = np.searchsorted(pairs, np.arange(int(units.max(initial=-1)) + 2) * many)
        return cls(start.astype(np.int64), pairs % many, counts.astype(np.float64))

    def __getitem__(self, unit: int) -> slice:
        """Return where in `kinds` and `counts` a unit's entries are."""
        return slice(self.start[unit], self.start[unit + 1])

    def owners(self) -> Ints:
        """Return the unit of each entry."""
        return np.repeat(np.arange(len(self.start) - 1), np.diff(self.start))


class Sides:
    """Where each unit lies, and how many rows of each stratum (last: of all) each side has."""

    def __init__(self, units: Ints, strata: Ints, shares: Floats, owners: Ints | None = None) -> None:
        """See `divide`; with `owners` the strata are those of any number of entries, each of the unit given there."""
        everything = np.full(len(units), strata.max(initial=-1) + 1)
        of = units if owners is None else owners
        self.holdings = Holdings.of(np.concatenate([of, units]), np.concatenate([strata, everything]))
        self.sizes = np.bincount(units)
        self.totals = np.bincount(self.holdings.kinds, self.holdings.counts)
        self.shares = shares
        self.counts = np.zeros((len(self.totals), len(shares)))
        self.side = np.full(len(self.sizes), -1)

    def costs(self, unit: int) -> Floats:
        """Return by how much the misfit would grow with a unit on each side."""
        part = self.holdings[unit]
        kinds, c = self.holdings.kinds[part], self.holdings.counts[part][:, None]
        total = self.totals[kinds][:, None]
        growth: Floats = (2 * c * (self.counts[kinds] - total * self.shares) + c * c) / (total * total)
        costs: Floats = np.round(growth.sum(axis=0) / self.shares, 9)  # rounded: the same ties everywhere
        return costs

    def misfit(self) -> float:
        """Return how far the strata are from their shares: the sum of (is - should)² / should."""
        apart = self.counts / self.totals[:, None] - self.shares
        return round(float((apart**2 / self.shares).sum()), 9)

    def put(self, unit: int, side: int) -> None:
        """Put a unit on a side, taking it from where it was."""
        part = self.holdings[unit]
        kinds, counts = self.holdings.kinds[part], self.holdings.counts[part]
        if self.side[unit] >= 0:
            self.counts[kinds, self.side[unit]] -= counts
        self.counts[kinds, side] += counts
        self.side[unit] = side


def divide(units: Ints, strata: Ints, shares: Floats, random: np.random.Generator) -> Sides:
    """Put every unit on a side.

    Args:
        units: the unit of each row, numbered from 0.
        strata: the stratum of each row, numbered from 0.
        shares: how much of each stratum each side should have; they are above 0 and sum to 1.
        random: decides among equals, and the order of units of about the same weight.
    """
    sizes = np.bincount(units)
    tries = _TRIES if sizes.max() > 1 and (sizes > 1).sum() <= _MANY else 1
    draws = random.random((tries, len(sizes)))
    return min((_attempt(units, strata, shares, draw) for draw in draws), key=lambda sides: sides.misfit())


def divide_sets(
    units: Ints, held_NL: NDArray[np.bool_], shares: Floats, random: np.random.Generator, strata: Ints | None = None
) -> Sides:
    """Put every unit on a side, where a row has any number of labels, so that each label comes to its shares.

    As in iterative stratification (Sechidis, Tsoumakas & Vlahavas 2011, "On the stratification of multi-label data"),
    rows with rare labels are placed first; each goes where it leaves its labels and the sides nearest to their shares.
    Combinations of labels, most of which may be there once, play no part. Then each side gets a row with each label
    and one without it, the first side before the others, as far as there are such rows.

    Args:
        units: the unit of each row, numbered from 0.
        held_NL: which labels hold for each row.
        shares: as for `divide`.
        random: decides among equals.
        strata: spread these evenly instead of the labels.
    """
    found = _attempt_sets(units, held_NL, shares, random) if strata is None else divide(units, strata, shares, random)
    labels = held_NL.shape[1]
    states_NL = 2 * np.arange(labels) + held_NL
    held = Holdings.of(np.repeat(units, labels), states_NL.ravel())
    of_state = np.bincount(held.kinds, minlength=2 * labels)
    give_each(found, held, of_state[:, None] > np.arange(len(shares)))
    return found


def _attempt_sets(units: Ints, held_NL: NDArray[np.bool_], shares: Floats, random: np.random.Generator) -> Sides:
    rows, labels = np.nonzero(held_NL[:, held_NL.any(axis=0)])
    sizes = np.bincount(units)
    attempts = []
    for draw in random.random((_TRIES if len(sizes) <= _MANY else 1, len(sizes))):
        sides = Sides(units, labels, shares, units[rows])
        _greedy(sides, np.arange(len(sizes)), draw)
        attempts.append(sides)
    return min(attempts, key=lambda sides: sides.misfit())


def _attempt(units: Ints, strata: Ints, shares: Floats, draw: Floats) -> Sides:
    sides = Sides(units, strata, shares)
    _greedy(sides, np.flatnonzero(sides.sizes > 1), draw)
    _fill(sides, units, strata, draw)
    return sides


def _greedy(sides: Sides, which: Ints, draw: Floats) -> None:
    """Put these units one by one, those that matter most first, each where it costs least."""
    held = sides.holdings
    weight = np.bincount(held.owners(), (held.counts / sides.totals[held.kinds]) ** 2)
    rank = -np.floor(np.log2(weight))  # in powers of two, so that seeds differ where weights do too
    for unit in which[np.lexsort((draw[which], rank[which]))].tolist():
        sides.put(unit, int(np.argmin(sides.costs(unit))))


def _fill(sides: Sides, units: Ints, strata: Ints, draw: Floats) -> None:
    """Put the units of one row so that each stratum comes to its shares."""
    single = sides.sizes[units] == 1
    unit, stratum = units[single], strata[single]
    rows = np.bincount(stratum, minlength=len(sides.totals) - 1)
    missing = np.maximum(sides.totals[:-1, None] * sides.shares - sides.counts[:-1], 0.0)
    short = missing.sum(axis=1, keepdims=True) < _EPSILON
    missing = np.where(short, sides.shares, missing)
    wanted = missing * (rows / missing.sum(axis=1))[:, None]
    order = np.lexsort((draw[unit], stratum))
    tie = np.zeros(len(rows))
    tie[stratum[order[::-1]]] = draw[unit[order[::-1]]]
    ends = np.cumsum(round_shares(wanted, rows, tie), axis=1)
    rank = np.arange(len(order)) - (np.cumsum(rows) - rows)[stratum[order]]
    side = (rank[:, None] >= ends[stratum[order]]).sum(axis=1)
    sides.side[unit[order]] = side
    np.add.at(sides.counts, (stratum[order], side), 1.0)
    sides.counts[-1] += np.bincount(side, minlength=len(sides.shares))


def round_shares(wanted: Floats, rows: Ints, tie: Floats) -> Ints:
    """Round a matrix (strata x sides) so that each line sums to `rows` and each number moves by less than 1.

    The sides are halved again and again; in each half, the strata with the largest remainders are rounded
    up until the half has its total, so that the columns come out right too.
    """
    if wanted.shape[1] == 1:
        return rows[:, None].astype(np.int64)
    middle = wanted.shape[1] // 2
    left, right = wanted[:, :middle].sum(axis=1), wanted[:, middle:].sum(axis=1)
    low, low_right = np.floor(left + _EPSILON), np.floor(right + _EPSILON)
    spare = rows - low - low_right
    low += spare >= 2
    free = np.flatnonzero(spare == 1)
    up = round(float(left.sum() * rows.sum() / max(wanted.sum(), _EPSILON)) - float(low.sum()))
    urge = np.round(left - low - (right - low_right), 9)[free]
    low[free[np.lexsort((tie[free], -urge))[: max(up, 0)]]] += 1
    halves = low.astype(np.int64), (rows - low).astype(np.int64)
    return np.hstack(
        [round_shares(wanted[:, :middle], halves[0], tie), round_shares(wanted[:, middle:], halves[1], tie)]
    )


def give_each(sides: Sides, classes: Holdings, need: NDArray[np.bool_]) -> None:
    """Move units so that, where it can be done, each side has a unit of each class that it needs.

    Args:
        sides: changed in place.
        classes: what the units hold of each class.
        need: shape (classes, sides); what an earlier side needs comes before a later one's need.
    """
    owners = classes.owners()
    have = np.zeros(need.shape, dtype=np.int64)
    np.add.at(have, (classes.kinds, sides.side[owners]), 1)
    order = np.argsort(classes.kinds, kind="stable")
    first = np.searchsorted(classes.kinds[order], np.arange(len(need) + 1))
    for side in range(need.shape[1]):
        for lacking in np.flatnonzero(need[:, side] & (have[:, side] == 0)).tolist():
            units = owners[order[first[lacking] : first[lacking + 1]]].tolist()
            unit = _spare(sides, classes, need, have, units, side)
            if unit is not None and have[lacking, side] == 0:  # else mended on the way
                kinds = classes.kinds[classes[unit]]
                have[kinds, sides.side[unit]] -= 1
                have[kinds, side] += 1
                sides.put(unit, side)


def _spare(
    sides: Sides, classes: Holdings, need: NDArray[np.bool_], have: Ints, units: list[int], side: int
) -> int | None:
    """Return which of `units` can best go to `side`: without robbing its home of a class, if possible."""
    best: tuple[bool, float, int] | None = None
    for unit in units:
        kinds, home = classes.kinds[classes[unit]], int(sides.side[unit])
        robbed = bool((need[kinds, home] & (have[kinds, home] == 1)).any())
        if not robbed or side < home:
            costs = sides.costs(unit)
            candidate = (robbed, float(costs[side] - costs[home]), unit)
            best = candidate if best is None else min(best, candidate)
    return best[2] if best else None
