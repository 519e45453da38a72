"""Labels that can hold together, mixed, solved and weighted: stopped and resumed is never stopped."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

import killing
from killing import Nursery, assert_same, results, state

SETTINGS = (
    *("model.name=scratch_cnn", "model.dropout=0.3", "input.size=32", "train.batch_size=4", "train.device=cpu"),
    *("train.threads=1", "train.precision=fp32", "evaluate.bootstrap=50", "train.epochs=2"),
    "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true}, {name: all}]",
    *("data.multi_label=tags", "mix.name=both", "loss.class_weights=balanced", "loss.name=focal", "optim.lr=0.01"),
    *("augment.rotate=20", "train.ema=0.9", "train.monitor=macro_f1", "data.cache_gb=0"),
)


@pytest.fixture(scope="module")
def nursery() -> Nursery:
    return killing.nursery()


@pytest.fixture(scope="module")
def table(make_images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    make_images(folder, {"가": 10, "b": 10, "none": 10}, size=32)
    tags = {"가": "가", "b": "b", "none": ""}
    rows = [[path.relative_to(folder), tags[path.parent.name]] for path in sorted(folder.rglob("*.png"))]
    rows = [[path, "가|b" if i % 5 == 0 else tag] for i, (path, tag) in enumerate(rows)]
    with (folder / "t.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "tags"], *rows])
    return folder / "t.csv"


def test_killed_and_resumed_is_never_stopped(nursery: Nursery, table: Path, tmp_path: Path) -> None:
    whole, run = tmp_path / "whole" / "run", tmp_path / "run"
    nursery.finish("train", table, "--out", whole, *SETTINGS)
    often = "train.checkpoint_minutes=1e-6"
    assert nursery.run("train", table, "--out", run, *SETTINGS, often, point="update", at=4).killed
    text = table.read_text(encoding="utf-8")
    table.write_text(text.replace("가|b", "b", 1), encoding="utf-8")
    other = nursery.run("train", "--resume", run)
    assert (other.code, "label changed" in other.text) == (2, True)
    table.write_text(text, encoding="utf-8")
    assert nursery.run("train", "--resume", run, point="SIGTERM", at=3).code == 130
    nursery.finish("train", "--resume", run)
    assert_same(run, whole)
    assert {"said.leader", "said.best"} <= state(run)["tensors"].keys()
    assert any(name.startswith("predictions_val") for name in results(whole))
