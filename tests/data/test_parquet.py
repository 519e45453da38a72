"""Parquet: tables of paths, and pictures in a table as Hugging Face writes them, read as their folder."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sourcing import one_message, read, rows, touch

from bunryu.ship.inputs import gather


@pytest.fixture
def arrow() -> Any:
    pytest.importorskip("pyarrow", reason="needs bunryu[parquet]")
    import pyarrow

    return pyarrow


def picture(kind: str, shade: int) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (4, 4), (shade, 0, 0)).save(buffer, kind)
    return buffer.getvalue()


def written(arrow: Any, file: Path, columns: dict[str, Any], names: list[str] | None = None) -> Path:
    import pyarrow.parquet

    table = arrow.table(columns)
    if names is not None:
        features = {"info": {"features": {"label": {"names": names, "_type": "ClassLabel"}}}}
        table = table.replace_schema_metadata({"huggingface": json.dumps(features)})
    pyarrow.parquet.write_table(table, file)
    return file


def of_hugging_face(arrow: Any, file: Path) -> Path:
    pictures = [
        {"bytes": picture(kind, shade), "path": path}
        for kind, shade, path in (("PNG", 1, None), ("JPEG", 2, "a/b.jpeg"), ("PNG", 3, "c"), ("JPEG", 4, None))
    ]
    return written(
        arrow, file, {"image": pictures, "label": [0, 1, 0, 1], "box": [[1], [2], [3], [4]]}, ["고양이", "dog"]
    )


def test_pictures_in_a_table_are_read_as_a_folder(tmp_path: Path, arrow: Any) -> None:
    file = of_hugging_face(arrow, tmp_path / "train-00000-of-00001.parquet")
    table = read(file)
    assert rows(table) == [
        ("0000000.png", "고양이", ""), ("0000001.jpeg", "dog", ""),
        ("0000002.png", "고양이", ""), ("0000003.jpg", "dog", ""),
    ]  # fmt: skip
    assert table.root == file
    assert Path(table.file(1)).read_bytes() == picture("JPEG", 2)
    notes = "\n".join(table.notes)
    assert f"read as: a Hugging Face folder; 4 rows in {file}/metadata.csv" in notes
    assert "left out, which are no text: box" in notes
    assert len(gather([str(file)]).files) == 4


def test_a_folder_of_them_is_told_how_to_read_it(tmp_path: Path, arrow: Any) -> None:
    for name in ("train", "test"):
        of_hugging_face(arrow, tmp_path / f"{name}-00000-of-00001.parquet")
    advised = one_message(tmp_path).partition("bunryu train ")[2].split()
    assert advised[::2] == ["--train-dir", "--test-dir"]
    table = read(train=advised[1], test=advised[3])
    assert table.paths[0] == "test-00000-of-00001.parquet/0000000.png"
    assert set(table.splits) == {"train", "test"}


def test_a_parquet_of_paths_is_a_table(tmp_path: Path, arrow: Any) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    file = written(arrow, tmp_path / "t.parquet", {"path": ["a.jpg", "b.jpg"], "label": ["x", "y"]})
    assert rows(read(file)) == [("a.jpg", "x", ""), ("b.jpg", "y", "")]
    assert gather([str(file)]).names == ["a.jpg", "b.jpg"]


def test_what_is_no_parquet(tmp_path: Path, arrow: Any) -> None:
    assert arrow
    (tmp_path / "t.parquet").write_bytes(b"PAR1nothing")
    assert "cannot be read as parquet" in one_message(tmp_path / "t.parquet")


def test_without_pyarrow_the_way_out_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    (tmp_path / "t.parquet").write_bytes(b"PAR1")
    text = one_message(tmp_path / "t.parquet")
    assert "pip install 'bunryu[parquet]'" in text
    assert "to_csv" in text


def test_the_column_of_a_hugging_face_folder_can_be_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "metadata.csv").write_text("file_name,kind,mood\na.jpg,x,1\nb.jpg,y,2\n", encoding="utf-8")
    assert "kind (2), mood (2). Name it: data.label_column=kind" in one_message(tmp_path)
    assert rows(read(tmp_path, label_column="mood")) == [("a.jpg", "1", ""), ("b.jpg", "2", "")]
