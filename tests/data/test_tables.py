"""CSV, TSV and DataFrames become one table; what cannot be one is said in one message."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
from sourcing import one_message, read, rows, touch, write_csv

from bunryu.core.errors import ConfigError, DataError
from bunryu.data.sources.csv_files import read_csv
from bunryu.data.sources.read import read_source, with_absolute_paths
from bunryu.data.splits.assign import assign
from bunryu.data.splits.split_csv import read_run_rows, write_split
from bunryu.data.table import class_names
from bunryu.settings.data import DataSettings, SplitSettings

TABLE = "filename,label\nsub/가.jpg,고양이\nb c.jpg,강아지\n"


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "cp949", "utf-16"])
@pytest.mark.parametrize("ends", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("suffix", "separator"), [(".csv", ","), (".tsv", "\t"), (".csv", ";"), (".txt", "\t")])
def test_encodings_line_ends_and_separators(
    tmp_path: Path, encoding: str, ends: str, suffix: str, separator: str
) -> None:
    touch(tmp_path, "sub/가.jpg", "b c.jpg")
    path = write_csv(tmp_path / f"t{suffix}", TABLE.replace("\n", ends).replace(",", separator), encoding)
    table = read(path)
    assert rows(table) == [("b c.jpg", "강아지", ""), ("sub/가.jpg", "고양이", "")]
    assert "columns: path='filename', label='label'" in table.notes


@pytest.mark.parametrize(
    ("header", "path_column", "label_column"),
    [
        ("path,label", "path", "label"),
        ("Filename,Class", "Filename", "Class"),
        ("ImageID,ans", "ImageID", "ans"),
        ("breed,where", "where", "breed"),
        (" image , target ", "image", "target"),
        ("y,img_path", "img_path", "y"),
    ],
)
def test_columns_are_found(tmp_path: Path, header: str, path_column: str, label_column: str) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    first = header.split(",")[0].strip() == path_column
    body = "a.jpg,x\nb.jpg,y\n" if first else "x,a.jpg\ny,b.jpg\n"
    table = read(write_csv(tmp_path / "t.csv", f"{header}\n{body}"))
    assert rows(table) == [("a.jpg", "x", ""), ("b.jpg", "y", "")]
    assert f"columns: path={path_column!r}, label={label_column!r}" in table.notes


def test_columns_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    path = write_csv(
        tmp_path / "t.csv", "label,thumb,path,fold,who,kind\nx,b.jpg,a.jpg,train,p1,k1\ny,a.jpg,b.jpg,test,p2,k2\n"
    )
    named = {"path_column": "thumb", "label_column": "kind", "group_column": "who", "split_column": "fold"}
    table = read_source(DataSettings(source=str(path), **named))  # type: ignore[arg-type]
    assert rows(table) == [("a.jpg", "k2", "test"), ("b.jpg", "k1", "train")]
    assert table.groups is not None
    assert table.groups.tolist() == ["p2", "p1"]
    assert any("group='who'" in note and "split='fold'" in note for note in table.notes)


def test_group_split_and_further_columns_are_found(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    path = write_csv(
        tmp_path / "t.csv",
        "path,label,person,split,age\na.jpg,x,p1,train,9\nb.jpg,y,p1,Training,8\nc.jpg,x,p2,dev,7\nd.jpg,y,,,6\n",
    )
    table = read(path)
    assert table.splits.tolist() == ["train", "train", "val", ""]
    assert table.groups is not None
    assert table.groups.tolist() == ["p1", "p1", "p2", ""]
    assert table.columns["age"].tolist() == ["9", "8", "7", "6"]


def test_a_column_called_split_with_other_words_is_no_split(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    table = read(write_csv(tmp_path / "t.csv", "path,label,split\na.jpg,x,left\nb.jpg,y,right\n"))
    assert set(table.splits) == {""}
    assert not any("split=" in note for note in table.notes)


def test_image_root_and_paths_of_all_kinds(tmp_path: Path) -> None:
    touch(tmp_path, "images/sub/a.jpg", "images/b.jpg", "far/c.jpg")
    body = f"path,label\nsub\\a.jpg,x\n./b.jpg,y\n{tmp_path}/far/c.jpg,x\n"
    table = read(write_csv(tmp_path / "tables/t.csv", body), image_root=str(tmp_path / "images"))
    assert table.root == tmp_path / "images"
    assert rows(table) == [(f"{tmp_path}/far/c.jpg", "x", ""), ("b.jpg", "y", ""), ("sub/a.jpg", "x", "")]
    assert all(Path(table.file(row)).exists() for row in range(3))


def test_image_root_below_the_home_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    touch(tmp_path, "images/a.jpg", "images/b.jpg")
    path = write_csv(tmp_path / "t.csv", "path,label\na.jpg,x\nb.jpg,y\n")
    assert len(read(path, image_root="~/images")) == 2


def test_separate_validation_and_test_tables(tmp_path: Path) -> None:
    touch(tmp_path, *(f"i/{n}.jpg" for n in "abcd"))
    train = write_csv(tmp_path / "train.csv", "path,label,code,group\ni/a.jpg,x,1,g1\ni/b.jpg,y,0,g1\n")
    val = write_csv(tmp_path / "val.tsv", "label\tpath\tgroup\nx\ti/c.jpg\tg2\n")
    test = write_csv(tmp_path / "test.csv", "path,label,group\ni/d.jpg,y,g3\n")
    table = read(train=str(train), val=str(val), test=str(test))
    assert rows(table) == [
        ("i/a.jpg", "x", "train"), ("i/b.jpg", "y", "train"), ("i/c.jpg", "x", "val"), ("i/d.jpg", "y", "test")
    ]  # fmt: skip
    assert class_names(table) == ["y", "x"]
    assert table.groups is not None
    assert table.groups.tolist() == ["g1", "g1", "g2", "g3"]
    as_source = read(train, val=str(val), test=str(test))
    assert rows(as_source) == rows(table)


def test_rows_that_repeat_are_dropped_and_told(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    table = read(write_csv(tmp_path / "t.csv", "path,label\na.jpg,x\n./a.jpg,x\nb.jpg,y\na.jpg,x\n\n,\n"))
    assert rows(table) == [("a.jpg", "x", ""), ("b.jpg", "y", "")]
    assert "2 rows that repeat another row's path and label: dropped" in table.notes


def test_one_path_in_two_splits_is_kept_so_that_the_leak_is_seen(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    path = write_csv(tmp_path / "t.csv", "path,label,split\na.jpg,x,train\nb.jpg,y,train\na.jpg,x,test\n")
    assert rows(read(path)) == [("a.jpg", "x", "test"), ("a.jpg", "x", "train"), ("b.jpg", "y", "train")]


def test_data_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pd = pytest.importorskip("pandas")
    touch(tmp_path, "a.jpg", "b.jpg")
    frame = pd.DataFrame({"path": [Path("a.jpg"), "b.jpg"], "label": [1, 10], "group": ["g", None], 5: [0, 1]})
    table = read(frame, image_root=str(tmp_path))
    assert rows(table) == [("a.jpg", "1", ""), ("b.jpg", "10", "")]
    assert table.groups is not None
    assert table.groups.tolist() == ["g", ""]
    assert class_names(table) == ["1", "10"]
    monkeypatch.chdir(tmp_path)
    assert read(frame.assign(label=["01", "NA"])).target_labels.tolist() == ["01", "NA"]


def test_split_csv_reads_back(tmp_path: Path) -> None:
    touch(tmp_path, *(f"{label}/{i}, '한글' \"q\".jpg" for label in ("01", "NA") for i in range(2)))
    table = assign(read(tmp_path), SplitSettings(val=0.5))
    write_split(tmp_path / "split.csv", table)
    again = read_run_rows(tmp_path / "split.csv", tmp_path, "label")
    assert rows(again) == rows(table)
    with pytest.raises(DataError, match="is damaged"):
        read_run_rows(tmp_path / "split.csv", tmp_path, "class")


# Errors: one clear message each.


@pytest.mark.parametrize(
    ("text", "settings", "expected"),
    [
        ("", {}, ["is empty", "header line"]),
        ("path,label\n", {}, ["header but no rows"]),
        ("\n\n", {}, ["is empty"]),
        ("a,b\n1,2\n", {}, ["image paths", "a, b", "data.path_column=COLUMN"]),
        ("path,label\na.jpg,x\nb.jpg\n", {}, ["line 3", "expected 2 columns (path, label)", "received 1"]),
        ("path,label\na.jpg,x,z\n", {}, ["line 2", "received 3", "quotes"]),
        ("path,path,label\na.jpg,b.jpg,x\n", {}, ["line 1", "'path' stands twice"]),
        ("a.jpg,x,1\nb.jpg,y,2\n", {}, ["line 1", "'a.jpg' is an image", "header line", "path,label"]),
        ("path,label\na.jpg,x\nb.jpg,\n,y\na.jpg, \n", {}, ["label", "empty in 2 of 4 rows", "line 3, 5"]),
        ("path,breed,age\na.jpg,x,1\nb.jpg,y,1\n", {},
         ["labels", "breed (2), age (1", "data.label_column=breed"]),
        ("path,id,breed\na.jpg,1,x\nb.jpg,2,x\na.jpg,3,y\n", {}, ["breed (2), id (3"]),
        ("path\na.jpg\n", {}, ["holds the labels", "none beside the paths"]),
        ("path,label,split\na.jpg,x,train\nb.jpg,y,tset\n", {}, ["line 3", "'tset'", "Did you mean 'test'"]),
        ("path,label,part\na.jpg,x,left\nb.jpg,y,train\n", {"split_column": "part"}, ["line 2", "'left'", "'part'"]),
        ("path,label\na.jpg,x\nb.jpg,y\n", {"label_column": "lable"}, ["'lable'", "Did you mean 'label'", "path"]),
        ("path,label\na.jpg,x\nb.jpg,y\n", {"path_column": "pth"}, ["data.path_column", "Did you mean 'path'"]),
        ("path,label\na.jpg,x\nb.jpg,y\n", {"group_column": "g"}, ["data.group_column", "no column 'g'"]),
        ("path,label\na.jpg,x\nb.jpg,y\n", {"label_column": "path"}, ["data.label_column=path is the column of the"]),
        ("path,split\na.jpg,x\nb.jpg,y\n", {"label_column": "split"}, ["cannot be called 'split'", "Rename it"]),
        ("path,group,person\na.jpg,x,1\nb.jpg,y,2\n", {"label_column": "group", "group_column": "person"},
         ["cannot be called 'group'"]),
        ("path,label\na.jpg,x\nb.jpg,y\n", {"image_root": "nowhere"}, ["data.image_root", "no folder"]),
        ("path,label\nno.jpg,x\nneither.jpg,y\n", {}, ["None of the images", "no.jpg", "data.image_root=FOLDER"]),
        ("path,label\na.jpg,x\nb.jpg,x\n", {}, ["only one class, 'x'"]),
        ("path,label\na.jpg,Cat\nb.jpg,cat\n", {}, ["'Cat' (1 image)", "'cat' (1 image)"]),
        ("path,label\na.jpg,cat\nb.jpg,cat \n", {}, ["only one class, 'cat'"]),
        ('path,label\na.jpg,"x\nb.jpg,y\n', {}, ["only one class"]),
        ('path,label\na.jpg,"x\n' + "b.jpg,y\n" * 20_000, {}, ["line", "never closed"]),
    ],
)  # fmt: skip
def test_tables_that_make_no_classifier(
    tmp_path: Path, text: str, settings: dict[str, Any], expected: list[str]
) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    message = one_message(write_csv(tmp_path / "t.csv", text), **settings)
    for part in expected:
        assert part in message


def test_text_of_no_known_encoding(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_bytes(b"path,label\n\xff\xff.jpg,\x81\x00\n")
    assert "neither UTF-8 nor cp949" in one_message(tmp_path / "t.csv")


@pytest.mark.parametrize(
    ("where", "cell", "hint"),
    [
        ("../images/a.jpg", "a.jpg", "Did you mean data.image_root={root}/images?"),
        ("../images/a.jpg", "images/a.jpg", "Did you mean data.image_root={root}?"),
        ("../images/a.png", "a", "There is {root}/images/a.png. Did you mean data.image_root={root}/images?"),
    ],
)
def test_images_that_lie_elsewhere_are_found(tmp_path: Path, where: str, cell: str, hint: str) -> None:
    touch(tmp_path, os.path.normpath(f"tables/{where}"))
    path = write_csv(tmp_path / "tables/t.csv", f"path,label\n{cell},x\n{cell}2,y\n")
    assert one_message(path).endswith(hint.format(root=tmp_path))


def test_frames_that_are_none() -> None:
    pd = pytest.importorskip("pandas")
    assert "received list" in one_message(["a.jpg", "b.jpg"])
    assert "no rows" in one_message(pd.DataFrame({"path": [], "label": []}))
    twice = pd.DataFrame([["a.jpg", "x", "y"]], columns=["path", "label", "label"])
    assert "column 'label' twice" in one_message(twice)
    assert "at row 1" in one_message(pd.DataFrame({"path": ["a.jpg", "b.jpg"], "label": ["x", None]}))
    frame = pd.DataFrame({"path": ["a.jpg"], "label": ["x"]})
    with pytest.raises(ConfigError, match=r"a DataFrame and data\.source"):
        read_source(DataSettings(source="photos"), frame)


def test_read_csv_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot open the table"):
        read_csv(tmp_path)


def test_a_group_column_is_found_said_and_switched_off(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    path = write_csv(tmp_path / "t.csv", "path,label,person\na.jpg,x,p1\nb.jpg,y,p2\n")
    table = read(path)
    assert table.groups is not None
    assert table.groups.tolist() == ["p1", "p2"]
    echo = "group='person' (rows of one person stay on one side; data.group_column=none: not)"
    assert any(note.endswith(echo) for note in table.notes)
    assert any(note.endswith("stay on one side)") for note in read(path, group_column="person").notes)
    without = read(path, group_column="none")
    assert without.groups is None
    assert "columns: path='path', label='label'" in without.notes
    path = write_csv(tmp_path / "t.csv", "path,label,none\na.jpg,x,p1\nb.jpg,y,p2\n")
    assert read(path, group_column="none").groups is not None, "a column of that name"


@pytest.mark.parametrize("name", ["image_root", "path_column", "label_column", "group_column", "split_column"])
def test_settings_of_tables_are_refused_for_folders(tmp_path: Path, name: str) -> None:
    touch(tmp_path, "photos/a/1.jpg", "photos/b/1.jpg", "more/1.jpg")
    value = str(tmp_path) if name == "image_root" else "label"
    text = one_message(tmp_path / "photos", **{name: value})
    assert text.startswith(f"data.{name} belongs to a CSV; {tmp_path / 'photos'} is a folder")
    if name == "label_column":
        test = write_csv(tmp_path / "t.csv", "path,label\nmore/1.jpg,a\n")
        assert len(read(tmp_path / "photos", test=str(test), **{name: value})) == 3


@pytest.mark.parametrize("cells", [("a.jpg", "b.jpg"), ("a", "b"), ("x/a.jpg", "x/b.jpg")])
def test_the_one_folder_below_that_has_the_images_is_taken(tmp_path: Path, cells: tuple[str, str]) -> None:
    inner = "x/" if cells[0].startswith("x/") else ""
    path = write_csv(tmp_path / "t/train.csv", f"image,label\n{cells[0]},x\n{cells[1]},y\n")
    touch(tmp_path / "t", f"all/pictures/{inner}a.jpg", f"all/pictures/{inner}b.jpg", "other/c.jpg", "other/x/d.jpg")
    found = read(path)
    assert rows(found) == [(f"all/pictures/{inner}{at}.jpg", label, "") for at, label in (("a", "x"), ("b", "y"))]
    assert any(f"its images are in {tmp_path}/t/all/pictures" in note for note in found.notes)
    pd = pytest.importorskip("pandas")
    frame = with_absolute_paths(pd.read_csv(path), DataSettings(image_root=str(tmp_path / "t/all/pictures")))
    assert frame["image"][0] == f"{tmp_path}/t/all/pictures/{inner}a.jpg"
    touch(tmp_path / "t", f"more/{inner}a.jpg", f"more/{inner}b.jpg")
    text = one_message(path)
    ways = re.findall(r"data.image_root=(\S+)", text)
    assert ways == [f"{tmp_path}/t/more", f"{tmp_path}/t/all/pictures"]
    assert [len(read(path, image_root=way)) for way in ways] == [2, 2]
    touch(tmp_path / "t", f"train/{inner}a.jpg", f"train/{inner}b.jpg")
    assert read(path).paths[0] == f"train/{inner}a.jpg", "the folder of the table's own name"


def test_a_folder_of_other_classes_is_not_the_one_below(tmp_path: Path) -> None:
    """The same names in a folder per class: dropping the class would give each row another class's picture."""
    path = write_csv(tmp_path / "t/t.csv", "image,label\ncat/1.jpg,cat\ndog/1.jpg,dog\n")
    touch(tmp_path / "t", "bird/1.jpg")
    assert "None of the images" in one_message(path)


def test_grades_and_whole_numbers_are_classes(tmp_path: Path) -> None:
    """Few fractions that come again, versions and ids: what people have as classes."""
    for at in range(40):
        touch(tmp_path, f"{at}.png")
    for name, labels in {
        "grades": [f"{1 + at % 4 / 2}" for at in range(40)],
        "ids": [str(at) for at in range(40)],
        "words": [f"{at % 3}.5 mm" for at in range(40)],
    }.items():
        file = tmp_path / f"{name}.csv"
        file.write_text("path,label\n" + "".join(f"{at}.png,{label}\n" for at, label in enumerate(labels)))
        assert len(set(read(file).target_labels)) == len(set(labels))
