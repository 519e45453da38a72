"""What every table of predictions can do, whatever kind of answers it holds."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable

import numpy as np
import pytest

from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions, PredictionTable, one_answer
from bunryu.models.record import Attribute

N = 6
NAMES = ["=가", "b", "c", "d"]
MORE = {"fold": list(range(N))}
GROUPS = [f"g{i // 2}" for i in range(N)]
PROBS = np.random.default_rng(0).dirichlet(np.ones(4), N).astype(np.float32)
PARTS = [Attribute(column="mask", classes=["worn", "not"], of=[0, 0, 1, 1])]


def of_classes(known: bool) -> PredictionTable:
    true_N = np.arange(N) % 4 if known else None
    return Predictions([f"{i}.png" for i in range(N)], NAMES, PROBS, true_N, groups=GROUPS, more=MORE, attributes=PARTS)


def of_labels(known: bool) -> PredictionTable:
    held_NL = PROBS > 0.4 if known else None
    paths = [f"{i}.png" for i in range(N)]
    return LabelPredictions(
        paths, NAMES, PROBS, groups=GROUPS, more=MORE, thresholds=[0.3, 0.2, 0.5, 0.9], held_NL=held_NL
    )


kinds = pytest.mark.parametrize("kind", [of_classes, of_labels])
Kind = Callable[[bool], PredictionTable]


@kinds
@pytest.mark.parametrize("known", [True, False])
def test_rows_lines_and_frame_say_the_same(kind: Kind, known: bool) -> None:
    table = kind(known)
    header = table.header()
    assert header[0] == "path"
    assert ("true" in header) is known
    assert header[-5:] == [*(f"p_{name}" for name in NAMES), "fold"]
    rows = [dict(zip(header, row, strict=True)) for row in table.rows()]
    assert len(rows) == len(table) == N
    assert [json.loads(line) for line in table.lines("jsonl")] == rows
    lines = list(csv.reader(table.lines("csv")))
    assert lines[0] == header
    assert [line[0] for line in lines[1:]] == table.paths
    assert list(csv.reader(table.lines("tsv"), delimiter="\t")) == lines
    frame = table.frame()
    assert list(frame.columns) == header
    for at, row in enumerate(rows):
        for name, cell in row.items():
            assert frame[name][at] == (pytest.approx(cell, rel=1e-5) if isinstance(cell, float) else cell)


@kinds
@pytest.mark.parametrize("known", [True, False])
def test_taken_rows_are_those_rows(kind: Kind, known: bool) -> None:
    table, order = kind(known), np.array([4, 0, 3])
    taken = table.take(order)
    assert type(taken) is type(table)
    whole = list(table.rows())
    assert list(taken.rows()) == [whole[row] for row in order]
    assert taken.groups == [GROUPS[row] for row in order]
    assert list(table.take(np.zeros(0, np.int64)).rows()) == []


@kinds
def test_a_mark_for_each_class(kind: Kind) -> None:
    table = kind(False)
    marks = table.marks(0)
    assert len(marks) == len(NAMES)
    assert all(mark == "" or mark.strip() in ("yes", "no") for mark in marks)


def test_marks_are_what_the_thresholds_say() -> None:
    table = of_labels(True)
    assert isinstance(table, LabelPredictions)
    for row in range(N):
        assert [mark == "yes " for mark in table.marks(row)] == table.said_NL[row].tolist()


def test_siblings_have_nothing_of_each_other() -> None:
    assert not isinstance(of_labels(True), Predictions)
    assert not {"pred_N", "of", "true_N", "attributes"} & set(dir(of_labels(True)))
    assert not {"said_NL", "held_NL", "thresholds"} & set(dir(of_classes(True)))


def test_who_knows_one_answer_alone_gets_no_other() -> None:
    assert one_answer(of_classes(True)) is not None
    with pytest.raises(AssertionError):
        one_answer(of_labels(True))
