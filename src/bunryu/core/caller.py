"""Who uses the package: a program that imports it, or the command line, which names and shows some things otherwise."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path

from bunryu.core import console


class Caller:
    """A program: what it asks for is all that counts, and results are told where everything is told.

    Attributes:
        origin: where its settings come from, for messages.
        began: when its work began, by `time.monotonic`, so that a limit of time counts from there; the moment of a
            call when None.
    """

    origin = "the settings given"
    began: float | None = None

    def source(self, given: str | None) -> str | None:
        """Return where the data lie, if the settings name `given`."""
        return given

    def root(self, out: Path | None) -> Path | None:  # noqa: ARG002 - the command line's depends on it
        """Return where new folders of results are made, if the settings name `out` as one; None for the usual place."""
        return None

    def show(self, *lines: str, style: str | None = None) -> None:
        """Show a result, each argument a line."""
        console.say(*lines, style=style)


_present = ContextVar("caller", default=Caller())  # noqa: B039 - it holds nothing that changes
"""Of each thread its own, so that two that call at once leave each other's alone."""


def present() -> Caller:
    """Return who calls."""
    return _present.get()


@contextmanager
def called_by(caller: Caller) -> Iterator[None]:
    """Let another be the caller within the ``with``."""
    before = _present.set(caller)
    try:
        yield
    finally:
        _present.reset(before)
