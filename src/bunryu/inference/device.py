"""Where to compute, and what to say when its memory runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bunryu.core.errors import DeviceError
from bunryu.models.record import Precision

_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}


_NO_MEMORY = ("allocate memory", "not enough memory", "out of memory")


def choose_device(
    name: Literal["auto", "cuda", "mps", "cpu"] = "auto", *, mend: str = "--device auto (in Python: device='auto')"
) -> torch.device:
    """Return the device named; auto means cuda, else mps, else cpu. `mend` is what to use where it is not there.

    Raises:
        DeviceError: the device was named and is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there[name]:
        have = ", ".join(key for key, yes in there.items() if yes)
        raise DeviceError(f"The device {name} is not available here (there is: {have}). Use {mend}.")
    if name == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32, as sealed; speed is what bf16 is for
    return torch.device(name)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, on a GPU or in the machine; torch says the latter in words only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


@contextmanager
def memory_advice(batch_size: int, device: torch.device) -> Iterator[None]:
    """Turn memory that ran out into one message with what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        lower = f"Lower the batch size (predict: --batch-size {batch_size // 2})" if batch_size > 1 else ""
        other = "" if device.type == "cpu" else "compute with --device cpu (evaluate, predict)"
        mend = ", or ".join(part for part in (lower, other) if part) or "Free some memory"
        raise DeviceError(
            f"Out of memory on {device} with a batch size of {batch_size}. {mend[0].upper()}{mend[1:]}. "
            f"({type(error).__name__}: {str(error).strip()[:120]})"
        ) from error


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which the net computes at `precision`."""
    return torch.autocast(device.type, _DTYPES.get(precision), enabled=precision != "fp32")


def to_device(pixels_BHWC: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Return the pixels on the device; to a GPU by pinned memory, so that the copy waits for nothing."""
    x = torch.from_numpy(pixels_BHWC)
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)
