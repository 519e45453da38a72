"""Opening image files with Pillow: by content, capped, thread-safe, and every failure an ImageError."""

from __future__ import annotations

import os
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO, Any

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from bunryu.core.errors import ImageError

# Only these are tried: other readers of Pillow start programs (EPS) or are never meant here (fonts, FITS).
_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "DIB")
IMAGE_SUFFIXES: frozenset[str] = frozenset(
    suffix for suffix, name in Image.registered_extensions().items() if name in (*_FORMATS, "MPO")
)
"""Endings of files that are taken for images, lower-case with the dot. `decode` itself goes by content."""


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
        check_size(size, _here.max_pixels)


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
def opened(source: str | os.PathLike[str] | bytes, max_pixels: int) -> Iterator[ImageFile.ImageFile]:
    """Open an image and check its size; until the end of the ``with``, every failure is an ImageError."""
    name = "image"
    _here.max_pixels = max_pixels
    # Another library may have allowed half-read pictures for the process; they would be grey below the cut.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with _stream(source) as file:
            name, reader = _identify(file)
            im = reader(file, "")
            check_size(im.size, max_pixels)
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


def check_size(size: tuple[int, int], max_pixels: int) -> None:
    """Raise ImageError where width times height is over the cap."""
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


def frames(im: ImageFile.ImageFile) -> int:
    """Return how many pictures the file holds."""
    try:
        return int(getattr(im, "n_frames", 1))
    except Exception:  # a damaged later page does not make the first one unreadable
        return 1
