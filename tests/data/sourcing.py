"""What the tests of sources share: files without content, tables, and reading them as `bunryu train` does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bunryu.core.errors import BunryuError
from bunryu.data.classes import check_classes
from bunryu.data.sources.read import read_source
from bunryu.data.table import Table
from bunryu.settings.data import DataSettings


def touch(root: Path, *names: str) -> Path:
    """Make files without content: sources are listed, never opened."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def read(source: Any = None, **settings: Any) -> Table:
    """Read a source as `bunryu train` does."""
    if source is None or isinstance(source, (str, Path)):
        table = read_source(DataSettings(source=None if source is None else str(source), **settings))
    else:
        table = read_source(DataSettings(**settings), source)
    check_classes(table)
    return table


def rows(table: Table) -> list[tuple[str, str, str]]:
    return list(zip(table.paths.tolist(), table.target_labels.tolist(), table.splits.tolist(), strict=True))


def write_csv(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def one_message(source: Any = None, **settings: Any) -> str:
    with pytest.raises(BunryuError) as error:
        read(source, **settings)
    text = str(error.value)
    assert "\n" not in text
    return text
