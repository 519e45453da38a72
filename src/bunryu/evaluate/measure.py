"""Predict and measure rows of a table whose labels the model knows: during training, after it, and later."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import DataError, some
from bunryu.data.images.decode import Source, load
from bunryu.data.multi_label import absent_labels, held_labels
from bunryu.data.table import DRO_GROUP, Table, Texts
from bunryu.evaluate.attributes import mean_macro_f1
from bunryu.evaluate.caveats import UNSEEN, Exposure
from bunryu.evaluate.decision.logit_adjustment import choose_tau, independent, offsets, tau_told, uninformed
from bunryu.evaluate.decision.thresholds import best_thresholds
from bunryu.evaluate.figures import Figures
from bunryu.evaluate.measured import Measured, measured
from bunryu.evaluate.metrics import measure
from bunryu.evaluate.multilabel_metrics import measure_labels
from bunryu.evaluate.slices import measure_groups, worst_accuracy
from bunryu.inference.examples import Examples
from bunryu.inference.model import Predictor
from bunryu.inference.multilabel_predictions import USUAL, LabelPredictions, answers_of
from bunryu.inference.predictions import PredictionTable
from bunryu.inference.reading import PLAIN, Answers, Reading, say_strange
from bunryu.models.record import Attribute, Decision, Sealed
from bunryu.settings.evaluate import EvaluateSettings
from bunryu.settings.multilabel_rules import OF_LABELS
from bunryu.settings.run import RunSettings
from bunryu.settings.validate import replaced
from bunryu.train.stages import Learned
from bunryu.train.targets import Targets, class_indices

LEARNED_FROM_VAL = "learned_from_val"
"""In a sealed model's provenance: the epoch from which on it learned from the validation rows of its run."""
EACH_EPOCH = ("loss", "accuracy", "macro_f1", "weighted_f1", "macro_precision", "macro_recall")


TWO_CLASS = ("roc_auc", "positive_precision", "positive_recall", "positive_f1")


@dataclass(frozen=True)
class Predicted:
    """Rows of a table, predicted: what of them could be read, and the others with the reason.

    `pictures` are those that were kept to be shown: row of the table -> pixels, uint8 (H, W, C).
    """

    kept: NDArray[np.int64]
    predictions: PredictionTable
    skipped: dict[str, str]
    pictures: dict[int, NDArray[np.uint8]] = field(default_factory=dict)


def predict_rows(
    name: str,
    table: Table,
    rows: NDArray[np.int64],
    model: Predictor,
    reading: Reading = PLAIN,
) -> Predicted:
    """Predict rows whose labels are known.

    Raises:
        DataError: none of the images could be read.
    """
    return predicted(table, answer_rows(name, table, rows, model, reading), model.sealed)


def answer_rows(
    name: str,
    table: Table,
    rows: NDArray[np.int64],
    model: Predictor,
    reading: Reading = PLAIN,
    source: Callable[[int], Source] | None = None,
) -> Answers:
    """Let the model answer rows whose labels are known, and keep the pictures that may be shown; see `predict_rows`.

    Their files are opened, or what `source` gives is taken.
    """
    examples = Examples(model.sealed, table)
    reading = dataclasses.replace(reading, told=f"Measuring {name}", examples=examples)
    answers = model.infer(source or table.file, rows, reading)
    if not len(answers.rows):
        told = some((f"{table.paths[row]}: {reason}" for row, reason in answers.failed.items()), 1)
        raise DataError(f"None of the {len(rows)} images to measure could be read, e.g. {told}.")
    say_strange(answers, model.sealed)
    return answers


def predicted(table: Table, answers: Answers, sealed: Sealed) -> Predicted:
    """Return a model's answers to rows of a table beside the truth."""
    kept = answers.rows
    skipped = {str(table.paths[row]): reason for row, reason in answers.failed.items()}
    paths, true = [str(table.paths[row]) for row in kept], table.target_labels[kept]
    groups, more = groups_of(table, kept), dro_column(table, kept)
    predictions = answers_of(sealed, paths, answers.probs_NK, true=true, groups=groups, more=more)
    return Predicted(kept, predictions, skipped, answers.pictures)


def groups_of(table: Table, rows: NDArray[np.int64]) -> list[str] | None:
    """Return the group of each row; a row without one is a group of its own. None without groups."""
    return None if table.groups is None else [str(table.groups[row]) or f"\0{row}" for row in rows]


def dro_column(table: Table, rows: NDArray[np.int64]) -> dict[str, list[str]]:
    """Return the column of predictions that tells the groups of `loss.group_dro`; none where there are none."""
    return {} if table.dro_groups is None else {DRO_GROUP: table.dro_groups[rows].tolist()}


def picture_of(table: Table, found: Predicted, sealed: Sealed) -> Callable[[int], NDArray[np.uint8]]:
    """Return what gives the pixels of the i-th prediction: as they were kept, else read again."""

    def picture(i: int) -> NDArray[np.uint8]:
        row = int(found.kept[i])
        kept = found.pictures.get(row)
        return load(table.file(row), sealed.decode, sealed.input) if kept is None else kept

    return picture


def measure_rows(
    name: str,
    table: Table,
    rows: NDArray[np.int64],
    model: Predictor,
    settings: EvaluateSettings,
    reading: Reading = PLAIN,
    answers: Answers | None = None,
    exposure: Exposure = UNSEEN,
) -> Measured:
    """Predict rows, unless their `answers` are there already, and measure them, with intervals; see `predict_rows`."""
    answers = answers or answer_rows(name, table, rows, model, reading)
    found = predicted(table, answers, model.sealed)
    picture = picture_of(table, found, model.sealed)
    return measured(name, found.predictions, settings, picture, found.skipped, exposure)


def decide(
    settings: RunSettings, model: Predictor, table: Table, val: Answers | None, *learned: Learned
) -> tuple[list[Decision], str]:
    """Return what the model shall do with its logits, and that in words ("" for nothing).

    Args:
        settings: of its training; decision.tau of logit adjustment, auto for the best on the validation rows.
        model: trained, its decision still plain.
        table: with the splits.
        val: what it answers to the validation rows; None where there are none.
        learned: what it had learned last; and of each further weights of its run, for a decision each. They share the
            tau (or the thresholds), which is chosen for the model.

    Raises:
        DataError: auto, without validation rows.
    """
    sealed, tau = model.sealed, settings.decision.tau
    if sealed.multi_label:
        decision, told = _thresholds(model, table, val)
        return [decision] * len(learned), told
    if tau is None:
        return [sealed.decision] * len(learned), ""
    target = class_indices(table, model.classes)
    counts = [np.bincount(target[one.of(table)], minlength=len(model.classes)) for one in learned]
    both = zip(counts, learned, strict=True)
    priors = [uninformed(settings, counts_K, sealed, mixed=one.mixed) for counts_K, one in both]
    on = ""
    if tau == "auto":
        if val is None:
            raise DataError("decision.tau=auto is chosen on validation rows, and there are none. Give a number.")
        tau = choose_tau(val.probs_NK, target[val.rows], independent(priors[0]), sealed.attributes)
        on = "on the validation rows"
    added = [[value for own in of_heads for value in offsets(own, tau)] for of_heads in priors]
    found = [replaced(sealed.decision, {"logit_offsets": values}) for values in added]
    return found, tau_told(tau, sealed.attributes, on)


def _thresholds(model: Predictor, table: Table, val: Answers | None) -> tuple[Decision, str]:
    """Return the threshold of each label, the best for its F1 on the validation rows, and how that was decided."""
    classes = model.classes
    if val is None:
        return Decision(thresholds=dict.fromkeys(classes, USUAL)), f"a threshold of {USUAL:g} for each label"
    held_NL = held_labels(table.target_labels[val.rows], classes)
    found = dict(zip(classes, best_thresholds(val.probs_NK, held_NL), strict=True))
    told = "a threshold for each label, the best for its F1 on the validation rows"
    if absent := absent_labels(classes, held_NL):
        told += f" ({USUAL:g} for {some(absent, 8)}, which none of them has)"
    return Decision(thresholds=found), told


def learned_from_val(history: list[dict[str, Any]]) -> int | None:
    """Return the epoch from which on a run learned from its validation rows; None where it never did."""
    return next((int(row["epoch"]) for row in history if not row.get("clean", True)), None)


def scorer(
    targets: Targets,
    classes: list[str],
    positive: str | None,
    dro_groups: Texts | None = None,
    attributes: Sequence[Attribute] = (),
) -> Callable[[NDArray[np.int64], NDArray[np.float32]], dict[str, float]]:
    """Return what measures validation rows and their class probabilities after each epoch; labels at 0.5.

    Of several label columns (`attributes`) also the mean of the macro-F1 of each.
    """

    def score(rows: NDArray[np.int64], probs_NK: NDArray[np.float32]) -> dict[str, float]:
        if not np.isfinite(probs_NK).all():  # the loop says what that means
            return dict.fromkeys((*EACH_EPOCH, *(["mean_macro_f1"] if attributes else [])), float("nan"))
        true_N = targets.index_N[rows]
        if targets.held_JL is None:
            metrics: Figures = measure(probs_NK, true_N, classes, positive=positive, bootstrap=0)
            if dro_groups is not None:
                by_group = measure_groups(probs_NK, true_N, dro_groups[rows].tolist(), bootstrap=0)
                metrics = metrics.plus(worst_group_accuracy=worst_accuracy(by_group))
        else:
            paths, usual = [""] * len(rows), [USUAL] * len(classes)
            answers = LabelPredictions(paths, classes, probs_NK, thresholds=usual, held_NL=targets.held_JL[true_N])
            metrics = measure_labels(answers, bootstrap=0)
        names = (*EACH_EPOCH, *TWO_CLASS, *OF_LABELS, "worst_group_accuracy")
        found = {name: value for name in names if (value := getattr(metrics, name, None)) is not None}
        return found | ({"mean_macro_f1": mean_macro_f1(probs_NK, true_N, attributes)} if attributes else {})

    return score
