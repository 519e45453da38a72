"""MixUp, CutMix and ReMix against their papers; and that a batch is mixed the same when a run resumes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from bunryu.core.errors import ConfigError
from bunryu.settings.load import load_settings
from bunryu.settings.train import MixSettings
from bunryu.train.mixup import blend, cutmix_box, mix, paste, remix_share

COUNTS = torch.tensor([100.0, 30.0, 5.0])


def batch(n: int = 12, side: int = 10) -> tuple[torch.Tensor, torch.Tensor]:
    draw = torch.Generator().manual_seed(0)
    pictures = torch.randint(0, 256, (n, side, side + 2, 3), generator=draw, dtype=torch.uint8)
    return pictures, torch.arange(n) % 3


def test_blend_is_its_paper() -> None:
    x, _ = batch()
    other = x.flip(0)
    expected = (0.3 * x.double() + 0.7 * other.double()).round()
    found = blend(x, other, 0.3)
    assert found.dtype == torch.uint8
    assert (found.double() - expected).abs().max() <= 1  # halves may go either way
    features = torch.randn(5, 7)
    torch.testing.assert_close(blend(features, features.flip(0), 0.3), 0.3 * features + 0.7 * features.flip(0))


@given(st.floats(0, 1), st.integers(1, 300), st.integers(1, 300), st.floats(0, 0.999), st.floats(0, 0.999))
def test_the_share_of_cutmix_is_what_is_left_of_the_picture(
    share: float, height: int, width: int, y: float, x: float
) -> None:
    (top, bottom, left, right), left_over = cutmix_box(share, height, width, y, x)
    assert 0 <= top <= bottom <= height
    assert 0 <= left <= right <= width
    mask = np.zeros((height, width), bool)
    mask[top:bottom, left:right] = True
    assert left_over == pytest.approx(1 - mask.mean())
    assert mask.mean() <= 1 - share + 1e-9, "never more than was drawn"


def test_the_box_is_the_other_pictures() -> None:
    x, _ = batch()
    other = x.flip(0)
    found = paste(x, other, (2, 5, 1, 7))
    assert torch.equal(found[:, 2:5, 1:7], other[:, 2:5, 1:7])
    outside = torch.ones(10, 12, dtype=torch.bool)
    outside[2:5, 1:7] = False
    assert torch.equal(found[:, outside], x[:, outside])


@pytest.mark.parametrize(
    ("own", "other", "share", "expected"),
    [
        (90, 10, 0.4, 0.0),  # the first is 9 times as frequent and has less than tau: all goes to the second
        (90, 10, 0.6, 0.6),  # but it has more than tau
        (10, 90, 0.6, 1.0),  # the second is as frequent, and has 0.4
        (10, 90, 0.4, 0.4),
        (20, 10, 0.4, 0.4),  # not frequent enough
        (30, 10, 0.4, 0.0),  # just
    ],
)
def test_remix_is_its_paper(own: float, other: float, share: float, expected: float) -> None:
    found = remix_share(torch.tensor([share]), torch.tensor([own]), torch.tensor([other]), kappa=3.0, tau=0.5)
    assert found.item() == pytest.approx(expected)


@pytest.mark.parametrize("name", ["mixup", "cutmix", "both"])
def test_the_target_says_what_the_picture_holds(name: str) -> None:
    x, target = torch.zeros(12, 10, 12, 1, dtype=torch.uint8), torch.arange(12) % 3
    x[target == 1] = 100
    x[target == 2] = 200
    settings = MixSettings(name=name, alpha=1.0)
    kinds = set()
    for step in range(20):
        mixed, shares = mix(x, target, COUNTS, settings, 0, 1, step)
        assert shares.shape == (12, 3)
        torch.testing.assert_close(shares.sum(1), torch.ones(12))
        held = mixed.float().mean(dim=(1, 2, 3))
        torch.testing.assert_close(held, shares @ torch.tensor([0.0, 100.0, 200.0]), atol=0.6, rtol=0)
        kinds.add(bool(set(mixed.unique().tolist()) <= {0, 100, 200}))
    assert (len(kinds) == 2) is (name == "both")


def test_draws_are_named() -> None:
    x, target = batch()
    settings = MixSettings(name="both", probability=0.5)
    once = [mix(x, target, COUNTS, settings, 3, 2, step) for step in range(10)]
    again = [mix(x, target, COUNTS, settings, 3, 2, step) for step in range(10)]
    assert all(torch.equal(a, b) and torch.equal(s, t) for (a, s), (b, t) in zip(once, again, strict=True))
    alone = [target.ndim == 1 for _, target in once]
    assert any(alone)
    assert not all(alone)
    assert not torch.equal(once[alone.index(False)][0], mix(x, target, COUNTS, settings, 4, 2, alone.index(False))[0])


def test_nothing_is_mixed_where_nothing_is_asked_for() -> None:
    x, target = batch()
    for settings in (MixSettings(), MixSettings(name="mixup", probability=0.0)):
        found, same = mix(x, target, COUNTS, settings, 0, 0, 0)
        assert found is x
        assert same is target


@pytest.mark.parametrize(
    ("pairs", "message"),
    [
        (["mix.remix=true"], "mix.remix corrects the labels of mixed rows"),
        (
            ["mix.name=cutmix", "train.stages=[{name: h, freeze: backbone, views: 1}]"],
            "the stage 'h' learns from cached features, which CutMix cannot mix",
        ),
        (["loss.name=soft_f1", "loss.label_smoothing=0", "train.accumulate=2"], "set train.accumulate=1"),
    ],
)
def test_what_cannot_be_is_told(pairs: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings(pairs)


def test_a_solved_head_does_not_stand_against_cutmix() -> None:
    assert load_settings(["mix.name=cutmix"]).mix.name == "cutmix"
