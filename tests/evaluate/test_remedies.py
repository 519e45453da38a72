"""What a warning of a weak class advises: settings that are not set, that go with the others, and that train."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bunryu
from bunryu.evaluate.difference import BETTER
from bunryu.evaluate.figures import AttributeMetrics, Metrics
from bunryu.evaluate.metrics import measure
from bunryu.evaluate.multilabel_metrics import measure_labels
from bunryu.evaluate.remedies import remedy
from bunryu.evaluate.report.warnings import warnings_of
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.settings.load import load_settings

MINE = (
    (),
    ("loss.class_weights=balanced",),
    ("loss.class_weights=effective", "loss.name=focal"),
    ("decision.tau=auto",),
    ("decision.tau=1", "train.sampler=class_aware"),
    ("train.sampler=class_aware",),
    ("loss.name=logit_adjusted",),
    ("loss.name=soft_f1", "train.stages=[{name: all}]", "loss.label_smoothing=0"),
    ("data.balance_to=50",),
    ("split.val=0", "train.monitor=train_loss", "data.train=x"),
    ("folds.k=3",),
)


def weak_of(*counts: int) -> Any:
    """Answers of which the last class, of the fewest rows, is mostly missed."""
    true_N = np.repeat(np.arange(len(counts)), counts)
    pred_N = np.where((true_N == len(counts) - 1) & (np.arange(len(true_N)) % 5 > 0), 0, true_N)
    return measure(np.eye(len(counts), dtype=np.float32)[pred_N], true_N, [f"c{i}" for i in range(len(counts))])


def advised(told: str) -> list[list[str]]:
    """Return the settings of each way that a sentence names."""
    return [re.findall(r"[a-z]+\.[a-z_]+=[\w.]+", part) for part in told.split("|") if "=" in part]


@pytest.mark.parametrize("mine", MINE, ids=lambda mine: " ".join(mine) or "default")
@pytest.mark.parametrize("model", ["model.name=scratch_cnn", "model.weights=imagenet"])
def test_what_is_advised_is_not_set_and_goes_with_the_rest(mine: tuple[str, ...], model: str) -> None:
    base = ["model.name=scratch_cnn"] if model.startswith("model.name") else []
    settings = load_settings([*base, *mine])
    told = remedy(["c1"], weak_of(80, 15), settings, "mistakes_val.csv")
    ways = advised(told)
    assert "more pictures of it" in told
    assert "mistakes_val.csv" in told
    for way in ways:
        load_settings([*base, *mine, *way])  # refused where they do not go together
        assert not set(way) & set(mine)
        assert len(set(way) & {"loss.class_weights=balanced", "decision.tau=auto", "train.sampler=class_aware"}) == 1
    if not mine:
        assert len(ways) == 3


def test_a_class_that_is_common_where_it_is_measured_may_be_rare_where_it_is_learned() -> None:
    base = ["model.name=scratch_cnn"]
    told = remedy(["c1"], weak_of(40, 40), load_settings(base), "")
    assert "only if it is rare among the training rows: loss.class_weights=balanced" in told
    assert "not rare" not in told
    for way in advised(told):
        load_settings([*base, *way])


def test_where_all_fare_badly_it_is_the_model() -> None:
    """Weights of classes or labels mend nothing there."""
    metrics = weak_of(40, 40)
    told = remedy(list(metrics.per_class), metrics, load_settings(["model.name=scratch_cnn"]), "")
    assert told.startswith("All classes fare badly")
    assert "loss.class_weights" not in told
    assert "loss.class_weights" in remedy(["c1"], metrics, load_settings(["model.name=scratch_cnn"]), "")


def test_one_of_two_classes_is_compared_with_the_other() -> None:
    told = warnings_of(weak_of(80, 15))
    assert any("class 'c1' is far below 'c0': F1 0.333 (3 of 15 found) against" in line for line in told)
    assert not any("median" in line or "the others" in line for line in told)
    assert any("median" in line for line in warnings_of(weak_of(40, 40, 15)))


def is_better(found: Metrics) -> bool:
    """Whether answers are not called blind."""
    assert found.shuffled is not None
    told = any("better than chance" in line for line in warnings_of(found))
    assert told == (found.shuffled.p >= BETTER)
    return not told


def test_blind_answers_are_called_so_and_seeing_ones_not() -> None:
    """Of models that know nothing one in forty may pass: of every size, share and eagerness."""
    rng, passed, times = np.random.default_rng(0), 0, 200
    for _ in range(times):
        n, k = int(rng.integers(12, 120)), int(rng.integers(2, 6))
        share_K, said_K = rng.dirichlet(np.ones(k)), rng.dirichlet(np.ones(k))
        true_N, pred_N = rng.choice(k, n, p=share_K), rng.choice(k, n, p=said_K)
        probs_NK = np.eye(k, dtype=np.float32)[pred_N]
        passed += is_better(measure(probs_NK, true_N, [f"c{i}" for i in range(k)], bootstrap=1, ranked=False))
    assert passed <= 15, "binomial(200, 0.025) exceeds 15 about once in ten thousand"
    assert is_better(weak_of(80, 15))


def test_groups_that_agree_are_not_taken_for_many_rows() -> None:
    true_N = np.repeat([0, 1, 0, 1], 20)
    pred_N = np.repeat([0, 1, 1, 1], 20)
    probs_NK, groups = np.eye(2, dtype=np.float32)[pred_N], [str(i // 20) for i in range(80)]
    assert is_better(measure(probs_NK, true_N, ["a", "b"]))
    assert not is_better(measure(probs_NK, true_N, ["a", "b"], groups=groups))


def test_what_is_advised_trains(tmp_path: Path, make_images: Any, tiny_settings: list[str]) -> None:
    make_images(tmp_path / "data", {"many": 20, "few": 8})
    told = remedy(["c1"], weak_of(80, 15), load_settings(tiny_settings), "")
    for number, way in enumerate(advised(told)):
        run = bunryu.train(tmp_path / "data", *tiny_settings, *way, out=tmp_path / f"run-{number}", quiet=True)
        assert run.metrics["val"]["positive"] == "few"


def test_answers_of_whole_groups_that_know_nothing_are_seldom_better_than_chance() -> None:
    """The null of rows in groups: truth and answers go by group, and do not know of each other; at level 0.025."""
    rng, alarms = np.random.default_rng(3), 0
    groups = [f"g{i // 5}" for i in range(120)]
    for _ in range(150):
        true_N, pred_N = (np.repeat(rng.integers(0, 3, 24), 5) for _ in range(2))
        probs_NK = np.eye(3, dtype=np.float32)[pred_N]
        alarms += is_better(measure(probs_NK, true_N, ["a", "b", "c"], groups=groups, bootstrap=1, ranked=False))
    assert alarms <= 12, "binomial(150, 0.025) exceeds 12 about once in ten thousand"


def test_a_weak_class_of_an_attribute_has_its_remedy() -> None:
    """As that of any other class; the settings that count rows of classes go for the columns' own."""
    weak = weak_of(80, 80, 15)
    own = AttributeMetrics(**weak.as_fields(), chance=1 / 3, better_than_chance=True)
    told = warnings_of(
        weak.plus(attributes={"mask": own}), load_settings(["model.name=scratch_cnn"]), "mistakes_val.csv"
    )
    assert any(line.startswith("mask: class 'c2' is far below") for line in told)
    (mend,) = [line for line in told if line.startswith("mask: For 'c2': more pictures of it")]
    assert "loss.class_weights=balanced" in mend


def test_a_label_not_seen_to_be_better_than_chance_has_its_remedy() -> None:
    rng = np.random.default_rng(0)
    held_NL = rng.random((200, 2)) < 0.3
    probs_NL = np.stack([np.where(held_NL[:, 0], 0.9, 0.1), rng.random(200)], axis=1).astype(np.float32)
    given = LabelPredictions(
        [""] * 200, ["hat", "noise"], probs_NL, thresholds=[0.5, 0.5], held_NL=held_NL, groups=None
    )
    settings = load_settings(["data.multi_label=labels", "model.name=scratch_cnn"])
    told = warnings_of(measure_labels(given), settings)
    assert any(line.startswith("label 'noise': not seen to be better than chance (ROC AUC") for line in told)
    (mend,) = [line for line in told if line.startswith("For 'noise': more pictures of it help most")]
    for setting in ("loss.class_weights=balanced", "loss.name=focal", "train.monitor=mean_average_precision"):
        assert setting in mend
        load_settings(["data.multi_label=labels", "model.name=scratch_cnn", setting])


@pytest.mark.parametrize("groups", [None, [f"g{i // 4}" for i in range(80)]], ids=["rows", "groups"])
def test_classes_alike_are_seldom_far_below_the_others(groups: list[str] | None) -> None:
    """The null: eight classes of ten pictures, every one answered as well; at level 0.025 over all of them."""
    rng, alarms, facts = np.random.default_rng(5), 0, 0
    for _ in range(100):
        true_N = rng.permutation(np.arange(80) % 8) if groups is None else np.repeat(np.arange(20) % 8, 4)
        right_N = rng.random(80) < 0.6 if groups is None else np.repeat(rng.random(20) < 0.6, 4)
        pred_N = np.where(right_N, true_N, (true_N + rng.integers(1, 8, 80)) % 8)
        found = measure(np.eye(8, dtype=np.float32)[pred_N], true_N, list("abcdefgh"), groups=groups, bootstrap=1)
        told = warnings_of(found)
        alarms += any("far below" in line or line.startswith("For ") for line in told)
        middle = np.median([row.f1 for row in found.per_class.values()])
        facts += any(row.f1 < middle - 0.15 for row in found.per_class.values())
    assert alarms <= 9, "binomial(100, 0.025) exceeds 9 less than once in a thousand"
    assert facts > 30, "without the test most would have been told"


def test_a_dead_class_of_two_pictures_may_be_chance() -> None:
    (told,) = [line for line in warnings_of(weak_of_none(40, 40, 2)) if "never predicted right" in line]
    assert told.endswith("it is the answer for no image. Of so few images that may be chance.")
    assert not any(line.startswith("For ") for line in warnings_of(weak_of_none(40, 40, 2)))
    assert any(line.startswith("For 'c2'") for line in warnings_of(weak_of_none(40, 40, 12)))


def weak_of_none(*counts: int) -> Any:
    """Answers of which the last class is always missed, and a quarter of the others."""
    true_N = np.repeat(np.arange(len(counts)), counts)
    last = len(counts) - 1
    pred_N = np.where((true_N == last) | (np.arange(len(true_N)) % 4 == 0), (true_N + 1) % last, true_N)
    return measure(np.eye(len(counts), dtype=np.float32)[pred_N], true_N, [f"c{i}" for i in range(len(counts))])


def test_a_perfect_score_of_few_pictures_asks_for_more_of_them_alone() -> None:
    """Seven right of seven may be luck, but a better model would not show it."""
    true_N = np.array([0, 0, 0, 0, 1, 1, 1])
    told = " ".join(warnings_of(measure(np.eye(2, dtype=np.float32)[true_N], true_N, ["a", "b"]), None, ""))
    assert "Not seen to be better than chance: accuracy 1.000" in told
    assert "It takes more pictures to measure." in told
    assert "a better model" not in told
