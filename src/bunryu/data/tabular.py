"""What the columns of a table mean: which has the paths, the labels, the groups, the splits."""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bunryu.data.columns import Columns, ends_like_an_image
from bunryu.data.folders import SPLIT_FOLDERS
from bunryu.data.settings import DataSettings
from bunryu.data.table import SPLITS
from bunryu.errors import ConfigError, DataError, nearest, some
from bunryu.storage import absolute

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
    paths = path_column(columns, settings)
    label_column = _label_column(columns, settings, {paths}, label)
    group_column = _group_column(columns, settings.group_column, label_column)
    taken = {"path", "split", "digest"} | ({"group"} if group_column else set())
    _require_own_name(columns, label_column, paths, taken)
    split_column = _named_or_known(columns, settings.split_column, _SPLIT_NAMES, "data.split_column")
    splits = _splits(columns, split_column, named=settings.split_column is not None)
    labels = [unicodedata.normalize("NFC", text) for text in columns.values[label_column]]
    _require_labels(columns, label_column, labels)
    used = {paths, label_column}
    root = image_folder(settings.image_root, base)
    files = [file_under(root, text) for text in columns.values[paths]]
    require_files(columns.where, columns.values[paths][0], files, root)
    named = [f"path={paths!r}", f"label={label_column!r}"]
    if group_column:
        off = "" if settings.group_column else "; data.group_column=none: not"
        named.append(f"group={group_column!r} (rows of one {group_column} stay on one side{off})")
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


def image_column(columns: Columns) -> list[str]:
    """Return the paths of a table that needs no labels (to predict)."""
    return columns.values[path_column(columns, DataSettings(), mend="Rename that column to path.")]


def image_folder(given: str | None, base: Path, *, key: str = "data.image_root") -> Path:
    """Return the absolute folder that a table's paths are relative to; `key` is what the user sets it with.

    Raises:
        DataError: the given one is not there.
    """
    root = Path(os.path.expanduser(given)) if given else base  # noqa: PTH111
    if given and not root.is_dir():
        near = nearest(root.name, _names(root.parent))
        raise DataError(f"{key}: there is no folder {root}.{near}")
    return absolute(root)


def file_under(root: Path, text: str) -> str:
    """Return the file that a table's path means; tables made on Windows have backslashes."""
    return os.path.join(root, text.replace("\\", "/") if os.sep == "/" else text)  # noqa: PTH118


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


def _group_column(columns: Columns, name: str | None, label_column: str) -> str | None:
    if name == "none" and name not in columns.values:
        return None
    found = _named_or_known(columns, name, _GROUP_NAMES, "data.group_column")
    return None if found == label_column else found


def path_column(columns: Columns, settings: DataSettings, *, mend: str = "Name it: data.path_column=COLUMN") -> str:
    """Return the column with the image paths: named, or known by its name or its cells."""
    found = _named_or_known(columns, settings.path_column, _PATH_NAMES, "data.path_column")
    if found is not None:
        return found
    for name, cells in columns.values.items():
        if all(map(ends_like_an_image, cells[:100])):
            return name
    raise DataError(
        f"Cannot tell which column of {columns.where} holds the image paths. Its columns: "
        f"{some(columns.values, 12)}. {mend}"
    )


def _label_column(columns: Columns, settings: DataSettings, used: set[str], preferred: str | None) -> str:
    if settings.label_column is None and preferred in columns.values:
        return preferred
    found = _named_or_known(columns, settings.label_column, _LABEL_NAMES, "data.label_column")
    if found is not None and settings.label_column:
        return found
    if found is not None and found not in used:
        return _names_of_numbers(columns, found, used)
    side = set(_GROUP_NAMES + _SPLIT_NAMES) | {settings.group_column, settings.split_column}
    rest = [name for name in columns.values if name and name not in used and not {name, name.lower()} & side]
    if len(rest) == 1:
        return rest[0]
    rest.sort(key=lambda name: not 1 < len(set(columns.values[name])) < len(columns))  # the likely ones first
    counts = some([f"{name} ({len(set(columns.values[name]))} different values)" for name in rest], 8)
    raise DataError(
        f"Cannot tell which column of {columns.where} holds the labels. "
        + (
            f"It could be: {counts}. Name it: data.label_column={rest[0]}"
            if rest
            else "There is none beside the paths."
        )
    )


def _names_of_numbers(columns: Columns, found: str, used: set[str]) -> str:
    """Return the column with the names of the classes, where `found` has only their numbers."""
    if not all(_is_count(cell) for cell in columns.values[found]):
        return found
    for name in columns.values:
        if name.lower() in _LABEL_NAMES and name not in {found, *used}:
            labels = columns.values[name]
            if not all(map(_is_count, labels)) and _published(columns, labels, {*columns.values} - {found}):
                return name
    return found


def _splits(columns: Columns, name: str | None, *, named: bool) -> list[str] | None:
    """Return the split of each row; None without such a column, or where it has none of the known words."""
    if name is None:
        return None
    cells = columns.values[name]
    known = {"": "", **SPLIT_FOLDERS, "dev": "val"}
    unknown = sorted({cell for cell in cells if cell.strip().lower() not in known})
    if unknown and (named or any(known.get(cell.strip().lower()) for cell in cells)):
        line = columns.lines[next(i for i, cell in enumerate(cells) if cell == unknown[0])]
        raise DataError(
            f"{columns.where}, {columns.unit} {line}: in column {name!r} the split {unknown[0]!r} is not one of "
            f"{some(SPLITS)} (or empty, to be decided).{nearest(unknown[0].lower(), SPLITS)}"
        )
    return None if unknown else [known[cell.strip().lower()] for cell in cells]


def _require_own_name(columns: Columns, label: str, paths: str, taken: set[str]) -> None:
    """Refuse a label column that is the paths, or that would stand twice in split.csv."""
    if label == paths:
        raise ConfigError(f"data.label_column={label} is the column of the image paths. Name another one.")
    if label in taken:
        raise DataError(
            f"{columns.where}: the label column cannot be called {label!r}, which is a column of its own in the run's "
            "split.csv. Rename it, such as to label."
        )


def _require_labels(columns: Columns, name: str, labels: list[str]) -> None:
    empty = [line for line, label in zip(columns.lines, labels, strict=True) if not label.strip()]
    if empty:
        raise DataError(
            f"{columns.where}: the label (column {name!r}) is empty in {len(empty)} of {len(labels)} rows, at "
            f"{columns.unit} {some(empty)}. Fill them in, or remove those rows."
        )


def require_files(where: str, first: str, files: list[str], root: Path, *, mend: str = "data.image_root={}") -> None:
    """Stop where none of a table's files exist, and look for the folder that has them.

    Args:
        where: the table.
        first: its first path, as it is written.
        files: the files that its paths mean.
        root: what the paths are relative to.
        mend: what to type, with the folder in place of ``{}``.
    """
    if any(os.path.exists(file) for file in files):  # noqa: PTH110
        return
    hint = _where_instead(root, first, mend) or f" Name the folder the paths are relative to: {mend.format('FOLDER')}"
    raise DataError(f"None of the images in {where} is where its path points, e.g. {root / first}.{hint}")


def _where_instead(root: Path, first: str, mend: str) -> str:
    """Look for a table's first image in the folders around."""
    near = [folder / name for folder in (root, root.parent) for name in _names(folder)]
    for folder in (root.parent, *(path for path in near if path.is_dir())):
        if os.path.isfile(file_under(folder, first)):  # noqa: PTH113
            return f" Did you mean {mend.format(folder)}?"
    for folder in (root, *(path for path in near if path.is_dir())):
        for suffix in (".jpg", ".jpeg", ".png"):
            if os.path.isfile(file_under(folder, first + suffix)):  # noqa: PTH113
                return f" There is {folder / first}{suffix}: write the ending {suffix} into the paths."
    return ""


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208


def _is_count(text: str) -> bool:
    return text.strip().isascii() and text.strip().isdigit()


def _published(columns: Columns, labels: list[str], used: set[str]) -> dict[str, int] | None:
    """Return {class: whole number} of the first column that pairs one to one with the labels."""
    for name, cells in columns.values.items():
        if name in used or not all(map(_is_count, cells)):
            continue
        pairs: Mapping[str, int] = dict(zip(labels, map(int, cells), strict=True))
        consistent = all(pairs[label] == int(cell) for label, cell in zip(labels, cells, strict=True))
        if consistent and len(set(pairs.values())) == len(pairs) > 1:
            return dict(pairs)
    return None
