"""The figures of labels that can hold together, beside scikit-learn's; their intervals and thresholds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from bunryu.core.errors import DataError
from bunryu.evaluate.decision.thresholds import best_thresholds
from bunryu.evaluate.figures import Bootstrap
from bunryu.evaluate.multilabel_metrics import average_precision, label_counts, measure_labels
from bunryu.evaluate.report import multilabel_plots
from bunryu.evaluate.report.text import headline, text_report
from bunryu.evaluate.report.warnings import warnings_of
from bunryu.inference.multilabel_predictions import LabelPredictions

NAMES = ["웃음", "glasses", "hat", "rare"]


def drawn(n: int = 400, seed: int = 0, digits: int = 2, groups: int = 0) -> LabelPredictions:
    """Return answers that are better than chance but for the third label; scores are rounded, so that some tie."""
    rng = np.random.default_rng(seed)
    held_NL = rng.random((n, 4)) < [0.6, 0.3, 0.4, 0.03]
    held_NL[0, 3] = True
    noise_NL = rng.random((n, 4))
    probs_NL = np.clip(np.round(0.5 * noise_NL + [0.4, 0.3, 0.0, 0.3] * held_NL, digits), 0.001, 0.999)
    paths, of = [f"{i}.png" for i in range(n)], [str(i % groups) for i in range(n)] if groups else None
    thresholds = [0.5, 0.4, 0.25, 0.5]
    return LabelPredictions(
        paths, NAMES, probs_NL.astype(np.float32), groups=of, thresholds=thresholds, held_NL=held_NL
    )


def test_every_figure_is_scikit_learns() -> None:
    found = drawn()
    metrics = measure_labels(found, bootstrap=0)
    held_NL, said_NL, probs_NL = found.held_NL, found.said_NL, found.probs_NK
    assert metrics.accuracy == pytest.approx(sk.accuracy_score(held_NL, said_NL))
    for average in ("macro", "micro", "weighted"):
        assert getattr(metrics, f"{average}_f1") == pytest.approx(sk.f1_score(held_NL, said_NL, average=average))
    assert metrics.macro_precision == pytest.approx(sk.precision_score(held_NL, said_NL, average="macro"))
    assert metrics.macro_recall == pytest.approx(sk.recall_score(held_NL, said_NL, average="macro"))
    assert metrics.mean_average_precision == pytest.approx(sk.average_precision_score(held_NL, probs_NL))
    losses = [sk.log_loss(held_NL[:, k], probs_NL[:, k].astype(np.float64)) for k in range(4)]
    assert metrics.loss == pytest.approx(np.mean(losses), rel=1e-6)
    for k, name in enumerate(NAMES):
        row = metrics.per_class[name]
        expected = sk.precision_recall_fscore_support(held_NL[:, k], said_NL[:, k], average="binary", zero_division=0)
        assert [row.precision, row.recall, row.f1] == pytest.approx(expected[:3])
        assert row.average_precision == pytest.approx(sk.average_precision_score(held_NL[:, k], probs_NL[:, k]))
        assert row.roc_auc == pytest.approx(sk.roc_auc_score(held_NL[:, k], probs_NL[:, k]))
        assert (row.support, row.threshold) == (held_NL[:, k].sum(), found.thresholds[k])
    matrices = sk.multilabel_confusion_matrix(held_NL, said_NL)
    assert label_counts(said_NL, held_NL)[:, [3, 1, 2, 0]].tolist() == matrices.reshape(4, 4).tolist()


@given(
    st.lists(st.tuples(st.booleans(), st.integers(0, 6)), min_size=1, max_size=40).filter(
        lambda r: any(h for h, _ in r)
    )
)
@settings(max_examples=200, deadline=None)
def test_average_precision_with_any_ties(rows: list[tuple[bool, int]]) -> None:
    held_N, score_N = np.array([h for h, _ in rows]), np.array([s / 7 for _, s in rows], np.float32)
    assert average_precision(held_N, score_N) == pytest.approx(sk.average_precision_score(held_N, score_N))


@given(st.lists(st.tuples(st.booleans(), st.integers(1, 9)), min_size=1, max_size=30))
@settings(max_examples=200, deadline=None)
def test_no_threshold_has_a_better_f1(rows: list[tuple[bool, int]]) -> None:
    held_NL = np.array([[h] for h, _ in rows])
    probs_NL = np.array([[s / 10] for _, s in rows], np.float32)
    (found,) = best_thresholds(probs_NL, held_NL)
    if not held_NL.any():
        assert found == 0.5
        return

    def f1(threshold: float) -> float:
        said_N = probs_NL[:, 0].astype(np.float64) >= threshold
        return float(2 * (said_N & held_NL[:, 0]).sum() / (said_N.sum() + held_NL.sum()))

    tries = [0.0, 0.5, *(s / 20 for s in range(1, 21))]
    assert f1(found) == pytest.approx(max(map(f1, tries)))
    if f1(0.5) == f1(found):
        assert found == 0.5


def test_a_label_that_holds_nowhere_is_named_and_counts_in_no_average() -> None:
    found = drawn()
    found.held_NL[:, 3] = False
    metrics = measure_labels(found, bootstrap=50)
    assert metrics.absent == ("rare",)
    assert metrics.per_class["rare"].average_precision is None
    assert "better_than_chance" not in metrics.per_class["rare"].as_json()
    rest = [metrics.per_class[name] for name in NAMES[:3]]
    assert metrics.macro_f1 == pytest.approx(np.mean([row.f1 for row in rest]))
    assert metrics.mean_average_precision == pytest.approx(np.mean([row.average_precision for row in rest]))
    assert any("1 label has no image in the truth" in told for told in warnings_of(metrics))
    found.held_NL[:] = False
    with pytest.raises(DataError, match="none of the labels holds for any of 400 images"):
        measure_labels(found)


@pytest.mark.parametrize("groups", [0, 40])
def test_intervals_are_those_of_drawing_rows_or_groups_anew(groups: int) -> None:
    found = drawn(200, groups=groups)
    metrics = measure_labels(found, bootstrap=4000)
    rng, held_NL, said_NL = np.random.default_rng(1), found.held_NL, found.said_NL
    of_N = np.arange(200) if not groups else np.array(list(map(int, found.groups)))
    members = [np.flatnonzero(of_N == unit) for unit in range(of_N.max() + 1)]
    figures = []
    for _ in range(400):
        rows = np.concatenate([members[unit] for unit in rng.integers(0, len(members), len(members))])
        t, p = held_NL[rows], said_NL[rows]
        present = t.any(axis=0)
        tp, both = (t & p).sum(axis=0), t.sum(axis=0) + p.sum(axis=0)
        macro = (2 * tp / np.maximum(both, 1))[present].mean()
        scores = found.probs_NK[rows]
        ap = np.mean([sk.average_precision_score(t[:, k], scores[:, k]) for k in np.flatnonzero(present)])
        figures.append([macro, (t == p).all(axis=1).mean(), 2 * tp.sum() / both.sum(), ap])
    for place, name in enumerate(("macro_f1", "accuracy", "micro_f1", "mean_average_precision")):
        expected = np.quantile([row[place] for row in figures], [0.025, 0.975])
        assert getattr(metrics, f"{name}_ci") == pytest.approx(expected, abs=0.025)
    assert metrics.bootstrap == Bootstrap(resamples=4000, of="groups" if groups else "rows", units=groups or 200)


def test_a_label_of_few_images_has_the_interval_of_so_few() -> None:
    held_NL = np.zeros((40, 2), bool)
    held_NL[:2, 0], held_NL[::2, 1] = True, True
    probs_NL = np.where(held_NL, 0.9, 0.1).astype(np.float32)
    probs_NL[39, 1] = 0.9  # one mistake, so that something is resampled
    metrics = measure_labels(
        LabelPredictions(["p"] * 40, ["few", "half"], probs_NL, thresholds=[0.5] * 2, held_NL=held_NL)
    )
    low, high = metrics.per_class["few"].roc_auc_ci
    assert low < 0.7
    assert high == 1
    assert metrics.per_class["few"].better_than_chance is True


def test_a_label_at_chance_is_told() -> None:
    metrics = measure_labels(drawn(), bootstrap=300)
    assert [metrics.per_class[name].better_than_chance for name in NAMES[:3]] == [True, True, False]
    assert any(
        told.startswith("label 'hat': not seen to be better than chance (ROC AUC") for told in warnings_of(metrics)
    )
    assert ", mAP 0." in headline(metrics)
    report = text_report("t", {}, {"val": metrics}, next_steps=[])
    assert "AP  threshold" in report
    assert "all labels right" in report


def test_all_right_has_the_exact_interval() -> None:
    held_NL = np.array([[True, False], [False, True], [False, False]] * 20)
    probs_NL = np.where(held_NL, 0.9, 0.1).astype(np.float32)
    found = LabelPredictions(["p"] * 60, ["a", "b"], probs_NL, thresholds=[0.5, 0.5], held_NL=held_NL)
    metrics = measure_labels(found)
    assert metrics.macro_f1 == metrics.accuracy == metrics.mean_average_precision == 1
    assert metrics.accuracy_ci == (pytest.approx(0.025 ** (1 / 60)), 1.0)
    assert metrics.per_class["a"].better_than_chance is True


def test_the_order_of_rows_changes_nothing() -> None:
    found = drawn(100, groups=20)
    order = np.random.default_rng(0).permutation(100)
    other = LabelPredictions(
        [found.paths[i] for i in order], NAMES, found.probs_NK[order], groups=[found.groups[i] for i in order],
        thresholds=found.thresholds, held_NL=found.held_NL[order],
    )  # fmt: skip
    one, another = measure_labels(found, bootstrap=100), measure_labels(other, bootstrap=100)
    assert one.loss == pytest.approx(another.loss)
    assert one == another.plus(loss=one.loss)


def test_the_pictures(tmp_path: Path) -> None:
    found = drawn(60)
    found.held_NL[:, 3] = False
    multilabel_plots.plot_labels(measure_labels(found, bootstrap=0).per_class, tmp_path / "a.png", of="run · val")
    multilabel_plots.plot_precision_recall(found, tmp_path / "b.png", of="run · val")
    assert min((tmp_path / name).stat().st_size for name in ("a.png", "b.png")) > 5000
