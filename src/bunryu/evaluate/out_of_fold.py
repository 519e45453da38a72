"""The folds of a cross-validation, measured as one: every image by the run that has not seen it."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bunryu.data.splits.folds import fold_table
from bunryu.data.table import Table
from bunryu.evaluate.caveats import UNSEEN, Exposure
from bunryu.evaluate.decision.logit_adjustment import (
    adjusted_out_of_fold,
    choose_tau,
    offsets,
    prior,
    tau_told,
)
from bunryu.evaluate.figures import FoldMetrics, Folds
from bunryu.evaluate.measure import Predicted, dro_column, groups_of, picture_of, predict_rows
from bunryu.evaluate.measured import Measured, measured
from bunryu.evaluate.metrics import measure
from bunryu.inference.ensemble import Device, open_predictor
from bunryu.inference.predictions import Predictions, one_answer
from bunryu.inference.reading import Reading
from bunryu.models.record import Decision, Sealed, read_sealed
from bunryu.runs.folder import RunFolder
from bunryu.settings.evaluate import EvaluateSettings
from bunryu.settings.run import RunSettings
from bunryu.train.stages import Learned
from bunryu.train.targets import class_indices

NAME = "oof"
"""What the out-of-fold rows are called in the results."""
FIGURES = ("macro_f1", "accuracy", "weighted_f1", "loss")
"""Of each fold, for their mean and spread."""


def pooled(table: Table, fold_N: NDArray[np.int64], parts: Sequence[Predicted]) -> Predicted:
    """Join what each fold's run predicted of its own fold, in the order of the table; the fold is a column more.

    Args:
        table: every row.
        fold_N: the fold of each row.
        parts: of each fold, `kept` being ids of the table's rows.
    """
    kept = np.concatenate([part.kept for part in parts])
    order = np.argsort(kept, kind="stable")
    kept = kept[order]
    found = [one_answer(part.predictions) for part in parts]
    first = found[0]
    predictions = Predictions(
        paths=[str(table.paths[row]) for row in kept],
        classes=first.classes,
        probs_NK=np.concatenate([part.probs_NK for part in found])[order],
        true_N=np.concatenate([part.true_N for part in found if part.true_N is not None])[order],
        groups=groups_of(table, kept),
        attributes=first.attributes,
        positive=first.positive,
        more={"fold": (fold_N[kept] + 1).tolist(), **dro_column(table, kept)},
    )
    skipped = {path: why for part in parts for path, why in part.skipped.items()}
    pictures = {row: pixels for part in parts for row, pixels in part.pictures.items()}
    return Predicted(kept, predictions, skipped, pictures)


def predict_folds(
    folder: RunFolder, table: Table, fold_N: NDArray[np.int64], tta: Sequence[str], device: Device, workers: int | None
) -> Predicted:
    """Predict each fold anew by its own run, on the views that `tta` names."""
    parts = []
    for fold in range(int(fold_N.max()) + 1):
        model = open_predictor(folder.fold(fold + 1).path, device=device, tta=tta)
        rows = np.flatnonzero(fold_N == fold)
        parts.append(predict_rows(f"fold {fold + 1}", table, rows, model, Reading(workers=workers)))
    return pooled(table, fold_N, parts)


def measure_pooled(
    table: Table, found: Predicted, settings: EvaluateSettings, sealed: Sealed, exposure: Exposure = UNSEEN
) -> Measured:
    """Measure the out-of-fold rows as one, and say the mean and the standard deviation of the folds' own figures.

    Args:
        table: every row.
        found: what `pooled` (and `decided`) returned.
        settings: how results are measured.
        sealed: how pictures are read, for the examples.
        exposure: how far the folds' models knew their rows.
    """
    picture = picture_of(table, found, sealed)
    result = measured(NAME, found.predictions, settings, picture, found.skipped, exposure)
    predictions = one_answer(found.predictions)
    probs_NK, true_N = predictions.probs_NK, predictions.true_N
    assert true_N is not None
    number_N = np.array(predictions.more["fold"])
    each = []
    for fold in np.unique(number_N):
        own = number_N == fold
        metrics = measure(probs_NK[own], true_N[own], predictions.classes, bootstrap=0)
        each.append(FoldMetrics(n=metrics.n, **{name: getattr(metrics, name) for name in FIGURES}))
    mean, std = (
        FoldMetrics(**{name: over(getattr(fold, name) for fold in each) for name in FIGURES})
        for over in (statistics.mean, statistics.stdev)
    )
    return dataclasses.replace(result, metrics=result.metrics.plus(folds=Folds(each=tuple(each), mean=mean, std=std)))


def decided(
    found: Predicted, fold_N: NDArray[np.int64], settings: RunSettings, priors: Sequence[NDArray[np.float64]]
) -> tuple[Predicted, float | None, str]:
    """Return the pooled predictions after logit adjustment, the tau of the final model, and that in words.

    auto: each fold is adjusted by the tau that is best on the other folds, so that no row has a say in its own answer;
    the final model by the one that is best on all. A number: the folds have applied it already.

    Args:
        found: what `pooled` returned.
        fold_N: the fold of each row of the table.
        settings: of the cross-validation.
        priors: see `priors_of`.
    """
    predictions = one_answer(found.predictions)
    assert predictions.true_N is not None
    tau, attributes = settings.decision.tau, predictions.attributes
    if tau is None:
        return found, None, ""
    on = ""
    if tau == "auto":
        probs_NK, true_N, own_N = predictions.probs_NK, predictions.true_N, fold_N[found.kept]
        prior_NK = np.stack(priors)[own_N]
        tau, on = choose_tau(probs_NK, true_N, prior_NK, attributes), "out of fold"
        fair_NK = adjusted_out_of_fold(probs_NK, true_N, own_N, prior_NK, attributes)
        found = dataclasses.replace(found, predictions=dataclasses.replace(predictions, probs_NK=fair_NK))
    return found, tau, tau_told(tau, attributes, on)


def decision_of(tau: float | None, priors: Sequence[NDArray[np.float64]]) -> Decision:
    """Return what a model of all folds shall do with its logits: the mean of what each fold's adjustment adds."""
    if tau is None:
        return Decision()
    return Decision(logit_offsets=np.mean([offsets(prior_K, tau) for prior_K in priors], axis=0).tolist())


def priors_of(
    folder: RunFolder, table: Table, fold_N: NDArray[np.int64], settings: RunSettings
) -> list[NDArray[np.float64]]:
    """Return by what the answers of each fold's run are adjusted; none where `decision.tau` wants nothing of it."""
    folds = range(int(fold_N.max()) + 1 if settings.decision.tau is not None else 0)
    return [_prior_of(folder.fold(fold + 1), table, fold_N, fold) for fold in folds]


def _prior_of(run: RunFolder, table: Table, fold_N: NDArray[np.int64], fold: int) -> NDArray[np.float64]:
    """Return the prior of what the best epoch of a fold's run had learned, shape (K,)."""
    settings, history, sealed = run.settings(), run.read_history(), read_sealed(run.model)
    learned = Learned.at(settings, history, max(int(row["epoch"]) for row in history if row["best"]))
    rows = learned.of(fold_table(table, fold_N, fold))
    counts_K = np.bincount(class_indices(table, sealed.classes)[rows], minlength=len(sealed.classes))
    return prior(settings, counts_K, sealed, mixed=learned.mixed)
