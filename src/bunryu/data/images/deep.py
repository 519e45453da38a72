"""Deep pictures, of more than 8 bits: their values, and the 8 bits that become of them.

One range of values is for a whole data set, so that equal values stay equal from picture to picture; it is sealed in
the model (`DecodeSpec.range`). Without one, as in models sealed before there was any, each file is read by its kind.
"""

from __future__ import annotations

import sys
import threading
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, TiffImagePlugin

from bunryu.data.images.array_files import ArrayFile
from bunryu.data.images.damage import load_whole
from bunryu.settings.config import Range

Values = NDArray[Any]
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Deep:
    """A deep picture.

    Attributes:
        values: H x W, or H x W x 3; numbers of any type.
        kind: 12-bit, 16-bit, 32-bit, float.
        alpha: 8 bits, H x W; None where nothing is transparent.
    """

    values: Values
    kind: str
    alpha: Pixels | None = None


class Seen(NamedTuple):
    """What the last deep picture held, beside the range that it was read with."""

    kind: str
    low: float
    high: float
    beyond: float
    """Share of its values below or above the range."""


class _Here(threading.local):
    seen: Seen | None = None


_here = _Here()


def take_seen() -> Seen | None:
    """Return what the deep picture held that this thread brought to 8 bits since this was last asked; else None."""
    found, _here.seen = _here.seen, None
    return found


def loaded(file: ImageFile.ImageFile | ArrayFile, *, colour: bool) -> Image.Image | Deep:
    """Load an open file, and return it if it has 8 bits, else its values.

    Args:
        file: open, without its pixels.
        colour: whether deep colours are returned as such. Pillow alone has their high bytes.
    """
    if isinstance(file, ArrayFile):
        return of_array(file.read())
    if colour and (swapped := _other_bytes(file)) is not None:
        stream: Any = file.fp
        load_whole(file)
        high = np.asarray(file).astype(np.uint16)
        stream.seek(0)
        low = type(file)(stream, "")
        low.tile = [tile._replace(args=swapped) for tile in low.tile]
        low.load()
        values = high << 8 | np.asarray(low)
        alpha = (values[:, :, 3] >> 8).astype(np.uint8) if values.shape[2] == 4 else None
        return Deep(values[:, :, :3], "16-bit", alpha if alpha is not None else _keyed(file, values))
    load_whole(file)
    return _grey(file) if file.mode.startswith("I") or file.mode == "F" else file


def of_array(values: Values) -> Image.Image | Deep:
    """Return an array (H x W, or with 1, 3 or 4 channels) as a picture: of 8 bits, or its values."""
    if values.ndim == 3 and values.shape[2] == 1:
        values = values[:, :, 0]
    if values.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(values))
    kind = "float" if values.dtype.kind == "f" else f"{8 * values.dtype.itemsize}-bit"
    if values.ndim == 3 and values.shape[2] == 4:
        whole = np.iinfo(values.dtype).max if values.dtype.kind in "ui" else 1.0
        alpha = np.clip(values[:, :, 3].astype(np.float64) / whole * 255, 0, 255)
        return Deep(values[:, :, :3], kind, np.rint(np.nan_to_num(alpha)).astype(np.uint8))
    return Deep(values, kind)


def _other_bytes(file: ImageFile.ImageFile) -> Any:
    """Return the arguments with which Pillow would read the other byte of each colour of 16 bits; else None.

    It reads the upper byte of each. With the order of the bytes turned round, the same reader reads the lower one.
    """
    if file.mode not in ("RGB", "RGBA") or file.format not in ("PNG", "TIFF") or not file.tile or file.fp is None:
        return None
    args = file.tile[0].args
    raw, rest = (args, ()) if isinstance(args, str) else (args[0], args[1:]) if args else ("", ())
    name, _, order = str(raw).partition(";")
    if name not in ("RGB", "RGBA", "RGBX") or not order.startswith("16"):
        return None
    order = {"16L": "16B", "16B": "16L", "16N": "16B" if sys.byteorder == "little" else "16L"}[order]
    if any((tile.args if isinstance(args, str) else tile.args[0]) != raw for tile in file.tile):  # type: ignore[index]
        return None
    return f"{name};{order}" if isinstance(args, str) else (f"{name};{order}", *rest)


def _keyed(file: ImageFile.ImageFile, values: Values) -> Pixels | None:
    """Return where the transparent colour of a PNG is not, as alpha."""
    colour = file.info.get("transparency")
    if not isinstance(colour, tuple) or len(colour) != 3:
        return None
    return np.where((values == np.array(colour)).all(axis=2), 0, 255).astype(np.uint8)


def _grey(im: Image.Image) -> Deep:
    """Return the values of a picture that Pillow holds as I;16, I or F."""
    values = np.asarray(im)
    tags: Any = im.tag_v2 if isinstance(im, TiffImagePlugin.TiffImageFile) else {}
    twelve = tags.get(258) == (12,)
    if im.mode.startswith("I;16") and tags.get(262) == 0:  # white is zero; Pillow turns that round for 8 bits only
        values = np.invert(values)
    if im.mode == "I" and tags.get(258) == (32,) and tags.get(339, (1,))[0] == 1 and im.format == "TIFF":
        values = values.view(np.uint32)  # Pillow holds it with a sign
    transparent = im.info.get("transparency")
    alpha = None if transparent is None else np.where(values == transparent, 0, 255).astype(np.uint8)
    if im.mode == "F":
        kind = "float"
    elif im.mode == "I" and tags.get(258) != (16,) and im.format == "TIFF":
        kind = "32-bit"
    else:
        kind = "12-bit" if twelve else "16-bit"
    return Deep(values, kind, alpha)


def eight_bits(deep: Deep, range: Range | None) -> Pixels:
    """Return the values in 8 bits: `range` to 0 to 255, beyond it 0 and 255; by the file's own kind without a range.

    What is not finite is 0.
    """
    values = deep.values
    finite = np.isfinite(values) if values.dtype.kind == "f" else None
    known = values if finite is None or finite.all() else values[finite]
    low, high = (float(known.min()), float(known.max())) if known.size else (0.0, 0.0)
    if range is None:
        _here.seen = Seen(deep.kind, low, high, 0.0)
        return _by_kind(values, deep.kind, low, high)
    start, end = range
    beyond = float(((known < start) | (known > end)).mean()) if low < start or high > end else 0.0
    _here.seen = Seen(deep.kind, low, high, beyond)
    if values.dtype == np.uint16:
        found: Pixels = _scaled(np.arange(1 << 16), start, end)[values]
        return found
    return _scaled(np.where(np.isfinite(values), values, start) if finite is not None else values, start, end)


def _scaled(values: Values, start: float, end: float) -> Pixels:
    scaled = (values.astype(np.float64) - start) * (255.0 / (end - start))
    return np.rint(np.clip(scaled, 0.0, 255.0)).astype(np.uint8)


def _by_kind(values: Values, kind: str, low: float, high: float) -> Pixels:
    """Return the values in 8 bits by one rule for each kind of file.

    16-bit (and whole numbers within 0 to 65535): the high byte, as Pillow does for 16-bit colour; 12-bit: the upper 8.
    Float: within 0 to 1 times 255, within 0 to 255 as it is. Anything else: its own range to 0 to 255.
    """
    whole = values.dtype.kind in "ui"
    if whole and low >= 0 and high <= 65535:
        return (values >> (4 if kind == "12-bit" else 8)).astype(np.uint8)
    if not whole and low >= 0 and high <= 255:
        return _scaled(np.where(np.isfinite(values), values, 0.0), 0.0, 1.0 if high <= 1 else 255.0)
    if not high > low:
        return np.zeros(values.shape, np.uint8)
    return _scaled(values if whole else np.where(np.isfinite(values), values, low), low, high)
