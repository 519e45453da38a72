"""What predictions of labels that can hold together are worth, and the threshold of each label: pure functions.

A figure of a label comes from its own counts: right yes (tp), rows where it holds (support), and yes given
(predicted). Intervals are as in `metrics`: rows, or whole groups, are drawn again.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.csv_text import csv_lines
from bunryu.core.errors import DataError, count
from bunryu.core.randomness import generator
from bunryu.evaluate import class_intervals
from bunryu.evaluate.bootstrap import Units, draw, drawn_from, exact_interval, percentile_interval, units_of
from bunryu.evaluate.caveats import UNSEEN, Exposure, caveats
from bunryu.evaluate.chance import classes_by_chance, ranks_by_chance
from bunryu.evaluate.difference import BETTER
from bunryu.evaluate.figures import Bootstrap, Interval, LabelMetrics, MultilabelMetrics
from bunryu.evaluate.ranks import class_aucs, resampled_map
from bunryu.evaluate.significance import below, numbered
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.settings.evaluate import BOOTSTRAP

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]
Counts = NDArray[np.float64]
INTERVALS = ("macro_f1", "accuracy", "micro_f1", "weighted_f1")
"""The figures that get one, besides the mean average precision."""
COUNTS = ("true_positive", "false_positive", "false_negative", "true_negative")
_CHUNK = 4_000_000
"""Numbers held at once while resampling."""


def measure_labels(
    predictions: LabelPredictions, *, bootstrap: int = BOOTSTRAP, seed: int = 0, exposure: Exposure = UNSEEN
) -> MultilabelMetrics:
    """Measure predictions with a known truth.

    Macro averages and the mean of the average precisions run over the labels that hold for some row. Ratios without a
    denominator are 0, as in scikit-learn. With groups and resampling as `metrics.measure`.

    Raises:
        DataError: no rows, or not one label of them holds.
    """
    probs_NL, held_NL, names = predictions.probs_NK, predictions.held_NL, predictions.classes
    assert held_NL is not None
    _check(probs_NL, held_NL)
    said_NL = predictions.said_NL
    tp, support, predicted = (rows.sum(axis=0).astype(np.float64) for rows in (said_NL & held_NL, held_NL, said_NL))
    ap = [average_precision(held_NL[:, k], probs_NL[:, k]) if support[k] else None for k in range(len(names))]
    drawn, ends = _intervals(predictions, bootstrap, seed) if bootstrap else (None, {})
    of_label = _of_labels(predictions, seed, intervals=bool(ends)) if bootstrap else [{}] * len(names)
    groups = predictions.groups
    aucs = class_aucs(probs_NL, held_NL, groups, intervals=bool(ends))
    rows = zip(names, _per_label(tp, support, predicted), ap, predictions.thresholds, aucs, of_label, strict=True)
    return MultilabelMetrics(
        n=len(held_NL),
        accuracy=float((said_NL == held_NL).all(axis=1).mean()),
        **{name: float(value) for name, value in label_averages(tp, support, predicted).items()},
        mean_average_precision=float(np.mean([value for value in ap if value is not None])),
        loss=binary_loss(probs_NL, held_NL),
        absent=tuple(name for name, rows in zip(names, support, strict=True) if not rows),
        per_class={
            name: LabelMetrics(
                **counted,
                average_precision=precision,
                threshold=float(threshold),
                **auc,
                **own,
            )
            for name, counted, precision, threshold, auc, own in rows
        },
        notes=caveats(len(held_NL), drawn, exposure),
        **({} if groups is None else {"groups": len(set(groups))}),
        **ends,
    )


def _check(probs_NL: Floats, held_NL: Bools) -> None:
    if not held_NL.any():
        raise DataError(
            f"There is nothing to measure: none of the labels holds for any of {count(len(held_NL), 'image')}. Recall "
            "and F1 need images with labels."
        )
    if not np.isfinite(probs_NL).all():
        raise DataError("Some images have probabilities that are not finite: they have no answer.")


def _per_label(tp: Counts, support: Counts, predicted: Counts) -> list[dict[str, Any]]:
    """Return what the counts of each label say, as fields."""
    columns = (ratio(tp, predicted), ratio(tp, support), ratio(2 * tp, support + predicted))
    return [
        {"precision": p, "recall": r, "f1": f1, "support": int(s), "predicted": int(answers)}
        for p, r, f1, s, answers in zip(*(column.tolist() for column in (*columns, support, predicted)), strict=True)
    ]


def label_averages(tp: Counts, support: Counts, predicted: Counts) -> dict[str, Counts]:
    """Average over the labels with support: macro and weighted figures, and micro-F1 of all answers together.

    Args:
        tp: by label, shape (L, ...); further axes are resamples.
        support: likewise.
        predicted: likewise.
    """
    present = support > 0
    labels, total = np.maximum(present.sum(axis=0), 1), np.maximum(support.sum(axis=0), 1)
    f1 = ratio(2 * tp, support + predicted)
    return {
        "macro_f1": (f1 * present).sum(axis=0) / labels,
        "micro_f1": ratio(2 * tp.sum(axis=0), support.sum(axis=0) + predicted.sum(axis=0)),
        "weighted_f1": (f1 * support).sum(axis=0) / total,
        "macro_precision": (ratio(tp, predicted) * present).sum(axis=0) / labels,
        "macro_recall": ratio(tp, support).sum(axis=0) / labels,
    }


def ratio(above: Counts, below: Counts) -> Counts:
    """Divide counts, 0 where the denominator is 0 (the numerator is 0 there too)."""
    found: Counts = above / np.maximum(below, 1)
    return found


def average_precision(held_N: Bools, probs_N: Floats) -> float:
    """Return the area under the precision-recall steps: the sum of (R_n - R_{n-1}) P_n over the distinct scores.

    As scikit-learn's average_precision_score, without interpolation; chance is the share of rows that hold.
    """
    precision, recall = precision_recall(held_N, probs_N)
    return float((np.diff(recall, prepend=0.0) * precision).sum())


def precision_recall(held_N: Bools, probs_N: Floats) -> tuple[Counts, Counts]:
    """Return precision and recall at each distinct score as the threshold, from the highest score down."""
    order = np.argsort(-probs_N, kind="stable")
    ends = np.flatnonzero(np.append(np.diff(probs_N[order]) != 0, True))
    tp = np.cumsum(held_N[order])[ends].astype(np.float64)
    return tp / (ends + 1), tp / max(int(held_N.sum()), 1)


def label_counts(said_NL: Bools, held_NL: Bools) -> NDArray[np.int64]:
    """Return of each label how many rows are each of `COUNTS`, shape (L, 4)."""
    cases = (said_NL & held_NL, said_NL & ~held_NL, ~said_NL & held_NL, ~said_NL & ~held_NL)
    return np.stack([case.sum(axis=0) for case in cases], axis=1).astype(np.int64)


def labels_csv(counts_L4: NDArray[np.int64], per_class: Mapping[str, LabelMetrics]) -> str:
    """Return a line a label as CSV: its four counts, its figures and its threshold."""
    figures = ("precision", "recall", "f1", "average_precision", "threshold")
    rows = zip(counts_L4.tolist(), per_class.items(), strict=True)
    return "".join(
        csv_lines(["label", *COUNTS, *figures], ([name, *counts, *_cells(row)] for counts, (name, row) in rows))
    )


def _cells(row: LabelMetrics) -> Iterator[str]:
    for value in (row.precision, row.recall, row.f1, row.average_precision, row.threshold):
        yield "" if value is None else f"{value:.6g}"


def binary_loss(probs_NL: Floats, held_NL: Bools) -> float:
    """Return the binary cross-entropy in nats, the mean over rows and labels."""
    of_truth = np.where(held_NL, probs_NL, 1 - probs_NL).astype(np.float64)
    return float(-np.log(np.maximum(of_truth, np.finfo(np.float32).eps / 2)).mean())


def _intervals(predictions: LabelPredictions, resamples: int, seed: int) -> tuple[Bootstrap, dict[str, Any]]:
    """Return what is resampled; where that is enough, that and the intervals as fields."""
    said_NL, held_NL, groups = predictions.said_NL, predictions.held_NL, predictions.groups
    assert held_NL is not None
    kinds, cells_N = np.unique(np.hstack([held_NL, said_NL]), axis=0, return_inverse=True)
    units = units_of(cells_N.reshape(-1).astype(np.int64), groups, seed)  # rows with the same truth and answers are one
    perfect = bool((said_NL == held_NL).all())
    drawn = drawn_from(units, groups is not None, resamples, perfect=perfect, scores=held_NL.size)
    labels = predictions.classes
    if drawn.units < 2:
        return drawn, {}
    if perfect:
        return drawn, _fields(drawn, dict.fromkeys((*INTERVALS, "mean_average_precision"), exact_interval(drawn.units)))
    values = _resampled(units, kinds[:, : len(labels)], kinds[:, len(labels) :], resamples, seed)
    ends = {name: percentile_interval(own, drawn.units) for name, own in zip(INTERVALS, values, strict=True)}
    map_R = resampled_map(predictions.probs_NK, held_NL, groups, resamples, seed)
    return drawn, _fields(drawn, ends | {"mean_average_precision": _defined(map_R, drawn.units)})


def _of_labels(predictions: LabelPredictions, seed: int, *, intervals: bool) -> list[dict[str, Any]]:
    """Return of each label its intervals, see `class_intervals`, and whether chance explains AUC and F1, as fields."""
    said_NL, held_NL, unit_N = predictions.said_NL, predictions.held_NL, numbered(predictions.groups)
    assert held_NL is not None
    kinds = (said_NL & held_NL, held_NL, said_NL)
    if unit_N is None:
        counts = [rows_NL.sum(axis=0).astype(np.float64) for rows_NL in kinds]
    else:
        counts = [np.zeros((int(unit_N.max()) + 1, held_NL.shape[1])) for _ in kinds]
        for sums_GL, rows_NL in zip(counts, kinds, strict=True):
            np.add.at(sums_GL, unit_N, rows_NL)
    worse = below(BETTER, classes_by_chance(*counts, seed=seed))
    better = below(BETTER, ranks_by_chance(held_NL, predictions.probs_NK, predictions.groups, seed=seed))
    ends = class_intervals.of_counts(*counts) if intervals else [{}] * len(worse)
    return [
        own | {name: told for name, told in (("better_than_chance", high), ("worse", low)) if told is not None}
        for own, high, low in zip(ends, better, worse, strict=True)
    ]


def _fields(drawn: Bootstrap, ends: dict[str, Interval]) -> dict[str, Any]:
    return {"bootstrap": drawn, **{f"{name}_ci": interval for name, interval in ends.items()}}


def _resampled(units: Units, held: Bools, says: Bools, resamples: int, seed: int) -> Counts:
    """Return the figures of `INTERVALS` for each resample, shape (4, R).

    Args:
        units: what is drawn; their cells are rows of `held` and `says`.
        held: the labels that hold in each kind of row.
        says: those that the model says hold.
        resamples: how many.
        seed: names the draws.
    """
    right = (held == says).all(axis=1, keepdims=True)
    of_cell = np.hstack([held & says, held, says, right, np.ones_like(right)]).astype(np.float64)
    brings = np.zeros((len(units.times), of_cell.shape[1]))
    np.add.at(brings, units.row_unit, of_cell[units.row_cell])
    rng, step = generator(seed, "bootstrap"), max(1, _CHUNK // len(units.times))
    chunks = []
    for start in range(0, resamples, step):
        totals = (draw(rng, units.times, min(step, resamples - start)).astype(np.float64) @ brings).T
        tp, support, predicted = np.split(totals[:-2], 3)
        found = label_averages(tp, support, predicted) | {"accuracy": totals[-2] / totals[-1]}
        chunks.append(np.stack([found[name] for name in INTERVALS]))
    return np.concatenate(chunks, axis=1)


def _defined(values_R: Counts, units: int) -> Interval:
    """Return the interval of the resamples for which a figure is defined."""
    defined = values_R[~np.isnan(values_R)]
    return percentile_interval(defined, units) if len(defined) else Interval(0.0, 1.0)
