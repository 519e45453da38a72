"""What predictions of labels that can hold together are worth, and the threshold of each label: pure functions.

A figure of a label comes from its own counts: right yes (tp), rows where it holds (support), and yes given
(predicted). Intervals are as in `metrics`: rows, or whole groups, are drawn again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.csv_text import csv_lines
from bunryu.core.errors import DataError, count
from bunryu.core.randomness import generator
from bunryu.evaluate.bootstrap import draw, exact_interval, units_of
from bunryu.evaluate.metrics import FEW, few_told, roc_auc
from bunryu.inference.multilabel_predictions import LabelPredictions

Bools = NDArray[np.bool_]
Floats = NDArray[np.floating[Any]]
Counts = NDArray[np.float64]
LABEL_FIGURES = ("macro_f1", "accuracy", "micro_f1", "weighted_f1")
"""The figures that get an interval."""
COUNTS = ("true_positive", "false_positive", "false_negative", "true_negative")
_CHUNK = 4_000_000
"""Numbers held at once while resampling."""
_LEAST, _ROW_LABELS = 200, 100_000_000
"""Average precision and ROC AUC are resampled so often at least, and as often as so many rows times labels allow."""


def measure_labels(predictions: LabelPredictions, *, bootstrap: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Measure predictions with a known truth.

    Macro averages and the mean of the average precisions run over the labels that hold for some row. Ratios without a
    denominator are 0, as in scikit-learn.

    Returns:
        What goes into JSON as it is: ``n, accuracy`` (images of which every label is answered right: the subset
        accuracy, or exact match), ``macro_f1, micro_f1, weighted_f1, macro_precision, macro_recall,
        mean_average_precision`` (0 to 1), ``loss`` (binary cross-entropy in nats, mean over rows and labels),
        ``absent`` (labels that hold for no row), ``per_class`` {label: precision, recall, f1, average_precision (null
        where absent), support, predicted, threshold, roc_auc (null unless it holds for some rows and not for
        others)} and ``notes``. With groups and resampling what `metrics.measure` has, intervals being of macro_f1,
        accuracy, micro_f1, weighted_f1 and mean_average_precision; and of each label with an ROC AUC ``roc_auc_ci``
        and ``better_than_chance``, whether that lies above 1/2. An AUC knows no threshold, so choosing one on these
        rows does not flatter it.

    Raises:
        DataError: no rows, or not one label of them holds.
    """
    probs_NL, held_NL, names = predictions.probs_NK, predictions.held_NL, predictions.classes
    assert held_NL is not None
    if not held_NL.any():
        raise DataError(
            f"There is nothing to measure: none of the labels holds for any of {count(len(held_NL), 'image')}. Recall "
            "and F1 need images with labels."
        )
    if not np.isfinite(probs_NL).all():
        raise DataError("Some images have probabilities that are not finite: they have no answer.")
    said_NL = predictions.said_NL
    tp, support, predicted = (rows.sum(axis=0).astype(np.float64) for rows in (said_NL & held_NL, held_NL, said_NL))
    precision, recall, f1 = ratio(tp, predicted), ratio(tp, support), ratio(2 * tp, support + predicted)
    ap = [average_precision(held_NL[:, k], probs_NL[:, k]) if support[k] else None for k in range(len(names))]
    per_class: dict[str, dict[str, Any]] = {
        name: {
            "precision": float(precision[k]),
            "recall": float(recall[k]),
            "f1": float(f1[k]),
            "average_precision": ap[k],
            "support": int(support[k]),
            "predicted": int(predicted[k]),
            "threshold": float(predictions.thresholds[k]),
            "roc_auc": roc_auc(held_NL[:, k], probs_NL[:, k]) if 0 < support[k] < len(held_NL) else None,
        }
        for k, name in enumerate(names)
    }
    right_N = (said_NL == held_NL).all(axis=1)
    found = label_averages(tp, support, predicted)
    result: dict[str, Any] = {
        "n": len(held_NL),
        "accuracy": float(right_N.mean()),
        **{name: float(value) for name, value in found.items()},
        "mean_average_precision": float(np.mean([value for value in ap if value is not None])),
        "loss": binary_loss(probs_NL, held_NL),
        "absent": [name for name, rows in zip(names, support, strict=True) if not rows],
        "per_class": per_class,
        "notes": [f"{few_told(len(held_NL))}."] if len(held_NL) < FEW else [],
    }
    if predictions.groups is not None:
        result["groups"] = len(set(predictions.groups))
    if bootstrap:
        result |= _intervals(predictions, bootstrap, seed, result["notes"])
        for name, ends in result.pop("labels", {}).items():
            if per_class[name]["roc_auc"] is not None:
                per_class[name] |= {"roc_auc_ci": ends, "better_than_chance": ends[0] > 0.5}
    return result


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


def labels_csv(counts_L4: NDArray[np.int64], per_class: dict[str, dict[str, Any]]) -> str:
    """Return a line a label as CSV: its four counts, its figures and its threshold."""
    figures = ("precision", "recall", "f1", "average_precision", "threshold")
    rows = (
        [name, *counts, *("" if row[key] is None else f"{row[key]:.6g}" for key in figures)]
        for counts, (name, row) in zip(counts_L4.tolist(), per_class.items(), strict=True)
    )
    return "".join(csv_lines(["label", *COUNTS, *figures], rows))


def binary_loss(probs_NL: Floats, held_NL: Bools) -> float:
    """Return the binary cross-entropy in nats, the mean over rows and labels."""
    of_truth = np.where(held_NL, probs_NL, 1 - probs_NL).astype(np.float64)
    return float(-np.log(np.maximum(of_truth, np.finfo(np.float32).eps / 2)).mean())


def _intervals(predictions: LabelPredictions, resamples: int, seed: int, notes: list[str]) -> dict[str, Any]:
    """Return 95 % percentile intervals; those of each label's ROC AUC as ``labels`` {label: [lo, hi]}."""
    said_NL, held_NL, groups = predictions.said_NL, predictions.held_NL, predictions.groups
    assert held_NL is not None
    kinds, cells_N = np.unique(np.hstack([held_NL, said_NL]), axis=0, return_inverse=True)
    units = units_of(cells_N.reshape(-1).astype(np.int64), groups, seed)  # rows with the same truth and answers are one
    perfect = bool((said_NL == held_NL).all())
    names, labels = (*LABEL_FIGURES, "mean_average_precision"), predictions.classes
    exact = exact_interval(units, groups is not None, names, perfect=perfect, resamples=resamples, notes=notes)
    if "bootstrap" not in exact:
        return exact
    if perfect:
        return exact | {"labels": dict.fromkeys(labels, exact["accuracy_ci"])}
    held, says = kinds[:, : len(labels)], kinds[:, len(labels) :]
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
        chunks.append(np.stack([found[name] for name in LABEL_FIGURES]))
    values = np.concatenate(chunks, axis=1)
    told = {f"{name}_ci": _ends(own) for name, own in zip(LABEL_FIGURES, values, strict=True)}
    map_R, auc_LR = resampled_ranks(predictions.probs_NK, held_NL, groups, resamples, seed)
    of_label = {name: _ends(auc_R) for name, auc_R in zip(labels, auc_LR, strict=True)}
    return exact | told | {"mean_average_precision_ci": _ends(map_R), "labels": of_label}


def _ends(values_R: Counts) -> list[float]:
    """Return the 2.5th and the 97.5th percentile of the resamples for which a figure is defined."""
    defined = values_R[~np.isnan(values_R)]
    return [float(end) for end in np.quantile(defined, [0.025, 0.975])] if len(defined) else [0.0, 1.0]


def resampled_ranks(
    probs_NL: Floats, held_NL: Bools, groups: list[str] | None, resamples: int, seed: int
) -> tuple[Counts, Counts]:
    """Return the mean average precision (R,) and each label's ROC AUC (L, R) of resamples of rows or groups.

    Scores are sorted once; a row that is drawn w times counts w times in the steps of the curves. What is not defined
    for a resample is nan. The resamples are fewer than asked for where that would take long.
    """
    n, labels = held_NL.shape
    resamples = min(resamples, max(_LEAST, _ROW_LABELS // (n * labels)))
    if groups is None:  # numbered by what they are, so that the rows' order does not matter
        unit_N = np.empty(n, np.int64)
        unit_N[np.lexsort([*probs_NL.T, *held_NL.T])] = np.arange(n)
    else:
        unit_N = np.unique(np.array(groups), return_inverse=True)[1]
    rng, step = generator(seed, "bootstrap-ranks"), max(1, _CHUNK // n)
    order_NL = np.argsort(-probs_NL, axis=0, kind="stable")
    ap_LR, auc_LR = np.full((labels, resamples), np.nan), np.full((labels, resamples), np.nan)
    for start in range(0, resamples, step):
        part = slice(start, min(start + step, resamples))
        drawn_RU = draw(rng, np.ones(int(unit_N.max()) + 1, np.int64), part.stop - start)
        for k in np.flatnonzero(held_NL.any(axis=0)):
            order = order_NL[:, k]
            ends = np.flatnonzero(np.append(np.diff(probs_NL[order, k]) != 0, True))
            times_RN = drawn_RU[:, unit_N[order]]
            tp_RE = np.cumsum(times_RN * held_NL[order, k], axis=1)[:, ends].astype(np.float64)
            said_RE = np.cumsum(times_RN, axis=1)[:, ends]
            found_RE = np.diff(tp_RE, prepend=0.0, axis=1)
            fp_RE = np.diff(said_RE - tp_RE, prepend=0.0, axis=1)
            yes_R, no_R = tp_RE[:, -1], said_RE[:, -1] - tp_RE[:, -1]
            with np.errstate(invalid="ignore"):
                ap_LR[k, part] = (found_RE * tp_RE / np.maximum(said_RE, 1)).sum(axis=1) / yes_R
                auc_LR[k, part] = (fp_RE * (tp_RE - found_RE / 2)).sum(axis=1) / (yes_R * no_R)
    defined = ~np.isnan(ap_LR)
    several_R = defined.sum(axis=0)
    map_R = np.where(several_R > 0, np.where(defined, ap_LR, 0.0).sum(axis=0) / np.maximum(several_R, 1), np.nan)
    return map_R, auc_LR
