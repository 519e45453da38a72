"""The intervals of each class: against formulas of others, and whether they hold what they promise, by simulation."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from bunryu.evaluate.class_intervals import of_counts, wilson, wilson_of_groups
from bunryu.evaluate.metrics import measure
from bunryu.evaluate.ranks import auc_intervals, class_aucs

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
    assert set(of_counts(np.array([0.0]), np.array([4.0]), np.array([0.0]))[0]) == {"recall_ci", "f1_ci"}


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


def drawn_groups(rng: np.random.Generator, groups: int, *, apart: bool) -> tuple[Any, Any, Any]:
    """Answers to ten pictures of each group, of three classes; groups are answered 70 % right, more or less each.

    Args:
        rng: draws them.
        groups: how many.
        apart: all pictures of a group are of one class, so that few groups have the rare one.
    """
    group_N = np.repeat(np.arange(groups), 10)
    share = [0.5, 0.3, 0.2]
    true_N = rng.choice(3, groups, p=share)[group_N] if apart else rng.choice(3, len(group_N), p=share)
    right_N = rng.random(len(group_N)) < rng.beta(1.6, 0.7, groups)[group_N]
    return group_N, true_N, np.where(right_N, true_N, (true_N + rng.integers(1, 3, len(true_N))) % 3)


KNOWN = 1.6 / 2.3
OF_EACH = (KNOWN * np.eye(3) + (1 - KNOWN) / 2 * (1 - np.eye(3))) * np.array([[0.5], [0.3], [0.2]])
TRUTH = {
    "recall": KNOWN,
    "precision": OF_EACH[2, 2] / OF_EACH[:, 2].sum(),
    "f1": 2 * OF_EACH[2, 2] / (OF_EACH[2].sum() + OF_EACH[:, 2].sum()),
}


@pytest.mark.parametrize("apart", [False, True], ids=["mixed", "apart"])
@pytest.mark.parametrize(("groups", "least"), [(5, 0.9), (10, 0.85), (30, 0.92)])
def test_intervals_of_few_groups_cover_the_truth(groups: int, apart: bool, least: float) -> None:
    """Of the rarest class. Of ten groups of which two have it the interval of its precision falls to 0.87."""
    rng, covered, made = np.random.default_rng(groups), dict.fromkeys(TRUTH, 0), dict.fromkeys(TRUTH, 0)
    for _ in range(TIMES):
        group_N, true_N, pred_N = drawn_groups(rng, groups, apart=apart)
        kinds = (true_N == 2) & (pred_N == 2), true_N == 2, pred_N == 2
        found = of_counts(*(np.bincount(group_N[rows], minlength=groups)[:, None].astype(float) for rows in kinds))[0]
        for name, value in TRUTH.items():
            if f"{name}_ci" in found:
                made[name] += 1
                covered[name] += found[f"{name}_ci"].low <= value <= found[f"{name}_ci"].high
    assert {name: covered[name] / made[name] for name in TRUTH if covered[name] < least * made[name]} == {}


@pytest.mark.parametrize(("groups", "least"), [(5, 0.87), (10, 0.88), (30, 0.92)])
def test_averages_of_few_groups_cover_the_truth(groups: int, least: float) -> None:
    """By resampled groups: 0.91 of five, where the plain percentiles had 0.83."""
    rng, covered, times = np.random.default_rng(groups), {"accuracy": 0, "macro_f1": 0}, 150
    truth = {"accuracy": KNOWN, "macro_f1": float(np.mean(2 * np.diag(OF_EACH) / (OF_EACH.sum(0) + OF_EACH.sum(1))))}
    for _ in range(times):
        group_N, true_N, pred_N = drawn_groups(rng, groups, apart=False)
        names = list(map(str, group_N))
        found = measure(
            np.eye(3, dtype=np.float32)[pred_N], true_N, ["a", "b", "c"], groups=names, bootstrap=300, ranked=False
        )
        for name, value in truth.items():
            ends = getattr(found, f"{name}_ci")
            covered[name] += ends.low <= value <= ends.high
    assert min(covered.values()) / times > least - 0.02


def test_rows_of_a_group_that_answer_as_one_count_as_one() -> None:
    """Ten rows of each group are all found or all missed: the interval is not that of ten times as many rows."""
    found_G1 = np.array([[10.0], [10.0], [0.0], [10.0], [0.0], [10.0], [10.0], [10.0]])
    of_groups, of_rows = (
        wilson_of_groups(found_G1, np.full((8, 1), 10.0))[0],
        wilson(found_G1[:, 0] * 0 + 60, found_G1[:, 0] * 0 + 80)[0],
    )
    assert of_groups is not None
    assert of_rows is not None
    assert of_groups.high - of_groups.low > 2.5 * (of_rows.high - of_rows.low)


def test_a_class_without_a_mistake_has_the_interval_of_its_groups() -> None:
    true_N = np.repeat(np.arange(8) % 2, 5)
    pred_N = true_N.copy()
    pred_N[:3] = 1  # of the first group, which is of class a
    groups = [str(group) for group in np.repeat(np.arange(8), 5)]
    row = measure(np.eye(2, dtype=np.float32)[pred_N], true_N, ["a", "b"], groups=groups, bootstrap=200).per_class["b"]
    assert row.recall_ci == pytest.approx((0.025 ** (1 / 4), 1.0))
    assert row.precision_ci is not None
    assert row.precision_ci.low < row.precision < row.precision_ci.high


@pytest.mark.parametrize("apart", [False, True], ids=["mixed", "apart"])
@pytest.mark.parametrize("groups", [5, 10, 30])
def test_aucs_of_few_groups_cover_the_truth(groups: int, apart: bool) -> None:
    """Scores of a group lie high or low together; its rows are of one class where they are apart."""
    from scipy.stats import norm

    rng, covered, made, truth = np.random.default_rng(groups), 0, 0, norm.cdf(1.5 / (2 * 1.5) ** 0.5)
    for _ in range(TIMES // 2):
        unit_N = np.repeat(np.arange(groups), 10)
        held_N = (rng.random(groups) < 0.4)[unit_N] if apart else rng.random(len(unit_N)) < 0.4
        score_N = rng.normal(size=len(unit_N)) + 1.5 * held_N + rng.normal(size=groups)[unit_N] * 0.5**0.5
        if not 0 < held_N.sum() < len(held_N):
            continue
        found = class_aucs(score_N[:, None], held_N[:, None], list(map(str, unit_N)), intervals=True)[0]
        if "roc_auc_ci" in found:
            made, covered = made + 1, covered + (found["roc_auc_ci"].low <= truth <= found["roc_auc_ci"].high)
    assert covered / made > 0.92


def test_the_variance_of_an_auc_of_groups_of_one_is_nearly_that_of_rows() -> None:
    rng = np.random.default_rng(0)
    held_N = np.arange(300) < 120
    score_N = rng.normal(size=300) + held_N
    pairs = [str(i // 2) for i in range(300)]
    rows, groups = (
        class_aucs(score_N[:, None], held_N[:, None], names, intervals=True)[0]["roc_auc_ci"] for names in (None, pairs)
    )
    assert groups == pytest.approx(rows, abs=0.015)


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
