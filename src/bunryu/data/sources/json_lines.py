"""Tables as JSON, one object a row: a line each, as metadata.jsonl of Hugging Face folders, or a list of them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from bunryu.core.errors import DataError, some
from bunryu.data.sources.csv_files import Columns, table_text

JSON_LINES = (".jsonl", ".ndjson", ".json")
_LONGEST = 1_000_000
"""Characters of a line; what is longer holds pictures, not names."""


def read_json_lines(path: Path) -> Columns:
    """Read a table of JSON objects as text, a line each or in one list; a key that a row lacks, or null, is empty text.

    Raises:
        DataError: missing, empty, of another encoding, or a row that is no flat JSON object.
    """
    text = table_text(path)
    rows, lines = _listed(text, path) if path.suffix.lower() == ".json" else ([], [])
    for number, line in enumerate(() if rows else text.split("\n"), start=1):
        if line.strip():
            rows.append(_row(line, f"{path}, line {number}"))
            lines.append(number)
    if not rows:
        raise DataError(f"The table {path} is empty. Expected a JSON object a line, with a path and a label.")
    names = list(dict.fromkeys(name for row in rows for name in row))
    return Columns(str(path), {name: [row.get(name, "") for row in rows] for name in names}, lines)


def _listed(text: str, path: Path) -> tuple[list[dict[str, str]], list[int]]:
    """Return the rows of a list of objects, and their numbers; nothing where the text is none, but lines."""
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return [], []
    if not isinstance(found, list):
        keys = some(map(repr, found), 4) if isinstance(found, dict) else type(found).__name__
        raise DataError(
            f'{path}: expected a list of objects, such as [{{"file_name": "1.jpg", "label": "cat"}}], received '
            f"{keys}. Write it as a CSV with a path and a label column."
        )
    return [_flat(row, f"{path}, row {at}") for at, row in enumerate(found, start=1)], list(range(1, len(found) + 1))


def _row(line: str, where: str) -> dict[str, str]:
    try:
        row = json.loads(line) if len(line) <= _LONGEST else None
    except (ValueError, RecursionError) as error:
        raise DataError(f"{where}: this is no JSON ({error}).") from None
    return _flat(row, where)


def _flat(row: Any, where: str) -> dict[str, str]:
    if not isinstance(row, dict):
        raise DataError(f'{where}: expected a JSON object, such as {{"file_name": "1.jpg", "label": "cat"}}.')
    return {name: _cell(value, name, where) for name, value in row.items()}


def _cell(value: Any, name: str, where: str) -> str:
    if isinstance(value, dict | list):
        raise DataError(
            f"{where}: {name!r} is {type(value).__name__}, not text or a number. Leave it out of the table."
        )
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)
