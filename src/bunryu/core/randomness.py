"""Randomness with names: every draw is a pure function of (seed, purpose, keys).

Nothing depends on the order in which threads or processes happen to run, so resuming, several
processes and cached views give the same draws by construction.

The per-row draws hash a counter with the SplitMix64 finaliser (Steele, Lea & Flood, "Fast splittable
pseudorandom number generators", OOPSLA 2014), which passes BigCrush as a counter-based generator.
"""

from __future__ import annotations

import hashlib
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def key_of(seed: int, purpose: str, *keys: int) -> int:
    """Return a 64-bit key that names one stream of randomness."""
    text = f"{seed}/{purpose}/" + "/".join(str(int(key)) for key in keys)
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def generator(seed: int, purpose: str, *keys: int) -> np.random.Generator:
    """Return a NumPy generator for one named stream (counter-based Philox)."""
    return np.random.Generator(np.random.Philox(key=key_of(seed, purpose, *keys)))


def uniforms(seed: int, purpose: str, epoch: int, row_ids: NDArray[np.integer], n: int) -> NDArray[np.float64]:
    """Draw `n` uniforms in [0, 1) for each row.

    Args:
        seed: the run's seed.
        purpose: what the draw is for, such as ``"augment"``.
        epoch: counted over the whole run.
        row_ids: shape (B,), the rows' ids in the table.
        n: how many numbers each row gets.

    Returns:
        Shape (B, n). Row r's numbers are the same in whatever batch r appears.
    """
    key = np.uint64(key_of(seed, purpose, epoch))
    with np.errstate(over="ignore"):
        row_keys = _mix(row_ids.astype(np.uint64) * _GOLDEN ^ key)
        counters = row_keys[:, None] + (np.arange(1, n + 1, dtype=np.uint64) * _GOLDEN)[None, :]
        bits = _mix(counters)
    return (bits >> np.uint64(11)).astype(np.float64) * 2.0**-53


IDS = TypeVar("IDS", NDArray[np.int64], int)
_COMING = 40  # bits of a row's id below the number of its coming


def coming(rows: NDArray[np.int64], number: int) -> NDArray[np.int64]:
    """Return the ids of rows that come for the `number`-th further time within an epoch: they draw anew."""
    return rows | (number << _COMING)


def plain(rows: IDS) -> IDS:
    """Return the ids in the table, without the numbers of `coming`."""
    return rows & ((1 << _COMING) - 1)


def comings(rows: IDS) -> IDS:
    """Return how often each row came before within the epoch."""
    return rows >> _COMING


def _mix(z: NDArray[np.uint64]) -> NDArray[np.uint64]:
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))
