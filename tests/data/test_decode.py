"""Odd pictures, made here, against values worked out without `bunryu.data.images.decode`."""

import math
import struct
import sys
import threading
import unicodedata
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from pictures import GREY16, NOISE, RED, SPEC, attempt, encode, rng
from PIL import Image, ImageFile, PngImagePlugin, WebPImagePlugin, features

from bunryu.core.errors import ImageError
from bunryu.data.images.decode import Header, decode, read_header
from bunryu.data.images.formats import IMAGE_SUFFIXES
from bunryu.settings.data import DecodeSpec

OPEN_FILES = Path("/proc/self/fd")

pytestmark = pytest.mark.filterwarnings("error")  # nothing here may warn
needs_avif = pytest.mark.skipif(not features.check("avif"), reason="this Pillow was built without AVIF")


def png(width, height, depth, colour_type, rows, *chunks):
    """A PNG from raw rows, each with its filter byte: depths and chunks that Pillow does not write."""
    head = struct.pack(">IIBBBBB", width, height, depth, colour_type, 0, 0, 0)
    parts = [(b"IHDR", head), *chunks, (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    body = (
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts
    )
    return b"\x89PNG\r\n\x1a\n" + b"".join(body)


def tiff(width, height, data, bits, photometric=1, sample_format=1, *tags):
    """An uncompressed grey TIFF of a kind that Pillow does not write. `tags` are (tag, type, value)."""
    known = [
        (256, 3, width),
        (257, 3, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, photometric),
        (277, 3, 1),
    ]
    known += [(278, 3, height), (279, 4, len(data)), (339, 3, sample_format), *tags]
    entries = sorted([*known, (273, 4, 8 + 2 + 12 * (len(known) + 1) + 4)])
    body = b"".join(struct.pack("<HHIi", tag, kind, 1, value) for tag, kind, value in entries)
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + body + b"\0\0\0\0" + data


def over(colour, alpha, background):
    """Alpha blending, rounded to the nearest."""
    colour, alpha, background = (np.asarray(x, dtype=np.float64) for x in (colour, alpha, background))
    return np.floor((colour * alpha + background * (255 - alpha)) / 255 + 0.5).astype(np.uint8)


def reason(source, spec=SPEC):
    with pytest.raises(ImageError) as caught:
        decode(source, spec)
    return str(caught.value)


# Arrays.


def test_arrays_come_through_and_grey_becomes_three_equal_channels():
    grey = NOISE[:, :, 0]
    assert np.array_equal(decode(NOISE, SPEC), NOISE)
    for array in (grey, grey[:, :, None]):
        assert np.array_equal(decode(array, SPEC), np.stack([grey] * 3, axis=2))
        assert np.array_equal(decode(array, SPEC, "grey"), grey[:, :, None])
    turned = decode(NOISE.transpose(1, 0, 2), SPEC)
    assert turned.flags.c_contiguous
    assert np.array_equal(turned, NOISE.transpose(1, 0, 2))


def test_array_with_alpha_lies_over_the_background():
    rgba = rng.integers(0, 256, (5, 7, 4), dtype=np.uint8)
    expected = over(rgba[:, :, :3], rgba[:, :, 3:], RED)
    assert np.array_equal(decode(rgba, DecodeSpec(background=RED)), expected)


@pytest.mark.parametrize(
    ("array", "received"),
    [
        (np.zeros((4, 4, 3), np.float32), "float32 of 4×4×3"),
        (np.zeros((3, 8, 8), np.uint8), "uint8 of 3×8×8"),
        (np.zeros((0, 4, 3), np.uint8), "uint8 of 0×4×3"),
        (np.zeros(4, np.uint8), "uint8 of 4"),
        (np.zeros((2, 4, 4, 3), np.uint8), "uint8 of 2×4×4×3"),
    ],
)
def test_other_arrays_are_refused_by_what_was_expected_and_received(array, received):
    text = reason(array)
    assert "expected a uint8 array of H×W, H×W×1, H×W×3 or H×W×4" in text
    assert received in text


def test_other_things_are_refused():
    assert reason(None) == "expected a path, the bytes of a file or a uint8 array, received NoneType"


# Kinds of pictures.

STORED = {  # EXIF orientation -> how an upright picture lies in the file
    1: lambda up: up,
    2: lambda up: up[:, ::-1],
    3: lambda up: up[::-1, ::-1],
    4: lambda up: up[::-1],
    5: lambda up: up.swapaxes(0, 1),
    6: lambda up: np.rot90(up),
    7: lambda up: up[::-1, ::-1].swapaxes(0, 1),
    8: lambda up: np.rot90(up, -1),
}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize(
    ("form", "options"),
    [
        ("PNG", {}),
        ("WEBP", {"lossless": True}),
        ("TIFF", {}),
        ("TIFF", {"compression": "tiff_lzw"}),
        ("JPEG", {"quality": 100, "subsampling": 0}),
    ],
)
def test_orientation(tmp_path, orientation, form, options):
    upright = np.zeros((16, 24, 3), np.uint8)
    upright[:8, :8], upright[:8, 16:], upright[8:, :8] = (255, 0, 0), (0, 255, 0), (0, 0, 255)
    stored = np.ascontiguousarray(STORED[orientation](upright))
    exif = Image.Exif()
    exif[0x0112] = orientation
    file = tmp_path / "turned"
    file.write_bytes(encode(stored, form, exif=exif, **options))
    tolerance = 4 if form == "JPEG" else 0
    turned, kept = decode(file, SPEC), decode(file, DecodeSpec(exif=False))
    np.testing.assert_allclose(turned.astype(int), upright, atol=tolerance)
    np.testing.assert_allclose(kept.astype(int), stored, atol=tolerance)
    assert read_header(file, 10**6) == Header(stored.shape[1], stored.shape[0], "RGB", form, 1)


@needs_avif
def test_avif_is_read_and_turned():
    exif = Image.Exif()
    exif[0x0112] = 6
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:, :24] = (250, 120, 20)
    file = encode(picture, "AVIF", quality=100, subsampling="4:4:4", exif=exif)
    np.testing.assert_allclose(decode(file, SPEC).astype(int), np.rot90(picture, -1), atol=3)
    np.testing.assert_allclose(decode(file, DecodeSpec(exif=False)).astype(int), picture, atol=3)


INKS = [(0, 0, 0, 0), (255, 0, 0, 0), (0, 255, 0, 0), (0, 0, 255, 0), (0, 0, 0, 255), (60, 120, 200, 40)]


@pytest.mark.parametrize("ink", INKS)
def test_cmyk_jpeg(ink):
    file = encode(Image.new("CMYK", (16, 16), ink), "JPEG", quality=100)
    assert b"Adobe" in file  # libjpeg marks CMYK so, and Pillow stores it inverted, as Adobe does
    expected = [(255 - value) * (255 - ink[3]) / 255 for value in ink[:3]]
    np.testing.assert_allclose(decode(file, SPEC)[8, 8], expected, atol=3)
    tiff_file = encode(Image.new("CMYK", (16, 16), ink), "TIFF")
    np.testing.assert_allclose(decode(tiff_file, SPEC)[8, 8], expected, atol=1)


@pytest.mark.parametrize("stored", [(180, 128, 128, 255), (90, 60, 170, 255), (120, 150, 110, 128)])
def test_ycck_jpeg(stored):
    """A CMYK JPEG whose Adobe marker is patched to say YCCK, so that its channels are Y, Cb, Cr and K."""
    inverted = Image.new("CMYK", (16, 16), tuple(255 - value for value in stored))  # Pillow inverts on writing
    file = bytearray(encode(inverted, "JPEG", quality=100))
    marker = file.index(b"Adobe")
    assert file[marker + 11] == 0
    file[marker + 11] = 2
    y, cb, cr, k = stored
    ink = (y + 1.402 * (cr - 128), y - 0.344136 * (cb - 128) - 0.714136 * (cr - 128), y + 1.772 * (cb - 128))
    expected = [(255 - min(255, max(0, value))) * k / 255 for value in ink]  # K too is stored inverted
    np.testing.assert_allclose(decode(bytes(file), SPEC)[8, 8], expected, atol=3)


def deep_files():
    big = b"P5\n64 64\n65535\n" + GREY16.astype(">u2").tobytes()
    yield "png", encode(GREY16, "PNG")
    yield "tiff", encode(GREY16, "TIFF")
    yield "tiff lzw", encode(GREY16, "TIFF", compression="tiff_lzw")
    yield (
        "tiff big-endian",
        encode(Image.frombytes("I;16B", (64, 64), GREY16.astype(">u2").tobytes()), "TIFF"),
    )
    yield "tiff 32 bit", encode(GREY16.astype(np.int32), "TIFF")
    yield "tiff white is zero", tiff(64, 64, np.invert(GREY16).tobytes(), 16, 0)
    yield "pgm", big


@pytest.mark.parametrize(("name", "file"), list(deep_files()))
def test_16_bit_grey_keeps_its_range(name, file):
    pixels = decode(file, SPEC, "grey")
    assert len(np.unique(pixels)) == 256
    assert np.array_equal(pixels[:, :, 0], GREY16 // 256)
    assert np.array_equal(decode(file, SPEC), np.repeat(pixels, 3, axis=2))


def test_16_bit_colour_and_alpha_keep_the_high_byte():
    values = rng.integers(0, 65536, (3, 5, 4), dtype=np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values[:, :, :3])
    assert np.array_equal(decode(png(5, 3, 16, 2, rows), SPEC), values[:, :, :3] >> 8)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    high = (values >> 8).astype(np.uint8)
    assert np.array_equal(decode(png(5, 3, 16, 6, rows), SPEC), over(high[:, :, :3], high[:, :, 3:], 255))


def test_12_bit_grey_keeps_the_upper_8():
    assert decode(tiff(2, 1, bytes([0xAB, 0xCF, 0xFF]), 12), SPEC, "grey").ravel().tolist() == [0xAB, 0xFF]


def test_whole_numbers_beyond_16_bit_are_scaled_by_their_own_range():
    values = np.array([[-1000, 0, 1000, 3000]], np.int32)
    assert decode(encode(values, "TIFF"), SPEC, "grey").ravel().tolist() == [0, 64, 128, 255]
    positive = np.array([[0, 65535, 65536, 131072]], np.int32)
    assert decode(encode(positive, "TIFF"), SPEC, "grey").ravel().tolist() == [0, 127, 128, 255]
    signed = tiff(4, 1, values.astype(np.int16).tobytes(), 16, 1, 2)
    assert decode(signed, SPEC, "grey").ravel().tolist() == [0, 64, 128, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.0, 0.25, 0.5, 1.0], [0, 64, 128, 255]),
        ([0.0, 1.4, 1.6, 255.0], [0, 1, 2, 255]),
        ([10.0, 20.0, 100.0, 255.0], [10, 20, 100, 255]),
        ([-10.0, 0.0, 10.0, 30.0], [0, 64, 128, 255]),
        ([0.0, 1000.0, math.inf, math.nan], [0, 255, 0, 0]),
        ([0.5, math.nan, -math.inf, 1.0], [128, 0, 0, 255]),
        ([math.nan] * 4, [0] * 4),
        ([7e20] * 4, [0] * 4),
        ([-3e38, 0.0, 0.0, 3e38], [0, 128, 128, 255]),
    ],
)
def test_float_rules(values, expected):
    file = encode(np.array([values], np.float32), "TIFF")
    assert decode(file, SPEC, "grey").ravel().tolist() == expected


def test_alpha_is_blended_exactly():
    rgba = rng.integers(0, 256, (16, 16, 4), dtype=np.uint8)
    la = rng.integers(0, 256, (16, 16, 2), dtype=np.uint8)
    below = DecodeSpec(background=RED)
    expected = over(rgba[:, :, :3], rgba[:, :, 3:], RED)
    for form, options in [("PNG", {}), ("TIFF", {}), ("WEBP", {"lossless": True, "exact": True})]:
        assert np.array_equal(decode(encode(rgba, form, **options), below), expected)
    assert np.array_equal(decode(encode(la, "PNG"), below), over(la[:, :, :1], la[:, :, 1:], RED))
    luma = np.asarray(Image.fromarray(expected).convert("L"))
    assert np.array_equal(decode(encode(rgba, "PNG"), below, "grey")[:, :, 0], luma)


def test_palette_with_transparency():
    palette = [250, 0, 0, 0, 240, 0, 0, 0, 230]
    picture = Image.new("P", (3, 1))
    picture.putpalette(palette)
    picture.putdata([0, 1, 2])
    below = DecodeSpec(background=RED)
    expected = np.array(palette, np.uint8).reshape(1, 3, 3)
    assert np.array_equal(decode(encode(picture, "PNG"), below), expected)
    several = over(expected, np.array([[[0], [128], [255]]]), RED)
    for channels in ("rgb", "grey"):  # several alphas in a palette made Pillow warn
        pixels = decode(encode(picture, "PNG", transparency=bytes([0, 128, 255])), below, channels)
        want = Image.fromarray(several).convert("RGB" if channels == "rgb" else "L")
        assert np.array_equal(pixels.squeeze(2) if channels == "grey" else pixels, np.asarray(want))
    one = over(expected, np.array([[[255], [0], [255]]]), RED)
    for form in ("PNG", "GIF"):
        assert np.array_equal(decode(encode(picture, form, transparency=1), below), one)


@pytest.mark.parametrize(
    ("depth", "colour_type", "row", "key", "expected"),
    [
        (8, 2, bytes([1, 2, 3, 9, 9, 9]), ">3H 1 2 3", [RED, (9, 9, 9)]),
        (8, 0, bytes([7, 8]), ">H 8", [(7, 7, 7), RED]),
        (2, 0, bytes([0b10_11_0000]), ">H 2", [RED, (255, 255, 255)]),
        (4, 0, bytes([0x5F]), ">H 5", [RED, (255, 255, 255)]),
        (1, 0, bytes([0b01_000000]), ">H 1", [(0, 0, 0), RED]),
        (16, 0, struct.pack(">2H", 1000, 2000), ">H 1000", [RED, (7, 7, 7)]),
        (16, 2, struct.pack(">6H", 1000, 2000, 3000, 65535, 0, 0), ">3H 1000 2000 3000", [RED, (255, 0, 0)]),
    ],
)
def test_png_transparent_colour_at_every_depth(depth, colour_type, row, key, expected):
    form, *values = key.split()
    file = png(2, 1, depth, colour_type, b"\0" + row, (b"tRNS", struct.pack(form, *map(int, values))))
    assert decode(file, DecodeSpec(background=RED))[0].tolist() == [list(colour) for colour in expected]


def test_grey_is_itu_r_601_luma():
    expected = np.asarray(Image.fromarray(NOISE).convert("L"))
    exact = NOISE @ np.array([0.299, 0.587, 0.114])
    assert np.abs(expected - exact).max() <= 0.51
    palette = Image.fromarray(NOISE).quantize(200)
    assert np.array_equal(decode(encode(NOISE, "PNG"), SPEC, "grey")[:, :, 0], expected)
    assert np.array_equal(decode(NOISE, SPEC, "grey")[:, :, 0], expected)
    assert np.array_equal(decode(encode(palette, "PNG"), SPEC, "grey")[:, :, 0], np.asarray(palette.convert("L")))


@pytest.mark.parametrize("form", ["PNG", "BMP", "DIB", "GIF", "TIFF", "PPM"])
def test_grey_and_1_bit_pictures(form):
    grey = NOISE[:, :, 0]
    bits = grey > 127
    assert np.array_equal(decode(encode(grey, form), SPEC, "grey")[:, :, 0], grey)
    assert np.array_equal(decode(encode(Image.fromarray(bits), form), SPEC)[:, :, 1], bits * np.uint8(255))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG", "TIFF"])
def test_first_frame_of_an_animation(form):
    frames = [Image.new("RGB", (8, 8), colour) for colour in (RED, (0, 90, 0), (0, 0, 90))]
    options = {"lossless": True} if form == "WEBP" else {}
    file = encode(frames[0], form, save_all=True, append_images=frames[1:], **options)
    header = read_header(file, 100)
    assert (header.format, header.frames, header.width, header.height) == (form, 3, 8, 8)
    assert (decode(file, SPEC) == RED).all()


def test_damaged_later_page_leaves_the_first_readable():
    file = tiff(2, 1, bytes([5, 6]), 8)
    entries = struct.unpack_from("<H", file, 8)[0]
    link = 10 + 12 * entries
    second = struct.pack("<H", 1) + struct.pack("<HHIi", 256, 3, 1, 2) + b"\0\0\0\0"  # a page without a height
    file = file[:link] + struct.pack("<I", len(file)) + file[link + 4 :] + second
    assert decode(file, SPEC, "grey").ravel().tolist() == [5, 6]
    assert read_header(file, 100).frames == 1


def test_mpo_is_its_first_jpeg():
    pictures = [Image.new("RGB", (16, 16), colour) for colour in (RED, (0, 0, 90))]
    file = encode(pictures[0], "MPO", save_all=True, append_images=pictures[1:])
    np.testing.assert_allclose(decode(file, SPEC)[8, 8], RED, atol=4)
    assert read_header(file, 10**6).format == "JPEG"


# Files and failures.


@pytest.mark.parametrize(
    "name",
    [
        "PICTURE.JPG",
        "강아지 사진.png",
        unicodedata.normalize("NFD", "강아지 사진.png"),
        'it\'s "quoted" & spaced.jpeg',
        "🐶.webp",
        "no ending",
        "%41;$(x).tif",
    ],
)
def test_any_file_name_and_any_ending(tmp_path, name):
    file = tmp_path / name
    file.write_bytes(encode(NOISE, "PNG"))  # whatever the ending says
    for source in (file, str(file)):
        assert np.array_equal(decode(source, SPEC), NOISE)
    assert read_header(file, 10**6) == Header(17, 13, "RGB", "PNG", 1)


def test_suffixes():
    assert {
        ".jpg",
        ".jpeg",
        ".jpe",
        ".jfif",
        ".png",
        ".bmp",
        ".dib",
        ".gif",
        ".tif",
        ".tiff",
    } <= IMAGE_SUFFIXES
    assert {".ppm", ".pgm", ".pbm", ".pnm"} <= IMAGE_SUFFIXES
    assert {".heic", ".jxl", ".dcm", ".npy", ".svg", ".pdf", ".nef"} <= IMAGE_SUFFIXES  # read, or listed
    assert not {".txt", ".csv", ".json", ".zip", ".mp4", ".py", ""} & IMAGE_SUFFIXES
    assert (".avif" in IMAGE_SUFFIXES) == features.check("avif")
    assert all(suffix == suffix.lower() and suffix.startswith(".") for suffix in IMAGE_SUFFIXES)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "not an image (empty file)"),
        (bytes(5000), "not an image (only zeros)"),
        ("이미지가 아닙니다\n".encode(), "not an image (text)"),
        (b"<html><body>404</body></html>", "not an image (text)"),
        (b"GI", "not an image (text)"),
        (b"Python, Pf and P5y are no pictures", "not an image (text)"),
        (bytes(range(256)), "not an image (unknown content)"),
        (
            b"version https://git-lfs.github.com/spec/v1\n",
            "not an image (a Git LFS pointer: fetch the file itself)",
        ),
        (
            b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n",
            "PostScript, which is not read: convert it to PNG, as with: magick IN OUT.png",
        ),
        (encode(NOISE, "PNG")[:200], "truncated: the PNG data end early"),
        (encode(NOISE, "JPEG")[:-200], "truncated: the JPEG data end early"),
        (encode(NOISE, "BMP")[:-9], "truncated: the BMP data end early"),
        (png(0, 5, 8, 2, b""), "unreadable PNG: no size or colours in its head"),
        (b"\xff\xd8\xff\xd9", "unreadable JPEG: no size or colours in its head"),
        (
            png(4, 4, 8, 2, b"\7" * 52),
            "unreadable PNG: unrecognized data stream contents when reading image file",
        ),
    ],
)
def test_reasons(tmp_path, content, expected):
    file = tmp_path / "secret-name.jpg"
    file.write_bytes(content)
    assert reason(content) == expected
    assert reason(file) == expected


def test_files_that_cannot_be_opened(tmp_path):
    assert reason(tmp_path / "none.jpg") == "cannot be opened: No such file or directory"
    assert reason(tmp_path) == "cannot be opened: Is a directory"
    assert reason("a\0b.jpg") == "cannot be opened: embedded null byte"
    with pytest.raises(ImageError, match=r"^cannot be opened: No such file"):
        read_header(str(tmp_path / "none.jpg"), 10)


def gif_bomb():
    """A small GIF whose first frame is as large as GIF allows, and to be cleared: 4 GB while it is opened."""
    clear = b"!\xf9\x04\x08\0\0\0\0"
    return b"GIF89a\x04\0\x04\0\0\0\0" + clear + b",\0\0\0\0\xff\xff\xff\xff\0" + b"\x02\x02\x44\x01\0;"


def webp_bomb():
    head = b"VP8X" + struct.pack("<IB3x", 10, 2) + (16382).to_bytes(3, "little") * 2
    body = b"WEBP" + head + b"ANIM" + struct.pack("<IIH", 6, 0, 0)
    return b"RIFF" + struct.pack("<I", len(body)) + body


@pytest.mark.parametrize(
    ("file", "size"),
    [
        (png(30000, 30000, 8, 2, b""), "30000×30000 is 900,000,000 pixels"),
        (b"P6\n99999 99999\n255\n", "99999×99999"),
        (tiff(40000, 40000, b"", 8), "40000×40000"),
        (gif_bomb(), "65535×65535"),
        (webp_bomb(), "16383×16383"),
    ],
)
def test_the_cap_comes_before_any_pixels(monkeypatch, file, size):
    def allocate(*_):
        raise AssertionError("pixels were allocated")

    monkeypatch.setattr(Image.core, "new", allocate)
    monkeypatch.setattr(Image.core, "fill", allocate)
    monkeypatch.setattr(WebPImagePlugin._webp, "WebPAnimDecoder", allocate)
    text = reason(file)
    assert size in text
    assert "50,000,000" in text
    with pytest.raises(ImageError, match="too large"):
        read_header(file, SPEC.max_pixels)


def test_the_cap_is_ours_and_exact(monkeypatch):
    file = encode(NOISE, "TIFF")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 10)  # Pillow's own limit, for others in the process
    assert np.array_equal(decode(file, DecodeSpec(max_pixels=13 * 17)), NOISE)
    for source in (file, NOISE):
        assert "17×13 is 221 pixels, the limit is 220" in reason(source, DecodeSpec(max_pixels=220))
    with pytest.raises(Image.DecompressionBombError):
        Image.open(BytesIO(file))


def test_text_bombs_in_a_png_are_refused():
    bomb = b"Comment\0\0" + zlib.compress(bytes(50_000_000))
    assert "too large" in reason(png(1, 1, 8, 0, b"\0\0", (b"zTXt", bomb)))


def test_truncated_files_fail_even_if_another_library_allows_them(monkeypatch):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    assert reason(encode(NOISE, "JPEG")[:-100]) == "truncated: the JPEG data end early"


def damaged_exif():
    entry = struct.pack("<HHIi", 0x0112, 3, 1, 6)
    beyond = struct.pack("<HHIi", 0x010F, 2, 5000, 4000)
    text_resolution = struct.pack("<HHI4s", 0x011A, 2, 2, b"7\0\0\0") + struct.pack("<HHIi", 0x0128, 3, 1, 2)
    head = b"II*\0\x08\0\0\0"
    yield "cut", head + struct.pack("<H", 9) + entry, 6
    yield "beyond the end", head + struct.pack("<H", 2) + beyond + entry + bytes(4), 6
    yield "resolution as text", head + struct.pack("<H", 2) + text_resolution + bytes(4), 1
    yield "not a directory", b"garbage, no directory", 1
    yield "empty", b"", 1
    yield (
        "no such orientation",
        head + struct.pack("<H", 1) + struct.pack("<HHIi", 0x0112, 3, 1, 77) + bytes(4),
        1,
    )


@pytest.mark.parametrize(("name", "exif", "orientation"), list(damaged_exif()))
@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
def test_damaged_exif_neither_warns_nor_fails(name, exif, orientation, form):
    file = encode(NOISE, form, exif=b"Exif\0\0" + exif)
    expected = STORED[{6: 8}.get(orientation, orientation)](decode(encode(NOISE, form), SPEC))
    assert np.array_equal(decode(file, SPEC), expected)
    assert read_header(file, 10**6).width == 17


def test_damaged_exif_in_a_tiff():
    file = tiff(2, 1, bytes([5, 6]), 8, 1, 1, (0x8769, 9, -5))  # its EXIF lies before the file's beginning
    assert decode(file, SPEC, "grey").ravel().tolist() == [5, 6]


@pytest.mark.parametrize("inner", [0x8769, 0x8825, 0xA005])
def test_a_tiff_is_turned_whatever_else_its_exif_holds(inner):
    """Its own EXIF, the place and the interoperability: each a directory that lies before the file's beginning."""
    file = tiff(2, 1, bytes([5, 6]), 8, 1, 1, (0x0112, 3, 2), (inner, 9, -5))
    assert decode(file, SPEC, "grey").ravel().tolist() == [6, 5]
    assert decode(file, DecodeSpec(exif=False), "grey").ravel().tolist() == [5, 6]


def test_other_damaged_parts_do_not_warn():
    file = png(1, 1, 8, 0, b"\0\x07", (b"acTL", bytes(8)))  # an animation of no frames
    assert decode(file, SPEC)[0, 0].tolist() == [7, 7, 7]


def test_others_in_the_process_still_get_pillows_warnings():
    file = png(1, 1, 8, 0, b"\0\x07", (b"acTL", bytes(8)))
    with pytest.warns(UserWarning, match="Invalid APNG") as caught:
        Image.open(BytesIO(file))
    assert caught[0].filename == PngImagePlugin.__file__


@pytest.mark.skipif(not OPEN_FILES.exists(), reason="counts open files through /proc")
def test_no_file_stays_open(tmp_path):
    good = encode(NOISE, "TIFF", compression="tiff_lzw")
    animation = encode(Image.fromarray(NOISE), "GIF", save_all=True, append_images=[Image.new("RGB", (17, 13))])
    contents = [good, good[:-50], animation, b"text", b"", encode(NOISE, "JPEG")[:300], encode(NOISE, "WEBP")]
    before = len(list(OPEN_FILES.iterdir()))
    kept = []
    for number, content in enumerate(contents):
        file = tmp_path / str(number)
        file.write_bytes(content)
        kept += [attempt(read_header, file, 10**6), attempt(decode, file, SPEC)]
    assert len(list(OPEN_FILES.iterdir())) == before


@pytest.fixture
def eager_threads():
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(interval)


def test_many_threads(tmp_path, eager_threads):
    """Each thread has its own cap, and none sees a warning."""
    good = tmp_path / "good.tif"
    good.write_bytes(encode(NOISE, "TIFF"))  # Pillow checks its size a second time when it is loaded
    warning = png(1, 1, 8, 0, b"\0\x07", (b"acTL", bytes(8)))
    start = threading.Barrier(8)

    def work(number):
        start.wait()
        for _ in range(40):
            if number % 2:
                assert "the limit is 9 " in reason(good, DecodeSpec(max_pixels=9))
            else:
                assert np.array_equal(decode(good, SPEC), NOISE)
                assert decode(warning, SPEC)[0, 0].tolist() == [7, 7, 7]

    filters = list(warnings.filters)
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert warnings.filters == filters
