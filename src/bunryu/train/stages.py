"""What a stage freezes, which rows it learns from, and how they fall into batches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bunryu.core import distributed
from bunryu.core.errors import ConfigError, count, some
from bunryu.core.randomness import generator
from bunryu.data.table import Table
from bunryu.inference.model import Model
from bunryu.models.blocks import freeze_before, train_what_learns, whole_blocks
from bunryu.models.classifier import Classifier
from bunryu.models.record import Sealed
from bunryu.settings.run import RunSettings, whole_stages
from bunryu.settings.stages import AverageStage, Stage
from bunryu.train.checkpoint import Progress
from bunryu.train.head_losses import HeadLosses
from bunryu.train.mixup import label_counts
from bunryu.train.sampling import Counts, apart_in_batches, epoch_counts, epoch_rows
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


def mixes(settings: RunSettings, stage: Stage, epoch: int) -> bool:
    """Return whether an epoch of the run, counted from 0, mixes rows in this stage."""
    last = settings.mix.end_epoch
    trained = not stage.solve and not isinstance(stage, AverageStage)
    return settings.mix.name != "none" and trained and (last is None or epoch < last)


def of_epoch(job: Job, progress: Progress) -> Job:
    """Return the job with the rows that the present epoch learns from and validates on, and the losses for them."""
    stage = job.stages[progress.stage]
    remixed = job.settings.mix.remix and mixes(job.settings, stage, progress.total_epochs)
    match stage.rows:
        case "train":
            rows, val_rows = job.rows, job.val_rows
        case "val":
            rows, val_rows = job.val_rows, job.rows
        case "all":
            rows, val_rows = np.sort(np.concatenate([job.rows, job.val_rows])), job.val_rows
    if stage.rows == "train" and not remixed:
        return job
    loss = losses_for(job.settings, job.targets, rows, job.model, mixed=remixed)
    return dataclasses.replace(job, rows=rows, val_rows=val_rows, loss=loss)


def losses_for(
    settings: RunSettings, targets: Targets, rows: NDArray[np.int64], model: Model, *, mixed: bool = False
) -> HeadLosses:
    """Return the losses of a model's heads for epochs of these rows; see `losses_of_epochs`."""
    return losses_of_epochs(
        settings, targets.counts(rows), model.sealed, model.device, held_JL=targets.held_JL, mixed=mixed
    )


def losses_of_epochs(
    settings: RunSettings,
    counts: Counts,
    sealed: Sealed,
    device: torch.device | str = "cpu",
    *,
    held_JL: NDArray[np.bool_] | None = None,
    mixed: bool = False,
) -> HeadLosses:
    """Return the losses of a model's heads, which know what an epoch is.

    Args:
        settings: of the run: sampler and copies say how often an epoch shows a row, ReMix what becomes of its label.
        counts: rows of each index that the epoch has.
        sealed: the model.
        device: where the losses are.
        held_JL: see `Targets`.
        mixed: whether the epoch's rows are mixed; see `mixes`.
    """
    train, size = settings.train, (sealed.input.height, sealed.input.width)
    shown = epoch_counts(counts, train, settings.data.balance_to)
    labels = None
    if mixed and settings.mix.remix:
        labels = label_counts(shown, settings.mix, size, apart_in_batches(shown, train, distributed.world()))
    return HeadLosses.prepare(settings.loss, shown, sealed.heads, sealed.attributes, device, held_JL, labels)


@dataclass(frozen=True)
class Learned:
    """What weights learned last: from which rows, and whether those were mixed."""

    rows: Literal["train", "val", "all"] = "train"
    mixed: bool = False

    @classmethod
    def at(cls, settings: RunSettings, history: Sequence[dict[str, Any]], epoch: int) -> Learned:
        """Return what the weights after an epoch of a run had learned.

        Args:
            settings: of the run.
            history: its epochs so far.
            epoch: counted from 1, as the history does.
        """
        stages = whole_stages(settings)
        place = seen = 0
        for row in history[:epoch]:
            if row["stage"] != stages[place].name or seen == int(stages[place].epochs or 0):
                later = range(place + 1, len(stages))
                place, seen = next((i for i in later if stages[i].name == row["stage"]), place), 0
            seen += 1
        if isinstance(stages[place], AverageStage):  # of weights that the epochs before it ended with
            return cls.at(settings, history, epoch - 1)
        return cls(stages[place].rows, mixes(settings, stages[place], epoch - 1))

    def of(self, table: Table) -> NDArray[np.int64]:
        """Return those rows of the run's table."""
        splits = {"train": ["train"], "val": ["val"], "all": ["train", "val"]}[self.rows]
        return np.concatenate([table.split(name) for name in splits])


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
    counted = {
        "loss.class_weights": loss.class_weights is not None,
        "loss.name=logit_adjusted": loss.name == "logit_adjusted",
        "mix.remix": settings.mix.remix,
        "decision.tau": settings.decision.tau is not None,
    }
    which = next((name for name, given in counted.items() if given), None)
    if swapped and missing and which:
        raise ConfigError(
            f"stage '{swapped.name}': rows: val, but {some(missing)} has no validation row, and {which} goes by the "
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
