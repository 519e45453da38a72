"""Solved heads, cached features, sizes, averages and layer-wise rates: stopped and resumed is never stopped."""

from __future__ import annotations

from pathlib import Path

import pytest

import killing
from bunryu.core.storage import read_jsonl
from bunryu.runs.folder import RunFolder
from killing import Nursery, assert_same, history, state

EVERYTHING = (
    *("model.name=scratch_cnn", "model.batch_norm=true", "model.dropout=0.3", "input.size=32", "train.batch_size=4"),
    *("train.device=cpu", "train.threads=1", "train.precision=fp32", "evaluate.bootstrap=50", "split.test=0.2"),
    "train.epochs=7",
    "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true, epochs: 1},"
    " {name: head, freeze: backbone, views: 2, epochs: 4}, {name: all, sizes: [16, 24, 32]}]",
    *("train.ema=0.9", "train.monitor=loss", "optim.lr=0.01", "optim.head_lr=0.003", "optim.layer_decay=0.6"),
    *("schedule.warmup_epochs=0.5", "loss.class_weights=balanced", "augment.rotate=20", "augment.erase=0.3"),
    "data.cache_gb=0",  # so that a resumed run computes its features itself
)
OFTEN = "train.checkpoint_minutes=1e-6"
"""22 training rows: 6 updates an epoch, none in the first."""


@pytest.fixture(scope="module")
def nursery() -> Nursery:
    return killing.nursery()


@pytest.fixture(scope="module")
def photos(make_images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("photos") / "photos", {"가": 12, "b": 12, "c": 12}, size=32)


@pytest.fixture(scope="module")
def never_stopped(nursery: Nursery, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("reference") / "run"
    nursery.finish("train", photos, "--out", run, *EVERYTHING)
    return run


def assert_whole(run: Path) -> None:
    """Check that what a kill left belongs together: the last state's history is there, and its best model."""
    progress = state(run)["progress"]
    rows = read_jsonl(run / "history.jsonl")
    assert progress["history"] <= len(rows)
    assert rows[progress["best_epoch"] - 1]["best"]
    assert (run / "checkpoints" / "best.safetensors").exists()


def test_the_reference_has_everything_on(never_stopped: Path) -> None:
    rows = read_jsonl(never_stopped / "history.jsonl")
    assert [row["stage"] for row in rows] == ["probe"] + ["head"] * 4 + ["all"] * 3
    kept = state(never_stopped)
    assert any(name.startswith("ema.backbone") for name in kept["tensors"])
    assert kept["tensors"]["ema.head.1.weight"] != kept["tensors"]["net.head.1.weight"]
    assert kept["progress"]["updates"] == 7 * 6
    assert any(row["best"] for row in rows[1:])


@pytest.mark.parametrize(
    ("point", "at", "there"),
    [
        ("remembered", 1, "no checkpoint"),
        ("remembered", 3, "epoch 2"),
        ("remembered, saving each epoch", 4, "epoch 4"),
        ("best", 2, "epoch 2"),
        ("history", 2, "epoch 2"),
        ("update", 24 + 1, "epoch 6"),
        ("remembered", 7, "epoch 7"),
    ],
)
def test_killed_between_epochs(
    point: str, at: int, there: str, never_stopped: Path, nursery: Nursery, photos: Path, tmp_path: Path
) -> None:
    """On features epochs are 10 s apart from being saved, so a kill loses some; never half of one."""
    run = tmp_path / "run"
    assert nursery.run("train", photos, "--out", run, *EVERYTHING, point=point, at=at).killed
    if there != "no checkpoint":
        assert_whole(run)
    resumed = nursery.run("train", "--resume", run)
    assert resumed.code == 0, resumed.text
    assert there in resumed.text.split("\nepoch  ")[0]
    assert_same(run, never_stopped)


@pytest.mark.parametrize("at", [8, 24, 27, 42])
def test_killed_within_an_epoch(at: int, never_stopped: Path, nursery: Nursery, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert nursery.run("train", photos, "--out", run, *EVERYTHING, OFTEN, point="update", at=at).killed
    assert_whole(run)
    nursery.finish("train", "--resume", run)
    assert_same(run, never_stopped)


def test_stopped_again_and_again(never_stopped: Path, nursery: Nursery, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    assert nursery.run("train", photos, "--out", run, *EVERYTHING, point="SIGTERM", at=9).code == 130
    assert state(run)["progress"]["step"] == 3
    for at in (4, 13, 7):
        assert nursery.run("train", "--resume", run, point="SIGINT", at=at).code == 130
        assert_whole(run)
    nursery.finish("train", "--resume", run)
    assert_same(run, never_stopped)


def test_kept_features_give_the_same_bits(never_stopped: Path, nursery: Nursery, photos: Path, tmp_path: Path) -> None:
    pairs = [pair for pair in EVERYTHING if "cache_gb" not in pair]
    for name in ("made", "found"):
        nursery.finish("train", photos, "--out", tmp_path / name, *pairs)
        assert_same(tmp_path / name, never_stopped)


def test_with_two_threads(nursery: Nursery, photos: Path, tmp_path: Path) -> None:
    fewer = {"threads=1": "threads=2", "train.epochs=7": "train.epochs=2", "epochs: 4": "epochs: 1"}
    pairs = list(EVERYTHING)
    for old, new in fewer.items():
        pairs = [pair.replace(old, new) for pair in pairs]
    straight, run = tmp_path / "straight", tmp_path / "stopped"
    nursery.finish("train", photos, "--out", straight, *pairs)
    assert nursery.run("train", photos, "--out", run, *pairs, OFTEN, point="update", at=4).killed
    assert nursery.run("train", "--resume", run, point="SIGTERM", at=5).code == 130
    nursery.finish("train", "--resume", run)
    assert_same(run, straight)


def test_more_epochs_are_at_the_full_size(never_stopped: Path, nursery: Nursery, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    nursery.finish("train", photos, "--out", run, *EVERYTHING)
    nursery.finish("train", "--resume", run, "--more-epochs", 2)
    assert ", then more1 (2 epochs" in (run / "report.txt").read_text(encoding="utf-8")
    assert [row["stage"] for row in history(run)][8:] == ["more1"] * 2
    assert RunFolder(run).settings().train.stages[-1].sizes == [(32, 32)]
    assert history(run)[:8] == history(never_stopped)


def test_after_a_solved_head_everything_is_trained(nursery: Nursery, photos: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    probe = "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true}]"
    pairs = [pair for pair in EVERYTHING if not pair.startswith(("train.stages", "train.epochs"))]
    nursery.finish("train", photos, "--out", run, *pairs, probe, "train.epochs=1")
    before = history(run)
    nursery.finish("train", "--resume", run, "--more-epochs", 3)
    assert [row["stage"] for row in history(run)] == ["probe"] + ["more1"] * 3
    assert history(run)[:1] == before
    stages = RunFolder(run).settings().train.stages
    assert [(stage.freeze, stage.solve) for stage in stages] == [("backbone", True), ("statistics", False)]
