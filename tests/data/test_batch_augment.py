"""Augmentation: each operation is the field's own, and a row's draw is its own."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bunryu.data.augment.batch import Parameters, apply, canvas, draw
from bunryu.data.images.decode import fit
from bunryu.settings.augment import AugmentSettings
from bunryu.settings.data import InputSpec

OFF = AugmentSettings(crop_scale=None, hflip=0)
quick = settings(max_examples=25, deadline=None)
ROWS = np.arange(40, dtype=np.int64)

EVERYTHING: dict[str, dict[str, Any]] = {
    "crop": {"crop_scale": (0.3, 0.9)},
    "hflip": {"hflip": 0.5},
    "vflip": {"vflip": 0.5},
    "rotate": {"rotate": 30.0},
    "brightness": {"brightness": 0.4},
    "contrast": {"contrast": 0.4},
    "saturation": {"saturation": 0.4},
    "hue": {"hue": 0.3},
    "erase": {"erase": 0.7},
}
COLOURS = ("saturation", "hue")


def switched(**values: Any) -> AugmentSettings:
    return AugmentSettings(**({"crop_scale": None, "hflip": 0.0} | values))


ALL_ON = switched(**{key: value for values in EVERYTHING.values() for key, value in values.items()})


def spec(height: int = 12, width: int = 20, *, grey: bool = False, **values: Any) -> InputSpec:
    depth = 1 if grey else 3
    given = {"mean": [0.4, 0.5, 0.6][:depth], "std": [0.2] * depth} | values
    return InputSpec(height=height, width=width, channels="grey" if grey else "rgb", **given)


def noise(count: int, wanted: InputSpec, seed: int = 0) -> torch.Tensor:
    shape = (count, wanted.height, wanted.width, wanted.depth)
    return torch.from_numpy(np.random.default_rng(seed).integers(0, 256, shape, np.uint8))


def smooth(count: int, wanted: InputSpec, seed: int = 0) -> torch.Tensor:
    """Make pictures without hard edges, for comparing resamplings."""
    small = noise(count, spec(4, 4, grey=wanted.depth == 1), seed).permute(0, 3, 1, 2).float()
    large = torch.nn.functional.interpolate(small, (wanted.height, wanted.width), mode="bicubic", align_corners=True)
    return large.clamp(0, 255).round().to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def still(count: int, **changes: float | list[float]) -> Parameters:
    """Return parameters that change nothing, but for `changes`."""
    neutral = {"width": 1, "height": 1, "x": 0.5, "y": 0.5, "hflip": 1, "vflip": 1, "angle": 0, "hue": 0, "erase": 0}
    neutral |= {"brightness": 1, "contrast": 1, "saturation": 1}
    neutral |= {"erase_width": 0.5, "erase_height": 0.5, "erase_x": 0.5, "erase_y": 0.5}
    return {
        name: np.broadcast_to(np.asarray(value, np.float32), count).copy()
        for name, value in (neutral | changes).items()
    }


def chw(x_BHWC: torch.Tensor) -> torch.Tensor:
    return x_BHWC.permute(0, 3, 1, 2)


def difference(a: torch.Tensor, b: torch.Tensor) -> int:
    return int((a.int() - b.int()).abs().max()) if a.numel() else 0


# Nothing on, nothing changed


@quick
@given(st.integers(1, 40), st.integers(1, 40), st.booleans(), st.integers(0, 5))
def test_all_off_is_the_identity(height: int, width: int, grey: bool, epoch: int) -> None:
    wanted = spec(height, width, grey=grey)
    x = noise(3, wanted)
    before = x.clone()
    y = apply(x, draw(OFF, 0, epoch, np.arange(3)), OFF, wanted)
    assert torch.equal(y, before)
    assert torch.equal(x, before)
    assert canvas(wanted, OFF) == wanted


@pytest.mark.parametrize("mode", ["crop", "stretch", "pad"])
def test_without_a_random_crop_training_pictures_are_those_of_validation(mode: Any) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (61, 47, 3), np.uint8)
    wanted = spec(24, 32, fit=mode, crop_pct=0.8 if mode == "crop" else 1.0, interpolation="bicubic")
    training = torch.from_numpy(fit(picture, canvas(wanted, OFF)).copy())[None]
    assert np.array_equal(apply(training, draw(OFF, 0, 0, ROWS[:1]), OFF, wanted)[0].numpy(), fit(picture, wanted))


def test_the_canvas_keeps_the_margin_that_the_centre_crop_cuts() -> None:
    wide = canvas(spec(224, 96, crop_pct=0.875), AugmentSettings())
    assert (wide.height, wide.width, wide.crop_pct) == (256, 110, 1.0)
    assert canvas(spec(224, 96, fit="stretch"), AugmentSettings()) == spec(224, 96, fit="stretch")
    assert canvas(spec(10, 10), AugmentSettings()) == spec(10, 10)


@pytest.mark.parametrize("name", ["crop", "rotate", "brightness", "contrast", "saturation", "hue", "erase"])
def test_neutral_parameters_change_nothing(name: str) -> None:
    wanted = spec(31, 17)
    x = noise(4, wanted)
    assert torch.equal(apply(x, still(4), switched(**EVERYTHING[name]), wanted), x)


# Each operation against torchvision's


FACTORS = [0.4, 0.8, 1.0, 1.3, 1.6]


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize(
    ("name", "reference"),
    [("brightness", tv.adjust_brightness), ("contrast", tv.adjust_contrast), ("saturation", tv.adjust_saturation)],
)
def test_colours_are_torchvisions(name: str, reference: Any, grey: bool) -> None:
    wanted = spec(15, 22, grey=grey)
    x = noise(len(FACTORS), wanted)
    y = apply(x, still(len(FACTORS), **{name: FACTORS}), switched(**{name: 0.6}), wanted)
    for k, factor in enumerate(FACTORS):
        assert difference(chw(y)[k], reference(chw(x)[k], factor)) <= 2, factor


def test_colours_follow_each_other_as_torchvisions_do() -> None:
    """Each one is cut to 0..255 before the next; torchvision's on float pictures do the same."""
    wanted = spec(15, 22)
    x = noise(2, wanted)
    augment = switched(brightness=0.9, contrast=0.9, saturation=0.9, hue=0.5)
    y = apply(x, still(2, brightness=1.7, contrast=1.6, saturation=0.5, hue=0.1), augment, wanted)
    expected = chw(x).float() / 255
    expected = tv.adjust_contrast(tv.adjust_brightness(expected, 1.7), 1.6)
    expected = tv.adjust_hue(tv.adjust_saturation(expected, 0.5), 0.1)
    assert difference(chw(y), (expected * 255).round()) <= 1


@pytest.mark.parametrize("shift", [-0.5, -0.2, 0.0, 0.05, 0.3, 0.5])
def test_hue_is_torchvisions(shift: float) -> None:
    wanted = spec(15, 22)
    x = noise(2, wanted)
    x[0, :3] = 77  # grey
    x[0, 3] = 0
    y = apply(x, still(2, hue=shift), switched(hue=0.5), wanted)
    assert difference(chw(y), tv.adjust_hue(chw(x), shift)) <= 2
    assert torch.equal(y[0, :4], x[0, :4])


@pytest.mark.parametrize("across", [1, -1])
@pytest.mark.parametrize("down", [1, -1])
@pytest.mark.parametrize("cropping", [False, True])
def test_flips(across: int, down: int, cropping: bool) -> None:
    wanted = spec()
    x = noise(2, wanted)
    augment = switched(hflip=0.5, vflip=0.5, crop_scale=(0.5, 1.0) if cropping else None)
    expected = tv.horizontal_flip(chw(x)) if across < 0 else chw(x)
    expected = tv.vertical_flip(expected) if down < 0 else expected
    assert torch.equal(chw(apply(x, still(2, hflip=across, vflip=down), augment, wanted)), expected)


@quick
@given(st.integers(8, 30), st.integers(8, 30), st.booleans(), st.data())
def test_crop_and_resize_are_torchvisions(height: int, width: int, grey: bool, data: st.DataObject) -> None:
    """Torchvision cuts before it resamples; the outermost half pixel, which blends over the cut here, is left out."""
    wanted = spec(height, width, grey=grey, crop_pct=0.75)
    augment = switched(crop_scale=(0.1, 1.0))
    whole = canvas(wanted, augment)
    h, w = data.draw(st.integers(4, whole.height)), data.draw(st.integers(4, whole.width))
    top, left = data.draw(st.integers(0, whole.height - h)), data.draw(st.integers(0, whole.width - w))
    x = smooth(2, whole)
    parameters = still(
        2,
        width=w / whole.width,
        height=h / whole.height,
        x=(left + w / 2) / whole.width,
        y=(top + h / 2) / whole.height,
    )
    y = chw(apply(x, parameters, augment, wanted))
    expected = tv.resized_crop(chw(x), top, left, h, w, [height, width], antialias=False)
    edge_y, edge_x = math.ceil(height / h), math.ceil(width / w)
    inner = (slice(None), slice(None), slice(edge_y, height - edge_y), slice(edge_x, width - edge_x))
    if y[inner].numel():
        assert difference(y[inner], expected[inner]) <= 2


@pytest.mark.parametrize("degrees", [-170, -45, -10, 10, 30, 90, 120, 180])
def test_rotation_is_torchvisions(degrees: float) -> None:
    wanted = spec(41, 57, pad_colour=(9, 99, 199))
    x = smooth(1, wanted)
    y = chw(apply(x, still(1, angle=math.radians(degrees)), switched(rotate=180.0), wanted))
    bilinear = tv.InterpolationMode.BILINEAR
    expected = tv.rotate(chw(x), degrees, bilinear, fill=[9.0, 99.0, 199.0])
    covered = tv.rotate(torch.full_like(chw(x), 255), degrees, bilinear, fill=[0.0] * 3)
    outside = torch.nn.functional.max_pool2d(covered.float(), 3, stride=1, padding=1) == 0
    for part in (covered == 255, outside):  # the border between them is blended in other ways
        assert difference(y[part], expected[part]) <= 2
    assert (covered == 255).float().mean() > 0.4


def test_rotation_keeps_shapes_on_a_picture_that_is_not_square() -> None:
    """A quarter turn moves a point as far down as it was across, whatever the picture's aspect."""
    wanted = spec(21, 61)
    x = torch.zeros(1, 21, 61, 3, dtype=torch.uint8)
    x[0, 10, 30 + 7] = 255  # seven to the right of the middle
    y = apply(x, still(1, angle=math.pi / 2), switched(rotate=90.0), wanted)
    assert int(y[0, 10 - 7, 30, 0]) == 255  # seven above it


def test_a_grey_rotation_is_filled_with_the_luma_of_the_padding() -> None:
    wanted = spec(20, 20, grey=True, pad_colour=(200, 100, 50))
    y = apply(noise(1, wanted), still(1, angle=math.radians(45)), switched(rotate=45.0), wanted)
    assert int(y[0, 0, 0, 0]) == round(0.299 * 200 + 0.587 * 100 + 0.114 * 50)


@pytest.mark.parametrize("grey", [False, True])
def test_erasing_fills_one_rectangle_of_the_right_area_with_the_mean(grey: bool) -> None:
    wanted = spec(40, 60, grey=grey)
    augment = switched(erase=1.0, erase_scale=(0.1, 0.3))
    x = torch.zeros(200, 40, 60, wanted.depth, dtype=torch.uint8)
    parameters = draw(augment, 0, 0, np.arange(200))
    y = apply(x, parameters, augment, wanted)
    mean = torch.tensor([round(255 * value) for value in wanted.mean], dtype=torch.uint8)
    erased = (y != 0).any(-1)
    assert torch.equal(y[erased], mean.expand(int(erased.sum()), -1))
    for k in range(200):
        rows, columns = torch.where(erased[k])
        height, width = int(rows.max() - rows.min()) + 1, int(columns.max() - columns.min()) + 1
        assert height * width == int(erased[k].sum())  # a full rectangle
        assert height == pytest.approx(parameters["erase_height"][k] * 40, abs=1)
        assert width == pytest.approx(parameters["erase_width"][k] * 60, abs=1)
    areas = erased.float().mean(dim=(1, 2))
    assert areas.min() > 0.08
    assert areas.max() < 0.33
    centres = np.array([[float(torch.where(e)[axis].float().mean()) for axis in (0, 1)] for e in erased])
    assert centres.std(axis=0).min() > 4  # all over the picture


def test_erasing_takes_the_share_of_rows_that_was_asked() -> None:
    chosen = draw(switched(erase=0.3), 0, 0, np.arange(5000))["erase"].mean()
    assert chosen == pytest.approx(0.3, abs=0.02)


# What comes out


@quick
@given(st.integers(1, 33), st.integers(1, 33), st.integers(1, 5), st.booleans(), st.sampled_from([*EVERYTHING, "all"]))
def test_the_output_is_contiguous_uint8_of_the_input_size(
    height: int, width: int, count: int, grey: bool, name: str
) -> None:
    augment = ALL_ON if name == "all" else switched(**EVERYTHING[name])
    if grey:
        augment = augment.model_copy(update=dict.fromkeys(COLOURS, 0.0))
    wanted = spec(height, width, grey=grey, crop_pct=0.9)
    x = noise(count, canvas(wanted, augment))
    before = x.clone()
    y = apply(x, draw(augment, 0, 0, np.arange(count)), augment, wanted)
    assert y.shape == (count, height, width, wanted.depth)
    assert y.dtype == torch.uint8
    assert y.is_contiguous()
    assert torch.equal(x, before)


# A row's draw is its own


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("name", [*EVERYTHING, "all"])
def test_a_row_does_not_depend_on_its_batch_or_order(name: str, grey: bool) -> None:
    augment = ALL_ON if name == "all" else switched(**EVERYTHING[name])
    if grey:
        augment = augment.model_copy(update=dict.fromkeys(COLOURS, 0.0))
    wanted = spec(16, 24, grey=grey)
    x = noise(len(ROWS), canvas(wanted, augment))

    def done(rows: np.ndarray) -> torch.Tensor:
        return apply(x[torch.from_numpy(rows)], draw(augment, 5, 2, rows), augment, wanted)

    whole = done(ROWS)
    shuffled = np.random.default_rng(0).permutation(ROWS)
    assert torch.equal(done(shuffled), whole[torch.from_numpy(shuffled)])
    for batch in np.split(ROWS, [1, 4, 11, 39]):
        assert torch.equal(done(batch), whole[torch.from_numpy(batch)])


def test_another_epoch_seed_or_row_gives_other_draws() -> None:
    first = draw(ALL_ON, 0, 0, ROWS)
    for other in (draw(ALL_ON, 0, 1, ROWS), draw(ALL_ON, 1, 0, ROWS), draw(ALL_ON, 0, 0, ROWS + 1000)):
        for name in ("x", "angle", "brightness", "contrast", "saturation", "hue", "erase_x", "erase_y"):
            assert (other[name] != first[name]).mean() > 0.9, name
    again = draw(ALL_ON, 0, 0, ROWS)
    assert all(np.array_equal(values, again[name]) for name, values in first.items())


@pytest.mark.parametrize("name", EVERYTHING)
def test_switching_one_operation_on_does_not_move_anothers_draws(name: str) -> None:
    own = {
        "crop": {"width", "height", "x", "y"},
        "rotate": {"angle"},
        "erase": {"erase"},
    }.get(name, {name})
    alone, together = draw(switched(**EVERYTHING[name]), 0, 0, ROWS), draw(ALL_ON, 0, 0, ROWS)
    off = draw(OFF, 0, 0, ROWS)
    for parameter, values in alone.items():
        expected = together if parameter in own else off
        assert np.array_equal(values, expected[parameter]), parameter


RANGES = {
    "angle": (math.radians(-30), math.radians(30)),
    "brightness": (0.6, 1.4),
    "contrast": (0.6, 1.4),
    "saturation": (0.6, 1.4),
    "hue": (-0.3, 0.3),
    "erase_x": (0, 1),
    "erase_y": (0, 1),
}


@pytest.mark.parametrize("name", RANGES)
def test_draws_are_uniform_over_their_range(name: str) -> None:
    low, high = RANGES[name]
    values = draw(ALL_ON, 3, 1, np.arange(4000))[name]
    assert low <= values.min() <= values.max() <= high
    assert stats.kstest((values - low) / (high - low), "uniform").pvalue > 0.01


def test_the_crops_area_is_uniform_and_its_aspect_log_uniform() -> None:
    augment = switched(crop_scale=(0.1, 0.5), crop_ratio=(0.8, 1.25))  # so that no side is cut to the picture
    p = draw(augment, 0, 0, np.arange(4000))
    area, aspect = p["width"] * p["height"], p["width"] / p["height"]
    assert stats.kstest((area - 0.1) / 0.4, "uniform").pvalue > 0.01
    assert stats.kstest((np.log(aspect) - math.log(0.8)) / math.log(1.25 / 0.8), "uniform").pvalue > 0.01
    for side, at in (("width", "x"), ("height", "y")):
        start = (p[at] - p[side] / 2) / (1 - p[side])
        assert -1e-5 < start.min() < start.max() < 1 + 1e-5
        assert stats.kstest(start.clip(0, 1), "uniform").pvalue > 0.01


def test_a_crop_never_leaves_the_picture() -> None:
    p = draw(switched(crop_scale=(0.35, 1.0), crop_ratio=(0.5, 2.0)), 0, 0, np.arange(4000))
    for side, at in (("width", "x"), ("height", "y")):
        assert p[side].max() <= 1
        assert (p[at] - p[side] / 2).min() > -1e-6
        assert (p[at] + p[side] / 2).max() < 1 + 1e-6


@pytest.mark.parametrize("share", [0.0, 0.25, 1.0])
def test_flips_take_the_share_that_was_asked(share: float) -> None:
    p = draw(switched(hflip=share, vflip=share), 0, 0, np.arange(4000))
    for name in ("hflip", "vflip"):
        assert (p[name] < 0).mean() == pytest.approx(share, abs=0.03 * (0 < share < 1))
    if 0 < share < 1:
        assert np.corrcoef(p["hflip"], p["vflip"])[0, 1] == pytest.approx(0, abs=0.05)
