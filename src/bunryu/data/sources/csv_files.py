"""Tables as they were read: a CSV, a TSV or a DataFrame becomes named columns of text."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bunryu.core.errors import DataError, count, some
from bunryu.core.storage import require_regular
from bunryu.data.images.formats import IMAGE_SUFFIXES

if TYPE_CHECKING:
    from _csv import Reader

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")


@dataclass(frozen=True)
class Columns:
    """A table of text as it was read: named columns, and where each row stands."""

    where: str
    values: dict[str, list[str]]
    lines: Sequence[int]
    unit: str = "line"
    published: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Label column -> {class: number}, where the source defines both; its labels when none are named."""
    notes: tuple[str, ...] = ()
    """What of it was passed over, in sentences."""

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lines)


def read_csv(path: Path) -> Columns:
    """Read a CSV or TSV of text: UTF-8 with or without BOM, UTF-16 with BOM, or cp949; any line ends.

    Raises:
        DataError: missing, empty, of another encoding, without a header, with a column twice, or with a row of
            another length.
    """
    text = table_text(path)
    first = text.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=first.count)
    if delimiter not in first and _is_spaced_list(text):  # "path label" a line, as ImageNet's lists are
        delimiter = " "
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    try:
        return _columns(reader, path)
    except csv.Error as error:
        raise DataError(
            f'{path}, line {reader.line_num}: {error}. Is there a quote (") that is opened and never closed?'
        ) from None


def _is_spaced_list(text: str) -> bool:
    """Return whether every line is the path of an image and a word, or a name and whole numbers, spaces between."""
    parts = [line.split(" ") for line in text.splitlines() if line.strip()]
    same = len({len(part) for part in parts}) == 1 and len(parts[0]) > 1
    return same and all(
        (len(part) == 2 and ends_like_an_image(part[0])) or all(map(_is_whole, part[1:])) for part in parts
    )


def _is_whole(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _columns(reader: Reader, path: Path) -> Columns:
    header = [name.strip() for name in next(reader, [])]
    rows: Iterator[list[str]] = reader
    headless = _names_of_a_row(header, path)
    if headless:
        rows, header = chain([header], reader), headless
    _require_header(header, path)
    cells: list[list[str]] = [[] for _ in header]
    lines: list[int] = []
    for row in rows:
        if not any(cell.strip() for cell in row):
            continue
        if not any(cell.strip() for cell in row[len(header) :]):
            row = row[: len(header)]  # Excel fills rows up with empty cells
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {reader.line_num}: expected {count(len(header), 'column')} ({some(header)}), "
                f"received {len(row)}. A comma inside a value needs quotes around the value."
            )
        for column, cell in zip(cells, row, strict=True):
            column.append(cell)
        lines.append(reader.line_num)
    if not lines:
        raise DataError(f"The table {path} has a header but no rows.")
    found = _named(header, cells, lines, path)
    if not headless:
        return found
    if len(headless) == 1:
        return _labelled_by_folder(found)
    note = "no header line: the first column read as path, the second as label"
    return dataclasses.replace(found, notes=(*found.notes, note))


def _names_of_a_row(header: Sequence[str], path: Path) -> list[str]:
    """Return what the columns are called of a list whose first line is a row already; none where that names them."""
    if not header:
        return []
    listed = path.suffix.lower() == ".txt"
    if len(header) == 1:
        return ["path"] if "/" in header[0] and (listed or ends_like_an_image(header[0])) else []
    numbers = listed and all(map(_is_whole, header[1:]))
    if not numbers and not (len(header) == 2 and ends_like_an_image(header[0]) and not ends_like_an_image(header[1])):
        return []
    return ["path", "label", *(f"column {at}" for at in range(3, len(header) + 1))]


def _labelled_by_folder(columns: Columns) -> Columns:
    """Return a list of paths alone with the folder of each as its label, as Food-101's train.txt has them."""
    paths = columns.values["path"]
    parts = [cell.strip().replace("\\", "/").split("/") for cell in paths]
    for line, names in zip(columns.lines, parts, strict=True):
        if len(names) < 2:
            raise DataError(
                f"{columns.where}, line {line}: {names[0]!r} has no folder that could be its label, as the first line "
                "has. Write path,label a line."
            )
    note = "no header line: each line read as a path, the folder in it as the label"
    values = {"path": paths, "label": [names[-2] for names in parts]}
    return dataclasses.replace(columns, values=values, notes=(*columns.notes, note))


def _named(header: list[str], cells: list[list[str]], lines: list[int], path: Path) -> Columns:
    """Return the columns by name; one without a name is passed over where all its cells are empty."""
    named = [(name, column) for name, column in zip(header, cells, strict=True) if name or any(map(str.strip, column))]
    if sum(not name for name, _ in named) > 1:
        raise DataError(f"{path}, line 1: several columns with cells have no name. Give each one.")
    over = len(header) - len(named)
    notes = (f"{count(over, 'column')} without a name or a cell passed over",) if over else ()
    return Columns(str(path), dict(named), lines, notes=notes)


def _require_header(header: list[str], path: Path) -> None:
    if not any(header):
        raise DataError(f"The table {path} is empty. Expected a header line with a path and a label column.")
    twice = sorted({name for name in header if name and header.count(name) > 1})
    if twice:
        raise DataError(f"{path}, line 1: the column {twice[0]!r} stands twice. Rename one.")
    first = next((name for name in header if ends_like_an_image(name)), None)
    if first:
        raise DataError(
            f"{path}, line 1: expected the names of the columns, received a row ({first!r} is an image). "
            "Put a header line above it, such as path,label."
        )


def require_frame(frame: Any) -> None:
    """Refuse what is no DataFrame.

    Raises:
        DataError: naming what it is.
    """
    if not hasattr(frame, "columns") or not hasattr(frame, "isna"):
        raise DataError(
            "Expected a folder, a CSV or TSV, or a pandas DataFrame with a path and a label column; "
            f"received {type(frame).__name__}."
        )


def from_frame(frame: Any) -> Columns:
    """Read a pandas DataFrame as text; missing values become empty text.

    Raises:
        DataError: no DataFrame, no rows, or a column twice.
    """
    require_frame(frame)
    names = [str(name) for name in frame.columns]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise DataError(f"The DataFrame has the column {twice[0]!r} twice. Rename one.")
    values = {
        str(name): [
            "" if missing else str(value) for value, missing in zip(frame[name], frame[name].isna(), strict=True)
        ]
        for name in frame.columns
    }
    if not len(frame):
        raise DataError("The DataFrame has no rows.")
    return Columns("the DataFrame", values, range(len(frame)), "row")


def table_text(path: Path) -> str:
    """Return the text of a table: UTF-8 with or without BOM, UTF-16 with BOM, or cp949.

    Raises:
        DataError: it is missing, no regular file, or of another encoding.
    """
    try:
        require_regular(path)
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot open the table {path}: {error.strerror}.") from None
    encodings = ("utf-16",) if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp949")
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path} is neither UTF-8 nor cp949 text. Save it as UTF-8 (in Excel: CSV UTF-8).")


def ends_like_an_image(text: str) -> bool:
    """Return whether `text` is named like an image."""
    return os.path.splitext(text)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - a million cells
