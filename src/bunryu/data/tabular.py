"""CSV and TSV files, and DataFrames, become the table."""

from __future__ import annotations

import csv
import io
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bunryu.data.folders import SPLIT_FOLDERS
from bunryu.data.opening import IMAGE_SUFFIXES
from bunryu.data.settings import DataSettings
from bunryu.data.table import SPLITS
from bunryu.errors import ConfigError, DataError, nearest, some

TABLE_SUFFIXES = (".csv", ".tsv", ".txt")
_PATH_NAMES = (
    "path", "image_path", "img_path", "filepath", "file_path", "image", "img", "file", "filename", "file_name",
    "image_name", "img_name", "imageid", "image_id",
)  # fmt: skip
_LABEL_NAMES = (
    "label",
    "labels",
    "class",
    "class_name",
    "classname",
    "category",
    "target",
    "answer",
    "ans",
    "y",
)
_GROUP_NAMES = ("group", "group_id", "person", "person_id", "subject", "subject_id", "patient", "patient_id")
_SPLIT_NAMES = ("split", "subset")


@dataclass(frozen=True)
class Columns:
    """A table of text as it was read: named columns, and where each row stands."""

    where: str
    values: dict[str, list[str]]
    lines: Sequence[int]

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.lines)


@dataclass(frozen=True)
class Rows:
    """The columns by their meaning; `files` are absolute."""

    files: list[str]
    labels: list[str]
    label_column: str
    splits: list[str]
    groups: list[str] | None
    columns: dict[str, list[str]]
    published: dict[str, int] | None
    notes: list[str]


def read_csv(path: Path) -> Columns:
    """Read a CSV or TSV of text: UTF-8 with or without BOM, UTF-16 with BOM, or cp949; any line ends.

    Raises:
        DataError: missing, empty, of another encoding, with a column twice, or with a row of another length.
    """
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot open the table {path}: {error.strerror}.") from None
    text = _decode_text(raw, path)
    first = text.split("\n", 1)[0]
    delimiter = "\t" if path.suffix.lower() == ".tsv" else max(",;\t|", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    header = [name.strip() for name in next(reader, [])]
    if not any(header):
        raise DataError(f"The table {path} is empty. Expected a header line with a path and a label column.")
    twice = sorted({name for name in header if header.count(name) > 1})
    if twice:
        raise DataError(f"{path}, line 1: the column {twice[0]!r} stands twice. Rename one.")
    values: dict[str, list[str]] = {name: [] for name in header}
    lines: list[int] = []
    for row in reader:
        if not any(row):
            continue
        if len(row) != len(header):
            raise DataError(
                f"{path}, line {reader.line_num}: expected {len(header)} columns ({some(header)}), "
                f"received {len(row)}. A comma inside a value needs quotes around the value."
            )
        for name, cell in zip(header, row, strict=True):
            values[name].append(cell)
        lines.append(reader.line_num)
    if not lines:
        raise DataError(f"The table {path} has a header but no rows.")
    return Columns(str(path), values, lines)


def from_frame(frame: Any) -> Columns:
    """Read a pandas DataFrame as text; missing values become empty text."""
    values = {
        str(name): [
            "" if missing else str(value) for value, missing in zip(frame[name], frame[name].isna(), strict=True)
        ]
        for name in frame.columns
    }
    if not len(frame):
        raise DataError("The DataFrame has no rows.")
    return Columns("the DataFrame", values, range(len(frame)))


def interpret(columns: Columns, settings: DataSettings, base: Path, *, label: str | None = None) -> Rows:
    """Find out what each column means, and resolve the paths.

    Args:
        columns: the table as text.
        settings: the columns that the user named, and the image root.
        base: what relative paths are relative to, where `data.image_root` is not given.
        label: the label column of a model, to prefer over the known names.

    Raises:
        ConfigError: a named column is not there.
        DataError: a column cannot be found or told from another, a label is empty, or no file is where the
            paths point.
    """
    path_column = _path_column(columns, settings)
    label_column = _label_column(columns, settings, {path_column}, label)
    group_column = _named_or_known(columns, settings.group_column, _GROUP_NAMES, "data.group_column")
    group_column = None if group_column == label_column else group_column
    split_column = _named_or_known(columns, settings.split_column, _SPLIT_NAMES, "data.split_column")
    splits = _splits(columns, split_column, named=settings.split_column is not None)
    labels = [unicodedata.normalize("NFC", text) for text in columns.values[label_column]]
    _require_labels(columns, label_column, labels)
    used = {path_column, label_column}
    root = Path(settings.image_root) if settings.image_root else base
    if settings.image_root and not root.is_dir():
        raise DataError(f"data.image_root: there is no folder {root}.")
    files = [os.path.join(root.absolute(), text.replace("\\", "/") if os.sep == "/" else text)  # noqa: PTH118
             for text in columns.values[path_column]]  # fmt: skip
    _require_files(columns, path_column, files, root)
    named = [f"path={path_column!r}", f"label={label_column!r}"]
    if group_column:
        named.append(f"group={group_column!r}")
    if splits is not None:
        named.append(f"split={split_column!r}")
    return Rows(
        files=files,
        labels=labels,
        label_column=label_column,
        splits=splits or [""] * len(columns),
        groups=columns.values[group_column] if group_column else None,
        columns={name: cells for name, cells in columns.values.items() if name not in used},
        published=_published(columns, labels, used | {group_column or "", split_column or ""}),
        notes=[f"columns: {', '.join(named)}"],
    )


def image_column(columns: Columns, settings: DataSettings) -> list[str]:
    """Return the paths of a table that needs no labels (to predict)."""
    return columns.values[_path_column(columns, settings)]


def _decode_text(raw: bytes, path: Path) -> str:
    encodings = ("utf-16",) if raw[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp949")
    for encoding in encodings:
        try:
            return raw.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise DataError(f"{path} is neither UTF-8 nor cp949 text. Save it as UTF-8 (in Excel: CSV UTF-8).")


def _named(columns: Columns, name: str, key: str) -> str:
    if name not in columns.values:
        raise ConfigError(
            f"{key}: there is no column {name!r} in {columns.where}.{nearest(name, columns.values)} "
            f"Its columns: {some(columns.values, 12)}."
        )
    return name


def _named_or_known(columns: Columns, name: str | None, known: Sequence[str], key: str) -> str | None:
    if name is not None:
        return _named(columns, name, key)
    by_lower = {column.lower(): column for column in reversed(list(columns.values))}
    return next((by_lower[word] for word in known if word in by_lower), None)


def _path_column(columns: Columns, settings: DataSettings) -> str:
    found = _named_or_known(columns, settings.path_column, _PATH_NAMES, "data.path_column")
    if found is not None:
        return found
    for name, cells in columns.values.items():
        if all(os.path.splitext(cell)[1].lower() in IMAGE_SUFFIXES for cell in cells[:100]):  # noqa: PTH122
            return name
    raise DataError(
        f"Cannot tell which column of {columns.where} holds the image paths. Its columns: "
        f"{some(columns.values, 12)}. Name it: data.path_column=COLUMN"
    )


def _label_column(columns: Columns, settings: DataSettings, used: set[str], preferred: str | None) -> str:
    if settings.label_column is None and preferred in columns.values:
        return preferred
    found = _named_or_known(columns, settings.label_column, _LABEL_NAMES, "data.label_column")
    if found is not None and (found not in used or settings.label_column):
        return found
    side = set(_GROUP_NAMES + _SPLIT_NAMES) | {settings.group_column, settings.split_column}
    rest = [name for name in columns.values if name not in used and name.lower() not in side and name not in side]
    if len(rest) == 1:
        return rest[0]
    counts = some([f"{name} ({len(set(columns.values[name]))} different values)" for name in rest], 8)
    raise DataError(
        f"Cannot tell which column of {columns.where} holds the labels. "
        + (
            f"It could be: {counts}. Name it: data.label_column={rest[0]}"
            if rest
            else "There is none beside the paths."
        )
    )


def _splits(columns: Columns, name: str | None, *, named: bool) -> list[str] | None:
    if name is None:
        return None
    cells = columns.values[name]
    known = {"": "", **SPLIT_FOLDERS, "dev": "val"}
    unknown = sorted({cell for cell in cells if cell.strip().lower() not in known})
    if unknown and named:
        line = columns.lines[next(i for i, cell in enumerate(cells) if cell == unknown[0])]
        raise DataError(
            f"{columns.where}, line {line}: the split {unknown[0]!r} is not one of {some(SPLITS)} "
            "(or empty, to be decided)."
        )
    return None if unknown else [known[cell.strip().lower()] for cell in cells]


def _require_labels(columns: Columns, name: str, labels: list[str]) -> None:
    empty = [line for line, label in zip(columns.lines, labels, strict=True) if not label.strip()]
    if empty:
        raise DataError(
            f"{columns.where}: the label (column {name!r}) is empty in {len(empty)} rows, at line {some(empty)}. "
            "Fill them in, or remove those rows."
        )


def _require_files(columns: Columns, name: str, files: list[str], root: Path) -> None:
    """Stop where none of the first paths exist, and look for the folder that has them."""
    sample = files[:: max(1, len(files) // 50)]
    if any(os.path.exists(file) for file in sample):  # noqa: PTH110
        return
    first = columns.values[name][0]
    hint = " Name the folder the paths are relative to: data.image_root=FOLDER"
    for folder in sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []:
        if (folder / first).exists():
            hint = f" Did you mean data.image_root={folder}?"
            break
    raise DataError(f"None of the images in {columns.where} is where its path points, e.g. {root / first}.{hint}")


def _published(columns: Columns, labels: list[str], used: set[str]) -> dict[str, int] | None:
    """Return {class: whole number} of the first column that pairs one to one with the labels."""
    for name, cells in columns.values.items():
        if name in used or not all(cell.strip().isascii() and cell.strip().isdigit() for cell in cells):
            continue
        pairs: Mapping[str, int] = dict(zip(labels, map(int, cells), strict=True))
        consistent = all(pairs[label] == int(cell) for label, cell in zip(labels, cells, strict=True))
        if consistent and len(set(pairs.values())) == len(pairs) > 1:
            return dict(pairs)
    return None
