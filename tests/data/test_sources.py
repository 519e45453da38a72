"""Whatever the user has becomes one table; what cannot be one is said in one message."""

from __future__ import annotations

import csv
import os
import re
import shutil
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bunryu.data.columns import read_csv
from bunryu.data.settings import DataSettings, SplitSettings
from bunryu.data.sources import check_classes, read_source
from bunryu.data.splits import assign, read_run_rows, write_split
from bunryu.data.table import Table, class_names
from bunryu.errors import BunryuError, ConfigError, DataError
from bunryu.ship.predict import gather


def touch(root: Path, *names: str) -> Path:
    """Make files without content: sources are listed, never opened."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()
    return root


def read(source: Any = None, **settings: Any) -> Table:
    """Read a source as `bunryu train` does."""
    if source is None or isinstance(source, (str, Path)):
        table = read_source(DataSettings(source=None if source is None else str(source), **settings))
    else:
        table = read_source(DataSettings(**settings), source)
    check_classes(table)
    return table


def rows(table: Table) -> list[tuple[str, str, str]]:
    return list(zip(table.paths.tolist(), table.target_labels.tolist(), table.splits.tolist(), strict=True))


def write_csv(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode(encoding))
    return path


def one_message(source: Any = None, **settings: Any) -> str:
    with pytest.raises(BunryuError) as error:
        read(source, **settings)
    text = str(error.value)
    assert "\n" not in text
    return text


# Folders.


def test_one_tree_of_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "cat/more/2.PNG", "dog/1.jpeg")
    table = read(tmp_path)
    assert rows(table) == [("cat/1.jpg", "cat", ""), ("cat/more/2.PNG", "cat", ""), ("dog/1.jpeg", "dog", "")]
    assert table.root == tmp_path
    assert table.target == "label"
    assert table.file(0) == str(tmp_path / "cat/1.jpg")
    assert any("3 images" in note and "class folders" in note for note in table.notes)


@pytest.mark.parametrize("val", ["val", "valid", "validation", "Val", "VALIDATION"])
@pytest.mark.parametrize("train", ["train", "Training"])
def test_split_folders(tmp_path: Path, train: str, val: str) -> None:
    touch(tmp_path, f"{train}/cat/1.jpg", f"{train}/dog/2.jpg", f"{val}/cat/3.jpg", "test/dog/4.jpg")
    table = read(tmp_path)
    assert Counter(table.splits) == {"train": 2, "val": 1, "test": 1}
    assert {(f"{val}/cat/3.jpg", "cat", "val"), ("test/dog/4.jpg", "dog", "test")} < set(rows(table))
    assert "given splits: train 2, val 1, test 1" in table.notes
    assert any(f"{train}/" in note and f"{val}/" in note for note in table.notes)


def test_split_folders_need_only_train(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg")
    assert set(read(tmp_path).splits) == {"train"}


def test_folders_that_lie_apart(tmp_path: Path) -> None:
    touch(tmp_path, "a/cat/1.jpg", "a/dog/2.jpg", "elsewhere/b/cat/3.jpg", "c/dog/4.jpg", "c/cat/5.jpg")
    table = read(train=str(tmp_path / "a"), val=str(tmp_path / "elsewhere/b"), test=str(tmp_path / "c"))
    assert rows(table) == [
        ("a/cat/1.jpg", "cat", "train"),
        ("a/dog/2.jpg", "dog", "train"),
        ("c/cat/5.jpg", "cat", "test"),
        ("c/dog/4.jpg", "dog", "test"),
        ("elsewhere/b/cat/3.jpg", "cat", "val"),
    ]
    assert table.root == tmp_path


def test_one_source_and_a_test_folder_beside_it(tmp_path: Path) -> None:
    touch(tmp_path, "all/cat/1.jpg", "all/dog/2.jpg", "held/cat/3.jpg")
    table = read(tmp_path / "all", test=str(tmp_path / "held"))
    assert Counter(table.splits) == {"train": 2, "test": 1}


def test_a_class_may_be_called_train(tmp_path: Path) -> None:
    touch(tmp_path, "train/1.jpg", "plane/2.jpg", "test/3.jpg")
    assert set(read(tmp_path).target_labels) == {"train", "plane", "test"}


def test_what_lies_beside_split_folders_is_told(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "val/cat/3.jpg", "extra/cat/4.jpg", ".DS_Store", "loose.jpg")
    notes = "\n".join(read(tmp_path).notes)
    assert "extra/ is none of train, val and test: not used" in notes
    assert "1 hidden or system file ignored" in notes
    assert "1 image outside any class folder ignored" in notes


def test_unlabelled_test_folder_is_told_and_not_used(tmp_path: Path) -> None:
    touch(tmp_path, "train/cat/1.jpg", "train/dog/2.jpg", "test/3.jpg", "test/4.jpg")
    table = read(tmp_path)
    assert set(table.splits) == {"train"}
    assert any("test/ has 2 images but no class folders: not used" in note for note in table.notes)


def test_hidden_and_junk_files_are_ignored_and_counted(tmp_path: Path) -> None:
    touch(
        tmp_path, "cat/1.jpg", "dog/2.jpg",
        "cat/._1.jpg", "cat/.DS_Store", "cat/Thumbs.db", "dog/desktop.ini", "dog/.ipynb_checkpoints/2-checkpoint.jpg",
        ".DS_Store", "._dog", "__MACOSX/cat/1.jpg", ".git/config",
    )  # fmt: skip
    table = read(tmp_path)
    assert table.paths.tolist() == ["cat/1.jpg", "dog/2.jpg"]
    assert any("9 hidden or system files ignored" in note for note in table.notes)
    assert not any("not images" in note for note in table.notes)


def test_other_files_are_ignored_and_counted_by_kind(tmp_path: Path) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/2.jpg", "cat/readme.txt", "cat/a.heic", "dog/b.HEIC", "dog/plain", "top.jpg")
    notes = "\n".join(read(tmp_path).notes)
    assert "4 files that are not images ignored (2 .heic, " in notes
    assert "1 .txt" in notes
    assert "1 without ending" in notes
    assert "1 image outside any class folder ignored" in notes


def test_links(tmp_path: Path) -> None:
    touch(tmp_path, "real/1.jpg", "photos/dog/2.jpg")
    (tmp_path / "photos/cat").symlink_to(tmp_path / "real")
    (tmp_path / "photos/dog/again").symlink_to(tmp_path / "photos")  # leads back up
    (tmp_path / "photos/dog/gone.jpg").symlink_to(tmp_path / "nowhere.jpg")  # listed; the check will say why not
    paths = read(tmp_path / "photos").paths.tolist()
    assert {"cat/1.jpg", "dog/2.jpg", "dog/gone.jpg"} <= set(paths)
    assert len(paths) < 8


def test_order_of_rows_does_not_depend_on_the_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, *(f"{label}/{i}.jpg" for label in "dacb" for i in (3, 1, 2)))
    plain = rows(read(tmp_path))
    scandir = os.scandir

    class Backwards:
        def __init__(self, path: Any) -> None:
            with scandir(path) as entries:
                self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

        def __enter__(self) -> Any:
            return iter(self.entries)

        def __exit__(self, *_: object) -> None:
            pass

    monkeypatch.setattr(os, "scandir", Backwards)
    assert rows(read(tmp_path)) == plain == sorted(plain)


def test_folder_that_cannot_be_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/2.jpg")
    scandir = os.scandir

    def refuse(path: Any) -> Any:
        if str(path).endswith("dog"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert one_message(tmp_path) == f"Cannot open the folder {tmp_path / 'dog'}: Permission denied."


def test_hangul_in_both_normal_forms_is_one_class(tmp_path: Path) -> None:
    name = "고양이"
    touch(tmp_path, f"{unicodedata.normalize('NFD', name)}/1.jpg", f"{name}/2.jpg", "개 (강아지)/3 '🐶'.jpg")
    table = read(tmp_path)
    assert class_names(table) == ["개 (강아지)", name]
    assert all(Path(table.file(row)).exists() for row in range(3)), "paths keep the file system's own form"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux lets a name be any bytes")
@pytest.mark.parametrize("name", ["cat/사진.jpg", "고양이/1.jpg"])
def test_names_that_are_not_utf8(tmp_path: Path, name: str) -> None:
    root = tmp_path / "동물"
    file = root / os.fsdecode(name.encode("cp949"))
    touch(root, "dog/1.jpg", str(file))
    text = one_message(root)
    shown = root / name if name.startswith("cat") else root / "고양이"
    assert text.startswith(f"The name of {shown} is not UTF-8 text")
    assert "convmv -f cp949 -t utf8" in text
    with pytest.raises(DataError, match="is not UTF-8 text"):
        gather([file])


# Labels and the order of classes.


def test_labels_stay_text(tmp_path: Path) -> None:
    labels = ["01", "1", "1.0", "1e3", "NA", "nan", "None", "null", "True", "no", "-", "  x"]
    lines = "".join(f'{i}.jpg,"{label}"\n' for i, label in enumerate(labels))
    path = write_csv(touch(tmp_path, *(f"{i}.jpg" for i in range(len(labels)))) / "t.csv", "path,label\n" + lines)
    assert set(read(path).target_labels) == set(labels)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (["b", "a", "C", "é", "가"], ["C", "a", "b", "é", "가"]),
        (["10", "9", "1"], ["1", "9", "10"]),
        (["-1", "10", "9"], ["-1", "9", "10"]),
        (["01", "1", "2"], ["01", "1", "2"]),
        (["10", "9", "x"], ["10", "9", "x"]),
        (["1.5", "10", "9"], ["1.5", "10", "9"]),
    ],
)
def test_class_order(tmp_path: Path, labels: list[str], expected: list[str]) -> None:
    touch(tmp_path, *(f"{label}/1.jpg" for label in labels))
    assert class_names(read(tmp_path)) == expected


def test_integer_column_beside_the_label_is_its_published_index(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    path = write_csv(tmp_path / "t.csv", "path,label,code,n\na.jpg,zebra,3,1\nb.jpg,ant,7,2\nc.jpg,zebra,3,3\n")
    table = read(path)
    assert table.published == {"label": {"zebra": 3, "ant": 7}}
    assert class_names(table) == ["zebra", "ant"]
    crossed = write_csv(tmp_path / "u.csv", "path,label,code\na.jpg,zebra,3\nb.jpg,ant,7\nc.jpg,zebra,7\n")
    assert read(crossed).published == {}
    shared = write_csv(tmp_path / "v.csv", "path,label,code\na.jpg,zebra,3\nb.jpg,ant,3\nc.jpg,cow,4\n")
    assert read(shared).published == {}, "two classes with one number are not paired one to one"
    assert class_names(read(crossed)) == ["ant", "zebra"]


def test_names_are_preferred_to_their_numbers(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    path = write_csv(tmp_path / "t.csv", "path,label,class_name\na.jpg,1,ant\nb.jpg,0,zebra\n")
    table = read(path)
    assert (table.target, class_names(table), table.published) == (
        "class_name", ["zebra", "ant"], {"class_name": {"ant": 1, "zebra": 0}}
    )  # fmt: skip
    assert class_names(read(path, label_column="label")) == ["0", "1"]


# Tables.

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


def folder_case(tmp_path: Path, *names: str) -> Path:
    (tmp_path / "data").mkdir()
    for name in names:
        path = tmp_path / "data" / name
        if name.endswith("/"):
            path.mkdir(parents=True)
        else:
            touch(tmp_path / "data", name)
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        pytest.param((), ["no class folders and no images", "Expected one folder a class"], id="nothing at all"),
        pytest.param(("a.txt", "b.txt", "c.json"), ["Found instead: 2 .txt, 1 .json"], id="dummies, loose"),
        pytest.param(("cat/a.txt", "dog/b.dat"), ["There are no images in", "cat, dog", "1 .dat"], id="dummies"),
        pytest.param(("cat/", "dog/"), ["There are no images in", "cat, dog"], id="empty folders"),
        pytest.param(("cat/1.jpg", "dog/", "cow/1.jpg"), ["without any image", "dog", "remove"], id="an empty class"),
        pytest.param(("cat/1.jpg", "dog/.x.jpg"), ["without any image", "dog"], id="only hidden files in a class"),
        pytest.param(("cat/1.jpg", "dog/1.heic"), ["without any image", "1 .heic"], id="only HEIC in a class"),
        pytest.param(("train/a/1.jpg", "train/b/", "val/a/1.jpg"), ["without any image", ": b."], id="empty in train"),
        pytest.param(("cat/1.jpg", "cat/2.jpg"), ["only one class, 'cat'", "at least two"], id="one class"),
        pytest.param(("photos/cat/1.jpg", "photos/dog/1.jpg"), ["Did you mean", "data/photos", "cat, dog"], id="twice"),
        pytest.param(("a/1.jpg", "labels.csv"), ["only one class", "labels.csv"], id="a table beside the images"),
        pytest.param(("Cat/1.jpg", "cat/2.jpg", "cat/3.jpg"), ["'Cat' (1 image)", "'cat' (2 images)"], id="two cases"),
        pytest.param(("1.jpg", "2.jpg"), ["2 images but no class folders", "labels are not known"], id="flat"),
        pytest.param(("1.jpg", "train.csv"), ["no class folders", "bunryu train", "data/train.csv"], id="flat, table"),
        pytest.param(("train/1.jpg", "val/2.jpg"), ["train has 1 image but no class folders"], id="flat splits"),
        pytest.param(("val/a/1.jpg", "test/b/1.jpg"), ["only 1 image for val and 1 image for test"], id="no train"),
        pytest.param(("train/a/1.jpg", "train/b/1.jpg", "val/c/1.jpg"), ["Class 'c' has images for"], id="unknown"),
        pytest.param(("train/a/1.jpg", "val/a/1.jpg", "valid/a/1.jpg"), ["--val-dir", "both mean val"], id="two val"),
    ],
)  # fmt: skip
def test_folders_that_make_no_classifier(tmp_path: Path, names: tuple[str, ...], expected: list[str]) -> None:
    text = one_message(folder_case(tmp_path, *names))
    for part in expected:
        assert part in text


def test_what_is_suggested_for_a_folder_without_class_folders(tmp_path: Path) -> None:
    touch(tmp_path, "photos/벌/1.jpg", "photos/개미/2.jpg", "photos/notes/x.txt", "flat/7.jpg", "flat/8.jpg")
    (tmp_path / "empty").mkdir()
    write_csv(tmp_path / "a_other.csv", "path,label\nelse.jpg,x\n")
    assert ".csv" not in one_message(tmp_path / "empty").replace("a CSV", "")
    assert "A table may" not in one_message(tmp_path / "flat")
    write_csv(tmp_path / "b_labels.csv", "path,label\nflat/7.jpg,x\n")
    assert one_message(tmp_path / "flat").endswith(f"bunryu train {tmp_path / 'b_labels.csv'}")
    assert one_message(tmp_path / "photos/벌").endswith(
        f"Is it one class of several (개미, 벌)? Then give the folder that holds them: {tmp_path / 'photos'}"
    )
    touch(tmp_path, "data/train/1.jpg", "data/test/2.jpg")
    assert "one class of several" not in one_message(tmp_path / "data/train")


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
        ("a.jpg,x\nb.jpg,y\n", {}, ["line 1", "'a.jpg' is an image", "header line", "path,label"]),
        ("path,label\na.jpg,x\nb.jpg,\n,y\na.jpg, \n", {}, ["label", "empty in 2 of 4 rows", "line 3, 5"]),
        ("path,breed,age\na.jpg,x,1\nb.jpg,y,1\n", {},
         ["labels", "breed (2 different values), age (1", "data.label_column=breed"]),
        ("path,id,breed\na.jpg,1,x\nb.jpg,2,x\na.jpg,3,y\n", {}, ["breed (2 different values), id (3"]),
        ("path\na.jpg\n", {}, ["holds the labels", "none beside the paths"]),
        ("path,label,split\na.jpg,x,train\nb.jpg,y,tset\n", {}, ["line 3", "'tset'", "Did you mean 'test'"]),
        ("path,label,part\na.jpg,x,left\nb.jpg,y,train\n", {"split_column": "part"}, ["line 2", "'left'", "'part'"]),
        ("path,label\na.jpg,x\nb.jpg,y\n", {"label_column": "lable"}, ["'lable'", "Did you mean 'label'", "path"]),
        ("path,label\na.jpg,x\nb.jpg,y\n", {"path_column": "pth"}, ["data.path_column", "Did you mean 'path'"]),
        ("path,label\na.jpg,x\nb.jpg,y\n", {"group_column": "g"}, ["data.group_column", "no column 'g'"]),
        ("path,split\na.jpg,x\nb.jpg,y\n", {"label_column": "split"}, ["cannot be called 'split'", "Rename it"]),
        ("path,group,person\na.jpg,x,1\nb.jpg,y,2\n", {"label_column": "group", "group_column": "person"},
         ["cannot be called 'group'"]),
        ("path,label\na.jpg,x\nb.jpg,y\n", {"image_root": "nowhere"}, ["data.image_root", "no folder"]),
        ("path,label\nno.jpg,x\nneither.jpg,y\n", {}, ["None of the images", "no.jpg", "data.image_root=FOLDER"]),
        ("path,label\na.jpg,x\nb.jpg,x\n", {}, ["only one class, 'x'"]),
        ("path,label\na.jpg,Cat\nb.jpg,cat\n", {}, ["'Cat' (1 image)", "'cat' (1 image)"]),
        ("path,label\na.jpg,cat\nb.jpg,cat \n", {}, ["'cat' (1 image)", "'cat ' (1 image)"]),
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
        ("images/a.jpg", "a.jpg", "Did you mean data.image_root={root}/tables/images?"),
        ("../images/a.jpg", "a.jpg", "Did you mean data.image_root={root}/images?"),
        ("../images/a.jpg", "images/a.jpg", "Did you mean data.image_root={root}?"),
        ("images/a.jpg", "images/a", "There is {root}/tables/images/a.jpg: write the ending .jpg into the paths."),
        ("../images/a.png", "a", "There is {root}/images/a.png: write the ending .png into the paths."),
    ],
)
def test_images_that_lie_elsewhere_are_found(tmp_path: Path, where: str, cell: str, hint: str) -> None:
    touch(tmp_path, os.path.normpath(f"tables/{where}"))
    path = write_csv(tmp_path / "tables/t.csv", f"path,label\n{cell},x\n{cell}2,y\n")
    assert one_message(path).endswith(hint.format(root=tmp_path))


def test_data_that_are_not_there_or_no_data(tmp_path: Path) -> None:
    touch(tmp_path, "photos/cat/1.jpg", "notes.md")
    assert "Did you mean 'photos'?" in one_message(tmp_path / "fotos")
    assert "not a folder and not a table" in one_message(tmp_path / "notes.md")
    assert "not a folder and not a table" in one_message(tmp_path / "photos", val=str(tmp_path / "notes.md"))
    assert one_message() == "No data was named. Expected a folder or a CSV: bunryu train photos/"
    assert one_message(val="v").startswith("--train-dir is missing: v is for val only.")
    assert one_message(test="t").endswith("bunryu train --train-dir FOLDER --test-dir t")
    with pytest.raises(ConfigError, match="Data came twice"):
        read(tmp_path / "photos", train=str(tmp_path / "photos"))


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


def test_measuring_is_less_strict_than_training(tmp_path: Path) -> None:
    """A class folder without images in a test set is a class that is absent, not an error."""
    touch(tmp_path, "cat/1.jpg")
    (tmp_path / "dog").mkdir()
    table = read_source(DataSettings(source=str(tmp_path)), label="animal")
    assert rows(table) == [("cat/1.jpg", "cat", "")]
    assert table.target == "animal"
    assert any("dog has no images" in note for note in table.notes)


def test_label_column_of_the_model_is_preferred(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    path = write_csv(tmp_path / "t.csv", "path,label,breed\na.jpg,0,pug\n")
    assert read_source(DataSettings(source=str(path)), label="breed").target_labels.tolist() == ["pug"]
    other = write_csv(tmp_path / "u.csv", "path,label\na.jpg,pug\n")
    assert read_source(DataSettings(source=str(other)), label="breed").target_labels.tolist() == ["pug"]


# From the table to a plan: what the check and the split say, end to end.


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    from bunryu import console

    said: list[str] = []
    monkeypatch.setattr(console, "say", lambda text="", **_: said.append(text))
    return said


def plan_of(source: Path | str, *pairs: str) -> Any:
    from bunryu.planning import find_data, read_data
    from bunryu.settings import load_settings

    settings = load_settings(["model.name=scratch_cnn", *pairs], values={"data": {"source": str(source)}})
    return read_data(settings, find_data(settings))


def test_what_was_found_is_echoed_and_what_cannot_be_read_is_listed(
    tmp_path: Path, say: list[str], make_images: Any
) -> None:
    make_images(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "cat/000.png").write_bytes(b"no image")
    (tmp_path / "dog/000.png").write_bytes((tmp_path / "dog/001.png").read_bytes()[:60])
    (tmp_path / ".DS_Store").touch()
    table, checked = plan_of(tmp_path)
    assert len(table) == 8
    assert {row.path: row.reason for row in checked.skipped}.keys() == {"cat/000.png", "dog/000.png"}
    echoed = "\n".join(say)
    assert "10 images in" in echoed
    assert "one tree of class folders" in echoed
    assert "1 hidden or system file ignored" in echoed
    assert re.search(r"2 of 10 skipped: cat/000.png \(not an image \(text\)\), dog/000.png \(truncated", echoed)


def test_unreadable_images_that_empty_a_class_stop_training(tmp_path: Path, say: list[str], make_images: Any) -> None:
    make_images(tmp_path / "train", {"cat": 3, "dog": 2})
    make_images(tmp_path / "val", {"cat": 2, "dog": 2}, seed=1)
    for i in range(2):
        (tmp_path / f"val/dog/00{i}.png").write_bytes(b"")
    assert len(plan_of(tmp_path)[0]) == 7, "not fatal outside training"
    for i in range(2):
        (tmp_path / f"train/dog/00{i}.png").write_bytes(b"")
    with pytest.raises(DataError, match=r"class 'dog' has no readable image left: 2 of 2 were skipped"):
        plan_of(tmp_path)


def test_dummies_called_jpg(tmp_path: Path, say: list[str]) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg", "dog/2.jpg")
    with pytest.raises(DataError, match=r"All 3 images are unreadable, e.g. cat/1.jpg: not an image \(empty file\)"):
        plan_of(tmp_path)


def test_a_class_with_too_few_images_to_split(tmp_path: Path, say: list[str], make_images: Any) -> None:
    make_images(tmp_path, {"cat": 5, "dog": 5, "yak": 1})
    with pytest.raises(DataError, match=r"Class 'yak' has 1 image: too few to split into train and val"):
        plan_of(tmp_path)


def test_a_leak_across_given_splits_stops_unless_told_to_go_on(
    tmp_path: Path, say: list[str], make_images: Any
) -> None:
    make_images(tmp_path / "train", {"cat": 3, "dog": 3})
    make_images(tmp_path / "val", {"cat": 2, "dog": 2}, seed=1)
    shutil.copy(tmp_path / "train/cat/001.png", tmp_path / "val/cat/copy.png")
    with pytest.raises(DataError) as error:
        plan_of(tmp_path)
    assert "train/cat/001.png (train) ↔ val/cat/copy.png (val)" in str(error.value)
    assert "data.on_leak=continue" in str(error.value)
    assert "1 picture stands in two splits: train/cat/001.png = val/cat/copy.png" in "\n".join(say)
    table, checked = plan_of(tmp_path, "data.on_leak=continue")
    assert len(table) == 11
    assert [copies.kind for copies in checked.copies] == ["across splits"]


def test_one_path_in_two_given_splits_is_a_leak(tmp_path: Path, say: list[str], make_images: Any) -> None:
    make_images(tmp_path, {"cat": 2, "dog": 2})
    files = [f"{label}/00{i}.png,{label}" for label in ("cat", "dog") for i in range(2)]
    body = "".join(f"{row},train\n" for row in files) + f"{files[0]},test\n"
    with pytest.raises(DataError, match="1 picture is in two splits at once"):
        plan_of(write_csv(tmp_path / "t.csv", f"path,label,split\n{body}"))


def test_one_picture_under_two_labels_is_listed(tmp_path: Path, say: list[str], make_images: Any) -> None:
    make_images(tmp_path, {"cat": 4, "dog": 4})
    shutil.copy(tmp_path / "cat/001.png", tmp_path / "dog/same.png")
    _, checked = plan_of(tmp_path)
    assert [copies.kind for copies in checked.copies] == ["two labels"]
    assert "1 picture stands under two labels: cat/001.png = dog/same.png" in "\n".join(say)


def test_splits_decided_from_one_tree_are_the_same_for_a_table_of_it(
    tmp_path: Path, say: list[str], make_images: Any
) -> None:
    """One table out of all of them: the same rows make the same split, whatever they came from."""
    make_images(tmp_path, {"cat": 9, "dog": 9})
    tree, _ = plan_of(tmp_path)
    with (tmp_path / "t.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["label", "path"])
        writer.writerows([label, path] for path, label, _ in reversed(rows(tree)))
    listed, _ = plan_of(tmp_path / "t.csv")
    assert rows(listed) == rows(tree)
    assert np.array_equal(listed.digests, tree.digests)


def test_real_folders(shared: Path, say: list[str]) -> None:
    """Trees and tables as they come."""
    data = shared / "data"
    bees = read(data / "ants_bees")
    assert any("split folders train/, val/" in note for note in bees.notes)
    assert Counter(bees.splits) == {"train": 244, "val": 153}
    drawings = read(data / "sketch/train.csv", image_root=str(data / "sketch/train"))
    assert len(drawings) == 2333
    assert drawings.target == "class_name"
    assert [drawings.published["class_name"][name] for name in class_names(drawings)] == list(range(7))
    faces = read(data / "emotion/labels.csv")
    assert len(faces) == len(read(data / "emotion")) == 2643
    assert faces.target == "emotion"
    assert faces.groups is not None
    assert "image_root=" in one_message(data / "sketch/train.csv")


def test_read_csv_of_a_folder(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot open the table"):
        read_csv(tmp_path)
