"""From a path, bytes or an array to pixels: decode, lay over the background, turn, fit.

No torch here, so that prediction and serving can live without it. Pillow reads the files; what it leaves
to its caller is settled here: the cap on pixels, 16-bit and float values, transparency, EXIF, errors.
Results may share memory with the source or be read-only: copy them before writing into them.
"""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, TiffImagePlugin

from bunryu.core.errors import ImageError
from bunryu.data.images.array_files import ArrayFile, is_shape
from bunryu.data.images.damage import load_whole
from bunryu.data.images.deep import Deep, eight_bits, loaded, of_array
from bunryu.data.images.facts import Facts, facts_of
from bunryu.data.images.open import check_size, frames, opened, warned
from bunryu.settings.config import Range
from bunryu.settings.data import DecodeSpec, InputSpec

Source: TypeAlias = str | os.PathLike[str] | bytes | NDArray[Any]
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
        return Header(width, height, im.mode, im.format or "", frames(im))


def decode(source: Source, spec: DecodeSpec, channels: Channels = "rgb") -> Pixels:
    """Return all pixels of an image, H x W x C and contiguous, C being 3 or 1. Raise ImageError.

    The first frame of an animation; transparency over `spec.background`; grey by ITU-R 601 luma. `spec.scaling`
    has no part in it: without a fit there is nothing to scale for.
    """
    mode = _mode(channels)
    return _array(_picture(source, spec, mode).im, mode)


def examine(source: str | os.PathLike[str] | bytes, spec: DecodeSpec) -> Facts:
    """Decode all of a file, and return what else there is to know of it. Raise ImageError, as `decode`."""
    with opened(source, spec.max_pixels) as file:
        raw, _ = _loaded(file, spec, colour=True)
        flat = np.asarray(_flat(raw, spec, "RGB"))
        return facts_of(raw, flat, file, warned())


def fit(pixels: Pixels, spec: InputSpec) -> Pixels:
    """Return pixels (H x W x C) brought to ``spec.height x spec.width`` as `spec.fit` says.

    One antialiased resize of an exact, centred part: "stretch" takes the whole picture (or its `spec.center_crop`);
    "crop" the largest part of the right aspect, times `spec.crop_pct`; "pad" the whole picture with its aspect, over
    `spec.pad_colour`. Pixels that need no change are returned as they are.
    """
    depth = pixels.shape[2] if pixels.ndim == 3 else 0
    if pixels.dtype != np.uint8 or depth != spec.depth or pixels.size == 0:
        raise ImageError(f"expected uint8 pixels of H×W×{spec.depth}, received {_describe(pixels)}")
    mode = _mode(spec.channels)
    im = Image.fromarray(pixels if depth == 3 else pixels[:, :, 0])
    fitted = _fitted(_Picture(im, im.size), spec, mode)
    return pixels if fitted is im else _array(fitted, mode)


def load(source: Source, decode: DecodeSpec, input: InputSpec) -> Pixels:
    """Return the network's pixels of any source: ``fit(decode(...))``, without its copies in between.

    With ``decode.scaling="jpeg"`` a JPEG is decoded at the `reduction` for `input`, and fitted from that: close to
    ``fit(decode(...))``, not the same. Every other file, and every array, is as with "full".
    """
    mode = _mode(input.channels)
    return _array(_fitted(_picture(source, decode, mode, input), input, mode), mode)


def reduction(width: int, height: int, spec: InputSpec) -> int:
    """Return by what factor a JPEG may be reduced while it is decoded: 8, 4, 2 or 1.

    The largest that leaves, of the part that is fitted, at least as many pixels as the result has, across and down.
    `width` and `height` are those of the whole, turned picture. "nearest" picks single pixels, so all are kept.
    """
    if spec.interpolation == "nearest":
        return 1
    left, top, right, bottom = _part(width, height, spec)
    across, down = _inner_size(width, height, spec)
    spare = min((right - left) / across, (bottom - top) / down)
    return next((by for by in (8, 4, 2) if by <= spare), 1)


# From an open file or an array to one picture, RGB or L.


@dataclass(frozen=True)
class _Picture:
    """A turned picture.

    Attributes:
        im: its pixels.
        size: width and height in full, before any reduction.
        reduction: how many pixels in full one of `im` stands for, across and down.
        start: where the picture begins in `im`. The last pixels of a reduced one may stand for less than the
            others; a turn brings them to the front.
    """

    im: Image.Image
    size: tuple[int, int]
    reduction: int = 1
    start: tuple[float, float] = (0.0, 0.0)


def _mode(channels: Channels) -> str:
    return "RGB" if channels == "rgb" else "L"


def _picture(source: Source, spec: DecodeSpec, mode: str, fit_to: InputSpec | None = None) -> _Picture:
    """Return the decoded, flat and turned picture: in `mode`, or in L where the source is grey."""
    if isinstance(source, np.ndarray):
        im = _from_array(source, spec.range)
        check_size(im.values.shape[1::-1] if isinstance(im, Deep) else im.size, spec.max_pixels)
        flat = _flat(im, spec, mode)
        return _Picture(flat, flat.size)
    with opened(source, spec.max_pixels) as file:
        if isinstance(file, JpegImagePlugin.JpegImageFile) and spec.scaling == "jpeg" and fit_to is not None:
            return _reduced(file, spec, mode, fit_to)
        raw, turn = _loaded(file, spec, colour=spec.range is not None)
        flat = _turned(_flat(raw, spec, mode), turn)
        return _Picture(flat, flat.size)


def _loaded(file: ImageFile.ImageFile | ArrayFile, spec: DecodeSpec, *, colour: bool) -> tuple[Image.Image | Deep, int]:
    """Return what an open file holds, as `deep.loaded`, and how it has to be turned."""
    if isinstance(file, ArrayFile):
        return loaded(file, colour=colour), 1
    turned_by_pillow = isinstance(file, TiffImagePlugin.TiffImageFile)
    orientation = _orientation(file) if turned_by_pillow else 1
    _scale_transparency(file, colour)
    raw = loaded(file, colour=colour)
    if turned_by_pillow:
        return raw, 1 if spec.exif else {6: 8, 8: 6}.get(orientation, orientation)
    return raw, _orientation(file) if spec.exif else 1  # a PNG may hold it after the pixels


def _reduced(file: JpegImagePlugin.JpegImageFile, spec: DecodeSpec, mode: str, fit_to: InputSpec) -> _Picture:
    """Return a JPEG's picture, decoded no larger than `fit_to` needs."""
    turn = _orientation(file) if spec.exif else 1
    on_its_side = turn in (5, 6, 7, 8)
    width, height = file.size
    size = (height, width) if on_its_side else (width, height)
    by = reduction(*size, fit_to)
    drafted = file.draft(None, (width // by, height // by)) if by > 1 else None
    if drafted is None:
        by, across, down = 1, float(width), float(height)
    else:
        across, down = drafted[1][2:]  # where the picture ends in pixels that may stand for more than there is
    load_whole(file)
    im = _turned(_flat(file, spec, mode), turn)
    across, down = (down, across) if on_its_side else (across, down)
    left = im.width - across if turn in (2, 3, 6, 7) else 0.0
    top = im.height - down if turn in (3, 4, 7, 8) else 0.0
    return _Picture(im, size, by, (left, top))


def _turned(im: Image.Image, turn: int) -> Image.Image:
    return im.transpose(_TURNS[turn]) if turn in _TURNS else im


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


def _scale_transparency(im: ImageFile.ImageFile, deep: bool) -> None:
    """Bring a PNG's transparent colour to the 8 bits that Pillow gives its pixels."""
    colour = im.info.get("transparency")
    if im.format != "PNG" or colour is None or not im.tile:
        return
    match im.tile[0].args:
        case "L;2" | "L;4" as kind:
            im.info["transparency"] = colour * (85 if kind == "L;2" else 17)
        case "RGB;16B" if not deep:
            im.info["transparency"] = tuple(value >> 8 for value in colour)


def _flat(im: Image.Image | Deep, spec: DecodeSpec, mode: str) -> Image.Image:
    """Return `im` without transparency and in 8 bits: in `mode`, or in L where it is grey."""
    alpha: Image.Image | None = None
    if isinstance(im, Deep):
        alpha = None if im.alpha is None else Image.fromarray(im.alpha)
        im = Image.fromarray(eight_bits(im, spec.range))
    elif im.has_transparency_data:
        im = alpha = im if im.mode == "RGBA" else im.convert("RGBA")
    if alpha is not None:
        canvas = Image.new("RGB", im.size, spec.background)
        canvas.paste(im, mask=alpha)
        im = canvas
    return im if im.mode in ("L", mode) else im.convert(mode)


# Arrays in and out, and the fit.


def _describe(array: NDArray[Any]) -> str:
    return f"{array.dtype} of {'×'.join(map(str, array.shape)) or 'no size'}"


def _from_array(array: NDArray[Any], range: Range | None = None) -> Image.Image | Deep:
    deep = range is not None and array.dtype.kind in "uif"
    if not is_shape(array.shape) or not (deep or array.dtype == np.uint8):
        kind = "an" if range is not None else "a uint8"
        raise ImageError(f"expected {kind} array of H×W, H×W×1, H×W×3 or H×W×4, received {_describe(array)}")
    return of_array(array)


def _array(im: Image.Image, mode: str) -> Pixels:
    pixels = np.asarray(im if im.mode == mode else im.convert(mode))
    return pixels if pixels.ndim == 3 else pixels[:, :, None]


def _middle(width: int, height: int, spec: InputSpec) -> tuple[int, int, int, int]:
    """Return the part of a picture that `center_crop` leaves: left, top, width, height; as torchvision's CenterCrop."""
    down, across = spec.center_crop or (height, width)
    down, across = min(down, height), min(across, width)
    return round((width - across) / 2), round((height - down) / 2), across, down


def _part(width: int, height: int, spec: InputSpec) -> tuple[float, float, float, float]:
    """Return the part of a picture that is fitted: left, top, right, bottom."""
    x, y, width, height = _middle(width, height, spec)
    if spec.fit != "crop":
        return float(x), float(y), float(x + width), float(y + height)
    inner_width = spec.crop_pct * min(width, height * spec.width / spec.height)
    inner_height = spec.crop_pct * min(height, width * spec.height / spec.width)
    left, top = (width - inner_width) / 2, (height - inner_height) / 2
    return x + left, y + top, x + min(width, left + inner_width), y + min(height, top + inner_height)


def _inner_size(width: int, height: int, spec: InputSpec) -> tuple[int, int]:
    """Return the width and height that the part has when fitted: those of `spec`, but for the padding."""
    if spec.fit != "pad":
        return spec.width, spec.height
    _, _, width, height = _middle(width, height, spec)
    scale = min(spec.width / width, spec.height / height)
    inner = max(1, int(width * scale + 0.5)), max(1, int(height * scale + 0.5))
    return min(spec.width, inner[0]), min(spec.height, inner[1])


def _fitted(picture: _Picture, spec: InputSpec, mode: str) -> Image.Image:
    """Return the picture at the size of `spec`: in `mode`, or in L where it is grey and not padded."""
    im, by, (x, y) = picture.im, picture.reduction, picture.start
    size, target = _inner_size(*picture.size, spec), (spec.width, spec.height)
    left, top, right, bottom = _part(*picture.size, spec)
    if spec.center_crop is not None:  # else the filter would look beyond the middle
        over, down, across, high = (side / by for side in _middle(*picture.size, spec))
        cut = math.floor(x + over), math.floor(y + down), math.ceil(x + over + across), math.ceil(y + down + high)
        im, x, y = im.crop(cut), x - cut[0], y - cut[1]
    box = (x + left / by, y + top / by, x + right / by, y + bottom / by)
    if im.size != size or box != (0.0, 0.0, *im.size):
        im = im.resize(size, Image.Resampling[spec.interpolation.upper()], box)
    if size == target:
        return im
    red, green, blue = spec.pad_colour
    luma = (19595 * red + 38470 * green + 7471 * blue + 32768) >> 16  # as Pillow's convert("L")
    canvas = Image.new(mode, target, spec.pad_colour if mode == "RGB" else luma)
    canvas.paste(im, ((target[0] - size[0]) // 2, (target[1] - size[1]) // 2))
    return canvas
