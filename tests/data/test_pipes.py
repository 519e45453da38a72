"""What is read as a table is a file: a named pipe, which one would wait on for ever, is one message."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bunryu.core.errors import DataError
from bunryu.data.sources.csv_files import read_csv
from bunryu.data.sources.json_lines import read_json_lines
from bunryu.data.splits.split_csv import read_digests

READERS: list[Callable[[Path], Any]] = [read_csv, read_json_lines, read_digests]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
@pytest.mark.parametrize("read", READERS)
def test_a_pipe_is_not_waited_for(read: Callable[[Path], Any], tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "table.csv")
    held = os.open(tmp_path / "table.csv", os.O_RDWR)
    os.write(held, b"path,label\n")
    end = threading.Timer(5, os.close, [held])  # of the file, for a reader that opens it: else it would wait for ever
    end.start()
    with pytest.raises(DataError, match="it is not a regular file"):
        read(tmp_path / "table.csv")
    end.cancel()
    os.close(held)
