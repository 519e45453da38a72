"""The one range of values that the deep pictures of a data set are read with, and how others lie in it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import count
from bunryu.data.images.deep import Seen
from bunryu.data.images.facts import LEVELS, Facts
from bunryu.settings.config import Range

_TAIL = LEVELS[1]
_FAR = 2.0
"""How many times wider than the inner values the whole has to be for its ends to be taken for outliers."""
_MANY_BEYOND = 0.05
_SMALL_PART = 14.0
"""A part of the range so small, at its lower end, is where values of 8 bits lie among 12."""


def find_range(facts: Sequence[Facts]) -> Range | None:
    """Return the range of the values of deep pictures; None without any.

    All values, from the lowest to the highest, except where the outer thousandths at each end make that more than twice
    as wide: a few dead pixels shall not leave all others dark. Where values from 0 upwards fill at least half of what
    some number of bits (or 0 to 1, for numbers with a point) can hold, it is that, so that it does not hang on which
    pictures are trained on.
    """
    deep = [one for one in facts if one.quantiles]
    if not deep:
        return None
    quantiles_NQ = np.array([one.quantiles for one in deep])
    low, high = float(quantiles_NQ[:, 0].min()), float(quantiles_NQ[:, -1].max())
    inner = _pooled(quantiles_NQ, _TAIL, low, high), _pooled(quantiles_NQ, 1 - _TAIL, low, high)
    if high - low > _FAR * (inner[1] - inner[0]) > 0:
        low, high = inner
    return _natural(low, high, all(one.kind != "float" for one in deep)) or _rounded(low, high)


def _natural(low: float, high: float, whole: bool) -> Range | None:
    """Return the range of a number of bits, or 0 to 1, where the values fill at least half of it."""
    tops = [2.0**bits - 1 for bits in range(8, 33)] if whole else [1.0, 255.0]
    top = next((top for top in tops if high <= top), None)
    return (0.0, top) if top is not None and low >= 0 and high - low >= top / 2 else None


def _rounded(low: float, high: float) -> Range:
    """Return both, rounded outwards to a thousandth of what lies between them."""
    if not high > low:
        return low, low + max(1.0, abs(low) * 1e-6)
    digits = 3 - math.ceil(math.log10(high - low))
    step = 10.0**-digits
    return round(math.floor(low / step) * step, max(digits, 0)), round(math.ceil(high / step) * step, max(digits, 0))


def _pooled(quantiles_NQ: NDArray[np.float64], level: float, low: float, high: float) -> float:
    """Return the quantile of all pictures together, each counting the same."""
    for _ in range(60):
        middle = (low + high) / 2
        if float(np.mean(_below(quantiles_NQ, middle))) < level:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _below(quantiles_NQ: NDArray[np.float64], value: float) -> NDArray[np.float64]:
    """Return the share of each picture's values below `value`, between the quantiles in proportion."""
    at = (quantiles_NQ < value).sum(axis=1)
    levels, rows = np.array(LEVELS), np.arange(len(at))
    before, after = np.maximum(at - 1, 0), np.minimum(at, len(LEVELS) - 1)
    start, end = quantiles_NQ[rows, before], quantiles_NQ[rows, after]
    share = np.where(end > start, (value - start) / np.where(end > start, end - start, 1), 0.0)
    found = levels[before] + share * (levels[after] - levels[before])
    return np.where(at == 0, 0.0, np.where(at == len(LEVELS), 1.0, found))


def share_beyond(facts: Iterable[Facts], range: Range) -> float:
    """Return the share of the values of deep pictures that lie outside a range, about."""
    quantiles = [one.quantiles for one in facts if one.quantiles]
    if not quantiles:
        return 0.0
    quantiles_NQ = np.array(quantiles)
    below = _below(quantiles_NQ, range[0])
    above = np.where(quantiles_NQ[:, -1] > range[1], 1 - _below(quantiles_NQ, range[1]), 0.0)
    return float(np.mean(below + above))


def told_range(range: Range) -> str:
    """Return a range in words."""
    return f"{range[0]:.6g} to {range[1]:.6g}"


def why_strange(seen: Sequence[Seen], range: Range | None) -> str:
    """Say how the values of pictures in use differ strongly from what a model learned from; "" where they do not."""
    if not seen:
        return ""
    many = count(len(seen), "picture")
    have, kinds = "has" if len(seen) == 1 else "have", "/".join(sorted({one.kind for one in seen}))
    if range is None:
        return (
            f"{many} {have} more than 8 bits ({kinds}), and the model sealed no range of values: each is brought to 8 "
            "bits by its own kind, which may be darker or brighter than what it learned from. Give 8-bit pictures, or "
            "train on such ones"
        )
    low, high = min(one.low for one in seen), max(one.high for one in seen)
    beyond = sum(one.beyond for one in seen) / len(seen)
    if beyond > _MANY_BEYOND:
        what = f"{beyond:.0%} of the values lie beyond that and are cut"
    elif high <= range[0] + (range[1] - range[0]) / _SMALL_PART:
        what = "all of that is nearly black"
    else:
        return ""
    return (
        f"the values of {many} ({kinds}, {low:.6g} to {high:.6g}) differ strongly from those that the model learned "
        f"from ({told_range(range)}): {what}. Bring them to the same scale first"
    )
