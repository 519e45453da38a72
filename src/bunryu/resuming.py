"""Go on with a stopped run, to the same bits as if it had never stopped; or train a finished one further."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
import torch

from bunryu import console
from bunryu.data.checks import check_images
from bunryu.data.sources import read_source
from bunryu.data.table import Table
from bunryu.errors import RunError, some
from bunryu.experiment import run_to_end, write_config
from bunryu.inference import Model, choose_device
from bunryu.models.build import build
from bunryu.planning import decode_spec, make_plan, whole_stages
from bunryu.run import RunFolder, open_folder
from bunryu.settings import RunSettings
from bunryu.storage import read_json
from bunryu.train.checkpoint import Checkpoint, load_checkpoint


def resume(run: str | Path, *, more_epochs: int = 0) -> RunFolder:
    """Go on with a run from its last checkpoint.

    Args:
        run: the run folder.
        more_epochs: train a finished run for so many epochs more, as a further stage.

    Raises:
        RunError: no run, in use, nothing to resume, or data that changed since.
    """
    folder = open_folder(run)
    if not folder.config.exists() or not folder.environment.exists():
        raise RunError(f"{folder.path} was stopped before it was set up; there is nothing to resume. Start anew.")
    with folder.lock():
        settings = folder.settings()
        environment = read_json(folder.environment)
        torch.set_num_threads(int(environment["threads"]))
        if folder.metrics.exists() and not more_epochs:
            raise RunError(
                f"{folder.path} has finished; there is nothing to resume. To train it further: "
                f"bunryu train --resume {folder.path} --more-epochs 5"
            )
        table = unchanged_data(folder, settings)
        if not folder.last.exists():
            return _from_the_start(folder, settings, more_epochs)
        checkpoint = load_checkpoint(folder.last)
        if more_epochs:
            settings = _extended(folder, settings, checkpoint, more_epochs)
        net = build(checkpoint.sealed.architecture, len(checkpoint.sealed.classes))
        net.load_state_dict(checkpoint.net)
        model = Model(net, checkpoint.sealed, choose_device(settings.train.device))
        console.say(f"resuming {folder.path} at {_place(checkpoint)}, {environment['threads']} threads")
        run_to_end(folder, settings, table, model, environment["facts"], checkpoint)
    return folder


def unchanged_data(folder: RunFolder, settings: RunSettings) -> Table:
    """Return the run's rows with their splits; refuse data that changed since.

    Raises:
        RunError: listing what was added, removed or changed.
    """
    spec, data = decode_spec(settings), settings.data
    table = check_images(read_source(data), spec, level=data.check, workers=data.workers).table
    with folder.split.open(encoding="utf-8", errors="surrogateescape", newline="") as file:
        before = {row["path"]: row for row in csv.DictReader(file)}
    now = {str(row["path"]): row for row in table.frame().to_dict("records")}
    changes = [f"removed: {path}" for path in before if path not in now]
    changes += [f"added: {path}" for path in now if path not in before]
    for path in before.keys() & now.keys():
        for column, told in (
            ("digest", "changed"),
            (table.target, "label changed"),
            ("group", "group changed"),
        ):
            if before[path].get(column) != now[path].get(column):
                changes.append(f"{told}: {path}")
    if changes:
        raise RunError(
            f"The data of {folder.path} changed since it started ({len(changes)} differences): "
            f"{some(sorted(changes), 6)}. Resuming would not give what the run promises. Put the data back, or "
            "start a new run."
        )
    splits = np.array([before[str(path)]["split"] for path in table.paths], dtype=object)
    return dataclasses.replace(table, splits=splits)


def _from_the_start(folder: RunFolder, settings: RunSettings, more_epochs: int) -> RunFolder:
    """Start over a run that was stopped before its first checkpoint; its draws are the same."""
    if more_epochs:
        raise RunError(f"{folder.path} has no checkpoint yet; resume it without --more-epochs first.")
    console.say("no checkpoint was saved before it stopped: starting from the beginning")
    plan = make_plan(settings)
    run_to_end(folder, settings, plan.table, Model(plan.net, plan.sealed, plan.device), plan.facts)
    return folder


def _extended(folder: RunFolder, settings: RunSettings, checkpoint: Checkpoint, more_epochs: int) -> RunSettings:
    """Add a stage of `more_epochs` to a finished run, and let its state go on."""
    if not checkpoint.progress.finished:
        raise RunError(f"{folder.path} has not finished; resume it without --more-epochs first.")
    stages = whole_stages(settings)
    number = 1 + sum(stage.name.startswith("more") for stage in stages)
    stages.append(stages[-1].model_copy(update={"name": f"more{number}", "epochs": more_epochs}))
    update = {"stages": stages, "epochs": sum(int(stage.epochs or 0) for stage in stages)}
    settings = settings.model_copy(update={"train": settings.train.model_copy(update=update)})
    write_config(folder, settings)
    folder.metrics.unlink(missing_ok=True)
    checkpoint.progress.finished = False
    checkpoint.progress.stage = len(stages) - 1
    return settings


def _place(checkpoint: Checkpoint) -> str:
    progress = checkpoint.progress
    if progress.finished:
        return "the results"
    return f"epoch {progress.total_epochs + 1}" + (f", batch {progress.step + 1}" if progress.step else "")
