"""The folds of a cross-validation: which row validates in which run; decided once, kept in folds.csv."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bunryu.core.csv_text import csv_lines
from bunryu.core.errors import DataError
from bunryu.core.storage import write_atomic
from bunryu.data.splits.assign import canonical_order, folds, stratum_column
from bunryu.data.table import Table
from bunryu.settings.data import SplitSettings


def assign_folds(table: Table, k: int, settings: SplitSettings) -> NDArray[np.int64]:
    """Return the fold (0 to k - 1) of each training row, -1 of the others; see `folds`.

    The result does not depend on the rows' order.

    Raises:
        ConfigError: `split.stratify` names no column.
        DataError: as `folds`.
    """
    strata = stratum_column(table, settings)
    pool = table.split("train")
    pool = pool[canonical_order(table.take(pool))]
    own = table.take(pool)
    found = np.full(len(table), -1)
    learned = list(own.learned.values())
    found[pool] = folds(own.target_labels, k, settings.seed, own.groups, own.digests, strata[pool], learned)
    return found


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
