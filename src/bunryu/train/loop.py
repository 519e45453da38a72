"""The loop: for each stage, for each epoch: train, validate, remember, and stop when it no longer helps."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn, optim

from bunryu import console
from bunryu.data.loading import load_batches, require_read
from bunryu.data.settings import AugmentSettings
from bunryu.data.transforms import apply, canvas, draw
from bunryu.errors import Interrupted, TrainingError, some
from bunryu.inference import autocast, normalize
from bunryu.models.build import Classifier
from bunryu.models.sealed import Sealed, seal
from bunryu.randomness import key_of
from bunryu.storage import read_jsonl, write_atomic, write_jsonl
from bunryu.train.checkpoint import Checkpoint, Progress, restore_optimizer, save_checkpoint
from bunryu.train.losses import row_losses
from bunryu.train.optim import create_optimizer, lr_factor, lr_of, set_lr
from bunryu.train.settings import (
    LOWER_IS_BETTER,
    LossSettings,
    OptimSettings,
    ScheduleSettings,
    Stage,
    TrainSettings,
)
from bunryu.train.stages import epoch_batches, freeze, training_mode

_NOT_FINITE = "is not finite (NaN or infinity), so training stopped"
_CAUSES = (
    "Usual causes, for a new run: a rate that is too high (lower optim.lr and optim.head_lr, add "
    "schedule.warmup_epochs=1) or half precision (train.precision=fp32)."
)


@dataclass(frozen=True)
class Job:
    """Everything the loop needs; nothing in it changes but the network's weights."""

    net: Classifier
    sealed: Sealed
    train: TrainSettings
    stages: list[Stage]
    """With whole numbers of epochs."""
    optim: OptimSettings
    schedule: ScheduleSettings
    loss: LossSettings
    augment: AugmentSettings
    weights_K: list[float] | None
    file: Callable[[int], str]
    """Row id -> file."""
    target: NDArray[np.int64]
    """Row id -> class index."""
    rows: NDArray[np.int64]
    """The training rows."""
    validate: Callable[[], dict[str, float]] | None
    """Measures the network on the validation rows; None without any."""
    device: torch.device
    workers: int | None
    folder: Path
    """The run folder."""
    stop: Callable[[], bool]
    """Whether the person asked to stop."""


def fit(job: Job, checkpoint: Checkpoint | None = None) -> Progress:
    """Train through all stages from the start, or from a checkpoint, and return where it ended.

    Raises:
        Interrupted: asked to stop; the state was saved.
        TrainingError: a non-finite loss, or no space for a checkpoint.
    """
    progress = checkpoint.progress if checkpoint else Progress()
    history = read_jsonl(job.folder / "history.jsonl")[: progress.history]
    scaler = torch.GradScaler(job.device.type, enabled=job.sealed.precision == "fp16")
    if checkpoint:
        scaler.load_state_dict(checkpoint.scaler)
    while progress.stage < len(job.stages):
        stage = job.stages[progress.stage]
        freeze(job.net, stage)
        optimizer = create_optimizer(job.net, job.optim, stage)
        if checkpoint:
            restore_optimizer(optimizer, checkpoint)
            checkpoint = None
        why = ""
        while not why and progress.epoch < int(stage.epochs or 0):
            begin = time.monotonic()
            row = train_epoch(job, stage, optimizer, scaler, progress)
            if job.validate:
                row |= {f"val_{name}": value for name, value in job.validate().items()}
            require_finite(job, row)
            why = remember(job, progress, row, history)
            console.say(epoch_line(row, (planned_epochs(job) - progress.total_epochs) * (time.monotonic() - begin)))
            if not why and progress.epoch < int(stage.epochs or 0):
                save(job, progress, optimizer, scaler)
                stop_if_asked(job)
        next_stage(job, progress, why=why)
        save(job, progress, None, scaler)
        stop_if_asked(job)
    return progress


def train_epoch(
    job: Job, stage: Stage, optimizer: optim.Optimizer, scaler: torch.GradScaler, progress: Progress
) -> dict[str, Any]:
    """Train for (the rest of) one epoch; return its row of the history."""
    batches = epoch_batches(job.rows, job.train.batch_size, job.train.seed, progress.total_epochs)
    updates = -(-len(batches) // job.train.accumulate)
    training_mode(job.net, stage)
    start = saved = time.monotonic()
    label = f"{stage.name} {progress.total_epochs + 1}/{planned_epochs(job)}"
    with console.working(label, len(job.rows)) as task:
        task.skip(sum(map(len, batches[: progress.step])))
        for x_BHWC, rows in augmented(job, batches[progress.step :], progress.total_epochs):
            group = progress.step // job.train.accumulate
            last_of_group = progress.step + 1 == min((group + 1) * job.train.accumulate, len(batches))
            group_rows = np.concatenate(batches[group * job.train.accumulate : (group + 1) * job.train.accumulate])
            set_lr(optimizer, factor(job, stage, progress, updates, group))
            backward(job, x_BHWC, rows, len(group_rows), scaler, progress)
            progress.step += 1
            if last_of_group:
                update(job, optimizer, scaler, group_rows)
                if job.stop() or time.monotonic() - saved > 60 * job.train.checkpoint_minutes:
                    saved = pause(job, progress, optimizer, scaler, start)
                    start = saved
            task.advance(len(rows), told(progress, optimizer))
    seconds = progress.spent_seconds + time.monotonic() - start
    sums = progress.sums
    return {
        "stage": stage.name,
        "epoch": progress.total_epochs + 1,
        "lr": lr_of(optimizer, "backbone"),
        "head_lr": lr_of(optimizer, "head"),
        "train_loss": sums["loss"] / sums["rows"],
        "train_accuracy": sums["correct"] / sums["rows"],
        "seconds": round(seconds, 3),
        "images_per_second": round(sums["rows"] / max(seconds, 1e-9), 1),
    }


def augmented(
    job: Job, batches: list[NDArray[np.int64]], epoch: int
) -> Iterator[tuple[torch.Tensor, NDArray[np.int64]]]:
    """Yield each batch's augmented uint8 pictures (B, H, W, C) on the device, and its rows."""
    spec = canvas(job.sealed.input, job.augment)
    for batch in load_batches(job.file, batches, job.sealed.decode, spec, workers=job.workers):
        require_read(batch.failed, job.file)
        pixels = torch.from_numpy(batch.pixels_BHWC).to(job.device)
        parameters = draw(job.augment, job.train.seed, epoch, batch.rows)
        yield apply(pixels, parameters, job.augment, job.sealed.input), batch.rows


def backward(
    job: Job,
    x_BHWC: torch.Tensor,
    rows: NDArray[np.int64],
    group_rows: int,
    scaler: torch.GradScaler,
    progress: Progress,
) -> None:
    """Add the gradient of one batch. Dropout draws are named by epoch and step, so resuming repeats them."""
    torch.manual_seed(key_of(job.train.seed, "dropout", progress.total_epochs, progress.step))
    target_B = torch.from_numpy(job.target[rows]).to(job.device)
    weights_K = None if job.weights_K is None else torch.tensor(job.weights_K, device=job.device)
    with autocast(job.device, job.sealed.precision):
        logits_BK = job.net(normalize(x_BHWC, job.sealed.input))
    loss_B = row_losses(job.loss, logits_BK, target_B, weights_K)
    loss = loss_B.sum()
    if not torch.isfinite(loss):
        raise not_finite(job, rows, "loss")
    scaler.scale(loss / group_rows).backward()  # type: ignore[no-untyped-call]
    progress.sums["loss"] += loss.item()
    progress.sums["correct"] += (logits_BK.argmax(dim=1) == target_B).sum().item()
    progress.sums["rows"] += len(rows)


def update(job: Job, optimizer: optim.Optimizer, scaler: torch.GradScaler, rows: NDArray[np.int64]) -> None:
    """Clip, check, and take one step of the optimiser. `rows` are those of all its batches."""
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(job.net.parameters(), job.train.clip_norm or float("inf"))
    if not scaler.is_enabled() and not torch.isfinite(norm):  # a scaler skips such a step and lowers its scale
        raise not_finite(job, rows, "gradient")
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)


def remember(job: Job, progress: Progress, row: dict[str, Any], history: list[dict[str, Any]]) -> str:
    """Write the epoch down, keep the best model, count patience; return why the stage should end, or ""."""
    settings = job.train
    monitor = settings.monitor if settings.monitor.startswith("train_") else f"val_{settings.monitor}"
    value = float(row[monitor])
    progress.epoch, progress.step, progress.total_epochs = progress.epoch + 1, 0, progress.total_epochs + 1
    progress.sums, progress.spent_seconds = {"loss": 0.0, "correct": 0.0, "rows": 0.0}, 0.0
    row["best"] = better(settings, value, progress.best)
    if row["best"]:
        progress.best, progress.best_epoch = value, progress.total_epochs
        seal(job.folder / "checkpoints" / "best.safetensors", job.net, job.sealed)
    if better(settings, value, progress.stage_best):
        progress.stage_best, progress.stale_epochs, progress.plateau_stale = value, 0, 0
    else:
        progress.stale_epochs, progress.plateau_stale = progress.stale_epochs + 1, progress.plateau_stale + 1
    if progress.plateau_stale > job.schedule.plateau_patience:
        progress.plateau_drops, progress.plateau_stale = progress.plateau_drops + 1, 0
    history.append(row)
    progress.history = len(history)
    write_jsonl(job.folder / "history.jsonl", history)
    if settings.patience is not None and progress.stale_epochs >= settings.patience:
        return f"no better {monitor} for {progress.stale_epochs} epochs"
    return ""


def next_stage(job: Job, progress: Progress, *, why: str) -> None:
    """Step over the border to the next stage, or end."""
    if why:
        console.say(f"stage '{job.stages[progress.stage].name}' ends after epoch {progress.total_epochs}: {why}")
    progress.stage += 1
    progress.epoch, progress.stage_best = 0, None
    progress.stale_epochs = progress.plateau_stale = progress.plateau_drops = 0
    if progress.stage == len(job.stages):
        progress.ended_by = why or "all epochs done"


def better(settings: TrainSettings, value: float, best: float | None) -> bool:
    """Return whether `value` improves on `best` by more than train.min_improvement."""
    if best is None:
        return True
    gain = best - value if settings.monitor in LOWER_IS_BETTER else value - best
    return gain > settings.min_improvement


def factor(job: Job, stage: Stage, progress: Progress, updates: int, group: int) -> float:
    """Return the schedule's factor for one update."""
    at = progress.epoch * updates + group
    return lr_factor(job.schedule, at, updates, int(stage.epochs or 0), progress.plateau_drops)


def pause(job: Job, progress: Progress, optimizer: optim.Optimizer, scaler: torch.GradScaler, start: float) -> float:
    """Save within an epoch; go on, or stop if asked. Returns the time of saving."""
    now = time.monotonic()
    progress.spent_seconds += now - start
    save(job, progress, optimizer, scaler)
    stop_if_asked(job)
    return now


def save(job: Job, progress: Progress, optimizer: optim.Optimizer | None, scaler: torch.GradScaler) -> None:
    """Write the last checkpoint."""
    path = job.folder / "checkpoints" / "last.safetensors"
    save_checkpoint(path, dataclasses.replace(progress), job.sealed, job.net, optimizer, scaler.state_dict())


def stop_if_asked(job: Job) -> None:
    """Leave after a save, if the person asked to stop."""
    if job.stop():
        raise Interrupted(f"Stopped; the state is saved. Go on with: bunryu train --resume {job.folder}")


def require_finite(job: Job, row: dict[str, Any]) -> None:
    """Refuse an epoch after which the network's answers are no numbers; nothing of it is kept."""
    if not math.isfinite(row.get("val_loss", 0.0)):
        raise TrainingError(f"The validation loss of epoch {row['epoch']} {_NOT_FINITE}{kept(job)}. {_CAUSES}")


def not_finite(job: Job, rows: NDArray[np.int64], what: str) -> TrainingError:
    """Describe a loss or gradient that is not finite; the weights were not touched."""
    files = [job.file(int(row)) for row in rows]
    listing = job.folder / "nonfinite_batch.txt"
    write_atomic(listing, "".join(f"{file}\n" for file in files).encode("utf-8", "surrogateescape"))
    return TrainingError(
        f"The {what} {_NOT_FINITE} before the update{kept(job)}. The batch's files: {some(files, 4)} "
        f"(all in {listing}). {_CAUSES}"
    )


def kept(job: Job) -> str:
    """Say where the last good state is, if there is one."""
    last = job.folder / "checkpoints" / "last.safetensors"
    return f"; the last good state is in {last.parent}" if last.exists() else "; no state had been saved yet"


def planned_epochs(job: Job) -> int:
    """Return the epochs of all stages together."""
    return sum(int(stage.epochs or 0) for stage in job.stages)


def told(progress: Progress, optimizer: optim.Optimizer) -> str:
    """Return what stands behind the progress bar."""
    sums = progress.sums
    lr = optimizer.param_groups[0]["lr"]
    return f"loss {sums['loss'] / sums['rows']:.4f} acc {sums['correct'] / sums['rows']:.3f} lr {lr:.1e}"


def epoch_line(row: dict[str, Any], left: float) -> str:
    """Return one line of the terminal for one epoch; `left` is the estimate of the seconds to come."""
    parts = [
        f"epoch {row['epoch']:>3} {row['stage']:<8} train loss {row['train_loss']:.4f} acc {row['train_accuracy']:.3f}"
    ]
    if "val_loss" in row:
        parts.append(f"val loss {row['val_loss']:.4f} acc {row['val_accuracy']:.3f} macro-F1 {row['val_macro_f1']:.3f}")
    parts.append(f"{row['images_per_second']:.0f} images/s, {console.duration(row['seconds'])}")
    if left > 0:
        parts.append(f"about {console.duration(left)} left")
    return " | ".join(parts) + (" | best" if row["best"] else "")
