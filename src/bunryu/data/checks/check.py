"""Every image is read once before training: what cannot be used is skipped, counted and listed.

Nothing is ever put in the place of a bad image, and no file of the user's is touched. What was found is
remembered by content in a small database in the user's cache folder, so that the next run starts at once.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bunryu.core import console
from bunryu.core.cache import cache_folder
from bunryu.core.errors import DataError, some
from bunryu.data.checks.memory import Memory
from bunryu.data.checks.verdict import Level, Look, Stamp, Verdict, look, stamp_of
from bunryu.data.images.contents import Contents
from bunryu.data.images.facts import PLAIN, Facts
from bunryu.data.images.load import cores
from bunryu.data.multi_label import check_labels
from bunryu.data.table import Table, texts
from bunryu.settings.data import DataSettings, DecodeSpec

A = TypeVar("A")
B = TypeVar("B")

_ROWS_AT_ONCE = 1024
_USABLE = Verdict(None)


@dataclass(frozen=True)
class Skipped:
    """A row that cannot be used, and why."""

    path: str
    label: str
    split: str
    reason: str


@dataclass(frozen=True)
class Copies:
    """One picture (byte for byte) in several rows; `rows` are ids in the kept table."""

    digest: str
    rows: list[int]
    kind: Literal["across splits", "two labels", "copies"]


@dataclass(frozen=True)
class Checked:
    """What the check found.

    Attributes:
        table: the rows that can be used, in their order, with `digests` filled in.
        skipped: the rows that cannot; ``len(table) + len(skipped)`` is the number of rows checked.
        copies: groups of byte-identical files; a group in two splits and with two labels comes twice.
        widths: of the kept rows, as `read_header` says them; 0 where level is "none".
        heights: likewise.
        frames: of the kept rows, how many pictures each file holds; the first is used.
        facts: digest -> what else was found, where there is anything to say.
        remembered: how many rows needed no reading or decoding, since their content was known.
        seconds: how long the check took.
        contents: what was read of the files, where there was room.
    """

    table: Table
    skipped: list[Skipped]
    copies: list[Copies]
    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    frames: NDArray[np.int32]
    facts: dict[str, Facts]
    remembered: int
    seconds: float
    contents: Contents = field(default_factory=Contents)

    def facts_of(self, table: Table, rows: NDArray[np.int64]) -> list[Facts]:
        """Return the facts of rows of the checked table, in whatever order it came to be."""
        if table.digests is None:
            return [PLAIN] * len(rows)
        return [self.facts.get(digest, PLAIN) for digest in table.digests[rows].tolist()]


def check_images(table: Table, spec: DecodeSpec, *, level: Level, workers: int | None = None) -> Checked:
    """Open once every row's file that is new or changed; keep the rows that can be used and list the others.

    Args:
        table: the rows, with or without digests.
        spec: how files are decoded; `max_pixels` decides which are too large.
        level: "full" decodes each file, "header" reads its header, "none" only hashes its content.
        workers: threads; one a core when None.
    """
    start = time.monotonic()
    root = Path(os.path.abspath(table.root))  # noqa: PTH100 - a link must stay a link
    with (
        Memory(cache_file()) as memory,
        _threads(workers) as pool,
        console.working("Checking images", len(table)) as task,
    ):
        work = _Work(dataclasses.replace(table, root=root), spec, level, memory, pool)
        for first in range(0, len(table), _ROWS_AT_ONCE):
            work.check(range(first, min(first + _ROWS_AT_ONCE, len(table))), task)
    kept = np.flatnonzero(work.usable)
    usable = dataclasses.replace(table.take(kept), digests=work.digests[kept])
    return Checked(
        table=usable,
        skipped=work.skipped,
        copies=find_copies(usable),
        widths=work.widths[kept],
        heights=work.heights[kept],
        frames=work.frames[kept],
        facts=work.facts,
        remembered=work.remembered,
        seconds=time.monotonic() - start,
        contents=work.contents,
    )


def cache_file() -> Path:
    """Return where checks are remembered."""
    return cache_folder() / "checks.sqlite"


def find_copies(table: Table) -> list[Copies]:
    """Return the groups of rows with equal digests, by their first row."""
    if table.digests is None:
        return []
    counts = Counter(table.digests.tolist())
    groups: dict[str, list[int]] = defaultdict(list)
    for row, digest in enumerate(table.digests.tolist()):
        if counts[digest] > 1:
            groups[digest].append(row)
    found: list[Copies] = []
    for digest, rows in groups.items():
        across = len({table.splits[row] or "train" for row in rows}) > 1  # what has no split is trained on
        labels = len({table.target_labels[row] for row in rows}) > 1
        if across:
            found.append(Copies(digest, rows, "across splits"))
        if labels:
            found.append(Copies(digest, rows, "two labels"))
        if not across and not labels:
            found.append(Copies(digest, rows, "copies"))
    return found


def told_skipped(skipped: Sequence[Skipped], limit: int = 5) -> str:
    """Say which files were skipped and why: several for one reason together, the most frequent reason first."""
    reasons = Counter(row.reason for row in skipped)
    first = {row.reason: row.path for row in reversed(skipped)}
    told = (
        f"{first[reason]} ({reason})" if number == 1 else f"{number:,} such as {first[reason]} ({reason})"
        for reason, number in reasons.most_common()
    )
    return some(told, limit)


def require_usable(checked: Checked, *, total: int) -> None:
    """Raise where too little is left to learn from.

    Raises:
        DataError: no image at all can be used, or a class lost every training image.
    """
    if len(checked.table) == 0:
        which = "The only image is" if total == 1 else f"All {total:,} images are"
        raise DataError(
            f"{which} unreadable: {told_skipped(checked.skipped, 3)}. Give images that an image viewer can open, or "
            "mend what is said."
            if checked.skipped
            else "There is no image to use: the table has no rows."
        )
    if checked.table.label_names:
        check_labels(checked.table)
        return
    lost: dict[str, list[Skipped]] = defaultdict(list)
    for row in checked.skipped:
        if row.split in ("train", ""):
            lost[row.label].append(row)
    learned = np.isin(checked.table.splits.astype(str), ["train", ""])
    for label in set(checked.table.target_labels[learned].tolist()):
        lost.pop(label, None)
    if lost:
        lines = [
            f"class '{label}' has no readable image left: "
            f"{f'all {len(rows):,} were' if len(rows) > 1 else 'its only one was'} skipped, "
            f"e.g. {rows[0].path}: {rows[0].reason}"
            for label, rows in sorted(lost.items())
        ]
        raise DataError(
            f"{'; '.join(lines[:3])}{f'; and {len(lines) - 3} more classes' if len(lines) > 3 else ''}. "
            "Mend or replace these files, or remove the class."
        )


def require_no_leaks(checked: Checked, settings: DataSettings) -> None:
    """Raise where the same picture is in two given splits, unless `data.on_leak` is "continue".

    Raises:
        DataError: naming some of the pairs, how many there are, and the mend.
    """
    leaks = [group for group in checked.copies if group.kind == "across splits"]
    if settings.on_leak == "continue" or not leaks:
        return
    table = checked.table
    pairs = []
    for group in leaks:
        one = group.rows[0]
        side = table.splits[one] or "train"
        other = next(row for row in group.rows if (table.splits[row] or "train") != side)
        pairs.append(f"{table.paths[one]} ({side}) ↔ {table.paths[other]} ({table.splits[other] or 'train'})")
    many = "1 picture is" if len(leaks) == 1 else f"{len(leaks):,} pictures are"
    raise DataError(
        f"{many} in two splits at once, so that "
        f"results would look better than they are: {some(pairs, 3)}. Remove one of each pair, or go on "
        "all the same with data.on_leak=continue."
    )


class _Work:
    """The state of one check: what is known of every row so far."""

    def __init__(self, table: Table, spec: DecodeSpec, level: Level, memory: Memory, pool: ThreadPoolExecutor) -> None:
        self.table, self.spec, self.level, self.memory, self.pool = table, spec, level, memory, pool
        self.usable = np.zeros(len(table), dtype=bool)
        self.frames = np.ones(len(table), dtype=np.int32)
        self.facts: dict[str, Facts] = {}
        self.widths = np.zeros(len(table), dtype=np.int32)
        self.heights = np.zeros(len(table), dtype=np.int32)
        self.digests = texts([""] * len(table))
        self.skipped: list[Skipped] = []
        self.remembered = 0
        self.contents = Contents()

    def check(self, rows: range, task: console.Task) -> None:
        """Decide on `rows`: look at the files that are new or changed."""
        files = [self.table.file(row) for row in rows]
        stamps = list(_spread(self.pool, stamp_of, files, 256))
        for row, (digest, verdict) in zip(rows, self._found(files, stamps, task), strict=True):
            if verdict.reason is None:
                self.usable[row], self.digests[row] = True, digest.hex()
                self.widths[row], self.heights[row] = verdict.width, verdict.height
                self.frames[row] = verdict.frames
                if verdict.facts != PLAIN:
                    self.facts[digest.hex()] = verdict.facts
            else:
                path, label, split = (a[row] for a in (self.table.paths, self.table.target_labels, self.table.splits))
                self.skipped.append(Skipped(path, label, split, verdict.reason))
        self.memory.write()

    def _found(self, files: list[str], stamps: list[Stamp | str], task: console.Task) -> list[tuple[bytes, Verdict]]:
        """Return the digest of each file's content, b"" where it cannot be read, and the verdict on its image."""
        found: dict[int, tuple[bytes, Verdict]] = {}
        keys = [file.encode("utf-8", "surrogatepass") for file in files]
        digests = self.memory.digests(keys)
        verdicts = self.memory.verdicts(digests.values(), self.spec.max_pixels, self.level)
        fresh: list[tuple[int, Stamp]] = []
        for i, stamp in enumerate(stamps):
            if isinstance(stamp, str):
                found[i] = (b"", Verdict(stamp, lasting=False))
                continue
            digest = digests.get((keys[i], stamp), b"")
            if digest and (self.level == "none" or digest in verdicts):
                found[i] = (digest, verdicts.get(digest, _USABLE))
            else:
                fresh.append((i, stamp))
        self.remembered += len(files) - len(fresh) - sum(isinstance(stamp, str) for stamp in stamps)
        task.advance(len(found))

        def see(item: tuple[int, Stamp]) -> Look | str:
            i, stamp = item
            seen = look(files[i], stamp, self.spec, self.level, self._known)
            if isinstance(seen, str):
                return seen
            if seen.content is not None and seen.verdict.reason is None:
                self.contents.keep(files[i], seen.content)
            return seen._replace(content=None)  # so that what waits for the slowest thread takes no memory

        for (i, stamp), seen in zip(fresh, _spread(self.pool, see, fresh, 4), strict=True):
            found[i] = (
                (b"", Verdict(seen, lasting=False)) if isinstance(seen, str) else self._learned(keys[i], stamp, seen)
            )
            task.advance()
        return [found[i] for i in range(len(files))]

    def _known(self, digest: bytes) -> Verdict | None:
        """Return what is remembered of a content; all there is to know of any where no image is looked at."""
        if self.level == "none":
            return _USABLE
        return self.memory.verdicts([digest], self.spec.max_pixels, self.level).get(digest)

    def _learned(self, key: bytes, stamp: Stamp, seen: Look) -> tuple[bytes, Verdict]:
        """Remember what a look found, and return its digest and verdict."""
        if seen.unchanged:
            self.memory.add_file(key, stamp, seen.digest)
        if seen.known:
            self.remembered += self.level != "none"
        elif seen.verdict.lasting:
            self.memory.add_image(seen.digest, self.spec.max_pixels, self.level, seen.verdict)
        return seen.digest, seen.verdict


@contextmanager
def _threads(workers: int | None) -> Iterator[ThreadPoolExecutor]:
    """Open a pool of threads that stops at once on Ctrl-C."""
    pool = ThreadPoolExecutor(workers or cores(), thread_name_prefix="check")
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _spread(pool: ThreadPoolExecutor, action: Callable[[A], B], items: Iterable[A], size: int) -> Iterator[B]:
    """Do `action` on all items in threads, `size` items at a time, and yield the results in order."""
    todo = list(items)
    parts = (todo[first : first + size] for first in range(0, len(todo), size))
    for results in pool.map(lambda part: [action(item) for item in part], parts):
        yield from results
