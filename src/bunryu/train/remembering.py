"""What an epoch's figures mean for the run: the best so far, patience, and the step to the next stage."""

from __future__ import annotations

from typing import Any

from bunryu import console
from bunryu.inference import Model
from bunryu.train.checkpoint import Progress
from bunryu.train.settings import LOWER_IS_BETTER
from bunryu.train.state import Job, State


def remember(job: Job, state: State, row: dict[str, Any]) -> str:
    """Note the epoch, keep the best model, count patience; return why the stage should end, or ""."""
    settings, progress = job.settings.train, state.progress
    monitor = settings.monitor if settings.monitor.startswith("train_") else f"val_{settings.monitor}"
    value, loss = float(row[monitor]), float(row.get("val_loss", row["train_loss"]))
    progress.epoch, progress.step, progress.total_epochs = progress.epoch + 1, 0, progress.total_epochs + 1
    progress.sums, progress.spent_seconds = {"loss": 0.0, "correct": 0.0, "rows": 0.0}, 0.0
    tie = value == progress.best and progress.best_loss is not None and loss < progress.best_loss
    row["best"] = tie or better(job, value, progress.best)
    if row["best"]:
        progress.best, progress.best_loss, progress.best_epoch = value, loss, progress.total_epochs
        state.best = {name: value.clone() for name, value in answering(job, state).net.state_dict().items()}
    if better(job, value, progress.stage_best):
        progress.stage_best, progress.stale_epochs, progress.plateau_stale = value, 0, 0
    else:
        progress.stale_epochs, progress.plateau_stale = progress.stale_epochs + 1, progress.plateau_stale + 1
    if progress.plateau_stale > job.settings.schedule.plateau_patience:
        progress.plateau_drops, progress.plateau_stale = progress.plateau_drops + 1, 0
    state.history.append(row)
    progress.history = len(state.history)
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
