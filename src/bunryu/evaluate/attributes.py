"""Several label columns answered together: each measured for itself, and whether it is better than chance.

The probability of an attribute's class is the sum over the joint classes that share it (the marginal); for separate
heads that is what its head says.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from bunryu.evaluate.metrics import FIGURES, measure
from bunryu.inference.predictions import Predictions


def measure_attributes(predictions: Predictions, *, bootstrap: int) -> dict[str, dict[str, Any]]:
    """Measure each attribute of predictions with a known truth, as `metrics.measure` does a class.

    Returns:
        {label column: metrics}, each with ``macro_recall_ci`` and ``chance`` besides: what macro recall (the balanced
        accuracy) comes to without a look at the picture, 1 / (classes in the truth), and ``better_than_chance``,
        whether its interval lies above that (null without an interval).
    """
    found = {}
    for attribute in predictions.attributes:
        own = predictions.of(attribute)
        assert own.true_N is not None
        metrics = measure(
            own.probs_NK,
            own.true_N,
            own.classes,
            groups=own.groups,
            bootstrap=bootstrap,
            intervals=(*FIGURES, "macro_recall"),
        )
        chance = 1 / len(np.unique(own.true_N))
        ends = metrics.get("macro_recall_ci")
        metrics |= {"chance": chance, "better_than_chance": None if ends is None else bool(ends[0] > chance)}
        found[attribute.column] = metrics
    return found
