"""Two epochs compared while training: the figure is the one that is monitored, the verdict that of the full test."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from test_significance import held_to

from bunryu.evaluate.compare import macro_f1_difference
from bunryu.evaluate.difference import LEVEL
from bunryu.evaluate.epoch_noise import OF_ALL_ANSWERS, EpochNoise
from bunryu.evaluate.measure import scorer
from bunryu.evaluate.significance import is_seldom, share_reaching, swaps
from bunryu.models.record import Attribute
from bunryu.train.targets import Targets

COLUMNS = [
    Attribute(column="colour", classes=["r", "g"], of=[0, 0, 0, 1, 1, 1]),
    Attribute(column="size", classes=["s", "m", "l"], of=[0, 1, 2, 0, 1, 2]),
]
K, N = 6, 300
HELD = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 1], [0, 1, 1], [0, 0, 0], [1, 1, 1]], bool)


def noise_of(monitor: str, true_N: Any, labels: bool, groups: list[str] | None = None) -> EpochNoise:
    columns = COLUMNS if monitor == "mean_macro_f1" else []
    held, classes = (HELD, 3) if labels else (None, K)
    return EpochNoise(monitor, true_N, held, columns, classes, groups)


def probabilities(rng: np.random.Generator, true_N: Any, labels: bool, right: float) -> Any:
    """Return probabilities whose answer is right for about a share of the rows."""
    index_N = np.where(rng.random(len(true_N)) < right, true_N, rng.integers(0, K, len(true_N)))
    if labels:
        return np.where(HELD[index_N], 0.9, 0.2).astype(np.float32)
    return np.eye(K, dtype=np.float32)[index_N] * 0.5 + np.float32(0.5 / K)


@pytest.mark.parametrize(
    ("monitor", "labels"),
    [(name, labels) for name in OF_ALL_ANSWERS for labels in (False, True)
     if name != ("mean_macro_f1" if labels else "micro_f1")],
)  # fmt: skip
def test_the_figure_is_the_monitored_one(monitor: str, labels: bool) -> None:
    rng = np.random.default_rng(3)
    true_N = rng.integers(0, K - 1, N)  # one class is absent
    probs = probabilities(rng, true_N, labels, 0.7)
    held, classes = (HELD, ["a", "b", "c"]) if labels else (None, list("abcdef"))
    score = scorer(Targets(true_N, list("abcdef"), held), classes, None, None, () if labels else COLUMNS)
    expected = score(np.arange(N), probs)[monitor]
    noise = noise_of(monitor, true_N, labels)
    counted = noise._counted(noise.said(probs), np.arange(0))
    assert noise._figure(counted.total_F[:, None]) == pytest.approx([expected])


@pytest.mark.parametrize("grouped", [False, True])
def test_the_verdict_is_that_of_the_full_test(grouped: bool) -> None:
    """Where p is not near the level, which fewer swaps find a little otherwise."""
    verdicts = set()
    for seed in range(60):
        rng = np.random.default_rng(seed)
        true_N = rng.integers(0, K, N)
        own = np.where(rng.random(N) < 0.8, true_N, rng.integers(0, K, N))
        worse = np.where(rng.random(N) < seed / 60, true_N, rng.integers(0, K, N))
        other = np.where(rng.random(N) < 0.3, worse, own)
        groups = [str(i) for i in rng.integers(0, 80, N)] if grouped else None
        p = macro_f1_difference(own, other, true_N, K, groups=groups, resamples=0).p
        assert p is not None
        if not 0.02 < p < 0.1:
            noise = noise_of("macro_f1", true_N, False, groups)
            within = noise.within(own[:, None].astype(np.int32), other[:, None].astype(np.int32))
            assert within == (p >= LEVEL), (seed, p)
            verdicts.add(within)
    assert verdicts == {True, False}


@pytest.mark.parametrize(("monitor", "labels"), [("mean_macro_f1", False), ("macro_f1", True), ("accuracy", True)])
def test_columns_and_labels(monitor: str, labels: bool) -> None:
    """Epochs that are equally good are seldom told apart; a much worse one is."""
    alarms = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        true_N = rng.integers(0, K, N)
        noise = noise_of(monitor, true_N, labels)
        one, two, bad = (noise.said(probabilities(rng, true_N, labels, right)) for right in (0.7, 0.7, 0.45))
        alarms += not noise.within(one, two)
        assert not noise.within(one, bad)
        assert noise.within(one, one)
    held_to(alarms, 100, LEVEL)


@pytest.mark.parametrize(("monitor", "labels"), [("mean_macro_f1", False), ("macro_f1", False), ("accuracy", True)])
def test_answers_that_were_read_are_looked_at(monitor: str, labels: bool) -> None:
    rng = np.random.default_rng(0)
    true_N = rng.integers(0, K, N)
    noise = noise_of(monitor, true_N, labels)
    said = noise.said(probabilities(rng, true_N, labels, 0.7))
    assert noise.fits(said)
    wrong = [said[1:], said[:, 0], np.hstack([said, said]), said.astype(np.int64)]
    wrong += [] if labels else [said + K, said - K]
    assert not any(noise.fits(one) for one in wrong)


def test_rows_of_a_group_are_one() -> None:
    """Eight of forty rows get worse: noise where they are one group, and not where each is by itself."""
    true_N = np.zeros(40, np.int64)
    own = np.zeros((40, 1), np.int32)
    other = own.copy()
    other[:8] = 1
    assert not noise_of("accuracy", true_N, False).within(own, other)
    noise = noise_of("accuracy", true_N, False, [str(i // 8) for i in range(40)])
    assert noise.within(own, other)
    assert noise.told == "5 groups of validation rows"


def test_to_stop_drawing_early_changes_nothing() -> None:
    rng = np.random.default_rng(0)
    for draws, n in [(199, 30), (199, 8), (40, 13)]:
        for found in np.linspace(0, 14, 15):
            gains = rng.normal(1, 2, n)

            def drawn(gains: Any = gains, draws: int = draws) -> Any:
                once, same = np.ones(len(gains), np.int64), np.random.default_rng(1)
                return (np.abs(gains.sum() - 2 * s @ gains) for s in swaps(once, draws, same, len(gains), 25))

            whole = float(share_reaching(found, drawn()))
            assert is_seldom(found, drawn(), draws, LEVEL) == (whole < LEVEL)
