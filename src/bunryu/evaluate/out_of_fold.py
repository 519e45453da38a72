"""The folds of a cross-validation, measured as one: every image by the run that has not seen it."""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bunryu.data.table import Table
from bunryu.evaluate.caveats import UNSEEN, Exposure
from bunryu.evaluate.decision.logit_adjustment import adjusted_out_of_fold, choose_tau, offsets, prior
from bunryu.evaluate.figures import FoldMetrics, Folds
from bunryu.evaluate.measure import Predicted, dro_column, groups_of, picture_of, predict_rows
from bunryu.evaluate.measured import Measured, measured
from bunryu.evaluate.metrics import measure
from bunryu.inference.ensemble import Device, open_predictor
from bunryu.inference.predictions import Predictions, one_answer
from bunryu.inference.reading import Reading
from bunryu.models.record import Decision, Sealed
from bunryu.runs.folder import RunFolder
from bunryu.settings.evaluate import EvaluateSettings
from bunryu.settings.run import RunSettings

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
    found: Predicted, fold_N: NDArray[np.int64], settings: RunSettings, sealed: Sealed
) -> tuple[Predicted, float | None, str]:
    """Return the pooled predictions after logit adjustment, the tau of the final model, and that in words.

    auto: each fold is adjusted by the tau that is best on the other folds, so that no row has a say in its own answer;
    the final model by the one that is best on all. A number: the folds have applied it already.
    """
    predictions = one_answer(found.predictions)
    assert predictions.true_N is not None
    tau = settings.decision.tau
    if tau is None:
        return found, None, ""
    prior_K = _prior(settings, predictions.true_N, sealed)
    why = "as set"
    if tau == "auto":
        probs_NK, true_N = predictions.probs_NK, predictions.true_N
        tau, why = choose_tau(probs_NK, true_N, prior_K), "the best for macro-F1 out of fold"
        fair_NK = adjusted_out_of_fold(probs_NK, true_N, fold_N[found.kept], prior_K)
        found = dataclasses.replace(found, predictions=dataclasses.replace(predictions, probs_NK=fair_NK))
    return found, tau, f"answers corrected for the class counts (logit adjustment by tau {tau:g}; {why})"


def decision_of(found: Predicted, tau: float | None, settings: RunSettings, sealed: Sealed) -> Decision:
    """Return what a model of all folds shall do with its logits: the adjustment to the counts of their rows."""
    true_N = one_answer(found.predictions).true_N
    assert true_N is not None
    return Decision() if tau is None else Decision(logit_offsets=offsets(_prior(settings, true_N, sealed), tau))


def _prior(settings: RunSettings, true_N: NDArray[np.int64], sealed: Sealed) -> NDArray[np.float64]:
    return prior(settings, np.bincount(true_N, minlength=len(sealed.classes)), sealed)
