"""split.csv: written, read back, and refused where it is of other data or was spoiled."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

# split.csv
from tabling import make, quick

from bunryu.core.errors import DataError
from bunryu.data.splits.split_csv import read_run_rows, read_split, write_split
from bunryu.data.table import SPLITS


def test_split_csv_round_trip(tmp_path: Path) -> None:
    paths = [
        "분류/가, 나.jpg",
        '"quoted".png',
        "=1+1.jpg",
        "line\nbreak.jpg",
        "cr\r.jpg",
        " spaces ",
        "bad\udcff.jpg",
    ]
    table = make(list("aabbabc"), ["train", "val", "test"] * 2 + ["train"], groups=list("1234567"), paths=paths)
    write_split(tmp_path / "split.csv", table)
    content = (tmp_path / "split.csv").read_text(encoding="utf-8", errors="surrogateescape")
    assert content.splitlines()[0] == "path,label,group,split,digest"
    back = read_run_rows(tmp_path / "split.csv", Path("/photos"), "label")
    assert back.root == Path("/photos")
    for name, column in table.named_columns().items():
        assert back.named_columns()[name].tolist() == column.tolist()
    blank = make(table.target_labels, groups=list("1234567"), paths=paths)
    again = read_split(tmp_path / "split.csv", blank)
    assert again.splits.tolist() == table.splits.tolist()
    order = np.arange(len(paths))[::-1]
    assert read_split(tmp_path / "split.csv", blank.take(order)).splits.tolist() == table.splits[order].tolist()


@quick
@given(
    paths=st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1), min_size=1, unique=True)
)
def test_split_csv_holds_any_path(tmp_path_factory: pytest.TempPathFactory, paths: list[str]) -> None:
    import unicodedata

    paths = list({unicodedata.normalize("NFC", path): path for path in paths}.values())
    file = tmp_path_factory.mktemp("split") / "split.csv"
    table = make(["a"] * len(paths), [SPLITS[i % 3] for i in range(len(paths))], paths=paths)
    write_split(file, table)
    assert (read_split(file, make(["a"] * len(paths), paths=paths)).splits == table.splits).all()


def test_split_csv_knows_paths_in_either_unicode_form(tmp_path: Path) -> None:
    write_split(tmp_path / "split.csv", make(["a"], ["val"], paths=["\uac00.jpg"]))
    assert read_split(tmp_path / "split.csv", make(["a"], paths=["\u1100\u1161.jpg"])).splits.tolist() == ["val"]


@pytest.mark.parametrize("label", ["a;b;c;d;e;f", " class ", "group", "cat.jpg"])
def test_split_csv_reads_back_whatever_the_label_column_is_called(tmp_path: Path, label: str) -> None:
    table = make(["a", "b"], ["train", "val"], paths=["1.jpg", "2.jpg"])
    table = dataclasses.replace(table, labels={label: table.target_labels})
    write_split(tmp_path / "split.csv", table)
    back = read_run_rows(tmp_path / "split.csv", tmp_path, label)
    assert back.labels[label].tolist() == ["a", "b"]
    assert back.groups is None


def test_a_split_csv_of_other_data(tmp_path: Path) -> None:
    file = tmp_path / "split.csv"
    write_split(file, make(["a"] * 3, ["train"] * 3, paths=["a", "b", "c"]))
    with pytest.raises(DataError, match=r"1 of 3 images are not in it \(d\), and 1 of its 3 rows are not .* \(a\)"):
        read_split(file, make(["a"] * 3, paths=["b", "c", "d"]))
    with pytest.raises(DataError, match="Cannot open the split"):
        read_split(tmp_path / "none.csv", make(["a"]))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "expected columns path and split"),
        ("file,split\na,train\n", "received file, split"),
        (
            "path,split\na,valid\n",
            "line 2: expected one of train, val, test, received 'valid'. Did you mean 'val'",
        ),
        ("path,split\na,\n", "line 2: expected one of train, val, test, received ''"),
        ("path,split\na\n", "line 2: expected 2 columns (path, split), received 1"),
        ("path,split\na,val,b\n", "line 2: expected 2 columns (path, split), received 3"),
        ("path,split\na,val\n\na,train\n", "line 4: 'a' is in two splits"),
    ],
)
def test_a_split_csv_that_was_spoiled(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "split.csv").write_text(content)
    with pytest.raises(DataError) as caught:
        read_split(tmp_path / "split.csv", make(["a"], paths=["a"]))
    assert message in str(caught.value)


def test_a_split_csv_saved_by_a_spreadsheet(tmp_path: Path) -> None:
    (tmp_path / "split.csv").write_bytes("\ufeffpath,split\r\n가,val\r\n".encode())
    assert read_split(tmp_path / "split.csv", make(["a"], paths=["가"])).splits.tolist() == ["val"]
