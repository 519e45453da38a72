"""The folds of a cross-validation: which row validates in which run; decided once, kept in folds.csv."""

from __future__ import annotations

import csv
import dataclasses
from collections import defaultdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bunryu.core.csv_text import csv_lines
from bunryu.core.errors import ConfigError, DataError, count, nearest, some
from bunryu.core.same_text import as_number
from bunryu.core.storage import write_atomic
from bunryu.data.splits.assign import canonical_order, folds, stratum_column
from bunryu.data.table import Table, Texts
from bunryu.settings.data import SplitSettings


def assign_folds(table: Table, k: int, settings: SplitSettings, column: str | None = None) -> NDArray[np.int64]:
    """Return the fold (0 to k - 1) of each training row, -1 of the others; see `folds`.

    The result does not depend on the rows' order.

    Args:
        table: checked, test rows apart.
        k: how many folds.
        settings: what they are stratified by, and the seed.
        column: the column that says them, in place of these.

    Raises:
        ConfigError: `split.stratify` or `column` names no column, or one of more or fewer folds.
        DataError: as `folds`; of a column, rows without a fold, or a group in two.
    """
    if column is not None:
        return _given_folds(table, k, column)
    strata = stratum_column(table, settings)
    pool = table.split("train")
    pool = pool[canonical_order(table.take(pool))]
    own = table.take(pool)
    found = np.full(len(table), -1)
    learned = list(own.learned.values())
    found[pool] = folds(own.target_labels, k, settings.seed, own.groups, own.digests, strata[pool], learned)
    return found


def _given_folds(table: Table, k: int, column: str) -> NDArray[np.int64]:
    """Return the folds that a column says, in the order of its values."""
    if column not in table.columns:
        raise ConfigError(
            f"folds.column: there is no column {column!r}.{nearest(column, table.columns)} Columns: "
            f"{some(table.columns, 12)}."
        )
    pool = table.split("train")
    cells = [table.columns[column][row].strip() for row in pool]
    if missing := [table.paths[row] for row, cell in zip(pool, cells, strict=True) if not cell]:
        raise DataError(
            f"folds.column={column}: {count(len(missing), 'row has', 'rows have')} no fold: {some(missing)}."
        )
    if all(as_number(cell) is not None for cell in cells):
        cells = [as_number(cell) or cell for cell in cells]
    values = sorted(set(cells), key=_by_number)
    if len(values) != k:
        raise ConfigError(
            f"folds.column={column} has {count(len(values), 'different value')} ({some(values)}), and folds.k is {k}: "
            + (f"give --folds {len(values)}." if 1 < len(values) < len(cells) else "is it the column of folds?")
        )
    place = {value: fold for fold, value in enumerate(values)}
    found = np.full(len(table), -1)
    found[pool] = [place[cell] for cell in cells]
    _require_whole_groups(table, found, column)
    for labels in () if table.label_names else table.learned.values():
        _require_two_folds(labels, found, column)
    return found


def copies_apart(table: Table, fold_N: NDArray[np.int64]) -> int:
    """Return how many pictures are in two folds, byte for byte: folds that are made keep copies together."""
    if table.digests is None:
        return 0
    return sum(len(own) > 1 for own in _folds_of(table.digests, fold_N).values())


def _folds_of(values: Texts, fold_N: NDArray[np.int64]) -> dict[str, set[int]]:
    """Return the folds in which the rows of each value lie; rows in none do not count."""
    found: dict[str, set[int]] = defaultdict(set)
    for value, fold in zip(values.tolist(), fold_N.tolist(), strict=True):
        if fold >= 0:
            found[value].add(fold)
    return found


def _require_two_folds(labels: Texts, fold_N: NDArray[np.int64], column: str) -> None:
    """Refuse a class that is all in one fold: the run that is measured on it would not know it."""
    if alone := sorted(label for label, own in _folds_of(labels, fold_N).items() if len(own) == 1):
        raise DataError(
            f"folds.column={column}: all images of {some(map(repr, alone))} are in one fold, so that the run measured "
            "on them would not know the class. Leave it out to have folds made by label, or leave those images out."
        )


def _by_number(value: str) -> tuple[float, str]:
    return (float(value), "") if as_number(value) is not None else (float("inf"), value)


def _require_whole_groups(table: Table, fold_N: NDArray[np.int64], column: str) -> None:
    """Refuse folds that a group is in two of: each model would be measured on what it has learned from."""
    if table.groups is None:
        return
    if torn := sorted(group for group, own in _folds_of(table.groups, fold_N).items() if group and len(own) > 1):
        raise DataError(
            f"folds.column={column}: {count(len(torn), 'group is', 'groups are')} in more than one fold: "
            f"{some(map(repr, torn))}. Leave it out to have folds made by group, or set data.group_column=none if rows "
            "are independent."
        )


def without_validation(table: Table) -> Table:
    """Return the table with its validation rows given as training rows, to be divided into folds."""
    return dataclasses.replace(table, splits=np.where(table.splits == "val", "train", table.splits).astype(object))


def write_folds(file: Path, table: Table, fold_N: NDArray[np.int64]) -> None:
    """Write path and fold (counted from 1; empty for test) of every row as CSV, atomically."""
    numbers = ("" if fold < 0 else fold + 1 for fold in fold_N.tolist())
    lines = csv_lines(["path", "fold"], zip(table.paths, numbers, strict=True), end="\r\n", guarded=False)
    write_atomic(file, "".join(lines).encode("utf-8", "surrogateescape"))


def read_folds(file: Path, table: Table) -> NDArray[np.int64]:
    """Return the fold (from 0; -1 for none) of each row of a table, as `write_folds` wrote them.

    Raises:
        DataError: the file is missing, or of other rows.
    """
    try:
        with file.open(encoding="utf-8", errors="surrogateescape", newline="") as stream:
            rows = list(csv.reader(stream))[1:]
    except OSError as error:
        raise DataError(f"Cannot open the folds {file}: {error.strerror}.") from None
    paths = [row[0] for row in rows]
    if paths != table.paths.tolist():
        raise DataError(f"{file} is damaged: its rows are not those of {file.with_name('split.csv')}.")
    return np.array([int(row[1] or 0) - 1 for row in rows], np.int64)


def fold_table(table: Table, fold_N: NDArray[np.int64], fold: int) -> Table:
    """Return the table as the run of one fold has it: the fold validates, the other folds train."""
    return dataclasses.replace(table, splits=np.where(fold_N == fold, "val", table.splits).astype(object))
