"""CSV as text: what spreadsheets would take for a formula, and the mark by which Excel knows UTF-8."""

from __future__ import annotations

from typing import Any

BYTE_ORDER_MARK = "\ufeff"


def guard(cell: Any) -> Any:
    """Return `cell` so that a spreadsheet does not run it: text starting with = + - @ gets a quote in front."""
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + cell
    return cell


def unguard(cell: str) -> str:
    """Take back what `guard` put in front."""
    return cell[1:] if len(cell) > 1 and cell[0] == "'" and cell[1] in "=+-@\t\r" else cell
