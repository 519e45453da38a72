"""What people see while a command works: plain lines, tables and progress, all on standard error.

Standard output is kept for results (predictions, JSON, measures), so that commands can be piped.
"""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

B = TypeVar("B", bound=Sized)
_PLAIN_SECONDS = 10.0

_console = Console(stderr=True, highlight=False, soft_wrap=True)
_quiet = False


def set_quiet(quiet: bool) -> None:
    """Silence everything but errors and results."""
    global _quiet
    _quiet = quiet


@contextmanager
def quietly(quiet: bool) -> Iterator[None]:
    """Silence everything but errors while in the ``with``, where `quiet`."""
    before = _quiet
    set_quiet(quiet or before)
    try:
        yield
    finally:
        set_quiet(before)


def say(text: str = "", *, style: str | None = None) -> None:
    """Print one message for the person at the terminal."""
    if not _quiet:
        _console.print(text, style=style, markup=False)


def result(text: str) -> None:
    """Print a result on standard output; not silenced by --quiet."""
    print(text, flush=True)


def use_utf8() -> None:
    """Write results in UTF-8, and let no character that a terminal cannot show be an error."""
    for stream, encoding in ((sys.stdout, "utf-8"), (sys.stderr, None)):
        if isinstance(stream, io.TextIOWrapper):  # not where a notebook or an IDE put its own
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def fail(text: str) -> None:
    """Print an error; not silenced by --quiet."""
    _console.print(f"error: {text}", style="red" if _console.is_terminal else None, markup=False)


def is_terminal() -> bool:
    """Return whether progress is drawn as a bar (else as plain lines)."""
    return _console.is_terminal and not _quiet


class Task:
    """One piece of long work: a bar with rate and ETA on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, title: str, total: int, progress: Progress | None) -> None:
        self.title, self.total, self.done, self._before = title, total, 0, 0
        self._progress = progress
        self._task = progress.add_task(title, total=total, told="") if progress else None
        self._start = self._last = time.monotonic()

    def skip(self, count: int) -> None:
        """Count items that were done before, without counting them in the rate."""
        self._before = count
        self.advance(count)

    def advance(self, count: int = 1, told: str = "") -> None:
        """Count `count` more items done; `told` is shown behind the bar."""
        self.done += count
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=count, told=f"{told} {self._speed()}".strip())
        elif time.monotonic() - self._last > _PLAIN_SECONDS and self.done < self.total:
            self._last = time.monotonic()
            left = (self.total - self.done) / max(self._rate(), 1e-9)
            parts = (f"{self.title}: {self.done}/{self.total}", told, self._speed())
            say(f"{' '.join(part for part in parts if part)}, {duration(left)} left")

    def _speed(self) -> str:
        return f"{self._rate():.0f}/s" if self._rate() >= 1 else ""

    def _rate(self) -> float:
        return (self.done - self._before) / max(time.monotonic() - self._start, 1e-9)


@contextmanager
def working(title: str, total: int) -> Iterator[Task]:
    """Show progress of `total` items of work."""
    if not is_terminal():
        yield Task(title, total, None)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}"),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_console, transient=True) as progress:
        yield Task(title, total, progress)


def tracked_rows(batches: Iterable[B], title: str | None, total: int, rows: Callable[[B], int] = len) -> Iterator[B]:
    """Yield `batches` while showing how many of `total` rows are done, each having `rows`; silent without a title."""
    if title is None:
        yield from batches
        return
    with working(title, total) as task:
        for batch in batches:
            yield batch
            task.advance(rows(batch))


def duration(seconds: float) -> str:
    """Return seconds as a person says them: 8 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
