"""Measure a run on its own validation and test rows, or on other labelled data."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bunryu.core import console
from bunryu.core.errors import ConfigError, RunError, count, nearest, some, typed
from bunryu.core.shown import shown_lines
from bunryu.core.storage import write_atomic
from bunryu.data.checks.hashed import Hashed
from bunryu.data.splits.folds import read_folds
from bunryu.data.splits.split_csv import read_digests, read_run_rows
from bunryu.data.table import Table
from bunryu.evaluate.caveats import UNSEEN, Copies, Exposure, of_validation
from bunryu.evaluate.figures import parsed
from bunryu.evaluate.measure import LEARNED_FROM_VAL, answer_rows, measure_rows
from bunryu.evaluate.measured import Measured
from bunryu.evaluate.out_of_fold import NAME, decided, measure_pooled, predict_folds, priors_of
from bunryu.evaluate.report.files import write_results, written
from bunryu.evaluate.report.mistakes import mistakes_file
from bunryu.evaluate.report.text import headline
from bunryu.evaluate.report.training_curves import plot_curves
from bunryu.evaluate.report.warnings import warnings_of
from bunryu.evaluate.rows import by_group, labelled, own_splits, require_images
from bunryu.inference.ensemble import Device, open_predictor, with_tta
from bunryu.inference.ensemble_record import records_of
from bunryu.inference.model import Predictor
from bunryu.inference.reading import Reading
from bunryu.models.record import read_sealed
from bunryu.runs.claim import claimed, require_new
from bunryu.runs.folder import RunFolder
from bunryu.settings.run import RunSettings
from bunryu.ship import predict as ship
from bunryu.train.epoch_table import loss_note

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        metrics: name of the split or data -> n, accuracy, macro_f1, ..., per_class.
        predictions: name -> DataFrame with path, true, pred, conf, p_CLASS; without conf of labels that can hold
            together.
        confusion: name -> counts (K, K) as a DataFrame; rows are the truth. Of labels that can hold together a line a
            label: how often it holds and is said, holds or is said alone, and neither.
        skipped: name -> {path: reason} of the images that could not be read.
        path: the folder that everything was written to.
    """

    metrics: dict[str, dict[str, Any]]
    predictions: dict[str, pd.DataFrame]
    confusion: dict[str, pd.DataFrame]
    skipped: dict[str, dict[str, str]]
    path: Path

    def __repr__(self) -> str:
        """Return the headline of each split."""
        return shown_lines(f"{name}: {headline(parsed(metrics))}" for name, metrics in self.metrics.items())


def evaluate(
    folder: RunFolder,
    data: Any = None,
    *,
    settings: RunSettings,
    out: Path | None = None,
    name: str | None = None,
    device: Device = "auto",
    tta: Sequence[str] = (),
    checkpoint: str | None = None,
) -> Evaluation:
    """Measure a run; see `bunryu.evaluate`. Who calls it shows the headlines: ``repr`` of what it returns.

    The settings are those of `evaluation_settings`.
    """
    require_new(out, "evaluate")
    file = None if checkpoint is None else _checkpoint(folder, checkpoint)
    table = None if data is None else by_group(folder, labelled(data, records_of(folder.path)[0], settings))
    tasks = _tasks(folder, table, name, settings, device, file, checkpoint)
    results: list[Measured] = [task(()) for task in tasks.values()]
    facts: dict[str, str] = {}
    if tta:
        results, facts = _with_tta(tasks, results, tta, settings.evaluate.bootstrap)
    files = [*written(results), *map(_skipped_file, results)]
    with claimed("evaluate", out, folder.path, "evaluate", files) as target:
        _write(target, folder, results, facts, data, file)
    console.say(f"results: {target} (report.txt, metrics.json, mistakes_*.csv, plots/)")
    return _evaluation(results, target)


def _write(
    target: Path, folder: RunFolder, results: list[Measured], facts: dict[str, str], data: Any, file: Path | None
) -> None:
    """Write what was measured of a run into the folder of the results."""
    of_run = folder.settings() if folder.config.exists() else None
    for result in results:
        for warning in warnings_of(result.metrics, of_run, mistakes_file(result.name)):
            console.say(f"{result.name}: {warning}", style="yellow")
        if result.skipped:
            told = some((f"{path} ({reason})" for path, reason in result.skipped.items()), 5)
            console.say(f"{result.name}: {count(len(result.skipped), 'image')} skipped: {told}", style="yellow")
            write_atomic(target / _skipped_file(result), ship.reasons_csv(result.skipped.items()))
    run, of_data, again = _named(folder, data, file)
    write_results(target, results, run, f"bunryu evaluation of {folder.path.name}", of_data | facts, [], again, of_run)
    if data is None and folder.history.exists():
        note = loss_note(folder.settings()) if folder.config.exists() else ""
        plot_curves(folder.read_history(), target / "plots" / "curves.png", folder.path.name, note)


def _skipped_file(result: Measured) -> str:
    return f"skipped_{result.name}.csv"


def _named(folder: RunFolder, data: Any, file: Path | None) -> tuple[str, dict[str, str], str]:
    """Return what is measured in few words, the facts of that, and the command that measures it again."""
    told, run, again = "the run's own splits", folder.path.name, f"bunryu evaluate {typed(folder.path)}"
    if file is not None:
        run, again = f"{run} {file.stem}", f"{again} --checkpoint {typed(file.stem)}"
    if data is not None:
        told = str(data) if isinstance(data, (str, os.PathLike)) else "a table"
        run = f"{run} on {Path(told).name or told}"
        again = f"{again} --data {typed(data)}" if told != "a table" else "evaluate the table again"
    model = file or (folder.ensemble if folder.ensemble.exists() else folder.model)
    return run, {"model": str(model), "data": told}, again


def _checkpoint(folder: RunFolder, name: str) -> Path:
    """Return the file of one of a run's checkpoints.

    Raises:
        RunError: there is none of that name.
    """
    there = {path.stem: path for path in sorted(folder.best.parent.glob("*.safetensors")) if path != folder.last}
    if name not in there:
        found = f"Checkpoints: {some(there, 12)}." if there else "It has none."
        raise RunError(f"--checkpoint: {folder.path} has no checkpoint {name!r}.{nearest(name, there)} {found}")
    return there[name]


def _exposures(
    folder: RunFolder, names: Sequence[str], name: str | None, checkpoint: str | None
) -> dict[str, Exposure]:
    """Return how far the model knows its own rows of some names, where they promise more than new images will give."""
    if _learned_from_val(folder) and checkpoint in (None, folder.final.stem):
        return {"val": Exposure(learned=True)}
    if folder.ensemble.exists():
        return {"val": Exposure(members=True)}
    if name is None and folder.config.exists():
        own, decision = folder.settings(), records_of(folder.path)[0].decision
        tau, thresholds, tested = own.decision.tau, bool(decision.thresholds), "test" in names
        return {"val": of_validation(own.train.monitor, tau, thresholds=thresholds, tested=tested, before=None)}
    return {}


Task = Callable[[Sequence[str]], Measured]
"""Measures rows of one kind, each picture on the views named."""


def _tasks(
    folder: RunFolder,
    table: Table | None,
    name: str | None,
    settings: RunSettings,
    device: Device,
    file: Path | None,
    checkpoint: str | None,
) -> dict[str, Task]:
    """Return what measures the data given (a table), or else the run's own rows."""
    if table is None and folder.folds.exists():
        return _own_folds(folder, name, settings, device)
    model = open_predictor(file or folder.path, device=device)
    if table is not None:
        key = _file_name(name or "test")
        return {key: _task_of_others(folder, key, table, model, settings)}
    tables = own_splits(folder, model, name)
    known = _exposures(folder, list(tables), name, checkpoint)
    return {key: _task(key, rows, model, settings, known.get(key, UNSEEN)) for key, rows in tables.items()}


def _task(name: str, table: Table, model: Predictor, settings: RunSettings, exposure: Exposure = UNSEEN) -> Task:
    """Return what measures all rows of a table."""

    def measure(tta: Sequence[str]) -> Measured:
        rows, reading = np.arange(len(table)), Reading(workers=settings.data.workers)
        return measure_rows(name, table, rows, with_tta(model, tta), settings.evaluate, reading, exposure=exposure)

    return measure


def _task_of_others(folder: RunFolder, name: str, table: Table, model: Predictor, settings: RunSettings) -> Task:
    """Return what measures other data than the run's own; which of them it knows is told by what was read."""
    hashed = Hashed(table) if folder.splits else None

    def measure(tta: Sequence[str]) -> Measured:
        rows, reading = np.arange(len(table)), Reading(workers=settings.data.workers)
        shown = with_tta(model, tta)
        answers = answer_rows(name, table, rows, shown, reading, hashed)
        copies = () if hashed is None else _copies(folder, list(hashed.digests.values()))
        return measure_rows(name, table, rows, shown, settings.evaluate, reading, answers, Exposure(copies=copies))

    return measure


def _with_tta(
    tasks: dict[str, Task], plain: list[Measured], tta: Sequence[str], bootstrap: int
) -> tuple[list[Measured], dict[str, str]]:
    """Measure everything once more with test-time augmentation; say what it changes, and whether noise explains it."""
    results, facts = [], {"tta": ", ".join(tta)}
    for before, task in zip(plain, tasks.values(), strict=True):
        viewed = dataclasses.replace(task(tta), name=f"{before.name}_tta")
        after, told = viewed.changed_by(tta, before, bootstrap=bootstrap)
        results += [before, after]
        facts |= {f"{before.name} with tta": told} if told else {}
    for name, told in facts.items():
        console.say(f"{name}: {told}")
    return results, facts


def _own_folds(folder: RunFolder, name: str | None, settings: RunSettings, device: Device) -> dict[str, Task]:
    """Return what measures a cross-validation: each fold by its own run, and test rows by the final model."""
    folder.read_metrics()  # refuses one that has not finished
    own, sealed = folder.settings(), read_sealed(folder.fold(1).model)
    root = Path(folder.read_environment().data_root)
    table = read_run_rows(folder.intact(folder.split), root, sealed.answer.column)
    fold_N = read_folds(folder.intact(folder.folds), table)

    def out_of_fold(tta: Sequence[str]) -> Measured:
        found = predict_folds(folder, table, fold_N, tta, device, settings.data.workers)
        found, _, _ = decided(found, fold_N, own, priors_of(folder, table, fold_N, own))
        return measure_pooled(table, found, settings.evaluate, sealed)

    tasks: dict[str, Task] = {NAME: out_of_fold}
    if len(table.split("test")) and (folder.ensemble.exists() or folder.model.exists()):
        final = open_predictor(folder.path, device=device)
        tasks["test"] = _task("test", table.take(table.split("test")), final, settings)
    if name not in (None, *tasks):
        raise ConfigError(
            f"--name: without --data the folds and the test rows are measured, {' or '.join(tasks)}; received {name!r}."
        )
    chosen = {key: task for key, task in tasks.items() if name in (None, key)}
    require_images(folder, root, [table])
    return chosen


def _evaluation(results: list[Measured], path: Path) -> Evaluation:
    import pandas as pd

    return Evaluation(
        metrics={r.name: r.metrics.as_json() for r in results},
        predictions={r.name: r.predictions.frame() for r in results},
        confusion={r.name: pd.DataFrame(r.counts, index=r.predictions.classes, columns=r.columns) for r in results},
        skipped={r.name: r.skipped for r in results},
        path=path,
    )


def _copies(folder: RunFolder, digests: list[str]) -> tuple[Copies, ...]:
    """Return how many of the images the model knows from its training, byte for byte."""
    own = [read_digests(folder.intact(file)) for file in folder.splits]
    val = "learned from" if _learned_from_val(folder) else "chosen its best epoch by"
    trained = set().union(*(digests["train"] for digests in own))
    chosen_by = set().union(*(digests["val"] for digests in own)) - trained
    found = [
        Copies(sum(digest in known for digest in digests), len(digests), why)
        for known, why in ((trained, "learned from"), (chosen_by, val))
    ]
    return tuple(copies for copies in found if copies.rows)


def _learned_from_val(folder: RunFolder) -> bool:
    """Return whether a model of the folder learned from the run's validation rows; the folds of several never do."""
    return not folder.folds.exists() and any(
        LEARNED_FROM_VAL in sealed.provenance for sealed in records_of(folder.path)
    )


def _file_name(name: str) -> str:
    """Return a name of results, which begins the names of their files."""
    if not name.strip(". ") or set(name) & set("/\\\0"):
        raise ConfigError(f"--name: expected a plain word, without / and \\, received {name!r}.")
    return name
