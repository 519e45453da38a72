"""Ctrl-C and SIGTERM: stop once the state is saved, and say how to go on."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from bunryu.core import console, distributed
from bunryu.core.errors import Interrupted, typed
from bunryu.runs.folder import RunFolder


@contextmanager
def resumable(folder: RunFolder) -> Iterator[None]:
    """Say of a Ctrl-C that stops at once what is left in the run folder, and how to go on."""
    try:
        yield
    except KeyboardInterrupt:
        mend = f"Go on from its last checkpoint with: bunryu train --resume {typed(folder.path)}"
        if not folder.config.exists():
            mend = f"{folder.path} was not set up yet: the same command with --out {typed(folder.path)} begins again."
        raise Interrupted(f"Stopped at once. {mend}") from None


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a wish to stop after saving; a second one acts as usual."""
    asked: list[int] = []
    before: dict[signal.Signals, Any] = {}

    def ask(number: int, _: object) -> None:
        asked.append(number)
        signal.signal(number, before[signal.Signals(number)])
        if distributed.world() > 1:  # perhaps torchrun ends this process because another one failed
            return
        with suppress(RuntimeError):  # the signal came in the middle of another line
            name = "Ctrl-C" if number == signal.SIGINT else signal.Signals(number).name
            console.say(f"{name}: stopping after the present batch, once the state is saved (again: at once)")

    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            before[number] = signal.signal(number, ask)
    try:
        yield lambda: bool(asked)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
