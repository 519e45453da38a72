"""No crafted file takes much memory or time: each is read in a process of its own kind that counts what it takes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MOST_MEGABYTES = 300
MOST_SECONDS = 5.0
"""Of processor time. 0.5 s were measured at most; a slow machine has room."""


@pytest.mark.skipif(sys.platform != "linux", reason="counts memory as Linux tells it")
def test_what_crafted_files_cost(tmp_path: Path) -> None:
    here = Path(__file__).parent
    path = os.pathsep.join([str(here), str(here.parent), *sys.path])
    ended = subprocess.run(
        [sys.executable, here / "crafted.py", tmp_path],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr[-2000:]
    found = [json.loads(line) for line in ended.stdout.splitlines()]
    assert len(found) > 60
    for name, megabytes, seconds, told in found:
        assert megabytes < MOST_MEGABYTES, (name, megabytes, told)
        assert seconds < MOST_SECONDS, (name, seconds, told)
    read = {name for name, _, _, told in found if told == "read"}
    assert {"model: as it should be", "weights: as they should be"} <= read
    assert not any(name.startswith("header") for name in read)
