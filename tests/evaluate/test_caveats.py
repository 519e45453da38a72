"""What to know before a figure is believed: which facts say what, and in which order."""

from __future__ import annotations

import re
from typing import Literal

import pytest

from bunryu.evaluate.caveats import UNSEEN, Copies, Exposure, caveats, of_validation
from bunryu.evaluate.figures import Bootstrap


def drawn(of: Literal["rows", "groups"], units: int, *, resamples: int = 2000) -> Bootstrap:
    return Bootstrap(resamples=resamples, of=of, units=units)


ROWS = drawn("rows", 100)


def test_nothing_is_said_where_there_is_nothing_to_say() -> None:
    assert caveats(100, ROWS) == caveats(100) == caveats(30, None, UNSEEN) == ()


@pytest.mark.parametrize(
    ("told", "facts"),
    [
        ("Only 29 images: each moves the accuracy by 0.03", {"n": 29}),
        ("no ROC AUC: it needs images of both classes", {"one_of_two": True}),
        ("no intervals: they need more than one of the groups", {"bootstrap": drawn("groups", 1)}),
        ("from 19 groups only", {"bootstrap": drawn("groups", 19)}),
        ("Clopper and Pearson for the accuracy of 40 independent rows", {"bootstrap": drawn("rows", 40, resamples=0)}),
        (
            "1 of 9 images is an exact copy of images that .* has learned",
            {"exposure": Exposure(copies=(Copies(1, 9, "learned from"),))},
        ),
        ("learned from these images .* figures mean nothing", {"exposure": Exposure(learned=True)}),
        ("From epoch 3 on .* epoch 2, .* only the test rows measure", {"exposure": Exposure(before=(3, 2))}),
        (
            "From epoch 3 on .* nothing here measures: keep a split.test",
            {"exposure": Exposure(before=(3, 2), tested=False)},
        ),
        ("threshold of each label was chosen on these images", {"exposure": Exposure(thresholds=True)}),
        ("members' best epochs, and their weights", {"exposure": Exposure(members=True)}),
        ("best epoch of each run was chosen on its own fold", {"exposure": Exposure(own_fold=True)}),
    ],
)
def test_each_fact_has_its_sentence(told: str, facts: dict[str, object]) -> None:
    (sentence,) = caveats(**{"n": 100, "bootstrap": ROWS, **facts})  # type: ignore[arg-type]
    assert re.search(told, sentence)
    assert sentence.endswith(".")


def test_few_groups_of_rows_are_no_few_groups() -> None:
    assert caveats(100, drawn("rows", 19)) == ()
    assert caveats(100, drawn("groups", 20)) == ()


def test_those_that_take_most_come_first() -> None:
    known = Exposure(copies=(Copies(2, 9, "learned from"),), learned=True, thresholds=True, members=True)
    few = drawn("groups", 5, resamples=0)
    starts = [" ".join(told.split()[:3]) for told in caveats(9, few, known, one_of_two=True)]
    assert starts == [
        *("2 of 9", "The model learned", "Only 9 images:", "There is no", "The intervals come", "Every answer is"),
        *("The threshold of", "The members' best"),
    ]


def test_probe_is_advised_only_where_it_knows_such_answers() -> None:
    assert "`bunryu probe`" in caveats(5, probe=True)[0]
    assert "`bunryu probe`" not in caveats(5)[0]


@pytest.mark.parametrize(
    ("monitor", "tau", "told"),
    [
        ("macro_f1", None, "The best epoch was chosen on these images, so they flatter it a little."),
        ("macro_f1", "auto", "The best epoch and tau were chosen on these images, so they flatter them a little."),
        ("train_loss", "auto", "Tau was chosen on these images, so they flatter it a little."),
        ("train_loss", 1.0, None),
    ],
)
def test_what_a_run_chose_by_its_validation_rows(monitor: str, tau: object, told: str | None) -> None:
    facts = {"thresholds": False, "before": None}
    alone = caveats(100, ROWS, of_validation(monitor, tau, tested=False, **facts))  # type: ignore[arg-type]
    assert alone == (() if told is None else (f"{told} Keep some for a test that chose nothing: split.test=0.2.",))
    beside = caveats(100, ROWS, of_validation(monitor, tau, tested=True, **facts))  # type: ignore[arg-type]
    assert beside == (), "a test that chose nothing says more"
