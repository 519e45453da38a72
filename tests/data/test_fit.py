"""Pictures of any shape in an input of any shape, against values worked out without `bunryu.data.images.decode`."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import NOISE, RED, SPEC, encode, rng, spec
from PIL import Image
from torchvision.transforms.v2 import CenterCrop

from bunryu.core.errors import ImageError
from bunryu.data.images.decode import decode, fit, load
from bunryu.settings.data import DecodeSpec

pytestmark = pytest.mark.filterwarnings("error")  # nothing here may warn


def triangle(pixels, box, size):
    """Antialiased bilinear resampling of a float box, straight from its definition, in float64."""

    def weights(start, stop, number, length):
        scale = (stop - start) / number
        support = max(scale, 1.0)
        centres = start + (np.arange(number) + 0.5) * scale
        distance = np.abs(np.arange(length) + 0.5 - centres[:, None]) / support
        matrix = np.clip(1 - distance, 0, None)
        return matrix / matrix.sum(axis=1, keepdims=True)

    height, width = pixels.shape[:2]
    rows, columns = weights(box[1], box[3], size[1], height), weights(box[0], box[2], size[0], width)
    return np.einsum("ah,bw,hwc->abc", rows, columns, pixels.astype(np.float64))


sides = st.integers(1, 40)


@settings(max_examples=120, deadline=None)
@given(sides, sides, sides, sides, st.floats(0.3, 1.0), st.integers(0, 1000))
def test_crop_is_the_exact_centred_box(height, width, target_height, target_width, crop_pct, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    scale = max(target_height / crop_pct / height, target_width / crop_pct / width)
    inner_height, inner_width = target_height / scale, target_width / scale
    left, top = (width - inner_width) / 2, (height - inner_height) / 2
    box = (left, top, left + inner_width, top + inner_height)
    fitted = fit(pixels, spec(target_height, target_width, crop_pct=crop_pct))
    assert fitted.shape == (target_height, target_width, 3)
    np.testing.assert_allclose(fitted, triangle(pixels, box, (target_width, target_height)), atol=1.6)


@settings(max_examples=120, deadline=None)
@given(
    sides,
    sides,
    sides,
    sides,
    st.sampled_from(["crop", "stretch", "pad"]),
    st.sampled_from(["nearest", "bilinear", "bicubic", "lanczos"]),
    st.sampled_from(["rgb", "grey"]),
    st.sampled_from(["RGB", "L", "RGBA"]),
)
def test_load_is_fit_of_decode(height, width, target_height, target_width, fit_by, resample, channels, kind):
    depth = {"RGB": 3, "L": 1, "RGBA": 4}[kind]
    pixels = np.random.default_rng(height * width).integers(0, 256, (height, width, depth), dtype=np.uint8)
    wanted = spec(target_height, target_width, fit_by, interpolation=resample, channels=channels, pad_colour=RED)
    expected = fit(decode(pixels, SPEC, channels), wanted)
    assert expected.shape == (target_height, target_width, wanted.depth)
    assert expected.dtype == np.uint8
    assert expected.flags.c_contiguous
    for source in (pixels, encode(pixels.squeeze(2) if kind == "L" else pixels, "PNG")):
        assert np.array_equal(load(source, SPEC, wanted), expected)


@settings(max_examples=60, deadline=None)
@given(sides, sides, sides, sides, st.sampled_from(["rgb", "grey"]))
def test_pad_keeps_the_whole_picture_in_the_middle(height, width, target_height, target_width, channels):
    depth = 3 if channels == "rgb" else 1
    wanted = spec(target_height, target_width, "pad", channels=channels, pad_colour=RED)
    fitted = fit(np.full((height, width, depth), 255, np.uint8), wanted)
    colour = RED if channels == "rgb" else [Image.new("RGB", (1, 1), RED).convert("L").getpixel((0, 0))]
    inside = (fitted == 255).all(axis=2)
    assert (fitted[~inside] == colour).all()
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    assert inside.sum() == len(rows) * len(columns)  # a rectangle
    scale = min(target_height / height, target_width / width)
    for found, side, target in ((rows, height, target_height), (columns, width, target_width)):
        assert abs(len(found) - max(1, side * scale)) <= 0.5 + 1e-9
        before, after = found[0], target - 1 - found[-1]
        assert 0 <= after - before <= 1


def test_a_crop_at_the_picture_s_own_scale_is_a_slice():
    pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    assert np.array_equal(fit(pixels, spec(20, 20, crop_pct=0.5)), pixels[10:30, 20:40])
    assert np.array_equal(fit(pixels, spec(20, 30, crop_pct=0.5)), pixels[10:30, 15:45])
    assert np.array_equal(fit(pixels, spec(40, 30)), pixels[:, 15:45])


def test_pixels_of_the_right_size_come_back_as_they_are():
    for fit_by in ("crop", "stretch", "pad"):
        assert fit(NOISE, spec(13, 17, fit_by)) is NOISE
    assert not np.array_equal(fit(NOISE, spec(13, 17, crop_pct=0.8)), NOISE)  # the crop still cuts


@pytest.mark.parametrize("fit_by", ["crop", "stretch", "pad"])
@pytest.mark.parametrize("shape", [(1, 5000), (5000, 1), (1, 1), (3, 4999)])
def test_extreme_shapes(shape, fit_by):
    pixels = np.full((*shape, 3), 77, np.uint8)
    fitted = fit(pixels, spec(224, 200, fit_by, crop_pct=1.0, interpolation="bicubic", pad_colour=(1, 2, 3)))
    assert fitted.shape == (224, 200, 3)
    assert (fitted[111:113, 99:101] == 77).any()
    assert fit_by == "pad" or (fitted == 77).all()


def test_fit_refuses_pixels_of_another_kind():
    with pytest.raises(ImageError, match="expected uint8 pixels of H×W×3, received uint8 of 13×17×1"):
        fit(NOISE[:, :, :1], spec(8, 8))
    with pytest.raises(ImageError, match="received float64 of 2×2×3"):
        fit(np.zeros((2, 2, 3)), spec(8, 8))
    with pytest.raises(ImageError, match="expected uint8 pixels of H×W×3, received uint8 of 0×4×3"):
        fit(np.zeros((0, 4, 3), np.uint8), spec(8, 8))
    assert fit(np.full((1, 1, 1), 9, np.uint8), spec(2, 2, channels="grey")).tolist() == [[[9], [9]], [[9], [9]]]


@pytest.mark.parametrize("size", [(20, 30), (21, 17), (40, 60), (90, 30)])
def test_center_crop_is_torchvision_s_before_the_fit(size):
    pixels = rng.integers(0, 256, (40, 60, 3), dtype=np.uint8)
    down, across = min(size[0], 40), min(size[1], 60)  # of a picture that has fewer, all
    crop = CenterCrop((down, across))
    middle = np.asarray(crop(Image.fromarray(pixels)))
    assert np.array_equal(fit(pixels, spec(down, across, center_crop=size)), middle)
    for way in ("crop", "stretch", "pad"):
        for target in ((16, 16), (11, 23)):
            assert np.array_equal(fit(pixels, spec(*target, way, center_crop=size)), fit(middle, spec(*target, way)))
    jpeg = encode(np.repeat(np.repeat(pixels, 8, 0), 8, 1), "JPEG", quality=95)
    wanted = spec(10, 10, center_crop=(size[0] * 8, size[1] * 8))
    reduced, full = load(jpeg, DecodeSpec(scaling="jpeg"), wanted), load(jpeg, SPEC, wanted)
    assert np.abs(reduced.astype(int) - full).mean() < 6
