"""What the loop works with: the job, which does not change, and the state, which does."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from timm.utils import ModelEmaV3
from torch import optim

from bunryu.data.images.pixel_cache import PixelCache
from bunryu.data.table import Table
from bunryu.inference.model import Model
from bunryu.inference.reading import Answers
from bunryu.settings.run import RunSettings
from bunryu.settings.stages import Stage
from bunryu.train.checkpoint import Progress
from bunryu.train.group_dro import GroupDRO
from bunryu.train.head_losses import HeadLosses
from bunryu.train.targets import Targets
from bunryu.train.tensorboard import Board


class Noise(Protocol):
    """Tells whether two epochs differ beyond the noise of the validation rows, and which is better if not."""

    def said(self, probs_NK: NDArray[np.float32]) -> NDArray[Any]:
        """Return what is answered with these probabilities, small."""
        ...

    def fits(self, said: NDArray[Any]) -> bool:
        """Return whether answers read from a checkpoint can be of these rows."""
        ...

    def calibrated_loss(self, probs_NK: NDArray[np.float32]) -> float:
        """Return the loss of the validation rows at the best temperature."""
        ...

    def within(self, own: NDArray[Any], other: NDArray[Any]) -> bool:
        """Return whether the monitored figure of two answers differs by no more than noise explains."""
        ...


@dataclass(frozen=True)
class Job:
    """Everything the loop needs; nothing in it changes but the network's weights."""

    model: Model
    settings: RunSettings
    stages: list[Stage]
    """With whole numbers of epochs."""
    loss: HeadLosses
    robust: GroupDRO | None
    table: Table
    cache: PixelCache | None
    """Where the table's pictures are kept once they are decoded."""
    targets: Targets
    """What is to be answered."""
    rows: NDArray[np.int64]
    """The training rows."""
    val_rows: NDArray[np.int64]
    score: Callable[[NDArray[np.int64], NDArray[np.float32]], dict[str, float]]
    """Validation rows and their class probabilities -> figures."""
    noise: Noise | None
    """None where the monitored figure alone decides which epoch is best."""
    folder: Path
    """The run folder."""
    stop: Callable[[], bool]
    """Whether the person asked to stop."""

    @property
    def target(self) -> NDArray[np.int64]:
        """Row id -> index of the class (or set of labels) that is to be answered."""
        return self.targets.index_N

    def file(self, row: int) -> str:
        """Return the file of a row."""
        return self.table.file(row)


@dataclass
class State:
    """What changes while the loop runs, besides the network's weights."""

    progress: Progress
    scaler: torch.GradScaler
    ema: ModelEmaV3 | None
    history: list[dict[str, Any]]
    optimizer: optim.Optimizer | None = None
    """None between two stages."""
    average: dict[str, torch.Tensor] | None = None
    """The mean of the weights so far, while a stage is averaged."""
    unsaved: dict[str, dict[str, torch.Tensor]] = field(default_factory=dict)
    """Weights to keep, until they are saved: name of the checkpoint (best, stage-1-head, final) -> tensors; the same
    ones under each name of an epoch."""
    said: dict[str, NDArray[Any]] = field(default_factory=dict)
    """What was answered to the validation rows (`Noise.said`) in the epoch with the highest figure, `leader`, and in
    the best one, `best`; not there where `Job.noise` is not."""
    best: Answers | None = None
    """To the validation rows, of the best epoch; None where that was not validated on pictures, or before a resume."""
    written: int = 0
    """Rows of the history that are in its file."""
    board: Board | None = None
    """Where the history goes as well, with train.tensorboard."""
    saved: float = 0.0
    """When the last checkpoint was written."""
