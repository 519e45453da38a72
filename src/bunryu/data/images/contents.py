"""What the check has read of the files, as far as there is room, so that who looks once more opens none again."""

from __future__ import annotations

import threading

from bunryu.data.images.decode import Source

MAX_BYTES_HELD = 1 << 26
"""Of one file that is held in memory as a whole, to be hashed or decoded in several ways."""
_ROOM = 1 << 26
"""Bytes: all of a small data set, and of a large one so few that memory stays flat."""


class Contents:
    """Contents of files, by their paths; used from several threads."""

    def __init__(self, room: int = _ROOM) -> None:
        self._room = room
        self._held: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def keep(self, file: str, content: bytes) -> None:
        """Hold what was read of a file, if there is room."""
        with self._lock:
            if file not in self._held and len(content) <= self._room:
                self._room -= len(content)
                self._held[file] = content

    def of(self, file: str) -> Source:
        """Return what a file holds; the path itself where that was not read, or not held."""
        return self._held.get(file, file)
