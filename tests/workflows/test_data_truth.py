"""No leak by accident, whatever form the splits and groups came in; and errors before time is spent."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from bunryu.core.errors import ConfigError, DataError
from bunryu.data.splits.split_csv import read_digests
from bunryu.settings.load import load_settings
from bunryu.settings.run import absolute
from bunryu.workflows.plan.decide import make_plan
from bunryu.workflows.plan.plan import Plan
from conftest import TINY, Command, Tiny

SCRATCH = ("model.name=scratch_cnn", "train.epochs=2", "train.device=cpu")
MakeImages = Callable[..., Path]


def plan_of(data: Path, *pairs: str) -> Plan:
    return make_plan(absolute(load_settings(pairs, values={"data": {"source": str(data)}})))


@pytest.fixture
def photos(tmp_path: Path, make_images: MakeImages) -> Path:
    return make_images(tmp_path / "photos", {"ant": 12, "bee": 12})


def test_marked_test_rows_do_not_leak_into_the_rest(tmp_path: Path, make_images: MakeImages) -> None:
    make_images(tmp_path / "photos", {"ant": 8, "bee": 8})
    shutil.copy(tmp_path / "photos" / "ant" / "000.png", tmp_path / "photos" / "ant" / "copy.png")
    files = sorted((tmp_path / "photos").glob("*/*.png"))
    lines = ["path,label,split"]
    for file in files:
        side = "test" if file.name in ("000.png", "001.png") else ""
        lines.append(f"{file.relative_to(tmp_path).as_posix()},{file.parent.name},{side}")
    (tmp_path / "table.csv").write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(DataError, match=r"photos/ant/000.png \(test\) ↔ photos/ant/copy.png \(train\)"):
        plan_of(tmp_path / "table.csv", *SCRATCH)
    table = plan_of(tmp_path / "table.csv", *SCRATCH, "data.on_leak=continue").table
    assert len(table.split("test")) == 4


def split_file(tmp_path: Path, sides: dict[str, str]) -> Path:
    path = tmp_path / "split.csv"
    path.write_text("path,label,split\n" + "".join(f"{k},{k.split('/')[0]},{v}\n" for k, v in sides.items()))
    return path


def test_a_given_split_is_checked_like_any_other(tmp_path: Path, make_images: MakeImages) -> None:
    photos = make_images(tmp_path / "photos", {"ant": 4, "bee": 4})
    names = [f.relative_to(photos).as_posix() for f in sorted(photos.glob("*/*.png"))]
    only_val = split_file(tmp_path, {name: "val" if name.startswith("bee") else "train" for name in names})
    with pytest.raises(DataError, match="Class 'bee' has images for validation or test but none to train on"):
        plan_of(photos, *SCRATCH, f"split.file={only_val}")
    shutil.copy(photos / "ant" / "000.png", photos / "ant" / "copy.png")
    sides = {name: "val" if name.endswith("000.png") else "train" for name in [*names, "ant/copy.png"]}
    with pytest.raises(DataError, match="in two splits at once"):
        plan_of(photos, *SCRATCH, f"split.file={split_file(tmp_path, sides)}")


def test_groups_hold_where_a_part_has_none(tmp_path: Path, make_images: MakeImages) -> None:
    photos = make_images(tmp_path / "photos", {"ant": 12, "bee": 12})
    make_images(tmp_path / "test", {"ant": 2, "bee": 2}, seed=9)
    lines = ["path,label,person"]
    lines += [f"{f},{f.parent.name},p{int(f.stem) // 3}{f.parent.name}" for f in sorted(photos.glob("*/*.png"))]
    (tmp_path / "train.csv").write_text("\n".join(lines), encoding="utf-8")
    table = plan_of(tmp_path / "train.csv", *SCRATCH, f"data.test={tmp_path / 'test'}").table
    assert table.groups is not None
    sides: dict[str, set[str]] = {}
    for group, split in zip(table.groups, table.splits, strict=True):
        if group:
            sides.setdefault(group, set()).add(split)
    assert len(sides) == 8
    assert all(len(found) == 1 for found in sides.values())


@pytest.mark.parametrize(
    ("pair", "message"),
    [
        ("evaluate.positive=bea", "evaluate.positive must be one of the two classes 'ant' and 'bee'"),
        ("loss.class_weights={ant: 1, bea: 2}", "there is no class 'bea'. Did you mean 'bee'"),
    ],
)
def test_settings_that_name_a_class_are_checked_before_training(photos: Path, pair: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        plan_of(photos, *SCRATCH, pair)


def test_two_class_monitors_need_two_classes(tmp_path: Path, make_images: MakeImages) -> None:
    three = make_images(tmp_path / "three", {"a": 6, "b": 6, "c": 6})
    with pytest.raises(ConfigError, match=r"train\.monitor=roc_auc needs two classes"):
        plan_of(three, *SCRATCH, "train.monitor=roc_auc")


def test_a_run_that_starts_from_another_is_told_what_that_has_seen(bunryu: Command, tiny_run: Tiny, here: Path) -> None:
    start = ("train", tiny_run.data, *TINY, f"model.weights={tiny_run.run}", "--dry-run", "split.val=0.25")
    other = bunryu(*start, "split.seed=5", "split.test=0.25").err
    line = next(line for line in other.splitlines() if line.startswith("not clean: "))
    of_donor = read_digests(tiny_run.run / "split.csv")["train"]
    assert f"{tiny_run.run} has learned from " in line
    assert f"split.file={tiny_run.run / 'split.csv'}" in line
    seen, total = (int(text) for text in re.search(r"(\d+) of (\d+) val images", line).groups())
    assert 0 < seen <= total < len(of_donor)
    (here / "split.csv").write_bytes((tiny_run.run / "split.csv").read_bytes())
    for same in (
        (*start, "split.test=0.25"),
        (*start[:-1], f"split.file={tiny_run.run / 'split.csv'}"),
        ("train", tiny_run.data, *TINY, "model.weights=none", "--dry-run", "split.seed=5"),
    ):
        ended = bunryu(*same)
        assert (ended.code, "not clean" in ended.err) == (0, False)


def test_paths_that_lead_nowhere_are_counted_listed_and_left_out(bunryu: Command, tmp_path: Path, photos: Path) -> None:
    """More than half of a table's images are gone: the rest is trained on, and nobody has to find that out alone."""
    there = [f"{file.relative_to(tmp_path).as_posix()},{file.parent.name}" for file in sorted(photos.glob("*/*.png"))]
    gone = [f"photos/bee/gone{at}.png,bee" for at in range(40)]
    (tmp_path / "t.csv").write_text("\n".join(["path,label", *there, *gone]), encoding="utf-8")
    ended = bunryu("train", tmp_path / "t.csv", *TINY, "--out", tmp_path / "run")
    assert ended.code == 0, ended.err
    assert "40 of 64 skipped: 40 such as photos/bee/gone0.png (no such file)" in ended.err
    assert "24 used, 40 skipped" in ended.err
    listed = (tmp_path / "run" / "skipped.csv").read_text(encoding="utf-8").splitlines()
    assert len(listed) == 41
    assert "photos/bee/gone9.png,bee,,no such file" in listed
    assert "gone" not in (tmp_path / "run" / "split.csv").read_text(encoding="utf-8")


def test_runs_that_lie_in_the_data_are_no_class(bunryu: Command, photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained on from within, as people do: the plots of the first run are no pictures of a class of the second."""
    monkeypatch.chdir(photos)
    for number in (1, 2):
        ended = bunryu("train", ".", *TINY)
        assert ended.code == 0, ended.err
        assert "classes: 2: ant, bee" in ended.err
        assert (photos / f"runs/photos-{number}/model.safetensors").exists()
        (photos / f"runs/photos-{number}/plot.png").touch()
    assert "runs/ ignored: bunryu's own runs" in ended.err
    named = bunryu("train", ".", *TINY, "--out", "mine")
    assert "classes: 2: ant, bee" in named.err
    assert "mine/, runs/ ignored" in bunryu("predict", "mine", ".").err


def test_the_names_that_a_run_gives_labels_hold_where_it_is_measured(
    bunryu: Command, tmp_path: Path, make_images: MakeImages
) -> None:
    make_images(tmp_path / "photos", {"ant": 8, "bee": 8, "bees": 8})
    run = tmp_path / "run"
    trained = bunryu("train", tmp_path / "photos", *TINY, "data.rename_labels={bees: bee}", "--out", run)
    assert trained.code == 0, trained.err
    measured = bunryu("evaluate", run, "--data", tmp_path / "photos")
    assert measured.code == 0, measured.err
    assert "labels renamed (data.rename_labels): 'bees' for 'bee' (8 times" in measured.err
    assert "24 images" in measured.out
    shutil.rmtree(tmp_path / "photos" / "bees")
    assert bunryu("evaluate", run, "--data", tmp_path / "photos").code == 0, "data that lack the old name"
