"""Files that are tables, by their endings: text, JSON lines, parquet."""

from __future__ import annotations

from pathlib import Path

from bunryu.data.sources.csv_files import TABLE_SUFFIXES, Columns, read_csv
from bunryu.data.sources.json_lines import JSON_LINES, read_json_lines
from bunryu.data.sources.parquet import PARQUET, read_parquet

TABLES = (*TABLE_SUFFIXES, *JSON_LINES, PARQUET)


def read_table(path: Path) -> Columns:
    """Read a table as text.

    Raises:
        DataError: see the readers.
    """
    match path.suffix.lower():
        case ".parquet":
            return read_parquet(path)
        case ending if ending in JSON_LINES:
            return read_json_lines(path)
        case _:
            return read_csv(path)
