"""Trees of folders in all the shapes they come in, and what is asked where two readings are meant alike."""

from __future__ import annotations

import itertools
import re
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sourcing import one_message, read, rows, touch

from bunryu.data.sources import file_names
from bunryu.data.sources.split_words import split_of

CLASSES = ("cat", "dog")


def plain(source: Path, **options: str) -> set[tuple[str, str, str]]:
    return {(Path(path).name, label, split) for path, label, split in rows(read(source, **options))}


def spread(root: Path, folders: dict[str, str]) -> Path:
    """Put a picture of each class into each folder, {split: folder}."""
    touch(root, *(f"{folder}/{label}/{split}-{label}.jpg" for split, folder in folders.items() for label in CLASSES))
    return root


EXPECTED = {(f"{split}-{label}.jpg", label, split) for split in ("train", "val", "test") for label in CLASSES}


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"), ("Train", "Validation", "Test"), ("training_set", "val_set", "test_set"),
        ("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"), ("01_train", "02_valid", "03_test"),
        ("train/images", "val/images", "test/images"), ("dataset/train", "dataset/dev", "dataset/testing"),
        ("a/b/train2017", "a/b/val2017", "a/b/test2017"),
        ("학습데이터", "검증데이터", "테스트"), ("train/train", "val/val", "test/test"),
    ],
)  # fmt: skip
def test_split_folders_of_every_spelling_read_alike(tmp_path: Path, train: str, val: str, test: str) -> None:
    root = spread(tmp_path / "d", {"train": train, "val": val, "test": test})
    touch(root, ".ipynb_checkpoints/x.jpg", "__MACOSX/train/cat/._1.jpg", f"{train}/cat/.ipynb_checkpoints/y.jpg")
    assert plain(root) == EXPECTED
    assert any(note.startswith("read as: split folders") for note in read(root).notes)


_BESIDE = st.sampled_from(["", "set", "_set", " set", "_data", "-images", "Data", "_2017", "1"])
_WORDS = {"train": ["train", "training"], "val": ["val", "valid", "validation", "dev"], "test": ["test", "testing"]}


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_words_for_splits_in_any_case_and_company(data: st.DataObject) -> None:
    for split, words in _WORDS.items():
        word = data.draw(st.sampled_from(words))
        cased = data.draw(st.sampled_from([str.lower, str.upper, str.title]))(word)
        assert split_of(cased + data.draw(_BESIDE)) == split
    assert (
        split_of(data.draw(st.sampled_from(["bullet_train", "contest", "latest", "valley", "trainer", "images"])))
        is None
    )


def test_pictures_to_predict_are_no_class(tmp_path: Path) -> None:
    spread(tmp_path, {"train": "seg_train/seg_train", "test": "seg_test/seg_test"})
    touch(tmp_path, "seg_pred/seg_pred/1.jpg")
    assert {label for _, label, _ in plain(tmp_path)} == set(CLASSES)
    assert any("seg_pred/ is to be predicted: not used" in note for note in read(tmp_path).notes)


def test_two_levels_are_asked_and_each_answer_ends_in_a_table(tmp_path: Path) -> None:
    touch(tmp_path, "animals/cat/1.jpg", "animals/dog/2.jpg", "vehicles/bus/3.jpg", "vehicles/car/4.jpg")
    text = one_message(tmp_path)
    for part in ("data.layout=classes: 2 classes animals (2), vehicles (2)", "data.layout=nested: 4 classes bus (1)"):
        assert part in text
    assert {label for _, label, _ in plain(tmp_path, layout="classes")} == {"animals", "vehicles"}
    assert {label for _, label, _ in plain(tmp_path, layout="nested")} == {"bus", "car", "cat", "dog"}


def test_folders_whose_names_repeat_may_be_parts(tmp_path: Path) -> None:
    touch(tmp_path, "a/cat/1.jpg", "a/dog/2.jpg", "b/cat/3.jpg", "b/dog/4.jpg")
    assert f"--train-dir {tmp_path}/a --val-dir {tmp_path}/b" in one_message(tmp_path)


def test_class_folders_with_splits_in_them(tmp_path: Path) -> None:
    touch(tmp_path, "cat/train/1.jpg", "cat/test/2.jpg", "dog/train/3.jpg", "dog/test/4.jpg")
    assert plain(tmp_path) == {
        ("1.jpg", "cat", "train"), ("2.jpg", "cat", "test"), ("3.jpg", "dog", "train"), ("4.jpg", "dog", "test")
    }  # fmt: skip


@pytest.mark.parametrize(
    ("names", "pattern"),
    [
        (("cat.0.jpg", "cat.1.jpg", "dog.0.jpg", "dog.1.jpg"), "{label}.#"),
        (("cat_0.jpg", "cat_1.jpg", "dog_0.jpg", "dog_1.jpg"), "{label}_#"),
        (("cat (1).jpg", "cat (2).jpg", "dog (1).jpg", "dog (2).jpg"), "{label} (#)"),
        (("cat7.jpg", "cat12.jpg", "dog7.jpg", "dog12.jpg"), "{label}#"),
    ],
)
def test_labels_in_names_are_offered_and_read(tmp_path: Path, names: tuple[str, ...], pattern: str) -> None:
    touch(tmp_path, *names)
    assert "2 classes: cat (2), dog (2)" in one_message(tmp_path)
    assert pattern in one_message(tmp_path)
    assert {label for _, label, _ in plain(tmp_path, label_pattern=pattern)} == {"cat", "dog"}
    assert "fits none of the 4 images" in one_message(tmp_path, label_pattern="x{label}")


def test_a_pattern_of_paths_finds_groups_and_splits(tmp_path: Path) -> None:
    touch(tmp_path, "black_cat/train/p1/1.jpg", "dog/val/p2/2.jpg", "dog/train/p3/3.jpg")
    table = read(tmp_path, label_pattern="{label}/{split}/{group}/*")
    assert rows(table)[0] == ("black_cat/train/p1/1.jpg", "black_cat", "train")
    assert table.groups is not None
    assert table.groups.tolist() == ["p1", "p3", "p2"]
    assert {label for _, label, _ in plain(tmp_path, label_pattern=r"([a-z]+)_?[a-z]*/")} == {"black", "dog"}


def test_a_split_folder_that_is_given_for_one_split(tmp_path: Path) -> None:
    spread(tmp_path, {"train": "train", "val": "val"})
    assert "was given for train" in one_message(train=str(tmp_path))


def test_a_class_beside_a_folder_called_train_is_asked(tmp_path: Path) -> None:
    touch(tmp_path, "train/steam/1.jpg", "train/diesel/2.jpg", "bus/3.jpg")
    assert f"--train-dir {tmp_path}/train" in one_message(tmp_path)
    assert {label for _, label, _ in plain(tmp_path, layout="classes")} == {"bus", "train"}


def test_hugging_face_folders(tmp_path: Path) -> None:
    for split in ("train", "test"):
        touch(tmp_path, f"{split}/{split}1.jpg", f"{split}/{split}2.jpg")
        text = f"file_name,label\n{split}1.jpg,cat\n{split}2.jpg,dog\n"
        (tmp_path / split / "metadata.csv").write_text(text, encoding="utf-8")
    assert plain(tmp_path) == {(f"{s}{i}.jpg", CLASSES[i - 1], s) for s in ("train", "test") for i in (1, 2)}


@pytest.mark.parametrize(
    ("column", "cells"),
    [("is_valid", "False,True"), ("is_val", "0,1"), ("set", "train,validation"), ("Usage", "Training,PublicTest")],
)
def test_the_users_own_split_is_used(tmp_path: Path, column: str, cells: str) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg", "d.jpg")
    train, val = cells.split(",")
    text = f"path,label,{column}\na.jpg,x,{train}\nb.jpg,y,{train}\nc.jpg,x,{val}\nd.jpg,y,{val}\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert read(tmp_path / "t.csv").splits.tolist() == ["train", "train", "val", "val"]


def test_columns_that_look_like_a_split_are_named(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    (tmp_path / "t.csv").write_text("path,label,part,fold\na.jpg,x,train,0\nb.jpg,y,val,1\n", encoding="utf-8")
    notes = "\n".join(read(tmp_path / "t.csv").notes)
    assert "data.split_column=part" in notes
    assert "--folds 2 folds.column=fold validates on each of its folds" in notes


@pytest.mark.parametrize(
    ("header", "cells", "told"),
    [
        ("is_train", "TRUE FALSE", "data.split_column=is_train uses it (yes is train, no is test)"),
        ("isValidation", "0 1", "data.split_column=isValidation uses it (yes is val, no is train)"),
        ("검증", "0 1", "data.split_column=검증 uses it (yes is val, no is train)"),
        ("train,val", "1,0 0,1", "columns 'train', 'val' look like a split and are not used"),
        ("partition", "0 1", "column 'partition' is called like a split and is not used: 0, 1 are not train"),
        ("list_eval_partition", "0 2", "is not used: 0, 2 are not train, val and test"),
    ],
)
def test_a_split_in_numbers_or_in_yes_and_no_is_named(tmp_path: Path, header: str, cells: str, told: str) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    first, second = cells.split()
    (tmp_path / "t.csv").write_text(f"path,label,{header}\na.jpg,x,{first}\nb.jpg,y,{second}\n", encoding="utf-8")
    assert told in "\n".join(read(tmp_path / "t.csv").notes)


def test_a_named_column_of_yes_and_no_is_used(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg", "c.jpg")
    text = "path,label,is_train\na.jpg,x,TRUE\nb.jpg,y,True\nc.jpg,x,FALSE\n"
    (tmp_path / "t.csv").write_text(text, encoding="utf-8")
    assert read(tmp_path / "t.csv", split_column="is_train").splits.tolist() == ["train", "train", "test"]


@pytest.mark.parametrize("pattern", [r"((?:a+)+)b", "{label}_*_*_*_*_*_*x_*"])
def test_a_pattern_that_tries_every_way_is_stopped(
    pattern: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_names, "_SECONDS", 0.2)
    touch(tmp_path, "_" + "a" * 60 + "_" * 120 + ".jpg")
    assert "takes too long on _aaa" in one_message(tmp_path, label_pattern=pattern)


@pytest.mark.parametrize(
    ("folder", "lines"),
    [
        ("meta", "cat/{n}\ndog/{n}\n"), (".", "cat/{n}.jpg\ndog/{n}.jpg\n"),
        ("annotations", "cat/{n} 1 1 1\ndog/{n} 2 2 1\n"), ("images", "cat/{n}.jpg cat\ndog/{n}.jpg dog\n"),
    ],
)  # fmt: skip
def test_lists_that_say_a_split_are_named_and_the_advice_takes_them(tmp_path: Path, folder: str, lines: str) -> None:
    root = touch(tmp_path / "food" / "images", *(f"{label}/{at}.jpg" for label in CLASSES for at in (1, 2, 3, 4)))
    (tmp_path / "food" / folder).mkdir(exist_ok=True)
    for at, name in enumerate(("train", "val", "trainval", "test"), 1):
        (tmp_path / "food" / folder / f"{name}.txt").write_text(lines.format(n=at), encoding="utf-8")
    note = next(note for note in read(root).notes if "say a split and are not used" in note)
    words = shlex.split(note.partition("bunryu train ")[2].removesuffix(" takes it"))
    given = {word[2:-4]: path for word, path in itertools.pairwise(words) if word.endswith("-dir")}
    assert given.keys() == {"train", "val", "test"}
    assert words[-1] == f"data.image_root={root}"
    found = read(**given, image_root=str(root))
    assert {(path, split) for path, _, split in rows(found)} == {
        (f"{label}/{at}.jpg", split) for label in CLASSES for at, split in ((1, "train"), (2, "val"), (4, "test"))
    }
    assert len(set(found.target_labels)) == 2
    assert [
        note for note in read(spread(tmp_path / "d", {"train": "train", "val": "val"})).notes if "takes" in note
    ] == []


def test_data_sets_beside_each_other_are_asked(tmp_path: Path) -> None:
    """Each with the splits of the same classes: the names of the sets are hardly the classes."""
    for name in ("first", "second"):
        spread(tmp_path / name, {"train": "training_set", "test": "test_set"})
    text = one_message(tmp_path)
    ways = re.findall(r'data.label_pattern="([^"]+)"', text)
    assert [{label for _, label, _ in plain(tmp_path, label_pattern=way)} for way in ways] == [
        {"first", "second"}, {"cat", "dog"}
    ]  # fmt: skip


def test_the_table_that_has_the_labels_is_named_first(tmp_path: Path) -> None:
    touch(tmp_path, "img/b0.jpg", "img/b1.jpg", "img/r0.jpg", "img/r1.jpg")
    rows_of = "".join(f"{name},{name[0]}\n" for name in ("b0", "b1", "r0", "r1"))
    for name in ("sample_submission", "labels", "other"):
        (tmp_path / f"{name}.csv").write_text(f"id,label\n{rows_of}", encoding="utf-8")
    for folder in (tmp_path, tmp_path / "img"):
        text = one_message(folder)
        assert f"bunryu train {tmp_path}/labels.csv (or other.csv, sample_submission.csv)" in text
    assert len(read(tmp_path / "labels.csv")) == 4
