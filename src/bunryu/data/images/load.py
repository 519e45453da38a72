"""Files become uint8 batches: decoded and fitted by threads, a few batches ahead, in the asked order.

Threads, not processes: Pillow releases the GIL while it decodes and resizes, nothing is copied or forked,
and it works alike on every system and inside every host program.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TypeAlias, TypeVar

import numpy as np
from numpy.typing import NDArray

from bunryu.core import distributed
from bunryu.core.errors import DataError, ImageError, count, some
from bunryu.core.randomness import plain
from bunryu.data.images.contents import MAX_BYTES_HELD
from bunryu.data.images.decode import Source, load
from bunryu.data.images.deep import Seen, take_seen
from bunryu.data.images.pixel_cache import PixelCache
from bunryu.settings.data import DecodeSpec, InputSpec

T = TypeVar("T")
R = TypeVar("R")
_Read: TypeAlias = tuple[NDArray[np.uint8] | str, Seen | None]
"""Of one picture: its pixels or why it cannot be read, and what values it held."""


@dataclass(frozen=True)
class Batch:
    """Pictures that were read.

    Attributes:
        rows: their positions in what was asked for, shape (B,).
        pixels_BHWC: uint8, shape (B, H, W, C).
        failed: position -> reason, for those that could not be read.
        seen: position -> what values it held, for pictures of more than 8 bits.
    """

    rows: NDArray[np.int64]
    pixels_BHWC: NDArray[np.uint8]
    failed: dict[int, str] = field(default_factory=dict)
    seen: dict[int, Seen] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return how many pictures were asked for."""
        return len(self.rows) + len(self.failed)


def require_read(failed: dict[int, str], file: Callable[[int], str]) -> None:
    """Stop where training needs a picture that cannot be read.

    Raises:
        DataError: naming the files.
    """
    if failed:
        lost = some(f"{file(row)} ({reason})" for row, reason in failed.items())
        raise DataError(
            f"Training needs {count(len(failed), 'image')} that cannot be read: {lost}. With data.check=full all were "
            "read before training, so what changed since must be put back; then go on with --resume. With "
            "data.check=header or none they may never have been readable: start anew with data.check=full, which "
            "skips and lists such images."
        )


def cores() -> int:
    """Return the number of cores this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # macOS, Windows
        return os.cpu_count() or 1


def load_batches(
    source: Callable[[int], Source],
    batches: Iterable[NDArray[np.int64]],
    decode: DecodeSpec,
    input: InputSpec,
    *,
    workers: int | None = None,
    cache: PixelCache | None = None,
    change: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]] | None = None,
    ahead: int = 3,
) -> Generator[Batch]:
    """Yield the pictures of each batch of rows, reading ahead.

    Args:
        source: row -> path, bytes or array.
        batches: the rows of each batch; ids may hold the number of a coming (`randomness.coming`).
        decode: how files become pixels.
        input: how pixels are fitted.
        workers: threads; the number of cores (shared with the other processes of the training) when None.
        cache: where the pictures of the rows' table are kept; None to decode them each time.
        change: pixels and the id as it was asked for -> pixels, run in the threads; they stay as they are when None.
        ahead: how many batches are read before they are asked for.

    Yields:
        One `Batch` for each of `batches`, in order. A picture that cannot be read is in `failed`, never replaced.
    """
    ways = [(decode, input)]
    for (batch,) in load_ways(source, batches, ways, workers=workers, cache=cache, change=change, ahead=ahead):
        yield batch


def load_ways(
    source: Callable[[int], Source],
    batches: Iterable[NDArray[np.int64]],
    ways: Sequence[tuple[DecodeSpec, InputSpec]],
    *,
    workers: int | None = None,
    cache: PixelCache | None = None,
    change: Callable[[NDArray[np.uint8], int], NDArray[np.uint8]] | None = None,
    ahead: int = 3,
) -> Generator[list[Batch]]:
    """Yield the pictures of each batch of rows read in several ways, a `Batch` each; see `load_batches`.

    A file is opened once for all of them, but where it is large.
    """
    kept = [None if cache is None else cache.opened(*way) for way in ways]

    def read(key: int) -> list[_Read]:
        row = plain(key)
        try:
            given = source(row) if len(ways) == 1 else _content(source(row))
        except ImageError as error:
            return [(str(error), None)] * len(ways)
        found: list[_Read] = []
        take_seen()  # of who used this thread before
        for way, file in zip(ways, kept, strict=True):
            try:
                pixels = load(given, *way) if file is None else file.load(row, given)
            except ImageError as error:
                found.append((str(error), None))
            else:
                found.append((pixels if change is None else change(pixels, key), take_seen()))
        return found

    tasks = ((plain(keys), [int(key) for key in keys]) for keys in batches)
    for rows, results in _ahead(read, tasks, workers or max(1, cores() // distributed.neighbours()), ahead):
        yield [_batch(rows, [result[w] for result in results], spec) for w, (_, spec) in enumerate(ways)]


def _content(source: Source) -> Source:
    """Return what a file holds; the source itself where it is none, is large, or cannot be read, which `load` says."""
    if not isinstance(source, (str, os.PathLike)):
        return source
    try:
        if os.path.getsize(source) > MAX_BYTES_HELD:  # noqa: PTH202
            return source
        with open(source, "rb") as stream:  # noqa: PTH123 - a million paths, no Path objects
            return stream.read()
    except (OSError, ValueError):
        return source


def _batch(rows: NDArray[np.int64], results: list[_Read], input: InputSpec) -> Batch:
    """Return a batch of what could be read, and the reasons of the others."""
    failed = {int(row): result for row, (result, _) in zip(rows, results, strict=True) if isinstance(result, str)}
    seen = {int(row): values for row, (_, values) in zip(rows, results, strict=True) if values is not None}
    pixels = [result for result, _ in results if not isinstance(result, str)]
    good = rows if not failed else np.array([row for row in rows if int(row) not in failed], dtype=np.int64)
    shape = (0, input.height, input.width, input.depth)
    return Batch(good, np.stack(pixels) if pixels else np.zeros(shape, np.uint8), failed, seen)


def _ahead(
    work: Callable[[int], R], tasks: Iterable[tuple[T, Sequence[int]]], workers: int, depth: int
) -> Iterator[tuple[T, list[R]]]:
    """Map `work` over the items of each task in threads, at most `depth` tasks ahead of the consumer."""
    pool = ThreadPoolExecutor(workers, thread_name_prefix="bunryu-decode")
    waiting: deque[tuple[T, list[Future[R]]]] = deque()
    try:
        for key, items in tasks:
            waiting.append((key, [pool.submit(work, item) for item in items]))
            if len(waiting) > depth:
                done_key, futures = waiting.popleft()
                yield done_key, [future.result() for future in futures]
        while waiting:
            done_key, futures = waiting.popleft()
            yield done_key, [future.result() for future in futures]
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
