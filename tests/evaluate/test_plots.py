from __future__ import annotations

import logging
import subprocess
import sys
import unicodedata
import warnings
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from matplotlib import font_manager
from PIL import Image

from bunryu.evaluate import fonts, plots
from bunryu.evaluate.fonts import font_note
from bunryu.evaluate.metrics import confusion, measure
from bunryu.evaluate.plots import (
    plot_confusion,
    plot_curves,
    plot_examples,
    plot_per_class,
    plot_probabilities,
)

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
    plot_confusion(matrix_KK, classes, path, normalize=k != 8)
    picture = pixels(path)
    assert 300 < picture.shape[1] < 2000
    assert 280 < picture.shape[0] < 2000
    assert share_close_to(picture, "#08306b") > 0.2 / k / k  # dark diagonal cells
    if k > 1:
        assert share_close_to(picture, plots._PALE) > 0  # the absent class
    assert share_close_to(picture[:3], "#ffffff") == 1  # nothing is cut off at the edges
    assert share_close_to(picture[-3:], "#ffffff") == 1


def test_confusion_rows_are_the_truth(tmp_path):
    matrix_KK = np.zeros((2, 2), np.int64)
    matrix_KK[0, 1] = 9  # true a, predicted b
    matrix_KK[1, 0] = 1
    path = tmp_path / "confusion.png"
    plot_confusion(matrix_KK, ["a", "b"], path, normalize=False)
    rows, columns = np.nonzero(np.abs(pixels(path) - [8, 48, 107]).max(axis=2) < 4)
    axes_middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    high, wide, _ = pixels(path).shape
    assert axes_middle[0] < high / 2  # the full cell is at the top right of the square
    assert columns.min() > wide * 0.35


@pytest.mark.parametrize("k", [2, 18, 120])
def test_per_class(tmp_path, k):
    probs_NK, true_N, classes = data(k, 10 * k)
    per_class = measure(probs_NK, true_N, classes, bootstrap=0)["per_class"]
    path = tmp_path / "classes.png"
    plot_per_class(per_class, path)
    picture = pixels(path)
    assert picture.shape[1] == 880
    assert picture.shape[0] == pytest.approx((0.24 * min(k, 100) + 1.1) * 110, abs=2)
    assert share_close_to(picture, plots._BLUE) > 0.05


def test_dead_classes_are_marked(tmp_path):
    row = {"precision": 0.0, "recall": 0.0, "f1": 0.0, "support": 7, "predicted": 0}
    alive = row | {"precision": 1.0, "recall": 1.0, "f1": 1.0}
    for name, per_class in (("dead", {"a": alive, "b": row}), ("alive", {"a": alive, "b": alive})):
        plot_per_class(per_class, tmp_path / name)
    assert share_close_to(pixels(tmp_path / "dead"), plots._RED) > 0
    assert share_close_to(pixels(tmp_path / "alive"), plots._RED) == 0


@pytest.mark.parametrize(("k", "positive"), [(2, None), (2, "기쁨"), (8, None)])
def test_probabilities(tmp_path, k, positive):
    probs_NK, true_N, classes = data(k, 200)
    if k == 2:
        true_N = np.random.default_rng(0).integers(0, 2, 200)
    path = tmp_path / "probabilities.png"
    plot_probabilities(probs_NK, true_N, classes, path, positive)
    picture = pixels(path)
    assert picture.shape[:2] == (407, 715)
    assert share_close_to(picture, plots._BLUE if k == 2 else plots._GREEN) > 0.001
    assert share_close_to(picture, plots._RED) > 0.001


def test_probabilities_of_one_true_class_and_of_right_answers_only(tmp_path):
    probs_NK = np.array([[0.9, 0.1]], np.float32)
    plot_probabilities(probs_NK, np.array([0]), ["a", "b"], tmp_path / "a.png")
    plot_probabilities(np.eye(3, dtype=np.float32), np.arange(3), ["a", "b", "c"], tmp_path / "b.png")
    assert pixels(tmp_path / "a.png").std() > 1


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
    plot_curves(history, path)
    picture = pixels(path)
    assert picture.shape[:2] == (407, 1430)
    assert (share_close_to(picture[:, : 1430 * 2 // 3], plots._RED) > 0) == validated
    trained = any("train_accuracy" in row for row in history)
    assert (share_close_to(picture[:, 1430 // 3 : 1430 * 2 // 3], plots._BLUE) > 0) == trained


def test_curves_before_the_first_epoch_ends(tmp_path):
    plot_curves([], tmp_path / "curves.png")
    assert pixels(tmp_path / "curves.png").shape == (407, 1430, 3)


def test_curves_mark_stages_and_the_best_epoch(tmp_path):
    plain = epochs(12, best=False, stage="one")
    for name, history in {
        "plain": plain,
        "best": [row | {"best": row["epoch"] in (3, 9)} for row in plain],
        "stages": epochs(12, best=False),
    }.items():
        plot_curves(history, tmp_path / name)
    for name in ("best", "stages"):
        assert (pixels(tmp_path / "plain") != pixels(tmp_path / name)).any(axis=2).sum() > 100


def test_examples(tmp_path):
    rng = np.random.default_rng(0)
    shapes = [(40, 60, 3), (60, 40, 1), (33, 33, 4), (200, 20, 3)]
    images = [rng.integers(0, 256, shapes[i % 4], dtype=np.uint8) for i in range(30)]
    titles = [f"기쁨 → {LONG}\n0.{i}" for i in range(30)]
    plot_examples(images, titles, [(True, False, None)[i % 3] for i in range(30)], tmp_path / "many.png")
    picture = pixels(tmp_path / "many.png")
    assert picture.shape[1] == round(1.9 * 6 * 110)  # 24 in 4 rows of 6
    assert 800 < picture.shape[0] < 1200
    assert share_close_to(picture, plots._GREEN) > 0.0001
    assert share_close_to(picture, plots._RED) > 0.0001
    plot_examples(images[:1], ["a"], [None], tmp_path / "one.png")
    plot_examples([], [], [], tmp_path / "none.png")
    assert pixels(tmp_path / "one.png").std() > 20


def test_an_image_keeps_its_values(tmp_path):
    grey = np.full((30, 30, 1), 100, np.uint8)  # not stretched to black or white
    plot_examples([grey], ["grey"], [None], tmp_path / "grey.png")
    assert share_close_to(pixels(tmp_path / "grey.png"), "#646464") > 0.3


def test_no_note_when_every_character_can_be_drawn():
    assert font_note(["cat", "köttur", "кошка", "", "a b\n"]) is None


def test_a_note_and_numbers_where_no_font_has_the_characters(no_hangul, tmp_path):
    note = font_note(KOREAN)
    assert note is not None
    assert "fonts-nanum" in note
    assert "기" in note
    assert fonts.short_names(["cat", *KOREAN[:2]]) == ["cat", "#1", "#2"]
    assert fonts.drawable("cat → 기쁨") == "cat → □□"
    probs_NK, true_N, classes = data(4, 50)
    plot_confusion(confusion(probs_NK.argmax(axis=1), true_N, 4), classes, tmp_path / "a.png", normalize=True)
    plot_examples([np.zeros((9, 9, 3), np.uint8)], ["기쁨"], [True], tmp_path / "b.png")
    plot_curves(epochs(5), tmp_path / "c.png")


def test_characters_that_no_font_has(tmp_path):
    rare = "\U000e0041\ue123"  # a tag, private use
    assert font_note([rare]) is not None
    plot_per_class(measure(np.eye(2), np.arange(2), [rare, "b"], bootstrap=0)["per_class"], tmp_path / "a.png")


def test_hangul_is_drawn_where_a_font_has_it(tmp_path):
    if not hangul_font():
        pytest.skip("no installed font has Hangul (apt-get install fonts-nanum)")
    assert font_note(KOREAN) is None
    assert fonts.short_names(KOREAN) == KOREAN
    composed, decomposed = (
        [unicodedata.normalize(form, name) for name in KOREAN] for form in ("NFC", "NFD")
    )  # macOS writes folder names decomposed
    matrix_KK = np.eye(4, dtype=np.int64)
    for name, classes in (("nfc", composed), ("nfd", decomposed), ("other", [*KOREAN[:3], "쁨"])):
        plot_confusion(matrix_KK, classes, tmp_path / name, normalize=False)
    assert (pixels(tmp_path / "nfc") == pixels(tmp_path / "nfd")).all()
    assert (
        pixels(tmp_path / "nfc").shape != pixels(tmp_path / "other").shape
        or (pixels(tmp_path / "nfc") != pixels(tmp_path / "other")).any()
    )


def test_a_font_installed_after_matplotlib_made_its_list_is_found(monkeypatch):
    if not hangul_font():
        pytest.skip("no installed font has Hangul (apt-get install fonts-nanum)")
    manager = font_manager.fontManager
    old = [entry for entry in manager.ttflist if not fonts._covered(entry.name, {"가"})]
    monkeypatch.setattr(manager, "ttflist", old)
    assert font_note(["가"]) is None
    fonts.fonts_for.cache_clear()


def test_names_are_no_formulas(tmp_path):
    plot_confusion(np.eye(2, dtype=np.int64), ["$\\frac$", "a$b$"], tmp_path / "a.png", normalize=False)
    plot_probabilities(np.eye(2), np.arange(2), ["$\\frac$", "a$b$"], tmp_path / "b.png")


def test_threads_draw_the_same_picture(tmp_path):
    def draw(i):
        plot_curves(epochs(6), tmp_path / f"{i}.png")
        return (tmp_path / f"{i}.png").read_bytes()

    with ThreadPoolExecutor(4) as pool:
        assert len(set(pool.map(draw, range(8)))) == 1
    assert len(list(tmp_path.iterdir())) == 8  # no temporary file is left


def test_pyplot_is_never_imported():
    code = (
        "import sys, bunryu.evaluate.plots; "
        "sys.exit(any(name in sys.modules for name in ('matplotlib.pyplot', 'torch', 'pandas')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
