"""Logit adjustment after training: its formula, its choice, and that no fold has a say in its own answers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from scipy.special import softmax
from sklearn.metrics import f1_score

from bunryu.evaluate.decision.logit_adjustment import (
    TAUS,
    adjusted,
    adjusted_out_of_fold,
    choose_tau,
    independent,
    offsets,
    uninformed,
)
from bunryu.inference.model import probabilities
from bunryu.models.record import Attribute, Decision, Head
from bunryu.settings.load import load_settings

COUNTS = np.array([900, 90, 10])


def skewed(n: int = 600, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return probabilities that know the classes somewhat, and lean on the prior."""
    rng = np.random.default_rng(seed)
    true_N = rng.choice(3, n, p=COUNTS / COUNTS.sum())
    logits = rng.normal(size=(n, 3)) + 2.0 * np.eye(3)[true_N] + np.log(COUNTS / COUNTS.sum())
    probs = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    return probs.astype(np.float32), true_N


@pytest.mark.parametrize("tau", [0.0, 0.5, 1.0, 2.0])
def test_it_is_its_paper(tau: float) -> None:
    """Menon et al. 2021, equation 9: argmax f_y - tau log pi_y."""
    probs, _ = skewed()
    logits = np.log(probs.astype(np.float64)) - tau * np.log(COUNTS / 1000)
    expected = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    np.testing.assert_allclose(adjusted(probs, COUNTS, tau), expected, rtol=1e-4)


def test_the_sealed_model_does_the_same() -> None:
    logits = torch.randn(20, 3, generator=torch.Generator().manual_seed(0))
    plain = probabilities(logits, Decision()).numpy()
    decision = Decision(logit_offsets=offsets(COUNTS, 0.7))
    np.testing.assert_allclose(probabilities(logits, decision).numpy(), adjusted(plain, COUNTS, 0.7), rtol=1e-4)


def test_tau_is_the_best_for_macro_f1() -> None:
    probs, true_N = skewed()
    scores = [f1_score(true_N, adjusted(probs, COUNTS, tau).argmax(1), average="macro") for tau in TAUS]
    tau = choose_tau(probs, true_N, COUNTS)
    assert tau == TAUS[int(np.argmax(np.round(scores, 12)))] > 0
    assert max(scores) > scores[0] + 0.02, "or the test shows nothing"
    sure = np.eye(3, dtype=np.float32)[true_N]
    assert choose_tau(sure, true_N, COUNTS) == 0, "of several the smallest"


def test_a_fold_has_no_say_in_its_own_tau() -> None:
    """And each is adjusted by what its own model has learned, which need not be what the others have."""
    probs, true_N = skewed()
    fold_N = np.arange(600) % 5
    priors_FK = np.bincount(true_N) + 30 * np.arange(5)[:, None]
    found = adjusted_out_of_fold(probs, true_N, fold_N, priors_FK[fold_N])
    for fold in range(5):
        own = fold_N == fold
        tau = choose_tau(probs[~own], true_N[~own], priors_FK[fold_N[~own]])
        np.testing.assert_array_equal(found[own], adjusted(probs[own], priors_FK[fold], tau))


def test_of_several_label_columns_the_mean_of_their_macro_f1_chooses_tau() -> None:
    """The joint macro-F1 of combinations that nothing tells apart would choose another one."""
    rng = np.random.default_rng(1)
    attributes = [Attribute(column="a", classes=["x", "y"], of=[0, 0, 1, 1])]
    attributes.append(Attribute(column="b", classes=["p", "q"], of=[0, 1, 0, 1]))
    prior_J = np.array([0.7, 0.1, 0.1, 0.1])
    true_N = rng.choice(4, 400, p=prior_J)
    logits = np.log(prior_J) + rng.normal(size=(400, 4)) + 1.2 * np.eye(4)[true_N]
    probs = softmax(logits, axis=1).astype(np.float32)

    def mean_f1(tau: float) -> float:
        joint = adjusted(probs, prior_J, tau)
        pairs = [
            (np.array(one.of)[true_N], [joint[:, np.array(one.of) == k].sum(1) for k in (0, 1)]) for one in attributes
        ]
        return float(np.mean([f1_score(true, np.argmax(own, axis=0), average="macro") for true, own in pairs]))

    chosen = choose_tau(probs, true_N, prior_J, attributes)
    assert mean_f1(chosen) == pytest.approx(max(map(mean_f1, TAUS)), abs=1e-9)
    assert chosen != choose_tau(probs, true_N, prior_J), "or the test shows nothing"


def test_separate_heads_are_adjusted_each_by_its_own_prior() -> None:
    of = [[0, 0, 0, 1, 1, 1], [0, 1, 2, 0, 1, 2]]
    parts = [Attribute(column=str(k), classes=[f"x{i}" for i in range(k + 2)], of=own) for k, own in enumerate(of)]
    counts_J = np.array([5, 1, 0, 2, 8, 4])
    heads = [Head(column=part.column, classes=[f"{k}" for k in range(len(part.classes))]) for part in parts]
    sealed: Any = SimpleNamespace(heads=heads, attributes=parts, input=SimpleNamespace(height=8, width=8))
    first, second = uninformed(load_settings(["loss.label_smoothing=0"]), counts_J, sealed)
    np.testing.assert_allclose(first, [6 / 20, 14 / 20], rtol=1e-6)
    np.testing.assert_allclose(second, [7 / 20, 9 / 20, 4 / 20], rtol=1e-6)
    prior_J = independent([first, second])
    np.testing.assert_allclose(prior_J, np.multiply.outer(first, second).reshape(-1))
    logits = np.random.default_rng(0).normal(size=(9, 5))
    moved = logits + np.array([*offsets(first, 0.7), *offsets(second, 0.7)])

    def joint(values: NDArray[np.float64]) -> NDArray[np.float64]:
        own = [softmax(values[:, :2], axis=1), softmax(values[:, 2:], axis=1)]
        return (own[0][:, :, None] * own[1][:, None, :]).reshape(9, 6)

    np.testing.assert_allclose(adjusted(joint(logits), prior_J, 0.7), joint(moved), rtol=1e-5)
