from __future__ import annotations

import json
import subprocess
import sys
import time
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn import metrics as sk

from bunryu.core.errors import ConfigError, DataError
from bunryu.evaluate import bootstrap
from bunryu.evaluate.figures import Bootstrap, Metrics
from bunryu.evaluate.metrics import averages, confusion, measure


def one_hot(pred_N, k):
    return np.eye(k, dtype=np.float32)[pred_N]


def names(k):
    return [f"c{i}" for i in range(k)]


@st.composite
def tables(draw):
    k = draw(st.integers(1, 7))
    n = draw(st.integers(1, 40))
    known = draw(st.lists(st.integers(0, k - 1), min_size=1, max_size=k))  # some classes stay absent
    true_N = np.array(draw(st.lists(st.sampled_from(known), min_size=n, max_size=n)))
    # Few levels, so that ties between classes are common.
    levels = draw(st.lists(st.lists(st.integers(0, 3), min_size=k, max_size=k), min_size=n, max_size=n))
    weights_NK = np.array(levels, np.float32) + 1e-3
    return (weights_NK / weights_NK.sum(axis=1, keepdims=True)).astype(np.float32), true_N, names(k)


@given(tables())
@settings(max_examples=120, deadline=None)
def test_every_figure_is_scikit_learns(table):
    probs_NK, true_N, classes = table
    k = len(classes)
    found = measure(probs_NK, true_N, classes, bootstrap=0)
    pred_N = probs_NK.argmax(axis=1)
    present = sorted(set(true_N.tolist()))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # scikit-learn's, about absent classes
        for average in ("macro", "weighted"):
            p, r, f1, _ = sk.precision_recall_fscore_support(
                true_N, pred_N, labels=present, average=average, zero_division=0
            )
            assert getattr(found, f"{average}_f1") == pytest.approx(f1)
            if average == "macro":
                assert (found.macro_precision, found.macro_recall) == pytest.approx((p, r))
        each = sk.precision_recall_fscore_support(true_N, pred_N, labels=range(k), zero_division=0)
        matrix_KK = sk.confusion_matrix(true_N, pred_N, labels=range(k))
        loss = sk.log_loss(true_N, probs_NK.astype(np.float64), labels=range(k)) if k > 1 else 0.0
    assert found.accuracy == pytest.approx(sk.accuracy_score(true_N, pred_N))
    assert found.loss == pytest.approx(loss, abs=1e-5)
    assert found.absent == tuple(name for i, name in enumerate(classes) if i not in present)
    for i, name in enumerate(classes):
        row = found.per_class[name]
        assert [row.precision, row.recall, row.f1, row.support] == pytest.approx([column[i] for column in each])
        assert row.predicted == (pred_N == i).sum()
    assert (confusion(pred_N, true_N, k) == matrix_KK).all()
    if k == 2:
        rarer = "c0" if (true_N == 0).sum() < (true_N == 1).sum() else "c1"
        assert found.positive == rarer
        assert found.positive_recall == found.per_class[rarer].recall
        if len(present) == 2:
            index = classes.index(rarer)
            assert found.roc_auc == pytest.approx(sk.roc_auc_score(true_N == index, probs_NK[:, index]))
        else:
            assert found.as_json()["roc_auc"] is None
            assert any("ROC AUC" in note for note in found.notes)
    else:
        assert "roc_auc" not in found.as_json()


@given(tables(), st.booleans())
@settings(max_examples=60, deadline=None)
def test_intervals_are_ordered_and_json_able_whatever_the_table(table, grouped):
    probs_NK, true_N, classes = table
    groups = [f"g{i // 3}" for i in range(len(true_N))] if grouped else None
    found = measure(probs_NK, true_N, classes, groups=groups, bootstrap=40)
    assert Metrics.model_validate(json.loads(json.dumps(found.as_json(), allow_nan=False))) == found
    units = len(set(groups)) if groups else len(true_N)
    for name in ("accuracy_ci", "macro_f1_ci", "weighted_f1_ci"):
        assert (name in found.as_json()) == (units > 1)
        if units > 1:
            lo, hi = getattr(found, name)
            assert 0 <= lo <= hi <= 1


def test_a_row_predicted_as_an_absent_class_is_still_wrong():
    found = measure(one_hot(np.array([0, 2, 1, 1]), 3), np.array([0, 0, 1, 1]), names(3), bootstrap=0)
    assert found.accuracy == 0.75
    assert found.per_class["c0"].recall == 0.5
    assert found.macro_f1 == pytest.approx((2 / 3 + 1) / 2)  # over two classes, not three
    assert found.absent == ("c2",)


def test_a_certain_wrong_answer_costs_a_finite_loss():
    found = measure(one_hot(np.array([1]), 2), np.array([0]), names(2), bootstrap=0)
    assert found.loss == pytest.approx(-np.log(np.finfo(np.float32).tiny), rel=1e-6)


def test_positive_class():
    probs_NK, true_N = one_hot(np.array([0, 1, 1]), 2), np.array([0, 0, 1])
    found = measure(probs_NK, true_N, ["dog", "cat"], positive="dog", bootstrap=0)
    assert (found.positive_precision, found.positive_recall) == (1.0, 0.5)
    with pytest.raises(ConfigError, match=r"'dog' and 'cat'.*Did you mean 'cat'\?"):
        measure(probs_NK, true_N, ["dog", "cat"], positive="cats")
    with pytest.raises(ConfigError, match="3 classes"):
        measure(one_hot(true_N, 3), true_N, names(3), positive="c0")


def test_arrays_that_cannot_be_measured():
    with pytest.raises(DataError, match="nothing to measure"):
        measure(np.zeros((0, 2), np.float32), np.zeros(0, np.int64), names(2))
    with pytest.raises(DataError, match=r"shape \(2, 3\).*got \(2, 2\)"):
        measure(np.zeros((2, 2), np.float32), np.zeros(2, np.int64), names(3))
    with pytest.raises(DataError, match="5 group names"):
        measure(one_hot(np.zeros(2, int), 2), np.zeros(2, np.int64), names(2), groups=["a"] * 5)
    with pytest.raises(DataError, match="1 of 2 images"):
        measure(np.array([[0.5, 0.5], [np.nan, 0.5]], np.float32), np.zeros(2, np.int64), names(2))
    with pytest.raises(DataError, match="0 to 1"):
        measure(one_hot(np.zeros(2, int), 2), np.array([0, -1]), names(2))


def random_answers(n, k, accuracy, seed):
    rng = np.random.default_rng(seed)
    true_N = rng.integers(0, k, n)
    pred_N = np.where(rng.random(n) < accuracy, true_N, rng.integers(0, k, n))
    return pred_N, true_N


@pytest.mark.parametrize("unit", ["rows", "groups"])
def test_order_of_rows_and_names_of_groups_do_not_matter(unit):
    pred_N, true_N = random_answers(300, 4, 0.7, 1)
    group_N = np.random.default_rng(2).integers(0, 60, 300)
    order = np.random.default_rng(3).permutation(300)
    first, second = (
        measure(
            one_hot(pred_N[rows], 4),
            true_N[rows],
            names(4),
            groups=[f"{word}{i}" for i in group_N[rows]] if unit == "groups" else None,
            bootstrap=200,
            seed=7,
        )
        for rows, word in ((np.arange(300), "a"), (order, "z"))
    )
    assert first.macro_f1_ci == second.macro_f1_ci
    assert first.accuracy_ci == second.accuracy_ci


def test_the_seed_names_the_draws():
    pred_N, true_N = random_answers(100, 3, 0.7, 0)
    ends = [measure(one_hot(pred_N, 3), true_N, names(3), bootstrap=100, seed=s).macro_f1_ci for s in (0, 0, 1)]
    assert ends[0] == ends[1] != ends[2]


def test_draws_have_the_moments_of_a_multinomial():
    times = np.array([1, 1, 1, 2, 3, 5, 9, 40, 1, 7])  # rare and frequent kinds
    drawn_RU = bootstrap.draw(np.random.default_rng(0), times, 40_000)
    n = times.sum()
    assert (drawn_RU.sum(axis=1) == n).all()
    covariance = np.cov(drawn_RU.T)
    expected = n * (np.diag(times / n) - np.outer(times / n, times / n))
    assert drawn_RU.mean(axis=0) == pytest.approx(times, rel=0.03)
    assert covariance == pytest.approx(expected, rel=0.05, abs=0.12)


def naive(pred_N, true_N, group_N, resamples, seed):
    """Resample rows, or groups of rows, one resample at a time, with scikit-learn's definitions."""
    rng = np.random.default_rng(seed)
    members = [np.flatnonzero(group_N == g) for g in np.unique(group_N)]
    values = []
    for _ in range(resamples):
        rows = np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
        t, p = true_N[rows], pred_N[rows]
        f1s = [2 * ((t == c) & (p == c)).sum() / ((t == c).sum() + (p == c).sum()) for c in np.unique(t)]
        values.append(((t == p).mean(), np.mean(f1s)))
    return np.quantile(np.array(values), [0.025, 0.975], axis=0).T


@pytest.mark.parametrize("unit", ["rows", "groups"])
def test_agrees_with_resampling_the_rows_themselves(unit):
    n = 160
    pred_N, true_N = random_answers(n, 5, 0.75, 4)
    true_N[:3], pred_N[:3] = 5, [5, 0, 5]  # a class that some resamples miss
    group_N = np.arange(n) if unit == "rows" else np.sort(np.random.default_rng(5).integers(0, 45, n))
    groups = [str(g) for g in group_N] if unit == "groups" else None
    found = measure(one_hot(pred_N, 6), true_N, names(6), groups=groups, bootstrap=6000)
    accuracy_ci, macro_ci = naive(pred_N, true_N, group_N, 2500, 6)
    # The Monte-Carlo error of a 2.5 % quantile of 2,500 resamples is about a tenth of a standard error.
    assert found.accuracy_ci == pytest.approx(accuracy_ci, abs=0.15 * np.ptp(accuracy_ci) / 3.92 + 1 / n)
    assert found.macro_f1_ci == pytest.approx(macro_ci, abs=0.2 * np.ptp(macro_ci) / 3.92)
    assert found.bootstrap == Bootstrap(resamples=6000, of=unit, units=len(set(group_N.tolist())))


def test_intervals_cover_the_truth_about_as_often_as_they_say():
    rng = np.random.default_rng(8)
    k, n, runs = 4, 200, 300
    shares = np.array([0.4, 0.3, 0.2, 0.1])
    answers_KK = np.full((k, k), 0.06) + np.eye(k) * 0.76  # of each true class; rows sum to 1
    joint_KK = shares[:, None] * answers_KK
    f1 = (2 * joint_KK.diagonal() / (joint_KK.sum(axis=0) + shares)).mean()
    accuracy = joint_KK.trace()
    inside = np.zeros(2)
    for run in range(runs):
        true_N, pred_N = np.divmod(rng.choice(k * k, n, p=joint_KK.ravel()), k)
        found = measure(one_hot(pred_N, k), true_N, names(k), bootstrap=400, seed=run)
        for i, (interval, value) in enumerate(((found.accuracy_ci, accuracy), (found.macro_f1_ci, f1))):
            inside[i] += interval.low <= value <= interval.high
    assert (inside / runs >= 0.91).all()
    assert (inside / runs <= 0.985).all()


def test_groups_of_copies_widen_the_interval_by_the_root_of_their_size():
    pred_N, true_N = random_answers(60, 3, 0.75, 9)
    copies = 9
    pred_N, true_N = np.repeat(pred_N, copies), np.repeat(true_N, copies)
    groups = [f"person{i // copies}" for i in range(len(pred_N))]
    alone = measure(one_hot(pred_N, 3), true_N, names(3), bootstrap=4000)
    grouped = measure(one_hot(pred_N, 3), true_N, names(3), groups=groups, bootstrap=4000)
    assert grouped.groups == 60
    for name in ("accuracy_ci", "macro_f1_ci", "weighted_f1_ci"):
        assert np.ptp(getattr(grouped, name)) / np.ptp(getattr(alone, name)) == pytest.approx(3, rel=0.15)
    # Copies tell no more than the originals would.
    once = measure(one_hot(pred_N[::copies], 3), true_N[::copies], names(3), bootstrap=4000)
    assert grouped.macro_f1_ci == pytest.approx(once.macro_f1_ci, abs=0.02)


def test_notes_say_where_intervals_mean_little():
    right = np.zeros(30, np.int64)
    perfect = measure(one_hot(right, 2), right, names(2))
    exact = binomtest(30, 30).proportion_ci(0.95, method="exact")
    for name in ("accuracy", "macro_f1", "weighted_f1"):  # not [1, 1]
        assert getattr(perfect, f"{name}_ci") == pytest.approx((exact.low, 1.0))
    assert perfect.bootstrap.resamples == 0
    assert any("Clopper and Pearson" in note for note in perfect.notes)
    pred_N, true_N = random_answers(30, 3, 0.6, 0)
    few = measure(one_hot(pred_N, 3), true_N, names(3), groups=[str(i % 5) for i in range(30)])
    assert any("5 groups only" in note for note in few.notes)
    single = measure(one_hot(pred_N, 3), true_N, names(3), groups=["all"] * 30)
    assert single.accuracy_ci is single.bootstrap is None
    assert any("more than one" in note for note in single.notes)


@pytest.mark.parametrize(("n", "k", "groups"), [(50_000, 1000, 0), (100_000, 7, 100_000), (50_000, 1000, 10_000)])
def test_stays_fast(n, k, groups):
    pred_N, true_N = random_answers(n, k, 0.8, 0)
    units = [str(i % groups) for i in range(n)] if groups else None
    cells = bootstrap.units_of(true_N * k + pred_N, units, 0)
    began = time.process_time()
    resamples = sum(tp.shape[1] for tp, _, _ in bootstrap.resampled(cells, k, 2000, 0))
    assert resamples == 2000
    assert time.process_time() - began < 4  # 0.1 to 0.5 s on an idle core


def test_importing_is_light():
    code = (
        "import sys, bunryu.evaluate.metrics, bunryu.evaluate.report.text; "
        "sys.exit(any(name in sys.modules for name in ('torch', 'pandas', 'matplotlib', 'sklearn', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_few_images_or_groups_are_told_of():
    def notes_of(n, groups):
        pred_N, true_N = random_answers(n, 3, 0.6, 0)
        given = [str(i % groups) for i in range(n)] if groups else None
        return measure(one_hot(pred_N, 3), true_N, names(3), groups=given, bootstrap=20).notes

    (note,) = notes_of(29, None)
    assert note.startswith("Only 29 images: each moves the accuracy by 0.03, ")
    assert notes_of(30, None) == ()
    assert notes_of(60, 19) == (
        "The intervals come from 19 groups only: those of averages (accuracy, macro-F1) are a little too narrow, "
        "those of classes very wide.",
    )
    assert notes_of(60, 20) == ()


def test_only_the_figures_asked_for_get_an_interval():
    pred_N, true_N = random_answers(50, 3, 0.6, 0)
    for answers in (pred_N, true_N):  # where all is right it is an exact one
        found = measure(one_hot(answers, 3), true_N, names(3), bootstrap=50, intervals=("macro_recall",)).as_json()
        assert [name for name in found if name.endswith("_ci")] == ["macro_recall_ci"]
    default = measure(one_hot(pred_N, 3), true_N, names(3)).as_json()
    assert default == measure(one_hot(pred_N, 3), true_N, names(3), bootstrap=2000, seed=0).as_json()
    assert [name for name in default if name.endswith("_ci")] == ["accuracy_ci", "macro_f1_ci", "weighted_f1_ci"]


def test_a_class_beyond_the_last_is_refused():
    for wrong in ([0, 2], [-1, 1]):
        with pytest.raises(DataError, match=rf"0 to 1, got {min(wrong)} to {max(wrong)}\."):
            measure(one_hot(np.zeros(2, int), 2), np.array(wrong), names(2))


def test_perfect_groups_have_the_exact_interval_of_so_many_groups():
    right = np.arange(60) % 3
    found = measure(one_hot(right, 3), right, names(3), groups=[str(i // 6) for i in range(60)]).as_json()
    assert found["bootstrap"] == {"resamples": 0, "of": "groups", "units": 10}
    low = binomtest(10, 10).proportion_ci(0.95, method="exact").low
    assert found["macro_f1_ci"] == pytest.approx([low, 1.0])
    assert "of 10 independent groups without an error" in found["notes"][-1]


def test_figures_of_resamples_are_those_of_each():
    rng = np.random.default_rng(0)
    support = rng.integers(0, 4, (5, 30)).astype(float)
    support[0] += 1  # each resample has rows
    tp = np.floor(support * rng.random((5, 30)))
    predicted = tp + rng.integers(0, 3, (5, 30))
    together = averages(tp, support, predicted)
    for r in range(30):
        for name, value in averages(tp[:, r], support[:, r], predicted[:, r]).items():
            assert together[name][r] == pytest.approx(value)


def test_a_resample_has_as_many_units_and_each_brings_its_rows(monkeypatch):
    monkeypatch.setattr(bootstrap, "_CHUNK", 200)  # so that there are several, the last one smaller
    cells_N = np.array([0, 0, 0, 1, 1, 2, 3, 3] * 5)  # of two classes: right, a as b, b as a, right
    units = bootstrap.units_of(cells_N, None, 0)
    chunks = list(bootstrap.resampled(units, 2, 70, 0))
    assert len(chunks) > 2
    tp, support, predicted = (np.concatenate(part, axis=1) for part in zip(*chunks, strict=True))
    assert tp.shape == (2, 70)
    assert (support.sum(axis=0) == 40).all()
    assert (predicted.sum(axis=0) == 40).all()
    assert (tp <= np.minimum(support, predicted)).all()
    assert (support[0] - tp[0] == predicted[1] - tp[1]).all(), "what was a and taken for b"
    assert tp.mean(axis=1) == pytest.approx([15, 10], abs=1.5)


def test_the_confusion_matrix_of_small_whole_numbers():
    true_N, pred_N = np.array([19, 19, 3], np.uint8), np.array([18, 19, 3], np.uint8)
    cells_KK = confusion(pred_N, true_N, 20)  # 19 * 20 is more than such a number holds
    assert {cell: cells_KK[cell] for cell in zip(*np.nonzero(cells_KK), strict=True)} == {
        (19, 18): 1,
        (19, 19): 1,
        (3, 3): 1,
    }


def test_images_without_an_answer_are_counted_once_each():
    probs_NK = np.array([[0.5, 0.5], [np.nan, np.nan], [0.5, np.inf]], np.float32)
    with pytest.raises(DataError, match="2 of 3 images have probabilities that are not finite"):
        measure(probs_NK, np.zeros(3, np.int64), names(2))


def test_groups_of_the_same_cells_in_any_order_are_one_kind():
    rng = np.random.default_rng(0)
    cells = np.concatenate([rng.permutation(12) for _ in range(100)] + [np.arange(11)])
    units = bootstrap.units_of(cells, [f"g{i // 12}" for i in range(len(cells))], 0)
    assert sorted(units.times.tolist()) == [1, 100]
    for unit, times in enumerate(units.times.tolist()):
        own = units.row_cell[units.row_unit == unit]
        assert sorted(own.tolist()) == list(range(12 if times == 100 else 11)), "listed once a row of one group"
