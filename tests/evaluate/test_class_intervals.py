"""The intervals of each class: against formulas of others, and whether they hold what they promise, by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from bunryu.evaluate.class_intervals import of_rows, wilson
from bunryu.evaluate.metrics import measure
from bunryu.evaluate.ranks import auc_intervals

TIMES = 400
LEAST = 0.95 - 3 * (0.95 * 0.05 / TIMES) ** 0.5
"""What a 95 % interval covers at least in so many simulations, three standard errors below."""


@pytest.mark.parametrize(("successes", "trials"), [(0, 7), (7, 7), (1, 1), (3, 10), (99, 100), (500, 1000)])
def test_shares_get_wilsons_interval(successes: int, trials: int) -> None:
    expected = binomtest(successes, trials).proportion_ci(method="wilson")
    found = wilson(np.array([float(successes)]), np.array([float(trials)]))[0]
    assert found == pytest.approx((expected.low, expected.high))


def test_what_has_no_rows_has_no_interval() -> None:
    assert wilson(np.array([0.0]), np.array([0.0])) == [None]
    assert set(of_rows(np.array([0.0]), np.array([4.0]), np.array([0.0]))[0]) == {"recall_ci", "f1_ci"}


def answers(rng: np.random.Generator, n: int, rare: float, right: float) -> tuple[Any, Any, Any]:
    """Answers to two classes, of which the second has a share of `rare`; scores are normal, the truth is kept."""
    true_N = (rng.random(n) < rare).astype(np.int64)
    true_N[:2] = (0, 1)
    score_N = rng.normal(size=n) + right * (2 * true_N - 1)
    p_N = 1 / (1 + np.exp(-score_N))
    return np.stack([1 - p_N, p_N], axis=1).astype(np.float32), true_N, score_N


@pytest.mark.parametrize(("n", "rare", "right"), [(40, 0.5, 1.0), (60, 0.2, 0.7), (200, 0.1, 1.5), (30, 0.5, 2.0)])
def test_intervals_of_independent_rows_cover_the_truth(n: int, rare: float, right: float) -> None:
    """But for shares nearer to 1 than a tenth of a row: there Wilson's falls to 0.9 (Brown, Cai & DasGupta 2001)."""
    from scipy.stats import norm

    known = norm.cdf(right)  # of either class so many are answered right: the scores are symmetric about 0
    tp, fp = rare * known, (1 - rare) * (1 - known)
    truth = {"recall": known, "precision": tp / (tp + fp), "f1": 2 * tp / (rare + tp + fp)}
    truth["roc_auc"] = norm.cdf(2 * right / 2**0.5)
    covered = dict.fromkeys(truth, 0)
    rng = np.random.default_rng(0)
    for _ in range(TIMES):
        probs_NK, true_N, _score = answers(rng, n, rare, right)
        row = measure(probs_NK, true_N, ["a", "b"], bootstrap=1).per_class["b"]
        for name, value in truth.items():
            ends = getattr(row, f"{name}_ci")
            covered[name] += ends is None or ends.low <= value <= ends.high
    assert {name: times / TIMES for name, times in covered.items() if times / TIMES < LEAST} == {}


def test_intervals_of_groups_cover_what_those_of_rows_do_not() -> None:
    """Rows of one group are all found or all missed: as if there were a tenth of them."""
    rng, hits, naive = np.random.default_rng(1), {"recall": 0, "f1": 0}, 0
    times, groups, each, known = 120, 40, 10, 0.7
    f1 = 2 * known / (1 + known + (1 - known))
    for _ in range(times):
        true_N = np.repeat(np.arange(groups) % 2, each)
        found_N = np.repeat(rng.random(groups) < known, each)
        pred_N = np.where(found_N, true_N, 1 - true_N)
        names = [str(group) for group in np.repeat(np.arange(groups), each)]
        probs_NK = np.eye(2, dtype=np.float32)[pred_N]
        of_groups = measure(probs_NK, true_N, ["a", "b"], groups=names, bootstrap=300, ranked=False).per_class["b"]
        of_rows_ = measure(probs_NK, true_N, ["a", "b"], bootstrap=1, ranked=False).per_class["b"]
        for name, value in (("recall", known), ("f1", f1)):
            ends = getattr(of_groups, f"{name}_ci")
            hits[name] += ends.low <= value <= ends.high
        assert of_rows_.recall_ci is not None
        naive += of_rows_.recall_ci.low <= known <= of_rows_.recall_ci.high
    assert min(hits.values()) / times > 0.85  # the percentile interval of twenty groups is a little narrow
    assert naive / times < 0.6


def test_a_class_without_a_mistake_has_the_interval_of_its_groups() -> None:
    true_N = np.repeat(np.arange(8) % 2, 5)
    pred_N = true_N.copy()
    pred_N[:3] = 1  # of the first group, which is of class a
    groups = [str(group) for group in np.repeat(np.arange(8), 5)]
    row = measure(np.eye(2, dtype=np.float32)[pred_N], true_N, ["a", "b"], groups=groups, bootstrap=200).per_class["b"]
    assert row.recall_ci == pytest.approx((0.025 ** (1 / 4), 1.0))
    assert row.precision_ci is not None
    assert row.precision_ci.low < row.precision < row.precision_ci.high


def test_an_auc_of_one_has_a_width_and_more_rows_narrow_it() -> None:
    few, many = auc_intervals(np.array([1.0, 1.0]), np.array([3.0, 300.0]), np.array([5.0, 500.0]))
    assert few.high == many.high == 1.0
    assert few.low < 0.8 < many.low < 1


@pytest.mark.parametrize(("auc", "m", "n"), [(0.8, 20, 30), (0.5, 5, 100), (0.97, 1, 149), (0.0, 4, 4)])
def test_the_ends_solve_newcombes_equation(auc: float, m: float, n: float) -> None:
    (low, high) = auc_intervals(np.array([auc]), np.array([float(m)]), np.array([float(n)]))[0]
    rows = (m + n) / 2 - 1
    for end in (end for end in (low, high) if 0 < end < 1):
        factor = 1 + rows * (1 - end) / (2 - end) + rows * end / (1 + end)
        assert abs(end - auc) == pytest.approx(1.959964 * (end * (1 - end) * factor / (m * n)) ** 0.5, abs=1e-6)
    assert 0 <= low <= auc <= high <= 1
