"""The loss after calibration: how well probabilities tell classes apart, however sure they are. Pure functions."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

_Floats = NDArray[np.floating[Any]]
_STEPS, _CLOSE = 30, 1e-5
"""Of Newton's method, which ends where a step is this small a share: the loss is then exact to its square."""


def calibrated_loss(probs_NK: _Floats, true_N: NDArray[np.integer[Any]]) -> float:
    """Return the cross-entropy in nats at the best temperature for these rows.

    A net that learns on grows too sure, so that its loss rises while its answers get better; one that learns from mixed
    pictures or smoothed labels is not sure enough. What the temperature mends says nothing against an epoch: Guo et al.
    2017, "On calibration of modern neural networks"; to choose epochs by what is left, Berta et al. 2025, "Rethinking
    early stopping: refine, then calibrate".

    The truth counts as (N + 1)/(N + 2) probable and not as 1 (Platt 1999, "Probabilistic outputs for support vector
    machines"), so that of few rows that are all right no endless sureness is the best.

    Args:
        probs_NK: class probabilities, shape (N, K).
        true_N: index of the truth, shape (N,).
    """
    n, k = probs_NK.shape
    z_NK = np.log(np.maximum(probs_NK, np.finfo(np.float32).tiny)).astype(np.float32)
    z_NK -= z_NK.max(axis=1, keepdims=True)
    unsure = 1 / (n + 2)
    told_N = z_NK[np.arange(n), true_N]
    mean = float(z_NK.mean(dtype=np.float64))
    told = (1 - unsure) * float(told_N.mean(dtype=np.float64)) + unsure * mean
    if told <= mean:  # no better than chance: the best is to say nothing
        return float(np.log(k))
    return _least(z_NK, told)


def calibrated_binary_loss(probs_NL: _Floats, held_NL: NDArray[np.bool_]) -> float:
    """Return the binary cross-entropy in nats, the mean over rows and labels, at the best temperature of all together.

    Args:
        probs_NL: probabilities of the labels, shape (N, L).
        held_NL: which hold, shape (N, L).
    """
    probs_M = probs_NL.reshape(-1)
    return calibrated_loss(np.stack([1 - probs_M, probs_M], axis=1), held_NL.reshape(-1).astype(np.int64))


def _least(z_NK: NDArray[np.float32], told: float) -> float:
    """Return the least over s > 0 of mean(log sum exp(s z)) - s told: Newton's method, kept within what is known.

    Args:
        z_NK: logits, the largest of each row 0.
        told: the mean of what is told of the truth.
    """
    low, high, s, loss = 0.0, np.inf, 1.0, np.inf
    for _ in range(_STEPS):
        e_NK = np.exp(np.float32(s) * z_NK)
        sum_N = e_NK.sum(axis=1, dtype=np.float64)
        loss = float(np.log(sum_N).mean()) - s * told
        e_NK *= z_NK
        mean_N = e_NK.sum(axis=1, dtype=np.float64) / sum_N
        e_NK *= z_NK
        slope = float(mean_N.mean()) - told
        bend = float((e_NK.sum(axis=1, dtype=np.float64) / sum_N - mean_N**2).mean())
        low, high = (s, high) if slope < 0 else (low, s)
        step = s - slope / bend if bend > 0 else np.inf
        if not low < step < high:
            step = (low + high) / 2 if np.isfinite(high) else 2 * s
        if abs(step - s) <= _CLOSE * s:
            break
        s = step
    return loss
