"""From probabilities to answers that do justice to rare classes: logit adjustment after training."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.evaluate.attributes import mean_macro_f1
from bunryu.evaluate.metrics import averages, counts_of
from bunryu.models.record import Attribute, Sealed
from bunryu.settings.run import RunSettings
from bunryu.train.stages import losses_of_epochs

_Floats = NDArray[np.floating[Any]]
_Counts = NDArray[np.integer[Any]] | _Floats
"""The prior of the classes, up to a factor: shape (K,), or (N, K) where the models that answer rows differ in it."""

TAUS = tuple(round(0.05 * i, 2) for i in range(41))
"""What `choose_tau` tries: 0 to 2."""


def offsets(counts_K: _Counts, tau: float) -> list[float]:
    """Return what is added to the logits: -tau log(prior) of each class, up to a constant.

    Menon et al. 2021, "Long-tail learning via logit adjustment", equation 9.

    Args:
        counts_K: what is answered to a picture that says nothing, up to a factor; see `uninformed`.
        tau: 0 changes nothing, 1 answers as if all classes were equally frequent.
    """
    found: list[float] = _offsets(counts_K, tau).tolist()
    return found


def _offsets(counts: _Counts, tau: float) -> NDArray[np.float64]:
    prior = np.asarray(counts, np.float64) / np.sum(counts, axis=-1, keepdims=True)
    found: NDArray[np.float64] = -tau * np.log(prior)
    return found


def uninformed(
    settings: RunSettings, counts_K: _Counts, sealed: Sealed, *, mixed: bool = False
) -> list[NDArray[np.float64]]:
    """Return what each head of a model so trained answers to a picture that says nothing; see `Loss.uninformed`.

    Not the shares of the training rows alone: sampler, copies, ReMix, class weights, label smoothing and the loss have
    moved the answers already, and an adjustment by the rows would lift rare classes twice.

    Args:
        settings: of its training.
        counts_K: rows that it learned from, of each class that is answered.
        sealed: the model.
        mixed: whether they were mixed; see `stages.Learned`.
    """
    losses = losses_of_epochs(settings, counts_K, sealed, mixed=mixed)
    return [loss.uninformed().numpy() for loss in losses.heads]


def independent(counts: Sequence[_Counts]) -> NDArray[np.float64]:
    """Return the counts of the joint classes as if attributes had nothing to do with each other, up to a factor.

    That is the prior by which the product of separate heads is adjusted, where each head is by its own.
    """
    joint_J = np.ones(1)
    for own in counts:
        joint_J = np.multiply.outer(joint_J, own / own.sum()).reshape(-1)
    return joint_J


def prior(settings: RunSettings, counts_K: _Counts, sealed: Sealed, *, mixed: bool = False) -> NDArray[np.float64]:
    """Return by what a model's answers are adjusted, of each class, its heads' together; see `uninformed`."""
    return independent(uninformed(settings, counts_K, sealed, mixed=mixed))


def adjusted(probs_NK: _Floats, counts: _Counts, tau: float) -> NDArray[np.float32]:
    """Return the probabilities after the adjustment, float32 (N, K)."""
    return adjusted_by(probs_NK, _offsets(counts, tau))


def adjusted_by(probs_NK: _Floats, offsets: Sequence[float] | NDArray[np.float64]) -> NDArray[np.float32]:
    """Return the probabilities after numbers (K,) or (N, K) were added to their logits, float32 (N, K)."""
    logits_NK = np.log(np.maximum(probs_NK.astype(np.float64), np.finfo(np.float64).tiny)) + offsets
    odds_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    found_NK: NDArray[np.float32] = (odds_NK / odds_NK.sum(axis=1, keepdims=True)).astype(np.float32)
    return found_NK


def choose_tau(
    probs_NK: _Floats, true_N: NDArray[np.int64], counts: _Counts, attributes: Sequence[Attribute] = ()
) -> float:
    """Return the tau of `TAUS` with the best macro-F1 on these rows; of several, the smallest.

    Of several label columns (`attributes`) by the mean of the macro-F1 of each, as train.monitor=auto chooses epochs.
    """
    k = probs_NK.shape[1]
    found = []
    for tau in TAUS:
        own_NK = adjusted(probs_NK, counts, tau)
        if attributes:
            found.append(mean_macro_f1(own_NK, true_N, attributes))
        else:
            found.append(float(averages(*counts_of(own_NK.argmax(axis=1), true_N, k))["macro_f1"]))
    return TAUS[int(np.argmax(np.round(found, 12)))]


def tau_told(tau: float, attributes: Sequence[Attribute], rows: str = "") -> str:
    """Say what was done by which tau: as set, or chosen for the figure on these rows."""
    by = "the mean macro-F1 of the label columns" if attributes else "macro-F1"
    how = f"the best for {by} {rows}" if rows else "as set"
    return f"answers corrected for the class counts (logit adjustment by tau {tau:g}; {how})"


def adjusted_out_of_fold(
    probs_NK: _Floats,
    true_N: NDArray[np.int64],
    fold_N: NDArray[np.int64],
    prior_NK: _Floats,
    attributes: Sequence[Attribute] = (),
) -> NDArray[np.float32]:
    """Adjust each fold with the tau that is best on the other folds, so that no row has a say in its own answer.

    Args:
        probs_NK: probabilities out of fold.
        true_N: class indices.
        fold_N: the fold of each row.
        prior_NK: for each row the prior of what answered it, up to a factor: see `prior`.
        attributes: see `choose_tau`.

    Returns:
        The probabilities after the adjustment.
    """
    found_NK = np.zeros(probs_NK.shape, np.float32)
    for fold in np.unique(fold_N):
        own = fold_N == fold
        tau = choose_tau(probs_NK[~own], true_N[~own], prior_NK[~own], attributes)
        found_NK[own] = adjusted(probs_NK[own], prior_NK[own], tau)
    return found_NK
