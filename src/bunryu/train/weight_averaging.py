"""Averages of weights: the exponential one of each update, and that of a stage's last epochs.

Stochastic weight averaging: Izmailov et al. 2018, "Averaging weights leads to wider optima and better generalization"
(algorithm 1): a constant rate while weights are collected, then BatchNorm's statistics computed anew for the mean. That
last pass is a stage of its own (`AverageStage`), so that it is validated, remembered, saved and resumed like any epoch.
"""

from __future__ import annotations

import torch
from timm.utils import ModelEmaV3
from torch import nn

from bunryu.core import distributed
from bunryu.core.randomness import key_of
from bunryu.models.classifier import Classifier
from bunryu.settings.stages import AverageStage, Stage, with_given
from bunryu.settings.train import averaged_epochs
from bunryu.train.checkpoint import Progress
from bunryu.train.data_parallel import same_as_first
from bunryu.train.feed import Feed
from bunryu.train.optim import lr_factor
from bunryu.train.stages import batches_of_epoch, training_mode
from bunryu.train.state import Job, State

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)  # timm's own are subclasses


@torch.no_grad()
def follow(ema: ModelEmaV3, net: Classifier, stage: Stage, updates: int) -> None:
    """Move the exponential moving average after an update.

    Of a stage on cached features the head alone: the backbone, which nothing has trained before, is the same in both,
    and averaging equal weights gives the same bits, and costs more than the whole step.
    """
    if stage.views is None:
        ema.update(net, updates)
        return
    weight = 1.0 - ema.get_decay(updates)
    for kept, now in zip(ema.module.head.state_dict().values(), net.head.state_dict().values(), strict=True):
        kept.lerp_(now, weight)


def factor(job: Job, progress: Progress, updates: int, group: int) -> float:
    """Return the factor of the base rates for one update: the schedule's, or the constant one of averaging.

    Args:
        job: with the stages.
        progress: where it is.
        updates: updates in one epoch.
        group: of them, the present one.
    """
    stage, optim = job.stages[progress.stage], job.settings.optim
    schedule = with_given(job.settings.schedule, stage.schedule)
    update = progress.epoch * updates + group
    if collects(job, progress):
        if job.settings.train.swa_lr is not None:
            return job.settings.train.swa_lr / with_given(optim, stage.optim).lr
        update = (int(stage.epochs or 0) - averaged_epochs(job.settings.train, stage)) * updates
    return lr_factor(schedule, update, updates, int(stage.epochs or 0), progress.plateau_drops)


def collects(job: Job, progress: Progress) -> bool:
    """Return whether the weights that the present epoch ends with are averaged."""
    stage, following = job.stages[progress.stage], job.stages[progress.stage + 1 : progress.stage + 2]
    if not following or not isinstance(following[0], AverageStage):
        return False
    return progress.epoch >= int(stage.epochs or 0) - averaged_epochs(job.settings.train, stage)


@torch.no_grad()
def collect(job: Job, state: State) -> None:
    """Take the weights at an epoch's end into the mean, where they belong there.

    The mean is contiguous, whatever the memory format of the weights, and so comes back from a checkpoint as it was.
    """
    if not collects(job, state.progress):
        return
    state.progress.averaged += 1
    state.average = state.average or {name: torch.zeros(p.shape).to(p) for name, p in job.model.net.named_parameters()}
    for name, parameter in job.model.net.named_parameters():
        mean = state.average[name]
        mean += (parameter.contiguous() - mean) / state.progress.averaged


@torch.no_grad()
def settle(job: Job, state: State, feed: Feed) -> dict[str, float]:
    """Give the network the mean, and BatchNorm's statistics for it from one pass over the training rows.

    As torch's `update_bn`: the plain mean over the batches, the network in training mode. Statistics that the stage
    does not train stay. Every process makes the whole pass.

    Returns:
        The sums of loss, correct and rows in that pass.
    """
    net, settings, progress = job.model.net, job.settings.train, state.progress
    assert state.average is not None
    for name, parameter in net.named_parameters():
        parameter.copy_(state.average[name])
    training_mode(net, job.stages[progress.stage])
    norms = [m for m in net.modules() if isinstance(m, _BATCH_NORMS) and m.training and m.track_running_stats]
    momenta = [norm.momentum for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
    sums = {"loss": 0.0, "correct": 0.0, "rows": 0.0}
    for step, (x, rows) in enumerate(feed.batches(batches_of_epoch(job, progress), progress.total_epochs)):
        torch.manual_seed(key_of(settings.seed, "dropout", progress.total_epochs, step))
        logits_BK, target_B = feed.logits(x), torch.from_numpy(job.target[rows]).to(x.device)
        sums["loss"] += float(job.loss.rows(logits_BK, target_B).sum())
        sums["correct"] += float(job.loss.right(logits_BK, target_B).sum())
        sums["rows"] += len(rows)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
    same_as_first(net.buffers())
    return distributed.from_first(sums)
