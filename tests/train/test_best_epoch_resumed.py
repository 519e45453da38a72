"""A training whose epochs are as good within noise goes on after a kill as if it had never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import killing
from killing import assert_same, history, state, tensors

SETTINGS = (
    *("model.name=scratch_cnn", "model.batch_norm=true", "input.size=16", "train.batch_size=4", "train.device=cpu"),
    *("train.threads=1", "train.precision=fp32", "evaluate.bootstrap=0", "split.val=0.5", "split.test=0.1"),
    *("train.epochs=10", "optim.lr=0.02", "schedule.name=constant", "train.monitor=accuracy"),
)


@pytest.fixture(scope="module")
def photos(make_images: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pictures whose labels mean nothing, so that figures go up and down."""
    folder: Path = make_images(tmp_path_factory.mktemp("photos") / "photos", dict.fromkeys("abcd", 16))
    files = sorted(folder.rglob("*.png"))
    pictures = [file.read_bytes() for file in files]
    for file, place in zip(files, np.random.default_rng(0).permutation(len(files)), strict=True):
        file.write_bytes(pictures[place])
    return folder


@pytest.fixture(scope="module")
def never_stopped(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("reference") / "run"
    killing.nursery().finish("train", photos, "--out", run, *SETTINGS)
    return run


def test_noise_decides_in_the_reference(never_stopped: Path) -> None:
    rows, progress = history(never_stopped), state(never_stopped)["progress"]
    decided = [row["epoch"] for row in rows if "as_good_as" in row]
    assert decided, "or else the others show nothing"
    assert {"said.leader", "said.best"} <= state(never_stopped)["tensors"].keys()
    assert rows[progress["leader"] - 1]["val_accuracy"] == max(row["val_accuracy"] for row in rows)


@pytest.mark.parametrize(("point", "at"), [("remembered", 4), ("update", 20), ("best", 2), ("end of stage", 1)])
def test_resumed_is_never_stopped(point: str, at: int, never_stopped: Path, photos: Path, tmp_path: Path) -> None:
    run, nursery = tmp_path / "run", killing.nursery()
    often = "train.checkpoint_minutes=1e-6"
    assert nursery.run("train", photos, "--out", run, *SETTINGS, often, point=point, at=at).killed
    nursery.finish("train", "--resume", run)
    assert_same(run, never_stopped)
    for name in ("stage-1-all", "final"):
        assert tensors(run / f"checkpoints/{name}.safetensors") == tensors(
            never_stopped / f"checkpoints/{name}.safetensors"
        )
