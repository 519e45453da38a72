"""bunryu split: the same split that training makes, as folders that training takes."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest

import bunryu as package
from bunryu.core.errors import ConfigError
from conftest import Command, refused


def rows(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


@pytest.mark.parametrize("link", ["copy", "hard", "symlink"])
def test_the_folders_are_the_split(bunryu: Command, make_images: Callable[..., Path], here: Path, link: str) -> None:
    photos = make_images(here / "photos", {"가": 20, "b c": 15})
    before = {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.rglob("*.png")}
    ended = bunryu("split", "photos", "split.test=0.2", "--out", "laid out", "--link", link)
    assert ended.code == 0, ended.err
    assert 'next: bunryu train "laid out"' in ended.err
    found = rows(here / "laid out/split.csv")
    assert len(found) == 35
    for row in found:
        file = here / "laid out" / row["split"] / row["label"] / Path(row["path"]).name
        assert file.read_bytes() == (photos / row["path"]).read_bytes()
        assert file.is_symlink() is (link == "symlink")
        assert file.samefile(photos / row["path"]) is (link != "copy")
    assert {row["split"] for row in found} == {"train", "val", "test"}
    assert before == {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in photos.rglob("*.png")}
    again = bunryu("train", "laid out", "model.name=scratch_cnn", "--dry-run", "input.size=16", "train.device=cpu")
    assert again.code == 0, again.err
    counts = {name: sum(row["split"] == name for row in found) for name in ("train", "val", "test")}
    assert f"rows: train {counts['train']}, val {counts['val']}, test {counts['test']}" in again.err


def test_two_files_of_one_name_are_both_kept(make_images: Callable[..., Path], here: Path) -> None:
    make_images(here / "one", {"a": 6, "b": 6})
    make_images(here / "two", {"a": 6, "b": 6}, seed=5)
    lines = [f"{root}/{name}/{i:03}.png,{name}" for root in ("one", "two") for name in "ab" for i in range(6)]
    (here / "t.csv").write_text("path,label\n" + "\n".join(lines) + "\n", encoding="utf-8")
    table = package.split("t.csv", out=here / "out", quiet=True)
    assert table["split"].value_counts().to_dict() == {"train": 19, "val": 5}
    files = list((here / "out").rglob("*.png"))
    assert len(files) == 24
    assert len({file.read_bytes() for file in files}) == 24


def test_what_cannot_be_laid_out_is_told(bunryu: Command, make_images: Callable[..., Path], here: Path) -> None:
    make_images(here / "photos", {"a": 6, "b": 6})
    (here / "full").mkdir()
    (here / "full/x").touch()
    assert "--out: full is not empty" in refused(bunryu("split", "photos", "--out", "full"))
    assert "no file or folder fotos" in refused(bunryu("split", "fotos", "--out", "new"))
    (here / "t.csv").write_text(
        "path,label\n" + "".join(f"photos/{n}/{i:03}.png,{n}/x\n" for n in "ab" for i in range(6)), encoding="utf-8"
    )
    assert "2 class names cannot be a folder: 'a/x', 'b/x'" in refused(bunryu("split", "t.csv", "--out", "new"))
    assert not (here / "new").exists()


def test_settings_that_change_nothing_are_refused(
    bunryu: Command, make_images: Callable[..., Path], here: Path
) -> None:
    make_images(here / "photos", {"a": 6, "b": 6})
    told = refused(bunryu("split", "photos", "--out", "out", "split.val=0.5", "loss.name=focal"))
    assert told.startswith("split takes data.*, split.* and decode.* (and model.heads); 'loss.name=focal' changes")
    with pytest.raises(ConfigError, match="changes nothing"):
        package.split("photos", "train.seed=1", out="out")
    assert not (here / "out").exists()


def test_what_folders_cannot_hold_is_told_and_kept_by_the_table(
    bunryu: Command, make_images: Callable[..., Path], here: Path
) -> None:
    make_images(here / "photos", {"고양이": 8, "개": 8})
    lines = [
        f"{name}/{i:03}.png,{name},{number},p{i // 2}" for name, number in (("고양이", 0), ("개", 1)) for i in range(8)
    ]
    (here / "t.csv").write_text("path,label,target,person\n" + "\n".join(lines) + "\n", encoding="utf-8")
    ended = bunryu("split", "t.csv", "data.image_root=photos", "split.test=0.2", "--out", "out")
    assert ended.code == 0, ended.err
    again = "t.csv data.image_root=photos split.file=out/split.csv"
    assert (
        f"folders do not hold the numbers of its classes and the groups; the same split with them: bunryu train {again}"
        in (" ".join(ended.err.split()))
    )
    options = ["model.name=scratch_cnn", "input.size=16", "train.device=cpu", "--dry-run"]
    trained = bunryu("train", *again.split(), *options)
    assert trained.code == 0, trained.err
    assert "numbers='target' (of the classes, for submissions)" in trained.err
    assert "classes: 2: 고양이, 개" in trained.err
    plain = bunryu("split", "photos", "--out", "plain")
    assert "folders do not hold" not in plain.err
