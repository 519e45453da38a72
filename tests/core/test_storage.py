"""One file under two names."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bunryu.core.storage import link, write_atomic


@pytest.mark.parametrize("there", ["nothing", "another file", "the same file"])
def test_a_second_name_takes_no_disk(there: str, tmp_path: Path) -> None:
    source, path = tmp_path / "source", tmp_path / "path"
    source.write_bytes(b"new")
    if there == "another file":
        path.write_bytes(b"old")
    elif there == "the same file":
        path.hardlink_to(source)
    link(source, path)
    assert path.read_bytes() == b"new"
    assert path.samefile(source)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["path", "source"]
    write_atomic(path, b"newer")
    assert source.read_bytes() == b"new", "what is written anew is no longer the other file"


def test_where_files_have_one_name_it_is_a_copy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    source, path = tmp_path / "source", tmp_path / "path"
    source.write_bytes(b"new")
    link(source, path)
    assert path.read_bytes() == b"new"
    assert not path.samefile(source)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["path", "source"]
