"""CSV as text: the one writer, what spreadsheets would take for a formula, and the mark by which Excel knows UTF-8."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

BYTE_ORDER_MARK = "\ufeff"
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""How text begins that a spreadsheet runs."""


def csv_lines(
    header: Iterable[Any],
    rows: Iterable[Iterable[Any]],
    *,
    delimiter: str = ",",
    end: str = "\n",
    guarded: bool = True,
) -> Iterator[str]:
    """Yield a table as CSV line by line, ends of lines included.

    Args:
        header: the names of the columns.
        rows: the cells of each row.
        delimiter: what stands between two cells.
        end: the end of a line.
        guarded: keep spreadsheets from running cells (`guard`), the header's too; False for a file that is only read
            by programs, which have to find each name as it was.
    """
    writer = csv.writer(_Passing(), delimiter=delimiter, lineterminator=end)
    for row in chain([header], rows):
        yield writer.writerow(map(guard, row) if guarded else row)


def guard(cell: Any) -> Any:
    """Return `cell` so that a spreadsheet does not run it: text starting with = + - @ gets a quote in front."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def unguard(cell: str) -> str:
    """Take back what `guard` put in front; text that itself began with a quote before one of these loses it too."""
    return cell[1:] if cell.startswith("'") and cell.startswith(_FORMULA, 1) else cell


class _Passing:
    """The file of a csv.writer whose writerow is to return the line."""

    def write(self, line: str) -> str:
        return line
