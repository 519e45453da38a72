"""Optimiser groups and learning-rate schedules.

Optimisers come from timm's factory. Schedules are pure functions of the update number (plus one counter for
plateau), so that resuming needs no schedule object: those of timm and torch keep state that is easily lost
(timm's plateau forgets its bad epochs). Tests hold them to torch's schedulers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Set
from typing import Any

from torch import nn, optim

from bunryu.models.blocks import blocks
from bunryu.models.classifier import Classifier
from bunryu.settings.stages import OptimSettings, ScheduleSettings, Stage

_FUSED = ("adamw", "adam", "sgd")
_ADDED = ("class_token", "pos_embedding", "cls_token", "pos_embed", "relative_position_bias_table")
_LEAST_WARMUP = 4
"""Updates; fewer only in a stage of less than twice as many."""


def create_optimizer(net: Classifier, settings: OptimSettings, stage: Stage) -> optim.Optimizer:
    """Return the optimiser of a stage: the head at head_lr and, unless frozen, the backbone at lr.

    The block nearest to the head has the whole rate, each one before it `layer_decay` times that of the next.
    Weight decay is kept from biases, norms and other one-dimensional parameters, and from `undecayed`.
    """
    import timm.optim

    head_lr = settings.head_lr or settings.lr
    groups = _groups(net.head.parameters(), "head", head_lr, settings.weight_decay)
    if stage.freeze != "backbone":
        parameters = dict(net.backbone.named_parameters())
        kept = {id(parameters[name]) for name in undecayed(net.backbone)}
        rows = blocks(net.backbone) if settings.layer_decay < 1 else [list(parameters)]
        for depth, names in enumerate(reversed(rows)):
            lr = settings.lr * settings.layer_decay**depth
            groups += _groups([parameters[name] for name in names], "backbone", lr, settings.weight_decay, kept)
    made: optim.Optimizer = timm.optim.create_optimizer_v2(
        groups, opt=settings.name, lr=settings.lr, weight_decay=0.0, momentum=settings.momentum, **_fused(net, settings)
    )
    for group in made.param_groups:
        group["base_lr"] = group["lr"]
    return made


def undecayed(backbone: nn.Module) -> set[str]:
    """Return the parameters of more dimensions that weight decay is kept from as well: positions and tokens.

    timm's nets (and one's own, if they do as those) say them in ``no_weight_decay()``; torchvision's are known by
    name. They are added to what the net sees instead of multiplying it (Touvron et al. 2021, "Training data-efficient
    image transformers", and its code).
    """
    own = getattr(backbone, "no_weight_decay", None)
    names = {name for name, _ in backbone.named_parameters()}
    said = set(own()) & names if callable(own) else set()
    return said | {name for name in names if name.rpartition(".")[2] in _ADDED}


def _fused(net: Classifier, settings: OptimSettings) -> dict[str, bool]:
    """Ask for one kernel over all parameters, where torch has it and it helps: on a GPU."""
    on_gpu = next(net.parameters()).device.type == "cuda"
    return {"fused": True} if on_gpu and settings.name in _FUSED else {}


def _groups(
    parameters: Iterable[nn.Parameter], name: str, lr: float, weight_decay: float, kept: Set[int] = frozenset()
) -> list[dict[str, Any]]:
    """Return a group with weight decay and one without: of one dimension, or with an id in `kept`."""
    trained = [p for p in parameters if p.requires_grad]
    decayed = {id(p) for p in trained if p.ndim > 1 and id(p) not in kept}
    groups = [
        {"params": [p for p in trained if id(p) in decayed], "lr": lr, "weight_decay": weight_decay, "name": name},
        {"params": [p for p in trained if id(p) not in decayed], "lr": lr, "weight_decay": 0.0, "name": name},
    ]
    return [group for group in groups if group["params"]]


def set_lr(optimizer: optim.Optimizer, factor: float) -> None:
    """Set each group's rate to its base rate times `factor`."""
    for group in optimizer.param_groups:
        group["lr"] = group["base_lr"] * factor


def lr_of(optimizer: optim.Optimizer, name: str) -> float | None:
    """Return the present rate of the group `name`, or None where the stage has none."""
    return next((float(group["lr"]) for group in optimizer.param_groups if group["name"] == name), None)


def lr_factor(
    settings: ScheduleSettings, update: int, updates_per_epoch: int, epochs: int, plateau_drops: int
) -> float:
    """Return what the base rates are multiplied by at an update.

    Args:
        settings: the schedule.
        update: 0-based, counted within the stage.
        updates_per_epoch: updates in one epoch.
        epochs: epochs of the stage.
        plateau_drops: how often plateau has dropped in this stage.
    """
    # At least a few updates, since Adam's first steps go all the way whatever the gradient (a tiny set has one update
    # an epoch); half a stage at most, since a short one (--more-epochs 1) would end before it has learned anything.
    warmup = max(round(settings.warmup_epochs * updates_per_epoch), _LEAST_WARMUP) if settings.warmup_epochs else 0
    warmup = min(warmup, epochs * updates_per_epoch // 2)
    rise = 1.0 if update >= warmup else (update + 1) / (warmup + 1)
    epoch = update // updates_per_epoch
    match settings.name:
        case "cosine":  # Loshchilov & Hutter 2017 (SGDR, equation 5, without restarts), after the warm-up
            share = max(update - warmup, 0) / max(epochs * updates_per_epoch - warmup, 1)
            return rise * 0.5 * (1 + math.cos(math.pi * share))
        case "step":
            return rise * settings.gamma ** (epoch // settings.step_epochs)
        case "multistep":
            return rise * settings.gamma ** sum(epoch >= milestone for milestone in settings.milestones)
        case "exponential":
            return rise * settings.gamma**epoch
        case "one_cycle":  # Smith & Topin 2019 ("Super-convergence"), annealed by cosines as torch's OneCycleLR
            return _one_cycle(update, epochs * updates_per_epoch)
        case "plateau":
            return rise * settings.gamma**plateau_drops
        case "constant":
            return rise


def _one_cycle(update: int, updates: int) -> float:
    """Return the factor of an update, with the defaults of torch's OneCycleLR."""
    rising, start, end = 0.3, 1 / 25, 1 / 250_000
    top = max(rising * updates - 1, 0)
    if update < top:
        low, share = start, update / top
    else:
        low, share = end, 1 - (update - top) / max(updates - 1 - top, 1)
    return low + (1 - low) * 0.5 * (1 - math.cos(math.pi * share))
