from __future__ import annotations

import csv
import io
import unicodedata

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunryu.core.csv_text import unguard
from bunryu.core.text_width import pad, shorten, width
from bunryu.evaluate.metrics import confusion, measure
from bunryu.evaluate.report.text import confusion_csv, headline, text_report
from bunryu.evaluate.report.warnings import warnings_of
from bunryu.evaluate.slices import measure_groups, worst_accuracy

CLASSES = ["기쁨", "neutral", "contempt", "놀람 (surprise)", "없음"]


def measured(**options):
    true_N = np.array([0] * 20 + [1] * 20 + [2] * 7 + [3] * 10)
    pred_N = np.array([0] * 19 + [1] + [1] * 20 + [0] * 3 + [1] * 4 + [3] * 5 + [0] * 5)
    return measure(np.eye(5, dtype=np.float32)[pred_N], true_N, CLASSES, **options), pred_N, true_N


def test_headline_has_the_figures_and_their_intervals():
    found = measured()[0]
    lo, hi = found.macro_f1_ci
    assert headline(found).startswith(f"macro-F1 {found.macro_f1:.3f} [{lo:.3f}, {hi:.3f}], accuracy 0.772 [")
    assert headline(found).endswith(", 57 images")
    assert "[" not in headline(measured(bootstrap=0)[0])
    two = measure(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), np.array([0, 1]), ["a", "b"], bootstrap=0)
    assert headline(two) == "macro-F1 1.000, accuracy 1.000, ROC AUC 1.000, 2 images"
    one = measure(np.array([[0.9, 0.1]], np.float32), np.array([0]), ["a", "b"])
    assert headline(one) == "macro-F1 1.000, accuracy 1.000, 1 image"


def test_dead_weak_and_absent_classes_come_first_in_words():
    text = text_report("bunryu", {"model": "resnet18"}, {"test": measured()[0]}, next_steps=[])
    top = text[: text.index("  model")]
    assert "class 'contempt' is never predicted right (0 of 7): it is the answer for no image." in top
    assert "class '놀람 (surprise)' is far below the others: F1 0.667, median" not in top  # 0.667 is near it
    assert "1 class has no image in the truth (the model knows 5): 없음." in top
    assert "absent from the truth, not in the macro averages: 없음" in text


def test_a_weak_class_is_pointed_out():
    true_N = np.repeat([0, 1, 2], 10)
    pred_N = true_N.copy()
    pred_N[20:28] = 0
    found = measure(np.eye(3, dtype=np.float32)[pred_N], true_N, ["a", "b", "weak"], bootstrap=1)
    text = text_report("t", {}, {"val": found}, next_steps=[])
    assert "class 'weak' is far below the others: F1 0.333, median 0.714 (2 of 10 found)." in text


def test_many_dead_classes_are_counted_not_listed():
    true_N = np.repeat(np.arange(60), 2)
    found = measure(np.eye(60, dtype=np.float32)[np.zeros(120, int)], true_N, [f"c{i}" for i in range(60)], bootstrap=0)
    text = text_report("t", {}, {"test": found}, next_steps=[])
    assert text.count("is never predicted right") == 10
    assert "49 more are never predicted right: c11, c12, c13, c14, c15 and 44 more." in text


def test_several_splits_are_told_apart():
    found = measured()[0]
    text = text_report("t", {}, {"test": found, "val": found}, next_steps=["do this"])
    assert "! test: class 'contempt'" in text
    assert "! val: class 'contempt'" in text
    assert text.endswith("Next\n  do this\n")


def cell_count(line):
    """Count terminal cells in another way than the code does."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in line)


def test_columns_are_aligned_in_terminal_cells():
    text = text_report("t", {"모델": "resnet18\nfrom timm", "seed": "0"}, {"test": measured()[0]}, next_steps=[])
    lines = text.splitlines()
    head = next(i for i, line in enumerate(lines) if line.startswith("  class"))
    table = [line.removesuffix("  < never right") for line in lines[head : head + 6]]
    assert {cell_count(line) for line in table} == {cell_count(table[0])}
    assert [line.split()[-2:] for line in table[1:]] == [
        ["20", "27"],
        ["20", "25"],
        ["7", "0"],
        ["10", "5"],
        ["0", "0"],
    ]
    assert table[5].split()[:4] == ["없음", "-", "-", "-"]
    facts = [line for line in lines if "resnet18" in line or "from timm" in line or line.startswith("  seed")]
    starts = {cell_count(line[: len(line) - len(line.split("  ")[-1].lstrip())]) for line in facts}
    assert len(starts) == 1
    assert not any(line != line.rstrip() for line in lines)


def test_two_class_figures_are_named():
    two = measure(np.array([[0.9, 0.1], [0.2, 0.8]], np.float32), np.array([0, 1]), ["정상", "불량"], positive="불량")
    text = text_report("t", {}, {"test": two}, next_steps=[])
    assert "recall of '불량'" in text
    assert "ROC AUC" in text
    assert "Every answer is right" in text
    one = measure(np.array([[0.9, 0.1]], np.float32), np.array([0]), ["정상", "불량"])
    assert "not defined: the truth has one class only" in text_report("t", {}, {"test": one}, next_steps=[])


def test_groups_are_named():
    found = measured(groups=[str(i // 2) for i in range(57)])[0]
    text = text_report("t", {}, {"test": found}, next_steps=[])
    assert "test: 57 images in 29 groups" in text
    assert "2,000 resamples of 29 groups" in text


def test_decomposed_hangul_and_control_characters():
    decomposed = unicodedata.normalize("NFD", "기쁨")
    assert width(decomposed) == width("기쁨") == 4
    assert shorten(decomposed + "\n", 10) == "기쁨\\n"
    assert pad("기쁨", 6) == "기쁨  "
    shorten("caf\udce9", 10).encode("utf-8")  # a file name that is not Unicode


@given(st.text(max_size=60), st.integers(3, 30))
def test_shortened_text_fits_and_keeps_both_ends(text, cells):
    short = shorten(text, cells)
    assert width(short) <= cells
    assert not set(short) & set("\n\r\t\x00")
    if "…" in short and "…" not in text:
        assert width(short) >= cells - 2


def test_confusion_csv_reads_back():
    names = ["기쁨", '=cmd("a")', "a,b", "-x", "plain"]
    _, pred_N, true_N = measured()
    matrix_KK = confusion(pred_N, true_N, 5)
    rows = list(csv.reader(io.StringIO(confusion_csv(matrix_KK, names))))
    assert [unguard(cell) for cell in rows[0][1:]] == names == [unguard(row[0]) for row in rows[1:]]
    assert rows[2][0].startswith("'=")  # a spreadsheet does not run it
    assert (np.array([row[1:] for row in rows[1:]], int) == matrix_KK).all()


@pytest.mark.parametrize("k", [1, 2, 3])
def test_one_image_of_one_class(k):
    found = measure(np.eye(k, dtype=np.float32)[[0]], np.array([0]), [f"c{i}" for i in range(k)])
    assert text_report("t", {"a": ""}, {"test": found}, next_steps=[]).startswith("t\n=\n")


def test_groups_that_fare_worse_are_named() -> None:
    probs_NK = np.eye(2)[[0] * 90 + [1] * 10]
    groups = ["낮"] * 88 + ["night"] * 12
    metrics = measure(probs_NK, np.zeros(100, np.int64), ["a", "b"], bootstrap=0)
    by_group = measure_groups(probs_NK, np.zeros(100, np.int64), groups)
    metrics = metrics.plus(by_group=by_group, worst_group_accuracy=worst_accuracy(by_group))
    assert list(metrics.by_group) == ["night", "낮"], "the worst first"
    (told,) = [sentence for sentence in warnings_of(metrics) if sentence.startswith("group")]
    assert told == "group 'night' fares worse: accuracy 0.167 [0.047, 0.448], all 0.900."
    lines = text_report("title", {}, {"val": metrics}, next_steps=[]).splitlines()
    assert lines[lines.index("  group    images  accuracy") + 1] == "  night        12  0.167 [0.047, 0.448]"
