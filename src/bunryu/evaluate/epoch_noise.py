"""Two epochs on the same validation rows: does the figure that chooses between them differ, or is it noise?

An epoch keeps no more of itself for this than what it answered: an index a row, or a bit a label.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import count
from bunryu.data.table import Table
from bunryu.evaluate.calibrated_loss import calibrated_binary_loss, calibrated_loss
from bunryu.evaluate.compare import Counted, is_beyond_noise
from bunryu.evaluate.measure import groups_of
from bunryu.evaluate.metrics import averages
from bunryu.evaluate.multilabel_metrics import label_averages
from bunryu.evaluate.significance import numbered
from bunryu.inference.multilabel_predictions import USUAL, said
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Attribute, Sealed
from bunryu.train.targets import Targets

_Floats = NDArray[np.float64]
OF_ALL_ANSWERS = (
    *("accuracy", "macro_f1", "weighted_f1", "macro_precision", "macro_recall", "micro_f1"),
    "mean_macro_f1",
)
"""The figures between which the loss may decide: of what is answered to all rows, as the loss is. Those of one class or
group (positive_*, worst_group_accuracy) are another matter than the loss of all rows, and those of ranks (roc_auc,
mean_average_precision) follow from every score anew."""


@dataclass(frozen=True)
class EpochNoise:
    """What two epochs answer to the validation rows, compared.

    Attributes:
        monitor: the figure, of `OF_ALL_ANSWERS`.
        true_N: index of the truth of each row.
        held_JL: of labels that can hold together, which of them each index means; else None.
        attributes: the columns whose figures are averaged; none where the classes themselves are meant.
        classes: how many.
        groups: the group of each row; None where every row is independent of the others.
    """

    monitor: str
    true_N: NDArray[np.int64]
    held_JL: NDArray[np.bool_] | None
    attributes: Sequence[Attribute]
    classes: int
    groups: list[str] | None

    @classmethod
    def of(cls, monitor: str, targets: Targets, table: Table, sealed: Sealed) -> EpochNoise | None:
        """Return it for the validation rows of a table; None where the figure alone decides, or there are no rows."""
        rows = table.split("val")
        if monitor not in OF_ALL_ANSWERS or not len(rows):
            return None
        columns = sealed.attributes if monitor == "mean_macro_f1" else ()
        groups = groups_of(table, rows)
        return cls(monitor, targets.index_N[rows], targets.held_JL, columns, len(sealed.classes), groups)

    @property
    def told(self) -> str:
        """Say of what it is the noise."""
        if self._unit_N is None:
            return count(len(self.true_N), "validation row")
        return f"{count(int(self._unit_N.max()) + 1, 'group')} of validation rows"

    def said(self, probs_NK: NDArray[np.float32]) -> NDArray[Any]:
        """Return what is answered with these probabilities, small: int32 (N, columns), or of labels bits, uint8."""
        if self.held_JL is not None:
            return np.packbits(said(probs_NK, [USUAL] * self.classes), axis=1)
        answers = [own.pred_N for own in self._columns(probs_NK)]
        return np.stack(answers, axis=1).astype(np.int32)

    def fits(self, said: NDArray[Any]) -> bool:
        """Return whether answers that were read, see `said`, can be of these rows."""
        if self.held_JL is not None:
            return said.dtype == np.uint8 and said.shape == (len(self.true_N), -(-self.classes // 8))
        k_C = [k for _, k in self._truths]
        whole = said.dtype == np.int32 and said.shape == (len(self.true_N), len(k_C))
        return whole and bool((said >= 0).all() and (said < k_C).all())

    def calibrated_loss(self, probs_NK: NDArray[np.float32]) -> float:
        """Return the loss of the validation rows at the best temperature; the mean of the columns, each at its own."""
        if self.held_JL is not None:
            return calibrated_binary_loss(probs_NK, self._held_NL)
        pairs = zip(self._columns(probs_NK), self._truths, strict=True)
        return float(np.mean([calibrated_loss(own.probs_NK, true_N) for own, (true_N, _) in pairs]))

    def within(self, own: NDArray[Any], other: NDArray[Any]) -> bool:
        """Return whether the figure of two answers (see `said`) differs by no more than noise explains."""
        differ_D = np.flatnonzero((own != other).any(axis=1))
        one, two = (self._counted(answers, differ_D) for answers in (own, other))
        unit_D = None if self._unit_N is None else self._unit_N[differ_D]
        return not is_beyond_noise(one, two, self._figure, unit_D, self._counts)

    @cached_property
    def _unit_N(self) -> NDArray[np.int64] | None:
        return numbered(self.groups)

    def _columns(self, probs_NK: NDArray[np.float32]) -> list[Predictions]:
        whole = Predictions([""] * len(probs_NK), [""] * self.classes, probs_NK, self.true_N)
        return [whole.of(attribute) for attribute in self.attributes] or [whole]

    @cached_property
    def _truths(self) -> list[tuple[NDArray[np.int64], int]]:
        """Of each column the truth, and how many classes it has."""
        found = [(np.array(one.of)[self.true_N], len(one.classes)) for one in self.attributes]
        return found or [(self.true_N, self.classes)]

    @property
    def _counts(self) -> int:
        """How many counts the figure follows from.

        Of each column the right answers and the answers of each class; of labels the right yes and the yes of each, and
        the rows that are wholly right.
        """
        return 2 * self.classes + 1 if self.held_JL is not None else 2 * sum(k for _, k in self._truths)

    def _counted(self, answers: NDArray[Any], differ_D: NDArray[np.int64]) -> Counted:
        row, place = self._places(answers, np.arange(len(answers)))
        total_F = np.bincount(place, minlength=self._counts).astype(np.float64)
        row, place = self._places(answers[differ_D], differ_D)
        return Counted(row, place, total_F)

    def _places(self, answers: NDArray[Any], of_N: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return to which counts answers to the rows `of_N` add: which of them, and the count."""
        if self.held_JL is not None:
            said_NL, held_NL = self._unpacked(answers), self._held_NL[of_N]
            whole_N1 = (said_NL == held_NL).all(axis=1, keepdims=True)
            row, place = np.nonzero(np.hstack([said_NL & held_NL, said_NL, whole_N1]))
            return row, place
        rows, places, start = [], [], 0
        for said_N, (true_N, k) in zip(answers.T, self._truths, strict=True):
            right = np.flatnonzero(said_N == true_N[of_N])
            rows += [right, np.arange(len(answers))]
            places += [start + said_N[right], start + k + said_N]
            start += 2 * k
        return np.concatenate(rows), np.concatenate(places)

    def _unpacked(self, bits: NDArray[np.uint8]) -> NDArray[np.bool_]:
        return np.unpackbits(bits, axis=1, count=self.classes).astype(bool)

    def _figure(self, counts_FR: _Floats) -> _Floats:
        return self._of_classes(counts_FR) if self.held_JL is None else self._of_labels(counts_FR)

    def _of_classes(self, counts_FR: _Floats) -> _Floats:
        found, start = [], 0
        for true_N, k in self._truths:
            tp, predicted = counts_FR[start : start + k], counts_FR[start + k : start + 2 * k]
            support = np.broadcast_to(np.bincount(true_N, minlength=k).astype(np.float64)[:, None], tp.shape)
            found.append(averages(tp, support, predicted)[self.monitor.removeprefix("mean_")])
            start += 2 * k
        mean: _Floats = np.mean(found, axis=0)
        return mean

    @cached_property
    def _held_NL(self) -> NDArray[np.bool_]:
        assert self.held_JL is not None
        return self.held_JL[self.true_N]

    def _of_labels(self, counts_FR: _Floats) -> _Floats:
        if self.monitor == "accuracy":
            rate: _Floats = counts_FR[-1] / len(self.true_N)
            return rate
        tp, predicted = counts_FR[: self.classes], counts_FR[self.classes : -1]
        support = np.broadcast_to(self._held_NL.sum(axis=0).astype(np.float64)[:, None], tp.shape)
        return label_averages(tp, support, predicted)[self.monitor]
