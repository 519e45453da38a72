"""Which columns of a table are the labels: one, or several that make a joint one; and the numbers of their classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import product

from bunryu.core.errors import ConfigError, DataError, nearest, some, typed
from bunryu.core.same_text import as_number
from bunryu.data.sources.csv_files import Columns
from bunryu.data.table import joined
from bunryu.settings.data import DataSettings

LABEL_NAMES = (
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
_MANY_VALUES = 10
"""Different numbers, most of them fractions, from which on a column looks like a measurement."""
GROUP_NAMES = ("group", "group_id", "person", "person_id", "subject", "subject_id", "patient", "patient_id")
SPLIT_NAMES = ("split", "subset", "set", "partition", "phase", "usage", "is_valid", "is_val", "is_test")


def named(columns: Columns, name: str, key: str) -> str:
    """Return a column that the user named with the setting `key`.

    Raises:
        ConfigError: it is not there.
    """
    if name not in columns.values:
        raise ConfigError(
            f"{key}: there is no column {name!r} in {columns.where}.{nearest(name, columns.values)} "
            f"Its columns: {some(columns.values, 12)}."
        )
    return name


def named_or_known(columns: Columns, name: str | None, known: Sequence[str], key: str) -> str | None:
    """Return the column that the user named, or else the first that is called by a known word."""
    if name is not None:
        return named(columns, name, key)
    by_lower = {column.lower(): column for column in reversed(list(columns.values))}
    return next((by_lower[word] for word in known if word in by_lower), None)


def label_columns(
    columns: Columns, settings: DataSettings, used: set[str], label: str | None, parts: Sequence[str]
) -> list[str]:
    """Return the label columns: those named, those of the model, those that the source defines, or the one found."""
    if settings.label_columns is not None:
        return [named(columns, name, "data.label_columns") for name in settings.label_columns]
    if settings.label_column is None and label not in columns.values:
        known = set(columns.values)
        if parts and known.issuperset(parts):
            return list(parts)
        if columns.published:
            return list(columns.published)
    return [_label_column(columns, settings, used, label)]


def _label_column(columns: Columns, settings: DataSettings, used: set[str], preferred: str | None) -> str:
    if settings.label_column is None and preferred in columns.values:
        return preferred
    found = named_or_known(columns, settings.label_column, LABEL_NAMES, "data.label_column")
    if found is not None and settings.label_column:
        return found
    if found is not None and found not in used:
        return _names_of_numbers(columns, found, used)
    side = set(GROUP_NAMES + SPLIT_NAMES) | {settings.group_column, settings.split_column}
    rest = [name for name in columns.values if name and name not in used and not {name, name.lower()} & side]
    if len(rest) == 1:
        return rest[0]
    rest.sort(key=lambda name: not 1 < len(set(columns.values[name])) < len(columns))  # the likely ones first
    counts = some([f"{name} ({len(set(columns.values[name]))})" for name in rest], 8)
    raise DataError(
        f"Cannot tell which column of {columns.where} holds the labels. "
        + (
            f"It could be (each with its number of different values): {counts}. Name it: data.label_column={rest[0]}"
            if rest
            else "There is none beside the paths."
        )
    )


def _names_of_numbers(columns: Columns, found: str, used: set[str]) -> str:
    """Return the column with the names of the classes, where `found` has only their numbers."""
    if not all(_is_count(cell) for cell in columns.values[found]):
        return found
    for name in columns.values:
        if name.lower() in LABEL_NAMES and name not in {found, *used}:
            labels = columns.values[name]
            if not all(map(_is_count, labels)) and _published(columns, labels, {*columns.values} - {found}):
                return name
    return found


def require_own_name(columns: Columns, label: str, paths: str, taken: set[str]) -> None:
    """Refuse a label column that is the paths, or that would stand twice in split.csv."""
    if label == paths:
        raise ConfigError(f"data.label_column={label} is the column of the image paths. Name another one.")
    if label in taken:
        raise DataError(
            f"{columns.where}: the label column cannot be called {label!r}, which is a column of its own in the run's "
            "split.csv. Rename it, such as to label."
        )


def require_labels(columns: Columns, name: str, labels: list[str]) -> None:
    """Refuse empty labels.

    Raises:
        DataError: saying where they are.
    """
    empty = [line for line, label in zip(columns.lines, labels, strict=True) if not label.strip()]
    if empty:
        raise DataError(
            f"{columns.where}: the label (column {name!r}) is empty in {len(empty)} of {len(labels)} rows, at "
            f"{columns.unit} {some(empty)}. Fill them in, or remove those rows."
            + (f" Cells that list labels are learned by data.multi_label={name}." if "|" in "".join(labels) else "")
        )


def require_classes(columns: Columns, name: str, labels: list[str], named: Sequence[str | None]) -> None:
    """Refuse empty labels, and a column that looks like a measurement, unless it was named.

    Raises:
        DataError: saying where, or how to go on.
    """
    require_labels(columns, name, labels)
    values = {label: as_number(label) for label in set(labels)}
    fractions = sum(number is not None and "." in number for number in values.values())
    many = len(values) >= _MANY_VALUES or len(values) * 2 > len(labels)
    if name in named or None in values.values() or fractions * 2 < len(values) or not many:
        return
    raise DataError(
        f"{columns.where}: the column {name!r} has {len(values):,} different numbers in {len(labels):,} rows, such as "
        f"{some(sorted(values), 3)}, so it looks like a measurement, and a classifier needs classes. Write a column "
        "with a class for each range of values (low, high), and name it: data.label_column=COLUMN. If each number is "
        f"a class of its own: {typed('data.label_column=' + name)}"
    )


def joint_labels(columns: Columns, labels: Mapping[str, Sequence[str]]) -> list[str]:
    """Return the joint label of each row; refuse values that would make two classes one."""
    found: dict[str, tuple[str, ...]] = {}
    rows = list(zip(*labels.values(), strict=True))
    for values, line in zip(rows, columns.lines, strict=True):
        other = found.setdefault(joined(values), values)
        if other != values:
            raise DataError(
                f"{columns.where}, {columns.unit} {line}: {values} and {other} would both be {joined(values)!r}. "
                "Write the values of these columns without +."
            )
    return [joined(values) for values in rows]


def numbered(columns: Columns, labels: dict[str, list[str]], used: set[str]) -> dict[str, dict[str, int]]:
    """Return the numbers of the classes of each label column, and of the joint one, where the source has them.

    Where the source defines the numbers of all parts, the joint number counts through them: mask * 6 + gender * 3 +
    age for three, two and three classes.
    """
    found: dict[str, dict[str, int] | None] = {
        name: dict(columns.published[name]) if name in columns.published else _published(columns, cells, used)
        for name, cells in labels.items()
    }
    numbers: dict[str, int] | None
    if len(labels) > 1:
        if all(name in columns.published for name in labels):
            ordered = [sorted(columns.published[name], key=columns.published[name].__getitem__) for name in labels]
            numbers = {joined(values): number for number, values in enumerate(product(*ordered))}
        else:
            numbers = _published(columns, joint_labels(columns, labels), used)
        found = {joined(list(labels)): numbers, **found}
    return {name: numbers for name, numbers in found.items() if numbers}


def number_column(columns: Columns, labels: Sequence[str], numbers: Mapping[str, int]) -> str | None:
    """Return the column that holds the number of each row's class."""
    for name, cells in columns.values.items():
        if all(map(_is_count, cells)) and [int(cell) for cell in cells] == [numbers[label] for label in labels]:
            return name
    return None


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
