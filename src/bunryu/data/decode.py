"""From a path, bytes or an array to pixels: decode in full, lay over the background, turn, fit.

No torch here, so that prediction and serving can live without it. Pillow reads the files; what it leaves
to its caller is settled here: the cap on pixels, 16-bit and float values, transparency, EXIF, errors.
Results may share memory with the source or be read-only: copy them before writing into them.
"""

from __future__ import annotations

import os
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from typing import IO, Any, Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from bunryu.data.settings import Colour, DecodeSpec, InputSpec
from bunryu.errors import ImageError

Source: TypeAlias = str | os.PathLike[str] | bytes | NDArray[np.uint8]
Pixels: TypeAlias = NDArray[np.uint8]
Channels: TypeAlias = Literal["rgb", "grey"]

# Only these are tried: other readers of Pillow start programs (EPS) or are never meant here (fonts, FITS).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "DIB")
IMAGE_SUFFIXES: frozenset[str] = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in (*_FORMATS, "MPO")
)
"""Endings of files that are taken for images, lower-case with the dot. `decode` itself goes by content."""
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
    with _opened(source, max_pixels) as im:
        width, height = im.size
        if isinstance(im, TiffImagePlugin.TiffImageFile):  # Pillow gives the size after the turn
            width, height = im.tag_v2[256], im.tag_v2[257]
        mode = im.mode
        return Header(width, height, mode, im.format or "", _frames(im))


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


def load(source: Source, decode: DecodeSpec, input: InputSpec) -> Pixels:  # noqa: A002 - the specs' names
    """Return the network's pixels of any source: ``fit(decode(...))``, without its copies in between."""
    mode = _mode(input.channels)
    return _array(_fitted(_picture(source, decode, mode), input, mode), mode)


# Opening: by content, capped, and every failure an ImageError.


class _Here(threading.local):
    """The cap on pixels while this thread reads an image here, else None."""

    max_pixels: int | None = None


class _QuietWarnings:
    """Stands in for ``warnings`` in Pillow's modules: silent while `decode` reads, else the real one."""

    def warn(self, message: Any, category: Any = None, stacklevel: int = 1, **options: Any) -> None:
        if _here.max_pixels is None:
            warnings.warn(message, category, stacklevel + 1, **options)

    def __getattr__(self, name: str) -> Any:
        return getattr(warnings, name)


def _bomb_check(size: tuple[int, int], **options: Any) -> None:
    if _here.max_pixels is None:
        _pillows_bomb_check(size, **options)
    else:
        _check_size(size, _here.max_pixels)


# Pillow's limit on pixels and Python's warning filters belong to the whole process, ours to one call in one
# of many threads. So the two places where Pillow looks are set once, here, to ask the calling thread; for
# other users of Pillow in the process nothing changes. Pillow makes this check before everything it
# allocates while it opens a file (a GIF's disposal, a WebP's canvas), which a check of ours would miss.
_here = _Here()
_pillows_bomb_check: Callable[..., None] = Image._decompression_bomb_check
Image._decompression_bomb_check = _bomb_check
for _module in (Image, JpegImagePlugin, PngImagePlugin, TiffImagePlugin):
    vars(_module)["warnings"] = _QuietWarnings()


class _Jpeg(JpegImagePlugin.JpegImageFile):
    """A JPEG whose resolution is not looked up: damaged EXIF could make that fail for a good picture."""

    def _read_dpi_from_exif(self) -> None:
        pass


@contextmanager
def _opened(source: str | os.PathLike[str] | bytes, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open an image and check its size; until the end of the ``with``, every failure is an ImageError."""
    name = "image"
    _here.max_pixels = max_pixels
    # Another library may have allowed half-read pictures for the process; they would be grey below the cut.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with _stream(source) as file:
            name, reader = _identify(file)
            im = reader(file, "")
            _check_size(im.size, max_pixels)
            yield im
    except ImageError:
        raise
    except Exception as error:  # Pillow documents no closed set of exceptions for damaged files
        raise ImageError(_reason(error, name)) from error
    finally:
        _here.max_pixels = None


def _stream(source: object) -> IO[bytes]:
    """Return the source as an open file. Pillow gets no path, so that it maps no file that may shrink."""
    if isinstance(source, bytes | bytearray):
        return BytesIO(source)
    if not isinstance(source, str | os.PathLike):
        received = type(source).__name__
        raise ImageError(f"expected a path, the bytes of a file or a uint8 array, received {received}")
    try:
        return open(source, "rb")  # noqa: PTH123 - a million paths, no Path objects
    except OSError as error:
        raise ImageError(f"cannot be opened: {error.strerror or error}") from error
    except ValueError as error:  # a NUL or a lone surrogate in the path
        raise ImageError(f"cannot be opened: {str(error).split(':')[0]}") from error


def _identify(file: IO[bytes]) -> tuple[str, Callable[[IO[bytes], str], ImageFile.ImageFile]]:
    """Return the format by content, and its reader. A phone's MPO is read as the JPEG that it begins with."""
    head = file.read(512)
    file.seek(0)
    heic = head[4:8] == b"ftyp" and any(brand in head[8:64] for brand in (b"heic", b"heix", b"hevc"))
    for name in _FORMATS if head and not heic else ():
        reader, accept = Image.OPEN[name]
        verdict = accept is None or accept(head[:16].ljust(16, b"\0"))
        if isinstance(verdict, str):
            raise ImageError(f"cannot be read: this Pillow was built without {name}")
        if verdict and (name != "PPM" or head[2:3].isspace()):  # Pillow takes "Python ..." for a PPM
            return name, _Jpeg if name == "JPEG" else reader
    if heic:
        content = "HEIC, which is not supported: convert it to JPEG"
    elif not any(head):
        content = "only zeros" if head else "empty file"
    elif head.startswith(b"version https://git-lfs"):
        content = "a Git LFS pointer: fetch the file itself"
    else:
        content = "unknown content" if any(byte < 9 for byte in head) else "text"
    raise ImageError(f"not an image ({content})")


def _check_size(size: tuple[int, int], max_pixels: int) -> None:
    width, height = size
    if width * height > max_pixels:
        raise ImageError(
            f"too large: {width}×{height} is {width * height:,} pixels, "
            f"the limit is {max_pixels:,} (data.max_megapixels)"
        )


_PLAINLY = {
    "not identified by this driver": "no size or colours in its head",
    "cannot load this image": "no pixels in it",
    "could not create decoder object": "broken or incomplete data",
    "Missing dimensions": "no size in its tags, or the tags at its end are missing",
}


def _reason(error: Exception, name: str) -> str:
    """Return in a few words why a file of the format `name` could not be read."""
    text = " ".join(str(error).split()) or type(error).__name__
    kinds = (error, error.__cause__)  # Pillow turns what it meets in a header into a SyntaxError
    if isinstance(error, MemoryError):
        return "needs more memory than there is"
    if isinstance(error, OSError) and error.strerror:
        return f"cannot be read: {error.strerror}"
    if any(isinstance(kind, EOFError | IndexError | struct.error) for kind in kinds) or any(
        word in text.lower() for word in ("truncated", "not enough image data", "incomplete", "eof")
    ):
        return f"truncated: the {name} data end early"
    if any(isinstance(kind, KeyError) for kind in kinds):
        text = f"unknown kind {text}"
    return f"unreadable {name}: {_PLAINLY.get(text, text)[:100]}"


def _frames(im: ImageFile.ImageFile) -> int:
    try:
        return int(getattr(im, "n_frames", 1))
    except Exception:  # a damaged later page does not make the first one unreadable
        return 1


# From an open file or an array to one picture, RGB or L.


def _mode(channels: Channels) -> str:
    return "RGB" if channels == "rgb" else "L"


def _picture(source: Source, spec: DecodeSpec, mode: str) -> Image.Image:
    """Return the decoded, flat and turned picture: in `mode`, or in L where the source is grey."""
    if isinstance(source, np.ndarray):
        im = _from_array(source)
        _check_size(im.size, spec.max_pixels)
        return _flat(im, spec.background, mode)
    with _opened(source, spec.max_pixels) as file:
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
