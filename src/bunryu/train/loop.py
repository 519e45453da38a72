"""The loop: for each stage, for each epoch: train, validate, remember, and stop when it no longer helps."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import nn

from bunryu.core import console, distributed
from bunryu.core.randomness import key_of
from bunryu.data.splits.assign import joined_units
from bunryu.runs.folder import RunFolder
from bunryu.settings.stages import AverageStage, with_given
from bunryu.train.best_epoch import answering, next_stage, remember
from bunryu.train.checkpoint import Checkpoint, Progress, restore_optimizer
from bunryu.train.data_parallel import same_as_first, sum_gradients
from bunryu.train.epoch_table import epoch_line, header_lines, loss_note
from bunryu.train.feed import Features, Feed, at_epoch, choose_feed, pictures
from bunryu.train.linear_probe import judges, solve_into
from bunryu.train.mixup import mix
from bunryu.train.nonfinite import not_finite, require_finite
from bunryu.train.optim import create_optimizer, lr_of, set_lr
from bunryu.train.resumed import give, give_scaler, require_of_job
from bunryu.train.sam import nearby_worst
from bunryu.train.save import pause, save, stop_if_asked
from bunryu.train.stages import batches_of_epoch, freeze, mixes, of_epoch, training_mode
from bunryu.train.state import Job, State
from bunryu.train.tensorboard import board_of
from bunryu.train.updates import updates
from bunryu.train.weight_averaging import collect, follow, settle


def fit(job: Job, checkpoint: Checkpoint | None = None) -> State:
    """Train through all stages from the start, or from a checkpoint, and return the state in which it ended.

    Raises:
        Interrupted: asked to stop; the state was saved.
        TrainingError: a non-finite loss, or no space for a checkpoint.
    """
    state = begin(job, checkpoint)
    progress = state.progress
    console.say(*header_lines(loss_note(job.settings)))
    while progress.stage < len(job.stages):
        stage = job.stages[progress.stage]
        here = of_epoch(job, progress)
        freeze(job.model.net, stage)
        state.optimizer = create_optimizer(job.model.net, with_given(job.settings.optim, stage.optim), stage)
        if checkpoint:
            restore_optimizer(state.optimizer, checkpoint)
            checkpoint = None
        feed = choose_feed(pictures(job.model, job.settings, job.table, here.val_rows, job.cache), stage, here.rows)
        why = ""
        while not why and progress.epoch < int(stage.epochs or 0):
            start, here = time.monotonic(), of_epoch(job, progress)
            if stage.solve:
                assert isinstance(feed, Features)
                row = solve_epoch(here, state, feed)
            elif isinstance(stage, AverageStage):
                row = average_epoch(here, state, feed)
            else:
                row = train_epoch(here, state, at_epoch(feed, stage, progress.epoch))
                collect(job, state)
            answers = None
            if len(here.val_rows):
                answers = feed.validate(answering(job, state))
                row |= {f"val_{name}": value for name, value in job.score(answers.rows, answers.probs_NK).items()}
            require_finite(job.folder, row)
            why = remember(job, state, row, None if answers is None else answers.probs_NK)
            state.best = answers if row["best"] else state.best
            console.say(epoch_line(row, job.stages, progress, time.monotonic() - start))
            ended = bool(why) or progress.epoch == int(stage.epochs or 0)
            late = time.monotonic() - state.saved > feed.seconds_between_saves
            if not ended and distributed.agreed(late or job.stop()):
                save(job, state)
                stop_if_asked(job)
        next_stage(job, state, why=why)
        state.optimizer = None
        save(job, state)
        stop_if_asked(job)
    return state


def begin(job: Job, checkpoint: Checkpoint | None) -> State:
    """Return the state at the start, or that of the checkpoint."""
    settings = job.settings.train
    scaler = torch.GradScaler(job.model.device.type, enabled=job.model.sealed.precision == "fp16")
    ema = ModelEmaV3(job.model.net, decay=settings.ema, use_warmup=True) if settings.ema else None
    if checkpoint is None:
        return State(Progress(), scaler, ema, [], board=board_of(settings, job.folder, 0))
    require_of_job(job, checkpoint)
    give_scaler(scaler, checkpoint)
    if ema is not None:
        give(ema.module, checkpoint.ema, checkpoint)
    history = RunFolder(job.folder).read_history()[: checkpoint.progress.history]
    average = {name: value.to(job.model.device) for name, value in checkpoint.average.items()}
    board = board_of(settings, job.folder, len(history))
    said = {name: value.numpy() for name, value in checkpoint.said.items()}
    return State(checkpoint.progress, scaler, ema, history, average=average or None, board=board, said=said)


def train_epoch(job: Job, state: State, feed: Feed) -> dict[str, Any]:
    """Train for (the rest of) one epoch; return its row of the history."""
    progress, stage = state.progress, job.stages[state.progress.stage]
    assert state.optimizer is not None
    training_mode(job.model.net, stage)
    batches = batches_of_epoch(job, progress)
    start = saved = time.monotonic()
    with console.working(f"{stage.name} {progress.total_epochs + 1}", sum(map(len, batches))) as task:
        task.skip(sum(map(len, batches[: progress.step])))
        for one in updates(job, progress, feed, batches):
            set_lr(state.optimizer, one.rate)
            for x, rows in one.batches:
                backward(job, state, feed, x, rows, len(one.rows))
                progress.step += 1
            update(job, state, one.rows)
            sums = progress.sums
            task.advance(
                len(one.rows), f"loss {sums['loss'] / sums['rows']:.3f} acc {sums['correct'] / sums['rows']:.3f}"
            )
            late = time.monotonic() - saved > 60 * job.settings.train.checkpoint_minutes
            if distributed.agreed(late or job.stop()):
                saved = start = pause(job, state, start)
    return history_row(job, state, progress.spent_seconds + time.monotonic() - start)


def solve_epoch(job: Job, state: State, feed: Features) -> dict[str, Any]:
    """Solve the head on the features (a linear probe) instead of an epoch; return its row of the history."""
    start = time.monotonic()
    target_N = torch.from_numpy(job.target[job.rows]).to(job.model.device)
    weights_N = job.loss.row_weights(target_N)
    rows = job.table.take(job.rows)
    judge_N = judges(job.target[job.rows], job.settings.train.seed, joined_units(len(rows), rows.groups, rows.digests))
    sums = solve_into(job.model.net, feed.views_VNF, target_N, job.loss, judge_N, weights_N)
    state.progress.sums = distributed.from_first(sums)
    same_as_first(job.model.net.head.parameters())
    if state.ema is not None:
        state.ema.set(job.model.net)
    return history_row(job, state, time.monotonic() - start) | {"lr": None, "head_lr": None}  # none was needed


def average_epoch(job: Job, state: State, feed: Feed) -> dict[str, Any]:
    """Make the averaged weights ready instead of an epoch; return its row of the history."""
    start = time.monotonic()
    state.progress.sums = settle(job, state, feed)
    return history_row(job, state, time.monotonic() - start) | {"lr": None, "head_lr": None}


def history_row(job: Job, state: State, seconds: float) -> dict[str, Any]:
    """Return an epoch's row of the history, but for validation."""
    progress, sums = state.progress, state.progress.sums
    assert state.optimizer is not None
    return {
        "stage": job.stages[progress.stage].name,
        "epoch": progress.total_epochs + 1,
        "lr": lr_of(state.optimizer, "backbone"),
        "head_lr": lr_of(state.optimizer, "head"),
        "train_loss": sums["loss"] / sums["rows"],
        "train_accuracy": sums["correct"] / sums["rows"],
        "seconds": round(seconds, 3),
        "images_per_second": round(sums["rows"] / max(seconds, 1e-9), 1),
    }


def backward(job: Job, state: State, feed: Feed, x: torch.Tensor, rows: NDArray[np.int64], group_rows: int) -> None:
    """Add the gradient of this process's part of a batch. Dropout draws are named by epoch and step (and process),
    so resuming repeats them, and so does the second pass of SAM.
    """
    progress = state.progress
    process = (distributed.rank(),) if distributed.world() > 1 else ()

    def learned() -> tuple[float, float]:
        torch.manual_seed(key_of(job.settings.train.seed, "dropout", progress.total_epochs, progress.step, *process))
        return learn_from(job, state, feed, x, rows, group_rows) if len(rows) else (0.0, 0.0)

    found = learned()
    optim = with_given(job.settings.optim, job.stages[progress.stage].optim)
    if optim.sam_rho:
        with nearby_worst(job.model.net, optim.sam_rho, optim.sam_adaptive):
            learned()
    for name, value in zip(("loss", "correct", "rows"), distributed.total(*found, len(rows)), strict=True):
        progress.sums[name] += value


def learn_from(
    job: Job, state: State, feed: Feed, x: torch.Tensor, rows: NDArray[np.int64], group_rows: int
) -> tuple[float, float]:
    """Go forward and backward; return the sum of the losses, and how many answers were right."""
    x, target = mixed(job, state, x, torch.from_numpy(job.target[rows]).to(x.device))
    logits_BK = feed.logits(x)
    loss_B = job.loss.rows(logits_BK, target)
    loss = loss_B.sum()
    if not torch.isfinite(loss):
        raise not_finite(job.folder, job.file, rows, "loss")
    if job.robust is not None:
        robust, state.progress.group_logs = job.robust.robust(loss_B, rows, state.progress.group_logs)
        loss = robust * len(rows)
    state.scaler.scale(loss / group_rows).backward()  # type: ignore[no-untyped-call]
    return loss.item(), job.loss.right(logits_BK, target).sum().item()


def mixed(job: Job, state: State, x: torch.Tensor, target_B: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return a batch and its target, mixed where the settings want it and until the epoch that they say."""
    settings, progress = job.settings.mix, state.progress
    if not mixes(job.settings, job.stages[progress.stage], progress.total_epochs):
        return x, target_B
    process = (distributed.rank(),) if distributed.world() > 1 else ()
    key = (progress.total_epochs, progress.step, *process)
    return mix(x, target_B, job.loss.counts_K, settings, job.settings.train.seed, *key, held_KL=job.loss.held_JL)


def update(job: Job, state: State, rows: NDArray[np.int64]) -> None:
    """Clip, check, and take one step of the optimiser. `rows` are those of all its batches."""
    optimizer, scaler = state.optimizer, state.scaler
    assert optimizer is not None
    sum_gradients(job.model.net)
    scaler.unscale_(optimizer)
    norm = nn.utils.clip_grad_norm_(job.model.net.parameters(), job.settings.train.clip_norm or float("inf"))
    if not scaler.is_enabled() and not torch.isfinite(norm):  # a scaler skips such a step and lowers its scale
        raise not_finite(job.folder, job.file, rows, "gradient")
    scaler.step(optimizer)
    scaler.update()
    optimizer.zero_grad(set_to_none=True)
    same_as_first(job.model.net.buffers())  # BatchNorm's averages: each process saw its own rows
    state.progress.updates += 1
    if state.ema is not None:
        follow(state.ema, job.model.net, job.stages[state.progress.stage], state.progress.updates)
