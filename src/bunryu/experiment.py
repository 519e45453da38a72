"""READ FIRST: one run from data to report. Plan, create the folder, train, measure, write."""

from __future__ import annotations

import csv
import io
import signal
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from bunryu import console
from bunryu.config import dump_yaml
from bunryu.data.sources import with_absolute_paths
from bunryu.data.splits import write_split
from bunryu.data.table import Table
from bunryu.errors import Interrupted
from bunryu.evaluate.fonts import font_note
from bunryu.evaluate.plots import plot_curves
from bunryu.evaluate.report import headline, warnings_of
from bunryu.evaluate.results import write_results
from bunryu.inference import Model
from bunryu.measuring import measure_rows, targets, validator
from bunryu.models.sealed import seal
from bunryu.planning import Plan, absolute, first_batch, make_plan, whole_stages
from bunryu.predictions import guard
from bunryu.run import RunFolder, create_run, write_environment
from bunryu.settings import RunSettings
from bunryu.storage import write_atomic
from bunryu.train.checkpoint import Checkpoint, Progress
from bunryu.train.device import memory_advice, set_threads
from bunryu.train.loop import Job, fit
from bunryu.train.losses import class_weights
from bunryu.train.stages import require_trainable_batch


def train(
    settings: RunSettings, *, frame: Any = None, out: Path | None = None, dry_run: bool = False
) -> RunFolder | None:
    """Train, measure and seal a classifier.

    Args:
        settings: all settings.
        frame: a pandas DataFrame instead of `settings.data.source`.
        out: the run folder; the next free ``runs/NAME-N`` when None.
        dry_run: stop after the first batch; nothing is written.

    Returns:
        The run folder; None after a dry run.

    Raises:
        BunryuError: with one message; see `bunryu.errors`.
    """
    settings = absolute(settings)
    threads = set_threads(settings.train)
    plan = make_plan(settings, frame)
    for name, text in plan.facts.items():
        console.say(f"{name}: {text}")
    if note := font_note(plan.classes):
        console.say(note, style="yellow")
    for stage in whole_stages(settings):
        require_trainable_batch(plan.net, stage, len(plan.table.split("train")), settings.train.batch_size)
    if dry_run:
        first_batch(plan)
        return None
    folder = create_run(_name(settings), out)
    with folder.lock():
        write_setup(folder, plan, frame, threads)
        run_to_end(folder, settings, plan.table, Model(plan.net, plan.sealed, plan.device), plan.facts)
    return folder


def run_to_end(
    folder: RunFolder,
    settings: RunSettings,
    table: Table,
    model: Model,
    facts: dict[str, str],
    checkpoint: Checkpoint | None = None,
) -> None:
    """Train from the checkpoint (or the start), then seal the best model, measure it, and write the results."""
    target = targets(table, model.classes)
    rows = table.split("train")
    counts = np.bincount(target[rows], minlength=len(model.classes)).tolist()
    with stop_signals() as stop, memory_advice(settings.train.batch_size, settings.train.accumulate):
        job = Job(
            net=model.net,
            sealed=model.sealed,
            train=settings.train,
            stages=whole_stages(settings),
            optim=settings.optim,
            schedule=settings.schedule,
            loss=settings.loss,
            augment=settings.augment,
            weights_K=class_weights(settings.loss, counts, model.classes),
            file=table.file,
            target=target,
            rows=rows,
            validate=validator(model, table, target, settings.data.workers, settings.evaluate.positive),
            device=model.device,
            workers=settings.data.workers,
            folder=folder.path,
            stop=stop,
        )
        progress = fit(job, checkpoint)
    try:
        finish(folder, settings, table, model, facts, progress)
    except KeyboardInterrupt:
        go_on = f"bunryu train --resume {folder.path}"
        raise Interrupted(f"Stopped while measuring; the training is done and saved. Go on with: {go_on}") from None


def finish(
    folder: RunFolder,
    settings: RunSettings,
    table: Table,
    model: Model,
    facts: dict[str, str],
    progress: Progress,
) -> None:
    """Seal the best model as the final one, measure it on validation and test, write results and say them."""
    best = Model.open(folder.best, device=model.device.type)  # type: ignore[arg-type]
    history = folder.read_history()
    row = history[progress.best_epoch - 1]
    provenance = {**best.sealed.provenance, "run": folder.path.name, "best": row}
    seal(folder.model, best.net, best.sealed.model_copy(update={"provenance": provenance}))
    plot_curves(history, folder.plots / "curves.png")
    results = [
        measure_rows(name, table, table.split(name), best, settings.evaluate, workers=settings.data.workers)
        for name in ("val", "test")
        if len(table.split(name))
    ]
    ended = f"{progress.total_epochs} epochs ({progress.ended_by}); the best is epoch {progress.best_epoch}"
    steps = next_steps(folder)
    write_results(folder.path, results, f"bunryu run {folder.path.name}", facts | {"training": ended}, steps)
    console.say(ended)
    for result in results:
        console.say(f"{result.name}: {headline(result.metrics)}", style="bold")
        for warning in warnings_of(result.metrics):
            console.say(f"{result.name}: {warning}", style="yellow")
    console.say(f"run: {folder.path} (report.txt, metrics.json, plots/)")
    console.say("next: " + "\n      ".join(steps))


def next_steps(folder: RunFolder) -> list[str]:
    """Return the commands to type next."""
    return [
        f"bunryu predict {folder.path} NEW_IMAGES/ --out predictions.csv",
        f"bunryu evaluate {folder.path} --data LABELLED_IMAGES/",
    ]


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a wish to stop after saving; a second one acts as usual."""
    asked: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def ask(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(number, before[signal.Signals(number)])
        with suppress(RuntimeError):  # the signal came in the middle of another line
            console.say("stopping after the present batch, once the state is saved (again: at once)")

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_setup(folder: RunFolder, plan: Plan, frame: Any, threads: int) -> None:
    """Write what was decided; config.yaml comes last, so that a folder that has it is whole."""
    settings = plan.settings
    if frame is not None:
        write_atomic(folder.frame, with_absolute_paths(frame, settings.data).to_csv(index=False))
        data = settings.data.model_copy(update={"source": str(folder.frame.absolute())})
        settings = settings.model_copy(update={"data": data})
    write_split(folder.split, plan.table)
    skipped = ([row.path, row.label, row.split, row.reason] for row in plan.checked.skipped)
    write_atomic(folder.skipped, _csv(["path", "label", "split", "reason"], skipped))
    if plan.checked.copies:
        table = plan.table
        rows = (
            [number, copies.kind, table.paths[row], table.target_labels[row], table.splits[row]]
            for number, copies in enumerate(plan.checked.copies, 1)
            for row in copies.rows
        )
        write_atomic(folder.duplicates, _csv(["picture", "kind", "path", "label", "split"], rows))
    write_environment(
        folder,
        device=str(plan.device),
        precision=plan.sealed.precision,
        threads=threads,
        data_root=str(plan.table.root),
        facts=plan.facts,
    )
    write_config(folder, settings)


def write_config(folder: RunFolder, settings: RunSettings) -> None:
    """Write every setting of the run."""
    write_atomic(folder.config, "# every setting of this run\n" + dump_yaml(settings))


def _csv(header: list[str], rows: Iterable[list[Any]]) -> str:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([guard(cell) for cell in row] for row in rows)
    return buffer.getvalue()


def _name(settings: RunSettings) -> str:
    source = settings.data.source or settings.data.train
    if settings.name or not source:
        return settings.name or "data"
    return Path(source).name if Path(source).is_dir() else Path(source).stem
