"""JSON of files from anyone: capped in length, number of values and depth, without NaN, so that no reader is upset."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

MOST_CHARACTERS = 8_000_000
MOST_VALUES = 300_000
"""Name, offset and threshold of each of 100,000 classes. A reader may take 1 KB for each value that it refuses."""
MOST_DEPTH = 32
_MARKS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)


def parsed(text: str, *, finite: bool = True) -> Any:
    """Return the value of JSON.

    Raises:
        ValueError: no JSON, too long, too deep, with too many values; or, where all shall be `finite`, with a NaN or
            infinity, which JSON has not.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, more than {MOST_CHARACTERS:,}")
    require_few_values([text])
    try:
        value = json.loads(text, parse_constant=_refused if finite else float)
        deep = _too_deep(text)
    except RecursionError:
        deep = True
    if deep:
        raise ValueError(f"it is more than {MOST_DEPTH} levels deep")
    return value


def require_few_values(texts: list[str]) -> None:
    """Refuse texts of JSON with more values than `MOST_VALUES` together, by their commas: those within texts count too.

    Raises:
        ValueError: there are more.
    """
    if (commas := sum(text.count(",") for text in texts)) > MOST_VALUES:
        raise ValueError(f"it has {commas:,} values, more than {MOST_VALUES:,}")


def _too_deep(text: str) -> bool:
    """Return whether more than `MOST_DEPTH` lists and mappings stand in each other; of no JSON it takes long."""
    depth = 0
    for mark in _MARKS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark[0], 0)
        if depth > MOST_DEPTH:
            return True
    return False


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
