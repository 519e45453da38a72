"""The columns of a table that divide its rows: which is the split, and which look like one but are not used."""

from __future__ import annotations

import re
from collections.abc import Sequence

from bunryu.core.errors import DataError, nearest, some, typed
from bunryu.data.multi_label import NO, YES
from bunryu.data.sources.csv_files import Columns
from bunryu.data.sources.split_words import PREDICT, split_of
from bunryu.data.table import SPLITS

_LIKE_GROUPS = re.compile(
    r"patient|person|subject|video|clip|site|hospital|scan|slide|session|series|donor|lesion|camera|user|owner", re.I
)
"""Names of columns that often say which pictures are not independent."""
_LIKE_SPLITS = re.compile(r"(?:^|[\W_])(?:split|subset|partition|phase|usage)s?$", re.I)
_MOST_PARTS = 20
"""Values of a column called fold or partition, up to which each may be a part of the rows."""
_OTHERS = {"train": "test", "val": "train", "test": "train"}
"""Split of the rows with no, by that of the rows with yes. Those that are not to learn from may be either of val and
test; as test they choose nothing, so that their figures are honest."""


def splits_told(columns: Columns, name: str | None, *, named: bool) -> list[str] | None:
    """Return the split of each row; None without such a column, or where it has none of the known words."""
    if name is None:
        return None
    cells = columns.values[name]
    known = {cell: "" if not cell.strip() else split_of(cell) for cell in set(cells)}
    if yes := _split_of_yes(name, cells):
        known = {cell: yes if cell.strip().casefold() in YES else _OTHERS[yes] for cell in known}
    unknown = sorted(cell for cell, split in known.items() if split is None or split == PREDICT)
    if unknown and (named or any(known.values())):
        line = columns.lines[next(i for i, cell in enumerate(cells) if cell == unknown[0])]
        raise DataError(
            f"{columns.where}, {columns.unit} {line}: in column {name!r} the split {unknown[0]!r} is not one of "
            f"{some(SPLITS)} (or empty, to be decided).{nearest(unknown[0].lower(), SPLITS)}"
        )
    return None if unknown else [str(known[cell]) for cell in cells]


def _split_of_yes(name: str, cells: Sequence[str]) -> str | None:
    """Return the split of the rows with yes in a column of yes and no, as is_valid of fastai; None for others."""
    split = split_of(re.sub(r"^is(?=[\W_A-Z])", "", name))
    words = {cell.strip().casefold() for cell in cells}
    return split if split in _OTHERS and len(words) > 1 and words <= {*YES, *NO} else None


def passed_over(columns: Columns, used: set[str]) -> list[str]:
    """Name the unused columns that look like a split or groups of the user's own."""
    unused = {name: cells for name, cells in columns.values.items() if name not in used}
    flags = {name: split for name, cells in unused.items() if (split := _split_of_yes(name, cells))}
    notes = []
    if len(flags) > 1:
        notes.append(
            f"columns {some(map(repr, flags))} look like a split and are not used: one column of train, val and test "
            "in their place would be"
        )
        unused = {name: cells for name, cells in unused.items() if name not in flags}
    for name, cells in unused.items():
        splits = {split_of(cell) for cell in set(cells)}
        words = {cell.strip() for cell in cells}
        if name in flags:
            notes.append(
                f"column {name!r} looks like a split and is not used: data.split_column={typed(name)} uses it "
                f"(yes is {flags[name]}, no is {_OTHERS[flags[name]]})"
            )
        elif "train" in splits and None not in splits and len(splits) > 1:
            notes.append(f"column {name!r} looks like a split and is not used: data.split_column={typed(name)} uses it")
        elif "fold" in name.lower():
            told = f"--folds {len(words)} folds.column={typed(name)} validates on each of its folds"
            if not 2 <= len(words) <= _MOST_PARTS:
                told = f"with --folds, data.group_column={typed(name)} keeps its folds whole"
            notes.append(f"column {name!r} is not used: {told}")
        elif _LIKE_SPLITS.search(name) and 2 <= len(words) <= _MOST_PARTS:
            notes.append(
                f"column {name!r} is called like a split and is not used: {some(sorted(words), 4)} are not train, val "
                "and test; with these words in their place it would be"
            )
        elif _LIKE_GROUPS.search(name) and 1 < len(set(cells)) < len(cells):
            notes.append(
                f"column {name!r} says which rows belong together? data.group_column={typed(name)} keeps them on one "
                "side of the split"
            )
    return notes
