"""Whether a checkpoint is one of this training: what is in it is compared with the stages, the rows and the network."""

from __future__ import annotations

import torch
from torch import nn

from bunryu.core.errors import count
from bunryu.models.sealed_file import fill
from bunryu.models.weights_file import State
from bunryu.settings.stages import Stage
from bunryu.train.checkpoint import Checkpoint, damaged
from bunryu.train.stages import batches_of_epoch, of_epoch
from bunryu.train.state import Job


def require_of_job(job: Job, checkpoint: Checkpoint) -> None:
    """Refuse a checkpoint that no training with these settings and rows wrote.

    Raises:
        RunError: naming what does not fit.
    """
    told = _of_stages(job.stages, checkpoint) or _of_rows(job, checkpoint) or _of_average(job.model.net, checkpoint)
    if told:
        raise damaged(checkpoint.file, told)


def give_scaler(scaler: torch.GradScaler, checkpoint: Checkpoint) -> None:
    """Give a scaler of half precision its state; one that is switched off has none.

    Raises:
        RunError: it is not of this precision.
    """
    if scaler.state_dict().keys() != checkpoint.scaler.keys():
        raise damaged(checkpoint.file, "its scaler is of another train.precision")
    scaler.load_state_dict(checkpoint.scaler)


def give(net: nn.Module, weights: State, checkpoint: Checkpoint) -> None:
    """Give a network the weights of a checkpoint.

    Raises:
        RunError: they are not of this network, or no numbers.
    """
    try:
        fill(net, weights)
    except ValueError as error:
        raise damaged(checkpoint.file, str(error)) from None


def _of_stages(stages: list[Stage], checkpoint: Checkpoint) -> str:
    at = checkpoint.progress
    if at.stage > len(stages):
        return f"it is in stage {at.stage + 1}, and the settings have {count(len(stages), 'stage')}"
    epochs = int(stages[at.stage].epochs or 0) if at.stage < len(stages) else 0
    if at.epoch > epochs:
        return f"it has {count(at.epoch, 'epoch')} of a stage of {epochs}"
    within = bool(at.epoch or at.step)
    if within != (checkpoint.optimizer is not None) or (within and at.stage == len(stages)):
        return "its optimiser is there between two stages, or not there within one"
    return ""


def _of_rows(job: Job, checkpoint: Checkpoint) -> str:
    progress = checkpoint.progress
    groups, logs = 0 if job.robust is None else len(job.robust.added_G), len(progress.group_logs)
    if logs not in (0, groups):
        return f"it has weights of {count(logs, 'group')}, and there are {groups}"
    if not progress.step:
        return ""
    batches = len(batches_of_epoch(of_epoch(job, progress), progress))
    return f"it has {progress.step} batches of an epoch of {batches}" if progress.step > batches else ""


def _of_average(net: nn.Module, checkpoint: Checkpoint) -> str:
    if not (checkpoint.average or checkpoint.progress.averaged):
        return ""
    own = {name: parameter.shape for name, parameter in net.named_parameters()}
    fits = own == {name: value.shape for name, value in checkpoint.average.items()}
    return "" if fits else "its average of the weights is not of this network"
