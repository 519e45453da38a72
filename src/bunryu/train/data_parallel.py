"""Data-parallel training: who takes which rows, and how gradients and weights become the same everywhere.

The gradient of a global batch is the sum over its rows divided by their number, so the processes' gradients are
summed, not averaged, and a batch may fall into unequal parts. Explicit, after the backward pass: no hooks, no
wrapped network, and gradient accumulation costs one exchange an update.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
import torch.distributed as dist
from numpy.typing import NDArray
from torch import nn

from bunryu.core import distributed

Rows = NDArray[np.int64]


def part(batch: Rows) -> Rows:
    """Return this process's rows of a global batch: none twice, none left out, nobody with a single row of several.

    BatchNorm cannot train on one row. Of a batch too short to go round, the last processes get nothing.
    """
    if distributed.world() == 1:
        return batch
    parts = np.array_split(batch, min(distributed.world(), max(1, len(batch) // 2)))
    return parts[distributed.rank()] if distributed.rank() < len(parts) else batch[:0]


def block(rows: Rows, size: int) -> Rows:
    """Return this process's rows of many to look at, in order: whole batches of `size`, as one process makes them."""
    if distributed.world() == 1:
        return rows
    starts = np.array_split(np.arange(0, len(rows), size), distributed.world())[distributed.rank()]
    return rows[starts[0] : starts[-1] + size] if len(starts) else rows[:0]


@torch.no_grad()
def sum_gradients(net: nn.Module) -> None:
    """Give every process the sum of all gradients.

    A parameter without a gradient on all processes keeps none, since an optimiser skips it; one that has none
    on this process alone (it had no rows) gets that of the others.
    """
    if distributed.world() == 1:
        return
    parameters = [parameter for parameter in net.parameters() if parameter.requires_grad]
    there = torch.tensor([float(p.grad is not None) for p in parameters], device=parameters[0].device)
    grads = [torch.zeros_like(p) if p.grad is None else p.grad for p in parameters]
    *sums, counts = _exchanged([*grads, there])
    for parameter, grad, found, has in zip(parameters, grads, sums, counts.tolist(), strict=True):
        parameter.grad = grad.copy_(found) if has else None


@torch.no_grad()
def same_as_first(tensors: Iterable[torch.Tensor]) -> None:
    """Give every process the values that the tensors have on the first one."""
    if distributed.world() == 1:
        return
    tensors = list(tensors)
    for dtype in dict.fromkeys(tensor.dtype for tensor in tensors):
        alike = [tensor for tensor in tensors if tensor.dtype == dtype]
        for tensor, value in zip(alike, _exchanged(alike, from_first=True), strict=True):
            tensor.copy_(value)


def _exchanged(tensors: list[torch.Tensor], *, from_first: bool = False) -> list[torch.Tensor]:
    """Return the tensors summed over all processes, or those of the first, all in one exchange."""
    flat = torch.cat([tensor.reshape(-1) for tensor in tensors])
    with distributed.heard():
        if from_first:
            dist.broadcast(flat, src=0)
        else:
            dist.all_reduce(flat)
    pieces = torch.split(flat, [tensor.numel() for tensor in tensors])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors, strict=True)]
