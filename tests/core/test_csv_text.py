"""The one writer of CSV: nothing it writes runs in a spreadsheet, and what is read back is what was written."""

from __future__ import annotations

import ast
import csv
import io
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import bunryu
from bunryu.core.csv_text import csv_lines, guard, unguard

FORMULA = ("=", "+", "-", "@", "\t", "\r")
CELLS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r"), max_size=8) | st.from_regex(
    r"'?[=+@\t-]\w*", fullmatch=True
)


def read(text: str, delimiter: str = ",") -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))


@given(CELLS)
@example("=1+1")
@example("'=1+1")
@example("'")
def test_a_guarded_cell_cannot_run_and_its_guard_comes_off(cell: str) -> None:
    guarded = guard(cell)
    assert not guarded.startswith(FORMULA)
    assert guard(guarded) == guarded
    if not (cell.startswith("'") and cell.startswith(FORMULA, 1)):  # of these two the file cannot tell which it was
        assert unguard(guarded) == cell
    assert unguard(unguard(guarded)) == unguard(guarded)


@pytest.mark.parametrize("cell", [-1, -0.5, None, 3])
def test_numbers_are_numbers(cell: object) -> None:
    assert guard(cell) == cell


@given(st.lists(st.lists(CELLS, min_size=2, max_size=2), max_size=4), st.sampled_from(",\t"))
def test_a_table_reads_back(rows: list[list[str]], delimiter: str) -> None:
    header = ["=path", "label"]
    for guarded in (True, False):
        text = "".join(csv_lines(header, rows, delimiter=delimiter, guarded=guarded))
        assert read(text, delimiter) == [[guard(cell) if guarded else cell for cell in row] for row in [header, *rows]]


def test_lines_end_as_asked() -> None:
    rows = [["a", 1], ["-b", None]]
    assert list(csv_lines(["x", "y"], rows)) == ["x,y\n", "a,1\n", "'-b,\n"]
    assert list(csv_lines(["x", "y"], rows, end="\r\n", guarded=False)) == ["x,y\r\n", "a,1\r\n", "-b,\r\n"]


def writes_csv(tree: ast.AST) -> bool:
    """Return whether a file takes a writer from the module csv."""
    names = {"writer", "DictWriter", "*"}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module == "csv" and {alias.name for alias in node.names} & names:
            return True
        if isinstance(node, ast.Attribute) and node.attr in names and getattr(node.value, "id", "") == "csv":
            return True
    return False


def test_nobody_else_writes_csv() -> None:
    root = Path(bunryu.__file__).parent
    found = [path for path in root.rglob("*.py") if writes_csv(ast.parse(path.read_text(encoding="utf-8")))]
    assert [path.relative_to(root).as_posix() for path in found] == ["core/csv_text.py"]
    assert writes_csv(ast.parse("from csv import DictWriter"))
    assert not writes_csv(ast.parse("import csv\ncsv.reader([])"))
