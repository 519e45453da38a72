"""What each run of a cross-validation is to be: decided, and checked, before the first is trained."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core import console, distributed
from bunryu.core.errors import ConfigError, count
from bunryu.core.storage import absolute
from bunryu.data.splits.folds import assign_folds, copies_apart, fold_table
from bunryu.data.table import Table
from bunryu.models.initial import choose_architecture, network
from bunryu.runs.folder import RunFolder
from bunryu.settings.folds import FoldSettings
from bunryu.settings.run import RunSettings, whole_stages
from bunryu.settings.stages import AverageStage
from bunryu.settings.validate import replaced
from bunryu.workflows.plan.data import find_data, read_data
from bunryu.workflows.plan.decide import make_plan, ready, said
from bunryu.workflows.plan.decisions import Rows
from bunryu.workflows.plan.heads import choose_heads
from bunryu.workflows.plan.plan import Plan
from bunryu.workflows.plan.requirements import require_measurable
from bunryu.workflows.plan.time_budget import paced

_FINAL = {"ensemble": "an ensemble of their models", "refit": "one run on all of them", "none": "no final model"}


def require_one_process() -> None:
    """Refuse several processes, which would all do the same."""
    if distributed.asked() > 1:
        raise ConfigError(
            f"{distributed.asked()} processes were started (by torchrun?), and several folds train one after the "
            "other in one process. Start it once; or give each fold its own run: split.file=RUN/fold-1/split.csv"
        )


def plan_folds(
    settings: RunSettings, frame: Any, minutes: float | None, began: float | None
) -> tuple[Plan, NDArray[np.int64], Table]:
    """Decide everything, and say it: the plan of the first fold with the settings of all, the folds, every row."""
    require_one_process()
    began = time.monotonic() if began is None else began
    settings = ready(settings)
    k, final = int(settings.folds.k or 0), settings.folds.final
    found = find_data(settings, frame)
    network(settings, *choose_architecture(settings))  # what is wrong with it is told before the images are checked
    table, checked = read_data(settings, found)
    fold_N = assign_folds(table, k, settings.split, settings.folds.column)
    if torn := copies_apart(table, fold_N):
        told = f"data: {count(torn, 'picture is', 'pictures are')} in two folds, byte for byte: the figures flatter"
        console.say(f"{told} (folds that are made, without folds.column, keep copies together)", style="yellow")
    plan = make_plan(settings_of_fold(settings, None), read=(fold_table(table, fold_N, 0), checked))
    _require_all_measurable(settings, table, fold_N)
    if minutes is not None:
        runs = k + (k / (k - 1) if final == "refit" else 0)  # a refit learns from the rows of all folds
        now = time.monotonic()
        plan = paced(plan, (minutes - (now - began) / 60) / runs, now)
        told = f"each of {runs:.3g} runs {plan.decisions.plan}"
        plan = dataclasses.replace(plan, decisions=dataclasses.replace(plan.decisions, plan=told))
    groups = ", no group in two of them" if table.groups is not None else ""
    by = f"stratified by {settings.split.stratify or 'label'}"
    by = f"as the column {settings.folds.column!r} says" if settings.folds.column else by
    sizes = np.bincount(fold_N[fold_N >= 0], minlength=k).tolist()
    decisions = dataclasses.replace(
        plan.decisions,
        rows=Rows({"in folds" if name == "train" else name: n for name, n in Rows.of(table).counts.items()}),
        folds=f"{k}, {by}{groups}: {', '.join(f'{n:,}' for n in sizes)} rows; then {_FINAL[final]}",
    )
    plan = said(dataclasses.replace(plan, decisions=decisions))
    restored: dict[str, Any] = {name: getattr(settings, name) for name in ("folds", "split", "decision")}
    restored["decode.range"] = settings.decode.range  # each fold finds it in its own training rows
    return dataclasses.replace(plan, settings=replaced(plan.settings, restored)), fold_N, table


def _require_all_measurable(settings: RunSettings, table: Table, fold_N: NDArray[np.int64]) -> None:
    """Refuse what a later run would refuse, before the first is trained."""
    k = int(settings.folds.k or 0)
    runs = {
        f"fold {fold + 1}": (settings_of_fold(settings, None), fold_table(table, fold_N, fold)) for fold in range(1, k)
    }
    if settings.folds.final == "refit":
        runs["refit"] = (settings_of_fold(settings, None, {"train.monitor": "train_epochs"}), table)
    for name, (of_run, rows) in runs.items():
        try:
            require_measurable(of_run, rows, choose_heads(rows))
        except ConfigError as error:
            raise ConfigError(f"{name} of the cross-validation: {error}") from None


def settings_of_fold(
    settings: RunSettings, split: Path | None, changes: Mapping[str, Any] | None = None
) -> RunSettings:
    """Return the settings of one run of the folds: an ordinary run whose split is in a file.

    tau=auto is chosen on all folds together, so not by a single one. `changes` are laid over all this: dotted key ->
    value.
    """
    tau = None if settings.decision.tau == "auto" else settings.decision.tau
    file = None if split is None else str(absolute(split))
    return replaced(settings, {"folds": FoldSettings(), "split.file": file, "decision.tau": tau, **(changes or {})})


def until_best(run: RunFolder) -> list[dict[str, Any]]:
    """Return the history up to the best epoch."""
    history = run.read_history()
    last = max(i for i, row in enumerate(history) if row["best"])
    return history[: last + 1]


def refit_stages(settings: RunSettings, histories: list[list[dict[str, Any]]]) -> dict[str, Any]:
    """Return the settings, by dotted key, of a run for as many epochs of each stage as the folds' best epochs say.

    The number is the median over the folds; a half is rounded up, and a stage with none is left out. Where the folds
    are best with the average of `train.swa`, its stage is as long as theirs; where they are best before it, there is
    none.

    Args:
        settings: of the cross-validation.
        histories: of each fold, up to its best epoch.
    """
    whole = whole_stages(settings)
    each = [[sum(row["stage"] == stage.name for row in history) for history in histories] for stage in whole]
    epochs = [math.floor(statistics.median(spent) + 0.5) for spent in each]
    average = next((i for i, stage in enumerate(whole) if isinstance(stage, AverageStage)), None)
    averaged = average is not None and epochs[average] > 0
    if average is not None and averaged:
        epochs[average - 1] = int(whole[average - 1].epochs or 0)
    stages = [
        replaced(stage, {"epochs": number, "patience": None})
        for stage, number in zip(whole, epochs, strict=True)
        if number and not isinstance(stage, AverageStage)  # which train.swa adds
    ]
    trained = sum(int(stage.epochs or 0) for stage in stages if not stage.solve)
    chosen = {"train.epochs": trained or settings.train.epochs, "train.stages": stages}
    return chosen if averaged else chosen | {"train.swa": None, "train.swa_lr": None}
