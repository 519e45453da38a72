"""How much each of several models should count when they predict together: fitted on rows that none learned from."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import ModelError

_TINY = float(np.finfo(np.float64).tiny)
_NEGLIGIBLE = 1e-6


def log_loss(probs_NK: NDArray[np.floating[Any]], true_N: NDArray[np.integer[Any]]) -> float:
    """Return the mean of -log p(true), in nats."""
    p_N = probs_NK[np.arange(len(true_N)), true_N]
    return float(-np.log(np.maximum(p_N.astype(np.float64), _TINY)).mean())


def fit_weights(
    probs_MNK: NDArray[np.float64], true_N: NDArray[np.integer[Any]], *, logits: bool = False
) -> NDArray[np.float64]:
    """Return the weights (M,), not negative and summing to 1, whose mean has the least log loss on these rows.

    A linear opinion pool, or with `logits` a logarithmic one (Genest & Zidek 1986, "Combining Probability
    Distributions"; stacking as Breiman 1996). In the weights the loss is convex in both cases, so the minimum that
    SLSQP (Kraft 1988) finds is the one there is.

    Args:
        probs_MNK: probabilities of M members for N rows.
        true_N: class indices.
        logits: average the logarithms instead of the probabilities.

    Raises:
        ModelError: the solver does not converge.
    """
    from scipy.optimize import minimize

    members, rows = len(probs_MNK), np.arange(len(true_N))
    logs_MNK = np.log(np.maximum(probs_MNK, _TINY))
    own_MN = logs_MNK[:, rows, true_N] if logits else probs_MNK[:, rows, true_N]

    def linear(weights_M: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        p_N = np.maximum(weights_M @ own_MN, _TINY)
        return float(-np.log(p_N).mean()), -(own_MN / p_N).mean(axis=1)

    def logarithmic(weights_M: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        scores_NK = np.einsum("m,mnk->nk", weights_M, logs_MNK)
        top_N = scores_NK.max(axis=1, keepdims=True)
        odds_NK = np.exp(scores_NK - top_N)
        sums_N = odds_NK.sum(axis=1, keepdims=True)
        loss_N = (top_N + np.log(sums_N))[:, 0] - weights_M @ own_MN
        slope_M = np.einsum("mnk,nk->m", logs_MNK, odds_NK / sums_N) / len(rows) - own_MN.mean(axis=1)
        return float(loss_N.mean()), slope_M

    found = minimize(
        logarithmic if logits else linear,
        np.full(members, 1.0 / members),
        jac=True,
        method="SLSQP",
        bounds=[(0.0, 1.0)] * members,
        constraints={"type": "eq", "fun": lambda w: w.sum() - 1.0, "jac": lambda w: np.ones_like(w)},
        options={"ftol": 1e-12, "maxiter": 500},
    )
    if not found.success:
        raise ModelError(f"The weights of the ensemble could not be fitted ({found.message}). Use equal weights.")
    weights_M: NDArray[np.float64] = np.where(found.x < _NEGLIGIBLE, 0.0, found.x)
    weights_M /= weights_M.sum()
    return weights_M
