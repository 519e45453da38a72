"""The paired bootstrap, against one that draws rows and groups one by one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from numpy.typing import NDArray
from sklearn.metrics import f1_score

from bunryu.evaluate.attributes import figure_difference
from bunryu.evaluate.bootstrap import percentile_interval
from bunryu.evaluate.compare import macro_f1_difference
from bunryu.evaluate.difference import Difference
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Attribute

Ints = NDArray[np.int64]
RNG = np.random.default_rng(5)
K = 4


def answers(true_N: Ints, right: float, rng: np.random.Generator) -> Ints:
    return np.where(rng.random(len(true_N)) < right, true_N, rng.integers(0, K, len(true_N)))


def made(n: int, seed: int = 0) -> tuple[Ints, Ints, Ints]:
    rng = np.random.default_rng(seed)
    true_N = rng.choice(K, n, p=[0.5, 0.3, 0.15, 0.05])
    return answers(true_N, 0.8, rng), answers(true_N, 0.6, rng), true_N


def macro_f1(pred_N: Ints, true_N: Ints) -> float:
    return float(f1_score(true_N, pred_N, labels=np.unique(true_N), average="macro", zero_division=0))


def brute_force(pred_N: Ints, other_N: Ints, true_N: Ints, units: list[Ints], resamples: int) -> list[float]:
    rng = np.random.default_rng(1)
    found = []
    for _ in range(resamples):
        rows = np.concatenate([units[unit] for unit in rng.integers(0, len(units), len(units))])
        found.append(macro_f1(pred_N[rows], true_N[rows]) - macro_f1(other_N[rows], true_N[rows]))
    return list(percentile_interval(np.array(found), len(units)))


def test_rows_are_resampled_in_pairs() -> None:
    pred_N, other_N, true_N = made(150)
    found = macro_f1_difference(pred_N, other_N, true_N, K, resamples=4000)
    assert found.value == pytest.approx(macro_f1(pred_N, true_N) - macro_f1(other_N, true_N))
    expected = brute_force(pred_N, other_N, true_N, [np.array([i]) for i in range(150)], 600)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.025)


def test_answers_that_agree_nearly_everywhere_are_told_apart() -> None:
    """Ten of a thousand rows differ, all to one side: clear in pairs, far within either's own interval."""
    pred_N, _, true_N = made(1000)
    other_N = pred_N.copy()
    worse = np.flatnonzero(pred_N == true_N)[::70][:10]
    other_N[worse] = (true_N[worse] + 1) % K
    assert macro_f1_difference(pred_N, other_N, true_N, K).clear


def test_groups_are_resampled_whole() -> None:
    patient = np.random.default_rng(2).integers(0, 25, 40)
    true_N = patient % K
    pred_N, other_N = (np.where(patient % m == 0, (true_N + 1) % K, true_N) for m in (7, 3))
    rows = np.repeat(np.arange(40), 6)  # six pictures that are all answered alike
    pred_N, other_N, true_N, patient = pred_N[rows], other_N[rows], true_N[rows], patient[rows]
    names = [f"p{i}" for i in patient]
    found = macro_f1_difference(pred_N, other_N, true_N, K, groups=names, resamples=4000)
    units = [np.flatnonzero(patient == i) for i in np.unique(patient)]
    expected = brute_force(pred_N, other_N, true_N, units, 600)
    assert (found.low, found.high) == pytest.approx(expected, abs=0.03)
    by_row = macro_f1_difference(pred_N, other_N, true_N, K)
    assert by_row.value == found.value
    assert found.high - found.low > 1.5 * (by_row.high - by_row.low)


@pytest.mark.parametrize("grouped", [False, True])
def test_the_same_answers_do_not_differ_at_all(grouped: bool) -> None:
    pred_N, _, true_N = made(80)
    groups = [str(i // 4) for i in range(80)] if grouped else None
    found = macro_f1_difference(pred_N, pred_N.copy(), true_N, K, groups=groups)
    assert found == Difference(0.0, 0.0, 0.0)
    assert not found.clear


def test_turned_round_it_is_minus_the_same() -> None:
    pred_N, other_N, true_N = made(200, seed=3)
    one = macro_f1_difference(pred_N, other_N, true_N, K, resamples=4000)
    two = macro_f1_difference(other_N, pred_N, true_N, K, resamples=4000)
    assert two.value == -one.value
    assert (two.low, two.high) == pytest.approx((-one.high, -one.low), abs=0.02)


def test_the_order_of_rows_does_not_matter_and_the_seed_does() -> None:
    pred_N, other_N, true_N = made(60)
    order = RNG.permutation(60)
    first = macro_f1_difference(pred_N, other_N, true_N, K)
    assert macro_f1_difference(pred_N[order], other_N[order], true_N[order], K) == first
    assert macro_f1_difference(pred_N, other_N, true_N, K, seed=1).low != first.low


def test_more_rows_tell_a_small_difference() -> None:
    for n, clear in ((20, False), (4000, True)):
        true_N = np.arange(n) % K
        pred_N = np.where(np.arange(n) % 10 == 3, (true_N + 1) % K, true_N)
        other_N = np.where(np.arange(n) % 20 == 11, (true_N + 1) % K, pred_N)
        assert macro_f1_difference(pred_N, other_N, true_N, K).clear is clear


@pytest.mark.parametrize(
    ("low", "high", "clear"), [(0.01, 0.2, True), (-0.2, -0.01, True), (-0.1, 0.1, False), (0.0, 0.1, False)]
)
def test_clear_means_that_nought_is_outside(low: float, high: float, clear: bool) -> None:
    assert Difference(0.05, low, high).clear is clear


def test_label_columns_are_compared_by_the_mean_of_their_macro_f1() -> None:
    """The rows of a picture are one unit; the randomisation test is made again here, one picture at a time."""
    attributes = [Attribute(column="a", classes=["x", "y"], of=[0, 0, 1, 1])]
    attributes.append(Attribute(column="b", classes=["p", "q"], of=[0, 1, 0, 1]))
    pred_N, other_N, true_N = made(60, seed=3)

    def table(answers_N: Ints) -> Predictions:
        probs = np.full((len(answers_N), K), 0.1, np.float32)
        probs[np.arange(len(answers_N)), answers_N] = 0.7
        return Predictions([""] * len(answers_N), list("abcd"), probs, true_N, attributes=attributes)

    def mean_f1(answers_N: Ints) -> float:
        return float(np.mean([macro_f1(np.array(one.of)[answers_N], np.array(one.of)[true_N]) for one in attributes]))

    found = figure_difference(table(pred_N), table(other_N), resamples=2000, of=1)
    assert found.value == pytest.approx(mean_f1(pred_N) - mean_f1(other_N))
    swapped = np.random.default_rng(4).random((500, 60)) < 0.5
    drawn = [mean_f1(np.where(s, other_N, pred_N)) - mean_f1(np.where(s, pred_N, other_N)) for s in swapped]
    assert found.p == pytest.approx(np.mean(np.abs(drawn) >= abs(found.value) - 1e-12), abs=0.08)
    rows = np.random.default_rng(5).integers(0, 60, (400, 60))

    def of_rows(own: Ints, at: Ints) -> float:
        return float(np.mean([macro_f1(np.array(o.of)[own[at]], np.array(o.of)[true_N[at]]) for o in attributes]))

    expected = np.quantile([of_rows(pred_N, at) - of_rows(other_N, at) for at in rows], [0.025, 0.975])
    assert (found.low, found.high) == pytest.approx(expected.tolist(), abs=0.04)
    single = [dataclasses.replace(table(answers_N), attributes=[]) for answers_N in (pred_N, other_N)]
    assert figure_difference(*single, resamples=50, of=1) == macro_f1_difference(
        pred_N, other_N, true_N, K, resamples=50
    )
