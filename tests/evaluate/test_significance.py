"""How often noise is called something, against what is promised: the null of each claim, simulated."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from bunryu.evaluate.chance import ranks_by_chance, recall_by_chance
from bunryu.evaluate.compare import macro_f1_difference
from bunryu.evaluate.difference import BETTER, LEVEL
from bunryu.evaluate.significance import holm


def held_to(alarms: int, tests: int, level: float) -> None:
    """Fail where a rate of `level` gives so many false alarms less than once in ten thousand."""
    assert alarms <= binom.ppf(0.9999, tests, level), f"{alarms} of {tests} at {level}"


def test_four_against_none_is_noise() -> None:
    true_N = np.arange(40) % 2
    other_N = true_N.copy()
    other_N[:4] ^= 1
    found = macro_f1_difference(true_N, other_N, true_N, 2)
    assert found.p == pytest.approx(0.125)
    assert not found.clear


def test_equal_classifiers_are_seldom_told_apart() -> None:
    alarms = 0
    for seed in range(120):
        rng = np.random.default_rng(seed)
        true_N = rng.choice(3, 60, p=[0.7, 0.2, 0.1])
        base_N = np.where(rng.random(60) < 0.7, true_N, rng.integers(0, 3, 60))
        one_N, two_N = (np.where(rng.random(60) < 0.1, rng.integers(0, 3, 60), base_N) for _ in range(2))
        alarms += macro_f1_difference(one_N, two_N, true_N, 3, resamples=0).clear
    held_to(alarms, 120, LEVEL)


@pytest.mark.parametrize("positives", [1, 2, 5, 40])
def test_random_scores_are_seldom_better_than_chance(positives: int) -> None:
    held_NL = np.zeros((150, 120), bool)
    held_NL[:positives] = True
    probs_NL = np.random.default_rng(positives).random((150, 120))
    found = ranks_by_chance(held_NL, probs_NL, None, seed=0)
    held_to(sum(p < BETTER for p in found), 120, BETTER)


def test_random_scores_of_groups_are_seldom_better_than_chance() -> None:
    rng = np.random.default_rng(0)
    group_N = np.repeat(np.arange(12), 6)
    held_NL = (rng.random((12, 200)) < 0.3)[group_N]
    scores_NL = rng.normal(size=(12, 200))[group_N] + 0.3 * rng.normal(size=(72, 200))
    found = ranks_by_chance(held_NL, scores_NL, list(map(str, group_N)), seed=0)
    held_to(sum(p < BETTER for p in found), sum(not np.isnan(p) for p in found), BETTER)


@pytest.mark.parametrize("grouped", [False, True])
def test_blind_answers_are_seldom_better_than_chance(grouped: bool) -> None:
    alarms = 0
    for seed in range(80):
        rng = np.random.default_rng(seed)
        group_N = np.repeat(np.arange(15), 4) if grouped else np.arange(60)
        true_N, pred_N = (rng.choice(3, 60, p=[0.7, 0.2, 0.1])[group_N] for _ in range(2))
        groups = list(map(str, group_N)) if grouped else None
        alarms += recall_by_chance(pred_N, true_N, groups, tests=1, seed=0) < BETTER
    held_to(alarms, 80, BETTER)


def test_holm() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.01], of=10) == pytest.approx([0.1])
