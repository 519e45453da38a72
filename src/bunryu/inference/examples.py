"""Which pictures are shown beside their answers: mistakes, the worst first, then right answers of each kind in turn.

The choice needs every answer, and pictures come a batch at a time. So those that may be chosen are kept while they are
read, never more than are shown, and none is opened again to show it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.data.table import Table
from bunryu.inference.multilabel_predictions import answers_of
from bunryu.inference.predictions import PredictionTable
from bunryu.models.record import Sealed

MOST = 18
"""Pictures that are shown, half of them mistakes at most."""


def chosen(wrong_N: NDArray[np.floating[Any]], place_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return which of N answers are shown, in that order; of equal ones the first.

    Args:
        wrong_N: how wrong each is, 0 where it is right.
        place_N: the place of each among those of its kind, so that the kinds come in turn.
    """
    mistakes, right = np.flatnonzero(wrong_N > 0), np.flatnonzero(wrong_N == 0)
    mistakes = mistakes[np.argsort(-wrong_N[mistakes], kind="stable")][: MOST // 2]
    right = right[np.argsort(place_N[right], kind="stable")][: MOST - len(mistakes)]
    return np.concatenate([mistakes, right])


def shown(predictions: PredictionTable) -> list[int]:
    """Return which rows of a table whose truth is known are shown, in that order."""
    wrong_N, kinds = predictions.mistakes()
    return [int(row) for row in chosen(wrong_N, places(kinds, Counter()))]


def places(kinds: Sequence[Hashable], seen: Counter[Hashable]) -> NDArray[np.int64]:
    """Return the place of each row among those of its kind, behind those that were `seen` before; counts them as seen.

    What is of no kind has place 0.
    """
    place_N = np.zeros(len(kinds), np.int64)
    for i, kind in enumerate(kinds):
        if kind is not None:
            place_N[i] = seen[kind]
            seen[kind] += 1
    return place_N


class Examples:
    """The pictures of one pass over rows of a table that may be shown, kept as they were read."""

    def __init__(self, sealed: Sealed, table: Table) -> None:
        self._sealed, self._table = sealed, table
        self._rows = np.zeros(0, np.int64)
        self._wrong = np.zeros(0, np.float64)
        self._place = np.zeros(0, np.int64)
        self._seen: Counter[Hashable] = Counter()
        self.pictures: dict[int, NDArray[np.uint8]] = {}
        """Row -> fitted pixels (H, W, C) of each that is shown, if no more rows come."""

    def see(self, rows: NDArray[np.int64], pixels_BHWC: NDArray[np.uint8], probs_BK: NDArray[np.float32]) -> None:
        """Take the next pictures, which come in the order of the answers, and forget those that no longer matter."""
        wrong_B, kinds = self._answers(rows, probs_BK).mistakes()
        place_B = places(kinds, self._seen)
        all_rows = np.concatenate([self._rows, rows])
        wrong, place = np.concatenate([self._wrong, wrong_B]), np.concatenate([self._place, place_B])
        kept = np.sort(chosen(wrong, place))  # in the order in which they came, for what is equal
        new = {int(rows[i - len(self._rows)]): i - len(self._rows) for i in kept.tolist() if i >= len(self._rows)}
        self._rows, self._wrong, self._place = all_rows[kept], wrong[kept], place[kept]
        self.pictures = {
            row: pixels_BHWC[new[row]].copy() if row in new else self.pictures[row] for row in self._rows.tolist()
        }

    def _answers(self, rows: NDArray[np.int64], probs_BK: NDArray[np.float32]) -> PredictionTable:
        return answers_of(self._sealed, [""] * len(rows), probs_BK, true=self._table.target_labels[rows])
