"""Paths of one place found among those of another, by the longest tail that they share."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from bunryu.core.errors import count
from bunryu.core.same_text import as_number, loose, plain

MISSING = -1
UNCLEAR = -2
Parts = tuple[str, ...]


def path_parts(path: str) -> Parts:
    """Return the names in a path of any system, composed and trimmed; ``x/../`` and ``./`` fall away."""
    parts: list[str] = []
    for part in path.replace("\\", "/").split("/"):
        name = plain(part)
        if name == ".." and parts and parts[-1] != "..":
            parts.pop()
        elif name not in ("", "."):
            parts.append(name)
    return tuple(parts)


@dataclass(frozen=True)
class Join:
    """How the paths of one place (wanted) stand to those of another (known)."""

    place: list[int]
    """Of each wanted path its index among the known; MISSING, or UNCLEAR where several would do."""
    unclear: list[tuple[str, list[str]]] = field(default_factory=list)
    """A path, and those of the other place that it may be."""
    told: list[str] = field(default_factory=list)
    """In what they differ that was found all the same, in sentences."""

    @property
    def missing(self) -> list[int]:
        """The wanted that have no place."""
        return [at for at, place in enumerate(self.place) if place == MISSING]


def join_paths(wanted: Sequence[str], known: Sequence[str]) -> Join:
    """Find each wanted path among the known, by the longest tail that two paths share, at least the file's name.

    Names are compared composed and trimmed; then whatever the case; then without their ending; then as numbers
    (``7`` and ``007.png``). A looser way is tried only for paths that the stricter ones do not find. Two paths that are
    not the same never get one place: the longer shared tail has it, and where both are as long, it is unclear.
    """
    parts_W, parts_K = [path_parts(path) for path in wanted], [path_parts(path) for path in known]
    found: list[_Found | None] = [None] * len(wanted)
    told: list[str] = []
    for way, (asked, stored, words) in enumerate(_WAYS):
        open_W = [at for at, one in enumerate(found) if one is None]
        if not open_W:
            break
        index = _Tails([stored(parts) for parts in parts_K])
        for at in open_W:
            found[at] = next(filter(None, map(index.find, asked(parts_W[at]))), None)
        new = [at for at in open_W if (one := found[at]) is not None and len(one.places) == 1]
        if way and new:
            first = found[new[0]]
            assert first is not None
            example = f"{wanted[new[0]]} is {known[first.places[0]]}"
            told.append(f"{count(len(new), 'path')} of {len(wanted):,} found {words}, such as: {example}")
    return _placed(wanted, known, parts_W, found, told)


@dataclass(frozen=True)
class _Found:
    places: list[int]
    shared: int


class _Tails:
    """Paths by their ends; those with a common name are told apart only when that name is asked for."""

    def __init__(self, paths: Sequence[Parts]) -> None:
        self._paths = paths
        self._named: dict[str, list[int]] = defaultdict(list)
        self._tails: dict[str, dict[Parts, list[int]]] = {}
        for at, parts in enumerate(paths):
            if parts:
                self._named[parts[-1]].append(at)

    def find(self, parts: Parts) -> _Found | None:
        """Return the paths that share the longest tail with this one; that alone which is no longer, if there is."""
        if not parts or parts[-1] not in self._named:
            return None
        tails = self._of(parts[-1])
        shared = next(n for n in range(len(parts), 0, -1) if parts[-n:] in tails)
        places = tails[parts[-shared:]]
        whole = [at for at in places if len(self._paths[at]) == shared]
        return _Found(whole if len(whole) == 1 else places, shared)

    def _of(self, name: str) -> dict[Parts, list[int]]:
        if name not in self._tails:
            tails: dict[Parts, list[int]] = defaultdict(list)
            for at in self._named[name]:
                for n in range(1, len(self._paths[at]) + 1):
                    tails[self._paths[at][-n:]].append(at)
            self._tails[name] = dict(tails)
        return self._tails[name]


def _as_is(parts: Parts) -> Parts:
    return parts


def _loose(parts: Parts) -> Parts:
    return tuple(map(loose, parts))


def _stem(parts: Parts) -> Parts:
    parts = _loose(parts)
    return (*parts[:-1], os.path.splitext(parts[-1])[0]) if parts else ()  # noqa: PTH122


def _numbered(parts: Parts) -> Parts:
    """Return a path by the number that its file is called; nothing where that is no number."""
    parts = _stem(parts)
    number = as_number(parts[-1]) if parts else None
    return () if number is None else (*parts[:-1], number)


def _number_asked(parts: Parts) -> list[Parts]:
    """Return what a wanted number may mean: ``7.0`` is 7 itself, not what has lost the ending ``.0``."""
    whole = as_number(parts[-1]) if parts else None
    return [_numbered(parts)] if whole is None else [(*_loose(parts)[:-1], whole)]


_WAYS: tuple[tuple[Callable[[Parts], list[Parts]], Callable[[Parts], Parts], str], ...] = (
    (lambda parts: [parts], _as_is, ""),
    (lambda parts: [_loose(parts)], _loose, "whatever the case"),
    (lambda parts: [_loose(parts), _stem(parts)], _stem, "without the ending"),
    (_number_asked, _numbered, "by their number"),
)
"""What is looked up of a wanted path, in what of the known ones, and how that is told."""


def _placed(
    wanted: Sequence[str],
    known: Sequence[str],
    parts_W: Sequence[Parts],
    found: Sequence[_Found | None],
    told: list[str],
) -> Join:
    """Give every place to one path alone: to that with the longest tail."""
    claims: dict[int, list[int]] = defaultdict(list)
    place = [MISSING] * len(wanted)
    unclear: list[tuple[str, list[str]]] = []
    for at, one in enumerate(found):
        if one is None:
            continue
        if len(one.places) > 1:
            place[at] = UNCLEAR
            unclear.append((wanted[at], [known[other] for other in one.places]))
        else:
            place[at] = one.places[0]
            claims[one.places[0]].append(at)
    for target, rows in claims.items():
        if len(rows) == 1 or len({parts_W[row] for row in rows}) == 1:
            continue
        most = max(_shared(found[row]) for row in rows)
        best = [row for row in rows if _shared(found[row]) == most]
        clear = len({parts_W[row] for row in best}) == 1
        for row in rows:
            place[row] = target if clear and row in best else UNCLEAR if row in best else MISSING
        if not clear:
            unclear.append((known[target], [wanted[row] for row in best]))
    return Join(place, unclear, told)


def _shared(found: _Found | None) -> int:
    return 0 if found is None else found.shared
