"""READ FIRST: one run from data to report. Plan, create the folder, train, measure, write."""

from __future__ import annotations

import csv
import io
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from bunryu import console
from bunryu.data.checks import check_images
from bunryu.data.decode import load
from bunryu.data.sources import read_source
from bunryu.data.splits import write_split
from bunryu.data.table import Table
from bunryu.errors import DataError, RunError, some
from bunryu.evaluate.metrics import measure
from bunryu.evaluate.plots import font_note, plot_curves
from bunryu.evaluate.report import headline
from bunryu.evaluate.results import Measured, measured, write_results
from bunryu.inference import choose_device, infer
from bunryu.models.build import Classifier
from bunryu.models.sealed import Sealed, open_sealed, seal
from bunryu.planning import Plan, absolute, decode_spec, make_plan
from bunryu.predictions import Predictions, guard
from bunryu.run import RunFolder, create_run, open_folder, write_environment
from bunryu.settings import RunSettings
from bunryu.storage import read_json, write_atomic
from bunryu.train.checkpoint import Checkpoint, load_checkpoint
from bunryu.train.device import memory_advice, set_threads
from bunryu.train.loop import Job, fit
from bunryu.train.losses import class_weights
from bunryu.train.settings import Stage, stage_epochs

VALIDATION_BATCH = 32


def train(settings: RunSettings, *, frame: Any = None, out: Path | None = None, dry_run: bool = False) -> RunFolder | None:
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
    if dry_run:
        first_batch(plan)
        return None
    folder = create_run(_name(settings), out)
    with folder.lock():
        write_setup(folder, plan, frame, threads)
        run_to_end(folder, plan.settings, plan.table, plan.sealed, plan.net, plan.device, plan.facts, None)
    return folder


def resume(run: str | Path, *, more_epochs: int = 0) -> RunFolder:
    """Go on with a run from its last checkpoint, to the same end as if it had never stopped.

    Args:
        run: the run folder.
        more_epochs: train a finished run for so many epochs more, as a further stage.

    Raises:
        RunError: no run, in use, nothing to resume, or data that changed since.
    """
    folder = open_folder(run)
    with folder.lock():
        settings = folder.settings()
        threads = int(read_json(folder.environment)["threads"])
        torch.set_num_threads(threads)
        if folder.metrics.exists() and not more_epochs:
            raise RunError(
                f"{folder.path} has finished; there is nothing to resume. To train it further: "
                f"bunryu train --resume {folder.path} --more-epochs 5"
            )
        checkpoint = load_checkpoint(folder.last) if folder.last.exists() else None
        table = unchanged_data(folder, settings)
        if checkpoint is None:
            return _from_the_start(folder, settings, more_epochs)
        if more_epochs:
            settings = _extended(folder, settings, checkpoint, more_epochs)
        sealed = checkpoint.sealed
        net = _network_of(checkpoint)
        device = choose_device(settings.train.device)
        progress = checkpoint.progress
        at = f"epoch {progress.total_epochs + 1}, batch {progress.step}" if not progress.finished else "the results"
        console.say(f"resuming {folder.path} at {at}, {threads} threads, {sealed.precision}")
        run_to_end(folder, settings, table, sealed, net, device, read_json(folder.environment)["facts"], checkpoint)
    return folder


def run_to_end(
    folder: RunFolder,
    settings: RunSettings,
    table: Table,
    sealed: Sealed,
    net: Classifier,
    device: torch.device,
    facts: dict[str, str],
    checkpoint: Checkpoint | None,
) -> None:
    """Train from the checkpoint (or the start), then seal the best model, measure it, and write the results."""
    index = {name: k for k, name in enumerate(sealed.classes)}
    target = np.array([index[name] for name in table.target_labels], np.int64)
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    rows = table.split("train")
    counts = np.bincount(target[rows], minlength=len(index)).tolist()
    validation = table.split("val")
    with stop_signals() as stop, memory_advice(settings.train.batch_size):
        job = Job(
            net=net,
            sealed=sealed,
            train=settings.train,
            stages=whole_stages(settings),
            optim=settings.optim,
            schedule=settings.schedule,
            loss=settings.loss,
            augment=settings.augment,
            weights_K=class_weights(settings.loss, counts, sealed.classes),
            file=table.file,
            target=target,
            rows=rows,
            validate=_validator(settings, table, sealed, net, device, target) if len(validation) else None,
            device=device,
            workers=settings.data.workers,
            folder=folder.path,
            stop=stop,
        )
        progress = fit(job, checkpoint)
    finish(folder, settings, table, device, facts | {"training": f"{progress.total_epochs} epochs; {progress.ended_by}; best: epoch {progress.best_epoch}"})


def finish(folder: RunFolder, settings: RunSettings, table: Table, device: torch.device, facts: dict[str, str]) -> None:
    """Seal the best model as the final one, measure it on validation and test, write results and say them."""
    net, sealed = open_sealed(folder.best)
    history = folder.read_history()
    best = next((row for row in reversed(history) if row["best"]), {})
    sealed = sealed.model_copy(update={"provenance": {**sealed.provenance, "run": folder.path.name, "best": best}})
    seal(folder.model, net, sealed)
    plot_curves(history, folder.plots / "curves.png")
    net = net.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    results = [
        measure_rows(name, table, table.split(name), sealed, net, device, settings)
        for name in ("val", "test")
        if len(table.split(name))
    ]
    steps = next_steps(folder)
    write_results(folder.path, results, f"bunryu run {folder.path.name}", facts, steps)
    for result in results:
        console.say(f"{result.name}: {headline(result.metrics)}", style="bold")
    console.say(f"run: {folder.path} (report.txt, metrics.json, plots/)")
    console.say("next: " + "\n      ".join(steps))


def measure_rows(
    name: str,
    table: Table,
    rows: NDArray[np.int64],
    sealed: Sealed,
    net: Classifier,
    device: torch.device,
    settings: RunSettings,
) -> Measured:
    """Predict and measure rows of a table whose labels the model knows."""
    index = {label: k for k, label in enumerate(sealed.classes)}
    kept, probs, failed = predict_rows(table.file, rows, sealed, net, device, settings.data.workers, f"Measuring {name}")
    predictions = Predictions(
        paths=[str(table.paths[row]) for row in kept],
        classes=sealed.classes,
        probs_NK=probs,
        true_N=np.array([index[table.target_labels[row]] for row in kept], np.int64),
        groups=None if table.groups is None else [str(table.groups[row]) for row in kept],
    )

    def picture(i: int) -> NDArray[np.uint8]:
        return load(table.file(int(kept[i])), sealed.decode, sealed.input)

    skipped = {str(table.paths[row]): reason for row, reason in failed.items()}
    return measured(name, predictions, settings.evaluate, picture, skipped)


def predict_rows(
    file: Callable[[int], str],
    rows: NDArray[np.int64],
    sealed: Sealed,
    net: Classifier,
    device: torch.device,
    workers: int | None,
    label: str,
) -> tuple[NDArray[np.int64], NDArray[np.float32], dict[int, str]]:
    """Return (rows read, their probabilities (N, K), {row: reason} of the unreadable)."""
    net.eval()
    kept: list[NDArray[np.int64]] = []
    probs: list[NDArray[np.float32]] = []
    unreadable: dict[int, str] = {}
    batches = infer(
        net,
        file,
        rows,
        decode=sealed.decode,
        input=sealed.input,
        precision=sealed.precision,
        decision=sealed.decision,
        device=device,
        batch_size=VALIDATION_BATCH,
        workers=workers,
    )
    with console.working(label, len(rows)) as task:
        for batch_rows, batch_probs, failed in batches:
            kept.append(batch_rows)
            probs.append(batch_probs)
            unreadable |= failed
            task.advance(len(batch_rows) + len(failed))
    return np.concatenate(kept), np.concatenate(probs), unreadable


def _validator(
    settings: RunSettings, table: Table, sealed: Sealed, net: Classifier, device: torch.device, target: NDArray[np.int64]
) -> Callable[[], dict[str, float]]:
    rows = table.split("val")

    def validate() -> dict[str, float]:
        kept, probs, failed = predict_rows(table.file, rows, sealed, net, device, settings.data.workers, "validating")
        if failed:
            lost = some(f"{table.file(row)} ({reason})" for row, reason in failed.items())
            raise DataError(f"An image could be read before training and no longer can: {lost}. Mend it, then --resume.")
        metrics = measure(probs, target[kept], sealed.classes, bootstrap=0)
        names = ("loss", "accuracy", "macro_f1", "weighted_f1", "macro_precision", "macro_recall")
        return {name: metrics[name] for name in names}

    return validate


def whole_stages(settings: RunSettings) -> list[Stage]:
    """Return the stages with whole numbers of epochs; those with none are left out."""
    pairs = zip(settings.train.stages, stage_epochs(settings.train), strict=True)
    return [stage.model_copy(update={"epochs": epochs}) for stage, epochs in pairs if epochs]


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a wish to stop after saving; a second one acts as usual."""
    asked = threading.Event()
    before: dict[int, Any] = {}

    def ask(number: int, _: object) -> None:
        asked.set()
        signal.signal(number, before[number])
        console.say("stopping after the present batch, once the state is saved (again: at once)")

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    try:
        yield asked.is_set
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def write_setup(folder: RunFolder, plan: Plan, frame: Any, threads: int) -> None:
    """Write what was decided; config.yaml comes last, so that a folder that has it is whole."""
    from bunryu.config import dump_yaml

    settings = plan.settings
    if frame is not None:
        frame.to_csv(folder.frame, index=False)
        root = settings.data.image_root or str(Path.cwd())
        data = settings.data.model_copy(update={"source": str(folder.frame.absolute()), "image_root": root})
        settings = settings.model_copy(update={"data": data})
    write_split(folder.split, plan.table)
    _write_rows(folder.skipped, ["path", "label", "split", "reason"], [list(vars(s).values()) for s in plan.checked.skipped])
    if plan.checked.copies:
        rows = [
            [number, copies.kind, table_path, plan.table.target_labels[row], plan.table.splits[row]]
            for number, copies in enumerate(plan.checked.copies, 1)
            for row in copies.rows
            for table_path in [plan.table.paths[row]]
        ]
        _write_rows(folder.duplicates, ["picture", "kind", "path", "label", "split"], rows)
    write_environment(
        folder,
        device=str(plan.device),
        precision=plan.sealed.precision,
        threads=threads,
        data_root=str(plan.table.root),
        facts=plan.facts,
    )
    write_atomic(folder.config, "# every setting of this run\n" + dump_yaml(settings))


def unchanged_data(folder: RunFolder, settings: RunSettings) -> Table:
    """Return the run's rows as they were; refuse data that changed since.

    Raises:
        RunError: listing what was added, removed or changed.
    """
    table = read_source(settings.data)
    checked = check_images(table, decode_spec(settings), level=settings.data.check, workers=settings.data.workers)
    now = {str(path): i for i, path in enumerate(checked.table.paths)}
    with folder.split.open(encoding="utf-8", newline="") as file:
        before = {row["path"]: row for row in csv.DictReader(file)}
    column = table.target
    digests = checked.table.digests
    assert digests is not None
    changes = [f"removed: {path}" for path in before if path not in now]
    changes += [f"added: {path}" for path in now if path not in before]
    for path, row in before.items():
        if path in now and row["digest"] != digests[now[path]]:
            changes.append(f"changed: {path}")
        elif path in now and row[column] != checked.table.target_labels[now[path]]:
            changes.append(f"label changed: {path} ({row[column]} to {checked.table.target_labels[now[path]]})")
    if changes:
        raise RunError(
            f"The data of {folder.path} changed since it started ({len(changes)} differences): {some(changes, 6)}. "
            "Resuming would not give what the run promises. Put the data back, or start a new run."
        )
    splits = np.array([before[str(path)]["split"] for path in checked.table.paths], dtype=object)
    import dataclasses

    return dataclasses.replace(checked.table, splits=splits)


def first_batch(plan: Plan) -> None:
    """Take the first batch through the network, and say what would happen."""
    from bunryu.data.transforms import apply, canvas, draw
    from bunryu.inference import autocast, normalize
    from bunryu.train.stages import epoch_batches

    settings = plan.settings
    rows = epoch_batches(plan.table.split("train"), settings.train.batch_size, settings.train.seed, 0)[0]
    spec = canvas(plan.sealed.input, settings.augment)
    pixels = np.stack([load(plan.table.file(int(row)), plan.sealed.decode, spec) for row in rows])
    net = plan.net.to(device=plan.device, memory_format=torch.channels_last).train()  # type: ignore[call-overload]
    x = torch.from_numpy(pixels).to(plan.device)
    with memory_advice(len(rows)), autocast(plan.device, plan.sealed.precision):
        x = apply(x, draw(settings.augment, settings.train.seed, 0, rows), settings.augment, plan.sealed.input)
        logits = net(normalize(x, plan.sealed.input))
    stages = ", ".join(f"{s.name} {int(s.epochs or 0)} epochs (freeze: {s.freeze})" for s in whole_stages(settings))
    console.say(f"first batch: {tuple(x.shape)} uint8 -> {tuple(logits.shape)} logits")
    console.say(f"stages: {stages}")
    console.say("dry run: nothing was written; leave out --dry-run to train", style="bold")


def next_steps(folder: RunFolder) -> list[str]:
    """Return the commands to type next."""
    return [
        f"bunryu predict {folder.path} NEW_IMAGES/ --out predictions.csv",
        f"bunryu evaluate {folder.path} --data LABELLED_IMAGES/",
    ]


def _from_the_start(folder: RunFolder, settings: RunSettings, more_epochs: int) -> RunFolder:
    """Start a run over that was stopped before its first checkpoint; its draws are the same."""
    if more_epochs:
        raise RunError(f"{folder.path} has no checkpoint yet; resume it without --more-epochs first.")
    console.say("no checkpoint was saved before it stopped: starting from the beginning")
    plan = make_plan(settings)
    run_to_end(folder, settings, plan.table, plan.sealed, plan.net, plan.device, plan.facts, None)
    return folder


def _extended(folder: RunFolder, settings: RunSettings, checkpoint: Checkpoint, more_epochs: int) -> RunSettings:
    """Add a stage of `more_epochs` to a finished run, and let its state go on."""
    from bunryu.config import dump_yaml

    if not checkpoint.progress.finished:
        raise RunError(f"{folder.path} has not finished; resume it without --more-epochs first.")
    stages = whole_stages(settings)
    number = 1 + sum(stage.name.startswith("more") for stage in stages)
    stages.append(stages[-1].model_copy(update={"name": f"more{number}", "epochs": more_epochs}))
    update = {"stages": stages, "epochs": settings.train.epochs + more_epochs}
    settings = settings.model_copy(update={"train": settings.train.model_copy(update=update)})
    write_atomic(folder.config, "# every setting of this run\n" + dump_yaml(settings))
    folder.metrics.unlink(missing_ok=True)
    checkpoint.progress.finished = False
    checkpoint.progress.stage = len(stages) - 1
    return settings


def _network_of(checkpoint: Checkpoint) -> Classifier:
    from bunryu.models.build import build

    net = build(checkpoint.sealed.architecture, len(checkpoint.sealed.classes))
    net.load_state_dict(checkpoint.net)
    return net


def _write_rows(path: Path, header: list[str], rows: list[list[Any]]) -> None:
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([guard(cell) for cell in row] for row in rows)
    write_atomic(path, buffer.getvalue())


def _name(settings: RunSettings) -> str:
    source = settings.data.source or settings.data.train
    return settings.name or (Path(source).stem if source else "data")
