"""Trees of folders become one table; what cannot be one is said in one message."""

from __future__ import annotations

import os
import sys
import unicodedata
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from sourcing import one_message, read, rows, touch, write_csv

from bunryu.core.errors import DataError
from bunryu.data.sources.read import read_source
from bunryu.data.table import class_names
from bunryu.settings.data import DataSettings
from bunryu.ship.inputs import gather


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
    touch(tmp_path, "cat/1.jpg", "dog/2.jpg", "cat/readme.txt", "cat/a.doc", "dog/b.DOC", "dog/plain", "top.jpg")
    notes = "\n".join(read(tmp_path).notes)
    assert "4 files that are not images ignored (2 .doc, " in notes
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
        pytest.param(("cat/a.txt", "dog/b.dat"), ["is not a data set: 2 of its 2", "cat, dog", "1 .dat"], id="dummies"),
        pytest.param(("cat/", "dog/"), ["is not a data set", "cat, dog"], id="empty folders"),
        pytest.param(("cat/1.jpg", "dog/", "cow/1.jpg"), ["without any image", "dog", "remove"], id="an empty class"),
        pytest.param(("cat/1.jpg", "dog/.x.jpg"), ["without any image", "dog"], id="only hidden files in a class"),
        pytest.param(("cat/1.jpg", "dog/1.mp4"), ["without any image", "1 .mp4"], id="only a film in a class"),
        pytest.param(("train/a/1.jpg", "train/b/", "val/a/1.jpg"), ["without any image", ": b."], id="empty in train"),
        pytest.param(("cat/1.jpg", "cat/2.jpg"), ["only one class, 'cat'", "at least two"], id="one class"),
        pytest.param(("a/1.jpg", "labels.csv"), ["only one class", "labels.csv"], id="a table beside the images"),
        pytest.param(("Cat/1.jpg", "cat/2.jpg", "cat/3.jpg"), ["'Cat' (1 image)", "'cat' (2 images)"], id="two cases"),
        pytest.param(
            ("x/photos/cat/1.jpg", "x/photos/dog/1.jpg", "src/a.py", "b/c.py", "readme.md"),
            ["2 of its 3 folders have no images (b, src)", "2 .py. Did you mean", "(with cat/, dog/)? bunryu train "],
            id="a project",
        ),
        pytest.param(
            ("photos/cat/1.jpg", "photos/dog/1.jpg", "cache/a.py"),
            ["without any image", "cache. Add", "Found instead: 1 .py. Did you mean the data in it", "data/photos"],
            id="data beside another folder",
        ),
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
    touch(tmp_path, "masks/train/images/1.jpg", "masks/train/train.csv", "masks/eval/images/2.jpg")
    assert one_message(tmp_path / "masks").endswith(f"bunryu train {tmp_path / 'masks/train/train.csv'}")
    assert ".csv" not in one_message(tmp_path / "empty").replace("a CSV", "")
    assert "A table may" not in one_message(tmp_path / "flat")
    write_csv(tmp_path / "b_labels.csv", "path,label\nflat/7.jpg,x\n")
    assert one_message(tmp_path / "flat").endswith(f"bunryu train {tmp_path / 'b_labels.csv'}")
    assert one_message(tmp_path / "photos/벌").endswith(
        f"class of several (개미, 벌)? Then give the folder that holds them: bunryu train {tmp_path / 'photos'}"
    )
    touch(tmp_path, "data/train/1.jpg", "data/test/2.jpg")
    assert "one class of several" not in one_message(tmp_path / "data/train")


def test_measuring_is_less_strict_than_training(tmp_path: Path) -> None:
    """A class folder without images in a test set is a class that is absent, not an error."""
    touch(tmp_path, "cat/1.jpg")
    (tmp_path / "dog").mkdir()
    table = read_source(DataSettings(source=str(tmp_path)), label="animal")
    assert rows(table) == [("cat/1.jpg", "cat", "")]
    assert table.target == "animal"
    assert any("dog has no images" in note for note in table.notes)


def test_files_beside_class_folders_are_counted_as_predict_counts_them(tmp_path: Path) -> None:
    touch(tmp_path, "tree/a/1.jpg", "tree/b/2.jpg", "tree/a/x.txt", "tree/notes.txt")
    told = "2 files that are not images ignored (2 .txt)"
    assert told in read(tmp_path / "tree").notes
    assert any(note.endswith(told) for note in gather([str(tmp_path / "tree")]).notes)
    touch(tmp_path, "split/train/a/1.jpg", "split/train/b/2.jpg", "split/train/x.txt", "split/notes.txt", "split/3.jpg")
    notes = read(tmp_path / "split").notes
    assert told in notes
    assert "1 image outside any class folder ignored" in notes
