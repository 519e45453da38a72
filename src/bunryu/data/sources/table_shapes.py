"""Tables that say the class in another way than a column of names: a column of 0 and 1 for each class."""

from __future__ import annotations

import dataclasses

from bunryu.core.errors import some
from bunryu.data.sources.csv_files import Columns
from bunryu.data.sources.label_columns import GROUP_NAMES, LABEL_NAMES, SPLIT_NAMES
from bunryu.settings.data import DataSettings

ONE_HOT = "label"
"""What the column of class names is called that exclusive columns become."""
_YES, _NO = ("1", "1.0"), ("0", "0.0")
_ID_NAMES = ("id", "index", "")


def with_one_label(columns: Columns, settings: DataSettings, paths: str, label: str | None = None) -> Columns:
    """Return the table with exclusive one-hot columns (exactly one 1 a row) as one label column.

    It is left as it is where the label columns are named, or known by their name; where a row has no 1 or several, its
    columns are labels that can hold together, which the user asks for by `data.multi_label`.
    """
    given = (settings.label_column, settings.label_columns, settings.multi_label)
    if any(value is not None for value in given) or columns.published:
        return columns
    if any(name.lower() in LABEL_NAMES or name == label for name in columns.values if name != paths):
        return columns
    side = {*GROUP_NAMES, *SPLIT_NAMES, *_ID_NAMES, settings.group_column, settings.split_column}
    exclusive = [
        name
        for name, cells in columns.values.items()
        if name != paths and not {name, name.lower()} & side and {cell.strip() for cell in cells} <= {*_YES, *_NO}
    ]
    if len(exclusive) < 2:
        return columns
    marked = [
        [name for name, cell in zip(exclusive, row, strict=True) if cell.strip() in _YES]
        for row in zip(*(columns.values[name] for name in exclusive), strict=True)
    ]
    if any(len(names) != 1 for names in marked):
        return columns
    values = {name: cells for name, cells in columns.values.items() if name not in exclusive}
    note = f"{len(exclusive)} one-hot columns, exactly one of them 1 in each row, read as one label: {some(exclusive)}"
    values[ONE_HOT] = [names[0] for names in marked]
    return dataclasses.replace(columns, values=values, notes=(*columns.notes, note))
