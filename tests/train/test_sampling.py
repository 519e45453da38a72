"""Which rows an epoch has: as often as the sampler says, spread evenly, each coming augmented anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunryu.core.randomness import comings, key_of, plain
from bunryu.data.augment.batch import draw
from bunryu.data.augment.per_image import pipeline
from bunryu.settings.augment import AugmentSettings
from bunryu.settings.data import InputSpec
from bunryu.settings.train import TrainSettings
from bunryu.train.sampling import balanced, class_aware, epoch_counts, epoch_rows


@given(st.lists(st.integers(1, 40), min_size=1, max_size=6), st.sampled_from([0.0, 0.5, 1.0]), st.integers(0, 50))
def test_every_class_comes_in_its_proportion(counts: list[int], power: float, epoch: int) -> None:
    target = np.repeat(np.arange(len(counts)), counts)
    rows = np.arange(len(target)) * 3 + 7
    found = class_aware(rows, target, power, 0, epoch)
    assert len(found) == len(rows)
    assert len(set(found.tolist())) == len(found), "a row that comes again has another number"
    came = np.bincount(target[(plain(found) - 7) // 3], minlength=len(counts))
    share = np.array(counts, float) ** power
    assert np.abs(came - share / share.sum() * len(rows)).max() < 1 + 1e-9
    for k in range(len(counts)):
        times = np.bincount(plain(found)[target[(plain(found) - 7) // 3] == k], minlength=1)
        own = times[rows[target == k]] if len(times) > rows[target == k].max() else None
        assert own is None or own.max() - own.min() <= 1, "all rows of a class before any comes again"


def test_the_natural_power_is_one_coming_each() -> None:
    target = np.repeat([0, 1, 2], [50, 7, 1])
    assert sorted(class_aware(np.arange(58), target, 1.0, 0, 3)) == list(range(58))


def test_batches_are_balanced() -> None:
    target = np.repeat([0, 1, 2, 3], [300, 60, 30, 10])
    order = target[plain(class_aware(np.arange(400), target, 0.0, 0, 0))]
    for start in range(0, 400, 20):
        assert np.abs(np.bincount(order[start : start + 20], minlength=4) - 5).max() <= 1


def test_epochs_and_seeds_differ_and_repeat() -> None:
    target = np.repeat([0, 1], [30, 5])
    rows = np.arange(35)
    orders = {class_aware(rows, target, 0.0, *key).tobytes() for key in ((0, 0), (0, 1), (1, 0))}
    assert len(orders) == 3
    assert class_aware(rows, target, 0.0, 0, 1).tobytes() in orders


@pytest.mark.parametrize("balance_to", [None, 20])
@pytest.mark.parametrize("sampler", ["shuffle", "class_aware"])
def test_the_order_differs_from_epoch_to_epoch_and_seed_to_seed_and_repeats(
    sampler: Any, balance_to: int | None
) -> None:
    target, rows = np.repeat([0, 1], 20), np.arange(40)  # as many of each, so that no copy is needed

    def order(seed: int, epoch: int) -> tuple[int, ...]:
        found = epoch_rows(rows, target, TrainSettings(sampler=sampler, seed=seed), epoch, balance_to)
        assert sorted(found.tolist()) == rows.tolist()
        return tuple(found.tolist())

    assert len({order(0, epoch) for epoch in range(4)} | {order(1, epoch) for epoch in range(4)}) == 8
    assert order(1, 3) == order(1, 3)


def test_a_row_that_comes_again_is_augmented_anew() -> None:
    target = np.repeat([0, 1], [30, 2])
    found = class_aware(np.arange(32), target, 0.0, 0, 0)
    again = found[plain(found) == 31]
    assert len(again) > 3
    drawn = draw(AugmentSettings(crop_scale=(0.1, 1.0)), 0, 0, again)
    assert len(set(drawn["width"].tolist())) == len(again)


@pytest.mark.parametrize("sampler", ["shuffle", "class_aware"])
def test_the_settings_choose(sampler: str) -> None:
    target = np.repeat([0, 1], [30, 2])
    rows = plain(epoch_rows(np.arange(32), target, TrainSettings(sampler=sampler), 0))  # type: ignore[arg-type]
    assert np.bincount(target[rows]).tolist() == ([30, 2] if sampler == "shuffle" else [16, 16])


@given(st.lists(st.integers(1, 30), min_size=1, max_size=6), st.integers(1, 70), st.integers(0, 50))
def test_balanced_keeps_every_row_and_adds_copies_to_the_number(counts: list[int], to: int, epoch: int) -> None:
    target = np.repeat(np.arange(len(counts)), counts)
    rows = np.arange(len(target)) * 3 + 7
    found = balanced(rows, target, to, 0, epoch)
    assert found[: len(rows)].tolist() == rows.tolist(), "the originals"
    assert len(set(found.tolist())) == len(found), "each copy has a number of its own"
    times = np.bincount((plain(found) - 7) // 3, minlength=len(rows))
    assert (
        np.bincount(target, weights=times).tolist()
        == epoch_counts(counts, TrainSettings(), to)
        == [max(n, to) for n in counts]
    )
    for k in range(len(counts)):
        assert np.ptp(times[target == k]) <= 1, "all rows of a class are copied before any again"
    assert set(comings(found[len(rows) :]).tolist()) <= set(range(1, to + 1))
    order = epoch_rows(rows, target, TrainSettings(), epoch, to)
    assert sorted(order.tolist()) == sorted(found.tolist())


def test_copies_differ_from_epoch_to_epoch_and_repeat() -> None:
    target = np.repeat([0, 1], [30, 7])
    found = [balanced(np.arange(37), target, 30, 0, epoch).tolist() for epoch in (0, 1, 0)]
    assert found[0] == found[2] != found[1]


def test_a_copy_is_augmented_by_operations_anew() -> None:
    change = pipeline(AugmentSettings(ops=["gaussian_noise"]), InputSpec(height=8, width=8, mean=[0.5], std=[0.5]))
    pixels = np.full((8, 8, 3), 128, np.uint8)
    found = balanced(np.arange(1), np.zeros(1, np.int64), 5, 0, 0)
    seen = {change(pixels, key_of(0, "augment", 0, key)).tobytes() for key in found.tolist()}
    assert len(seen) == 5


def test_a_class_is_spread_evenly_also_where_it_has_less_than_others() -> None:
    counts = np.array([300, 60, 30, 10])
    target = np.repeat(np.arange(4), counts)
    order = target[plain(class_aware(np.arange(400), target, 1.0, 0, 0))]
    for start in range(0, 400, 40):
        assert np.abs(np.bincount(order[start : start + 40], minlength=4) - counts / 10).max() <= 1


def test_a_class_of_one_row_comes_anywhere_in_the_epoch() -> None:
    """Over 400 epochs its place is a half on average, whose standard error is 0.29 / 20, and as often anywhere."""
    target = np.repeat([0, 1], [39, 1])
    places = [class_aware(np.arange(40), target, 1.0, 0, epoch).tolist().index(39) / 39 for epoch in range(400)]
    assert np.mean(places) == pytest.approx(0.5, abs=0.06)
    assert np.histogram(places, 4, (0, 1))[0].min() > 70


def test_copies_of_a_row_are_numbered_one_after_the_other() -> None:
    copies = balanced(np.arange(2), np.zeros(2, np.int64), 7, 0, 0)[2:]
    assert np.bincount(comings(copies)).tolist() == [0, 2, 2, 1]


def test_the_counts_of_an_epoch() -> None:
    assert epoch_counts([0, 3, 9], TrainSettings()) == [0, 3, 9]
    assert epoch_counts([0, 3, 9], TrainSettings(), 5) == [0, 5, 9], "a class without rows has nothing to copy"


@given(
    st.lists(st.integers(1, 40), min_size=1, max_size=6),
    st.sampled_from(["shuffle", "class_aware"]),
    st.sampled_from([0.0, 0.5, 1.0]),
    st.sampled_from([None, 20]),
    st.integers(0, 9),
)
def test_the_counts_of_an_epoch_are_those_it_shows(
    counts: list[int], sampler: Any, power: float, to: int | None, epoch: int
) -> None:
    """Whatever decides how often a class comes; a fraction of a row is settled by a draw."""
    settings = TrainSettings(sampler=sampler, sampler_power=power)
    to = to if sampler == "shuffle" else None
    target = np.repeat(np.arange(len(counts)), counts)
    shown = plain(epoch_rows(np.arange(len(target)), target, settings, epoch, to))
    told = np.array(epoch_counts(counts, settings, to))
    assert np.abs(np.bincount(target[shown], minlength=len(counts)) - told).max() < 1 + 1e-6
    assert told.sum() == pytest.approx(len(shown))
    assert epoch_counts([*counts, 0], settings, to)[-1] == 0, "a class without rows is not shown"
