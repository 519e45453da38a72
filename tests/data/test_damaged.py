"""Whatever bytes come: a picture, or one ImageError."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import NOISE, SMALL, SPEC, attempt, encode

from bunryu.data.images.decode import decode, read_header

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
