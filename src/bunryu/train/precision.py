"""The arithmetic of training: precision by a fixed rule, gradient scaling, threads, and memory that ran out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import cast

import torch
from torch import nn

from bunryu.core.errors import DeviceError
from bunryu.inference.device import is_out_of_memory
from bunryu.models.build import has_depthwise
from bunryu.models.record import Precision
from bunryu.settings.train import TrainSettings

_LEAST_SIDE = 32


def choose_precision(setting: str, device: torch.device, net: nn.Module, side: int = 224) -> tuple[Precision, str]:
    """Return the precision and, in words, why.

    auto is a fixed rule (no timing decides): cuda: bf16 where the GPU has it, else fp16 with a gradient
    scaler; CPU with AMX or AVX512-BF16: bf16, but fp32 for nets with depthwise convolutions, whose bf16 backward
    is slow on many of them, and for inputs with a side below 32, since in bf16 torch 2.15 computes wrong weight
    gradients of strided convolutions over maps one pixel wide, which small inputs lead to; every other CPU, and
    mps: fp32.

    Args:
        setting: train.precision.
        device: where to train.
        net: the network.
        side: the shorter side of its input, in pixels.

    Raises:
        DeviceError: fp16 was asked for on the CPU.
    """
    if setting == "fp16" and device.type == "cpu":
        raise DeviceError("train.precision=fp16 needs a GPU. On the CPU use bf16 or fp32 (or auto).")
    if setting == "bf16" and device.type == "cpu" and side < _LEAST_SIDE:
        return "bf16", f"as asked, though inputs below {_LEAST_SIDE} px may train wrongly in bf16 on the CPU"
    if setting != "auto":
        return cast(Precision, setting), "as asked"
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return "bf16", "the GPU computes in it"
        return "fp16", "the GPU has no bf16; gradients are scaled"
    if device.type == "cpu" and cpu_has_bf16():
        if has_depthwise(net):
            return "fp32", "depthwise convolutions train slowly in bf16 on many CPUs"
        if side < _LEAST_SIDE:
            return "fp32", f"inputs below {_LEAST_SIDE} px do not train soundly in bf16 on the CPU"
        return "bf16", "the CPU computes in it"
    return "fp32", "the device has no fast bf16" if device.type == "cpu" else "the safe choice on mps"


def bf16_is_open(chosen: Precision, device: torch.device, side: int) -> bool:
    """Return whether bf16 is sound on this CPU where the rule chose fp32, so that timing may decide."""
    return chosen == "fp32" and device.type == "cpu" and side >= _LEAST_SIDE and cpu_has_bf16()


def cpu_has_bf16() -> bool:
    """Return whether this CPU multiplies matrices in bf16 (AMX, or AVX512-BF16)."""
    if not hasattr(torch.cpu, "get_capabilities"):  # an earlier torch
        return False
    found = torch.cpu.get_capabilities()
    return bool(found.get("amx_bf16") or found.get("avx512_bf16"))


def set_threads(settings: TrainSettings) -> int:
    """Set torch's threads where the settings name them, and return how many there are."""
    if settings.threads is not None:
        torch.set_num_threads(settings.threads)
    return torch.get_num_threads()


@contextmanager
def memory_advice(batch_size: int, accumulate: int = 1) -> Iterator[None]:
    """Turn memory that ran out into one message with what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError, DeviceError) as caught:
        error = caught.__cause__ if isinstance(caught, DeviceError) else caught  # validating gives its own advice
        if error is None or not is_out_of_memory(error):
            raise
        keep = f"train.batch_size={batch_size // 2} train.accumulate={2 * accumulate}"
        lower = f"Lower it and keep the effective batch: {keep}. Or lower" if batch_size > 1 else "Lower"
        raise DeviceError(
            f"Out of memory with train.batch_size={batch_size}. {lower} input.size, or choose a smaller "
            "model.name; on a GPU train.precision=bf16 takes half the memory. "
            f"({type(error).__name__}: {str(error).strip()[:120]})"
        ) from error
