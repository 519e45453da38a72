"""What train.tensorboard writes, as TensorBoard itself reads it."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import killing
from bunryu.core.storage import read_jsonl
from bunryu.train import tensorboard
from conftest import Command, refused

PAIRS = (
    "model.name=scratch_cnn", "train.device=cpu", "train.precision=fp32", "train.threads=1", "input.size=16",
    "train.batch_size=8", "train.epochs=4", "evaluate.bootstrap=20", "augment.hflip=0.5", "train.tensorboard=true",
    "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true}, {name: all}]",
)  # fmt: skip


def read(run: Path) -> EventAccumulator:
    events = EventAccumulator(str(run / "tensorboard"), size_guidance={"scalars": 0, "images": 0})
    events.Reload()
    return events


def assert_whole(run: Path) -> None:
    """Compare every figure of the history with its scalar: each epoch once, none missing."""
    events, history = read(run), read_jsonl(run / "history.jsonl")
    assert [row["epoch"] for row in history] == [1, 2, 3, 4, 5]
    named = {
        "loss/train": "train_loss",
        "loss/val": "val_loss",
        "accuracy/train": "train_accuracy",
        "macro_f1/val": "val_macro_f1",
        "lr": "lr",
        "head_lr": "head_lr",
        "images_per_second": "images_per_second",
    }
    assert set(named) <= set(events.Tags()["scalars"])
    assert not set(events.Tags()["scalars"]) & {"best", "epoch", "stage"}
    for tag, name in named.items():
        expected = [(row["epoch"], row[name]) for row in history if row[name] is not None]
        found = [(event.step, event.value) for event in events.Scalars(tag)]
        assert [step for step, _ in found] == [step for step, _ in expected], tag
        assert [value for _, value in found] == pytest.approx([value for _, value in expected], rel=1e-6), tag
    assert history[0]["lr"] is None, "a solved head has no rate"
    (picture,) = events.Images("augmented")
    with Image.open(io.BytesIO(picture.encoded_image_string)) as grid, Image.open(run / "plots/augmented.png") as drawn:
        assert (picture.step, grid.size) == (0, drawn.size)
        assert grid.convert("RGB").tobytes() == drawn.convert("RGB").tobytes()


@pytest.mark.parametrize(("point", "at"), [(None, 0), ("best", 3), ("half written", 1)])
def test_each_epoch_once_also_after_a_kill(point: str | None, at: int, make_images: Any, tmp_path: Path) -> None:
    photos = make_images(tmp_path / "사진", {"가": 12, "b": 12})
    nursery, run = killing.nursery(), tmp_path / "run"
    if point is None:
        nursery.finish("train", photos, *PAIRS, "--out", run, pictures=True)
    else:
        assert nursery.run("train", photos, *PAIRS, "--out", run, point=point, at=at, pictures=True).killed
        nursery.finish("train", "--resume", run, pictures=True)
    assert_whole(run)


def test_a_missing_package_is_told_before_training(
    bunryu: Command, here: Path, make_images: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(here / "photos", {"a": 6, "b": 6})
    monkeypatch.setattr(tensorboard, "find_spec", lambda _: None)
    assert "pip install 'bunryu[tensorboard]'" in refused(bunryu("train", "photos", *PAIRS))
    assert {path.name for path in here.iterdir()} == {"photos"}
