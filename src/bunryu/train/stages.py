"""What a stage freezes, and how its rows fall into batches."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from torch import nn

from bunryu.errors import ConfigError, count
from bunryu.models.blocks import blocks, freeze_before, train_what_learns
from bunryu.models.build import Classifier
from bunryu.randomness import generator
from bunryu.train.settings import Stage

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


def stages_told(stages: list[Stage], net: Classifier) -> str:
    """Say what each stage trains of the net, and in how many epochs."""
    frozen = {"none": "", "statistics": ", BatchNorm statistics kept", "backbone": ", backbone frozen"}
    told = []
    for stage in stages:
        last = stage.train_blocks
        part = f", the last {last} of {len(blocks(net.backbone))} blocks and the head" if last else ""
        how = f"{count(int(stage.epochs or 0), 'epoch')}{part}{frozen[stage.freeze]}"
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
