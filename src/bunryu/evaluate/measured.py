"""Predictions with a known truth, and what was measured of them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.data.table import DRO_GROUP
from bunryu.evaluate.attributes import measure_attributes
from bunryu.evaluate.metrics import confusion, measure
from bunryu.evaluate.multilabel_metrics import COUNTS, label_counts, measure_labels
from bunryu.evaluate.slices import measure_groups
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions
from bunryu.settings.evaluate import EvaluateSettings


@dataclass(frozen=True)
class Measured:
    """Predictions with a known truth, and what was measured of them.

    Attributes:
        name: the split, or what the user called the data.
        predictions: with `true_N`.
        metrics: as `bunryu.evaluate.metrics.measure` (or `multi_label.measure_labels`) returns them.
        skipped: path -> reason of the images that could not be read.
        picture: row of the predictions -> its pixels, uint8 (H, W, C), to show examples.
    """

    name: str
    predictions: Predictions
    metrics: dict[str, Any]
    picture: Callable[[int], NDArray[np.uint8]]
    skipped: dict[str, str] = field(default_factory=dict)

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts, shape (K, K), rows the truth; of labels that can hold together (L, 4), in the order of `answers`."""
        if isinstance(self.predictions, LabelPredictions):
            assert self.predictions.held_NL is not None
            return label_counts(self.predictions.said_NL, self.predictions.held_NL)
        assert self.predictions.true_N is not None
        return confusion(self.predictions.pred_N, self.predictions.true_N, len(self.predictions.classes))

    @property
    def answers(self) -> list[str]:
        """What the columns of `confusion` are."""
        return list(COUNTS) if isinstance(self.predictions, LabelPredictions) else self.predictions.classes


def measured(
    name: str,
    predictions: Predictions,
    settings: EvaluateSettings,
    picture: Callable[[int], NDArray[np.uint8]],
    skipped: dict[str, str],
) -> Measured:
    """Measure predictions with a known truth, with intervals."""
    if isinstance(predictions, LabelPredictions):
        metrics = measure_labels(predictions, bootstrap=settings.bootstrap)
        return Measured(name, predictions, metrics | {"skipped": len(skipped)}, picture, skipped)
    assert predictions.true_N is not None
    metrics = measure(
        predictions.probs_NK,
        predictions.true_N,
        predictions.classes,
        groups=predictions.groups,
        positive=settings.positive,
        bootstrap=settings.bootstrap,
    )
    if predictions.attributes:
        metrics["attributes"] = measure_attributes(predictions, bootstrap=settings.bootstrap)
    if DRO_GROUP in predictions.more:
        groups = [str(group) for group in predictions.more[DRO_GROUP]]
        metrics |= measure_groups(predictions.probs_NK, predictions.true_N, groups)
    return Measured(name, predictions, metrics | {"skipped": len(skipped)}, picture, skipped)
