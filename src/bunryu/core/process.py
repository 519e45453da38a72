"""What belongs to the whole process and has to stand before torch is imported: how threads wait, how memory is kept."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import sys
from typing import NoReturn

_MMAP_THRESHOLD, _TRIM_THRESHOLD = -3, -1  # of glibc's malloc.h
_kept = False


def wait_patiently() -> None:
    """Let idle threads sleep instead of spin, unless OMP_WAIT_POLICY says otherwise or torch is there already.

    Spinning threads of one operation take the cores from the threads that decode, and from every other program: on
    2 cores with one busy neighbour a small net trained 7 times slower. Results are the same bits either way.
    """
    if "torch" not in sys.modules:
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")


def keep_freed_memory() -> None:
    """Let glibc keep what is freed for the next use, unless BUNRYU_MALLOC=system.

    Each step of training frees and takes the same large blocks. By default glibc gives them back to the system, which
    then clears every page anew: up to two fifths of MobileNetV2's time on the CPU (`benchmarks/precision.py`). Only the
    command does this; a program that imports bunryu keeps its own ways. Elsewhere than with glibc nothing happens.
    """
    global _kept
    if os.environ.get("BUNRYU_MALLOC") == "system" or not sys.platform.startswith("linux"):
        return
    with contextlib.suppress(AttributeError, OSError):  # another C library
        mallopt = ctypes.CDLL(None).mallopt
        _kept = bool(mallopt(_MMAP_THRESHOLD, 1 << 30)) and bool(mallopt(_TRIM_THRESHOLD, (1 << 31) - 1))


def collect_seldom() -> None:
    """Let Python look for unreachable cycles more rarely.

    Importing torch makes a million objects, none of them garbage: looking through them again and again took 0.2 s of a
    command's start. Only the command does this.
    """
    gc.set_threshold(20_000, 50, 100)


def end_at_once(code: int) -> NoReturn:
    """End the process when all is written: to take torch's modules apart object by object takes 0.5 s more.

    What has to be left in order (files, locks, threads, processes) was left so by its own context.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):  # nobody reads it any more
            stream.flush()
    os._exit(code)


def malloc() -> str:
    """Return how freed memory is treated, for the record of a run."""
    return "freed memory kept" if _kept else "the system's"
