"""split.csv: which image went where, as a run wrote it, and as a later one takes it."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING

from bunryu.core.csv_text import csv_lines
from bunryu.core.errors import DataError, count, nearest, some
from bunryu.core.storage import require_regular, write_atomic
from bunryu.data.sources.archives import archives_of
from bunryu.data.sources.csv_files import Columns
from bunryu.data.splits.assign import require_groups_apart
from bunryu.data.table import DRO_GROUP, SPLITS, Table, nfc, texts

if TYPE_CHECKING:
    from _csv import Reader


def write_split(file: Path, table: Table) -> None:
    """Write path, labels, group, split and digest of every row as CSV, atomically."""
    columns = table.named_columns()
    lines = csv_lines(columns, zip(*columns.values(), strict=True), end="\r\n", guarded=False)
    write_atomic(file, "".join(lines).encode("utf-8", "surrogateescape"))


def read_split(file: Path, table: Table) -> Table:
    """Return the table with the splits of a split.csv that was written earlier, found by path.

    Raises:
        DataError: no such file, no split.csv, or other rows in it than in the table.
    """
    rows = _read_columns(file)
    given: dict[str, str] = {}
    for path, split, line in zip(rows.values["path"], rows.values["split"], rows.lines, strict=True):
        if given.setdefault(nfc(path), split) != split:
            raise DataError(f"{file}, line {line}: '{path}' is in two splits. Remove one of its rows.")
    _require_same_rows(file, set(given), table)
    splits = texts([given[nfc(path)] for path in table.paths])
    found = dataclasses.replace(table, splits=splits)
    require_groups_apart(found)
    return found


def read_run_rows(file: Path, root: Path, label: str) -> Table:
    """Return the rows of a run as its split.csv has them, in their order, without looking at the data again.

    Args:
        file: the run's split.csv.
        root: the folder or archive that its paths are relative to.
        label: the label column.

    Raises:
        DataError: the file is missing or damaged, or an archive cannot be unpacked.
    """
    cells = _read_columns(file).values
    if label not in cells:
        raise DataError(f"{file} is damaged: expected the columns path, {label} and split, received {some(cells)}.")
    return Table(
        root=root,
        paths=texts(cells["path"]),
        labels={label: texts(cells[label])},
        splits=texts(cells["split"]),
        groups=texts(cells["group"]) if "group" in cells and label != "group" else None,
        digests=texts(cells["digest"]) if "digest" in cells else None,
        dro_groups=texts(cells[DRO_GROUP]) if DRO_GROUP in cells and label != DRO_GROUP else None,
        unpacked=archives_of(root, cells["path"]),
    )


def read_digests(file: Path) -> dict[str, set[str]]:
    """Return the hashes of the images of each split of a run's split.csv; none where it has no such column.

    Raises:
        DataError: the file is missing or damaged.
    """
    cells = _read_columns(file).values
    found: dict[str, set[str]] = {name: set() for name in SPLITS}
    for split, digest in zip(cells["split"], cells.get("digest", []), strict=False):
        found[split].add(digest)
    return found


def _read_columns(file: Path) -> Columns:
    """Read a split.csv: its columns as text, every row with a known split."""
    try:
        require_regular(file)
        with file.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as stream:
            return _columns(csv.reader(stream), file)
    except OSError as error:
        raise DataError(f"Cannot open the split {file}: {error.strerror}.") from None
    except csv.Error as error:
        raise DataError(f"{file} is damaged: {error}.") from None


def _columns(reader: Reader, file: Path) -> Columns:
    header = next(reader, [])
    if not {"path", "split"} <= set(header):
        raise DataError(f"{file} is not a split.csv: expected columns path and split, received {some(header)}.")
    at_split = header.index("split")
    cells: list[list[str]] = [[] for _ in header]
    lines: list[int] = []
    for row in filter(None, reader):
        if len(row) != len(header):
            told = f"expected {count(len(header), 'column')} ({some(header)}), received {len(row)}"
            raise DataError(f"{file}, line {reader.line_num}: {told}.")
        if row[at_split] not in SPLITS:
            told = f"expected one of {', '.join(SPLITS)}, received '{row[at_split]}'"
            raise DataError(f"{file}, line {reader.line_num}: {told}.{nearest(row[at_split], SPLITS)}")
        for column, cell in zip(cells, row, strict=True):
            column.append(cell)
        lines.append(reader.line_num)
    return Columns(str(file), dict(zip(header, cells, strict=True)), lines)


def _require_same_rows(file: Path, given: set[str], table: Table) -> None:
    have = {nfc(path) for path in table.paths}
    missing, extra = sorted(have - given), sorted(given - have)
    parts = []
    if missing:
        parts.append(f"{len(missing):,} of {len(have):,} images are not in it ({some(missing, 3)})")
    if extra:
        parts.append(f"{len(extra):,} of its {len(given):,} rows are not among the images ({some(extra, 3)})")
    if parts:
        raise DataError(
            f"{file} does not belong to this data: {', and '.join(parts)}. "
            "Give the data that it was made from, or leave split.file out to have a new split made."
        )
