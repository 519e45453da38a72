"""Several label columns answered together: each measured for itself, and whether it is better than chance.

The probability of an attribute's class is the sum over the joint classes that share it (the marginal); for separate
heads that is what its head says.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bunryu.evaluate.chance import recall_by_chance
from bunryu.evaluate.figures import AttributeMetrics
from bunryu.evaluate.metrics import INTERVALS, measure
from bunryu.evaluate.positive import of_column
from bunryu.evaluate.significance import BETTER
from bunryu.inference.predictions import Predictions


def measure_attributes(
    predictions: Predictions, *, bootstrap: int, asked: str | Mapping[str, str] | None = None
) -> dict[str, AttributeMetrics]:
    """Measure each attribute of predictions with a known truth, as `metrics.measure` does a class.

    Args:
        predictions: with a known truth.
        bootstrap: resamples of the intervals.
        asked: evaluate.positive; the positive classes are those of the model where it says nothing.

    Returns:
        {label column: its figures}, with the interval of macro recall, and whether that lies above chance.
    """
    found = {}
    for attribute in predictions.attributes:
        own = predictions.of(attribute)
        assert own.true_N is not None
        intervals = (*INTERVALS, "macro_recall")
        metrics = measure(
            own.probs_NK,
            own.true_N,
            own.classes,
            groups=own.groups,
            positive=of_column(asked, attribute.column) or own.positive,
            bootstrap=bootstrap,
            intervals=intervals,
        )
        chance = 1 / len(np.unique(own.true_N))
        better = None
        if metrics.macro_recall_ci is not None:
            many = len(predictions.attributes)
            p = recall_by_chance(own.pred_N, own.true_N, own.groups, tests=many, seed=0)
            better = metrics.macro_recall > chance and p * many < BETTER  # Holm's first step: for each at once
        found[attribute.column] = AttributeMetrics(**metrics.as_fields(), chance=chance, better_than_chance=better)
    return found
