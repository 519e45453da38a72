"""What the command settles before torch is imported."""

from __future__ import annotations

import subprocess
import sys

import pytest

_FAULTS = """
import resource, sys
from bunryu.core.process import keep_freed_memory, malloc
keep_freed_memory()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    block = b"x" * 40_000_000
    del block
print(malloc(), resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before, sep="/")
"""


def faults(monkeypatch: pytest.MonkeyPatch, setting: str) -> tuple[str, int]:
    """Return how memory is treated, and how many pages the system cleared for 20 blocks of 40 MB."""
    monkeypatch.setenv("BUNRYU_MALLOC", setting)
    told = subprocess.run([sys.executable, "-c", _FAULTS], capture_output=True, text=True, check=True).stdout
    how, count = told.strip().split("/")
    return how, int(count)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc only")
def test_freed_memory_is_kept_and_that_can_be_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    how, kept = faults(monkeypatch, "keep")
    if how == "the system's":
        pytest.skip("not glibc")
    own, given_back = faults(monkeypatch, "system")
    assert (how, own) == ("freed memory kept", "the system's")
    assert kept < given_back / 5


def test_a_command_collects_garbage_seldom() -> None:
    told = subprocess.run(
        [sys.executable, "-c", "import gc; from bunryu.core.process import collect_seldom; collect_seldom(); "
         "print(gc.get_threshold()[0], gc.isenabled())"],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert told.split() == ["20000", "True"]
