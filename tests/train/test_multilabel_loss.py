"""The loss of labels that can hold together: against torch's, torchvision's and scikit-learn's."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.linear_model import LogisticRegression
from torchvision.ops import sigmoid_focal_loss

from bunryu.models.record import Head
from bunryu.settings.train import LossSettings, MixSettings
from bunryu.train.head_losses import HeadLosses
from bunryu.train.linear_probe import solve
from bunryu.train.mixup import mix
from bunryu.train.multilabel_loss import LabelLoss, label_losses

HELD_JL = np.array([[0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 1]], bool)
COUNTS = [4, 3, 2, 1]
LABELS = ["a", "b", "c"]


def loss(**settings: object) -> LabelLoss:
    return LabelLoss.of_sets(LossSettings(**settings), COUNTS, HELD_JL, LABELS)


@pytest.fixture
def logits() -> torch.Tensor:
    return 3 * torch.randn(6, 3, generator=torch.Generator().manual_seed(0))


TARGET = torch.tensor([0, 1, 2, 3, 1, 0])
TRUTH = torch.tensor(HELD_JL[TARGET.numpy()], dtype=torch.float32)


def test_cross_entropy_is_torchs(logits: torch.Tensor) -> None:
    expected = F.binary_cross_entropy_with_logits(logits, TRUTH, reduction="none").mean(dim=1)
    torch.testing.assert_close(loss().rows(logits, TARGET), expected)
    smoothed = F.binary_cross_entropy_with_logits(logits, TRUTH * 0.8 + 0.1, reduction="none").mean(dim=1)
    torch.testing.assert_close(loss(label_smoothing=0.2).rows(logits, TARGET), smoothed)


def test_focal_is_torchvisions(logits: torch.Tensor) -> None:
    expected = sigmoid_focal_loss(logits, TRUTH, alpha=-1, gamma=1.5).mean(dim=1)
    torch.testing.assert_close(loss(name="focal", gamma=1.5).rows(logits, TARGET), expected)


def test_balanced_weights_are_torchs_positive_weights_up_to_a_factor_a_label(logits: torch.Tensor) -> None:
    held = torch.tensor(HELD_JL, dtype=torch.float32)
    positive = torch.tensor(COUNTS, dtype=torch.float32) @ held
    weight = (10 - positive) / positive
    expected = F.binary_cross_entropy_with_logits(logits, TRUTH, reduction="none", pos_weight=weight)
    balanced = loss(class_weights="balanced")
    factor = 10 / (2 * (10 - positive))  # of the rows without the label
    torch.testing.assert_close(balanced.rows(logits, TARGET), (expected * factor).mean(dim=1))
    every = torch.repeat_interleave(torch.arange(4), torch.tensor(COUNTS))
    weights = torch.where(held[every] > 0, balanced.weights_2L[1], balanced.weights_2L[0])
    torch.testing.assert_close(weights.mean(dim=0), torch.ones(3))  # the mean weight of a training row is 1


def test_a_mixed_row_counts_for_both_by_its_shares(logits: torch.Tensor) -> None:
    shares = 0.3 * TRUTH + 0.7 * TRUTH.flip(0)
    own = loss(class_weights="balanced")
    expected = 0.3 * own.rows(logits, TARGET) + 0.7 * own.rows(logits, TARGET.flip(0))
    torch.testing.assert_close(own.rows(logits, shares), expected)


def test_a_batch_is_mixed_label_by_label() -> None:
    heads = [Head(column="labels", kind="sigmoid", classes=LABELS)]
    losses = HeadLosses.prepare(LossSettings(), COUNTS, heads, [], held_JL=HELD_JL)
    x = torch.arange(6.0)[:, None]
    settings = MixSettings(name="mixup", alpha=1.0)
    mixed, shares = mix(x, TARGET, losses.counts_K, settings, 0, 1, 2, held_KL=losses.held_JL)
    plain, of_sets = mix(x, TARGET, losses.counts_K, settings, 0, 1, 2)
    assert torch.equal(mixed, plain)
    torch.testing.assert_close(shares, of_sets @ losses.held_JL)
    assert ((shares > 0) & (shares < 1)).any()
    assert losses.rows(torch.zeros(6, 3), shares).tolist() == pytest.approx([np.log(2)] * 6)


def test_right_is_every_label_at_one_half() -> None:
    heads = [Head(column="labels", kind="sigmoid", classes=LABELS)]
    losses = HeadLosses.prepare(LossSettings(), COUNTS, heads, [], held_JL=HELD_JL)
    logits = torch.tensor([[1.0, 2.0, -1.0], [1.0, 2.0, 1.0], [-1.0, -2.0, -3.0]])
    assert losses.right(logits, torch.tensor([2, 2, 0])).tolist() == [True, False, True]
    assert losses.right(logits[:1], torch.tensor([[0.6, 1.0, 0.4]])).tolist() == [True]
    assert losses.sizes() == [3]


def test_sure_answers_keep_a_gradient_and_no_nan() -> None:
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    for gamma in (0.0, 0.5, 2.0):
        logits.grad = None
        label_losses(logits, torch.tensor([[0.0, 1.0, 1.0]]), gamma=gamma).sum().backward()
        assert torch.isfinite(logits.grad).all()
        assert logits.grad[0, 0] > 0.9


def test_a_solved_head_is_a_logistic_regression_a_label() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((200, 5)).astype(np.float32)
    held = (x @ rng.standard_normal((5, 3)) + rng.standard_normal((200, 3))) > 0.3
    sets, target = np.unique(held, axis=0, return_inverse=True)
    own = LabelLoss.of_sets(LossSettings(), np.bincount(target.reshape(-1)).tolist(), sets, LABELS)
    decay = 0.02
    head = solve(torch.from_numpy(x), torch.from_numpy(target.reshape(-1)), own.size, own, decay / own.parts)
    z = (x - x.mean(0)) / x.std(0)
    for k in range(3):
        reference = LogisticRegression(C=1 / (200 * decay), tol=1e-8, max_iter=1000).fit(z, held[:, k])
        assert head.weight_KF[k].tolist() == pytest.approx(reference.coef_[0].tolist(), abs=2e-3)
        assert float(head.bias_K[k]) == pytest.approx(float(reference.intercept_[0]), abs=2e-3)
