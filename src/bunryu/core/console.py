"""What people see while a command works: plain lines, tables and progress, all on standard error.

Standard output is kept for results (predictions, JSON, measures), so that commands can be piped. What is said is
given line by line, and each goes through `shown`: a name from outside begins no line and acts on no terminal. What
others write past this module (tracebacks, warnings, logs, the parser of options) goes through `guarded`. Where the
person reads Korean, what `language` knows of it is said in Korean; results that are piped stay as they are.
"""

from __future__ import annotations

import io
import logging
import re
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from typing import Any, TextIO, TypeVar, cast

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)

from bunryu.core import language
from bunryu.core.shown import shown, shown_lines

B = TypeVar("B", bound=Sized)
_PLAIN_SECONDS = 10.0

_console = Console(stderr=True, highlight=False, soft_wrap=True)
_quiet = False
_told_of_language = False
_noted: dict[tuple[str, ...], tuple[str, ...]] | None = None
"""The notes that were said, by their lines without numbers, where each is said once; None where it is not asked."""
_alike = 0
"""How many notes were left out since, which differ from one that was said."""
_NUMBERS = re.compile(r"(?<![\w'./-])\d[\d,]*(?:\.\d+)?%?(?![\w'/-])")
"""Numbers that stand by themselves: those of names (``'3'``, ``n003/``, ``a-1.png``) tell notes apart."""


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


def say(*lines: str, style: str | None = None) -> None:
    """Print a message for the person at the terminal, each argument a line; a note is one in yellow."""
    if _quiet or (style == "yellow" and _was_noted(lines)):
        return
    _print(lines or ("",), style)


def _was_noted(lines: tuple[str, ...]) -> bool:
    global _alike
    if _noted is None:
        return False
    key = tuple(_NUMBERS.sub("#", line) for line in lines)
    said = _noted.setdefault(key, lines)
    if said is lines:
        return False
    _alike += said != lines
    return True


@contextmanager
def each_note_once(where: str) -> Iterator[None]:
    """Say a note once within the ``with``, however often it holds, as in every fold of a cross-validation.

    One that differs from it by numbers alone counts as the same; at the end it is said how many there were, and that
    they are found in `where`.
    """
    global _noted, _alike
    before, _noted, _alike = (_noted, _alike), {}, 0
    try:
        yield
        left = _alike
    finally:
        _noted, _alike = before
    if left:
        say(f"Notes above that came again with other numbers: {left:,}; see {where}.")


def result(*lines: str) -> None:
    """Print a result on standard output, each argument a line; not silenced by --quiet.

    It is spoken as all else where a person sees it at once, and the same in every language where it is piped.
    """
    print("\n".join(_spoken(lines)) if sys.stdout.isatty() else shown_lines(lines), flush=True)


def use_utf8() -> None:
    """Write results in UTF-8, and let no character that a terminal cannot show be an error."""
    for stream, encoding in ((sys.stdout, "utf-8"), (sys.stderr, None)):
        if isinstance(stream, io.TextIOWrapper):  # not where a notebook or an IDE put its own
            stream.reconfigure(encoding=encoding, errors="backslashreplace")


def fail(text: str, *more: str) -> None:
    """Print an error, each argument a line; not silenced by --quiet."""
    head, *rest = _spoken((text, *more))
    word = "error" if head == shown(text) else "오류"
    _write((f"{word}: {head}", *rest), "red" if _console.is_terminal else None)


def stopped(*lines: str) -> None:
    """Print that the command was stopped, each argument a line; not silenced by --quiet."""
    _print(lines, None)


def _print(lines: Iterable[str], style: str | None) -> None:
    _write(_spoken(lines), style)


def _write(lines: Iterable[str], style: str | None) -> None:
    _console.print("\n".join(lines), style=style, markup=False, emoji=False)


def _spoken(lines: Iterable[str]) -> list[str]:
    """Return lines as they are shown, each in the language of the person where the catalogue has it."""
    escaped = [shown(line) for line in lines]
    if _language() == "en":
        return escaped
    return [language.in_korean(line) or line for line in escaped]


def _language() -> language.Language:
    """Return the language to speak; say it once where the one that is asked for cannot be spoken."""
    global _told_of_language
    found, note = language.asked()
    if note and not _told_of_language:
        _told_of_language = True
        _write([shown(note)], "yellow")
    return found


@contextmanager
def guarded() -> Iterator[None]:
    """Let nothing that others write act on the terminal within the ``with``: libraries, warnings, tracebacks.

    Python's own streams are replaced by ones that escape (`Guard`). Rows of results that are piped stay as they are.
    """
    before, show, last = (sys.stdout, sys.stderr), warnings.showwarning, logging.lastResort
    if sys.stdout is not None and sys.stdout.isatty():
        sys.stdout = cast(TextIO, Guard(sys.stdout))
    if sys.stderr is not None:
        sys.stderr = cast(TextIO, Guard(sys.stderr))
    warnings.showwarning = _warned
    logging.lastResort = _Logged(logging.WARNING)
    try:
        yield
    finally:
        (sys.stdout, sys.stderr), warnings.showwarning, logging.lastResort = before, show, last


class Guard:
    """A text stream before another, which shows what acts on a terminal instead of passing it on."""

    def __init__(self, stream: TextIO) -> None:
        self.rich_proxied_file = stream  # rich, whose colours may pass, writes there by this name

    def write(self, text: str) -> int:
        """Write `text`; its lines and tabs stay, and so does the return to the beginning of a line."""
        self.rich_proxied_file.write("".join(map(_passed, re.split("([\r\n\t])", text))))
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write each of `lines`."""
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.rich_proxied_file, name)


def _passed(part: str) -> str:
    return part if part in ("\r", "\n", "\t") else shown(part)


def _warned(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
    """Say what a library warns of, in one line."""
    say(f"{category.__name__}: {' '.join(str(message).split())}", style="yellow")


class _Logged(logging.Handler):
    """Says what libraries log and nobody else shows, in one line."""

    def emit(self, record: logging.LogRecord) -> None:
        say(f"{record.name}: {' '.join(record.getMessage().split())}", style="yellow")


def is_terminal() -> bool:
    """Return whether progress is drawn as a bar (else as plain lines)."""
    return _console.is_terminal and not _quiet


class Task:
    """One piece of long work: a bar with rate and ETA on a terminal, a line every ten seconds elsewhere."""

    def __init__(self, title: str, total: int, progress: Progress | None) -> None:
        self.title, self.total, self.done, self._before = title, total, 0, 0
        self._progress = progress
        self._task = progress.add_task(_spoken([title])[0], total=total, told="") if progress else None
        self._start = self._last = time.monotonic()

    def skip(self, count: int) -> None:
        """Count items that were done before, without counting them in the rate."""
        self._before = count
        self.advance(count)

    def advance(self, count: int = 1, told: str = "") -> None:
        """Count `count` more items done; `told` is shown behind the bar."""
        self.done += count
        if self._progress is not None and self._task is not None:
            self._progress.update(self._task, advance=count, told=shown(f"{told} {self._speed()}".strip()))
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
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TextColumn("{task.fields[told]}", markup=False),
        TextColumn("ETA"),
        TimeRemainingColumn(),
    )
    # what others print meanwhile stays behind the guard, which a bar that takes it over would pass by
    with Progress(*columns, console=_console, transient=True, redirect_stdout=False, redirect_stderr=False) as progress:
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
