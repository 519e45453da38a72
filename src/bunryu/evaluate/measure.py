"""Predict and measure rows of a table whose labels the model knows: during training, after it, and later."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import DataError, some
from bunryu.data.images.decode import load
from bunryu.data.images.pixel_cache import PixelCache
from bunryu.data.multi_label import absent_labels, held_labels
from bunryu.data.table import DRO_GROUP, Table, Texts
from bunryu.evaluate.decision.logit_adjustment import choose_tau, head_counts, offsets, prior
from bunryu.evaluate.decision.thresholds import best_thresholds
from bunryu.evaluate.measured import Measured, measured
from bunryu.evaluate.metrics import measure
from bunryu.evaluate.multilabel_metrics import measure_labels
from bunryu.evaluate.slices import WORST, measure_groups
from bunryu.inference.model import Predictor
from bunryu.inference.multilabel_predictions import USUAL, LabelPredictions, answers_of
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Decision, Sealed
from bunryu.settings.data import DataSettings
from bunryu.settings.evaluate import EvaluateSettings
from bunryu.settings.multilabel_rules import OF_LABELS
from bunryu.settings.validate import replaced
from bunryu.train.sampling import epoch_counts
from bunryu.train.targets import Targets, class_indices

LEARNED_FROM_VAL = "learned_from_val"
"""In a sealed model's provenance: the epoch from which on it learned from the validation rows of its run."""
EACH_EPOCH = ("loss", "accuracy", "macro_f1", "weighted_f1", "macro_precision", "macro_recall")


TWO_CLASS = ("roc_auc", "positive_precision", "positive_recall", "positive_f1")


@dataclass(frozen=True)
class Predicted:
    """Rows of a table, predicted: what of them could be read, and the others with the reason."""

    kept: NDArray[np.int64]
    predictions: Predictions
    skipped: dict[str, str]


def predict_rows(
    name: str,
    table: Table,
    rows: NDArray[np.int64],
    model: Predictor,
    *,
    workers: int | None = None,
    cache: PixelCache | None = None,
) -> Predicted:
    """Predict rows whose labels are known. `cache` is where the table's pictures are kept.

    Raises:
        DataError: none of the images could be read.
    """
    kept, probs, failed = model.infer(table.file, rows, workers=workers, label=f"Measuring {name}", cache=cache)
    skipped = {str(table.paths[row]): reason for row, reason in failed.items()}
    if not len(kept):
        told = some((f"{path}: {reason}" for path, reason in skipped.items()), 1)
        raise DataError(f"None of the {len(rows)} images to measure could be read, e.g. {told}.")
    paths, true = [str(table.paths[row]) for row in kept], table.target_labels[kept]
    groups, more = groups_of(table, kept), dro_column(table, kept)
    predictions = answers_of(model.sealed, paths, probs, true=true, groups=groups, more=more)
    return Predicted(kept, predictions, skipped)


def groups_of(table: Table, rows: NDArray[np.int64]) -> list[str] | None:
    """Return the group of each row; a row without one is a group of its own. None without groups."""
    return None if table.groups is None else [str(table.groups[row]) or f"\0{row}" for row in rows]


def dro_column(table: Table, rows: NDArray[np.int64]) -> dict[str, list[str]]:
    """Return the column of predictions that tells the groups of `loss.group_dro`; none where there are none."""
    return {} if table.dro_groups is None else {DRO_GROUP: table.dro_groups[rows].tolist()}


def picture_of(table: Table, rows: NDArray[np.int64], sealed: Sealed) -> Callable[[int], NDArray[np.uint8]]:
    """Return what gives the pixels of the i-th of `rows`."""
    return lambda i: load(table.file(int(rows[i])), sealed.decode, sealed.input)


def measure_rows(
    name: str,
    table: Table,
    rows: NDArray[np.int64],
    model: Predictor,
    settings: EvaluateSettings,
    *,
    workers: int | None = None,
    cache: PixelCache | None = None,
) -> Measured:
    """Predict rows and measure them, with intervals; see `predict_rows`."""
    found = predict_rows(name, table, rows, model, workers=workers, cache=cache)
    return measured(name, found.predictions, settings, picture_of(table, found.kept, model.sealed), found.skipped)


def decide(
    tau: float | Literal["auto"] | None,
    model: Predictor,
    table: Table,
    data: DataSettings,
    *,
    cache: PixelCache | None,
) -> tuple[Decision, str]:
    """Return what the model shall do with its logits, and that in words ("" for nothing).

    Args:
        tau: of logit adjustment; auto for the best on the validation rows.
        model: trained, its decision still plain.
        table: with the splits.
        data: how many threads decode, and to what the training rows were balanced.
        cache: where the table's pictures are kept.

    Raises:
        DataError: auto, without validation rows.
    """
    if model.sealed.multi_label:
        return _thresholds(model, table, data, cache)
    if tau is None:
        return model.sealed.decision, ""
    target = class_indices(table, model.classes)
    own_K = np.bincount(target[table.split("train")], minlength=len(model.classes))
    counts_K = np.array(epoch_counts(own_K, data.balance_to))
    sealed = model.sealed
    counts = [counts_K] if sealed.joint is None else head_counts(counts_K, sealed.attributes)
    told = "as set"
    if tau == "auto":
        rows = table.split("val")
        if not len(rows):
            raise DataError("decision.tau=auto is chosen on validation rows, and there are none. Give a number.")
        kept, probs, _ = model.infer(table.file, rows, workers=data.workers, label="choosing tau", cache=cache)
        tau = choose_tau(probs, target[kept], prior(counts_K, sealed))
        told = "the best for macro-F1 on the validation rows"
    added = [value for own in counts for value in offsets(own, tau)]
    decision = replaced(sealed.decision, {"logit_offsets": added})
    return decision, f"logits adjusted to the class counts by tau {tau:g} ({told})"


def _thresholds(model: Predictor, table: Table, data: DataSettings, cache: PixelCache | None) -> tuple[Decision, str]:
    """Return the threshold of each label, the best for its F1 on the validation rows, and how that was decided."""
    rows, classes = table.split("val"), model.classes
    if not len(rows):
        return Decision(thresholds=dict.fromkeys(classes, USUAL)), f"a threshold of {USUAL:g} for each label"
    kept, probs_NL, _ = model.infer(table.file, rows, workers=data.workers, label="choosing thresholds", cache=cache)
    held_NL = held_labels(table.target_labels[kept], classes)
    found = dict(zip(classes, best_thresholds(probs_NL, held_NL), strict=True))
    told = "a threshold for each label, the best for its F1 on the validation rows"
    if absent := absent_labels(classes, held_NL):
        told += f" ({USUAL:g} for {some(absent, 8)}, which none of them has)"
    return Decision(thresholds=found), told


def note_chosen(results: list[Measured], monitor: str, tau: float | Literal["auto"] | None) -> None:
    """Note that validation figures are a little too good, where no test follows.

    Args:
        results: of the run's splits.
        monitor: what chose the best epoch.
        tau: of logit adjustment; auto is chosen on them too. (So are the thresholds of labels, which are always told.)
    """
    for result in results:
        if result.name == "val" and isinstance(result.predictions, LabelPredictions):
            result.metrics["notes"].append(
                "The threshold of each label was chosen on these images for its F1, which flatters F1 and accuracy; "
                "the average precision knows no threshold."
            )
    chosen = [] if monitor.startswith("train_") else ["The best epoch"]
    chosen += ["tau" if chosen else "Tau"] if tau == "auto" else []
    if [result.name for result in results] == ["val"] and chosen:
        results[0].metrics["notes"].append(
            f"{' and '.join(chosen)} {'was' if len(chosen) == 1 else 'were'} chosen on these images, so they flatter "
            f"{'it' if len(chosen) == 1 else 'them'} a little. Keep some for a test that chose nothing: split.test=0.2."
        )


def note_members(metrics: dict[str, Any]) -> None:
    """Note the same of several runs together, on the rows that all were validated on."""
    metrics["notes"].append(
        "The members' best epochs, and their weights where those are fitted, were chosen on these images, so they "
        "flatter it a little."
    )


def learned_from_val(history: list[dict[str, Any]]) -> int | None:
    """Return the epoch from which on a run learned from its validation rows; None where it never did."""
    return next((int(row["epoch"]) for row in history if not row.get("clean", True)), None)


def note_learned(results: list[Measured], epoch: int, best: int) -> str:
    """Note which weights were measured on what, where a run learned from its validation rows in its last epochs.

    Args:
        results: of the run's splits.
        epoch: the first that did.
        best: the best of those before.

    Returns:
        The same for the report, to follow a sentence.
    """
    for result in results:
        if result.name == "val":
            result.metrics["notes"].insert(
                0,
                f"From epoch {epoch} on the model learned from these rows, and their figures are not clean. These are "
                f"of epoch {best}, the best before that; the sealed model has the last epoch's weights, which "
                + ("only the test rows measure." if len(results) > 1 else "nothing here measures: keep a split.test."),
            )
    return (
        f" of those before epoch {epoch}, from which on it learned from validation rows and figures of validation are "
        "not clean; the sealed model has the last epoch's weights"
    )


def scorer(
    targets: Targets, classes: list[str], positive: str | None, dro_groups: Texts | None = None
) -> Callable[[NDArray[np.int64], NDArray[np.float32]], dict[str, float]]:
    """Return what measures validation rows and their class probabilities after each epoch; labels at 0.5."""

    def score(rows: NDArray[np.int64], probs_NK: NDArray[np.float32]) -> dict[str, float]:
        if not np.isfinite(probs_NK).all():  # the loop says what that means
            return dict.fromkeys(EACH_EPOCH, float("nan"))
        true_N = targets.index_N[rows]
        if targets.held_JL is None:
            metrics = measure(probs_NK, true_N, classes, positive=positive, bootstrap=0)
            if dro_groups is not None:
                metrics |= measure_groups(probs_NK, true_N, dro_groups[rows].tolist())
        else:
            paths, usual = [""] * len(rows), [USUAL] * len(classes)
            answers = LabelPredictions(paths, classes, probs_NK, thresholds=usual, held_NL=targets.held_JL[true_N])
            metrics = measure_labels(answers, bootstrap=0)
        names = (*EACH_EPOCH, *TWO_CLASS, *OF_LABELS, WORST)
        return {name: metrics[name] for name in names if metrics.get(name) is not None}

    return score
