"""Which rows an epoch has: as often as the sampler says, spread evenly, each coming augmented anew."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunryu.data.settings import AugmentSettings
from bunryu.data.transforms import draw
from bunryu.train.sampling import class_aware, epoch_rows, plain
from bunryu.train.settings import TrainSettings


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
