"""What a stage freezes, which rows it learns from, and how they fall into batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bunryu.core.errors import ConfigError, count, some
from bunryu.core.randomness import generator
from bunryu.inference.model import Model
from bunryu.models.blocks import freeze_before, train_what_learns, whole_blocks
from bunryu.models.classifier import Classifier
from bunryu.models.record import Sealed
from bunryu.settings.run import RunSettings
from bunryu.settings.stages import AverageStage, Stage
from bunryu.train.checkpoint import Progress
from bunryu.train.head_losses import HeadLosses
from bunryu.train.sampling import epoch_counts, epoch_rows
from bunryu.train.state import Job
from bunryu.train.targets import Targets

_BATCH_NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d)  # timm's own are subclasses


def freeze(net: Classifier, stage: Stage) -> None:
    """Let only what the stage trains take gradients.

    Raises:
        ConfigError: it trains more blocks than there are.
    """
    net.requires_grad_(True)
    if stage.freeze == "backbone":
        net.backbone.requires_grad_(False)
    elif stage.train_blocks is not None:
        freeze_before(net.backbone, stage.train_blocks)


def training_mode(net: Classifier, stage: Stage) -> None:
    """Switch to training what `freeze` let learn; the rest is wholly in eval mode (BatchNorm, dropout, drop path)."""
    train_what_learns(net)
    if stage.freeze == "statistics":
        for module in net.modules():
            if isinstance(module, _BATCH_NORMS):
                module.eval()


def on_rows(job: Job, stage: Stage) -> Job:
    """Return the job with the rows that the stage learns from and validates on, and the class counts of the former."""
    match stage.rows:
        case "train":
            return job
        case "val":
            rows, val_rows = job.val_rows, job.rows
        case "all":
            rows, val_rows = np.sort(np.concatenate([job.rows, job.val_rows])), job.val_rows
    loss = losses_for(job.settings, job.targets, rows, job.model)
    return dataclasses.replace(job, rows=rows, val_rows=val_rows, loss=loss)


def losses_for(settings: RunSettings, targets: Targets, rows: NDArray[np.int64], model: Model) -> HeadLosses:
    """Return the losses of a model's heads, which know the class counts of these training rows."""
    return losses_of_epochs(settings, targets.counts(rows), model.sealed, model.device, targets.held_JL)


def losses_of_epochs(
    settings: RunSettings,
    counts: Sequence[int] | NDArray[np.int64],
    sealed: Sealed,
    device: torch.device | str = "cpu",
    held_JL: NDArray[np.bool_] | None = None,
) -> HeadLosses:
    """Return the losses of a model's heads, which know how often epochs show each class of rows with so many of it."""
    shown = epoch_counts(counts, settings.train, settings.data.balance_to)
    return HeadLosses.prepare(settings.loss, shown, sealed.heads, sealed.attributes, device, held_JL)


def require_other_rows(settings: RunSettings, stages: list[Stage], counts: dict[str, int]) -> None:
    """Refuse stages on the validation rows that cannot be: without such rows, or without a class that must be there.

    Args:
        settings: of the run.
        stages: of the run.
        counts: validation rows of each class.

    Raises:
        ConfigError: with what to set instead.
    """
    other = next((stage for stage in stages if stage.rows != "train"), None)
    if other is None:
        return
    if not sum(counts.values()):
        raise ConfigError(f"stage '{other.name}': rows: {other.rows}, but there are no validation rows. Leave it out.")
    swapped = next((stage for stage in stages if stage.rows == "val"), None)
    missing = [name for name, rows in counts.items() if not rows]
    loss = settings.loss
    if swapped and missing and (loss.class_weights or loss.name == "logit_adjusted" or settings.mix.remix):
        raise ConfigError(
            f"stage '{swapped.name}': rows: val, but {some(missing)} has no validation row, and this loss goes by the "
            "rows of each class. Use rows: all, or a larger split.val."
        )


def stages_told(stages: list[Stage], net: Classifier) -> str:
    """Say what each stage trains of the net, and in how many epochs."""
    frozen = {"none": "", "statistics": ", BatchNorm statistics kept", "backbone": ", backbone frozen"}
    told = []
    for stage in stages:
        if isinstance(stage, AverageStage):
            told.append(f"{stage.name} (the average of its last epochs, not counted in train.epochs)")
            continue
        last = stage.train_blocks
        part = f", the last {last} of {len(whole_blocks(net.backbone))} blocks and the head" if last else ""
        rows = {"train": "", "val": ", on the validation rows", "all": ", on training and validation rows"}[stage.rows]
        how = f"{count(int(stage.epochs or 0), 'epoch')}{part}{frozen[stage.freeze]}{rows}"
        told.append(f"{stage.name} ({'solved at once, not counted in train.epochs' if stage.solve else how})")
    return ", then ".join(told)


def epoch_batches(rows: NDArray[np.int64], batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """Return an epoch's batches of rows in random order; see `in_batches`."""
    return in_batches(rows[generator(seed, "order", epoch).permutation(len(rows))], batch_size)


def in_batches(order: NDArray[np.int64], batch_size: int) -> list[NDArray[np.int64]]:
    """Return the rows in batches; a last single row joins the batch before it.

    BatchNorm cannot train on one row, and dropping the row would leave some pictures unseen.
    """
    batches = [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
    if len(batches) > 1 and len(batches[-1]) == 1:
        batches[-2:] = [np.concatenate(batches[-2:])]
    return batches


def batches_of_epoch(job: Job, progress: Progress) -> list[NDArray[np.int64]]:
    """Return the rows of each batch of the present epoch, on all processes together."""
    settings, rows = job.settings.train, job.rows
    order = epoch_rows(rows, job.target[rows], settings, progress.total_epochs, job.settings.data.balance_to)
    return in_batches(order, settings.batch_size)


def require_trainable_batch(net: Classifier, stage: Stage, rows: int, batch_size: int) -> None:
    """Refuse batches of one row where BatchNorm would train on them, and a stage that this net cannot have.

    Raises:
        ConfigError: with what to set instead.
    """
    freeze(net, stage)
    training_mode(net, stage)
    if min(batch_size, rows) == 1 and any(isinstance(m, _BATCH_NORMS) and m.training for m in net.modules()):
        raise ConfigError(
            "train.batch_size=1: this model has BatchNorm, which cannot learn from one picture at a time. "
            "Use train.batch_size=2 or more, or freeze the backbone (or the statistics) in every stage."
        )
