"""Which epoch is the best, where noise decides: simulated trainings, whose epochs answer as they are told to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bunryu.evaluate.difference import LEVEL
from bunryu.evaluate.epoch_noise import EpochNoise
from bunryu.settings.load import load_settings
from bunryu.settings.stages import Stage
from bunryu.train import best_epoch
from bunryu.train.best_epoch import noise_told, remember
from bunryu.train.checkpoint import Progress

N = 300
Trained = Callable[..., Any]


@pytest.fixture
def trained(monkeypatch: pytest.MonkeyPatch) -> Trained:
    """Return what lets epochs with such true accuracies and losses go by, and gives the state after them."""
    monkeypatch.setattr(best_epoch, "weights", lambda *_: {})

    def simulated(
        right: Sequence[float], losses: Sequence[float], *pairs: str, seed: int = 0, same: float = 0.9
    ) -> Any:
        """`same`: how much of what is luck is the same in all epochs, as the hard pictures are."""
        rng = np.random.default_rng(seed)
        true_N = rng.integers(0, 2, N)
        hard_N = rng.random(N)
        noise = EpochNoise("accuracy", true_N, None, (), 2, None)
        left = iter(losses)
        told: Any = SimpleNamespace(said=noise.said, within=noise.within, calibrated_loss=lambda _: next(left))
        settings = load_settings(["train.monitor=accuracy", *pairs])
        job: Any = SimpleNamespace(settings=settings, stages=[Stage(name="all", epochs=len(right))], noise=told)
        at: Any = SimpleNamespace(progress=Progress(), history=[], unsaved={}, said={}, answers=[])
        for share in right:
            luck_N = np.where(rng.random(N) < same, hard_N, rng.random(N))
            answer_N = np.where(luck_N < share, true_N, 1 - true_N)
            probs_NK = np.eye(2, dtype=np.float32)[answer_N]
            accuracy = float((answer_N == true_N).mean())
            row = {"val_accuracy": accuracy, "val_loss": 1.0, "train_loss": 1.0, "epoch": len(at.history) + 1}
            remember(job, at, row, probs_NK)
            at.answers.append(noise.said(probs_NK))
        at.noise = noise
        return at

    return simulated


def chosen(at: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the rows of the best epoch and of the one with the highest figure."""
    return at.history[at.progress.best_epoch - 1], at.history[at.progress.leader - 1]


@pytest.mark.parametrize("pair", [(), ("train.min_improvement=0.02",)])
def test_the_best_is_as_good_as_the_leader_and_has_no_higher_loss(trained: Trained, pair: tuple[str, ...]) -> None:
    """Whatever epochs do: random walks of skill and loss."""
    decided = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        skill = np.clip(0.75 + rng.normal(0, 0.03, 20).cumsum(), 0.5, 1)
        losses = np.exp(rng.normal(0, 0.2, 20).cumsum()).tolist()
        at = trained(skill, losses, *pair, seed=seed)
        best, leader = chosen(at)
        figures = [row["val_accuracy"] for row in at.history]
        assert max(figures) - leader["val_accuracy"] <= (0.02 if pair else 0)
        assert best["val_calibrated_loss"] <= leader["val_calibrated_loss"]
        said = [at.answers[row["epoch"] - 1] for row in (best, leader)]
        assert best["val_accuracy"] >= leader["val_accuracy"] or at.noise.within(*said)
        assert np.array_equal(at.said["best"], said[0])
        assert np.array_equal(at.said["leader"], said[1])
        assert [row["epoch"] for row in at.history if row["best"]][-1] == best["epoch"]
        decided += best is not leader
        told = noise_told(at.progress, at.history, "accuracy", at.noise.told)
        assert bool(told) == (best["val_accuracy"] < leader["val_accuracy"])
        if told:
            assert f"epoch {leader['epoch']}, kept as stage-1-all, has a higher accuracy" in told
            assert "within the noise of 300 validation rows" in told
    assert decided > 5


def test_of_equally_good_epochs_the_loss_decides(trained: Trained) -> None:
    """The null: the loss alone tells them apart, and its lowest is seldom missed."""
    missed = 0
    for seed in range(80):
        losses = np.random.default_rng(seed).permutation(np.linspace(0.4, 0.6, 8)).tolist()
        at = trained([0.8] * 8, losses, seed=seed)
        missed += chosen(at)[0]["val_calibrated_loss"] != min(losses)
    assert missed <= 16, "the leader is picked for its luck, which makes it differ more often than one in twenty"


def test_many_steps_within_noise_lead_nowhere(trained: Trained, monkeypatch: pytest.MonkeyPatch) -> None:
    """Skill falls in steps that noise hides, and the loss with it: against the leader it is soon seen."""
    falling, losses = np.linspace(0.9, 0.6, 40), np.linspace(0.5, 0.3, 40).tolist()
    for seed in range(10):
        best, leader = chosen(trained(falling, losses, seed=seed))
        assert leader["val_accuracy"] - best["val_accuracy"] < 0.06

    def against_the_best(job: Any, said: Any, other: Any) -> bool:
        return bool(job.noise.within(said, at.said["best"]))

    at: Any = SimpleNamespace(said={})
    original = best_epoch.choose

    def watched(job: Any, state: Any, *rest: Any) -> Any:
        at.said = state.said
        return original(job, state, *rest)

    monkeypatch.setattr(best_epoch, "choose", watched)
    monkeypatch.setattr(best_epoch, "as_good", against_the_best)
    lost = [leader["val_accuracy"] - best["val_accuracy"] for best, leader in (
        chosen(trained(falling, losses, seed=seed)) for seed in range(10))]  # fmt: skip
    assert np.mean(lost) > 0.15, "or else the simulation shows nothing"


def test_a_truly_better_epoch_wins_whatever_its_loss(trained: Trained) -> None:
    for seed in range(30):
        for place in (0, 4, 7):
            skill, losses = [0.7] * 8, [0.5] * 8
            skill[place], losses[place] = 0.85, 0.9
            assert chosen(trained(skill, losses, seed=seed))[0]["epoch"] == place + 1, (seed, place)


def test_a_worse_epoch_is_seldom_taken_for_as_good(trained: Trained) -> None:
    """A difference of three standard errors: at a level of 0.05 it is missed less than once in five."""
    assert LEVEL == 0.05
    missed = sum(chosen(trained([0.85, 0.77], [0.5, 0.4], seed=seed, same=0.8))[0]["epoch"] == 2 for seed in range(60))
    assert missed <= 24, "once in five, and what luck adds to that in sixty"


def test_what_an_earlier_version_began_goes_on_by_the_figure(trained: Trained) -> None:
    """Its checkpoint does not have what the best epoch answered."""
    at = trained([0.8, 0.8], [0.5, 0.4])
    at.said.clear()
    progress, left = at.progress, iter([0.9, 0.1])
    noise: Any = SimpleNamespace(said=at.noise.said, calibrated_loss=lambda _: next(left))
    settings = load_settings(["train.monitor=accuracy"])
    job: Any = SimpleNamespace(settings=settings, stages=[Stage(name="all", epochs=4)], noise=noise)
    for value, best in [(1.0, True), (0.9, False)]:
        at.said = {} if best else {"best": at.answers[0]}
        row = {"val_accuracy": value, "val_loss": 1.0, "train_loss": 1.0}
        remember(job, at, row, np.eye(2, dtype=np.float32)[np.zeros(N, np.int64)])
        assert row["best"] == best
    assert (progress.leader, progress.best_epoch) == (3, 3)
