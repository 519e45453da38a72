from __future__ import annotations

import itertools
import logging
import subprocess
import sys
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib import font_manager
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import Normalize
from matplotlib.patches import StepPatch
from matplotlib.text import Text
from PIL import Image

from bunryu.evaluate.figures import ClassMetrics
from bunryu.evaluate.measured import measured
from bunryu.evaluate.metrics import confusion, measure
from bunryu.evaluate.report import fonts, plots, style
from bunryu.evaluate.report.files import write_results
from bunryu.evaluate.report.fonts import font_note
from bunryu.evaluate.report.plots import plot_confusion, plot_examples, plot_per_class, plot_probabilities
from bunryu.evaluate.report.training_curves import plot_curves
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Attribute
from bunryu.settings.evaluate import EvaluateSettings

KOREAN = ["기쁨", "분노", "슬픔", "놀람 $x^2$"]
LONG = "Golden_retriever_and_other_dogs_with_a_very_long_name"


@pytest.fixture(autouse=True)
def silent(caplog, capfd):
    """No warning, no log record, no output may leak from matplotlib."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def no_hangul(monkeypatch):
    """As on a machine where no font has Hangul."""
    monkeypatch.setattr(fonts, "_installed", list)
    monkeypatch.setattr(fonts, "_installed_now", list)
    fonts.fonts_for.cache_clear()
    yield
    fonts.fonts_for.cache_clear()


@pytest.fixture
def drawn(monkeypatch):
    """The figures that were drawn, in order."""
    figures = []

    class Spy(FigureCanvasAgg):
        def __init__(self, figure):
            super().__init__(figure)
            figures.append(figure)

    monkeypatch.setattr(style, "FigureCanvasAgg", Spy)
    return figures


def texts_of(figure):
    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def hangul_font():
    return len(fonts.fonts_for("가쁨")[0]) > 1


def pixels(path):
    with Image.open(path) as image:
        assert image.format == "PNG"
        return np.asarray(image.convert("RGB")).astype(np.int64)


def share_close_to(picture, colour):
    rgb = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return (np.abs(picture - rgb).max(axis=2) < 12).mean()


def classes_of(k):
    return [*KOREAN, LONG][:k] + [f"class {i}" for i in range(k - 5)]


def data(k, n, seed=0):
    rng = np.random.default_rng(seed)
    true_N = rng.integers(0, max(k - 1, 1), n)  # the last class is absent
    scores_NK = rng.normal(size=(n, k))
    scores_NK[np.arange(n), true_N] += 3
    probs_NK = np.exp(scores_NK)
    return (probs_NK / probs_NK.sum(axis=1, keepdims=True)).astype(np.float32), true_N, classes_of(k)


@pytest.mark.parametrize("k", [1, 2, 8, 100, 300])
def test_confusion(tmp_path, k):
    probs_NK, true_N, classes = data(k, 20 * k)
    matrix_KK = confusion(probs_NK.argmax(axis=1), true_N, k)
    path = tmp_path / "confusion.png"
    plot_confusion(matrix_KK, classes, path, of="run-1 · val", normalize=k != 8)
    picture = pixels(path)
    assert 300 < picture.shape[1] < 2000
    assert 280 < picture.shape[0] < 2000
    assert share_close_to(picture, "#08306b") > 0.2 / k / k  # dark diagonal cells
    if k > 1:
        assert share_close_to(picture, style.PALE) > 0  # the absent class
    assert share_close_to(picture[:3], "#ffffff") == 1  # nothing is cut off at the edges
    assert share_close_to(picture[-3:], "#ffffff") == 1


def test_confusion_rows_are_the_truth(tmp_path):
    matrix_KK = np.zeros((2, 2), np.int64)
    matrix_KK[0, 1] = 9  # true a, predicted b
    matrix_KK[1, 0] = 1
    path = tmp_path / "confusion.png"
    plot_confusion(matrix_KK, ["a", "b"], path, of="run-1 · val", normalize=False)
    rows, columns = np.nonzero(np.abs(pixels(path) - [8, 48, 107]).max(axis=2) < 4)
    axes_middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    high, wide, _ = pixels(path).shape
    assert axes_middle[0] < high / 2  # the full cell is at the top right of the square
    assert columns.min() > wide * 0.35


def cells(figure):
    return {text.get_position(): text.get_text() for text in figure.axes[0].texts}


def test_cells_of_a_small_confusion_matrix_are_never_blank(tmp_path, drawn):
    plot_confusion(np.array([[30, 0], [1, 999]]), ["a", "b"], tmp_path / "a.png", of="r", normalize=False)
    plot_confusion(np.array([[30, 0], [1, 999]]), ["a", "b"], tmp_path / "b.png", of="r", normalize=True)
    plot_confusion(np.array([[30, 0], [0, 0]]), ["a", "b"], tmp_path / "c.png", of="r", normalize=True)
    assert cells(drawn[0]) == {(0, 0): "30", (1, 0): "0", (0, 1): "1", (1, 1): "999"}
    assert cells(drawn[1]) == {(0, 0): "1.00", (1, 0): "0.00", (0, 1): "<.01", (1, 1): ">.99"}
    assert cells(drawn[2]) == {(0, 0): "1.00", (1, 0): "0.00"}  # nothing is known of b
    assert "grey: classes without a labelled image here" in texts_of(drawn[2])
    assert "images (square-root colour scale)" in texts_of(drawn[0])


@pytest.mark.parametrize("k", [2, 18, 120])
def test_per_class(tmp_path, k):
    probs_NK, true_N, classes = data(k, 10 * k)
    per_class = measure(probs_NK, true_N, classes, bootstrap=0).per_class
    path = tmp_path / "classes.png"
    plot_per_class(per_class, path, of="run-1 · val")
    picture = pixels(path)
    assert picture.shape[1] == 880
    assert picture.shape[0] == pytest.approx((0.24 * min(k, 100) + 0.9 + 0.38) * 110, abs=2)
    assert share_close_to(picture, style.BLUE) > 0.05


def test_classes_stand_worst_first_then_in_the_models_order(tmp_path, drawn):
    f1s = {"a": (0.9, 100), "b": (0.5, 7), "c": (0.9, 7), "d": (0.2, 7), "e": (0.0, 0)}
    per_class = {
        name: ClassMetrics(precision=0.5, recall=0.5, f1=f1, support=support, predicted=7)
        for name, (f1, support) in f1s.items()
    }
    plot_per_class(per_class, tmp_path / "a.png", of="run-1 · val")
    assert [label.get_text() for label in drawn[0].axes[0].get_yticklabels()] == ["d", "b", "a", "c", "e"]
    assert drawn[0].texts[0].get_text() == "run-1 · val · F1 by class, worst first"


def test_dead_classes_are_marked(tmp_path):
    row = ClassMetrics(precision=0.0, recall=0.0, f1=0.0, support=7, predicted=0)
    alive = row.plus(precision=1.0, recall=1.0, f1=1.0)
    for name, per_class in (("dead", {"a": alive, "b": row}), ("alive", {"a": alive, "b": alive})):
        plot_per_class(per_class, tmp_path / name, of="run-1 · val")
    assert share_close_to(pixels(tmp_path / "dead"), style.ORANGE) > 0
    assert share_close_to(pixels(tmp_path / "alive"), style.ORANGE) == 0


@pytest.mark.parametrize(("k", "positive"), [(2, None), (2, "기쁨"), (8, None)])
def test_probabilities(tmp_path, k, positive):
    probs_NK, true_N, classes = data(k, 200)
    if k == 2:
        true_N = np.random.default_rng(0).integers(0, 2, 200)
    path = tmp_path / "probabilities.png"
    plot_probabilities(probs_NK, true_N, classes, path, positive, of="run-1 · val")
    picture = pixels(path)
    assert picture.shape[:2] == (503, 715)
    assert share_close_to(picture, style.GREEN) > 0.001
    assert share_close_to(picture, style.ORANGE) > 0.001


def test_probabilities_of_one_true_class_and_of_right_answers_only(tmp_path):
    probs_NK = np.array([[0.9, 0.1]], np.float32)
    plot_probabilities(probs_NK, np.array([0]), ["a", "b"], tmp_path / "a.png", of="run-1 · val")
    plot_probabilities(np.eye(3, dtype=np.float32), np.arange(3), ["a", "b", "c"], tmp_path / "b.png", of="run-1 · val")
    assert pixels(tmp_path / "a.png").std() > 1


def bars(axes):
    """The counts of right and of wrong answers in each bin."""
    filled = [patch for patch in axes.patches if isinstance(patch, StepPatch) and patch.get_fill()]
    assert all((patch.get_data().edges == plots._BINS).all() for patch in filled)
    return [patch.get_data().values for patch in filled]


def test_a_bin_of_two_classes_lies_on_one_side_of_the_decision(tmp_path, drawn):
    assert 0.5 in plots._BINS
    p_N = np.array([0.0, 0.499, 0.501, 1.0, 1.0000001, -1e-9])
    plot_probabilities(
        np.stack([1 - p_N, p_N], 1), np.array([0, 0, 0, 1, 1, 1]), ["a", "b"], tmp_path / "p.png", of="r"
    )
    first, second = map(bars, drawn[0].axes)
    assert [np.flatnonzero(counts).tolist() for counts in first] == [[0, 9], [10]]  # right, wrong
    assert [np.flatnonzero(counts).tolist() for counts in second] == [[19], [0]]
    assert sum(counts.sum() for counts in (*first, *second)) == 6  # none is lost beyond the ends
    assert [axes.get_title(loc="left") for axes in drawn[0].axes] == [
        "true: a (3 images, 1 wrong)",
        "true: b (3 images, 1 wrong)",
    ]


def test_few_mistakes_among_many_right_answers_are_seen(tmp_path, drawn):
    p_N = np.where(np.arange(1000) < 999, 0.98, 0.72)
    probs_NK = np.stack([p_N, (1 - p_N) / 2, (1 - p_N) / 2], 1)
    plot_probabilities(probs_NK, (np.arange(1000) == 999).astype(int), ["a", "b", "c"], tmp_path / "p.png", of="r")
    right, wrong = drawn[0].axes
    assert bars(right)[0][19] == 999
    assert bars(wrong)[1][14] == 1
    assert wrong.get_ylim()[1] < 2


def epochs(n, **changes):
    rows = []
    for epoch in range(1, n + 1):
        row = {"stage": "head" if epoch <= 2 else "전체", "epoch": epoch, "lr": 1e-4 / epoch, "head_lr": 1e-3}
        row |= {"train_loss": 1 / epoch, "train_accuracy": 1 - 0.5 / epoch, "val_loss": 1.2 / epoch}
        row |= {"val_accuracy": 0.9 - 0.5 / epoch, "val_macro_f1": 0.8 - 0.5 / epoch, "best": epoch == n}
        rows.append(row | changes)
    return rows


VALIDATION = {"val_loss": None, "val_accuracy": None, "val_macro_f1": None, "best": False}


@pytest.mark.parametrize(
    ("history", "validated"),
    [
        (epochs(1), True),
        (epochs(40), True),
        (epochs(5, **VALIDATION, lr=0.0, head_lr=None), False),
        (epochs(3, train_loss=float("nan")), True),
        ([{"stage": "s", "epoch": 7, "lr": 0.1, "train_loss": 0.5}], False),
    ],
)
def test_curves(tmp_path, history, validated):
    path = tmp_path / "curves.png"
    plot_curves(history, path, "run-1")
    picture = pixels(path)
    assert picture.shape[:2] == (514, 1430)
    assert (share_close_to(picture[:, : 1430 * 2 // 3], style.ORANGE) > 0) == validated
    trained = any("train_accuracy" in row for row in history)
    assert (share_close_to(picture[:, 1430 // 3 : 1430 * 2 // 3], style.BLUE) > 0) == trained


def test_curves_before_the_first_epoch_ends(tmp_path):
    plot_curves([], tmp_path / "curves.png", "run-1")
    assert pixels(tmp_path / "curves.png").shape == (514, 1430, 3)


def test_curves_name_stages_and_the_best_epoch(tmp_path, drawn):
    history = epochs(12, stage="one", best=False)
    plot_curves(history, tmp_path / "plain.png", "run-1")
    history = [row | {"best": row["epoch"] in (3, 9), "stage": f"stage {row['epoch'] // 2}"} for row in history]
    plot_curves(history, tmp_path / "marked.png", "run-1")
    plain, marked = map(texts_of, drawn)
    assert not [text for text in plain if "stage" in text or "best" in text]
    for stage in range(7):
        assert marked.count(f"stage {stage}") == 3
    assert marked.count("best epoch: 9") == 3
    for axes in drawn[1].axes:  # no name lies on the next
        boxes = [text.get_window_extent() for text in axes.texts]
        assert not any(one.overlaps(next_) for one, next_ in itertools.pairwise(boxes))


@pytest.mark.parametrize("history", [epochs(1), epochs(12), epochs(12, head_lr=0.5, lr=1e-6)])
def test_legends_of_curves_cover_nothing(tmp_path, drawn, history):
    plot_curves(history, tmp_path / "curves.png", "run-1")
    for axes in drawn[0].axes:
        box = axes.get_legend().get_window_extent()
        assert box.y1 < axes.xaxis.get_label().get_window_extent().y0
        assert box.y0 > 0


def test_learning_rates_are_linear_from_zero(tmp_path, drawn):
    plot_curves(epochs(12, lr=1e-6), tmp_path / "two.png", "run-1")
    plot_curves(epochs(12, head_lr=1e-3, lr=1e-3), tmp_path / "one.png", "run-1")
    legends = []
    for figure in drawn:
        rate = figure.axes[2]
        assert rate.get_yscale() == "linear"
        assert rate.get_ylim()[0] == 0
        legends.append([text.get_text() for text in rate.get_legend().get_texts()][:-1])
    assert legends == [["head (highest 0.001)", "backbone (highest 1e-06)"], ["head and backbone (highest 0.001)"]]


def test_curves_say_how_train_and_validation_were_measured(tmp_path, drawn):
    plot_curves(epochs(3), tmp_path / "a.png", "run-1", "with augmentation")
    plot_curves(epochs(3, **VALIDATION), tmp_path / "b.png", "run-1")
    both, train = ([text.get_text() for text in figure.texts] for figure in drawn)
    assert both[0] == "run-1 · train and val · curves"
    assert train[0] == "run-1 · train · curves"
    assert "train (while learning)" in texts_of(drawn[0])
    assert "augmentation" in both[1]
    assert "validation" in both[1]
    assert "validation" not in train[1]


def test_examples(tmp_path):
    rng = np.random.default_rng(0)
    shapes = [(40, 60, 3), (60, 40, 1), (33, 33, 4), (200, 20, 3)]
    images = [rng.integers(0, 256, shapes[i % 4], dtype=np.uint8) for i in range(30)]
    titles = [f"cat → {LONG}\n0.{i}" for i in range(30)]
    plot_examples(
        images, titles, [(True, False, None)[i % 3] for i in range(30)], tmp_path / "many.png", of="run-1 · val"
    )
    picture = pixels(tmp_path / "many.png")
    assert picture.shape[1] == round(1.9 * 6 * 110)  # 24 in 4 rows of 6
    assert 800 < picture.shape[0] < 1200
    assert share_close_to(picture, style.GREEN) > 0.0001
    assert share_close_to(picture, style.ORANGE) > 0.0001
    plot_examples(images[:1], ["a"], [None], tmp_path / "one.png", of="run-1 · val")
    plot_examples([], [], [], tmp_path / "none.png", of="run-1 · val")
    assert pixels(tmp_path / "one.png").std() > 20


def test_an_image_keeps_its_values(tmp_path):
    grey = np.full((30, 30, 1), 100, np.uint8)  # not stretched to black or white
    plot_examples([grey], ["grey"], [None], tmp_path / "grey.png", of="run-1 · val")
    assert share_close_to(pixels(tmp_path / "grey.png"), "#646464") > 0.3


def test_no_note_when_every_character_can_be_drawn():
    assert font_note(["cat", "köttur", "кошка", "", "a b\n"], "run-1", "draw") is None


def test_a_note_says_which_class_is_which_and_how_to_mend_it(no_hangul):
    many = font_note(["cat", *KOREAN[:3]], "run-1", "bunryu evaluate runs/run-1", listed=2)
    assert many == (
        "No installed font has the characters 기노분쁨슬픔 (6), so the plots show #1 = 기쁨, #2 = 분노 and 1 more "
        "(the order of the classes). To mend, install one with Hangul (`pip install "
        "koreanize-matplotlib`), then: bunryu evaluate runs/run-1"
    ).replace("기노분쁨슬픔", "".join(sorted("기쁨분노슬픔")))
    run = font_note(["cat"], "실행-1", "draw")
    assert run is not None
    assert "(2), so the plots leave the run's name out of their titles. To mend" in run
    both = font_note(["기쁨"], "실행-1", "draw")
    assert both is not None
    assert "#0 = 기쁨 (the order of the classes) and leave the run's name out of their titles." in both


def test_without_a_font_numbers_stand_for_classes_and_no_box_is_drawn(no_hangul, tmp_path, drawn):
    probs_NK, true_N, classes = data(4, 60)
    assert (probs_NK.argmax(axis=1) != true_N).any()
    predictions = Predictions([f"{i}.png" for i in range(60)], classes, probs_NK, true_N)
    result = measured("val", predictions, EvaluateSettings(bootstrap=0), lambda _: np.zeros((9, 9, 3), np.uint8), {})
    write_results(tmp_path, [result], "실행-1", "title", {}, [], "bunryu evaluate runs/실행-1")
    plot_curves([row | {"stage": "전체"} for row in epochs(2)] + epochs(1, stage="둘"), tmp_path / "c.png", "실행-1")
    assert len(drawn) == 6
    for figure in drawn:
        assert figure.texts[0].get_text().startswith(("val · ", "train and val · "))
        for text in texts_of(figure):
            assert fonts.drawable(text), text
            assert "□" not in text
    examples = texts_of(drawn[4])
    assert any(text.startswith("✗ #") and "(true: #" in text for text in examples)
    assert any(text.startswith("✓ #") for text in examples)
    assert {"stage 1", "stage 2"} <= set(texts_of(drawn[5]))
    report = (tmp_path / "report.txt").read_text(encoding="utf-8")
    assert "#0 = 기쁨, #1 = 분노, #2 = 슬픔, #3 = 놀람 $x^2$ (the order of the classes)" in report
    assert "then: bunryu evaluate runs/실행-1\n" in report


def test_no_word_of_fonts_where_all_names_can_be_drawn(tmp_path):
    probs_NK, true_N = np.eye(2), np.arange(2)
    predictions = Predictions(["0.png", "1.png"], ["cat", "dog"], probs_NK, true_N)
    result = measured("val", predictions, EvaluateSettings(bootstrap=0), lambda _: np.zeros((9, 9, 3), np.uint8), {})
    write_results(tmp_path, [result], "run-1", "title", {}, [], "draw")
    assert "font" not in (tmp_path / "report.txt").read_text(encoding="utf-8")


def test_the_words_of_a_colour_are_those_of_the_colour(tmp_path, drawn):
    probs_NK = np.array([[0.9, 0.1], [0.8, 0.2]])
    plot_probabilities(probs_NK, np.array([0, 1]), ["a", "b"], tmp_path / "a.png", of="run-1 · val")
    assert "green: right answers, orange: wrong; each panel has its own scale" in texts_of(drawn[0])


def test_characters_that_no_font_has(tmp_path):
    rare = "\U000e0041\ue123"  # a tag, private use
    assert font_note([rare], "run-1", "draw") is not None
    plot_per_class(
        measure(np.eye(2), np.arange(2), [rare, "b"], bootstrap=0).per_class, tmp_path / "a.png", of="run-1 · val"
    )


def test_hangul_is_drawn_where_a_font_has_it(tmp_path):
    assert hangul_font(), "the packaged font has it"
    assert font_note(KOREAN, "실행-1", "draw") is None
    assert fonts.short_names(KOREAN) == KOREAN
    composed, decomposed = (
        [unicodedata.normalize(form, name) for name in KOREAN] for form in ("NFC", "NFD")
    )  # macOS writes folder names decomposed
    matrix_KK = np.eye(4, dtype=np.int64)
    for name, classes in (("nfc", composed), ("nfd", decomposed), ("other", [*KOREAN[:3], "쁨"])):
        plot_confusion(matrix_KK, classes, tmp_path / name, of="run-1 · val", normalize=False)
    assert (pixels(tmp_path / "nfc") == pixels(tmp_path / "nfd")).all()
    assert (
        pixels(tmp_path / "nfc").shape != pixels(tmp_path / "other").shape
        or (pixels(tmp_path / "nfc") != pixels(tmp_path / "other")).any()
    )


def test_a_font_installed_after_matplotlib_made_its_list_is_found(monkeypatch):
    manager = font_manager.fontManager
    old = [entry for entry in manager.ttflist if not fonts._covered(entry.name, {"가"})]
    monkeypatch.setattr(manager, "ttflist", old)
    assert font_note(["가"], "run-1", "draw") is None
    fonts.fonts_for.cache_clear()


def test_hangul_needs_no_font_of_the_system(monkeypatch):
    monkeypatch.setattr(font_manager, "findSystemFonts", list)
    manager = font_manager.fontManager
    old = [entry for entry in manager.ttflist if not fonts._covered(entry.name, {"가"})]
    monkeypatch.setattr(manager, "ttflist", old)
    fonts.fonts_for.cache_clear()
    assert fonts.short_names(["b", "힣"]) == ["b", "힣"]
    fonts.fonts_for.cache_clear()


def test_names_are_no_formulas(tmp_path, drawn):
    names, of = ["$\\frac$", "a$b$"], "run $x^2$ · val"
    per_class = measure(np.eye(2), np.arange(2), names, bootstrap=0).per_class
    plot_confusion(np.eye(2, dtype=np.int64), names, tmp_path / "a.png", of=of, normalize=False)
    plot_per_class(per_class, tmp_path / "b.png", of=of)
    plot_probabilities(np.eye(2), np.arange(2), names, tmp_path / "c.png", of=of)
    plot_examples([np.zeros((9, 9, 3), np.uint8)] * 2, names, [None, None], tmp_path / "d.png", of=of)
    for figure in drawn:
        texts = texts_of(figure)
        assert figure.texts[0].get_text().startswith(of)
        assert all(any(name in text for text in texts) for name in names)
        for text in figure.findobj(Text):
            if "$" in text.get_text():
                assert not text.get_parse_math()


def test_every_title_names_run_and_split(tmp_path, drawn):
    probs_NK, true_N, classes = data(3, 30)
    predictions = Predictions([f"{i}.png" for i in range(30)], classes, probs_NK, true_N)
    results = [
        measured(name, predictions, EvaluateSettings(bootstrap=0), lambda _: np.zeros((9, 9, 3), np.uint8), {})
        for name in ("val", "test")
    ]
    write_results(tmp_path, results, "ants_bees-1", "title", {}, [], "draw")
    titles = [figure.texts[0].get_text() for figure in drawn]
    assert len(set(titles)) == 10
    assert sum(title.startswith("ants_bees-1 · val · ") for title in titles) == 5
    assert sum(title.startswith("ants_bees-1 · test · ") for title in titles) == 5
    for figure in drawn:  # however narrow the picture, its title fits
        assert figure.texts[0].get_window_extent().x1 < figure.bbox.x1


def test_a_long_title_keeps_its_ends(tmp_path, drawn):
    plot_confusion(np.eye(2, dtype=np.int64), ["a", "b"], tmp_path / "a.png", of=f"{LONG * 2} · val", normalize=True)
    title = drawn[0].texts[0]
    assert title.get_text().startswith("Golden")
    assert title.get_text().endswith(" · val · confusion, share of each true class")
    assert title.get_window_extent().x1 < drawn[0].bbox.x1


def test_threads_draw_the_same_picture(tmp_path):
    def draw(i):
        plot_curves(epochs(6), tmp_path / f"{i}.png", "run-1")
        return (tmp_path / f"{i}.png").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(draw, range(8)))) == 1
    assert len(list(tmp_path.iterdir())) == 8  # no temporary file is left


def test_pyplot_is_never_imported():
    code = (
        "import sys, bunryu.evaluate.report.training_curves, bunryu.evaluate.report.plots; "
        "sys.exit(any(name in sys.modules for name in ('matplotlib.pyplot', 'torch', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def cases():
    """Splits of every kind that misleads easily: few rows, perfect ones, a dead class, many, Hangul, labels."""
    rng = np.random.default_rng(0)

    def classes(names, n, sure, dead=None, attributes=()):
        k = len(names)
        true_N = np.arange(n) % k
        logits_NK = rng.normal(size=(n, k)) + sure * np.eye(k)[true_N]
        logits_NK[:, [] if dead is None else [dead]] -= 20
        probs_NK = np.exp(logits_NK) / np.exp(logits_NK).sum(axis=1, keepdims=True)
        paths = [f"사진/긴 이름의 파일 {i} {LONG}.jpg" for i in range(n)]
        return Predictions(paths, names, probs_NK.astype(np.float32), true_N, attributes=attributes)

    def labels(n, noise):
        held_NL = (np.arange(n)[:, None] % np.array([2, 3, n + 1])) == 0
        probs_NL = np.clip(held_NL * 0.9 + rng.normal(size=held_NL.shape) * noise, 0.01, 0.99).astype(np.float32)
        paths, names = [f"{i}.jpg" for i in range(n)], ["하늘", "sea", "never"]
        return LabelPredictions(paths, names, probs_NL, thresholds=[0.5] * 3, held_NL=held_NL)

    parts = [Attribute(column="성별", classes=["f", "m"], of=[0, 1, 0, 1])]
    return {
        "five": classes(["ants", "bees"], 5, 1.0),
        "perfect": classes(["개미", "벌"], 40, 60.0),
        "dead": classes(KOREAN, 60, 2.0, dead=3),
        "many": classes([f"class {i}" for i in range(40)], 200, 3.0),
        "attributes": classes(["a+f", "a+m", "b+f", "b+m"], 24, 60.0, attributes=parts),
        "labels": labels(30, 0.3),
        "labels, perfect": labels(30, 0.0),
    }


SHARES = ("0", "0.0", "0.2", "0.5", "1", "1.0")


@pytest.mark.pictures
@pytest.mark.parametrize("case", cases())
def test_no_plot_of_a_split_misleads(tmp_path, drawn, case):
    """Shares end at 0 and 1, their colours are linear, how many images there are is written, and nothing is cut."""
    predictions = cases()[case]
    grey = np.zeros((8, 8, 3), np.uint8)
    result = measured("val", predictions, EvaluateSettings(bootstrap=50), lambda _: grey, {})
    write_results(tmp_path, [result], "r", "t", {}, [], "again")
    assert len(drawn) >= 3
    normalised = 0
    for figure in drawn:
        title = figure.texts[0].get_text()
        words = [text.get_text() for text in figure.findobj(Text)]
        if "examples" in title:
            assert any(word.endswith(".jpg") for word in words), "names under the pictures"
            continue
        assert any(any(char.isdigit() for char in word) and word not in SHARES for word in words), "counts are told"
        for axes in figure.axes:
            for image in axes.get_images():
                if "share" in title:
                    normalised += 1
                    assert type(image.norm) is Normalize
                    assert (image.norm.vmin, image.norm.vmax) == (0, 1)
            if axes.get_label() == "<colorbar>" or axes.get_images() or not axes.axison:
                continue
            low, high = axes.get_xlim()
            ticks = [tick for tick in axes.get_xticks() if low <= tick <= high]
            assert low == 0, title
            assert 0 <= min(ticks) <= max(ticks) <= 1, "beyond 1 there are numbers alone"
            if "recall" in title:
                assert axes.get_ylim() == (0, 1)
        inside = figure.get_tightbbox()
        assert inside.x0 >= -0.01
        assert inside.x1 <= figure.get_figwidth() + 0.01
    if isinstance(predictions, Predictions):
        assert normalised == 1 + len(predictions.attributes)


@pytest.mark.pictures
@pytest.mark.parametrize("value", [0.0, 0.5, 0.97, 1.0])
def test_the_axis_of_scores_ends_at_one(tmp_path, drawn, value):
    row = {"stage": "all", "train_loss": 1.0, "lr": 1e-3, "train_accuracy": value, "val_accuracy": value}
    plot_curves([{"epoch": i, **row} for i in (1, 2)], tmp_path / "c.png", "r")
    low, high = drawn[0].axes[1].get_ylim()
    assert 0 <= low <= value <= high == 1


@pytest.mark.pictures
def test_few_probabilities_have_their_counts(tmp_path, drawn):
    probs_NK = np.array([[0.9, 0.1], [0.91, 0.09], [0.3, 0.7]], np.float32)
    plot_probabilities(probs_NK, np.array([0, 0, 1]), ["a", "b"], tmp_path / "p.png", of="r")
    numbers = [[text.get_text() for text in axes.texts] for axes in drawn[0].axes]
    assert numbers == [["2"], ["1"]] or numbers == [["1", "1"], ["1"]]
