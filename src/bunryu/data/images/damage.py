"""Pictures that Pillow shows although they are known to be damaged: they are refused, the same in training and in use.

What Pillow does not look at: the checksums of a PNG; a JPEG that was cut and given an end again, which libjpeg fills up
with grey; what libtiff complains of but goes on with, such as bad code words of a fax, and writes to stderr.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import threading
import zlib
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import IO, Any

import PIL
from PIL import Image, ImageFile, JpegImagePlugin

from bunryu.core.errors import ImageError


def load_whole(im: ImageFile.ImageFile) -> None:
    """Load the pixels of an open image.

    Raises:
        ImageError: it is known to be damaged. Pillow's own exceptions are let through.
    """
    stream, reduced = im.fp, getattr(im, "decoderconfig", ())
    if im.format == "TIFF":
        with _libtiff_heard() as complaints:
            im.load()
        if complaints:
            raise ImageError(f"damaged TIFF: {complaints[0]}")
        return
    im.load()
    if stream is None:
        return
    if im.format == "PNG":
        _require_checksums(stream)
    elif im.format == "JPEG":
        _require_whole_jpeg(im, stream, reduced)


# PNG.

_PIECE = 1 << 20


def _require_checksums(stream: IO[bytes]) -> None:
    """Refuse a PNG one of whose critical parts has another checksum than it says."""
    stream.seek(8)
    while len(head := stream.read(8)) == 8:
        left, kind = int.from_bytes(head[:4]), head[4:]
        if not kind[0] & 0x20:  # a capital letter: the picture cannot be shown without it
            found = zlib.crc32(kind)
            while left and (piece := stream.read(min(left, _PIECE))):
                found, left = zlib.crc32(piece, found), left - len(piece)
            stored = stream.read(4)
            if not left and len(stored) == 4 and int.from_bytes(stored) != found:
                raise ImageError(f"damaged PNG: the checksum of its {kind.decode('latin-1')} is wrong")
        else:
            stream.seek(left + 4, os.SEEK_CUR)
        if kind == b"IEND":
            return


# JPEG.

_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""Behind the start of a scan: the next marker that is neither a stuffed byte nor a restart."""
_JUNK = bytes((37 * i * i + 11 * i + 5) % 251 for i in range(512))
_GREY = (127, 128)


def _require_whole_jpeg(im: ImageFile.ImageFile, stream: IO[bytes], reduced: Any) -> None:
    """Refuse a JPEG whose data end before its picture does, although it has an end.

    libjpeg fills up with grey what is missing, without an error. Where the last pixel is so, the picture is decoded
    once more with more data put in before the end: they have no part in a picture that is whole, and change one that
    is not. A progressive one comes in several goes; it also has to have all of those that make up its brightness.
    """
    progressive = bool(im.info.get("progressive"))
    last = im.getpixel((im.width - 1, im.height - 1))
    grey = all(band in _GREY for band in (last if isinstance(last, tuple) else (last,)))
    if not (grey or progressive):
        return
    stream.seek(0)
    content = stream.read()
    scans, end = _scans(content)
    if progressive and not _complete(scans):
        raise ImageError("damaged JPEG: its data end early (not all of a progressive picture is there)")
    if grey and end and _again(im, content[:end] + _JUNK + content[end:], reduced).tobytes() != im.tobytes():
        raise ImageError("damaged JPEG: its data end early, and the rest of the picture is grey")


def _again(im: ImageFile.ImageFile, content: bytes, reduced: Any) -> Image.Image:
    """Return the picture of other content, decoded as `im` was."""
    other = type(im)(BytesIO(content), "")
    if isinstance(other, JpegImagePlugin.JpegImageFile) and reduced and reduced[0] > 1:
        other.draft(None, (other.width // reduced[0], other.height // reduced[0]))
    other.load()
    return other


def _scans(content: bytes) -> tuple[list[bytes], int]:
    """Return the head of each scan of a JPEG, and where the data of the last end; 0 where that cannot be told."""
    at, scans, end = 2, [], 0
    while at + 4 <= len(content) and content[at] == 0xFF:
        kind = content[at + 1]
        if kind == 0xFF:  # padding
            at += 1
            continue
        if kind == 0xD9:
            break
        size = int.from_bytes(content[at + 2 : at + 4])
        head, at = content[at + 4 : at + 2 + size], at + 2 + size
        if kind == 0xDA:
            scans.append(head)
            found = _MARKER.search(content, at)
            if found is None:
                return scans, 0
            at = end = found.start()
    return scans, end


def _complete(scans: list[bytes]) -> bool:
    """Return whether the scans of a progressive JPEG give every coefficient of its first component to the last bit."""
    missing = set(range(64))
    first = scans[0][1] if scans and len(scans[0]) > 1 else -1
    for head in scans:
        components = head[1 : 1 + 2 * head[0] : 2]
        low, high, bits = head[1 + 2 * head[0] :][:3].ljust(3, b"\xff")
        if first is not None and first in components and bits & 0x0F == 0:
            missing -= set(range(low, high + 1))
    return not missing


# TIFF.


class _Heard(threading.local):
    """What libtiff complained of in this thread; None while no one listens."""

    complaints: list[str] | None = None


_heard = _Heard()
_lock = threading.Lock()
_handlers: list[Any] | None = None
"""What has to stay alive once libtiff knows it; None before it was looked for, empty where it is not there."""


@contextlib.contextmanager
def _libtiff_heard() -> Iterator[list[str]]:
    """Collect what libtiff complains of in this thread, instead of having it on stderr.

    Its handler belongs to the process and is set once; who reads a TIFF elsewhere in the process gets what was there
    before. Where the library cannot be reached (it may be a part of Pillow's own), nothing is collected.
    """
    global _handlers
    with _lock:
        if _handlers is None:
            _handlers = _listen()
    _heard.complaints = []
    try:
        yield _heard.complaints
    finally:
        _heard.complaints = None


def _listen() -> list[Any]:
    """Have libtiff call us with its errors; return what must stay alive for that."""
    try:
        library = _libtiff()
        if library is None:
            return []
        text = ctypes.CDLL(None if os.name != "nt" else "msvcrt").vsnprintf
        kind = ctypes.CFUNCTYPE(None, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_void_p)
        set_handler = library.TIFFSetErrorHandler
    except (OSError, AttributeError):
        return []
    set_handler.argtypes, set_handler.restype = [kind], ctypes.c_void_p
    before: Any = None

    def hear(module: bytes | None, form: bytes | None, values: int | None) -> None:
        if _heard.complaints is None:
            if before is not None:
                before(module, form, values)
        elif not _heard.complaints:  # the first says enough, and a damaged fax has thousands
            buffer = ctypes.create_string_buffer(200)
            text(buffer, ctypes.c_size_t(len(buffer)), ctypes.c_char_p(form), ctypes.c_void_p(values))
            told = f"{(module or b'').decode('latin-1')}: {buffer.value.decode('latin-1')}"
            _heard.complaints.append("".join(c if c.isprintable() else " " for c in told)[:100])

    handler = kind(hear)
    address = set_handler(handler)
    before = kind(address) if address else None
    return [handler, before, library]


def _libtiff() -> Any:
    """Return the libtiff that Pillow has loaded; None where it is not found."""
    here = Path(PIL.__file__).parent
    found = [*here.parent.glob("pillow.libs/libtiff*"), *here.parent.glob("Pillow.libs/libtiff*")]
    found += here.glob(".dylibs/libtiff*")
    mode = getattr(os, "RTLD_NOLOAD", 0) | getattr(os, "RTLD_LAZY", 0)
    for name in [*map(str, found), "libtiff.so.6", "libtiff.so.5"]:
        with contextlib.suppress(OSError):
            return ctypes.CDLL(name, mode=mode)
    return None
