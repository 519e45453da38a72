"""What is said of the members of an ensemble: by the paired test, and never what is so already."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from bunryu.evaluate.members import judge
from bunryu.inference.predictions import Predictions

CLASSES = ["a", "b", "c"]
TRUE_N = np.arange(120) % 3


def told(rights: list[float], together: float, without: float = 0.0, groups: list[str] | None = None) -> list[str]:
    """Return the warnings of members that answer these shares of the rows right, and of what all answer."""

    def right(share: float, shift: int = 0) -> np.ndarray:
        wrong = np.roll(np.arange(120) >= round(share * 120), shift)
        return np.where(wrong, (TRUE_N + 1) % 3, TRUE_N)

    def answers(of: list[int]) -> np.ndarray:
        return right(rights[of[0]], 7 * of[0]) if len(of) == 1 else right(without)

    all_NK = np.eye(3, dtype=np.float32)[right(together)]
    rows = Predictions([str(i) for i in range(120)], CLASSES, all_NK, TRUE_N, groups=groups)
    paths = [Path(f"runs/{m}") for m in range(len(rights))]
    return list(judge(paths, answers, rows, resamples=100).warnings)


def test_a_broken_member_is_named_and_what_to_use_instead() -> None:
    (one,) = told([0.82, 0.07], 0.5)
    assert one.startswith("runs/1 is clearly worse than runs/0: macro-F1 0.0")
    assert one.endswith("use runs/0 alone.")


def test_of_several_the_others_are_kept() -> None:
    (one,) = told([0.8, 0.82, 0.05], 0.7, without=0.85)
    assert "Without it macro-F1 is 0.85" in one
    assert one.endswith("leave out runs/2 (bunryu ensemble runs/0 runs/1 --out NEW).")


def test_a_worse_member_that_helps_may_stay() -> None:
    (one,) = told([0.9, 0.6], 0.97)
    assert "It can stay: without it macro-F1 is 0.9" in one


def test_members_alike_that_gain_are_not_warned_of() -> None:
    assert told([0.8, 0.8], 0.9) == []


def test_no_gain_over_the_best_is_told() -> None:
    (one,) = told([0.82, 0.8], 0.8)
    assert one.startswith("All together are not better than runs/0 alone (macro-F1 -0.0")
    assert one.endswith("use runs/0 alone.")


def test_one_group_shows_nothing() -> None:
    """Of rows of one person the two could as well be the other way round."""
    assert not any("clearly worse" in one for one in told([0.82, 0.07], 0.9, groups=["p"] * 120))


@pytest.mark.parametrize("seed", range(3))
def test_equal_members_are_seldom_called_worse(seed: int) -> None:
    """The null: members with the same share of right answers, at random; at level 0.05 over 40 pairs."""
    rng, alarms = np.random.default_rng(seed), 0
    for _ in range(40):
        own = [np.where(rng.random(60) < 0.7, TRUE_N[:60], (TRUE_N[:60] + 1) % 3) for _ in range(2)]
        rows = Predictions(["x"] * 60, CLASSES, np.eye(3, dtype=np.float32)[own[0]], TRUE_N[:60])
        found = judge([Path("a"), Path("b")], lambda of, own=own: own[of[0]], rows, resamples=0)  # type: ignore[misc]
        alarms += any("clearly worse" in one for one in found.warnings)
    assert alarms <= 8, "binomial(40, 0.05) exceeds 8 about once in ten thousand"
