"""What the columns of a table mean: which has the paths, the labels, the groups, the splits."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bunryu.core.errors import DataError, some
from bunryu.core.same_text import plain
from bunryu.data.multi_label import label_sets, set_columns
from bunryu.data.sources.csv_files import Columns, ends_like_an_image
from bunryu.data.sources.image_places import located_below
from bunryu.data.sources.label_columns import (
    GROUP_NAMES,
    SPLIT_NAMES,
    joint_labels,
    label_columns,
    named_or_known,
    number_column,
    numbered,
    require_classes,
    require_own_name,
)
from bunryu.data.sources.same_labels import one_spelling
from bunryu.data.sources.split_columns import passed_over, splits_told
from bunryu.data.sources.table_shapes import with_one_label
from bunryu.data.table import joined
from bunryu.settings.data import DataSettings

_PATH_NAMES = (
    "path", "image_path", "img_path", "filepath", "file_path", "image", "img", "file", "filename", "file_name",
    "image_name", "img_name", "imageid", "image_id",
)  # fmt: skip
_ID_NAMES = ("id", "id_code", "name", "photo", "photo_id", "picture", "isic_id", "uuid")
"""Of the path column, where no other is it: what names a picture often without its ending."""


@dataclass(frozen=True)
class Rows:
    """The columns by their meaning; `files` are absolute."""

    files: list[str]
    labels: dict[str, list[str]]
    """Label column -> a label a file; the first is the target, and joins the others where there are several."""
    splits: list[str]
    groups: list[str] | None
    columns: dict[str, list[str]]
    published: dict[str, dict[str, int]]
    """Label column -> {class: number}, where the source numbers its classes."""
    notes: list[str]
    label_names: tuple[str, ...] = ()
    """Of labels that can hold together: all of them; see `multi_label`."""


def interpret(
    columns: Columns, settings: DataSettings, base: Path, *, label: str | None = None, parts: Sequence[str] = ()
) -> Rows:
    """Find out what each column means, and resolve the paths.

    Args:
        columns: the table as text.
        settings: the columns that the user named, and the image root.
        base: what relative paths are relative to, where `data.image_root` is not given.
        label: the label column of a model, to prefer over the known names.
        parts: the columns that it joins, where it is a joint one.

    Raises:
        ConfigError: a named column is not there.
        DataError: a column cannot be found or told from another, a label is empty, or no file is where the
            paths point.
    """
    paths = path_column(columns, settings)
    columns = with_one_label(columns, settings, paths, label)
    together = settings.multi_label is not None
    chosen = (
        set_columns(columns, settings, label) if together else label_columns(columns, settings, {paths}, label, parts)
    )
    group_column = _group_column(columns, settings.group_column, chosen)
    taken = {"path", "split", "digest"} | ({"group"} if group_column else set())
    for name in chosen:
        require_own_name(columns, name, paths, taken)
    split_column = named_or_known(columns, settings.split_column, SPLIT_NAMES, "data.split_column")
    splits = splits_told(columns, split_column, named=settings.split_column is not None)
    used = {paths, *chosen}
    split_column = split_column if splits is not None else None
    named = used | {group_column or "", split_column or ""}
    asked = [settings.label_column, *(settings.label_columns or []), label, *parts]
    meant = _meaning(columns, settings, chosen, named, asked)
    located = located_below(columns.values[paths], settings.image_root, base, columns.where)
    told = _told(paths, chosen, group_column, split_column, settings)
    target = next(iter(meant.labels))
    numbers = meant.numbers.get(target)
    if numbers and (number := number_column(columns, meant.labels[target], numbers)):
        told.append(f"numbers={number!r} (of the classes, for submissions)")
    return Rows(
        files=located.files,
        labels=meant.labels,
        splits=splits or [""] * len(columns),
        groups=[plain(cell) for cell in columns.values[group_column]] if group_column else None,
        columns={name: cells for name, cells in columns.values.items() if name not in used},
        published=meant.numbers,
        notes=[
            f"columns: {', '.join(told)}",
            *columns.notes,
            *meant.told,
            *located.told,
            *passed_over(columns, named),
        ],
        label_names=meant.names,
    )


@dataclass(frozen=True)
class _Meaning:
    """What the label columns hold, one spelling a class."""

    labels: dict[str, list[str]]
    names: tuple[str, ...]
    numbers: dict[str, dict[str, int]]
    told: list[str]


def _meaning(
    columns: Columns, settings: DataSettings, chosen: Sequence[str], used: set[str], asked: Sequence[str | None]
) -> _Meaning:
    spelled = {name: one_spelling(name, columns.values[name]) for name in chosen}
    labels = {name: cells for name, (cells, _) in spelled.items()}
    if settings.multi_label is not None:
        labels, names = label_sets(columns, labels, settings.label_separator)
        return _Meaning(labels, names, {}, [])
    for name, cells in labels.items():
        require_classes(columns, name, cells, asked)
    numbers = numbered(columns, labels, used)
    if len(chosen) > 1:
        labels = {joined(chosen): joint_labels(columns, labels), **labels}
    return _Meaning(labels, (), numbers, [note for _, notes in spelled.values() for note in notes])


def concatenated(parts: Sequence[Rows]) -> Rows:
    """Return the rows of several sources, one below another."""
    if len(parts) == 1:
        return parts[0]
    first = parts[0]
    groups: list[str] | None = None
    if any(part.groups is not None for part in parts):  # rows of a part without groups belong to none
        groups = [group for part in parts for group in part.groups or [""] * len(part.files)]
    shared = [name for name in first.columns if all(name in part.columns for part in parts)]
    return Rows(
        files=[file for part in parts for file in part.files],
        labels=_one_below_another(parts),
        splits=["train" if i == 0 and not split else split for i, part in enumerate(parts) for split in part.splits],
        groups=groups,
        columns={name: [cell for part in parts for cell in part.columns[name]] for name in shared},
        published=first.published,
        notes=[note for part in parts for note in part.notes],
        label_names=_all_names(parts),
    )


def _all_names(parts: Sequence[Rows]) -> tuple[str, ...]:
    """Return the labels that can hold together of all parts; each part of a listing column may lack some."""
    first = parts[0].label_names
    every = {name for part in parts for name in part.label_names}
    return first if every == set(first) else tuple(sorted(every))


def _one_below_another(parts: Sequence[Rows]) -> dict[str, list[str]]:
    """Return the labels of all parts. One label column may be called differently in each; several may not."""
    first = parts[0].labels
    for part in parts:
        if len(first) != len(part.labels) or (len(first) > 1 and list(first) != list(part.labels)):
            raise DataError(
                f"The data to train on have the label columns {some(list(first), 8)}, others "
                f"{some(list(part.labels), 8)}. They have to be the same."
            )
    columns = zip(*(part.labels.values() for part in parts), strict=True)
    return {name: [label for cells in column for label in cells] for name, column in zip(first, columns, strict=True)}


def _told(paths: str, chosen: Sequence[str], group: str | None, split: str | None, settings: DataSettings) -> list[str]:
    """Say which column was taken for what."""
    named = [f"path={paths!r}"]
    named.append(f"label={chosen[0]!r}" if len(chosen) == 1 else f"labels={some(map(repr, chosen), 12)}")
    if group:
        off = "" if settings.group_column else "; data.group_column=none: not"
        named.append(f"group={group!r} (rows of one {group} stay on one side{off})")
    if split is not None:
        named.append(f"split={split!r}")
    return named


def image_column(columns: Columns) -> list[str]:
    """Return the paths of a table that needs no labels (to predict)."""
    return columns.values[path_column(columns, DataSettings(), mend="Rename that column to path.")]


def _group_column(columns: Columns, name: str | None, labels: Sequence[str]) -> str | None:
    if name == "none" and name not in columns.values:
        return None
    found = named_or_known(columns, name, GROUP_NAMES, "data.group_column")
    return None if found in labels else found


def path_column(columns: Columns, settings: DataSettings, *, mend: str = "Name it: data.path_column=COLUMN") -> str:
    """Return the column with the image paths: named, or known by its name or its cells."""
    found = named_or_known(columns, settings.path_column, _PATH_NAMES, "data.path_column")
    if found is not None:
        return found
    for name, cells in columns.values.items():
        if all(map(ends_like_an_image, cells[:100])):
            return name
    found = named_or_known(columns, None, _ID_NAMES, "data.path_column")
    if found is not None and len(set(columns.values[found])) == len(columns):
        return found
    raise DataError(
        f"Cannot tell which column of {columns.where} holds the image paths. Its columns: "
        f"{some(columns.values, 12)}. {mend}"
    )
