"""A look at one file: its stamp, the digest of its content, and the verdict on its image."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

from bunryu.core.errors import ImageError
from bunryu.data.images.contents import MAX_BYTES_HELD
from bunryu.data.images.decode import examine, read_header
from bunryu.data.images.facts import PLAIN, Facts
from bunryu.settings.data import DecodeSpec

Level = Literal["full", "header", "none"]

_MAX_BYTES_AT_ONCE = 1 << 30
"""Of one that is read again as a whole because its image is bad."""


class Stamp(NamedTuple):
    """What changes when a file does (as in git's index)."""

    size: int
    mtime_ns: int
    ctime_ns: int


class Verdict(NamedTuple):
    """What is known of one content: usable where `reason` is None."""

    reason: str | None
    width: int = 0
    height: int = 0
    frames: int = 1
    facts: Facts = PLAIN
    """What else was found, where all of it was decoded."""
    lasting: bool = True
    """False where not the content is to blame but the disk, or the moment: not to be remembered."""


def stamp_of(file: str) -> Stamp | str:
    """Return a file's stamp, or why it cannot be read. (Opening a pipe would wait for ever.)"""
    try:
        found = os.stat(file)  # noqa: PTH116 - a million rows, no Path objects
    except (OSError, ValueError) as error:
        return _why(error)
    if not stat.S_ISREG(found.st_mode):
        return "a folder, not a file" if stat.S_ISDIR(found.st_mode) else "not a regular file"
    return Stamp(found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def content_digest(content: bytes) -> bytes:
    """Return the hash of a file's content."""
    return _hasher(content).digest()


def _hasher(content: bytes = b"") -> hashlib.blake2b:
    return hashlib.blake2b(content, digest_size=16)


class Look(NamedTuple):
    """What one look at a file found."""

    digest: bytes
    """Of its content."""
    verdict: Verdict
    """On its image."""
    known: bool
    """Whether the verdict was remembered."""
    unchanged: bool
    """Whether the file's stamp is still what it was before the look."""
    content: bytes | None
    """What was read; None of a large file."""


def look(
    file: str, stamp: Stamp, spec: DecodeSpec, level: Level, known: Callable[[bytes], Verdict | None]
) -> Look | str:
    """Open a file once: hash it, and decode the image from the same bytes where its verdict is not known.

    From memory, so that no disk or network error is taken for a bad image. A large file is hashed piece by piece
    instead, and opened again to decode it.

    Args:
        file: its path.
        stamp: as it was found.
        spec: how files are decoded.
        level: how much of an image is looked at.
        known: digest -> remembered verdict.

    Returns:
        What was found, or why the file cannot be read.
    """
    try:
        digest, content = read_once(file, stamp)
    except OSError as error:
        return _why(error)
    if (verdict := known(digest)) is not None:
        return Look(digest, verdict, True, stamp_of(file) == stamp, content)
    verdict = _large(file, digest, spec, level) if content is None else _read(content, spec, level)
    if stamp_of(file) != stamp:
        return Look(digest, Verdict("changed while it was being checked", lasting=False), False, False, content)
    return Look(digest, verdict, False, True, content)


def read_once(file: str, stamp: Stamp) -> tuple[bytes, bytes | None]:
    """Return the hash of a file's content, and the content, or None of a large one. Raise OSError."""
    with open(file, "rb") as stream:  # noqa: PTH123 - a million rows, no Path objects
        if stamp.size > MAX_BYTES_HELD:
            return hashlib.file_digest(stream, _hasher).digest(), None
        content = stream.read()
    return content_digest(content), content


def _large(file: str, digest: bytes, spec: DecodeSpec, level: Level) -> Verdict:
    """Return the verdict on a large file's image; it is lasting only if it is the content's."""
    verdict = _read(file, spec, level)
    if verdict.reason is None:
        return verdict
    try:
        if os.path.getsize(file) > _MAX_BYTES_AT_ONCE:  # noqa: PTH202
            return verdict._replace(lasting=False)
        content = Path(file).read_bytes()
    except OSError as error:
        return Verdict(_why(error), lasting=False)
    if content_digest(content) != digest:
        return Verdict("changed while it was being checked", lasting=False)
    return _read(content, spec, level)


def _read(source: str | bytes, spec: DecodeSpec, level: Level) -> Verdict:
    header, facts = None, PLAIN
    try:
        header = read_header(source, spec.max_pixels)
        if level == "full":
            facts = examine(source, spec)
        reason, lasting = None, True
    except ImageError as error:
        reason, lasting = str(error), not isinstance(error.__cause__, MemoryError)
    if header is None:
        return Verdict(reason, lasting=lasting)
    return Verdict(reason, header.width, header.height, header.frames, facts, lasting)


def _why(error: OSError | ValueError) -> str:
    """Say in a few words why a file cannot be opened or read."""
    match error:
        case FileNotFoundError():
            return "no such file"
        case PermissionError():
            return "no permission to read it"
        case OSError(strerror=str() as text):
            return f"cannot be read ({text})"
        case _:
            return f"cannot be read ({error})"
