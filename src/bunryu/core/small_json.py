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
    if (found := depth(text)) > MOST_DEPTH:
        raise ValueError(f"it is {found} levels deep, more than {MOST_DEPTH}")
    return json.loads(text, parse_constant=_refused)


def depth(text: str) -> int:
    """Return how many lists and mappings stand in each other, without recursion."""
    now = most = 0
    for mark in _MARKS.finditer(text):
        if mark[0] in ("[", "{"):
            now += 1
            most = max(most, now)
        elif mark[0] in ("]", "}"):
            now -= 1
    return most


def _refused(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number")
