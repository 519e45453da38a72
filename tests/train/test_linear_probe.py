"""A solved head, against scikit-learn's; and what no row may have a say in."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from bunryu.models.build import build
from bunryu.models.record import Architecture
from bunryu.settings.train import LossSettings
from bunryu.train.head_losses import HeadLosses
from bunryu.train.linear_probe import WEIGHT_DECAYS, judges, out_of_fold, solve, solve_best, solve_into
from bunryu.train.losses import Loss

N, F, K = 240, 16, 4
PLAIN, BALANCED = LossSettings(), LossSettings(class_weights="balanced")
NAMES = [f"class {k}" for k in range(K)]


@pytest.fixture
def features() -> torch.Tensor:
    """Features of unlike scales and means, as those of a net are not quite."""
    rng = np.random.default_rng(0)
    x_NF = rng.normal(size=(N, F)) * np.geomspace(0.01, 10, F) + np.linspace(-3, 3, F)
    return torch.from_numpy(x_NF.astype(np.float32))


@pytest.fixture
def target(features: torch.Tensor) -> torch.Tensor:
    """Classes that the features tell for the most part; one is rare."""
    z_NF = (features - features.mean(0)) / features.std(0)
    noisy = z_NF[:, :K] + 0.7 * torch.randn(N, K, generator=torch.Generator().manual_seed(0))
    return (noisy - torch.tensor([0, 0, 0, 1.2])).argmax(1)


def prepared(loss: LossSettings, target_N: torch.Tensor) -> Loss:
    return Loss.of(loss, torch.bincount(target_N, minlength=K).tolist(), NAMES)


def plain(classes: int = K) -> Loss:
    return Loss.of(PLAIN, [1] * classes, [f"class {k}" for k in range(classes)])


@pytest.mark.parametrize("weight_decay", WEIGHT_DECAYS)
@pytest.mark.parametrize("loss", [PLAIN, BALANCED], ids=["plain", "balanced"])
def test_it_is_scikit_learns(
    features: torch.Tensor, target: torch.Tensor, loss: LossSettings, weight_decay: float
) -> None:
    head = solve(features, target, K, prepared(loss, target), weight_decay)
    z_NF = StandardScaler().fit_transform(features.double().numpy())
    theirs = LogisticRegression(C=1 / (N * weight_decay), class_weight=loss.class_weights, max_iter=5000, tol=1e-8)
    theirs.fit(z_NF, target.numpy())
    np.testing.assert_allclose(head.weight_KF.numpy(), theirs.coef_, atol=2e-3)
    found = torch.softmax(head.logits(features), 1).numpy()
    np.testing.assert_allclose(found, theirs.predict_proba(z_NF), atol=2e-3)


def test_label_smoothing_and_a_start_lead_to_the_one_optimum(features: torch.Tensor, target: torch.Tensor) -> None:
    loss = prepared(LossSettings(label_smoothing=0.1), target)
    cold = solve(features, target, K, loss, 0.01)
    warm = solve(features, target, K, loss, 0.01, solve(features, target, K, plain(), 0.1))
    torch.testing.assert_close(cold.logits(features), warm.logits(features), atol=5e-3, rtol=0)
    assert not torch.allclose(
        cold.logits(features), solve(features, target, K, plain(), 0.01).logits(features), atol=0.05
    )


def test_the_linear_layer_gives_the_same_logits(features: torch.Tensor, target: torch.Tensor) -> None:
    head = solve(features, target, K, plain(), 0.01)
    weight_KF, bias_K = head.linear()
    torch.testing.assert_close(features @ weight_KF.T + bias_K, head.logits(features), atol=1e-3, rtol=1e-4)


@pytest.mark.parametrize("value", [0.0, 1000.1, -3e-4])
def test_a_constant_feature_has_no_say(features: torch.Tensor, target: torch.Tensor, value: float) -> None:
    """Even where a later picture has another value: nothing was learned about that."""
    with_it = torch.cat([features, torch.full((N, 1), value)], 1)
    head = solve(with_it, target, K, plain(), 0.01)
    unseen = with_it.clone()
    unseen[:, -1] += 0.5
    expected = solve(features, target, K, plain(), 0.01).logits(features)
    torch.testing.assert_close(head.logits(unseen), expected, atol=5e-3, rtol=0)


def test_the_weight_decay_is_the_best_on_rows_held_out(features: torch.Tensor, target: torch.Tensor) -> None:
    judge = torch.arange(N) % 5 == 0
    losses = {}
    for decay in WEIGHT_DECAYS:
        head = solve(features[~judge], target[~judge], K, plain(), decay)
        losses[decay] = float(plain().rows(head.logits(features[judge]), target[judge]).mean())
    best = min(losses, key=lambda decay: losses[decay])
    expected = solve(features, target, K, plain(), best)
    found = solve_best(features, target, K, plain(), judge)
    torch.testing.assert_close(found.logits(features), expected.logits(features), atol=5e-3, rtol=0)


@pytest.mark.parametrize("loss", [PLAIN, BALANCED], ids=["plain", "balanced"])
def test_a_network_is_given_the_head(features: torch.Tensor, target: torch.Tensor, loss: LossSettings) -> None:
    net = build(Architecture(name="scratch_cnn", dropout=0.5), K).eval()
    x_NF = torch.nn.functional.pad(features, (0, 128 - F))
    prepared_loss = prepared(loss, target)
    sums = solve_into(
        net, torch.stack([x_NF, x_NF + 0.01]), target, HeadLosses.one(prepared_loss), judges(target.numpy(), 0)
    )
    logits = net.head(x_NF)
    assert sums["rows"] == N
    assert sums["correct"] == float((logits.argmax(1) == target).sum()) > 0.6 * N
    assert sums["loss"] == pytest.approx(float(prepared_loss.rows(logits, target).sum().detach()), rel=1e-4)
    assert all(parameter.requires_grad for parameter in net.head.parameters())


@pytest.mark.parametrize("n", [2, 3, 5])
@pytest.mark.parametrize("seed", range(6))
def test_a_handful_of_rows_is_enough(features: torch.Tensor, n: int, seed: int) -> None:
    net = build(Architecture(name="scratch_cnn"), 2)
    x_NF = torch.nn.functional.pad(features[:n], (0, 128 - F))
    sums = solve_into(net, x_NF[None], torch.arange(n) % 2, HeadLosses.one(plain(2)), judges(np.arange(n) % 2, seed))
    assert np.isfinite(sums["loss"])
    assert all(parameter.isfinite().all() for parameter in net.head.parameters())


def folds_of(n: int) -> NDArray[np.int64]:
    return np.random.default_rng(3).permutation(n) % 5


def test_each_fold_is_answered_by_a_head_solved_without_it(features: torch.Tensor, target: torch.Tensor) -> None:
    fold_N = folds_of(N)
    probs = out_of_fold(features, target.numpy(), fold_N, HeadLosses.one(prepared(BALANCED, target)))
    for fold in (0, 4):
        rest = torch.from_numpy(fold_N != fold)
        judge = torch.from_numpy(fold_N == (fold + 1) % 5)[rest]
        head = solve_best(features[rest], target[rest], K, prepared(BALANCED, target), judge)
        expected = torch.softmax(head.logits(features[~rest]), 1).numpy()
        np.testing.assert_array_equal(probs[fold_N == fold], expected)


def test_a_fold_has_no_say_in_its_own_answers(features: torch.Tensor, target: torch.Tensor) -> None:
    """Whatever stands in a fold's labels, and in its other rows, its answers stay the same bits."""
    fold_N, truth = folds_of(N), target.numpy()
    probs = out_of_fold(features, truth, fold_N, HeadLosses.one(plain()))
    changed, moved = truth.copy(), features.clone()
    changed[fold_N == 2] = (changed[fold_N == 2] + 1) % K
    first = np.flatnonzero(fold_N == 2)[0]
    moved[np.flatnonzero(fold_N == 2)[1:]] += 5
    other = out_of_fold(moved, changed, fold_N, HeadLosses.one(plain()))
    np.testing.assert_allclose(other[first], probs[first], rtol=1e-5)
    assert not np.allclose(other[fold_N == 3], probs[fold_N == 3], rtol=1e-2), "but it teaches the others"


def test_labels_without_meaning_are_answered_by_chance() -> None:
    rng = np.random.default_rng(0)
    x_NF = torch.from_numpy(rng.normal(size=(400, 300)).astype(np.float32))
    truth = rng.integers(0, 2, 400)
    probs = out_of_fold(x_NF, truth, folds_of(400), HeadLosses.one(plain(2)))
    np.testing.assert_allclose(probs.sum(1), 1, atol=1e-5)
    assert 0.42 < float((probs.argmax(1) == truth).mean()) < 0.58
    fitted = solve(x_NF, torch.from_numpy(truth), 2, plain(2), 0.001).logits(x_NF).argmax(1)
    assert float((fitted.numpy() == truth).mean()) > 0.9, "what a leak would look like"


@given(units=st.lists(st.integers(0, 5), min_size=2, max_size=40), seed=st.integers(0, 9))
@settings(max_examples=60, deadline=None)
def test_a_unit_judges_whole_or_learns_whole(units: list[int], seed: int) -> None:
    """Else the weight decay is chosen on the people, or on copies of the pictures, that the head was solved on."""
    units_N, kinds_N = np.array(units), np.arange(len(units)) % 2
    judge_N = judges(kinds_N, seed, units_N).numpy()
    assert 0 < judge_N.sum() < len(units)
    if len(set(units)) == 1:
        assert np.array_equal(judge_N, judges(kinds_N, seed).numpy()), "one unit can only be divided"
        return
    assert all(len(set(judge_N[units_N == unit].tolist())) == 1 for unit in set(units))
    assert np.array_equal(judges(kinds_N, seed, np.arange(len(units))).numpy(), judges(kinds_N, seed).numpy())


@pytest.mark.parametrize("seed", range(3))
def test_every_class_judges_a_fifth(seed: int) -> None:
    """Else the decay is chosen without the rare classes; of labels that hold together, each combination."""
    kinds_N = np.repeat([0, 1, 2], [100, 30, 10])
    assert np.bincount(kinds_N[judges(kinds_N, seed).numpy()]).tolist() == [20, 6, 2]
    held_NL = np.stack([kinds_N == 0, kinds_N > 1], axis=1).astype(np.float32)
    assert np.bincount(kinds_N[judges(held_NL, seed).numpy()]).tolist() == [20, 6, 2]


def test_an_edge_that_wins_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    """Labels that the features do not show want the strongest decay."""
    rng = np.random.default_rng(0)
    x_NF = torch.from_numpy(rng.normal(size=(600, 128)).astype(np.float32))
    target_N = torch.from_numpy(rng.integers(0, 2, 600))
    net = build(Architecture(name="scratch_cnn"), 2)
    solve_into(net, x_NF[None], target_N, HeadLosses.one(plain(2)), judges(target_N.numpy(), 0))
    assert "solved with weight decay 3, the strongest that was tried" in capsys.readouterr().err
