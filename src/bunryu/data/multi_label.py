"""Labels that can hold together: yes/no columns, or one column whose cells list labels, become one text a row.

The text names the labels that hold, joined by ``|``, in the labels' order; it is empty where none does. So a row keeps
one target, and splits, checks, split.csv and resuming know nothing new.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import ConfigError, DataError, some
from bunryu.data.sources.csv_files import Columns
from bunryu.data.sources.label_columns import named, require_labels
from bunryu.data.table import Table, Texts
from bunryu.settings.data import DataSettings

JOIN = "|"
"""Between the labels that hold for one row."""
TARGET = "labels"
"""What the column is called that yes/no columns become."""
YES = ("1", "1.0", "true", "yes", "y")
NO = ("0", "0.0", "-1", "-1.0", "false", "no", "n")


def set_columns(columns: Columns, settings: DataSettings, label: str | None) -> list[str]:
    """Return the yes/no columns, or the one column whose cells list labels: named, or `label`, that of a model.

    Raises:
        ConfigError: a column that is not there.
    """
    if label is not None and label in columns.values:
        return [label]
    return [named(columns, name, "data.multi_label") for name in settings.multi_label or []]


def label_sets(
    columns: Columns, cells: Mapping[str, Sequence[str]], separator: str | None
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return the target column with the text of each row, and all labels in order.

    Args:
        columns: the table, for messages.
        cells: of `set_columns`, NFC.
        separator: of a listing column; ``|`` when None.

    Raises:
        DataError: a cell that is neither yes nor no, or a label with ``|`` in it.
        ConfigError: one column of yes and no, which is an ordinary one.
    """
    if len(cells) == 1:
        return _listed(columns, *next(iter(cells.items())), separator or JOIN)
    names = tuple(unicodedata.normalize("NFC", name) for name in cells)
    _require_plain(columns, names)
    held_LN = [_answers(columns, name, own) for name, own in cells.items()]
    rows = zip(*held_LN, strict=True)
    return {TARGET: [joined_set(names, row) for row in rows]}, names


def joined_set(names: Sequence[str], held: Sequence[bool] | NDArray[np.bool_]) -> str:
    """Return the text of a row for which these labels hold."""
    return JOIN.join(name for name, holds in zip(names, held, strict=True) if holds)


def held_labels(cells: Texts | Sequence[str], names: Sequence[str]) -> NDArray[np.bool_]:
    """Return which labels hold for each row, shape (N, L).

    Args:
        cells: a text a row, as `label_sets` made it; its labels are among `names`.
        names: in the order wanted.
    """
    place = {name: k for k, name in enumerate(names)}
    held_NL = np.zeros((len(cells), len(names)), bool)
    for row, text in enumerate(cells):
        held_NL[row, [place[name] for name in text.split(JOIN) if name]] = True
    return held_NL


def names_in_rows(table: Table) -> list[list[str]]:
    """Return the class of each row as a list; of labels that can hold together those that hold, which may be none."""
    if not table.label_names:
        return [[text] for text in table.target_labels]
    return [[name for name in text.split(JOIN) if name] for text in table.target_labels]


def absent_labels(names: Sequence[str], held_NL: NDArray[np.bool_]) -> list[str]:
    """Return the labels that hold for none of these rows."""
    return [name for name, rows in zip(names, held_NL.sum(axis=0).tolist(), strict=True) if not rows]


def check_labels(table: Table) -> None:
    """Refuse labels that cannot be learned.

    Raises:
        DataError: fewer than two labels, one without a training row with it (or without it).
    """
    names = table.label_names
    if len(names) < 2:
        raise DataError(
            f"data.multi_label: there is {f'only the label {names[0]!r}' if names else 'no label'} in column "
            f"{table.target!r}. Labels that hold together are two or more; for one, data.label_column names a column "
            "of two classes."
        )
    held_NL = held_labels(table.target_labels, names)
    learned = np.isin(table.splits.astype(str), ["", "train"])
    never, always = absent_labels(names, held_NL[learned]), absent_labels(names, ~held_NL[learned])
    for found, image, other in ((never, "no image", "with"), (always, "every image", "without")):
        if found:
            raise DataError(
                f"Label {some(map(repr, found), 8)} holds for {image} to train on, so there is nothing to learn. Leave "
                f"it out of data.multi_label, or give images {other} it."
            )


def lacking_labels(table: Table, split: str) -> list[str]:
    """Say which labels hold for no row of a split; see `classes.lacking`."""
    rows = table.split(split)
    absent = absent_labels(table.label_names, held_labels(table.target_labels[rows], table.label_names))
    return [f"{split} has no image with the label {some(absent, 8)}"] if len(rows) and absent else []


def _listed(
    columns: Columns, name: str, cells: Sequence[str], separator: str
) -> tuple[dict[str, list[str]], tuple[str, ...]]:
    """Return what `label_sets` does, of one column whose cells list labels."""
    words = {cell.strip().lower() for cell in cells}
    if words <= {*YES, *NO}:
        raise ConfigError(
            f"data.multi_label: {name!r} of {columns.where} is one column of yes and no, which is an ordinary column "
            f"of two classes: data.label_column={name} in place of it. To learn several, name them all: "
            f"data.multi_label=[{name}, ...]"
        )
    held = [{part.strip() for part in cell.split(separator)} - {""} for cell in cells]
    names = tuple(sorted(set().union(*held)))
    _require_plain(columns, names)
    return {name: [JOIN.join(sorted(labels)) for labels in held]}, names


def _answers(columns: Columns, name: str, cells: Sequence[str]) -> list[bool]:
    """Return whether the label of a yes/no column holds for each row."""
    require_labels(columns, name, list(cells))
    words = [cell.strip().lower() for cell in cells]
    for cell, word, line in zip(cells, words, columns.lines, strict=True):
        if word not in YES and word not in NO:
            raise DataError(
                f"{columns.where}, {columns.unit} {line}: in the label column {name!r} expected yes or no (1 or "
                f"0, true or false), received {cell!r}. A column with more classes is learned by data.label_columns."
            )
    no = {word.removesuffix(".0") for word in words} & {"0", "-1"}
    if len(no) == 2:
        raise DataError(
            f"{columns.where}: the label column {name!r} has both 0 and -1. Where -1 means not known, leave those rows "
            "out; where both mean no, write 0."
        )
    return [word in YES for word in words]


def _require_plain(columns: Columns, names: Sequence[str]) -> None:
    """Refuse labels that could not be told apart once they are joined."""
    wrong = next((name for name in names if JOIN in name or not name.strip()), None)
    if wrong is not None:
        raise DataError(
            f"{columns.where}: the label {wrong!r} cannot be joined to others by {JOIN}. Rename it"
            + ("." if not wrong.strip() else ", or say what stands between labels: data.label_separator=...")
        )
