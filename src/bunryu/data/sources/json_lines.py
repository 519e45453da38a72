"""Tables as JSON lines, one object a row: what Hugging Face folders call metadata.jsonl."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bunryu.core.errors import DataError
from bunryu.data.sources.csv_files import Columns, table_text

JSON_LINES = (".jsonl", ".ndjson")
_LONGEST = 1_000_000
"""Characters of a line; what is longer holds pictures, not names."""


def read_json_lines(path: Path) -> Columns:
    """Read a table of JSON objects as text; a key that a row lacks, or null, is empty text.

    Raises:
        DataError: missing, empty, of another encoding, or a line that is no flat JSON object.
    """
    rows, lines = [], []
    for number, line in enumerate(table_text(path).split("\n"), start=1):
        if line.strip():
            rows.append(_row(line, f"{path}, line {number}"))
            lines.append(number)
    if not rows:
        raise DataError(f"The table {path} is empty. Expected a JSON object a line, with a path and a label.")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Columns(str(path), {name: [row.get(name, "") for row in rows] for name in names}, lines)


def _row(line: str, where: str) -> dict[str, str]:
    try:
        row = json.loads(line) if len(line) <= _LONGEST else None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: this is no JSON ({error}).") from None
    if not isinstance(row, dict):
        raise DataError(f'{where}: expected a JSON object, such as {{"file_name": "1.jpg", "label": "cat"}}.')
    return {name: _cell(value, name, where) for name, value in row.items()}


def _cell(value: Any, name: str, where: str) -> str:
    if isinstance(value, dict | list):
        raise DataError(
            f"{where}: {name!r} is {type(value).__name__}, not text or a number. Leave it out of the table."
        )
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
