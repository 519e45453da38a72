"""train.tensorboard: the figures of each epoch, and the first batch as training sees it, for TensorBoard."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from bunryu.core.errors import ConfigError
from bunryu.settings.train import TrainSettings

_NO_FIGURES = ("epoch", "best", "clean", "as_good_as", "stage")


class Board:
    """The event files of a run, RUN/tensorboard.

    What is there of epochs that a resumed run trains again is disowned (``purge_step``), so no step stands twice.

    Args:
        run: the run folder.
        known: epochs whose figures are written already.
    """

    def __init__(self, run: Path, known: int) -> None:
        self.run, self.written = run, known
        self._writer: Any = None

    def write(self, history: Sequence[Mapping[str, Any]], *, last: bool) -> None:
        """Write the epochs that are not written yet, and wait until they are on the disk; close after the `last`."""
        if self._writer is None and len(history) > self.written:
            from torch.utils.tensorboard import SummaryWriter

            folder = self.run / "tensorboard"
            purge = self.written + 1 if self.written else 0
            self._writer = SummaryWriter(str(folder), purge_step=purge if folder.exists() else None)
            picture = self.run / "plots" / "augmented.png"
            if not self.written and picture.exists():
                with Image.open(picture) as grid:
                    self._writer.add_image("augmented", np.asarray(grid.convert("RGB")), 0, dataformats="HWC")
        for row in history[self.written :]:
            for tag, value in figures(row):
                self._writer.add_scalar(tag, value, row["epoch"])
        self.written = len(history)
        if self._writer is not None:
            self._writer.flush()
            if last:
                self._writer.close()


def board_of(settings: TrainSettings, run: Path, known: int) -> Board | None:
    """Return the board of a run, if it is to have one."""
    return Board(run, known) if settings.tensorboard else None


def figures(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Yield tag and value of an epoch's figures: ``loss/train`` and ``loss/val`` share a chart."""
    for name, value in row.items():
        if name in _NO_FIGURES or value is None:
            continue
        split, _, figure = name.partition("_")
        yield f"{figure}/{split}" if split in ("train", "val") else name, float(value)


def require_tensorboard(settings: TrainSettings) -> None:
    """Refuse train.tensorboard where it is not installed.

    Raises:
        ConfigError: with what to install.
    """
    if settings.tensorboard and find_spec("tensorboard") is None:
        raise ConfigError("train.tensorboard=true needs TensorBoard: pip install 'bunryu[tensorboard]'")
