"""`bunryu train --folds k`: one run a fold under one folder, out-of-fold predictions of every image, a final model."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bunryu.core import console
from bunryu.core.errors import Interrupted, RunError, count, typed
from bunryu.core.storage import write_atomic
from bunryu.data.checks.check import Checked
from bunryu.data.splits.folds import fold_table, read_folds, write_folds
from bunryu.data.table import Table
from bunryu.evaluate.caveats import Exposure
from bunryu.evaluate.figures import read_metrics
from bunryu.evaluate.measure import Predicted, groups_of, measure_rows
from bunryu.evaluate.out_of_fold import decided, decision_of, measure_pooled, pooled, priors_of
from bunryu.evaluate.report.files import write_results
from bunryu.evaluate.report.mistakes import mistakes_file
from bunryu.evaluate.report.text import headline
from bunryu.evaluate.report.warnings import warnings_of
from bunryu.inference.ensemble import open_predictor
from bunryu.inference.ensemble_record import EnsembleMember, EnsembleRecord, write_ensemble
from bunryu.inference.predictions import read_predictions
from bunryu.inference.reading import Reading
from bunryu.inference.trust import Trust, trust_run
from bunryu.models.record import Decision, Sealed, read_sealed
from bunryu.runs.folder import RunFolder, create_run, open_folder
from bunryu.runs.interrupt import resumable
from bunryu.settings.run import RunSettings, whole_stages
from bunryu.workflows.plan.decide import make_plan
from bunryu.workflows.plan.decisions import Decisions
from bunryu.workflows.plan.folds import plan_folds, refit_stages, require_one_process, settings_of_fold, until_best
from bunryu.workflows.plan.preview import try_first_batch
from bunryu.workflows.plan.record import write_setup
from bunryu.workflows.resume import read_again, resume, say_other_versions, unchanged_data, with_code
from bunryu.workflows.train import carry_out, next_steps


@dataclass(frozen=True)
class Folds:
    """A cross-validation: its folder, its rows, and the fold of each.

    Attributes:
        folder: of the whole.
        settings: as its config.yaml has them.
        table: every row; the splits are train (in one of the folds) and test.
        fold_N: the fold of each row, -1 for test rows.
        checked: what the check of the images found.
        decisions: for the report.
    """

    folder: RunFolder
    settings: RunSettings
    table: Table
    fold_N: NDArray[np.int64]
    checked: Checked
    decisions: Decisions

    @property
    def k(self) -> int:
        """How many folds."""
        return int(self.settings.folds.k or 0)


def cross_validate(
    settings: RunSettings,
    *,
    frame: Any = None,
    out: Path | None = None,
    root: Path = Path("runs"),
    minutes: float | None = None,
    began: float | None = None,
) -> RunFolder:
    """Train one run a fold and a final model; see `bunryu.workflows.train.train`.

    Raises:
        BunryuError: with one message.
    """
    plan, fold_N, table = plan_folds(settings, frame, minutes, began)
    folder = create_run(settings.label, out, root)
    with folder.lock(), resumable(folder):
        folder.plots.mkdir(exist_ok=True)
        write_folds(folder.folds, table, fold_N)
        whole = dataclasses.replace(plan, table=table)
        write_setup(folder, whole, frame)  # config.yaml comes last: a folder that has it is whole
        _go_on(Folds(folder, folder.settings(), table, fold_N, plan.checked, plan.decisions))
    return folder


def dry_run(
    settings: RunSettings, *, frame: Any = None, minutes: float | None = None, began: float | None = None
) -> None:
    """Plan all folds, and take the first batch of the first through the network; see `train.dry_run`."""
    plan, fold_N, table = plan_folds(settings, frame, minutes, began)
    try_first_batch(dataclasses.replace(plan, table=fold_table(table, fold_N, 0)))


def go_on(run: str | Path, *, more_epochs: int = 0, trust: Trust = False) -> RunFolder:
    """Go on with a stopped run, or with a stopped cross-validation at the fold it was in; see `resume.resume`.

    Raises:
        RunError: nothing to resume, in use, or data that changed since.
    """
    folder = open_folder(run)
    if not folder.folds.exists():
        return resume(run, more_epochs=more_epochs, trust=trust)
    require_one_process()
    if more_epochs:
        raise RunError(
            f"--more-epochs trains one run further, and {folder.path} holds several. Start anew with more train.epochs."
        )
    with folder.lock(), resumable(folder):
        folder.set_up()
        environment = folder.read_environment()
        if folder.metrics.exists():
            raise RunError(f"{folder.path} has finished; there is nothing to resume.")
        trust_run(folder, None, trust)
        settings = with_code(folder, folder.settings())
        torch.set_num_threads(environment.threads)
        say_other_versions(environment.versions)
        read = unchanged_data(folder, settings, Path(environment.data_root))
        table, checked = read_again(*read, separate=settings.model.heads == "separate")
        fold_N = read_folds(folder.intact(folder.folds), table)
        _go_on(Folds(folder, settings, table, fold_N, checked, Decisions.read(environment.facts)))
    return folder


def _go_on(folds: Folds) -> None:
    """Train what is not trained yet, and finish."""
    with console.each_note_once("the report.txt of each fold"):
        for number in range(1, folds.k + 1):
            table = fold_table(folds.table, folds.fold_N, number - 1)
            run = folds.folder.fold(number)
            _run(folds, run, f"fold {number} of {folds.k}", table, settings_of_fold(folds.settings, run.split))
    _finish(folds)


def _run(folds: Folds, run: RunFolder, name: str, table: Table, settings: RunSettings) -> None:
    """Train one of the runs, or go on with it, unless it has finished."""
    if run.metrics.exists():
        return
    rows = ", ".join(f"{split} {n:,}" for split in ("train", "val", "test") if (n := len(table.split(split))))
    console.say("", f"{name}: {rows}", style="bold")
    with _stopped_in(folds, name):
        if run.last.exists():
            resume(run.path, checked=folds.checked)
        else:
            run.path.mkdir(exist_ok=True)
            plan = make_plan(settings, read=(table, folds.checked))
            carry_out(run, plan)
    for split, metrics in read_metrics(run).items():
        console.say(f"{name}: {split}: {headline(metrics)}")


@contextmanager
def _stopped_in(folds: Folds, name: str) -> Iterator[None]:
    """Say of a stop how to go on with all."""
    try:
        yield
    except Interrupted:
        mend = f"bunryu train --resume {typed(folds.folder.path)}"
        raise Interrupted(f"Stopped in {name}; the state is saved. Go on with: {mend}") from None


def _finish(folds: Folds) -> None:
    """Pool the folds, make the final model, measure, and write the results."""
    folder, settings, table = folds.folder, folds.settings, folds.table
    runs = [folder.fold(number) for number in range(1, folds.k + 1)]
    sealed = read_sealed(runs[0].model)
    parts = [_out_of_fold(folds, run, number, sealed) for number, run in enumerate(runs)]
    priors = priors_of(folder, table, folds.fold_N, settings)
    found, tau, told = decided(pooled(table, folds.fold_N, parts), folds.fold_N, settings, priors)
    results = [measure_pooled(table, found, settings.evaluate, sealed, Exposure(own_fold=_chose(settings)))]
    decisions = dataclasses.replace(folds.decisions, best_epochs=_best_epochs(runs), decision=told or None)
    if settings.folds.final == "refit":
        decisions = dataclasses.replace(decisions, refit=_refit(folds, runs, tau))
    elif settings.folds.final == "ensemble":
        folder.forget([folder.ensemble])
        write_ensemble(folder, _ensemble(runs, decision_of(tau, priors)))
        folder.note([folder.ensemble])
    rows = table.split("test")
    if len(rows) and settings.folds.final != "none":
        model = open_predictor(folder.path, device=settings.train.device)
        reading = Reading(workers=settings.data.workers)
        results.append(measure_rows("test", table, rows, model, settings.evaluate, reading))
    title = f"bunryu cross-validation {folder.path.name}"
    steps = next_steps(folder if settings.folds.final != "none" else runs[0])
    again = f"bunryu evaluate {typed(folder.path)}"
    folder.forget(folder.results)
    write_results(folder.path, results, folder.path.name, title, decisions.told(), steps, again, settings)
    folder.note(folder.results)
    for result in results:
        for warning in warnings_of(result.metrics, settings, mistakes_file(result.name)):
            console.say(f"{result.name}: {warning}", style="yellow")


def _out_of_fold(folds: Folds, run: RunFolder, fold: int, sealed: Sealed) -> Predicted:
    """Return what a fold's run wrote of its own fold, with the rows of the table that they are."""
    predictions = read_predictions(run.intact(run.path / "predictions_val.csv"), sealed.classes, sealed.attributes)
    rows = np.flatnonzero(folds.fold_N == fold)
    left = iter(predictions.paths)
    path = next(left, None)
    kept, lost = [], {}
    for row in rows.tolist():  # the same order, less what could not be read
        if folds.table.paths[row] == path:
            kept.append(row)
            path = next(left, None)
        else:
            lost[str(folds.table.paths[row])] = "could not be read any more"
    if len(kept) != len(predictions):
        raise RunError(f"{run.path / 'predictions_val.csv'} is damaged: its rows are not those of {run.split}.")
    at = np.array(kept, np.int64)
    groups, positive = groups_of(folds.table, at), sealed.answer.positive
    return Predicted(at, dataclasses.replace(predictions, groups=groups, positive=positive), lost)


def _chose(settings: RunSettings) -> bool:
    """Return whether a run had several epochs to choose from, by a figure of its validation rows."""
    epochs = sum(int(stage.epochs or 0) for stage in whole_stages(settings))
    return epochs > 1 and not settings.train.monitor.startswith("train_")


def _ensemble(runs: list[RunFolder], decision: Decision) -> EnsembleRecord:
    members = [
        EnsembleMember(file=f"{run.path.name}/{run.model.name}", weight=1.0 / len(runs), run=run.path.name)
        for run in runs
    ]
    return EnsembleRecord(members=members, decision=decision)


def _best_epochs(runs: list[RunFolder]) -> str:
    return ", ".join(str(until_best(run)[-1]["epoch"]) for run in runs)


def _refit(folds: Folds, runs: list[RunFolder], tau: float | None) -> str:
    """Train on all rows of the folds, copy the sealed model, and say for how long it was trained."""
    settings, run = folds.settings, folds.folder.refit
    chosen = refit_stages(settings, [until_best(fold) for fold in runs])
    whole = {"train.monitor": "train_epochs", "train.patience": None, "train.min_improvement": 0.0}
    refitted = settings_of_fold(settings, run.split, {**chosen, **whole, "decision.tau": tau})
    _run(folds, run, "refit", folds.table, refitted)
    write_atomic(folds.folder.model, run.model.read_bytes())
    told = ", ".join(f"{stage.name} {count(int(stage.epochs or 0), 'epoch')}" for stage in chosen["train.stages"])
    mean = ", averaged" if refitted.train.swa else ""
    return f"{len(folds.table.split('train')):,} rows, {told}{mean} (the median of the folds' best)"
