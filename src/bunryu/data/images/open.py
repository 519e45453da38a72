"""Opening image files with Pillow: by content, capped, thread-safe, and every failure an ImageError."""

from __future__ import annotations

import os
import stat
import struct
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from typing import IO, Any

from PIL import Image, ImageFile, JpegImagePlugin, PngImagePlugin, TiffImagePlugin

from bunryu.core.errors import ImageError
from bunryu.data.images.array_files import ArrayFile, open_dicom, open_npy, plug_in
from bunryu.data.images.formats import (
    DICOM,
    HEAD_BYTES,
    HEIC,
    NPY,
    PILLOW_FORMATS,
    RAW,
    TARGA,
    Format,
    of_content,
    of_ending,
)

Reader = Callable[[IO[bytes], str], ImageFile.ImageFile | ArrayFile]


class _Here(threading.local):
    """What belongs to this thread while it reads an image here."""

    max_pixels: int | None = None
    """The cap on pixels; None while it reads none."""
    warned: str = ""
    """What Pillow last warned of."""


class _QuietWarnings:
    """Stands in for ``warnings`` in Pillow's modules: kept for `warned` while we read, else the real one."""

    def warn(self, message: Any, category: Any = None, stacklevel: int = 1, **options: Any) -> None:
        if _here.max_pixels is None:
            warnings.warn(message, category, stacklevel + 1, **options)
        else:
            _here.warned = " ".join(str(message).split())[:100]

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


class _Tiff(TiffImagePlugin.TiffImageFile):
    """A TIFF; a camera's raw file, which is one by its first bytes, is refused: its first page is a small preview."""

    def _open(self) -> None:
        super()._open()
        tags: Any = self.tag_v2
        if _DNG_VERSION in tags or (tags.get(_SUBFILE_TYPE) == 1 and _SUB_IFDS in tags):
            raise ImageError(RAW.unread)


_DNG_VERSION, _SUBFILE_TYPE, _SUB_IFDS = 50706, 254, 330
_READERS = {"JPEG": _Jpeg, "TIFF": _Tiff}


@contextmanager
def opened(source: str | os.PathLike[str] | bytes, max_pixels: int) -> Iterator[ImageFile.ImageFile | ArrayFile]:
    """Open an image and check its size; until the end of the ``with``, every failure is an ImageError."""
    name = "image"
    _here.max_pixels, _here.warned = max_pixels, ""
    # Another library may have allowed half-read pictures for the process; they would be grey below the cut.
    ImageFile.LOAD_TRUNCATED_IMAGES = False
    try:
        with _stream(source) as file:
            name, reader = _identify(file, _ending(source))
            im = reader(file, "")
            check_size(im.size, max_pixels)
            yield im
    except ImageError:
        raise
    except Exception as error:  # Pillow documents no closed set of exceptions for damaged files
        raw = name == "TIFF" and of_ending(_ending(source)) is RAW  # packed as only its camera's maker knows
        raise ImageError(RAW.unread if raw else _reason(error, name)) from error
    finally:
        _here.max_pixels = None


def warned() -> str:
    """Return what Pillow last warned of in the picture that this thread opened last; "" where it did not."""
    return _here.warned


def _ending(source: str | os.PathLike[str] | bytes) -> str:
    return "" if isinstance(source, bytes | bytearray) else os.path.splitext(os.fspath(source))[1]  # noqa: PTH122


def _stream(source: object) -> IO[bytes]:
    """Return the source as an open file. Pillow gets no path, so that it maps no file that may shrink."""
    if isinstance(source, bytes | bytearray):
        return BytesIO(source)
    if not isinstance(source, str | os.PathLike):
        received = type(source).__name__
        raise ImageError(f"expected a path, the bytes of a file or a uint8 array, received {received}")
    try:
        kind = os.stat(source).st_mode  # noqa: PTH116
        if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):  # one would wait for a pipe for ever
            raise ImageError("cannot be opened: it is not a regular file")
        return open(source, "rb")  # noqa: PTH123 - a million paths, no Path objects
    except OSError as error:
        raise ImageError(f"cannot be opened: {error.strerror or error}") from error
    except ValueError as error:  # a NUL or a lone surrogate in the path
        raise ImageError(f"cannot be opened: {str(error).split(':')[0]}") from error


def _identify(file: IO[bytes], ending: str) -> tuple[str, Reader]:
    """Return the format by content, and its reader. A phone's MPO is read as the JPEG that it begins with."""
    head = file.read(HEAD_BYTES)
    file.seek(0)
    other = of_content(head)
    if other is not None:
        return other.name, _reader(other)
    for name in PILLOW_FORMATS if head else ():
        reader, accept = Image.OPEN[name]
        verdict = accept is None or accept(head[:16].ljust(16, b"\0"))
        if isinstance(verdict, str):
            raise ImageError(f"cannot be read: this Pillow was built without {name}")
        if verdict and (name != "PPM" or head[2:3].isspace()):  # Pillow takes "Python ..." for a PPM
            return name, _READERS.get(name, reader)
    if not any(head):
        content = "only zeros" if head else "empty file"
    elif head.startswith(b"version https://git-lfs"):
        content = "a Git LFS pointer: fetch the file itself"
    elif (named := of_ending(ending)) is not None and named is not NPY:
        content = named.unread if named in (TARGA, RAW) else f"the content is not that of a {ending} file"
    else:
        content = "unknown content" if any(byte < 9 for byte in head) else "text"
    raise ImageError(f"not an image ({content})")


def _reader(one: Format) -> Reader:
    """Return what opens a format that Pillow alone does not. Raise ImageError where nothing here does."""
    if one is NPY:
        return lambda file, _: open_npy(file)
    if one is DICOM:
        return lambda file, _: open_dicom(file)
    if one.reader:
        module = plug_in(one)
        if one is HEIC:
            return module.HeifImageFile  # type: ignore[no-any-return]
        return module.JpegXLImagePlugin.JXLImageFile  # type: ignore[no-any-return]
    raise ImageError(one.unread)


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


def frames(im: ImageFile.ImageFile | ArrayFile) -> int:
    """Return how many pictures the file holds."""
    try:
        return im.frames if isinstance(im, ArrayFile) else int(getattr(im, "n_frames", 1))
    except Exception:  # a damaged later page does not make the first one unreadable
        return 1
