"""JSON of files from anyone: capped in length and depth, without NaN, so that none can upset its reader."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

MOST_CHARACTERS = 64_000_000
"""Names of a million classes fit; safetensors allows headers of 100 MB."""
MOST_DEPTH = 32
_MARKS = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[\[{]|[\]}]', re.DOTALL)


def parsed(text: str) -> Any:
    """Return the value of JSON.

    Raises:
        ValueError: no JSON, too long, too deep, or with a NaN or infinity, which JSON has not.
    """
    if len(text) > MOST_CHARACTERS:
        raise ValueError(f"it has {len(text):,} characters, more than {MOST_CHARACTERS:,}")
    if _too_deep(text):
        raise ValueError(f"it is more than {MOST_DEPTH} levels deep")
    return json.loads(text, parse_constant=_refused)


def _too_deep(text: str) -> bool:
    """Return whether more than `MOST_DEPTH` lists and mappings stand in each other, without recursion."""
    depth = 0
    for mark in _MARKS.finditer(text):
        depth += {"[": 1, "{": 1, "]": -1, "}": -1}.get(mark[0], 0)
        if depth > MOST_DEPTH:
            return True
    return False


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
