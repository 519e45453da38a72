"""Pictures of more than 8 bits: one range for all of them, the same in training and in use."""

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import SPEC, encode

from bunryu.core.errors import DataError, ImageError
from bunryu.data.images.decode import decode, examine
from bunryu.data.images.deep import Seen
from bunryu.data.images.facts import LEVELS, Facts
from bunryu.data.images.sources import as_sources
from bunryu.data.images.value_range import find_range, share_beyond, why_strange
from bunryu.settings.data import DecodeSpec

rng = np.random.default_rng(50)


def colour_png(values, transparent=None):
    """A 16-bit colour PNG, which Pillow does not write; H x W x 3 or 4."""
    height, width, depth = values.shape
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, 16, {3: 2, 4: 6}[depth], 0, 0, 0))]
    parts += [(b"tRNS", struct.pack(">3H", *transparent))] if transparent else []
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    parts += [(b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = (struct.pack(">I", len(d)) + k + d + struct.pack(">I", zlib.crc32(k + d)) for k, d in parts)
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def colour_tiff(values, order, compressed):
    """A 16-bit colour TIFF, which Pillow does not write either."""
    height, width, depth = values.shape
    data = values.astype(order + "u2").tobytes()
    data = zlib.compress(data) if compressed else data
    bits = struct.pack(f"{order}3H", 16, 16, 16)
    start = 8 + 2 + 12 * 10 + 4
    tags = [(256, width), (257, height), (258, start), (259, 8 if compressed else 1), (262, 2), (273, start + 6)]
    tags += [(277, depth), (278, height), (279, len(data)), (284, 1)]
    entries = b"".join(struct.pack(order + "HHII", tag, 4, 3 if tag == 258 else 1, value) for tag, value in tags)
    entries = entries.replace(struct.pack(order + "HHI", 258, 4, 3), struct.pack(order + "HHI", 258, 3, 3))
    head = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(order + "IH", 8, len(tags))
    return head + entries + bytes(4) + bits + data


def scaled(values, low, high):
    return np.rint(np.clip((values.astype(np.float64) - low) / (high - low), 0, 1) * 255).astype(np.uint8)


GREY = rng.integers(0, 4096, (8, 9), dtype=np.uint16)
COLOUR = rng.integers(0, 4096, (8, 9, 3), dtype=np.uint16)


def npy(array, path):
    np.save(path, array)
    return path.read_bytes()


@pytest.mark.parametrize(
    ("file", "values"),
    [
        (encode(GREY, "PNG"), GREY),
        (encode(GREY, "TIFF"), GREY),
        (encode(GREY.astype(np.int32), "TIFF"), GREY),
        (encode(GREY.astype(np.float32), "TIFF"), GREY),
        (colour_png(COLOUR), COLOUR),
        *((colour_tiff(COLOUR, order, packed), COLOUR) for order in "<>" for packed in (False, True)),
        (GREY, GREY),
        (GREY.astype(np.float64), GREY),
        (COLOUR, COLOUR),
        (COLOUR.astype(np.int16), COLOUR),
    ],
)
@pytest.mark.parametrize("range", [(0.0, 4095.0), (0.0, 65535.0), (1000.0, 3000.0)])
def test_one_range_is_for_files_and_arrays_of_every_kind(file, values, range):
    expected = scaled(values, *range)
    expected = expected if expected.ndim == 3 else np.repeat(expected[:, :, None], 3, axis=2)
    assert np.array_equal(decode(file, DecodeSpec(range=range)), expected)


def test_levels_keep_their_order_from_picture_to_picture():
    """Of signed values: each file by its own range made all of them alike."""
    spec = DecodeSpec(range=(-1000.0, 1000.0))
    levels = [
        decode(encode(rng.normal(level, 20, (8, 8)).astype(np.int32), "TIFF"), spec).mean() for level in (-700, 40, 900)
    ]
    assert levels[0] < 60 < 120 < levels[1] < 150 < 220 < levels[2]


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=4, max_size=40), st.floats(-1e4, 1e4), st.floats(0.1, 1e5))
@settings(max_examples=60, deadline=None)
def test_any_values_come_in_order_and_in_bounds(values, low, width):
    array = np.array([values], np.float32)
    pixels = decode(array, DecodeSpec(range=(low, low + width)), "grey").ravel().astype(int)
    order = np.argsort(array.ravel(), kind="stable")
    assert (np.diff(pixels[order]) >= 0).all()
    assert (pixels[array.ravel() <= low] == 0).all()
    assert (pixels[array.ravel() >= np.float32(low + width)] >= 254).all()


def test_what_is_not_finite_is_black_and_8_bits_stay_as_they_are():
    odd = np.array([[np.nan, np.inf, -np.inf, 4.0]], np.float32)
    assert decode(odd, DecodeSpec(range=(0.0, 4.0)), "grey").ravel().tolist() == [0, 0, 0, 255]
    plain = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert np.array_equal(decode(encode(plain, "PNG"), DecodeSpec(range=(0.0, 4095.0))), plain)
    assert np.array_equal(decode(plain, DecodeSpec(range=(0.0, 4095.0))), plain)


def test_transparency_of_16_bit_colour():
    values = np.concatenate([COLOUR, np.full((8, 9, 1), 65535, np.uint16)], axis=2)
    values[0, 0, 3] = 0
    found = decode(colour_png(values), DecodeSpec(range=(0.0, 4095.0), background=(9, 8, 7)))
    assert found[0, 0].tolist() == [9, 8, 7]
    assert np.array_equal(found[1:], scaled(COLOUR, 0, 4095)[1:])
    keyed = colour_png(COLOUR, transparent=tuple(COLOUR[2, 3].tolist()))
    found = decode(keyed, DecodeSpec(range=(0.0, 4095.0), background=(9, 8, 7)))
    assert found[2, 3].tolist() == [9, 8, 7]
    assert np.array_equal(found[3:], scaled(COLOUR, 0, 4095)[3:])


# The range of a data set.


def of(values, kind="16-bit"):
    return Facts(kind, tuple(np.quantile(np.asarray(values, np.float64), LEVELS).tolist()))


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ([], None),
        ([Facts()], None),
        ([of(rng.integers(0, 256, 999))], (0.0, 255.0)),
        ([of(rng.integers(0, 4096, 999)), of(rng.integers(0, 100, 999))], (0.0, 4095.0)),
        ([of(rng.integers(0, 65536, 999))], (0.0, 65535.0)),
        ([of(np.linspace(0, 1, 99), "float")], (0.0, 1.0)),
        ([of(np.linspace(0, 250, 99), "float")], (0.0, 255.0)),
        ([of([29000, 30000, 31000])], (29000.0, 31000.0)),  # as of a heat camera: 16 levels of 8 bits would be left
        ([of([-800, -600]), of([900, 1000])], (-800.0, 1000.0)),
        ([of([-0.25, 0.5], "float")], (-0.25, 0.5)),
        ([of([7, 7, 7])], (7.0, 8.0)),
    ],
)
def test_the_range_of_a_data_set(facts, expected):
    found = find_range(facts)
    assert found == expected if expected is None else found == pytest.approx(expected, rel=1e-3, abs=0.01)


def test_a_few_dead_pixels_do_not_leave_all_others_dark():
    facts = [of(rng.normal(1500, 300, 4000).clip(0, 4095)) for _ in range(20)]
    whole = find_range(facts)
    dead = of(np.concatenate([rng.normal(1500, 300, 4000).clip(0, 4095), [65535]]))
    low, high = find_range([*facts, dead])
    assert whole == (0.0, 4095.0)
    assert high <= 4095
    assert 0 < share_beyond([*facts, dead], (low, high)) < 0.01


@given(
    st.lists(st.lists(st.floats(-1e5, 1e5), min_size=2, max_size=9), min_size=1, max_size=6),
    st.floats(-1e5, 1e5),
    st.floats(1, 1e5),
)
@settings(max_examples=60, deadline=None)
def test_the_range_holds_nearly_all_and_the_share_beyond_is_a_share(pictures, low, width):
    facts = [of(values) for values in pictures]
    found = find_range(facts)
    assert found is not None
    assert found[0] < found[1]
    assert share_beyond(facts, found) < 0.02
    assert 0 <= share_beyond(facts, (low, low + width)) <= 1


def test_the_share_beyond_is_that_of_the_values():
    values = rng.normal(0, 1, 100_000)
    assert share_beyond([of(values)], (-1.0, 1.0)) == pytest.approx((np.abs(values) > 1).mean(), abs=0.06)
    assert share_beyond([of(values)], (values.min(), values.max())) == 0


@pytest.mark.parametrize(
    ("seen", "range", "word"),
    [
        ([], (0.0, 4095.0), ""),
        ([Seen("16-bit", 0, 4000, 0)], (0.0, 4095.0), ""),
        ([Seen("16-bit", 0, 255, 0)], (0.0, 4095.0), "nearly black"),
        ([Seen("16-bit", 0, 255, 0), Seen("16-bit", 0, 3000, 0)], (0.0, 4095.0), ""),
        ([Seen("16-bit", 0, 65535, 0.9)], (0.0, 4095.0), "90% of the values lie beyond"),
        ([Seen("16-bit", 0, 65535, 0)], None, "sealed no range"),
    ],
)
def test_a_warning_where_values_in_use_are_others(seen, range, word):
    told = why_strange(seen, range)
    assert (word in told) if word else told == ""


def test_deep_arrays_are_pictures_only_where_there_is_a_range():
    assert as_sources(GREY, deep=lambda: True)[0] is GREY
    with pytest.raises(DataError, match="uint8"):
        as_sources(GREY)
    with pytest.raises(ImageError, match="expected a uint8 array"):
        decode(GREY, SPEC)
    for bad in (np.zeros((4, 4), complex), np.zeros(4), np.array([["a"]])):
        with pytest.raises(DataError):
            as_sources(bad, deep=lambda: True)


# What the check finds.


def test_facts_of_pictures():
    assert examine(encode(np.zeros((40, 40, 3), np.uint8) + 9, "PNG"), SPEC).blank
    almost = np.zeros((40, 40), np.uint8)
    almost[17, 23] = 1
    assert not examine(encode(almost, "PNG"), SPEC).blank
    assert examine(encode(np.full((4, 4), 7, np.uint16), "PNG"), SPEC).blank
    infrared = rng.normal(100, 20, (30, 30, 4)).clip(1, 254).astype(np.uint8)
    assert examine(encode(infrared, "PNG"), SPEC).alpha_like_data
    assert examine(encode(infrared, "TIFF"), SPEC).alpha_like_data
    infrared[:, :, 3] = np.where(rng.random((30, 30)) < 0.5, 255, 0)
    assert not examine(encode(infrared, "PNG"), SPEC).alpha_like_data
    found = examine(encode(GREY, "PNG"), SPEC)
    assert found == Facts.read(found.text())
    assert (found.kind, found.quantiles[0], found.quantiles[-1]) == ("16-bit", GREY.min(), GREY.max())
    assert Facts().text() == ""


def test_npy_files_are_pictures(tmp_path: Path):
    plain = rng.integers(0, 256, (5, 6, 3), dtype=np.uint8)
    assert np.array_equal(decode(npy(plain, tmp_path / "a.npy"), SPEC), plain)
    deep = npy(COLOUR.astype(np.float32), tmp_path / "b.npy")
    assert np.array_equal(decode(deep, DecodeSpec(range=(0.0, 4095.0))), scaled(COLOUR, 0, 4095))
    assert examine(deep, SPEC).kind == "float"
    for bad in (np.zeros((3, 8, 8)), np.zeros(9), np.array([object()]), np.zeros((4, 4), complex)):
        with pytest.raises(ImageError, match="no picture"):
            decode(npy(bad, tmp_path / "bad.npy"), SPEC)
    with pytest.raises(ImageError):
        decode(npy(plain, tmp_path / "cut.npy")[:-9], SPEC)
    with pytest.raises(ImageError, match="too large"):
        decode(npy(plain, tmp_path / "large.npy"), DecodeSpec(max_pixels=29))
