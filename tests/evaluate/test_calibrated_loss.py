"""The loss at the best temperature: the least that a plain minimiser finds, whatever the probabilities are."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar
from sklearn.metrics import log_loss

from bunryu.evaluate.calibrated_loss import calibrated_binary_loss, calibrated_loss


def softmax(logits_NK: Any) -> Any:
    e_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    return (e_NK / e_NK.sum(axis=1, keepdims=True)).astype(np.float32)


def made(n: int, k: int, scale: float, skill: float, seed: int) -> tuple[Any, Any]:
    rng = np.random.default_rng(seed)
    true_N = rng.integers(0, k, n)
    logits_NK = rng.normal(size=(n, k)) + skill * np.eye(k)[true_N]
    return scale * logits_NK, true_N


def plainly(logits_NK: Any, true_N: Any) -> float:
    """Return the least mean of -sum(t log p^s / Z) over s, by a minimiser of one variable."""
    n, k = logits_NK.shape
    told_NK = np.eye(k)[true_N] * (n + 1) / (n + 2) + 1 / (n + 2) / k

    def loss(log_s: float) -> float:
        scaled = np.exp(log_s) * logits_NK
        return float((np.logaddexp.reduce(scaled, axis=1) - (told_NK * scaled).sum(axis=1)).mean())

    return min(float(minimize_scalar(loss, bounds=(-15, 8), method="bounded").fun), float(np.log(k)))


@given(
    st.integers(1, 60),
    st.integers(2, 6),
    st.sampled_from([0.01, 0.3, 1.0, 10.0]),
    st.sampled_from([-2.0, 0.0, 1.0, 9.0]),
    st.integers(0, 999),
)
def test_it_is_the_least(n: int, k: int, scale: float, skill: float, seed: int) -> None:
    logits_NK, true_N = made(n, k, scale, skill, seed)
    found = calibrated_loss(softmax(logits_NK), true_N)
    if np.abs(logits_NK).max() < 40:  # else float32 probabilities end at nought
        assert found == pytest.approx(plainly(logits_NK, true_N), rel=1e-4, abs=1e-5)
    assert 0 <= found <= np.log(k) + 1e-6


def test_how_sure_the_answers_are_does_not_matter() -> None:
    logits_NK, true_N = made(500, 4, 1.0, 2.0, 0)
    found = [calibrated_loss(softmax(scale * logits_NK), true_N) for scale in (0.2, 1.0, 4.0)]
    plain = [log_loss(true_N, softmax(scale * logits_NK), labels=range(4)) for scale in (0.2, 1.0, 4.0)]
    assert found == pytest.approx([found[0]] * 3, rel=1e-4)
    assert max(plain) > 1.5 * min(plain)


def test_better_answers_have_a_lower_one_though_they_are_too_sure() -> None:
    """As of a net that learns on: its plain loss rises."""
    good, true_N = made(1000, 3, 20.0, 1.9, 0)
    before, _ = made(1000, 3, 1.0, 1.5, 0)
    assert log_loss(true_N, softmax(good)) > log_loss(true_N, softmax(before))
    assert calibrated_loss(softmax(good), true_N) < calibrated_loss(softmax(before), true_N)


def test_nothing_to_tell_is_chance() -> None:
    true_N = np.arange(12) % 3
    assert calibrated_loss(np.full((12, 3), 1 / 3, np.float32), true_N) == pytest.approx(np.log(3))
    wrong_NK = np.eye(3, dtype=np.float32)[(true_N + 1) % 3]
    assert calibrated_loss(wrong_NK, true_N) == pytest.approx(np.log(3))


def test_few_rows_that_are_all_right_are_not_endlessly_sure() -> None:
    true_N = np.arange(10) % 2
    assert 0.01 < calibrated_loss(np.eye(2, dtype=np.float32)[true_N], true_N) < 0.3


def test_labels_are_pairs_of_yes_and_no() -> None:
    rng = np.random.default_rng(0)
    probs_NL = rng.random((40, 3)).astype(np.float32)
    held_NL = rng.random((40, 3)) < probs_NL
    pairs = np.stack([1 - probs_NL.ravel(), probs_NL.ravel()], axis=1)
    expected = calibrated_loss(pairs, held_NL.ravel().astype(int))
    assert calibrated_binary_loss(probs_NL, held_NL) == expected
    of_truth = np.where(held_NL, probs_NL, 1 - probs_NL)
    assert expected == pytest.approx(float(-np.log(of_truth).mean()), abs=0.02), "these are calibrated"
