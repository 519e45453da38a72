"""Several label columns answered together: each measured for itself, and whether it is better than chance.

The probability of an attribute's class is the sum over the joint classes that share it (the marginal); for separate
heads that is what its head says.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bunryu.evaluate.chance import recall_by_chance
from bunryu.evaluate.compare import macro_f1_difference
from bunryu.evaluate.difference import BETTER, Difference
from bunryu.evaluate.figures import AttributeMetrics
from bunryu.evaluate.metrics import INTERVALS, averages, counts_of, measure
from bunryu.evaluate.positive import of_column
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Attribute


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


def mean_macro_f1(probs_NK: NDArray[np.float32], true_N: NDArray[np.int64], attributes: Sequence[Attribute]) -> float:
    """Return the mean over the attributes of the macro-F1 of each, as `measure_attributes` has it.

    The joint macro-F1 of many combinations lets one attribute that nothing tells apart drown the others.
    """
    whole = Predictions([""] * len(true_N), [""] * probs_NK.shape[1], probs_NK, true_N.astype(np.int64))
    found = []
    for attribute in attributes:
        own = whole.of(attribute)
        assert own.true_N is not None
        counts = counts_of(own.pred_N, own.true_N, len(own.classes))
        found.append(float(averages(*counts)["macro_f1"]))
    return float(np.mean(found))


def figure_difference(own: Predictions, other: Predictions, *, resamples: int, of: int) -> Difference:
    """Return how far macro-F1, or the mean of that of each label column, differs between two answers to the same rows.

    See `compare.macro_f1_difference`. What the columns answer to a row is swapped and resampled together.

    Args:
        own: with a known truth.
        other: those to which it is compared, with the same rows.
        resamples: of the interval.
        of: how many comparisons there are.
    """
    parts = [(own.of(one), other.of(one)) for one in own.attributes] or [(own, other)]
    sizes = [len(first.classes) for first, _ in parts]
    starts = np.cumsum([0, *sizes])
    answers: list[list[NDArray[np.int64]]] = [[], [], []]
    for (first, second), start in zip(parts, starts, strict=False):
        assert first.true_N is not None
        for found, more in zip(answers, (first.pred_N, second.pred_N, first.true_N), strict=True):
            found.append(more + start)
    pred_N, other_N, true_N = map(np.concatenate, answers)
    names = own.groups
    if own.attributes:  # the answers to one picture are not independent of each other
        names = (own.groups or [str(row) for row in range(len(own))]) * len(parts)
    columns = sizes if own.attributes else []
    return macro_f1_difference(
        pred_N, other_N, true_N, int(starts[-1]), groups=names, resamples=resamples, of=of, columns=columns
    )
