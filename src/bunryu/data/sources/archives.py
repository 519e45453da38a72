"""Archives as data: a path that is a zip or tar, or leads into one, lies in the folder that it is unpacked into."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bunryu.core.cache import cache_folder, key_of_facts
from bunryu.core.errors import DataError, count, typed
from bunryu.core.same_paths import path_parts
from bunryu.core.storage import absolute, write_json
from bunryu.data.sources.parquet import PARQUET, holds_pictures, unpack_pictures
from bunryu.data.sources.unpack import unpack

ENDINGS = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", PARQUET)
"""Of files that are read as the folder they hold; a parquet where it holds pictures."""
_ENDED = re.compile(rf"(?:{'|'.join(map(re.escape, ENDINGS))})(?=/|$)", re.IGNORECASE)
_PEEKED = 1 << 22
"""Bytes at both ends of an archive that tell it from others: the end of a zip has the checksums of its files."""
_LISTED = "unpacked.json"

Opened = dict[str, str]
"""Archive, by its absolute path (of one in another: by the path that leads through it) -> the folder it is read in."""


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Return whether a path is named like an archive that can be read, and is a file."""
    text = os.fspath(path)
    return text.lower().endswith(ENDINGS) and _holds_files(os.path.expanduser(text))  # noqa: PTH111


def _holds_files(file: str) -> bool:
    return os.path.isfile(file) and (not file.lower().endswith(PARQUET) or holds_pictures(Path(file)))  # noqa: PTH113


def archive_in(path: str | os.PathLike[str]) -> str | None:
    """Return the outermost archive that a path is or leads into, absolute; None where it lies on the disk itself."""
    text = str(absolute(os.fspath(path)))
    ends = (found.end() for found in _ENDED.finditer(text.replace(os.sep, "/")))
    return next((text[:end] for end in ends if _holds_files(text[:end])), None)


def on_disk(path: str | os.PathLike[str], opened: Opened) -> Path:
    """Return where a path lies: itself, or within the archives that it leads through, which are unpacked.

    Args:
        path: of a folder or file, such as photos.zip or photos.zip/train.
        opened: gets the archives.

    Raises:
        DataError: an archive cannot be unpacked.
    """
    if archive_in(path) is None:
        return Path(os.path.expanduser(path))  # noqa: PTH111
    written = real = str(absolute(os.fspath(path)))
    while (archive := archive_in(real)) is not None:
        inner = real[len(archive) :].lstrip(os.sep)
        folder = _unpacked(Path(archive))
        opened[written[: len(written) - len(inner)].rstrip(os.sep)] = str(folder)
        real = os.path.join(folder, inner) if inner else str(folder)  # noqa: PTH118
    return Path(real)


def archives_of(root: Path, paths: Iterable[str]) -> Opened:
    """Return the archives that rows lie in, unpacked (again, if need be): paths relative to `root`, with ``/``.

    Raises:
        DataError: one cannot be unpacked.
    """
    opened: Opened = {}
    on_disk(root, opened)
    heads = {path[: found.end()] for path in paths for found in _ENDED.finditer(path)}
    for head in sorted(heads):
        on_disk(root / head, opened)
    return opened


def folder_of(archive: Path, path: str) -> str | None:
    """Return the folder in a zip below which a table's path (or an id without its ending) lies; None in none."""
    wanted = path_parts(path)
    try:
        with zipfile.ZipFile(archive) as opened:
            names = [path_parts(name) for name in opened.namelist()]
    except (OSError, zipfile.BadZipFile):
        return None
    for parts in names:
        tail = parts[len(parts) - len(wanted) :]
        if wanted and (tail == wanted or (*tail[:-1], os.path.splitext(tail[-1])[0] if tail else "") == wanted):  # noqa: PTH122
            return "/".join([str(archive), *parts[: len(parts) - len(wanted)]])
    return None


def as_written(text: str, opened: Mapping[str, str]) -> str:
    """Return a message with archives in place of the folders that they are unpacked into."""
    for archive, folder in sorted(opened.items(), key=lambda pair: -len(pair[1])):
        if typed(archive) == archive:
            text = text.replace(folder, archive)
        else:  # a command in the message needs quotes
            inner = re.compile(rf"""(?<!["'])({re.escape(folder)}[^\s"',;:()]*?)(?=[.?!]?(?:[\s"',;:()]|$))""")
            text = inner.sub(lambda found, a=archive, f=folder: typed(a + found[0][len(f) :]), text)  # type: ignore[misc]
            text = text.replace(folder, archive)
    return text


def told_of(opened: Mapping[str, str]) -> list[str]:
    """Return what is told of the archives that data were read from, in sentences."""
    told = []
    for archive, folder in opened.items():
        listed = _listed(Path(folder).parent) or {}
        place = f"{archive}: {count(listed.get('files', 0), 'file')} unpacked in {Path(folder).parent}"
        told += [place, *(f"{archive}: {note}" for note in listed.get("notes", []))]
    return told


def _unpacked(archive: Path) -> Path:
    """Return the folder that an archive is unpacked into, by this run or an earlier one."""
    from filelock import FileLock

    stem = re.sub(r"\.(?:zip|tar|t[bgx]z2?|parquet)(?:\.\w+)?$", "", archive.name, flags=re.IGNORECASE) or "archive"
    place = cache_folder() / "unpacked" / f"{stem[:40]}.{_key(archive)}"
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(f"{place}.lock"):
            if not _is_whole(place, place / stem):
                _unpack_into(archive, place, stem)
    except OSError as error:
        raise DataError(
            f"Cannot unpack {archive} into {place.parent}: {error.strerror or error}. Name another folder: "
            f"BUNRYU_CACHE=FOLDER; or unpack {archive} yourself, and give the folder."
        ) from None
    return place / stem


def _unpack_into(archive: Path, place: Path, stem: str) -> None:
    """Unpack beside `place`, then put it there whole; what a kill left is removed."""
    beside = place.with_name(f".{place.name}.tmp")
    for old in (place, beside):
        shutil.rmtree(old, ignore_errors=True)
    try:
        (beside / stem).mkdir(parents=True)
        unpacking = unpack_pictures if archive.name.lower().endswith(PARQUET) else unpack
        notes = unpacking(archive, beside / stem)
        files, size = _content(beside / stem)
        write_json(beside / _LISTED, {"archive": str(archive), "files": files, "bytes": size, "notes": notes})
        beside.rename(place)
    except BaseException:
        shutil.rmtree(beside, ignore_errors=True)
        raise


def _is_whole(place: Path, folder: Path) -> bool:
    """Return whether all is there that was unpacked: cache folders are swept."""
    listed = _listed(place)
    return listed is not None and _content(folder) == (listed.get("files"), listed.get("bytes"))


def _listed(place: Path) -> dict[str, Any] | None:
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((place / _LISTED).read_text(encoding="utf-8"))
        return found if isinstance(found, dict) else None
    return None


def _content(folder: Path) -> tuple[int, int]:
    """Return how many files are below a folder, and how many bytes they have."""
    files = size = 0
    stack = [str(folder)]
    while stack:
        with os.scandir(stack.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    stack.append(entry.path)
                else:
                    files, size = files + 1, size + entry.stat(follow_symlinks=False).st_size
    return files, size


def _key(archive: Path) -> str:
    """Return what names the content of an archive, without reading all of it; the same wherever it lies."""
    facts = archive.stat()
    digest = hashlib.sha256()
    with archive.open("rb") as file:
        digest.update(file.read(_PEEKED))
        file.seek(max(0, facts.st_size - _PEEKED))
        digest.update(file.read(_PEEKED))
    return key_of_facts(size=facts.st_size, changed=facts.st_mtime_ns, ends=digest.hexdigest())
