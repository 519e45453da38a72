"""Whatever stops a training, going on ends with the same bits as if it had never stopped."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

import killing
from bunryu.core.storage import read_jsonl
from killing import ONE_THREAD, TIMES, Nursery, assert_same, history, state

SMALL = (
    "model.name=scratch_cnn",
    "train.device=cpu",
    "input.size=16",
    "train.batch_size=4",
    "train.threads=1",
    "evaluate.bootstrap=50",
)
EVERYTHING = (
    *SMALL,
    "train.precision=fp32",
    "train.epochs=7",
    "train.stages=[{name: head, freeze: backbone, epochs: 4}, {name: all}]",
    "train.monitor=loss",
    "train.min_improvement=0.1",
    "train.accumulate=2",
    "train.checkpoint_minutes=1e-6",
    "model.batch_norm=true",
    "model.dropout=0.3",
    "optim.name=sgd",
    "optim.lr=0.02",
    "optim.head_lr=0.05",
    "schedule.name=plateau",
    "schedule.plateau_patience=1",
    "schedule.gamma=0.5",
    "schedule.warmup_epochs=0.5",
    "loss.label_smoothing=0.1",
    "loss.class_weights=balanced",
    "augment.rotate=20",
    "augment.brightness=0.3",
    "augment.contrast=0.3",
    "augment.saturation=0.3",
    "augment.hue=0.1",
    "augment.erase=0.3",
    "split.test=0.2",
)
"""Two stages, BatchNorm, dropout, momentum, plateau, and every augmentation. 22 rows: 6 batches, 3 updates an epoch."""


@pytest.fixture(scope="module")
def nursery() -> Nursery:
    return killing.nursery()


@pytest.fixture(scope="module")
def photos(make_images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("photos") / "photos", {"가": 12, "b": 12, "c": 12})


@pytest.fixture(scope="module")
def never_stopped(nursery: Nursery, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("reference") / "run"
    nursery.finish("train", photos, "--out", run, *EVERYTHING)
    return run


def test_the_reference_has_everything_on(never_stopped: Path):
    rows = read_jsonl(never_stopped / "history.jsonl")
    assert [row["stage"] for row in rows] == ["head"] * 4 + ["all"] * 3
    assert all(set(TIMES) <= row.keys() for row in rows)
    assert rows[3]["head_lr"] == 0.025, "plateau should have dropped"
    assert rows[4]["head_lr"] == rows[0]["head_lr"] == pytest.approx(0.03), "and the next stage should begin anew"
    assert rows[6]["best"], "there should be a later best"
    assert "net.backbone.1.running_var" in state(never_stopped)["tensors"]


@pytest.mark.parametrize(
    ("point", "at", "there"),
    [
        ("update", 2, "epoch 1, batch 3"),
        ("half a group after a pause", 2, "epoch 1, batch 5"),
        ("half written", 1, "no checkpoint"),
        ("half written", 6, "epoch 2, batch 3"),
        ("best", 2, "batch 7"),
        ("history", 4, "epoch 4, batch 7"),
        ("end of stage", 1, "epoch 4, batch 7"),
        ("update", 13, "epoch 5, "),
        ("update", 17, "epoch 6, batch 3"),
        ("trained", 1, "the results"),
        ("measured", 1, "the results"),
    ],
)
def test_killed_and_resumed_is_never_stopped(
    point: str, at: int, there: str, never_stopped: Path, nursery: Nursery, photos: Path, tmp_path: Path
):
    run = tmp_path / "run"
    killed = nursery.run("train", photos, "--out", run, *EVERYTHING, point=point, at=at)
    assert killed.killed, killed.text
    left = [path.name for path in (run / "checkpoints").glob(".*.tmp")]
    assert bool(left) == (point == "half written")
    resumed = nursery.run("train", "--resume", run)
    assert resumed.code == 0, resumed.text
    assert there in resumed.text.split("\nepoch  ")[0]
    assert not list((run / "checkpoints").glob(".*.tmp")), "what the kill left half written stays there for ever"
    assert_same(run, never_stopped)


def test_killed_again_and_again(never_stopped: Path, nursery: Nursery, photos: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert nursery.run("train", photos, "--out", run, *EVERYTHING, point="update", at=1).killed
    for point, at in (("half written", 2), ("update", 3), ("history", 1), ("best", 1), ("half written", 4)):
        assert nursery.run("train", "--resume", run, point=point, at=at).killed
    nursery.finish("train", "--resume", run)
    assert_same(run, never_stopped)


def test_killed_before_it_was_set_up_is_said_clearly(nursery: Nursery, photos: Path, tmp_path: Path):
    run = tmp_path / "run"
    assert nursery.run("train", photos, "--out", run, *EVERYTHING, point="before the settings").killed
    refused = nursery.run("train", "--resume", run)
    assert refused.code == 2
    assert "was stopped before it was set up" in refused.text
    assert "Traceback" not in refused.text


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_saves_at_the_next_update(
    name: str, never_stopped: Path, nursery: Nursery, photos: Path, tmp_path: Path
):
    run = tmp_path / "run"
    quiet = [pair for pair in EVERYTHING if "checkpoint_minutes" not in pair]  # only the signal saves within an epoch
    stopped = nursery.run("train", photos, "--out", run, *quiet, point=name, at=27)  # first half of update 14
    assert stopped.code == 130
    assert f"Stopped; the state is saved. Go on with: bunryu train --resume {run}" in stopped.text
    progress = state(run)["progress"]
    assert (progress["stage"], progress["epoch"], progress["step"], progress["history"]) == (1, 0, 4, 4)
    nursery.finish("train", "--resume", run)
    assert_same(run, never_stopped)


def test_a_resumed_training_stops_in_the_state_of_one_that_was_not(nursery: Nursery, photos: Path, tmp_path: Path):
    straight, broken = tmp_path / "straight", tmp_path / "broken"
    assert nursery.run("train", photos, "--out", straight, *EVERYTHING, point="SIGINT", at=34).code == 130
    assert nursery.run("train", photos, "--out", broken, *EVERYTHING, point="SIGTERM", at=14).code == 130
    for at in (5, 5, 8):
        assert nursery.run("train", "--resume", broken, point="SIGINT", at=at).code == 130
    found, expected = state(broken), state(straight)
    assert any(name.startswith("optim.") for name in expected["tensors"])
    assert found == expected
    assert history(broken) == history(straight)


def test_a_second_interrupt_stops_at_once(never_stopped: Path, nursery: Nursery, photos: Path, tmp_path: Path):
    run = tmp_path / "run"
    stopped = nursery.run("train", photos, "--out", run, *EVERYTHING, point="SIGINT twice", at=27)
    assert stopped.code == 130
    assert "Traceback" not in stopped.text
    assert state(run)["progress"]["step"] == 2, "the checkpoint of the update before"
    nursery.finish("train", "--resume", run)
    assert_same(run, never_stopped)


@pytest.mark.parametrize(("point", "at"), [("SIGINT", 42), ("SIGINT while measuring", 1)])
def test_an_interrupt_at_the_very_end_says_how_to_get_the_results(
    point: str, at: int, never_stopped: Path, nursery: Nursery, photos: Path, tmp_path: Path
):
    run = tmp_path / "run"
    stopped = nursery.run("train", photos, "--out", run, *EVERYTHING, point=point, at=at)
    assert stopped.code == 130
    assert f"Go on with: bunryu train --resume {run}" in stopped.text
    assert not (run / "metrics.json").exists()
    nursery.finish("train", "--resume", run)
    assert_same(run, never_stopped)


def stopped_and_straight(nursery: Nursery, photos: Path, folder: Path, pairs: Sequence[str], at: int) -> Path:
    """Train without a stop and with one, compare, and return the run."""
    straight, stopped = folder / "straight", folder / "stopped"
    nursery.finish("train", photos, "--out", straight, *pairs)
    assert nursery.run("train", photos, "--out", stopped, *pairs, point="SIGTERM", at=at).code == 130
    nursery.finish("train", "--resume", stopped)
    assert_same(stopped, straight)
    return stopped


@pytest.mark.parametrize(
    ("optimizer", "precision", "more"),
    [
        ("adamw", "fp32", ("model.name=timm/test_efficientnet", "model.weights=none", "schedule.name=cosine")),
        ("adamw", "bf16", ("schedule.name=step", "schedule.step_epochs=1")),
        ("adam", "fp32", ("schedule.name=multistep", "schedule.milestones=[1]")),
        # 32 pixels: a strided 3x3 convolution over one pixel has garbage gradients in bf16 (oneDNN, torch 2.15)
        ("sgd", "bf16", ("model.name=timm/test_resnet", "model.weights=none", "input.size=32")),
        ("rmsprop", "fp32", ("schedule.name=constant", "input.channels=grey")),
        ("nadam", "fp32", ("schedule.warmup_epochs=1.5", "augment.crop_scale=null")),
        ("lion", "fp32", ("schedule.name=exponential", "mix.name=both", "mix.remix=true", "train.sampler=class_aware")),
        ("lamb", "fp32", ("schedule.name=one_cycle", "mix.name=mixup", "mix.end_epoch=2", "loss.name=focal")),
        ("adamw", "fp32", ("augment.preset=trivial_augment", "data.balance_to=15", "data.workers=2")),
        ("adan", "fp32", ("loss.name=logit_adjusted", "mix.name=cutmix", "mix.probability=0.5")),
    ],
)
def test_every_optimizer_and_precision_resumes(
    optimizer: str, precision: str, more: tuple[str, ...], nursery: Nursery, photos: Path, tmp_path: Path
):
    pairs = [pair for pair in SMALL if not (pair.startswith("model.name") and more[0].startswith("model.name"))]
    pairs += [f"optim.name={optimizer}", "optim.lr=0.003", f"train.precision={precision}", "train.epochs=2", *more]
    run = stopped_and_straight(nursery, photos, tmp_path, pairs, at=11)  # in the second of two epochs of 7 batches
    assert len(history(run)) == 2


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop", "nadam", "lamb", "lion", "adan"])
def test_an_optimizer_comes_back_in_the_memory_format_of_its_parameters(name: str, tmp_path: Path):
    """Else kernels round differently at the ends of rows, which shows on some processors and sizes alone."""
    import torch

    from bunryu.models.build import build
    from bunryu.models.record import Architecture, Head, Sealed
    from bunryu.settings.data import DecodeSpec, InputSpec
    from bunryu.settings.stages import OptimSettings, Stage
    from bunryu.train.checkpoint import Progress, load_checkpoint, restore_optimizer, save_checkpoint
    from bunryu.train.optim import create_optimizer

    def made() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
        net = build(architecture, 2).to(memory_format=torch.channels_last)
        return net, create_optimizer(net, OptimSettings(name=name), Stage(name="all"))

    architecture = Architecture(name="scratch_cnn")
    spec = InputSpec(height=8, width=8, mean=[0, 0, 0], std=[1, 1, 1])
    head = Head(column="label", classes=["a", "b"])
    sealed = Sealed(architecture=architecture, heads=[head], decode=DecodeSpec(), input=spec)
    net, optimizer = made()
    net(torch.randn(2, 3, 8, 8)).sum().backward()
    optimizer.step()
    save_checkpoint(tmp_path / "last.safetensors", Progress(), sealed, net, optimizer, {})
    _, restored = made()
    restore_optimizer(restored, load_checkpoint(tmp_path / "last.safetensors"))
    before = [values for _, values in sorted(optimizer.state_dict()["state"].items())]
    after = [values for _, values in sorted(restored.state_dict()["state"].items())]
    assert len(before) == len(after) == len(list(net.parameters()))
    for old, new in zip(before, after, strict=True):
        assert old.keys() == new.keys()
        for key, value in old.items():
            assert torch.equal(value, new[key])
            assert value.stride() == new[key].stride()


def test_patience_is_counted_across_a_resume(nursery: Nursery, photos: Path, tmp_path: Path):
    patient = ("train.epochs=9", "train.patience=3", "train.min_improvement=10", "schedule.name=constant")
    run = stopped_and_straight(nursery, photos, tmp_path, (*SMALL, *patient), at=20)  # in epoch 3, after one stale one
    assert len(history(run)) == 4, "epoch 1 is the best, then three without improvement"
    assert state(run)["progress"]["ended_by"] == "no better val_macro_f1 for 3 epochs"


@pytest.mark.parametrize("own_validation", [False, True])
def test_a_dataframe_is_resumed_from_the_copy_in_the_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own_validation: bool
):
    import pandas as pd

    from bunryu import api
    from bunryu.core.errors import Interrupted
    from bunryu.train import loop

    def interrupt(*_: object) -> None:
        raise Interrupted("now")

    frame = pd.DataFrame([{"image": str(path), "label": path.parent.name} for path in photos.glob("*/*.png")])
    pairs = (*SMALL, "train.epochs=2")
    if own_validation:
        shutil.copytree(photos, tmp_path / "val")
        pairs = (*pairs, f"data.val={tmp_path / 'val'}", "data.on_leak=continue")
    straight = api.train(frame, *pairs, out=tmp_path / "straight", quiet=True).path
    with monkeypatch.context() as patch:
        patch.setattr(loop, "update", interrupt)
        with pytest.raises(Interrupted):
            api.train(frame, *pairs, out=tmp_path / "stopped", quiet=True)
    assert_same(api.resume(tmp_path / "stopped", quiet=True).path, straight)


def test_one_path_in_two_given_splits_is_resumed_as_it_was(nursery: Nursery, photos: Path, tmp_path: Path):
    table = tmp_path / "labels.csv"
    lines = [f"{path},{path.parent.name},{split}" for path in photos.glob("*/*.png") for split in ("train", "val")]
    table.write_text("\n".join(["path,label,split", *lines]), encoding="utf-8")
    pairs = (*SMALL, "train.precision=fp32", "train.epochs=2", "train.checkpoint_minutes=1e-6", "data.on_leak=continue")
    stopped_and_straight(nursery, table, tmp_path, pairs, at=8)


def test_the_real_command_stops_and_resumes(photos: Path, tmp_path: Path):
    """No fork and nothing patched: a process of its own, a signal from outside."""
    run = tmp_path / "run"
    env = os.environ | ONE_THREAD
    command = [sys.executable, "-m", "bunryu", "train", photos, "--out", run, *SMALL, "train.epochs=5000"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env) as process:
        until = time.monotonic() + 120
        while not (run / "history.jsonl").exists() and process.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        text = process.communicate(timeout=60)[1]
    assert process.returncode == 130, text
    assert f"Go on with: bunryu train --resume {run}" in text
    assert "Traceback" not in text
    assert state(run)["progress"]["total_epochs"] == len(history(run))


def test_separate_heads_resume(nursery: Nursery, photos: Path, tmp_path: Path):
    table = tmp_path / "labels.csv"
    lines = [f"{path},{path.parent.name},{int(path.stem) % 2}" for path in sorted(photos.glob("*/*.png"))]
    table.write_text("\n".join(["path,글자,odd", *lines]), encoding="utf-8")
    stages = "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true}, {name: all}]"
    pairs = (*SMALL, "train.precision=fp32", "train.epochs=2", "train.checkpoint_minutes=1e-6", stages)
    pairs = (*pairs, "data.label_columns=[글자, odd]", "model.heads=separate", "mix.name=mixup", "train.ema=0.9")
    run = stopped_and_straight(nursery, table, tmp_path, pairs, at=8)
    assert state(run)["tensors"].keys() >= {"net.head.1.weight"}
    assert {row["stage"] for row in history(run)} == {"probe", "all"}
