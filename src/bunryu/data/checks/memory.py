"""What earlier checks found, remembered by content in one small SQLite file in the user's cache folder.

A cache is never a reason to fail: damaged, it is begun anew; read-only, locked or on a full disk, the
check works without it and says so in one line. The rollback journal (no WAL) is meant: it also works
where home folders lie on a network, and leaves a single file.
"""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any

import PIL

from bunryu.core import console
from bunryu.data.checks.verdict import Level, Stamp, Verdict
from bunryu.data.images.facts import Facts
from bunryu.data.images.formats import installed

CHECK_VERSION = 2
"""Bump it when decoding changes its verdicts: everything remembered before is then checked again."""

_FILES = "files_1"  # a new number when columns change: old and new versions then share the file in peace
_IMAGES = "images_2"
_SCHEMA = f"""
CREATE TABLE IF NOT EXISTS {_FILES} (
    path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, ctime_ns INTEGER, digest BLOB
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS {_IMAGES} (
    digest BLOB, version TEXT, level TEXT, max_pixels INTEGER,
    width INTEGER, height INTEGER, frames INTEGER, reason TEXT, facts TEXT,
    PRIMARY KEY (digest, version, level, max_pixels)
) WITHOUT ROWID;
"""
_USED_BYTES = """
SELECT (page_count - freelist_count) * page_size FROM pragma_page_count, pragma_freelist_count, pragma_page_size
"""
_MAX_BYTES = 1 << 30
_LOCK_SECONDS = 10.0
_WRITE_SECONDS = 2.0
_KEYS_AT_ONCE = 500


class Memory:
    """The cache file, open. Threads may ask for verdicts; one alone adds and writes. Processes may share the file."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self._db: sqlite3.Connection | None = None
        self._files: list[tuple[Any, ...]] = []
        self._images: list[tuple[Any, ...]] = []
        self._written = time.monotonic()
        self._told = self._renewed = self._no_writing = False
        self._lock = threading.RLock()
        self._open()

    def __enter__(self) -> Memory:
        """Return itself; what was learned is written on leaving, also on Ctrl-C."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.write(at_once=True)
        self._close()

    def _close(self) -> None:
        if self._db is not None:
            self._db.close()
        self._db = None

    def digests(self, paths: Sequence[bytes]) -> dict[tuple[bytes, Stamp], bytes]:
        """Return (path, stamp) -> digest of those `paths` that were read before."""
        rows = self._find(f"SELECT path, size, mtime_ns, ctime_ns, digest FROM {_FILES} WHERE path IN", paths)
        return {(path, Stamp(*stamp)): digest for path, *stamp, digest in rows}

    def verdicts(self, digests: Iterable[bytes], max_pixels: int, level: Level) -> dict[bytes, Verdict]:
        """Return digest -> verdict of those contents that were looked at before, at least at `level`.

        What was refused is known under the same pixel cap only; what was fine, under each that it fits.
        """
        if level == "none":
            return {}
        found: dict[bytes, Verdict] = {}
        rows = self._find(
            "SELECT digest, level, max_pixels, width, height, frames, reason, facts "
            f"FROM {_IMAGES} WHERE version = ? AND digest IN",
            list(set(digests)),
            _version(),
        )
        for digest, seen, cap, width, height, frames, reason, facts in rows:
            if level == "header" and width > 0:
                reason = None  # only the pixels behind the header are bad
            elif level == "full" and seen == "header" and reason is None:
                continue
            if cap == max_pixels or (reason is None and width * height <= max_pixels):
                found[digest] = Verdict(reason, width, height, frames, Facts.read(facts))
        return found

    def add_file(self, path: bytes, stamp: Stamp, digest: bytes) -> None:
        """Remember the digest of a file, until its stamp changes."""
        self._files.append((path, *stamp, digest))

    def add_image(self, digest: bytes, max_pixels: int, level: Level, verdict: Verdict) -> None:
        """Remember the verdict on a content."""
        v = verdict
        row = (digest, _version(), level, max_pixels, v.width, v.height, v.frames, v.reason, v.facts.text())
        self._images.append(row)

    def write(self, *, at_once: bool = False) -> None:
        """Write what was learned, if that was not done within the last seconds."""
        if not at_once and time.monotonic() - self._written < _WRITE_SECONDS:
            return
        files, images, self._files, self._images = self._files, self._images, [], []
        if self._no_writing or not (files or images):
            return

        def insert(db: sqlite3.Connection) -> None:
            with db:
                db.executemany(f"INSERT OR REPLACE INTO {_FILES} VALUES (?, ?, ?, ?, ?)", files)
                db.executemany(f"INSERT OR REPLACE INTO {_IMAGES} VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)", images)

        self._guarded(insert, writing=True)
        self._written = time.monotonic()

    def _find(self, query: str, keys: Sequence[bytes], *before: object) -> Iterator[tuple[Any, ...]]:
        for first in range(0, len(keys), _KEYS_AT_ONCE):
            part = keys[first : first + _KEYS_AT_ONCE]
            marks = ",".join("?" * len(part))
            rows: list[tuple[Any, ...]] = []
            self._guarded(lambda db: rows.extend(db.execute(f"{query} ({marks})", (*before, *part))))  # noqa: B023
            yield from rows

    def _open(self) -> None:
        def prepare(db: sqlite3.Connection) -> None:
            db.executescript(_SCHEMA)
            used = db.execute(_USED_BYTES).fetchone()[0]
            if used > _MAX_BYTES:  # the pages are used again, so the file grows no further
                with db:
                    db.execute(f"DELETE FROM {_FILES}")
                    db.execute(f"DELETE FROM {_IMAGES}")

        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.file, timeout=_LOCK_SECONDS, check_same_thread=False)
        except (OSError, sqlite3.Error) as error:
            self._tell(error)
            return
        self._guarded(prepare)

    def _guarded(self, action: Callable[[sqlite3.Connection], object], *, writing: bool = False) -> None:
        """Do `action` if the database is there and lets us; where it does not, go on without."""
        with self._lock:
            if self._db is None:
                return
            try:
                action(self._db)
            except sqlite3.OperationalError as error:  # read-only, locked or full
                if writing:
                    self._no_writing = True  # reading may still work
                else:
                    self._close()
                self._tell(error)
            except sqlite3.DatabaseError as error:
                self._renew(error)

    def _renew(self, error: sqlite3.Error) -> None:
        """Begin a damaged file anew, once."""
        self._close()
        if self._renewed:
            self._tell(error)
            return
        self._renewed = True
        console.say(f"What earlier checks found was damaged ({self.file}: {error}); it is begun anew.")
        for name in (self.file, self.file.with_name(self.file.name + "-journal")):
            with suppress(OSError):
                name.unlink()
        self._open()

    def _tell(self, error: Exception) -> None:
        if not self._told:
            self._told = True
            console.say(
                f"What is checked now is not remembered ({self.file}: {error}). "
                "To have the next run start at once, name a writable folder in BUNRYU_CACHE."
            )


def _version() -> str:
    """Name what a verdict depends on besides the content: our decoding, Pillow's, and what is installed beside it."""
    return "/".join([str(CHECK_VERSION), PIL.__version__, *installed()])
