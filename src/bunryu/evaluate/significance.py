"""Is it noise? The tests behind every sentence that says better, worse or beyond noise: pure functions on arrays.

Each is exact, or draws at random from the distribution that would be exact, counting what was found as one of the
draws (Phipson & Smyth 2010, "Permutation p-values should never be zero"). What is compared several times goes through
`holm`. Intervals are another matter: see `bootstrap`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import comb, gammaln, ndtr

from bunryu.core.randomness import generator

_Floats = NDArray[np.float64]

_LISTED = 12
"""Units whose 2^n swaps are all listed; of more, swaps are drawn."""
_DRAWS, _PER_TEST = 1_999, 100
_CHUNK = 2_000_000
_EXACT = 2_000
"""Rows times the rarer kind of them, up to which the distribution of a rank sum is worked out in full."""
_MANY = 15
"""From so many of the rarer kind on a rank sum is normal, unless ties skew it."""
_SKEWED = 0.1
_NORMAL = 5_000
"""Units of which a sum with random signs is normal."""
_NOUGHT = 1e-12


def holm(p_values: Sequence[float], of: int | None = None) -> list[float]:
    """Return p-values adjusted for being several (Holm 1979), in their order.

    Args:
        p_values: of the tests that are told.
        of: how many there were to choose them from; all that are given when None.
    """
    of = len(p_values) if of is None else of
    found, least = [0.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=p_values.__getitem__)):
        least = max(least, min(1.0, (of - rank) * p_values[at]))
        found[at] = least
    return found


def below(level: float, p_values: Sequence[float]) -> list[bool | None]:
    """Return of each test whether its p, adjusted for all of them, is below a level; None where it is nan: not made."""
    found = iter(holm([p for p in p_values if not math.isnan(p)]))
    return [None if math.isnan(p) else next(found) < level for p in p_values]


def draws_for(tests: int) -> int:
    """Return how many draws a p needs that stays below the level after Holm over so many tests."""
    return max(_DRAWS, _PER_TEST * tests)


def swaps(
    times_U: NDArray[np.int64], draws: int, rng: np.random.Generator, width: int, at_once: int = _CHUNK
) -> Iterator[_Floats]:
    """Yield how many units of each kind are swapped, shape (R, U): in every way there is, or `draws` at random.

    Args:
        times_U: units of each kind; each is swapped or not, as a coin falls.
        draws: how many, unless all are listed; the first that is yielded is then the one that swaps nothing.
        rng: draws them.
        width: numbers a swap that are held at once.
        at_once: how many are drawn at once, at most.
    """
    total = int(times_U.sum())
    if total <= _LISTED:
        kind_T = np.repeat(np.arange(len(times_U)), times_U)
        bits_RT = np.arange(2**total)[:, None] >> np.arange(total) & 1
        yield bits_RT @ np.eye(len(times_U))[kind_T]
        return
    yield np.zeros((1, len(times_U)))
    step = max(1, min(at_once, _CHUNK // max(width, 1)))
    for start in range(0, draws, step):
        yield rng.binomial(times_U, 0.5, (min(step, draws - start), len(times_U))).astype(np.float64)


def share_reaching(found: float | _Floats, drawn: Iterator[_Floats]) -> _Floats:
    """Return how large a share of the draws, shape (R, ...), is as large as what was found, but for rounding."""
    reached, many = np.zeros(np.shape(found)), 0
    least = np.asarray(found) - 1e-9 * np.maximum(np.abs(found), 1e-3)
    for values in drawn:
        reached, many = reached + (values >= least).sum(axis=0), many + len(values)
    return reached / many


def is_seldom(found: float, drawn: Iterator[_Floats], draws: int, level: float) -> bool:
    """Return whether `share_reaching` is below a level. It stops drawing where that is decided, which changes nothing.

    Args:
        found: what was found.
        drawn: what `swaps` came to, a chunk (R,) at a time.
        draws: how many come, beside what was found itself, unless all are listed.
        level: of the test.
    """
    reached, many, least = 0, 0, found - 1e-9 * max(abs(found), 1e-3)
    for values in drawn:
        reached, many = reached + int((values >= least).sum()), many + len(values)
        if reached >= level * max(many, 1 + draws):
            return False
    return reached < level * many


def sign_flips(gains_NL: _Floats, unit_N: NDArray[np.int64], tests: int, seed: int) -> _Floats:
    """Return of each column the p that its sum is above 0: each unit's own sum could as well be its negative.

    Fisher 1935, "The Design of Experiments", section 21; of clusters as Canay, Romano & Shaikh 2017, "Randomization
    tests under an approximate symmetry assumption". Few units cannot show much: of five the p is 1/32 at least.

    Args:
        gains_NL: what each row adds to each of L sums.
        unit_N: the unit of each row, numbered from 0; rows of one are not independent.
        tests: over how many tests Holm's adjustment will go.
        seed: names the draws.
    """
    gains_UL = np.zeros((int(unit_N.max()) + 1, gains_NL.shape[1]))
    np.add.at(gains_UL, unit_N, gains_NL)
    gains_UL = gains_UL[(np.abs(gains_UL) > _NOUGHT).any(axis=1)]
    gains_UL = gains_UL[np.lexsort(gains_UL.round(12).T)]  # so that the order of the rows does not matter
    total_L, once = gains_UL.sum(axis=0), np.ones(len(gains_UL), np.int64)
    if len(once) > _NORMAL:
        return np.asarray(ndtr(-total_L / np.sqrt(np.maximum((gains_UL**2).sum(axis=0), _NOUGHT))))
    drawn = swaps(once, draws_for(tests), generator(seed, "sign-flips"), len(once))
    return share_reaching(total_L, (total_L - 2 * flipped @ gains_UL for flipped in drawn))


def rank_sum(
    positive_N: NDArray[np.bool_], score_N: NDArray[np.floating[Any]], *, tests: int = 1, seed: int = 0
) -> float:
    """Return the p that positive rows have higher scores than the others: the exact test of Mann and Whitney 1947.

    Ties share their mean rank; the distribution is that of all choices of so many rows. It is listed where rows are
    few, else taken as normal (with the corrections for ties and continuity) where it is, and drawn where it is not.

    Args:
        positive_N: which rows are.
        score_N: of each row.
        tests: over how many tests Holm's adjustment will go.
        seed: names the draws.
    """
    _, place_N, times = np.unique(score_N, return_inverse=True, return_counts=True)
    rank_N = (2 * np.cumsum(times) - times + 1)[place_N]  # twice the mean rank, so that it is whole
    n, few = len(rank_N), int(positive_N.sum())
    if 2 * few > n:  # the others are fewer: they are to be low
        rank_N, positive_N, few = 2 * (n + 1) - rank_N, ~positive_N, n - few
    found = int(rank_N[positive_N].sum())
    if not few:
        return 1.0
    if n * few <= _EXACT:
        return _listed(rank_N, few, found)
    centred = rank_N - rank_N.mean()
    spread = centred.std()
    if not spread:
        return 1.0
    skew = (centred**3).mean() / spread**3 * (n - 2 * few) / np.sqrt(few * (n - few))
    if few >= _MANY and abs(skew) < _SKEWED:
        deviation = spread * np.sqrt(few * (n - few) / (n - 1))
        return float(ndtr(-(found - 1 - few * rank_N.mean()) / deviation))
    rng, draws, rank_N = generator(seed, "rank-sums"), draws_for(tests), np.sort(rank_N)
    drawn = (rank_N[rng.choice(n, few, replace=False, shuffle=False)].sum() for _ in range(draws))
    return (1 + sum(int(value) >= found for value in drawn)) / (1 + draws)


def _listed(rank_N: NDArray[np.int64], few: int, found: int) -> float:
    """Return the share of all choices of `few` ranks whose sum is `found` or more."""
    ways = np.zeros((few + 1, 2 * len(rank_N) * few + 1))
    ways[0, 0] = 1
    for rank in rank_N.tolist():
        ways[1:, rank:] += ways[:-1, :-rank]
    return float(ways[few, found:].sum() / comb(len(rank_N), few))


def too_many(found: float, drawn: float, marked: int, total: int) -> float:
    """Return how often `drawn` of `total` rows taken at random have `found` marked ones or more, of `marked` in all.

    The tail of the hypergeometric distribution (Fisher's exact test). SciPy's takes a second to load.
    """
    count_J = np.arange(max(found, drawn - (total - marked)), min(drawn, marked) + 1)
    logs_J = _log_choices(marked, count_J) + _log_choices(total - marked, drawn - count_J)
    return float(min(1.0, np.exp(logs_J - _log_choices(total, np.asarray(drawn))).sum()))


def _log_choices(n: int, k: _Floats) -> _Floats:
    found: _Floats = gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1)
    return found


def shuffled(
    statistic: Callable[[NDArray[np.int64]], _Floats], answer_N: NDArray[np.int64], *, tests: int, seed: int
) -> float:
    """Return the p of a statistic of answers, (R, N) to (R,), against the same answers in any other order."""
    rng, draws, n = generator(seed, "shuffles"), draws_for(tests), len(answer_N)

    def drawn() -> Iterator[_Floats]:
        yield statistic(answer_N[None])
        step = max(1, _CHUNK // n)
        for start in range(0, draws, step):
            yield statistic(rng.permuted(np.tile(answer_N, (min(step, draws - start), 1)), axis=1))

    return float(share_reaching(float(statistic(answer_N[None])[0]), drawn()))


def numbered(groups: Sequence[str] | None) -> NDArray[np.int64] | None:
    """Return the number of each row's group; None where every row is independent of the others."""
    if groups is None:
        return None
    numbers = {name: i for i, name in enumerate(dict.fromkeys(groups))}
    if len(numbers) == len(groups):
        return None
    return np.fromiter((numbers[name] for name in groups), np.int64, len(groups))
