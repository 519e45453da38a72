"""Sharpness-aware minimisation: the gradient is taken where the loss nearby is highest.

Foret et al. 2021, "Sharpness-aware minimization for efficiently improving generalization" (equation 2 and algorithm 1);
adaptive: Kwon et al. 2021, "ASAM" (equation 10 and algorithm 1), whose neighbourhood scales with the weights.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import nn

from bunryu.train.data_parallel import sum_gradients

_ETA = 0.01
"""Of ASAM: added to the weights' sizes, as in the paper's experiments."""
_LEAST = 1e-12


@contextmanager
def nearby_worst(net: nn.Module, rho: float, adaptive: bool) -> Iterator[None]:
    """Within the ``with``, the weights are w + e(w), the steepest way up from the gradients they have; then w again.

    The gradients are gone within; those that are made there stay. BatchNorm's running averages, and whatever else a
    module in training mode counts, are put back. Of several processes the way up follows the sum of all gradients.

    Args:
        net: with the gradients of a batch.
        rho: the length of e(w).
        adaptive: of its length relative to the weights.
    """
    sum_gradients(net)
    moved = {name: p for name, p in net.named_parameters() if p.grad is not None}
    counted = [buffer for module in net.modules() if module.training for buffer in module.buffers(recurse=False)]
    kept = [tensor.detach().clone() for tensor in (*moved.values(), *counted)]
    with torch.no_grad():
        for parameter, step in zip(moved.values(), steps_up(moved, rho, adaptive), strict=True):
            parameter.add_(step)
            parameter.grad = None
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, before in zip((*moved.values(), *counted), kept, strict=True):
                tensor.copy_(before)


def steps_up(parameters: dict[str, nn.Parameter], rho: float, adaptive: bool) -> list[torch.Tensor]:
    """Return e(w) = rho T^2 g / |T g| of each parameter; T is 1, or |w| + eta of weights where adaptive.

    As in the authors' code a weight is what is named so; biases and other parameters have T = 1.
    """
    sizes: list[torch.Tensor | float] = [
        p.detach().abs() + _ETA if adaptive and "weight" in name else 1.0 for name, p in parameters.items()
    ]
    grads = [p.grad for p in parameters.values() if p.grad is not None]
    scaled = [size * grad for size, grad in zip(sizes, grads, strict=True)]
    norm = torch.stack([part.float().norm() for part in scaled]).norm() if scaled else torch.tensor(0.0)
    return [rho * size * part / (norm + _LEAST) for size, part in zip(sizes, scaled, strict=True)]
