"""Every image is read once before training: what cannot be used is skipped, counted and listed.

Nothing is ever put in the place of a bad image, and no file of the user's is touched. What was found is
remembered by content in a small database in the user's cache folder, so that the next run starts at once.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from bunryu.core import console
from bunryu.core.cache import cache_folder
from bunryu.core.errors import DataError, some
from bunryu.data.checks.memory import Memory
from bunryu.data.checks.verdict import Level, Stamp, Verdict, digest_of, look, stamp_of
from bunryu.data.images.load import cores
from bunryu.data.multi_label import check_labels
from bunryu.data.table import Table, texts
from bunryu.settings.data import DataSettings, DecodeSpec

A = TypeVar("A")
B = TypeVar("B")

_ROWS_AT_ONCE = 1024


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
        animated: how many kept pictures have several frames, of which only the first is used.
        remembered: how many rows needed no reading or decoding, since their content was known.
        seconds: how long the check took.
    """

    table: Table
    skipped: list[Skipped]
    copies: list[Copies]
    widths: NDArray[np.int32]
    heights: NDArray[np.int32]
    animated: int
    remembered: int
    seconds: float


def check_images(table: Table, spec: DecodeSpec, *, level: Level, workers: int | None = None) -> Checked:
    """Read every row's file once; keep the rows that can be used and list the others.

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
        animated=int(work.animated[kept].sum()),
        remembered=work.remembered,
        seconds=time.monotonic() - start,
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


def require_usable(checked: Checked, *, total: int) -> None:
    """Raise where too little is left to learn from.

    Raises:
        DataError: no image at all can be used, or a class lost every training image.
    """
    if len(checked.table) == 0:
        which = "The only image is" if total == 1 else f"All {total:,} images are"
        examples = some((f"{row.path}: {row.reason}" for row in checked.skipped), 3)
        raise DataError(
            f"{which} unreadable, e.g. {examples}. Give images that an image viewer can open."
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
        self.animated = np.zeros(len(table), dtype=bool)
        self.widths = np.zeros(len(table), dtype=np.int32)
        self.heights = np.zeros(len(table), dtype=np.int32)
        self.digests = texts([""] * len(table))
        self.skipped: list[Skipped] = []
        self.remembered = 0

    def check(self, rows: range, task: console.Task) -> None:
        """Decide on `rows`: hash the files that changed, then look at the contents that are new."""
        files = [self.table.file(row) for row in rows]
        stamps = list(_spread(self.pool, stamp_of, files, 256))
        digests = self._digests(files, stamps)
        verdicts = self._verdicts(files, stamps, digests, task)
        for row, digest, verdict in zip(rows, digests, verdicts, strict=True):
            if verdict.reason is None and isinstance(digest, bytes):
                self.usable[row], self.digests[row] = True, digest.hex()
                self.widths[row], self.heights[row] = verdict.width, verdict.height
                self.animated[row] = verdict.frames > 1
            else:
                path, label, split = (a[row] for a in (self.table.paths, self.table.target_labels, self.table.splits))
                self.skipped.append(Skipped(path, label, split, verdict.reason or "unreadable"))
        self.memory.write()

    def _digests(self, files: list[str], stamps: list[Stamp | str]) -> list[bytes | str]:
        """Return each file's digest, or the reason why it has none."""
        keys = [file.encode("utf-8", "surrogatepass") for file in files]
        known = self.memory.digests(keys)
        found: list[bytes | str] = []
        changed: list[tuple[int, Stamp]] = []
        for i, stamp in enumerate(stamps):
            if isinstance(stamp, str):
                found.append(stamp)
                continue
            found.append(known.get((keys[i], stamp), ""))
            if not found[i]:
                changed.append((i, stamp))
        if self.level == "none":
            self.remembered += sum(isinstance(digest, bytes) for digest in found)
        fresh = _spread(self.pool, digest_of, (files[i] for i, _ in changed), 8)
        for (i, stamp), digest in zip(changed, fresh, strict=True):
            found[i] = digest
            if isinstance(digest, bytes) and stamp_of(files[i]) == stamp:
                self.memory.add_file(keys[i], stamp, digest)
        return found

    def _verdicts(
        self, files: list[str], stamps: list[Stamp | str], digests: list[bytes | str], task: console.Task
    ) -> list[Verdict]:
        """Return what is known of each content, looking at those that are new."""
        cap, level = self.spec.max_pixels, self.level
        known = self.memory.verdicts((d for d in digests if isinstance(d, bytes)), cap, level)
        found: list[Verdict] = []
        fresh: list[tuple[int, bytes]] = []
        for i, digest in enumerate(digests):
            if isinstance(digest, str):
                found.append(Verdict(digest, lasting=False))
            elif level == "none" or digest in known:
                found.append(known.get(digest, Verdict(None)))
            else:
                found.append(Verdict("unreadable"))
                fresh.append((i, digest))
        self.remembered += sum(isinstance(d, bytes) and d in known for d in digests)
        task.advance(len(found) - len(fresh))

        def see(item: tuple[int, bytes]) -> Verdict:
            i, digest = item
            return look(files[i], stamps[i], digest, self.spec, level)

        for (i, digest), verdict in zip(fresh, _spread(self.pool, see, fresh, 4), strict=True):
            found[i] = verdict
            if verdict.lasting:
                self.memory.add_image(digest, cap, level, verdict)
            task.advance()
        return found


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
