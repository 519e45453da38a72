"""Whatever bytes come: a picture, or one ImageError."""

from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import NOISE, SMALL, SPEC, attempt, encode
from PIL import Image

from bunryu.data.images import damage
from bunryu.data.images.decode import decode, load, read_header
from bunryu.settings.data import DecodeSpec, InputSpec

pytestmark = pytest.mark.filterwarnings("error")  # nothing here may warn


VALID = {
    "JPEG": encode(NOISE, "JPEG"),
    "progressive": encode(NOISE, "JPEG", progressive=True),
    "PNG": encode(NOISE, "PNG"),
    "GIF": encode(NOISE, "GIF"),
    "WEBP": encode(NOISE, "WEBP"),
    "TIFF": encode(NOISE, "TIFF"),
    "BMP": encode(NOISE, "BMP"),
    "PPM": encode(NOISE, "PPM"),
}


@pytest.mark.parametrize("name", VALID)
def test_every_prefix_fails_or_has_every_pixel(name):
    file = VALID[name]
    whole = decode(file, SPEC)
    results = [attempt(decode, file[:length], SPEC) for length in range(len(file))]
    early = [result for result in results if isinstance(result, str)]
    assert max(map(len, early)) < 120
    assert len(early) > len(file) - 30  # but for the few bytes after the last pixel
    assert all(np.array_equal(result, whole) for result in results if not isinstance(result, str))


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(VALID)), st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), max_size=6))
def test_damaged_bytes_raise_nothing_but_image_errors(name, changes):
    file = bytearray(VALID[name])
    for where, value in changes:
        file[int(where * (len(file) - 1))] = value
    for result in (attempt(read_header, bytes(file), 10**5), attempt(decode, bytes(file), SMALL)):
        assert not isinstance(result, str) or "\n" not in result


MAGIC = [b"", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF89a", b"BM", b"II*\0", b"MM\0*", b"P5 ", b"(\0\0\0"]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(MAGIC), st.binary(max_size=300))
def test_random_bytes_raise_nothing_but_image_errors(magic, rest):
    for result in (attempt(read_header, magic + rest, 10**5), attempt(decode, magic + rest, SMALL)):
        assert not isinstance(result, str) or result


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=120), st.sampled_from([b"", b"II*\0\x08\0\0\0\x05\0", b"MM\0*\0\0\0\x08\0\x05"]))
def test_random_exif_leaves_the_picture_readable(rest, head):
    assert decode(encode(NOISE[:8, :8], "JPEG", exif=b"Exif\0\0" + head + rest), SPEC).shape == (8, 8, 3)


# Pictures that Pillow shows although they are damaged.

SMOOTH = np.clip(
    np.add.outer(np.sin(np.arange(96) / 9) * 60, np.cos(np.arange(128) / 7) * 60)[:, :, None]
    + [120, 100, 140]
    + np.random.default_rng(18).normal(0, 12, (96, 128, 3)),
    0,
    255,
).astype(np.uint8)
BITS = Image.fromarray(SMOOTH[:, :, 0] > 128)


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8, 0.9])
@pytest.mark.parametrize(
    ("picture", "options"),
    [(SMOOTH, {}), (SMOOTH, {"subsampling": 0}), (SMOOTH[:, :, 0], {}), (SMOOTH, {"restart_marker_rows": 2})],
)
def test_a_jpeg_that_was_cut_and_given_an_end_is_refused(picture, options, share):
    """libjpeg fills it up with grey; also where it is decoded smaller, as in training and in use."""
    file = encode(picture, "JPEG", **options)
    whole = attempt(decode, file, SPEC)
    assert not isinstance(whole, str)
    cut = file[: int(len(file) * share)].rstrip(b"\xff") + b"\xff\xd9"
    small = InputSpec(height=24, width=24, mean=[0.5] * 3, std=[0.5] * 3)
    for found in (attempt(decode, cut, SPEC), attempt(load, cut, DecodeSpec(scaling="jpeg"), small)):
        assert isinstance(found, str)
        assert "end early" in found


def test_a_progressive_jpeg_without_its_last_scans_is_refused():
    file = encode(SMOOTH, "JPEG", progressive=True)
    scans = [at for at in range(len(file)) if file[at : at + 2] == b"\xff\xda"]
    for at in scans[1:]:
        assert "end early" in str(attempt(decode, file[:at] + b"\xff\xd9", SPEC))


@pytest.mark.parametrize("options", [{}, {"progressive": True}])
def test_a_jpeg_without_its_end_is_refused_wherever_it_was_cut_and_more_after_the_end_is_not(options):
    """The end is a marker: without it the decoder asks for more data, also within the last scan."""
    file = encode(SMOOTH, "JPEG", **options)
    small = InputSpec(height=24, width=24, mean=[0.5] * 3, std=[0.5] * 3)
    whole = decode(file, SPEC)
    for length in [*range(100, len(file) - 2, 61), *range(len(file) - 20, len(file) - 2)]:
        for found in (
            attempt(decode, file[:length], SPEC),
            attempt(load, file[:length], DecodeSpec(scaling="jpeg"), small),
        ):
            assert isinstance(found, str) or np.array_equal(found, whole), length
    for more in (b"\0" * 300, b"\xff\xd8\xff\xe0 another picture"):
        assert np.array_equal(decode(file + more, SPEC), whole)


def test_a_picture_that_is_grey_itself_stays():
    """As of letterboxes of middle grey: nothing is missing in it."""
    half = SMOOTH.copy()
    half[40:] = 128
    for options in ({}, {"progressive": True}, {"subsampling": 0}, {"restart_marker_rows": 1}):
        for picture in (half, np.full_like(half, 128), half[:, :, 0]):
            assert not isinstance(attempt(decode, encode(picture, "JPEG", quality=95, **options), SPEC), str)


@pytest.mark.parametrize("part", [b"IHDR", b"PLTE", b"IDAT"])
def test_a_png_with_a_wrong_checksum_is_refused(part):
    picture = Image.fromarray(SMOOTH).quantize(64)
    file = bytearray(encode(picture, "PNG"))
    at = bytes(file).index(part)
    size = int.from_bytes(file[at - 4 : at])
    file[at + 4 + size] ^= 1  # the checksum itself: the picture is the same
    told = attempt(decode, bytes(file), SPEC)
    assert isinstance(told, str)
    assert "checksum" in told


def test_a_wrong_checksum_of_what_is_no_part_of_the_picture_is_let_through():
    file = bytearray(encode(SMOOTH, "PNG", pnginfo=_note()))
    at = bytes(file).index(b"tEXt")
    file[at + 4 + int.from_bytes(file[at - 4 : at])] ^= 1
    found = attempt(decode, bytes(file), SPEC)
    assert isinstance(found, str) or np.array_equal(found, SMOOTH)


def _note():
    from PIL.PngImagePlugin import PngInfo

    note = PngInfo()
    note.add_text("a", "note")
    return note


def _fax(compression, changes):
    file = bytearray(encode(BITS, "TIFF", compression=compression))
    tags = Image.open(BytesIO(bytes(file))).tag_v2
    start, size = tags[273][0], sum(tags[279])
    for i in range(changes):
        file[start + size // 3 + i] ^= 0xA5
    return bytes(file)


@pytest.mark.parametrize(("compression", "changes"), [("group3", 80), ("group4", 12), ("tiff_ccitt", 80)])
def test_a_damaged_fax_is_refused_and_nothing_reaches_stderr(compression, changes, capfd):
    assert not isinstance(attempt(decode, _fax(compression, 0), SPEC), str)
    if not damage._handlers:
        pytest.skip("the libtiff of this Pillow cannot be reached")
    told = attempt(decode, _fax(compression, changes), SPEC)
    assert isinstance(told, str)
    assert "damaged TIFF: Fax" in told
    assert capfd.readouterr().err == ""


def test_who_reads_a_tiff_elsewhere_still_gets_what_libtiff_says(capfd):
    attempt(decode, _fax("group4", 0), SPEC)
    if not damage._handlers:
        pytest.skip("the libtiff of this Pillow cannot be reached")
    Image.open(BytesIO(_fax("group4", 12))).load()
    assert "Fax4Decode" in capfd.readouterr().err


def test_threads_hear_only_of_their_own_pictures():
    good, bad = _fax("group4", 0), _fax("group4", 12)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda file: attempt(decode, file, SPEC), [good, bad] * 40))
    assert not any(isinstance(one, str) for one in found[::2])
    assert all(isinstance(one, str) for one in found[1::2]) == bool(damage._handlers)
