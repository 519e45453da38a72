"""A pipe, a device, a folder or a link to itself in the place of a file: one message, and nothing hangs."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from conftest import TINY, Command, Tiny

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="pipes with names, devices and an alarm")
Make = Callable[[Path], Any]


KINDS: dict[str, Make] = {
    "pipe": os.mkfifo,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "folder": Path.mkdir,
    "link to itself": lambda path: path.symlink_to(path.name),
}
PLACES: dict[str, tuple[Any, ...]] = {
    "m.safetensors": ("predict", "FILE", "DATA"),
    "a.png": ("predict", "RUN", "FILE"),
    "a.csv": ("predict", "RUN", "FILE"),
    "b.csv": ("predict", "RUN", "DATA", "--submission", "FILE"),
    "answers.csv": ("score", "FILE", "TABLE"),
    "truth.csv": ("score", "TABLE", "FILE"),
    "t.csv": ("train", "FILE", "--dry-run", *TINY),
    "t.jsonl": ("train", "FILE", "--dry-run", *TINY),
    "recipe.yaml": ("train", "DATA", "--dry-run", "--recipe", "FILE", *TINY),
    "w.pth": ("train", "DATA", "--dry-run", *TINY, "model.weights=FILE"),
    "w.safetensors": ("train", "DATA", "--dry-run", *TINY, "model.weights=FILE"),
    "own.py": ("train", "DATA", "--dry-run", *TINY, "model.name=null", "model.file=FILE:Net"),
    "split.csv": ("train", "DATA", "--dry-run", *TINY, "split.file=FILE"),
    "d.csv": ("evaluate", "RUN", "--data", "FILE"),
    "in a run/model.safetensors": ("predict", "OWN", "DATA"),
    "in a run/config.yaml": ("evaluate", "OWN"),
    "in a run/environment.json": ("evaluate", "OWN"),
    "in a run/split.csv": ("evaluate", "OWN"),
    "in a run/history.jsonl": ("evaluate", "OWN"),
    "in a run/SHA256SUMS": ("evaluate", "OWN"),
    "in a run/checkpoints/last.safetensors": ("train", "--resume", "OWN", "--more-epochs", "1"),
    "in a run/checkpoints/best.safetensors": ("evaluate", "OWN", "--checkpoint", "best"),
    "in a run/ensemble.json": ("predict", "OWN", "DATA"),
    "in a run/.unfinished": ("train", "DATA", "--out", "OWN", *TINY),
    "in the data/cat/x.png": ("train", "OWN_DATA", "--dry-run", *TINY),
    "to be predicted/x.png": ("predict", "RUN", "OWN_DATA"),
}
LEFT_OUT = ("in the data/cat/x.png", "to be predicted/x.png", "in a run/.unfinished", "in a run/SHA256SUMS")
"""Where something else than a file may be told, or passed over, and the command do its work."""
OPTIONAL = tuple(f"in a run/{name}" for name in ("config.yaml", "history.jsonl", "ensemble.json"))
"""What a run may lack, and so may be a link that leads nowhere."""


@pytest.fixture(autouse=True)
def nothing_hangs() -> Iterator[None]:
    def late(*_: object) -> None:
        raise TimeoutError("it hangs")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(60)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("place", PLACES)
def test_what_is_no_file(place: str, kind: str, tiny_run: Tiny, bunryu: Command, here: Path) -> None:
    own = here / place.split("/")[0]
    if place.startswith("in a run"):
        shutil.copytree(tiny_run.run, own)
    elif "/" in place:
        shutil.copytree(tiny_run.data, own)
        (own / "cat").mkdir(exist_ok=True)
    file = here / place
    file.unlink(missing_ok=True)
    KINDS[kind](file)
    table = here / "table.csv"
    table.write_text("path,label\n1,a\n2,b\n")
    known = {"RUN": tiny_run.run, "DATA": tiny_run.data, "OWN": own, "OWN_DATA": own, "TABLE": table}
    words = [known.get(word, str(word).replace("FILE", str(file))) for word in PLACES[place]]
    ended = bunryu(*words)
    assert "Traceback" not in ended.err
    missing = kind == "link to itself" and place in OPTIONAL
    if place in LEFT_OUT or missing:
        assert ended.code in (0, 2)
    else:
        assert ended.code == 2, ended
        assert sum(line.startswith("error: ") for line in ended.err.splitlines()) == 1, ended.err
        assert file.name in ended.err or own.name in ended.err, ended.err
