"""Scaled decoding of JPEGs: how far it may go, that it stays close to full decoding, and where it has no part."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, JpegImagePlugin

from bunryu.core.errors import ImageError
from bunryu.data.images.decode import decode, load, reduction
from bunryu.data.images.load import load_batches
from bunryu.settings.data import DecodeSettings, DecodeSpec, InputSpec

FULL = DecodeSpec()
SCALED = DecodeSpec(scaling="jpeg")
FITS = ("crop", "stretch", "pad")


def spec(height, width, fit="crop", crop_pct=1.0, **options):
    return InputSpec(height=height, width=width, fit=fit, crop_pct=crop_pct, **{"mean": [0], "std": [1], **options})


def encode(picture, form="JPEG", **options):
    stream = BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(stream, form, **options)
    return stream.getvalue()


def natural(width, height, seed=0):
    """A picture whose amplitudes fall with frequency as those of photos do (1/f), H x W x 3."""
    rng = np.random.default_rng(seed)
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    frequency[0, 0] = np.inf
    shape = (3, *frequency.shape)
    noise = (rng.normal(size=shape) + 1j * rng.normal(size=shape)) / frequency
    planes = np.fft.irfft2(noise, s=(height, width))
    planes = 0.7 * planes[:1] + 0.3 * planes  # colours of photos go together
    planes = 128 + 50 * planes / max(planes.std(), 1e-9)
    return np.moveaxis(planes, 0, 2).clip(0, 255).astype(np.uint8)


def smooth(width, height):
    """A picture without detail but with slopes everywhere: a shift shows, lost detail does not."""
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    planes = [120 + 110 * np.sin(5 * x + 2 * y), 250 * x, 250 * y]
    return np.stack(planes, axis=2).round().astype(np.uint8)


def apart(source, target, exif=True):
    """Return the differences between the scaled and the full decode, in grey levels."""
    scaled, full = (load(source, DecodeSpec(scaling=scaling, exif=exif), target) for scaling in ("jpeg", "full"))
    assert scaled.shape == full.shape == (target.height, target.width, target.depth)
    return np.abs(scaled.astype(int) - full)


# How far a JPEG is reduced.

sides = st.integers(1, 9000)
inputs = st.builds(
    spec, st.integers(1, 600), st.integers(1, 600), st.sampled_from(FITS), st.sampled_from([0.5, 0.875, 0.95, 1.0])
)


def spare(width, height, target):
    """How many pixels there are for one of the result, on the side that has fewer."""
    ratios = width / target.width, height / target.height
    if target.fit == "crop":
        return target.crop_pct * min(ratios)
    if target.fit == "stretch":
        return min(ratios)
    inner = (max(1, np.floor(side / max(ratios) + 0.5)) for side in (width, height))
    return min(side / small for side, small in zip((width, height), inner, strict=True))


@given(sides, sides, inputs)
def test_what_is_left_is_never_smaller_than_the_result_and_the_reduction_is_the_largest(width, height, target):
    there = spare(width, height, target)
    assume(all(abs(there / by - 1) > 1e-9 for by in (2, 4, 8)))  # exact ties: the next test
    by = reduction(width, height, target)
    assert by in (1, 2, 4, 8)
    assert by == 1 or there / by >= 1
    assert by == 8 or there / (2 * by) < 1


@pytest.mark.parametrize("fit", FITS)
def test_the_reduction_at_its_edges(fit):
    sizes = {447: 1, 448: 2, 895: 2, 896: 4, 1791: 4, 1792: 8, 9000: 8, 223: 1, 1: 1}
    assert {side: reduction(side, side, spec(224, 224, fit)) for side in sizes} == sizes
    assert reduction(512, 512, spec(224, 224, "crop", 0.875)) == 2
    assert reduction(511, 512, spec(224, 224, "crop", 0.875)) == 1


def test_the_reduction_by_fit_where_the_shapes_differ():
    wide = (4000, 500)
    assert reduction(*wide, spec(224, 224, "crop")) == 2
    assert reduction(*wide, spec(224, 224, "stretch")) == 2
    assert reduction(*wide, spec(224, 224, "pad")) == 8  # it is 224 x 28 within the padding
    assert reduction(*wide, spec(50, 400, "stretch")) == 8
    assert reduction(4000, 4, spec(224, 224, "pad")) == 4  # one row high at least


def test_the_reduction_is_by_the_middle_that_is_left():
    for fit_by in FITS:
        assert reduction(4000, 4000, spec(50, 50, fit_by, center_crop=(200, 200))) == 4
    assert reduction(4000, 4000, spec(50, 50, "stretch", center_crop=(800, 100))) == 2
    assert reduction(4000, 4000, spec(50, 50, "stretch", center_crop=(100, 800))) == 2


def test_training_and_validation_reduce_alike():
    """A picture fitted with the margin of random crops has the scale of the centre crop."""
    for width, height in [(500, 375), (512, 512), (1024, 700), (3000, 4000)]:
        assert reduction(width, height, spec(224, 224, "crop", 0.875)) == reduction(width, height, spec(256, 256))


def test_nearest_keeps_every_pixel():
    target = spec(16, 16, interpolation="nearest")
    assert reduction(4000, 3000, target) == 1
    assert not apart(encode(natural(200, 160)), target).any()


# Pixels.


@pytest.mark.parametrize(("width", "height", "by"), [(200, 150, 2), (333, 311, 4), (601, 777, 8)])
@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic", "lanczos"])
def test_pixels_are_those_of_libjpegs_reduction_and_one_resize(width, height, by, interpolation):
    file = encode(natural(width, height), quality=90)
    target = spec(64, 56, "crop", 0.9, interpolation=interpolation)
    assert reduction(width, height, target) == by
    with Image.open(BytesIO(file)) as im:
        im.draft("RGB", (width // by, height // by))
        assert im.size == (-(-width // by), -(-height // by))
        inner = 0.9 * min(width / 56, height / 64)
        left, top = (width - 56 * inner) / 2, (height - 64 * inner) / 2
        box = tuple(side / by for side in (left, top, left + 56 * inner, top + 64 * inner))
        expected = np.asarray(im.resize((56, 64), Image.Resampling[interpolation.upper()], box))
    np.testing.assert_allclose(load(file, SCALED, target).astype(int), expected, atol=1)  # box by another rounding
    assert apart(file, target).any()


@settings(max_examples=60, deadline=None)
@given(
    st.integers(40, 420),
    st.integers(40, 420),
    st.integers(0, 2**32 - 1),
    st.sampled_from(FITS),
    st.sampled_from(["bilinear", "bicubic", "lanczos"]),
    st.sampled_from([0, 2]),
)
def test_photos_stay_close_to_full_decoding(width, height, seed, fit, interpolation, subsampling):
    """Within 8 grey levels on average, whatever the picture; the next test says how close most are."""
    target = spec(32, 24, fit, 0.9 if fit == "crop" else 1.0, interpolation=interpolation)
    difference = apart(encode(natural(width, height, seed), quality=90, subsampling=subsampling), target)
    assert difference.mean() <= 8
    if reduction(width, height, target) == 1:
        assert not difference.any()


def test_scaling_changes_less_than_the_choice_of_the_filter():
    scaled, filtered = [], []
    for seed, side in enumerate(range(64, 512, 16)):
        file, target = encode(natural(side, side, seed), quality=90), spec(32, 32)
        other = load(file, FULL, target.model_copy(update={"interpolation": "bicubic"})).astype(int)
        scaled.append(apart(file, target).mean())
        filtered.append(np.abs(other - load(file, FULL, target)).mean())
    assert 0 < np.mean(scaled) < np.mean(filtered)


TURNED = {1: lambda a: a, 2: lambda a: a[:, ::-1], 3: lambda a: a[::-1, ::-1], 4: lambda a: a[::-1]}
TURNED |= {n: lambda a, n=n: TURNED[{5: 1, 6: 4, 7: 3, 8: 2}[n]](a).swapaxes(0, 1) for n in (5, 6, 7, 8)}


@pytest.mark.parametrize("orientation", range(1, 10))
@pytest.mark.parametrize("fit", FITS)
def test_every_exif_turn_agrees_with_full_decoding(orientation, fit):
    """Slopes of 25 levels a pixel, sides that 8 does not divide: a shift of a third of a pixel shows."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    for width, height in [(145, 201), (193, 129), (97, 65)]:
        file = encode(smooth(width, height), quality=98, subsampling=0, exif=exif)
        for turn in (True, False):
            target = spec(10, 12, fit)
            shown = (height, width) if turn and orientation in (5, 6, 7, 8) else (width, height)
            assert reduction(*shown, target) > 1
            difference = apart(file, target, exif=turn)
            assert difference.max() <= 8  # one pixel at the edge, of which the file holds an eighth
            assert difference.mean() <= 1
    flat = TURNED.get(orientation, TURNED[1])(smooth(192, 128))
    upright = load(np.ascontiguousarray(flat), FULL, spec(10, 12, fit)).astype(int)
    file = encode(smooth(192, 128), quality=98, subsampling=0, exif=exif)
    assert np.abs(load(file, SCALED, spec(10, 12, fit)) - upright).max() <= 5


def kinds():
    picture = Image.fromarray(smooth(401, 299))
    yield "progressive", encode(picture, quality=95, progressive=True)
    yield "grey", encode(picture.convert("L"), quality=95)
    yield "cmyk", encode(picture.convert("CMYK"), quality=98)
    yield "mpo", encode(picture, "MPO", quality=95, save_all=True, append_images=[Image.new("RGB", (401, 299))])
    yield "rgb", encode(picture, quality=95, keep_rgb=True)
    yield "4:2:0", encode(picture, quality=95, subsampling=2)
    ycck = bytearray(encode(picture.convert("CMYK"), quality=98))
    ycck[ycck.index(b"Adobe") + 11] = 2
    yield "ycck", bytes(ycck)


@pytest.mark.parametrize(("name", "file"), list(kinds()), ids=lambda value: value if isinstance(value, str) else "")
@pytest.mark.parametrize("channels", ["rgb", "grey"])
def test_every_kind_of_jpeg(name, file, channels):
    for side, by in ((130, 2), (70, 4), (30, 8)):
        target = spec(side, side, channels=channels)
        assert reduction(401, 299, target) == by
        assert apart(file, target).mean() < 1.5


# Where scaling has no part.


@pytest.mark.parametrize("form", ["PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM"])
def test_other_formats_are_decoded_in_full(form):
    assert not apart(encode(natural(90, 70), form), spec(8, 8)).any()


def test_a_tiff_of_jpegs_is_decoded_in_full():
    assert not apart(encode(natural(90, 70), "TIFF", compression="jpeg"), spec(8, 8)).any()


def test_arrays_are_fitted_as_they_are():
    assert not apart(natural(90, 70), spec(8, 8)).any()


@given(st.integers(1, 30), st.integers(1, 30), inputs)
@settings(max_examples=40, deadline=None)
def test_small_jpegs_of_any_shape(width, height, target):
    difference = apart(encode(natural(width, height)), target)
    if reduction(width, height, target) == 1:
        assert not difference.any()


def test_without_a_fit_all_pixels_are_decoded():
    file = encode(natural(90, 70))
    assert np.array_equal(decode(file, SCALED), decode(file, FULL))
    assert decode(file, SCALED).shape == (70, 90, 3)


def test_a_model_sealed_with_full_stays_so_and_new_runs_scale():
    assert DecodeSettings().scaling == "jpeg"
    assert DecodeSpec.model_validate({"exif": True}).scaling == "full"
    file, target = encode(natural(203, 151)), spec(16, 16, "stretch")
    with Image.open(BytesIO(file)) as im:
        expected = np.asarray(im.resize((16, 16), Image.Resampling.BILINEAR))
    assert np.array_equal(load(file, FULL, target), expected)
    assert not np.array_equal(load(file, SCALED, target), expected)


# The same everywhere, and the same errors.


def test_path_bytes_and_threads_give_the_same_pixels(tmp_path):
    target = spec(24, 32, "crop", 0.875)
    files = {row: encode(natural(100 + 61 * row, 90 + 37 * row, row)) for row in range(8)}
    for row, file in files.items():
        (tmp_path / str(row)).write_bytes(file)
    expected = np.stack([load(file, SCALED, target) for file in files.values()])
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda row: load(tmp_path / str(row), SCALED, target), list(files) * 5))
    assert np.array_equal(np.stack(found), np.tile(expected, (5, 1, 1, 1)))
    (batch,) = load_batches(lambda row: str(tmp_path / str(row)), [np.arange(8)], SCALED, target, workers=3)
    assert np.array_equal(batch.pixels_BHWC, expected)


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_is_cut_short_is_an_error_and_never_half_a_picture(progressive):
    file = encode(natural(160, 120), quality=80, progressive=progressive)
    target = spec(16, 16)
    assert reduction(160, 120, target) == 4

    def verdict(data, how):
        try:
            return load(data, how, target).shape
        except ImageError as error:
            return str(error)

    for end in [*range(0, len(file), 97), len(file) - 2, len(file) - 1, len(file)]:
        assert verdict(file[:end], SCALED) == verdict(file[:end], FULL)
    assert "truncated" in verdict(file[: len(file) * 2 // 3], SCALED)


def test_the_cap_is_on_the_stored_size():
    file = encode(natural(160, 120))
    with pytest.raises(ImageError, match="160×120 is 19,200 pixels, the limit is 19,199"):
        load(file, DecodeSpec(scaling="jpeg", max_pixels=19_199), spec(8, 8))
    assert load(file, DecodeSpec(scaling="jpeg", max_pixels=19_200), spec(8, 8)).shape == (8, 8, 3)


def test_a_picture_that_pillow_does_not_reduce_is_read_in_full(monkeypatch):
    file, target = encode(natural(160, 120)), spec(20, 20)
    expected = load(file, FULL, target)
    assert not np.array_equal(load(file, SCALED, target), expected)
    monkeypatch.setattr(JpegImagePlugin.JpegImageFile, "draft", lambda *_: None)
    assert np.array_equal(load(file, SCALED, target), expected)
