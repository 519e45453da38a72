"""Whatever the user has becomes one table: its labels and classes, and what the check and the split say of it."""

from __future__ import annotations

import csv
import re
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sourcing import one_message, read, rows, touch, write_csv

from bunryu.core.errors import ConfigError, DataError
from bunryu.data.sources.read import read_source
from bunryu.data.table import class_names
from bunryu.settings.data import DataSettings

# Labels and the order of classes.


def test_labels_stay_text(tmp_path: Path) -> None:
    labels = ["01", "1", "1.0", "1e3", "NA", "nan", "None", "null", "True", "no", "-", "  x"]
    lines = "".join(f'{i}.jpg,"{label}"\n' for i, label in enumerate(labels))
    path = write_csv(touch(tmp_path, *(f"{i}.jpg" for i in range(len(labels)))) / "t.csv", "path,label\n" + lines)
    assert set(read(path).target_labels) == {label.strip() for label in labels}


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


# What is no data.


def test_data_that_are_not_there_or_no_data(tmp_path: Path) -> None:
    touch(tmp_path, "photos/cat/1.jpg", "notes.md")
    assert f"Did you mean '{tmp_path / 'photos'}'?" in one_message(tmp_path / "fotos")
    assert "not a folder and not a table" in one_message(tmp_path / "notes.md")
    assert "not a folder and not a table" in one_message(tmp_path / "photos", val=str(tmp_path / "notes.md"))
    assert one_message() == "No data was named. Expected a folder or a CSV: bunryu train photos/"
    assert one_message(val="v").startswith("Data to train on are missing: v is for val only.")
    assert one_message(test="t").endswith("bunryu train --train-dir FOLDER --test-dir t")
    with pytest.raises(ConfigError, match="Data came twice"):
        read(tmp_path / "photos", train=str(tmp_path / "photos"))


def test_label_column_of_the_model_is_preferred(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg")
    path = write_csv(tmp_path / "t.csv", "path,label,breed\na.jpg,0,pug\n")
    assert read_source(DataSettings(source=str(path)), label="breed").target_labels.tolist() == ["pug"]
    other = write_csv(tmp_path / "u.csv", "path,label\na.jpg,pug\n")
    assert read_source(DataSettings(source=str(other)), label="breed").target_labels.tolist() == ["pug"]


# From the table to a plan: what the check and the split say, end to end.


@pytest.fixture
def say(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    from bunryu.core import console

    said: list[str] = []
    monkeypatch.setattr(console, "say", lambda text="", **_: said.append(text))
    return said


def plan_of(source: Path | str, *pairs: str) -> Any:
    from bunryu.settings.load import load_settings
    from bunryu.workflows.plan.data import find_data, read_data

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
    with pytest.raises(DataError, match=r"class 'dog' has no readable image left: all 2 were skipped"):
        plan_of(tmp_path)


def test_dummies_called_jpg(tmp_path: Path, say: list[str]) -> None:
    touch(tmp_path, "cat/1.jpg", "dog/1.jpg", "dog/2.jpg")
    with pytest.raises(DataError, match=r"All 3 images are unreadable: 3 such as cat/1.jpg \(not an image "):
        plan_of(tmp_path)


def test_a_class_with_too_few_images_to_split(tmp_path: Path, say: list[str], make_images: Any) -> None:
    make_images(tmp_path, {"cat": 5, "dog": 5, "yak": 1})
    with pytest.raises(DataError, match=r"Class 'yak' has 1 image: too few to split into train and val") as error:
        plan_of(tmp_path)
    assert "model.heads" not in str(error.value)


def test_a_combination_too_rare_to_split_is_told_of_heads_of_their_own(tmp_path: Path, make_images: Any) -> None:
    make_images(tmp_path / "all", {"x": 9})
    cells = ["a,u"] * 4 + ["b,u"] * 4 + ["b,v"]
    rows = [f"all/x/{i:03}.png,{cell}" for i, cell in enumerate(cells)]
    (tmp_path / "t.csv").write_text("path,one,two\n" + "\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"Class 'b\+v' has 1 image: .* With model\.heads=separate each value"):
        plan_of(tmp_path / "t.csv", "data.label_columns=[one, two]")


def test_empty_cells_beside_lists_of_labels_are_told_of_several_labels(tmp_path: Path, make_images: Any) -> None:
    make_images(tmp_path / "all", {"x": 4})
    rows = [f"all/x/{i:03}.png,{cell}" for i, cell in enumerate(["a|b", "", "a", "b"])]
    (tmp_path / "t.csv").write_text("path,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"is empty in 1 of 4 rows.* data\.multi_label=label"):
        plan_of(tmp_path / "t.csv")


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
    beside = read(data / "sketch/train.csv")
    assert beside.paths[0].startswith("train/")
    assert len(beside) == 2333


def test_paths_through_the_folder_above_are_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = touch(tmp_path / "photos", "a/1.jpg", "b/2.jpg")
    write_csv(tmp_path / "t.csv", "path,label\n../photos/a/1.jpg,x\nb/2.jpg,y\n")
    (tmp_path / "w").mkdir()
    monkeypatch.chdir(tmp_path / "w")
    from bunryu.settings.load import load_settings
    from bunryu.settings.run import absolute

    for source, settings in (("../photos", {}), ("../t.csv", {"image_root": "../w/../photos"})):
        table = read(source, **settings)
        assert table.paths.tolist() == ["a/1.jpg", "b/2.jpg"]
        assert table.root == photos
    made = absolute(load_settings(values={"data": {"source": "../photos"}}))
    assert made.data.source == str(photos)
    assert made.label == "photos"


def test_the_folder_above_a_link_is_where_the_link_leads(tmp_path: Path) -> None:
    photos = touch(tmp_path / "disk/photos", "a/1.jpg", "b/2.jpg")
    try:
        (tmp_path / "link").symlink_to(tmp_path / "disk/photos/a", target_is_directory=True)
    except OSError:
        pytest.skip("no links here")
    table = read(tmp_path / "link/..")
    assert table.paths.tolist() == ["a/1.jpg", "b/2.jpg"]
    assert table.root == photos
