"""A table of predictions of labels that can hold together; `answers_of` makes the right table for a model."""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bunryu.data.multi_label import held_labels, joined_set
from bunryu.data.table import Texts
from bunryu.inference.predictions import Predictions, PredictionTable

if TYPE_CHECKING:
    from bunryu.models.record import Sealed

USUAL = 0.5
"""The threshold of a label that has none of its own."""


@dataclass(frozen=True)
class LabelPredictions(PredictionTable):
    """Probabilities of labels, each of which holds or not beside the others: each of `probs_NK` between 0 and 1.

    Attributes:
        thresholds: of each label the least probability to hold with.
        held_NL: which labels do hold, bool (N, L); None where it is not known.
    """

    thresholds: Sequence[float] = field(kw_only=True)
    held_NL: NDArray[np.bool_] | None = field(default=None, kw_only=True)

    @property
    def said_NL(self) -> NDArray[np.bool_]:
        """Which labels the model says hold, bool (N, L)."""
        return said(self.probs_NK, self.thresholds)

    def mistakes(self) -> tuple[NDArray[np.floating[Any]], Sequence[Hashable]]:
        """Return how many labels of each image are wrong, and the set that holds; no kind where any is wrong."""
        assert self.held_NL is not None
        wrong_N = (self.said_NL != self.held_NL).sum(axis=1).astype(np.float64)
        sets = zip(wrong_N.tolist(), self.held_NL, strict=True)
        return wrong_N, [None if wrong else held_L.tobytes() for wrong, held_L in sets]

    def take(self, rows: NDArray[np.integer[Any]]) -> LabelPredictions:
        """See `PredictionTable.take`."""
        return dataclasses.replace(super().take(rows), held_NL=None if self.held_NL is None else self.held_NL[rows])

    def answer_header(self) -> list[str]:
        """Return true where known, and pred: the labels that hold, joined by |."""
        return list(self._sets())

    def answer_rows(self) -> Iterator[list[Any]]:
        """See `PredictionTable.answer_rows`."""
        for held in zip(*self._sets().values(), strict=True):
            yield [joined_set(self.classes, one) for one in held]

    def answer_columns(self) -> dict[str, Any]:
        """See `PredictionTable.answer_columns`."""
        return {word: [joined_set(self.classes, held) for held in rows] for word, rows in self._sets().items()}

    def marks(self, row: int) -> list[str]:
        """Return whether each label is said to hold."""
        return ["yes " if holds else "no  " for holds in said(self.probs_NK[row], self.thresholds)]

    def _sets(self) -> dict[str, NDArray[np.bool_]]:
        return {"pred": self.said_NL} if self.held_NL is None else {"true": self.held_NL, "pred": self.said_NL}


def said(probs_NL: NDArray[np.floating[Any]], thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """Return which labels have their threshold's probability or more, bool (N, L) or (L,)."""
    found: NDArray[np.bool_] = probs_NL.astype(np.float64) >= np.asarray(thresholds, np.float64)
    return found


def answers_of(
    sealed: Sealed,
    paths: list[str],
    probs: NDArray[np.float32],
    *,
    true: Texts | None = None,
    groups: list[str] | None = None,
    more: dict[str, list[Any]] | None = None,
) -> PredictionTable:
    """Return a model's probabilities as a table of predictions: the one place that picks which.

    Args:
        sealed: its record.
        paths: N names.
        probs: (N, K).
        true: the text of each row's target, where it is known.
        groups: N group names, or None.
        more: further columns.
    """
    classes, more = sealed.classes, more or {}
    if sealed.multi_label:
        thresholds = [sealed.decision.thresholds.get(name, USUAL) for name in classes]
        held = None if true is None else held_labels(true, classes)
        return LabelPredictions(paths, classes, probs, groups=groups, more=more, thresholds=thresholds, held_NL=held)
    index = {name: k for k, name in enumerate(classes)}
    true_N = None if true is None else np.array([index[name] for name in true], np.int64)
    parts, positive = sealed.attributes, sealed.answer.positive
    return Predictions(paths, classes, probs, true_N, groups=groups, more=more, attributes=parts, positive=positive)
