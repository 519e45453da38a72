"""Every sentence that calls something better, worse or beyond noise, with data of which it is false or true.

`false_alarms.py` counts how often each is said of both; tests/test_claims.py sees that no such sentence lacks here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.evaluate.measured import measure_classes, measured
from bunryu.evaluate.members import judge
from bunryu.evaluate.report.warnings import warnings_of
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Attribute
from bunryu.settings.evaluate import EvaluateSettings
from claims_of_probe import told_apart, wrote_a_loss

Random = np.random.Generator
Ints = NDArray[np.int64]
SETTINGS = EvaluateSettings(bootstrap=1)
"""Tests need no resamples."""
NAMES = "abcdefgh"


@dataclass(frozen=True)
class Claim:
    """A sentence, and how often it may be said where it is false: `level` of the data sets."""

    says: str
    level: float
    false: dict[str, Callable[[Random], bool]]
    """Data sets on which it is false, by what they are: whether it is said of one."""
    true: dict[str, Callable[[Random], bool]]
    words: tuple[str, ...]
    """By which the sentence is found in the source."""


def of_rows(n: int, classes: int, shares: Sequence[float] | None = None) -> Callable[[Random], tuple[Ints, Ints]]:
    """Return what draws the truth of n independent rows, and the unit of each."""
    return lambda rng: (rng.choice(classes, n, p=shares), np.arange(n))


def of_groups(groups: int, each: int, classes: int) -> Callable[[Random], tuple[Ints, Ints]]:
    """Return what draws the truth of groups, each of one class."""

    def draw(rng: Random) -> tuple[Ints, Ints]:
        unit_N = np.repeat(np.arange(groups), each)
        return rng.integers(0, classes, groups)[unit_N], unit_N

    return draw


def answered(rng: Random, true_N: Ints, unit_N: Ints, right_K: Sequence[float]) -> Ints:
    """Return answers that are right with the chance of each class, alike for the rows of a unit."""
    k = len(right_K)
    right_N = rng.random(int(unit_N.max()) + 1)[unit_N] < np.asarray(right_K)[true_N]
    shift_N = rng.integers(1, k, int(unit_N.max()) + 1)[unit_N]
    return np.where(right_N, true_N, (true_N + shift_N) % k)


def predictions(pred_N: Ints, true_N: Ints, unit_N: Ints, k: int, **more: Any) -> Predictions:
    grouped = int(unit_N.max()) + 1 < len(unit_N)
    groups = [f"g{unit}" for unit in unit_N] if grouped else None
    probs_NK = np.eye(k, dtype=np.float32)[pred_N]
    return Predictions(
        [f"{i}.png" for i in range(len(true_N))], list(NAMES[:k]), probs_NK, true_N, groups=groups, **more
    )


def said(words: str, given: Predictions | LabelPredictions) -> bool:
    """Return whether the warnings of a report have the words."""
    metrics = measured("val", given, SETTINGS, lambda _: np.zeros((2, 2, 3), np.uint8), {}).metrics
    return any(words in line for line in warnings_of(metrics))


def seeing(draw: Callable[[Random], tuple[Ints, Ints]], k: int, right: float | None) -> Callable[[Random], bool]:
    """Whether a model is taken to know something; blind where `right` is None."""

    def case(rng: Random) -> bool:
        true_N, unit_N = draw(rng)
        blind_N = draw(rng)[0]
        pred_N = blind_N if right is None else answered(rng, true_N, unit_N, [right] * k)
        return not said("better than chance", predictions(pred_N, true_N, unit_N, k))

    return case


def labels(held: float, knows: float, *, units: int = 0) -> Callable[[Random], bool]:
    """Whether one of ten labels is taken to be told apart, whose scores lie `knows` deviations apart."""

    def case(rng: Random) -> bool:
        n = 150
        unit_N = rng.integers(0, units, n) if units else np.arange(n)
        held_NL = (rng.random((max(units, n), 10)) < held)[unit_N]
        scores_NL = rng.normal(size=(max(units, n), 10))[unit_N] + rng.normal(size=(n, 10)) / 3
        scores_NL[:, 0] += knows * held_NL[:, 0]
        groups = [f"g{unit}" for unit in unit_N] if units else None
        probs_NL = (1 / (1 + np.exp(-scores_NL))).astype(np.float32)
        given = LabelPredictions(
            [""] * n, list("abcdefghij"), probs_NL, groups=groups, thresholds=[0.5] * 10, held_NL=held_NL
        )
        if not held_NL.any():
            return False
        found = measured("val", given, SETTINGS, lambda _: np.zeros((2, 2, 3), np.uint8), {}).metrics
        better = [getattr(row, "better_than_chance", False) for row in found.per_class.values()]
        return bool(better[0] if knows else any(better))

    return case


def attribute(right: float | None) -> Callable[[Random], bool]:
    """Whether one of two columns of labels is taken to be told; neither where `right` is None."""

    def case(rng: Random) -> bool:
        true_N = rng.integers(0, 4, 120)
        first_N = (
            rng.integers(0, 2, 120)
            if right is None
            else np.where(rng.random(120) < right, true_N // 2, 1 - true_N // 2)
        )
        columns = [
            Attribute(column=name, classes=["x", "y"], of=of) for name, of in (("p", [0, 0, 1, 1]), ("q", [0, 1, 0, 1]))
        ]
        given = predictions(2 * first_N + rng.integers(0, 2, 120), true_N, np.arange(120), 4, attributes=columns)
        found = measure_classes(given, SETTINGS).attributes
        return bool(found["p"].better_than_chance or (right is None and found["q"].better_than_chance))

    return case


def weak(draw: Callable[[Random], tuple[Ints, Ints]], right_K: Sequence[float]) -> Callable[[Random], bool]:
    """Whether a class is called far below the others, or something is advised for it."""

    def case(rng: Random) -> bool:
        true_N, unit_N = draw(rng)
        given = predictions(answered(rng, true_N, unit_N, right_K), true_N, unit_N, len(right_K))
        return said("far below", given) or said("For '", given)

    return case


def weak_label(first: float, others: float) -> Callable[[Random], bool]:
    """Whether one of six labels is called far below the others, by the shares of right answers."""

    def case(rng: Random) -> bool:
        held_NL = rng.random((120, 6)) < 0.3
        right_NL = rng.random((120, 6)) < np.array([first, *[others] * 5])
        probs_NL = (np.where(held_NL == right_NL, 0.6, 0.1) + 0.3 * rng.random((120, 6))).astype(np.float32)
        given = LabelPredictions([""] * 120, list("abcdef"), probs_NL, thresholds=[0.5] * 6, held_NL=held_NL)
        return said("far below", given)

    return case


def sliced(night: float, units: int) -> Callable[[Random], bool]:
    """Whether one of four slices is said to fare worse than the others, which are 75 % right."""

    def case(rng: Random) -> bool:
        unit_N = np.repeat(np.arange(units), 160 // units)
        slice_N = rng.integers(0, 4, units)[unit_N]
        right_N = rng.random(units)[unit_N] < np.array([night, 0.75, 0.75, 0.75])[slice_N]
        true_N = rng.integers(0, 2, len(unit_N))
        more = {"dro_group": [f"s{own}" for own in slice_N]}
        return said("fares worse", predictions(np.where(right_N, true_N, 1 - true_N), true_N, unit_N, 2, more=more))

    return case


def compared(change: float, better: float, units: int = 100) -> Callable[[Random], bool]:
    """Whether `evaluate --tta` says beyond noise: it changes some answers, `better` of these to the truth."""

    def case(rng: Random) -> bool:
        unit_N = np.repeat(np.arange(units), 200 // units)
        true_N = rng.choice(3, len(unit_N), p=[0.6, 0.3, 0.1])
        # an answer changes from right to wrong, or the other way round
        changes_N = rng.random(units)[unit_N] < change
        after_N = rng.random(units)[unit_N] < better
        right_N = rng.random(len(unit_N)) < 0.7
        one, two = (
            predictions(np.where(np.where(changes_N, right, right_N), true_N, (true_N + 1) % 3), true_N, unit_N, 3)
            for right in (after_N, ~after_N)
        )
        picture = np.zeros((2, 2, 3), np.uint8)
        new, old = (measured("val", own, SETTINGS, lambda _: picture, {}) for own in (one, two))
        return "beyond noise" in new.changed_by(["hflip"], old, bootstrap=0)[1]

    return case


def united(rights: Sequence[float], words: str) -> Callable[[Random], bool]:
    """Whether an ensemble of members with these shares of right answers is warned of; all answer as the majority."""

    def case(rng: Random) -> bool:
        true_N, unit_N = of_rows(120, 3)(rng)
        own = [answered(rng, true_N, unit_N, [right] * 3) for right in rights]
        votes = {m: np.eye(3)[pred_N] for m, pred_N in enumerate(own)}

        def answers(of: list[int]) -> Ints:
            return np.asarray(sum(votes[m] * (1 + m / 100) for m in of).argmax(axis=1))

        together = predictions(answers(list(votes)), true_N, unit_N, 3)
        paths = [Path(f"runs/{m}") for m in votes]
        return any(words in line for line in judge(paths, answers, together, resamples=0).warnings)

    return case


CLAIMS = [
    Claim(
        "Not seen to be better than chance",
        0.025,
        {
            "not said of blind answers, 60 rows": seeing(of_rows(60, 3, [0.7, 0.2, 0.1]), 3, None),
            "the same, 15 groups of 4": seeing(of_groups(15, 4, 3), 3, None),
            "the same, 6,000 rows": seeing(of_rows(6000, 3), 3, None),
        },
        {"not said of answers half right, 60 rows of 3 classes": seeing(of_rows(60, 3), 3, 0.5)},
        ("Not seen to be better than chance",),
    ),
    Claim(
        "label ...: not seen to be better than chance",
        0.025,
        {
            "not said of one of 10 random labels, each of 2 % of 150 rows": labels(0.02, 0),
            "the same, of 30 %": labels(0.3, 0),
            "the same, in 30 groups": labels(0.3, 0, units=30),
        },
        {"not said of a label of 30 % whose scores are 2 deviations apart": labels(0.3, 2)},
        ("': not seen to be better than chance (", "are not seen to be better than chance"),
    ),
    Claim(
        "mask: not seen to be better than chance (a label column)",
        0.025,
        {"not said of one of 2 columns answered at random, 120 rows": attribute(None)},
        {"not said of a column answered 70 % right": attribute(0.7)},
        (": not seen to be better than chance", ", not seen to be better than chance"),
    ),
    Claim(
        "class ... is far below the others; For ...: what to try",
        0.025,
        {
            "8 classes of about 10 rows, all 60 % right": weak(of_rows(80, 8), [0.6] * 8),
            "2 classes of about 20 rows, 80 % right": weak(of_rows(40, 2), [0.8] * 2),
            "8 classes, 20 groups of 4": weak(of_groups(20, 4, 8), [0.6] * 8),
            "3 classes, 40 groups of 4": weak(of_groups(40, 4, 3), [0.7] * 3),
            "6 labels of 30 % of 120 rows, 80 % right": weak_label(0.8, 0.8),
        },
        {
            "one of 8 classes of about 20 rows 20 % right, the others 80 %": weak(of_rows(160, 8), [0.2, *[0.8] * 7]),
            "one of 3 classes of 40 groups 20 % right, the others 90 %": weak(of_groups(40, 4, 3), [0.2, 0.9, 0.9]),
            "one of 6 labels 70 % right, the others 95 %": weak_label(0.7, 0.95),
        },
        ("is far below", "are far below"),
    ),
    Claim(
        "group ... fares worse",
        0.025,
        {"4 slices of 160 rows, 75 % right": sliced(0.75, 160), "the same, 40 groups of 4": sliced(0.75, 40)},
        {"a slice of 40 rows 40 % right, the others 75 %": sliced(0.4, 160)},
        ("fares worse",),
    ),
    Claim(
        "macro-F1 +0.012 ..., beyond noise (`evaluate --tta`)",
        0.05,
        {
            "5 % of 200 rows change, half of them to the truth": compared(0.05, 0.5, 200),
            "30 % change": compared(0.3, 0.5, 200),
            "the same, 40 groups of 5": compared(0.3, 0.5, 40),
        },
        {"30 % of 200 rows change, 75 % of them to the truth": compared(0.3, 0.75, 200)},
        ("beyond noise", "within noise"),
    ),
    Claim(
        "... is clearly worse than ... (a member of an ensemble)",
        0.05,
        {"2 members, 70 % right": united([0.7] * 2, "clearly worse"), "5 members": united([0.7] * 5, "clearly worse")},
        {"members 82 %, 80 % and 40 % right": united([0.82, 0.8, 0.4], "clearly worse")},
        ("clearly worse",),
    ),
    Claim(
        "the recipe of `bunryu probe` has another loss than the plain one",
        0.05,
        {"features that know nothing, 90 rows, 3 classes of 80, 10 and 10 %": wrote_a_loss(90, 0.0, [0.8, 0.1, 0.1])},
        {"features that tell classes of 86, 7 and 7 %, 400 rows": wrote_a_loss(400, 0.8, [0.86, 0.07, 0.07])},
        (),
    ),
    Claim(
        "worse, or beyond noise, between losses of `bunryu probe`",
        0.05,
        {"features that tell 3 even classes, 90 rows": told_apart(90, 0.8, [1 / 3] * 3)},
        {"features that tell classes of 86, 7 and 7 %, 400 rows": told_apart(400, 0.8, [0.86, 0.07, 0.07])},
        ("is the best, beyond noise", "within noise of the best"),
    ),
]
