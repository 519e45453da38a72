"""From a path, bytes or an array to pixels: decode in full, lay over the background, turn, fit.

No torch here, so that prediction and serving can live without it. Pillow reads the files; what it leaves
to its caller is settled here: the cap on pixels, 16-bit and float values, transparency, EXIF, errors.
Results may share memory with the source or be read-only: copy them before writing into them.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from bunryu.data.opening import check_size, frames, opened
from bunryu.data.settings import Colour, DecodeSpec, InputSpec
from bunryu.errors import ImageError

Source: TypeAlias = str | os.PathLike[str] | bytes | NDArray[np.uint8]
Pixels: TypeAlias = NDArray[np.uint8]
Channels: TypeAlias = Literal["rgb", "grey"]

_ORIENTATION = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class Header:
    """What a file says of itself. `width` and `height` are as stored, before any EXIF turn."""

    width: int
    height: int
    mode: str
    format: str
    frames: int


def read_header(source: str | os.PathLike[str] | bytes, max_pixels: int) -> Header:
    """Return what the head of a file says, without decoding it. Raise ImageError where it is no image."""
    with opened(source, max_pixels) as im:
        width, height = im.size
        if isinstance(im, TiffImagePlugin.TiffImageFile):  # Pillow gives the size after the turn
            width, height = im.tag_v2[256], im.tag_v2[257]
        mode = im.mode
        return Header(width, height, mode, im.format or "", frames(im))


def decode(source: Source, spec: DecodeSpec, channels: Channels = "rgb") -> Pixels:
    """Return all pixels of an image, H x W x C and contiguous, C being 3 or 1. Raise ImageError.

    The first frame of an animation; transparency over `spec.background`; grey by ITU-R 601 luma.
    """
    mode = _mode(channels)
    return _array(_picture(source, spec, mode), mode)


def fit(pixels: Pixels, spec: InputSpec) -> Pixels:
    """Return pixels (H x W x C) brought to ``spec.height x spec.width`` as `spec.fit` says.

    One antialiased resize of an exact, centred part: "stretch" takes the whole picture; "crop" the largest
    part of the right aspect, times `spec.crop_pct`; "pad" the whole picture with its aspect, over
    `spec.pad_colour`. Pixels that need no change are returned as they are.
    """
    depth = pixels.shape[2] if pixels.ndim == 3 else 0
    if pixels.dtype != np.uint8 or depth != spec.depth or pixels.size == 0:
        raise ImageError(f"expected uint8 pixels of H×W×{spec.depth}, received {_describe(pixels)}")
    mode = _mode(spec.channels)
    picture = _from_array(pixels)
    fitted = _fitted(picture, spec, mode)
    return pixels if fitted is picture else _array(fitted, mode)


def load(source: Source, decode: DecodeSpec, input: InputSpec) -> Pixels:
    """Return the network's pixels of any source: ``fit(decode(...))``, without its copies in between."""
    mode = _mode(input.channels)
    return _array(_fitted(_picture(source, decode, mode), input, mode), mode)


# From an open file or an array to one picture, RGB or L.


def _mode(channels: Channels) -> str:
    return "RGB" if channels == "rgb" else "L"


def _picture(source: Source, spec: DecodeSpec, mode: str) -> Image.Image:
    """Return the decoded, flat and turned picture: in `mode`, or in L where the source is grey."""
    if isinstance(source, np.ndarray):
        im = _from_array(source)
        check_size(im.size, spec.max_pixels)
        return _flat(im, spec.background, mode)
    with opened(source, spec.max_pixels) as file:
        turned_by_pillow = isinstance(file, TiffImagePlugin.TiffImageFile)
        orientation = _orientation(file) if turned_by_pillow else 1
        _scale_transparency(file)
        file.load()
        if turned_by_pillow:
            turn = 1 if spec.exif else {6: 8, 8: 6}.get(orientation, orientation)
        else:
            turn = _orientation(file) if spec.exif else 1  # a PNG may hold it after the pixels
        flat = _flat(file, spec.background, mode)
        return flat.transpose(_TURNS[turn]) if turn in _TURNS else flat


def _orientation(im: ImageFile.ImageFile) -> int:
    """Return the EXIF orientation, 1 where there is none or it cannot be read."""
    try:
        exif = im.getexif()
        for inner in (0x8769, 0x8825, 0xA005):  # else Pillow reads these too for a TIFF, and may fail
            exif.pop(inner, None)
        value = exif.get(_ORIENTATION, 1)
    except Exception:  # damaged EXIF; the picture itself may be good
        return 1
    return value if isinstance(value, int) else 1


def _scale_transparency(im: ImageFile.ImageFile) -> None:
    """Bring a PNG's transparent colour to the 8 bits that Pillow gives its pixels."""
    colour = im.info.get("transparency")
    if im.format != "PNG" or colour is None or not im.tile:
        return
    match im.tile[0].args:
        case "L;2" | "L;4" as kind:
            im.info["transparency"] = colour * (85 if kind == "L;2" else 17)
        case "RGB;16B":
            im.info["transparency"] = tuple(value >> 8 for value in colour)


def _flat(im: Image.Image, background: Colour, mode: str) -> Image.Image:
    """Return `im` without transparency and in 8 bits: in `mode`, or in L where it is grey."""
    alpha: Image.Image | None = None
    if im.mode.startswith("I") or im.mode == "F":
        transparent = im.info.get("transparency")
        if transparent is not None:
            alpha = Image.fromarray(np.where(np.asarray(im) == transparent, 0, 255).astype(np.uint8))
        im = Image.fromarray(_eight_bits(im))
    elif im.has_transparency_data:
        im = alpha = im if im.mode == "RGBA" else im.convert("RGBA")
    if alpha is not None:
        canvas = Image.new("RGB", im.size, background)
        canvas.paste(im, mask=alpha)
        im = canvas
    return im if im.mode in ("L", mode) else im.convert(mode)


def _eight_bits(im: Image.Image) -> Pixels:
    """Return the grey values of a deep picture in 8 bits, by one rule for each kind.

    16-bit (and I within 0 to 65535): the high byte, as Pillow does for 16-bit colour; 12-bit: the upper 8.
    Float: within 0 to 1 times 255, within 0 to 255 as it is. Anything else: its own range to 0 to 255.
    Not finite: 0.
    """
    values = np.asarray(im)
    tags: Any = im.tag_v2 if isinstance(im, TiffImagePlugin.TiffImageFile) else {}
    if im.mode.startswith("I;16"):
        if tags.get(262) == 0:  # white is zero; Pillow turns that round for 8 bits only
            values = np.invert(values)
        return (values >> (4 if tags.get(258) == (12,) else 8)).astype(np.uint8)
    finite = np.isfinite(values)
    known = values[finite]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if im.mode == "I" and low >= 0 and high <= 65535:
        return (values >> 8).astype(np.uint8)
    if im.mode == "F" and low >= 0 and high <= 255:
        start, scale = 0.0, 255.0 if high <= 1 else 1.0
    else:
        start, scale = low, 255.0 / (high - low) if high > low else 0.0
    scaled = (np.where(finite, values, start).astype(np.float64) - start) * scale
    return np.rint(scaled).astype(np.uint8)


# Arrays in and out, and the fit.


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype} of {'×'.join(map(str, array.shape)) or 'no size'}"


def _from_array(array: NDArray[Any]) -> Image.Image:
    depth = array.shape[2] if array.ndim == 3 else 1
    if array.dtype != np.uint8 or array.ndim not in (2, 3) or depth not in (1, 3, 4) or array.size == 0:
        expected = "a uint8 array of H×W, H×W×1, H×W×3 or H×W×4"
        raise ImageError(f"expected {expected}, received {_describe(array)}")
    return Image.fromarray(array if depth > 1 or array.ndim == 2 else array[:, :, 0])


def _array(im: Image.Image, mode: str) -> Pixels:
    pixels = np.asarray(im if im.mode == mode else im.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _fitted(im: Image.Image, spec: InputSpec, mode: str) -> Image.Image:
    """Return `im` at the size of `spec`: in `mode`, or in L where the picture is grey and not padded."""
    width, height = im.size
    size = target = (spec.width, spec.height)
    box = whole = (0.0, 0.0, float(width), float(height))
    if spec.fit == "crop":
        inner_width = spec.crop_pct * min(width, height * spec.width / spec.height)
        inner_height = spec.crop_pct * min(height, width * spec.height / spec.width)
        left, top = (width - inner_width) / 2, (height - inner_height) / 2
        box = (left, top, min(width, left + inner_width), min(height, top + inner_height))
    elif spec.fit == "pad":
        scale = min(spec.width / width, spec.height / height)
        inner = max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
        size = min(spec.width, inner[0]), min(spec.height, inner[1])
    if im.size != size or box != whole:
        im = im.resize(size, Image.Resampling[spec.interpolation.upper()], box)
    if size == target:
        return im
    red, green, blue = spec.pad_colour
    luma = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16  # as Pillow's convert("L")
    canvas = Image.new(mode, target, spec.pad_colour if mode == "RGB" else luma)
    canvas.paste(im, ((target[0] - size[0]) // 2, (target[1] - size[1]) // 2))
    return canvas
