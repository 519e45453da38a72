"""Which file each path of a table means: as it is written, or else as it lies on this disk."""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from urllib.parse import unquote, urlsplit

from bunryu.core.errors import DataError, count
from bunryu.core.same_paths import Parts, path_parts
from bunryu.core.same_text import Words, difference, plain
from bunryu.data.images.formats import IMAGE_SUFFIXES

_LOOKED_AT = 100
"""Paths of a table by which the folder that they lie in is found."""
_MOST_FOLDERS = 200
_ADDRESS = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]+://")


@dataclass(frozen=True)
class Located:
    """The files that a table's paths mean; a path that none was found for stays what it would be below the root."""

    files: list[str]
    found: int
    told: list[str]
    """What was not where it is written, in sentences."""


@dataclass(frozen=True)
class _Hit:
    file: str
    dropped: int
    """So many names at the front of the path are not those of this disk."""
    differs: str
    """In what the rest does; empty where in nothing."""


def is_address(text: str) -> bool:
    """Return whether a path is an address of the web or of a bucket."""
    return _ADDRESS.match(text) is not None


def file_under(root: str | os.PathLike[str], text: str) -> str:
    """Return the file that a table's path means; tables made on Windows have backslashes."""
    return os.path.join(root, text.replace("\\", "/") if os.sep == "/" else text)  # noqa: PTH118


def locate(cells: Sequence[str], root: str | os.PathLike[str], where: str) -> Located:
    """Find the file of each path below `root`.

    A path that is no file as it stands is looked for composed and trimmed, whatever the case, and without its ending;
    one of another machine, or an address, by the longest tail that is there.

    Raises:
        DataError: two paths that would mean one file by their ends.
    """
    disk = _Disk(os.fspath(root))
    files, hits = [], dict[int, _Hit]()
    found = 0
    for row, text in enumerate(cells):
        file = file_under(root, text)
        if disk.has(file):
            found += 1
        elif (hit := disk.find(_written_parts(text))) is not None:
            hits[row] = hit
            file = hit.file
        files.append(file)
    _settle_clashes(cells, files, hits, root, where)
    return Located(files, found + len(hits), _told(cells, files, hits, str(root)))


def folders_with(cells: Sequence[str], root: str) -> list[str]:
    """Return the folders in `root`, and in these, below which most paths of a table lie, at least half of them.

    For ids and names alone, without the folder that they are in: a path counts whole, as it is written or looked for.
    """
    looked = cells[:: max(1, len(cells) // _LOOKED_AT)]
    found: dict[str, int] = {}
    for folder in _folders_below(root):
        own = _Disk(folder)
        hits = (own.find(_written_parts(text)) for text in looked)
        if 2 * (many := sum(hit is not None and not hit.dropped for hit in hits)) >= len(looked):
            found[folder] = many
    return [folder for folder, many in found.items() if many == max(found.values())]


def _folders_below(root: str) -> Iterator[str]:
    """Yield the folders in a folder, then those in them; no more than anyone would look through."""
    below = _folders_in(root)
    yield from below
    yield from islice((inner for folder in below for inner in _folders_in(folder)), _MOST_FOLDERS)


def _folders_in(folder: str) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.path for entry in entries if not entry.name.startswith(".") and entry.is_dir())
    except OSError:
        return []


def _written_parts(text: str) -> Parts:
    """Return the names in a path; of an address those behind the host, as they are saved when it is fetched."""
    if not is_address(text):
        return path_parts(text)
    parts = urlsplit(text.strip())
    return path_parts(f"{parts.netloc}/{unquote(parts.path)}")


class _Disk:
    """What lies in the folders below a root, each listed once."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._names: dict[str, frozenset[str] | None] = {}
        self._words: dict[tuple[str, bool], Words] = {}
        self._stems: dict[str, dict[str, list[str]]] = {}
        self._folders: dict[Parts, list[tuple[str, int, str]]] = {}

    def has(self, file: str) -> bool:
        """Return whether a file is there (a folder that cannot be listed is asked for the one file)."""
        folder, name = os.path.split(file)
        names = self._list(folder or ".")
        return os.path.exists(file) if names is None else name in names  # noqa: PTH110

    def find(self, parts: Parts) -> _Hit | None:
        """Return the file with the longest tail of a path."""
        if not parts:
            return None
        for folder, dropped, differs in self._folders_of(parts[:-1]):
            if (name := self._name(folder, parts[-1])) is not None:
                differs = differs or ("" if name == parts[-1] else _differs(parts[-1], name))
                return _Hit(os.path.join(folder, name), dropped, differs)  # noqa: PTH118
        return None

    def _folders_of(self, parts: Parts) -> list[tuple[str, int, str]]:
        """Return the folders that a path's folder may be, those with the longest tail first."""
        if parts not in self._folders:
            tried = ((dropped, self._folder(parts[dropped:])) for dropped in range(len(parts) + 1))
            self._folders[parts] = [(found[0], dropped, found[1]) for dropped, found in tried if found is not None]
        return self._folders[parts]

    def _folder(self, parts: Parts) -> tuple[str, str] | None:
        here, differs = self._root, ""
        for part in parts:
            name = part if part == ".." else self._word(here, part, ending=True)
            if name is None:
                return None
            differs = differs or ("" if name == part else _differs(part, name))
            here = os.path.join(here, name)  # noqa: PTH118
        return (here, differs) if self._list(here) is not None else None

    def _name(self, folder: str, name: str) -> str | None:
        found = self._word(folder, name, ending=True)
        if found is not None or _ending(name):
            return found
        stem = self._word(folder, name, ending=False)
        return None if stem is None else self._stems[folder][stem][0]

    def _word(self, folder: str, name: str, *, ending: bool) -> str | None:
        """Return what is called so in a folder: its whole name, or what an only image is called without its ending."""
        if (folder, ending) not in self._words:
            names = self._list(folder) or frozenset()
            if not ending:
                stems: dict[str, list[str]] = defaultdict(list)
                for own in names:
                    if _ending(own):
                        stems[os.path.splitext(own)[0]].append(own)  # noqa: PTH122
                self._stems[folder] = stems
                names = frozenset(stem for stem, owners in stems.items() if len(owners) == 1)
            self._words[folder, ending] = Words(names)
        return self._words[folder, ending].find(name)

    def _list(self, folder: str) -> frozenset[str] | None:
        if folder not in self._names:
            try:
                self._names[folder] = frozenset(os.listdir(folder))  # noqa: PTH208
            except OSError:
                self._names[folder] = None
        return self._names[folder]


def _ending(name: str) -> str:
    ending = os.path.splitext(name)[1].lower()  # noqa: PTH122
    return ending if ending in IMAGE_SUFFIXES else ""


def _differs(written: str, name: str) -> str:
    return "the ending" if _ending(name) and not _ending(written) else difference(written, name)


def _settle_clashes(
    cells: Sequence[str], files: list[str], hits: dict[int, _Hit], root: str | os.PathLike[str], where: str
) -> None:
    """Give a file that several paths would be by their ends to the one that shares the most with it."""
    rows_of: dict[str, list[int]] = defaultdict(list)
    dropping = {hit.file for hit in hits.values() if hit.dropped}
    for row, file in enumerate(files):
        if file in dropping:
            rows_of[file].append(row)
    for file, rows in rows_of.items():
        written = {row: path_parts(cells[row]) for row in rows}
        if len(set(written.values())) == 1:
            continue
        shared = {row: len(parts) - (hits[row].dropped if row in hits else 0) for row, parts in written.items()}
        best = [row for row in rows if shared[row] == max(shared.values())]
        if len({written[row] for row in best}) > 1:
            one, other = best[0], next(row for row in best if written[row] != written[best[0]])
            raise DataError(
                f"{where}: {cells[one]} and {cells[other]} would both be {file}, as nothing else of their paths is in "
                f"{root}. Keep the pictures in folders as the paths have them, or name the folder that has these: "
                "data.image_root=FOLDER"
            )
        for row in set(rows) - set(best):
            files[row] = file_under(root, cells[row])
            hits.pop(row, None)


def _told(cells: Sequence[str], files: Sequence[str], hits: dict[int, _Hit], root: str) -> list[str]:
    told, seen = [], dict[str, list[int]]()
    for row, hit in hits.items():
        if hit.differs:
            seen.setdefault(f"whatever {hit.differs}", []).append(row)
        if hit.dropped:
            seen.setdefault("by the ends of their paths", []).append(row)
        if not hit.differs and not hit.dropped:
            seen.setdefault("whatever spaces and the Unicode form", []).append(row)
    for way, rows in seen.items():
        shown = os.path.relpath(files[rows[0]], root)
        told.append(
            f"{count(len(rows), 'path')} of {len(cells):,} found {way}, such as: {plain(cells[rows[0]])} is {shown}"
        )
    return told
