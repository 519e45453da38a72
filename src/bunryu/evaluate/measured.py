"""Predictions with a known truth, and what was measured of them: of classes, or of labels that can hold together."""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.data.table import DRO_GROUP
from bunryu.evaluate.attributes import measure_attributes
from bunryu.evaluate.caveats import UNSEEN, Exposure
from bunryu.evaluate.compare import macro_f1_difference
from bunryu.evaluate.figures import Figures, Metrics, MultilabelMetrics, Tta
from bunryu.evaluate.metrics import confusion, measure
from bunryu.evaluate.multilabel_metrics import COUNTS, label_counts, measure_labels
from bunryu.evaluate.positive import of_answer
from bunryu.evaluate.slices import measure_groups, worst_accuracy
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions, PredictionTable, one_answer
from bunryu.settings.evaluate import EvaluateSettings


@dataclass(frozen=True)
class Measured(ABC):
    """Predictions with a known truth, and what was measured of them.

    Attributes:
        name: the split, or what the user called the data.
        predictions: with the truth.
        metrics: what was measured.
        picture: row of the predictions -> its pixels, uint8 (H, W, C), to show examples.
        skipped: path -> reason of the images that could not be read.
    """

    name: str
    predictions: PredictionTable
    metrics: Figures
    picture: Callable[[int], NDArray[np.uint8]]
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    @abstractmethod
    def counts(self) -> NDArray[np.int64]:
        """How often each answer was given, a line a class, in the order of `columns`."""

    @property
    @abstractmethod
    def columns(self) -> list[str]:
        """What the columns of `counts` are."""

    @abstractmethod
    def changed_by(self, views: Sequence[str], plain: Measured, *, bootstrap: int) -> tuple[Measured, str]:
        """Return these results of test-time augmentation with what it changes, and that in words ("" if not known).

        Args:
            views: the views of each picture.
            plain: the results without.
            bootstrap: resamples of the interval of the change; none when 0.
        """


@dataclass(frozen=True)
class MeasuredClasses(Measured):
    """What was measured of classes that exclude each other."""

    predictions: Predictions
    metrics: Metrics

    @property
    def true_N(self) -> NDArray[np.int64]:
        """Index of the true class of each row, which is known."""
        assert self.predictions.true_N is not None
        return self.predictions.true_N

    @property
    def counts(self) -> NDArray[np.int64]:
        """The confusion matrix, shape (K, K): rows are the truth."""
        return confusion(self.predictions.pred_N, self.true_N, len(self.predictions.classes))

    @property
    def columns(self) -> list[str]:
        """See `Measured.columns`: the classes."""
        return self.predictions.classes

    def changed_by(self, views: Sequence[str], plain: Measured, *, bootstrap: int) -> tuple[Measured, str]:
        """See `Measured.changed_by`: the change of macro-F1 on the same rows, and whether noise explains it."""
        assert isinstance(plain, MeasuredClasses)
        new, old = self.predictions, plain.predictions
        if old.paths != new.paths:
            return self, ""
        k, groups = len(old.classes), old.groups
        change = macro_f1_difference(new.pred_N, old.pred_N, self.true_N, k, groups=groups, resamples=bootstrap)
        tta = Tta(views=tuple(views), macro_f1_change=change)
        return dataclasses.replace(self, metrics=self.metrics.plus(tta=tta)), f"macro-F1 {change}"


@dataclass(frozen=True)
class MeasuredLabels(Measured):
    """What was measured of labels that can hold together."""

    predictions: LabelPredictions
    metrics: MultilabelMetrics

    @property
    def held_NL(self) -> NDArray[np.bool_]:
        """Which labels hold for each row, which is known."""
        assert self.predictions.held_NL is not None
        return self.predictions.held_NL

    @property
    def counts(self) -> NDArray[np.int64]:
        """Of each label how often it holds and is said, and so on, shape (L, 4)."""
        return label_counts(self.predictions.said_NL, self.held_NL)

    @property
    def columns(self) -> list[str]:
        """See `Measured.columns`: the four cases."""
        return list(COUNTS)

    def changed_by(self, views: Sequence[str], plain: Measured, *, bootstrap: int) -> tuple[Measured, str]:  # noqa: ARG002
        """See `Measured.changed_by`: the figures side by side."""
        figures = [result.metrics.headline()["macro-F1"] for result in (self, plain)]
        return self, f"macro-F1 {figures[0]}, without {figures[1]}"


def measured(
    name: str,
    predictions: PredictionTable,
    settings: EvaluateSettings,
    picture: Callable[[int], NDArray[np.uint8]],
    skipped: dict[str, str],
    exposure: Exposure = UNSEEN,
) -> Measured:
    """Measure predictions with a known truth, with intervals: the one place that asks what kind of answers they are.

    Args:
        name: the split, or what the user called the data.
        predictions: with the truth.
        settings: how results are measured.
        picture: see `Measured`.
        skipped: see `Measured`.
        exposure: how far the model knew the rows.
    """
    if isinstance(predictions, LabelPredictions):
        of_labels = measure_labels(predictions, bootstrap=settings.bootstrap, exposure=exposure)
        return MeasuredLabels(name, predictions, of_labels.plus(skipped=len(skipped)), picture, skipped)
    predictions = one_answer(predictions)
    metrics = measure_classes(predictions, settings, exposure)
    return MeasuredClasses(name, predictions, metrics.plus(skipped=len(skipped)), picture, skipped)


def measure_classes(
    predictions: Predictions, settings: EvaluateSettings, exposure: Exposure = UNSEEN, *, ranked: bool = True
) -> Metrics:
    """Measure classes together, each attribute, and each group of group DRO: the one way to an interval of classes.

    Rows of one group (`data.group_column`) are not independent: whole groups are resampled wherever a figure has an
    interval or a test. The resamples are those of the settings.

    Args:
        predictions: with a known truth, and with the group of each row where there are groups.
        settings: how results are measured.
        exposure: how far the model knew the rows.
        ranked: see `metrics.measure`.
    """
    assert predictions.true_N is not None
    columns = [attribute.column for attribute in predictions.attributes]
    metrics = measure(
        predictions.probs_NK,
        predictions.true_N,
        predictions.classes,
        groups=predictions.groups,
        positive=of_answer(settings.positive, columns) or predictions.positive,
        bootstrap=settings.bootstrap,
        exposure=exposure,
        ranked=ranked,
    )
    more: dict[str, Any] = {}
    if predictions.attributes:
        more["attributes"] = measure_attributes(predictions, bootstrap=settings.bootstrap, asked=settings.positive)
    if DRO_GROUP in predictions.more:
        groups = [str(group) for group in predictions.more[DRO_GROUP]]
        by_group = measure_groups(
            predictions.probs_NK, predictions.true_N, groups, units=predictions.groups, bootstrap=settings.bootstrap
        )
        more |= {"by_group": by_group, "worst_group_accuracy": worst_accuracy(by_group)}
    return metrics.plus(**more)
