"""bunryu augment: copies on disk that no split can tear from their originals."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import bunryu as package
from bunryu.data.splits.assign import assign
from bunryu.settings.data import SplitSettings
from bunryu.settings.load import load_settings
from bunryu.workflows.plan.data import check_data, find_data
from conftest import Command, refused


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def pixels(file: Path) -> np.ndarray:
    with Image.open(file) as picture:
        return np.asarray(picture.convert("RGB"))


@pytest.fixture
def photos(make_images: Callable[..., Path], here: Path) -> Path:
    return make_images(here / "photos", {"강아지": 9, "b": 4})


def test_balance_and_flips(photos: Path, bunryu: Command, here: Path) -> None:
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.rglob("*.png")}
    ended = bunryu("augment", "photos", "--out", "more", "--flip", "horizontal", "--balance-to", "21")
    assert ended.code == 0, ended.err
    assert "42 images in more: 13 originals, 29 copies" in ended.err
    assert "to train on: b 4 to 21, 강아지 9 to 21" in ended.err
    assert "copies will be validated on too" in ended.err
    assert ended.err.splitlines()[-1] == "next: bunryu train more/labels.csv"
    found = rows(here / "more/labels.csv")
    assert Counter(row["label"] for row in found) == {"강아지": 21, "b": 21}
    assert len({row["path"] for row in found}) == len(list((here / "more/images").iterdir())) == 42
    assert all((here / "more" / row["path"]).is_file() for row in found)
    for row in found:
        original = photos / row["group"]
        if row["path"].endswith("-horizontal.png"):
            assert (pixels(here / "more" / row["path"]) == pixels(original)[:, ::-1]).all()
        elif "-copy" not in row["path"]:
            assert (here / "more" / row["path"]).read_bytes() == original.read_bytes()
    random = [row for row in found if "-copy" in row["path"]]
    assert len(random) == 3 + 13
    per_original = Counter(row["group"] for row in random if row["label"] == "b")
    assert set(per_original.values()) <= {3, 4}, "all are copied before any again"
    assert len({pixels(here / "more" / row["path"]).tobytes() for row in random}) == len(random)
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.rglob("*.png")}


@pytest.mark.parametrize("seed", range(4))
def test_no_split_of_the_result_tears_a_copy_from_its_original(photos: Path, here: Path, seed: int) -> None:
    package.augment(photos, out=here / "more", flip="horizontal,vertical", balance_to=30, quiet=True)
    settings = load_settings([], values={"data": {"source": str(here / "more/labels.csv")}})
    table = assign(check_data(settings, find_data(settings)).table, SplitSettings(val=0.3, test=0.2, seed=seed))
    assert table.groups is not None
    sides: dict[str, set[str]] = {}
    for group, split in zip(table.groups, table.splits, strict=True):
        sides.setdefault(group, set()).add(split)
    assert len(sides) == 13
    assert all(len(found) == 1 for found in sides.values())
    assert {side for found in sides.values() for side in found} == {"train", "val", "test"}


def test_given_groups_and_splits_are_kept_and_only_training_rows_are_copied(
    photos: Path, here: Path, bunryu: Command
) -> None:
    lines = [
        f"photos/{name}/{i:03}.png,{name},{'p' + str(i // 2) if i < 8 else ''},{'val' if i % 4 == 3 else 'train'}"
        for name, many in (("강아지", 9), ("b", 4))
        for i in range(many)
    ]
    split = "path,class,person,split\n" + "\n".join(line.replace(",p1,train", ",p1,val") for line in lines)
    (here / "t.csv").write_text(split.replace(",p3,train", ",p3,val") + "\n", encoding="utf-8")
    told = bunryu("augment", "t.csv", "--balance-to", "8", "augment.preset=medium", "--out", "once").err
    assert "validated on" not in told
    frame = package.augment("t.csv", "augment.preset=medium", out=here / "more", balance_to=8, quiet=True)
    assert list(frame.columns) == ["path", "label", "group", "split"]
    copies = frame[frame["path"].str.contains("-copy")]
    assert set(copies["split"]) == {"train"}
    assert set(frame["split"]) == {"train", "val"}
    assert Counter(frame[frame["split"] == "train"]["label"]) == {"강아지": 8, "b": 8}
    assert set(copies["group"]) <= {"p0", "p2", "photos/강아지/008.png"}
    again = bunryu("train", "more/labels.csv", "model.name=scratch_cnn", "input.size=16", "--dry-run")
    assert again.code == 0, again.err
    assert "rows: train 16, val 6" in again.err


def test_squares_and_operations_from_a_file(here: Path) -> None:
    (here / "wide").mkdir()
    for name in "ab":
        (here / "wide" / name).mkdir()
        for i in range(2):
            Image.new("RGB", (20, 10), (10, 20, 30 + i)).save(here / "wide" / name / f"{i}.jpg", quality=100)
    (here / "ops.yaml").write_text("augment:\n  ops: [{rotate: {degrees: 90}}, {gaussian_noise: {std: 0.02}}]\n")
    made = [
        package.augment(
            here / "wide", out=here / f"more{turn}", square=True, colour="9,200,7", ops=here / "ops.yaml", quiet=True
        )
        for turn in (0, 1)
    ]
    frame = made[0]
    assert len(frame) == 8
    for path in frame["path"]:
        picture = pixels(here / "more0" / path)
        assert picture.shape == (20, 20, 3)
        assert (picture == pixels(here / "more1" / path)).all(), "the same seed makes the same copies"
        if "-copy" not in path:
            assert (picture[[0, 4, 15, 19]] == (9, 200, 7)).all()
            assert np.abs(picture[5:15].astype(int) - (10, 20, 30)).max() <= 3
        else:
            assert len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


def test_published_numbers_and_damaged_pictures(photos: Path, here: Path, bunryu: Command) -> None:
    (photos / "b/broken.png").write_bytes(b"no image")
    files = sorted(photos.rglob("*.png"))
    text = "\n".join(f"{p.relative_to(here)},{p.parent.name},{int(p.parent.name == 'b') + 4}" for p in files)
    (here / "t.csv").write_text(f"file,class,target\n{text}\n", encoding="utf-8")
    ended = bunryu("augment", "t.csv", "--out", "more", "--flip", "vertical", "data.check=none")
    assert ended.code == 0, ended.err
    assert "1 image skipped: listed in more" in ended.err
    assert [row["path"] for row in rows(here / "more/skipped.csv")] == ["photos/b/broken.png"]
    found = rows(here / "more/labels.csv")
    assert len(found) == 26 == len(list((here / "more/images").iterdir()))
    assert {(row["label"], row["index"]) for row in found} == {("강아지", "4"), ("b", "5")}
    settings = load_settings([], values={"data": {"source": str(here / "more/labels.csv")}})
    assert find_data(settings).published["label"] == {"강아지": 4, "b": 5}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ((), "Nothing to do: give --square, --flip, --balance-to N or --ops FILE.yaml."),
        (("--flip", "horizontel"), "received 'horizontel'. Did you mean 'horizontal'?"),
        (("--square", "--colour", "1,2,300"), "--colour: expected white, black or R,G,B"),
        (("--flip", "vertical", "--colour", "black"), "--colour black is the colour of --square's padding"),
        (("--balance-to", "9", "augment.preset=none"), "augment.* change nothing, so all copies would be equal"),
        (("--balance-to", "3"), "--balance-to 3 adds nothing: every class has so many images to train on"),
        (("--flip", "vertical", "augment.hflip=0.2"), "augment.hflip=0.2: augment.* decide random copies"),
        (("--flip", "vertical", "train.epochs=2"), "augment takes data.*, decode.* and augment.* (and train.seed)"),
        (("--ops", "no.yaml"), "There is no settings file no.yaml."),
        (("--ops", "empty.yaml"), "--ops empty.yaml: expected settings with augment in them"),
        (("--flip", "vertical", "--out", "photos"), "--out: photos is not empty, and results are never overwritten"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told(photos: Path, bunryu: Command, here: Path, options: tuple[str, ...], told: str) -> None:
    (here / "empty.yaml").write_text("train: {epochs: 3}\n")
    ended = bunryu("augment", "photos", *(() if "--out" in options else ("--out", "new")), *options)
    assert told in refused(ended)
    assert not (here / "new").exists()
