"""What an epoch's figures mean for the run: the best so far, patience, and the step to the next stage."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from bunryu.core import console
from bunryu.inference.model import Model
from bunryu.settings.stages import AverageStage, Stage, size_at, with_given
from bunryu.settings.train import LOWER_IS_BETTER
from bunryu.train.checkpoint import Progress
from bunryu.train.state import Job, State


def remember(job: Job, state: State, row: dict[str, Any]) -> str:
    """Note the epoch, keep the best model, count patience; return why the stage should end, or ""."""
    settings, progress, stage = job.settings.train, state.progress, job.stages[state.progress.stage]
    monitor = settings.monitor if settings.monitor.startswith("train_") else f"val_{settings.monitor}"
    value = float(row["epoch" if monitor == "train_epochs" else monitor])
    loss = float(row.get("val_loss", row["train_loss"]))
    full = not stage.sizes or size_at(stage.sizes, progress.epoch, int(stage.epochs or 1)) == stage.sizes[-1]
    if settings.monitor in ("train_loss", "train_accuracy") and measures_anew(job, progress):
        progress.best = progress.best_loss = progress.stage_best = progress.stage_loss = None
    progress.epoch, progress.step, progress.total_epochs = progress.epoch + 1, 0, progress.total_epochs + 1
    progress.sums, progress.spent_seconds = {"loss": 0.0, "correct": 0.0, "rows": 0.0}, 0.0
    tie = value == progress.best and progress.best_loss is not None and loss < progress.best_loss
    stage_tie = value == progress.stage_best and progress.stage_loss is not None and loss < progress.stage_loss
    row["best"] = clean(stage) and (tie or better(job, value, progress.best))
    row |= {} if clean(stage) else {"clean": False}
    if row["best"]:
        progress.best, progress.best_loss, progress.best_epoch = value, loss, progress.total_epochs
        state.unsaved["best"] = weights(job, state)
    improved = better(job, value, progress.stage_best)
    if improved or stage_tie:
        progress.stage_best, progress.stage_loss = value, loss
        if keeps_each(job.stages) and clean(stage) and trains(stage):
            state.unsaved[f"stage-{progress.stage + 1}-{stage.name}"] = weights(job, state)
    if improved:
        progress.stale_epochs = progress.plateau_stale = 0
    else:
        progress.stale_epochs, progress.plateau_stale = progress.stale_epochs + full, progress.plateau_stale + 1
    if progress.plateau_stale > with_given(job.settings.schedule, stage.schedule).plateau_patience:
        progress.plateau_drops, progress.plateau_stale = progress.plateau_drops + 1, 0
    state.history.append(row)
    progress.history = len(state.history)
    patience = stage.patience or settings.patience
    if patience is not None and progress.stale_epochs >= patience and clean(stage):
        return f"no better {monitor} for {progress.stale_epochs} epochs"
    return ""


def measures_anew(job: Job, progress: Progress) -> bool:
    """Return whether the figures of learning are from this epoch on others than before, so that none compares.

    They are of the pictures as they are learned: as the stage augments, freezes and sizes them, mixed or not. A head
    solved on plain pictures has a lower loss than a better net that learns on augmented ones.
    """
    stage, last = job.stages[progress.stage], job.settings.mix.end_epoch
    if progress.epoch == 0 or (job.settings.mix.name != "none" and progress.total_epochs == last):
        return True
    epochs, sizes = int(stage.epochs or 1), stage.sizes
    return (
        sizes is not None
        and len(sizes) > 0
        and size_at(sizes, progress.epoch, epochs) != size_at(sizes, progress.epoch - 1, epochs)
    )


def next_stage(job: Job, state: State, *, why: str) -> None:
    """Step over the border to the next stage, or end."""
    progress = state.progress
    if why:
        console.say(f"stage '{job.stages[progress.stage].name}' ends after epoch {progress.total_epochs}: {why}")
    if isinstance(job.stages[progress.stage], AverageStage):
        state.average, progress.averaged = None, 0
    progress.stage += 1
    progress.epoch, progress.stage_best, progress.stage_loss = 0, None, None
    progress.stale_epochs = progress.plateau_stale = progress.plateau_drops = 0
    if progress.stage == len(job.stages):
        progress.ended_by = why or "all epochs done"
        if keeps_each(job.stages) or not clean(job.stages[-1]):
            state.unsaved["final"] = weights(job, state)


def clean(stage: Stage) -> bool:
    """Return whether the stage leaves the validation rows to validation, so that its figures say what they seem to."""
    return stage.rows == "train"


def keeps_each(stages: list[Stage]) -> bool:
    """Return whether the best of each stage is kept: where several stages train."""
    return sum(map(trains, stages)) > 1


def trains(stage: Stage) -> bool:
    """Return whether the stage trains, instead of solving a head or averaging what another one trained."""
    return not stage.solve and not isinstance(stage, AverageStage)


def kept_told(stages: list[Stage], net: nn.Module) -> str:
    """Say which weights are kept beside the best and the last state, and what disk they take; "" for none."""
    of_stages = [stage.name for stage in stages if clean(stage) and trains(stage)] if keeps_each(stages) else []
    files = len(of_stages) + (bool(of_stages) or not clean(stages[-1]))
    if not files:
        return ""
    megabytes = files * sum(value.numel() * value.element_size() for value in net.state_dict().values()) / 1e6
    kept = [f"the best of each stage ({', '.join(of_stages)})"] * bool(of_stages) + ["the final weights"]
    return f"{' and '.join(kept)} are kept as well, {megabytes:,.0f} MB"


def weights(job: Job, state: State) -> dict[str, torch.Tensor]:
    """Return a copy of the weights that are validated and sealed."""
    return {name: value.clone() for name, value in answering(job, state).net.state_dict().items()}


def better(job: Job, value: float, best: float | None) -> bool:
    """Return whether `value` improves on `best` by more than train.min_improvement."""
    settings = job.settings.train
    if best is None:
        return True
    gain = best - value if settings.monitor in LOWER_IS_BETTER else value - best
    return gain > settings.min_improvement


def answering(job: Job, state: State) -> Model:
    """Return the model that is validated and sealed: with the averaged weights where they are kept."""
    return job.model if state.ema is None else Model(state.ema.module, job.model.sealed, job.model.device)
