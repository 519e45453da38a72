"""What was decided is told in one order, as it always was, and read back to the same."""

from __future__ import annotations

import dataclasses

import pytest

from bunryu.workflows.plan.decisions import Decisions, Images, Network, Rows

WHOLE = Decisions(
    refit="80 rows, all 3 epochs (the median of the folds' best)",
    model=Network("own of net.py (SHA-256 0123..., its head is fc)", 5_858_704),
    weights="none: from scratch",
    labels="3: ant, bee, cat",
    images=Images(used=12_345, skipped=1, copied=2),
    rows=Rows({"in folds": 10_000, "test": 2_345}),
    not_clean="runs/a has learned from 3 of 10 val images",
    group_dro="training rows of each group: water+bird 1,002, land+bird 7",
    best_epochs="3, 4",
)
TOLD = {
    "model": "own of net.py (SHA-256 0123..., its head is fc), 5,858,704 parameters",
    "weights": "none: from scratch",
    "labels": "3: ant, bee, cat",
    "images": "12,345 used, 1 skipped, 2 pictures in several rows",
    "rows": "in folds 10,000, test 2,345",
    "not clean": "runs/a has learned from 3 of 10 val images",
    "group DRO": "training rows of each group: water+bird 1,002, land+bird 7",
    "best epochs": "3, 4",
    "refit": "80 rows, all 3 epochs (the median of the folds' best)",
}


def test_decisions_are_told_in_their_order_and_what_was_not_decided_is_not() -> None:
    assert list(WHOLE.told().items()) == list(TOLD.items())
    assert Decisions().told() == {}


def test_what_was_told_is_read_back() -> None:
    assert Decisions.read(TOLD) == WHOLE
    assert Decisions.read({**TOLD, "of another time": "something"}) == WHOLE
    assert Decisions.read({}) == Decisions()


@pytest.mark.parametrize(
    ("images", "told"),
    [
        (Images(7), "7 used"),
        (Images(1_000, skipped=2), "1,000 used, 2 skipped"),
        (Images(3, copied=1), "3 used, 1 picture in several rows"),
    ],
)
def test_images_are_told_by_their_numbers(images: Images, told: str) -> None:
    assert str(images) == told
    assert Images.read(told) == images


def test_decisions_stay_as_they_are() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        WHOLE.plan = "30 min"  # type: ignore[misc]
