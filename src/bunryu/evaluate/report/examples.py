"""Which pictures of a measured split are shown: mistakes first, then right answers of each kind in turn."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

_MOST = 18


def chosen(mistakes: NDArray[np.int64], answers: NDArray[np.int64], places: NDArray[np.int64]) -> list[int]:
    """Return the rows to show: half of them mistakes at most.

    Args:
        mistakes: rows whose answers are wrong, the first first.
        answers: rows whose answers are right.
        places: of each right one its place among those of its kind, so that the kinds come in turn.
    """
    wrong = mistakes[: _MOST // 2]
    right = answers[np.argsort(places, kind="stable")][: _MOST - len(wrong)]
    return [int(row) for row in (*wrong, *right)]


def places_in_kind(kind_N: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return each row's place among the rows of its kind."""
    places = np.zeros(len(kind_N), np.int64)
    for kind in np.unique(kind_N):
        rows = np.flatnonzero(kind_N == kind)
        places[rows] = np.arange(len(rows))
    return places
