"""From probabilities to answers that do justice to rare classes: logit adjustment after training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.evaluate.metrics import averages, counts_of
from bunryu.models.record import Sealed
from bunryu.settings.run import RunSettings
from bunryu.train.stages import losses_of_epochs

_Floats = NDArray[np.floating[Any]]
_Counts = NDArray[np.integer[Any]] | _Floats

TAUS = tuple(round(0.05 * i, 2) for i in range(41))
"""What `choose_tau` tries: 0 to 2."""


def offsets(counts_K: _Counts, tau: float) -> list[float]:
    """Return what is added to the logits: -tau log(prior) of each class, up to a constant.

    Menon et al. 2021, "Long-tail learning via logit adjustment", equation 9.

    Args:
        counts_K: what is answered to a picture that says nothing, up to a factor; see `uninformed`.
        tau: 0 changes nothing, 1 answers as if all classes were equally frequent.
    """
    prior_K = np.asarray(counts_K, np.float64) / np.sum(counts_K)
    return [float(value) for value in -tau * np.log(prior_K)]


def uninformed(settings: RunSettings, counts_K: NDArray[np.int64], sealed: Sealed) -> list[NDArray[np.float64]]:
    """Return what each head of a model so trained answers to a picture that says nothing; see `Loss.uninformed`.

    Not the shares of the training rows alone: sampler, copies, class weights, label smoothing and the loss have moved
    the answers already, and an adjustment by the rows would lift rare classes twice.

    Args:
        settings: of its training.
        counts_K: training rows of each class that is answered.
        sealed: the model.
    """
    losses = losses_of_epochs(settings, counts_K, sealed)
    return [loss.uninformed().numpy() for loss in losses.heads]


def independent(counts: Sequence[_Counts]) -> NDArray[np.float64]:
    """Return the counts of the joint classes as if attributes had nothing to do with each other, up to a factor.

    That is the prior by which the product of separate heads is adjusted, where each head is by its own.
    """
    joint_J = np.ones(1)
    for own in counts:
        joint_J = np.multiply.outer(joint_J, own / own.sum()).reshape(-1)
    return joint_J


def prior(settings: RunSettings, counts_K: NDArray[np.int64], sealed: Sealed) -> NDArray[np.float64]:
    """Return by what a model's answers are adjusted, of each class, its heads' together; see `uninformed`."""
    return independent(uninformed(settings, counts_K, sealed))


def adjusted(probs_NK: _Floats, counts_K: _Counts, tau: float) -> NDArray[np.float32]:
    """Return the probabilities after the adjustment, float32 (N, K)."""
    return adjusted_by(probs_NK, offsets(counts_K, tau))


def adjusted_by(probs_NK: _Floats, offsets_K: Sequence[float]) -> NDArray[np.float32]:
    """Return the probabilities after numbers were added to their logits, float32 (N, K)."""
    logits_NK = np.log(np.maximum(probs_NK.astype(np.float64), np.finfo(np.float64).tiny)) + offsets_K
    odds_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    found_NK: NDArray[np.float32] = (odds_NK / odds_NK.sum(axis=1, keepdims=True)).astype(np.float32)
    return found_NK


def choose_tau(probs_NK: _Floats, true_N: NDArray[np.int64], counts_K: _Counts) -> float:
    """Return the tau of `TAUS` with the best macro-F1 on these rows; of several, the smallest."""
    k = probs_NK.shape[1]
    found = []
    for tau in TAUS:
        pred_N = adjusted(probs_NK, counts_K, tau).argmax(axis=1)
        found.append(float(averages(*counts_of(pred_N, true_N, k))["macro_f1"]))
    return TAUS[int(np.argmax(np.round(found, 12)))]


def adjusted_out_of_fold(
    probs_NK: _Floats, true_N: NDArray[np.int64], fold_N: NDArray[np.int64], counts_K: _Counts | None = None
) -> NDArray[np.float32]:
    """Adjust each fold with the tau that is best on the other folds, so that no row has a say in its own answer.

    Args:
        probs_NK: probabilities out of fold.
        true_N: class indices.
        fold_N: the fold of each row.
        counts_K: the prior of the classes, up to a factor; that of `true_N` when None.

    Returns:
        The probabilities after the adjustment.
    """
    counts_K = np.bincount(true_N, minlength=probs_NK.shape[1]) if counts_K is None else counts_K
    found_NK = np.zeros(probs_NK.shape, np.float32)
    for fold in np.unique(fold_N):
        own = fold_N == fold
        found_NK[own] = adjusted(probs_NK[own], counts_K, choose_tau(probs_NK[~own], true_N[~own], counts_K))
    return found_NK
