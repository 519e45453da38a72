"""The same text written twice: paths, labels and splits that differ only in spelling are one, and it is told."""

from __future__ import annotations

import shlex
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sourcing import one_message, read, rows, touch, write_csv

from bunryu.core.same_paths import MISSING, UNCLEAR, join_paths
from bunryu.core.same_text import as_number, same_word

NAMES = st.lists(st.text("가나ab1", min_size=1, max_size=3), min_size=1, max_size=4, unique=True)


def nfd(text: str) -> str:
    return unicodedata.normalize("NFD", text)


@settings(max_examples=60, deadline=None)
@given(NAMES, st.sampled_from([str, nfd, str.upper, lambda text: f" {text} "]))
def test_a_word_is_found_in_every_spelling(names: list[str], spelled: object) -> None:
    assert callable(spelled)
    for name in names:
        assert same_word(spelled(name), names) == name or as_number(name) is not None


@pytest.mark.parametrize(
    ("word", "words", "expected"),
    [
        ("1.0", ["1", "2"], "1"),
        ("01", ["1", "2"], "1"),
        ("CAT", ["cat", "Cat"], None),
        ("Cat", ["cat", "Cat"], "Cat"),
        ("1.5", ["1"], None),
        ("-0", ["0"], "0"),
    ],
)
def test_a_looser_way_only_where_one_is_left(word: str, words: list[str], expected: str | None) -> None:
    assert same_word(word, words) == expected


@pytest.mark.parametrize(
    ("wanted", "known", "place"),
    [
        (["blue/0.png", "red/0.png"], ["t/red/0.png", "t/blue/0.png"], [1, 0]),
        (["0.png"], ["t/red/0.png", "t/blue/0.png"], [UNCLEAR]),
        (["0.png"], ["0.png", "t/0.png"], [0]),
        (["x/0.png", "y/0.png"], ["0.png"], [UNCLEAR, UNCLEAR]),
        (["green/0.png", "blue/0.png"], ["blue/0.png"], [MISSING, 0]),
        (["id1", "7.0", "B.PNG"], ["n/id1.png", "007.png", "q/b.png"], [0, 1, 2]),
        (["C:\\d\\a.png"], ["d/a.png"], [0]),
        ([nfd("가/나.png")], ["가/나.png"], [0]),
    ],
)
def test_paths_are_joined_by_the_longest_tail(wanted: list[str], known: list[str], place: list[int]) -> None:
    assert join_paths(wanted, known).place == place


@pytest.mark.parametrize(
    "cell",
    [
        "img/{}.PNG",
        "IMG/{}.png",
        "img/{}",
        " img/{}.png ",
        "C:\\Users\\me\\img\\{}.png",
        "/kaggle/input/comp/img/{}.png",
        "s3://bucket/img/{}.png",
        "https://example.org/img/{}.png?size=2",
    ],
)
@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_path_finds_its_file(tmp_path: Path, cell: str, form: str) -> None:
    names = [unicodedata.normalize("NFD" if form == "NFC" else "NFC", name) for name in ("고양이1", "강아지2")]
    touch(tmp_path, *(f"img/{name}.png" for name in names))
    written = [unicodedata.normalize(form, name) for name in names]
    lines = "".join(f"{cell.format(name)},{label}\n" for name, label in zip(written, "xy", strict=True))
    table = read(write_csv(tmp_path / "t.csv", f"path,label\n{lines}"))
    assert {table.file(row) for row in range(2)} == {str(tmp_path / f"img/{name}.png") for name in names}
    assert any("2 paths of 2 found" in note for note in table.notes)


def test_one_file_is_not_two_rows(tmp_path: Path) -> None:
    touch(tmp_path, "1.png")
    path = write_csv(tmp_path / "t.csv", "path,label\n/x/cat/1.png,cat\n/x/dog/1.png,dog\n")
    message = one_message(path)
    assert "/x/cat/1.png" in message
    assert "/x/dog/1.png" in message


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["0", "0.0", "1", "1.0"], ["0", "0", "1", "1"]),
        (["0", "00", "01", "1"], ["0", "0", "1", "1"]),
        (["1.0", "1.0", "2.0", "2.0"], ["1.0", "1.0", "2.0", "2.0"]),
        (["01", "01", "02", "02"], ["01", "01", "02", "02"]),
        (["cat ", " cat", "dog", nfd("dog")], ["cat", "cat", "dog", "dog"]),
        (["NA", "None", "ok", "ok"], ["NA", "None", "ok", "ok"]),
    ],
)
def test_one_label_has_one_spelling(tmp_path: Path, cells: list[str], expected: list[str]) -> None:
    touch(tmp_path, *(f"{i}.png" for i in range(4)))
    lines = "".join(f"{i}.png,{cell}\n" for i, cell in enumerate(cells))
    table = read(write_csv(tmp_path / "t.csv", f"path,label\n{lines}"))
    assert table.target_labels.tolist() == expected
    told = any("column 'label':" in note for note in table.notes)
    assert told == (cells != expected or "NA" in cells)


def test_nan_among_numbers_is_an_empty_cell(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{i}.png" for i in range(3)))
    message = one_message(write_csv(tmp_path / "t.csv", "path,label\n0.png,0\n1.png,nan\n2.png,1\n"))
    assert "empty in 1 of 3 rows, at line 3" in message


def test_other_splits_are_spelled_as_training_is(tmp_path: Path) -> None:
    touch(tmp_path, "train/Cat/1.png", "train/dog/1.png", "test/cat/2.png", "test/DOG/2.png")
    table = read(tmp_path)
    assert [row[1:] for row in rows(table)] == [("dog", "test"), ("Cat", "test"), ("Cat", "train"), ("dog", "train")]
    assert any("'cat' for 'Cat' (1 times; upper and lower case)" in note for note in table.notes)
    touch(tmp_path, *(f"{i}.png" for i in range(4)))
    train = write_csv(tmp_path / "a.csv", "path,label\n0.png,0.0\n1.png,1.0\n")
    test = write_csv(tmp_path / "b.csv", "path,label\n2.png,0\n3.png,1\n")
    assert read(train=str(train), test=str(test)).target_labels.tolist() == ["0.0", "1.0", "0.0", "1.0"]


def test_columns_without_a_name_or_a_cell_are_passed_over(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "b.png")
    table = read(write_csv(tmp_path / "t.csv", "path,label,,\na.png,x,,\nb.png,y,,\n,,,\n"))
    assert rows(table) == [("a.png", "x", ""), ("b.png", "y", "")]
    assert "2 columns without a name or a cell passed over" in table.notes
    both = write_csv(tmp_path / "u.csv", "path,label,,\na.png,x,1,2\nb.png,y,,\n")
    assert "several columns with cells have no name" in one_message(both)


@pytest.mark.parametrize(
    ("cell", "part"),
    [("https://example.org/{}.jpg", "Fetch them first"), ("iVBORw0KGgo" * 30 + "{}", "as base64 text")],
)
def test_what_is_no_file_is_told(tmp_path: Path, cell: str, part: str) -> None:
    body = f"path,label\n{cell.format('a')},x\n{cell.format('b')},y\n"
    assert part in one_message(write_csv(tmp_path / "t.csv", body))


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        (["sea", "sun|sea", "sun|sea|dog", "sun"], "data.multi_label=label"),
        (["a;b", "b; c", "c;a", "a"], 'data.multi_label=label "data.label_separator=;"'),
        (["Smith, John", "Smith, Anna", "Lee, Min"], ""),
        (["a", "b", "c"], ""),
        (["a|b", "c|d"], ""),
    ],
)
def test_cells_that_list_labels_are_told(tmp_path: Path, cells: list[str], expected: str) -> None:
    """What is advised is typed: each label is learned then."""
    touch(tmp_path, *(f"{i}.png" for i in range(2 * len(cells))))
    lines = [f'{i}.png,"{cell}"\n' for i, cell in enumerate(cells * 2)]
    write_csv(tmp_path / "a.csv", "".join(["path,label\n", *lines]))
    notes = [note for note in read(tmp_path / "a.csv").notes if "several labels at once" in note]
    assert len(notes) == bool(expected)
    if expected:
        advised = shlex.split(notes[0].partition("learn each label: ")[2])
        pairs = dict(pair.removeprefix("data.").split("=", 1) for pair in advised)
        assert advised == shlex.split(expected)
        rows = read(tmp_path / "a.csv", **pairs)
        assert set(rows.label_names) <= {"sea", "sun", "dog", "a", "b", "c"}
        assert len(rows.label_names) == 3
