"""A loss, a gradient or an answer that is no number stops training before anything is spoilt, with its files named."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import TrainingError, some
from bunryu.core.storage import write_atomic

_NOT_FINITE = "is not finite (NaN or infinity), so training stopped"
_CAUSES = (
    "Usual causes, for a new run: a rate that is too high (lower optim.lr and optim.head_lr, add "
    "schedule.warmup_epochs=1) or half precision (train.precision=fp32)."
)


def require_finite(folder: Path, row: dict[str, Any]) -> None:
    """Refuse an epoch (a row of the history) after which the answers are no numbers; nothing of it is kept."""
    if not math.isfinite(row.get("val_loss", 0.0)):
        raise TrainingError(f"The validation loss of epoch {row['epoch']} {_NOT_FINITE}{_kept(folder)}. {_CAUSES}")


def not_finite(folder: Path, file: Callable[[int], str], rows: NDArray[np.int64], what: str) -> TrainingError:
    """Describe a loss or gradient that is not finite; the weights were not touched."""
    files = [file(int(row)) for row in rows]
    listing = folder / "nonfinite_batch.txt"
    write_atomic(listing, "".join(f"{name}\n" for name in files).encode("utf-8", "surrogateescape"))
    return TrainingError(
        f"The {what} {_NOT_FINITE} before the update{_kept(folder)}. The batch's files: {some(files, 4)} "
        f"(all in {listing}). {_CAUSES}"
    )


def _kept(folder: Path) -> str:
    """Say where the last good state is, if there is one."""
    last = folder / "checkpoints" / "last.safetensors"
    return f"; the last good state is in {last.parent}" if last.exists() else "; no state had been saved yet"
