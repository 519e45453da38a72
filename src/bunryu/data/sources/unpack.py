"""A zip or tar becomes a folder: nothing is written outside it, nor more than the disk has room for."""

from __future__ import annotations

import contextlib
import errno
import lzma
import re
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from bunryu.core import console
from bunryu.core.errors import DataError, count, some, typed

_READ = {zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA}
_METHODS = {9: "Deflate64, as Windows packs large files", 93: "Zstandard", 95: "XZ", 98: "PPMd", 99: "AES encryption"}
_ENCRYPTED, _UTF8, _MADE_ON_DOS = 0x1, 0x800, 0
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)
_MOST_MEMBERS = 2_000_000
_SPARED = 200_000_000
"""Bytes of the disk that unpacking leaves free."""
_USUAL_GROWTH, _SMALL = 100, 1_000_000_000
"""So many times its size an archive of pictures never has in it; below so many bytes nobody minds."""
_OUTSIDE = re.compile(r"[a-zA-Z]:|/")


@dataclass(frozen=True)
class _Member:
    name: str
    size: int
    open: Callable[[], IO[bytes] | None]


@dataclass
class _Found:
    """The files in an archive, and what else is in it."""

    members: dict[str, _Member] = field(default_factory=dict)
    """Path -> file; of two files with one path the later, as every program unpacks them."""
    junk: int = 0
    links: int = 0
    twice: int = 0
    notes: list[str] = field(default_factory=list)

    def add(self, member: _Member) -> None:
        parts = [part for part in member.name.split("/") if part not in ("", ".")]
        if ".." not in parts and any(part.startswith(".") or part.lower() == "__macosx" for part in parts):
            self.junk += 1
            return
        path = "/".join(parts)
        self.twice += path in self.members
        self.members[path] = member

    def told(self) -> list[str]:
        """Return what was passed over, in sentences."""
        told = list(self.notes)
        if self.junk:
            told.append(f"{count(self.junk, 'hidden or system file')} in it ignored (such as __MACOSX, .DS_Store)")
        if self.links:
            told.append(f"{count(self.links, 'link or device', 'links or devices')} in it passed over")
        if self.twice:
            told.append(f"{count(self.twice, 'file stands', 'files stand')} in it twice: the later is read")
        return told


def unpack(archive: Path, folder: Path) -> list[str]:
    """Unpack a zip or tar into `folder`, which is new; return what is told of it, in sentences.

    Names that are no UTF-8 are read as cp949, where all of them can be: zips of Korean Windows.

    Raises:
        DataError: it is none, damaged, or encrypted; it would write outside the folder, or more than there is room for.
    """
    reading = _zip if archive.name.lower().endswith(".zip") else _tar
    try:
        with reading(archive) as found:
            _require_within(archive, found)
            total = sum(member.size for member in found.members.values())
            require_room(archive, folder, total)
            damaged = _written(archive, folder, found)
    except _BROKEN as error:
        raise _damaged(archive, str(error) or "it ends too early") from None
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise _no_room(archive, folder, 0) from None
        raise DataError(f"Cannot unpack {archive}: {error.strerror or error}.{_by_hand(archive)}") from None
    if damaged and len(damaged) == len(found.members):
        raise _damaged(archive, f"not one of its {count(len(damaged), 'file')} can be read whole")
    told = found.told()
    if damaged:
        told.append(f"{count(len(damaged), 'file')} in it damaged: not used ({some(damaged)})")
    return told


def _written(archive: Path, folder: Path, found: _Found) -> list[str]:
    """Write the files; return those that are damaged, which are not written."""
    damaged: list[str] = []
    with console.working(f"unpacking {archive.name}", len(found.members)) as task:
        for path, member in found.members.items():
            target = folder / path
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                with target.open("xb") as file, member.open() or _nothing(path) as stream:
                    shutil.copyfileobj(stream, file, 1 << 20)
            except _BROKEN:
                damaged.append(path)
                target.unlink(missing_ok=True)
            except (FileExistsError, NotADirectoryError):
                raise DataError(
                    f"{archive}: its member {path} cannot stand beside another of its members on this disk (the same "
                    f"name in another case, or a folder of that name).{_by_hand(archive)}"
                ) from None
            task.advance()
    return damaged


def _nothing(path: str) -> IO[bytes]:
    raise tarfile.ReadError(path)


@contextlib.contextmanager
def _zip(archive: Path) -> Iterator[_Found]:
    with zipfile.ZipFile(archive) as opened:
        found = _Found()
        infos = opened.infolist()
        names = _names(infos, found.notes)
        locked = [name for info, name in zip(infos, names, strict=True) if info.flag_bits & _ENCRYPTED]
        if locked:
            raise DataError(
                f"{archive}: {len(locked):,} of {count(len(infos), 'member')} are encrypted, such as {locked[0]}."
                f"{_by_hand(archive)}"
            )
        methods = {info.compress_type: name for info, name in zip(infos, names, strict=True)}
        if others := [method for method in methods if method not in _READ]:
            how = _METHODS.get(others[0], f"method {others[0]}")
            raise DataError(
                f"{archive} is packed by a method that Python cannot unpack ({how}), such as {methods[others[0]]}."
                f"{_by_hand(archive)}"
            )
        for info, name in zip(infos, names, strict=True):
            if name.endswith("/"):
                continue
            if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
                found.links += 1
                continue
            found.add(_Member(name, info.file_size, lambda info=info: opened.open(info)))  # type: ignore[misc]
        yield found


def _names(infos: Sequence[zipfile.ZipInfo], notes: list[str]) -> list[str]:
    """Return the names of a zip's members as text: those without the mark of UTF-8 by what all of them can be."""
    raw = {
        at: info.orig_filename.split("\0")[0].encode("cp437")
        for at, info in enumerate(infos)
        if not info.flag_bits & _UTF8 and not info.orig_filename.isascii()
    }
    encoding = next((name for name in ("utf-8", "cp949") if all(_decodes(text, name) for text in raw.values())), "")
    names = [
        raw[at].decode(encoding) if encoding and at in raw else info.orig_filename.split("\0")[0]
        for at, info in enumerate(infos)
    ]
    if raw and encoding != "utf-8":
        told = "cp949 (Korean Windows)" if encoding else "cp437 (DOS)"
        notes.append(f"{count(len(raw), 'name')} in it read as {told}, such as {names[next(iter(raw))]}")
    windows = not any("/" in name for name in names)  # some packers there forget to say so
    return [
        name.replace("\\", "/") if windows or info.create_system == _MADE_ON_DOS else name
        for info, name in zip(infos, names, strict=True)
    ]


def _decodes(text: bytes, encoding: str) -> bool:
    try:
        text.decode(encoding)
    except UnicodeDecodeError:
        return False
    return True


@contextlib.contextmanager
def _tar(archive: Path) -> Iterator[_Found]:
    with tarfile.open(archive, encoding="utf-8", errors="surrogateescape") as opened:
        found, total = _Found(), 0
        for number, info in enumerate(opened):
            total += info.size
            if number >= _MOST_MEMBERS:
                raise DataError(f"{archive} has more than {_MOST_MEMBERS:,} members.{_by_hand(archive)}")
            _require_usual(archive, total)
            if info.isfile() or info.islnk():
                name = _in_utf8_or_cp949(info.name)
                found.add(_Member(name, info.size, lambda info=info: _of_tar(opened, info)))  # type: ignore[misc]
            elif not info.isdir():
                found.links += 1
        yield found


def _in_utf8_or_cp949(name: str) -> str:
    raw = name.encode("utf-8", "surrogateescape")
    return next((raw.decode(encoding) for encoding in ("utf-8", "cp949") if _decodes(raw, encoding)), name)


def _of_tar(opened: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes] | None:
    try:
        return opened.extractfile(info)
    except KeyError:  # a hard link to what is not in it
        return None


def _require_within(archive: Path, found: _Found) -> None:
    """Refuse an archive with a member that would be written outside its folder, or whose name no disk takes."""
    for path, member in found.members.items():
        if _OUTSIDE.match(member.name) or ".." in member.name.split("/") or "\0" in path:
            raise DataError(
                f"{archive} is not unpacked: its member {member.name} would be written outside the folder, which no "
                "archive of pictures needs. Get it from elsewhere, or make it anew."
            )
        if any("\ud800" <= char <= "\udfff" for char in path):
            raise DataError(
                f"{archive}: the name of its member {path!r} is no text that a table could hold.{_by_hand(archive)}"
            )


def require_room(archive: Path, folder: Path, total: int) -> None:
    """Refuse to unpack what the disk has no room for, or what looks like a zip bomb.

    Raises:
        DataError: saying so, and the way out.
    """
    _require_usual(archive, total)
    if shutil.disk_usage(folder).free < total + _SPARED:
        raise _no_room(archive, folder, total)


def _require_usual(archive: Path, total: int) -> None:
    """Refuse what unpacks to so much more than its size that it looks like a zip bomb."""
    size = archive.stat().st_size
    if total > max(_SMALL, _USUAL_GROWTH * size):
        raise DataError(
            f"{archive} ({size / 1e6:.1f} MB) would be more than {total / 1e9:.1f} GB unpacked, which pictures never "
            f"are: it may be a zip bomb. If you trust it:{_by_hand(archive)}"
        )


def _no_room(archive: Path, folder: Path, total: int) -> DataError:
    needs, free = f"{total / 1e9:.2f} GB are" if total else "more is", shutil.disk_usage(folder).free / 1e9
    return DataError(
        f"No room to unpack {archive}: {needs} needed, and {free:.2f} GB are free where it would be "
        f"unpacked, {folder}. Free some space, or name another folder: BUNRYU_CACHE=FOLDER."
        f"{_by_hand(archive)}"
    )


def _damaged(archive: Path, why: str) -> DataError:
    with archive.open("rb") as file:
        head = file.read(512)
    if head.lstrip()[:1] == b"<":
        why = "it is a page of the web, not an archive"
    elif head[:4] == b"PK\x03\x04" and "not a zip" in why:
        why = "its end is missing, as where a download was cut off"
    return DataError(f"{archive} cannot be unpacked: {why.rstrip('.')}. Fetch it again, or give the folder.")


def _by_hand(archive: Path) -> str:
    """Say how to unpack an archive oneself."""
    name = archive.name.lower()
    folder = archive.name[: name.rfind(".zip" if name.endswith(".zip") else ".t")] or "photos"
    how = f"7z x {typed(archive)} -o{typed(folder)}" if name.endswith(".zip") else f"tar xf {typed(archive)}"
    return f" Unpack it yourself, and give the folder: {how}"
