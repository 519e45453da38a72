"""Parquet: a table of paths, or pictures in a table as Hugging Face keeps its data sets, which become a folder."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from bunryu.core import console
from bunryu.core.csv_text import csv_lines
from bunryu.core.errors import DataError, some
from bunryu.data.images.formats import HEAD_BYTES, IMAGE_SUFFIXES, of_content
from bunryu.data.sources.csv_files import Columns, from_frame
from bunryu.data.sources.unpack import require_room

PARQUET = ".parquet"
METADATA = "metadata.csv"
"""The table of the folder that pictures become, with what stands in the other columns."""
_FILE = "file_name"
_AT_ONCE = 256


def read_parquet(path: Path) -> Columns:
    """Read a table of paths.

    Raises:
        DataError: pyarrow is not installed, or it is no parquet.
    """
    parquet = _pyarrow(path)
    try:
        frame = parquet.read_table(path).to_pandas()
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    return dataclasses.replace(from_frame(frame), where=str(path))


def holds_pictures(path: Path) -> bool:
    """Return whether a parquet has pictures in it, not paths; False where it cannot be read."""
    try:
        return _picture_column(_pyarrow(path).ParquetFile(path).schema_arrow) is not None
    except (DataError, OSError, ValueError):
        return False


def unpack_pictures(path: Path, folder: Path) -> list[str]:
    """Write the pictures of a parquet into `folder`, with a table beside them; return what is told of it.

    Raises:
        DataError: it is damaged, or there is no room.
    """
    try:
        file = _pyarrow(path).ParquetFile(path)
        groups = range(file.metadata.num_row_groups)
        require_room(path, folder, sum(file.metadata.row_group(at).total_byte_size for at in groups))
        column, kept, left = str(_picture_column(file.schema_arrow)), *_other_columns(file.schema_arrow)
        names, empty = _class_names(file.schema_arrow.metadata or {}), 0
        rows: list[list[str]] = []
        with console.working(f"unpacking {path.name}", file.metadata.num_rows) as task:
            for number, row in enumerate(_rows(file, [column, *kept])):
                picture = row[column]
                content = picture.get("bytes") if isinstance(picture, dict) else picture
                if content:
                    name = f"{number:07}{_ending(content, picture)}"
                    (folder / name).write_bytes(content)
                    rows.append([name, *(_text(row[other], names.get(other)) for other in kept)])
                empty += not content
                task.advance()
    except (OSError, ValueError) as error:
        raise _damaged(path, error) from None
    (folder / METADATA).write_text("".join(csv_lines([_FILE, *kept], rows, guarded=False)), encoding="utf-8")
    told = [f"{empty:,} rows in it have no picture: not used"] if empty else []
    return told + ([f"columns in it left out, which are no text: {some(left)}"] if left else [])


def _rows(file: Any, columns: list[str]) -> Iterator[dict[str, Any]]:
    for batch in file.iter_batches(batch_size=_AT_ONCE, columns=columns):
        yield from batch.to_pylist()


def _pyarrow(path: Path) -> Any:
    try:
        return import_module("pyarrow.parquet")
    except ImportError:
        raise DataError(
            f"{path} is a parquet, which is read by pyarrow: pip install 'bunryu[parquet]'. Or write it as a CSV (in "
            f"Python: pandas.read_parquet({str(path)!r}).to_csv(...)), or its pictures into class folders."
        ) from None


def _picture_column(schema: Any) -> str | None:
    """Return the column of pictures: bytes, or a struct of bytes and path as Hugging Face writes it."""
    for column in schema:
        kind = column.type
        inner = {kind.field(at).name for at in range(kind.num_fields)} if str(kind).startswith("struct") else set()
        if "bytes" in inner or str(kind) in ("binary", "large_binary"):
            return str(column.name)
    return None


def _other_columns(schema: Any) -> tuple[list[str], list[str]]:
    """Return the columns of text and numbers, and those of neither."""
    taken = _picture_column(schema)
    others = [column for column in schema if column.name not in (taken, _FILE)]
    flat = [str(column.name) for column in others if not column.type.num_fields and "binary" not in str(column.type)]
    return flat, [str(column.name) for column in others if str(column.name) not in flat]


def _class_names(metadata: Mapping[bytes, bytes]) -> dict[str, list[str]]:
    """Return the names of classes that Hugging Face numbers: column -> names in their order."""
    try:
        features = json.loads(metadata.get(b"huggingface", b"{}"))["info"]["features"]
        found = {name: one["names"] for name, one in features.items() if one.get("_type") == "ClassLabel"}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {name: list(map(str, names)) for name, names in found.items() if isinstance(names, list)}


def _text(value: Any, names: list[str] | None) -> str:
    if value is None or (names is not None and isinstance(value, int) and not 0 <= value < len(names)):
        return ""
    return names[value] if names is not None and isinstance(value, int) else str(value)


def _ending(content: bytes, picture: Any) -> str:
    """Return the ending of a picture: that of its path, else that of its content."""
    path = picture.get("path") if isinstance(picture, dict) else None
    ending = Path(str(path or "")).suffix.lower()
    if ending in IMAGE_SUFFIXES:
        return ending
    found = of_content(content[:HEAD_BYTES])
    return found.endings[0] if found else ".png" if content.startswith(b"\x89PNG") else ".jpg"


def _damaged(path: Path, error: Exception) -> DataError:
    return DataError(f"{path} cannot be read as parquet: {' '.join(str(error).split())[:200]}. Fetch it again.")
