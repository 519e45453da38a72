"""What an epoch's figures mean for the run: the best so far, patience, and the step to the next stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bunryu.core import console
from bunryu.inference.model import Model
from bunryu.settings.stages import AverageStage, Stage, size_at, with_given
from bunryu.settings.train import LOWER_IS_BETTER
from bunryu.train.checkpoint import Progress
from bunryu.train.state import Job, State


def remember(job: Job, state: State, row: dict[str, Any], probs_NK: NDArray[np.float32] | None = None) -> str:
    """Note the epoch, keep the best model, count patience; return why the stage should end, or "".

    Args:
        job: what is trained.
        state: changes.
        row: of the history; `val_calibrated_loss`, `best`, `as_good_as` and `clean` are added.
        probs_NK: class probabilities of the validation rows, to tell noise; None where there are none.
    """
    settings, progress, stage = job.settings.train, state.progress, job.stages[state.progress.stage]
    monitor = settings.monitor if settings.monitor.startswith("train_") else f"val_{settings.monitor}"
    value = float(row["epoch" if monitor == "train_epochs" else monitor])
    if probs_NK is not None and job.noise is not None and clean(stage):
        row["val_calibrated_loss"] = job.noise.calibrated_loss(probs_NK)
    loss = float(row.get("val_calibrated_loss", row.get("val_loss", row["train_loss"])))
    full = not stage.sizes or size_at(stage.sizes, progress.epoch, int(stage.epochs or 1)) == stage.sizes[-1]
    if settings.monitor in ("train_loss", "train_accuracy") and measures_anew(job, progress):
        progress.best = progress.best_loss = progress.stage_best = progress.stage_loss = None
    progress.epoch, progress.step, progress.total_epochs = progress.epoch + 1, 0, progress.total_epochs + 1
    progress.sums, progress.spent_seconds = {"loss": 0.0, "correct": 0.0, "rows": 0.0}, 0.0
    stage_tie = value == progress.stage_best and progress.stage_loss is not None and loss < progress.stage_loss
    row |= choose(job, state, value, loss, probs_NK) if clean(stage) else {"best": False, "clean": False}
    if row["best"]:
        keep(job, state, "best")
    improved = better(job, value, progress.stage_best)
    if improved or stage_tie:
        progress.stage_best, progress.stage_loss = value, loss
        if clean(stage):
            keep(job, state, f"stage-{progress.stage + 1}-{stage.name}")
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


def choose(
    job: Job, state: State, value: float, loss: float, probs_NK: NDArray[np.float32] | None
) -> dict[str, bool | int]:
    """Decide whether the epoch that just ended is the best so far; return that, and the epoch that it is `as_good_as`.

    The epoch with the highest figure leads. Of it and one that is as good within the noise of the validation rows, that
    with the lower calibrated loss is the best: the idea of the one-standard-error rule (Breiman et al. 1984,
    "Classification and Regression Trees", section 3.4.3), with a paired test. What is compared is compared with the
    leader, never with the best so far, which may be worse already: many steps within noise would lead far down.
    """
    progress, epoch = state.progress, state.progress.total_epochs
    said = None if probs_NK is None or job.noise is None else job.noise.said(probs_NK)
    tie = value == progress.best and progress.best_loss is not None and loss < progress.best_loss
    leads = tie or better(job, value, progress.best)
    found: dict[str, bool | int]
    if said is None or progress.best is None or progress.chosen_loss is None:
        found = {"best": leads}
    elif leads:
        stays = progress.chosen_loss < loss and as_good(job, said, state.said.get("best"))
        found = {"best": False, "as_good_as": progress.best_epoch} if stays else {"best": True}
    elif loss < progress.chosen_loss and (value >= progress.best or as_good(job, said, state.said.get("leader"))):
        found = {"best": True, "as_good_as": progress.leader}
    else:
        found = {"best": False}
    if leads:
        progress.best, progress.best_loss, progress.leader = value, loss, epoch
    if found["best"]:
        progress.best_epoch, progress.chosen_loss = epoch, loss
    if said is not None:
        state.said |= dict.fromkeys(["leader"] * leads + ["best"] * bool(found["best"]), said)
    return found


def as_good(job: Job, said: NDArray[Any], other: NDArray[Any] | None) -> bool:
    """Return whether two epochs are as good within noise; no where what the other one answered is not known.

    That is so in a run that an earlier version began.
    """
    return job.noise is not None and other is not None and job.noise.within(said, other)


def noise_told(progress: Progress, history: list[dict[str, Any]], monitor: str, rows: str) -> str:
    """Say that the best epoch is not the one with the highest figure, and why; "" where it is.

    Args:
        progress: at the end.
        history: a row an epoch.
        monitor: the figure.
        rows: of what noise is meant, such as ``153 validation rows``.
    """
    if progress.leader in (0, progress.best_epoch):
        return ""
    leader, best = history[progress.leader - 1], history[progress.best_epoch - 1]
    figures = [row[f"val_{monitor}"] for row in (leader, best)]
    if figures[0] <= figures[1]:  # not by more than train.min_improvement
        return ""
    kept = next((f", kept as {name}" for name, epoch in progress.kept.items() if epoch == progress.leader), "")
    return (
        f"; epoch {progress.leader}{kept}, has a higher {monitor}, {figures[0]:.3f} against {figures[1]:.3f}, which is "
        f"within the noise of {rows}, and epoch {progress.best_epoch} the lower calibrated loss, "
        f"{best['val_calibrated_loss']:.3f} against {leader['val_calibrated_loss']:.3f}"
    )


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
        keep(job, state, "final")


def clean(stage: Stage) -> bool:
    """Return whether the stage leaves the validation rows to validation, so that its figures say what they seem to."""
    return stage.rows == "train"


def kept_told(stages: list[Stage], net: nn.Module) -> str:
    """Say which weights are kept beside the best and the last state, and what disk they take."""
    of_stages = [stage.name for stage in stages if clean(stage)]
    size = sum(value.numel() * value.element_size() for value in net.state_dict().values())
    megabytes = (len(of_stages) + 1) * size / 1e6
    which = f"each stage ({', '.join(of_stages)})" if of_stages[1:] else f"stage {of_stages[0]}"
    return f"the best of {which} and the final weights are kept as well, at most {megabytes:,.0f} MB"


def keep(job: Job, state: State, name: str) -> None:
    """Keep the weights of the epoch that just ended as a checkpoint; under its second name they are no copy."""
    kept, epoch = state.progress.kept, state.progress.total_epochs
    same = next((state.unsaved[other] for other in state.unsaved if kept[other] == epoch), None)
    state.unsaved[name], kept[name] = weights(job, state) if same is None else same, epoch


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
