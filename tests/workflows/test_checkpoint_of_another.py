"""A checkpoint of another training in the place of a run's own is told in one message, with its digest right."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save

import bunryu
from bunryu.core.errors import Interrupted, RunError
from bunryu.models import digest
from bunryu.train import loop
from conftest import TINY, MakeImages

Tensors = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory: pytest.TempPathFactory, make_images: MakeImages) -> Path:
    """A run that was stopped after the first of two epochs, with averages and group DRO."""
    folder = tmp_path_factory.mktemp("stopped")
    make_images(folder / "photos", {"a": 12, "b": 12})

    calls = []
    train_epoch = loop.train_epoch

    def once(*arguments: Any) -> Any:
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return train_epoch(*arguments)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUNRYU_CACHE", str(folder / "cache"))
        patch.setattr(loop, "train_epoch", once)
        with pytest.raises(Interrupted):
            bunryu.train(folder / "photos", *TINY, "train.ema=0.9", out=folder / "run", quiet=True)
    return folder / "run"


def rewritten(file: Path, progress: dict[str, Any], change: Callable[[Tensors], Any], optimizer: bool = True) -> None:
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(file)
    change(tensors)
    metadata["progress"] = json.dumps(json.loads(metadata["progress"]) | progress)
    if not optimizer:
        metadata["optimizer"] = "null"
    file.write_bytes(b"".join(digest.with_digest(save(tensors, metadata | {digest.KEY: digest.BLANK}))))


def nothing(_: Tensors) -> None:
    pass


def first_of(kind: str, tensors: Tensors) -> str:
    return next(name for name, value in tensors.items() if name.startswith(kind) and value.ndim > 1)


def transposed(kind: str) -> Callable[[Tensors], Any]:
    def change(tensors: Tensors) -> None:
        name = first_of(kind, tensors)
        tensors[name] = tensors[name].flatten().repeat(2)

    return change


def without(kind: str) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors.pop(first_of(kind, tensors))


def not_a_number(kind: str) -> Callable[[Tensors], Any]:
    return lambda tensors: tensors[first_of(kind, tensors)].fill_(float("nan"))


MISFITS: dict[str, tuple[dict[str, Any], Callable[[Tensors], Any]]] = {
    "a stage beyond the last": ({"stage": 7}, nothing),
    "an epoch beyond the last": ({"epoch": 9, "total_epochs": 9, "history": 9}, nothing),
    "a batch beyond the last": ({"step": 1000, "sums": {"loss": 1.0, "correct": 1.0, "rows": 8.0}}, nothing),
    "an optimiser after the last stage": ({"stage": 1, "epoch": 0}, nothing),
    "groups that there are not": ({"group_logs": [-1.0, -1.0]}, nothing),
    "an average that there is not": ({"averaged": 1}, nothing),
    "weights of another shape": ({}, transposed("net.")),
    "weights missing": ({}, without("net.")),
    "weights that are no numbers": ({}, not_a_number("net.")),
    "averaged weights of another shape": ({}, transposed("ema.")),
    "averaged weights missing": ({}, without("ema.")),
    "an optimiser of another shape": ({}, transposed("optim.")),
}


@pytest.mark.parametrize("name", MISFITS)
def test_it_is_told(name: str, stopped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    progress, change = MISFITS[name]
    if progress.get("history"):
        lines = (run / "history.jsonl").read_text(encoding="utf-8")
        (run / "history.jsonl").write_text(lines * progress["history"], encoding="utf-8")
        (run / "SHA256SUMS").unlink()
    rewritten(run / "checkpoints" / "last.safetensors", progress, change)
    with pytest.raises(RunError) as caught:
        bunryu.resume(run, quiet=True)
    told = str(caught.value)
    assert "last.safetensors is damaged or not a checkpoint (" in told, told
    assert "start again in a new folder: bunryu train --recipe" in told
    assert "\n" not in told


def test_within_a_stage_there_is_an_optimiser(stopped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    rewritten(run / "checkpoints" / "last.safetensors", {}, nothing, optimizer=False)
    with pytest.raises(RunError, match="not there within one"):
        bunryu.resume(run, quiet=True)


def test_rewriting_alone_changes_nothing(stopped: Path, tmp_path: Path) -> None:
    run = Path(shutil.copytree(stopped, tmp_path / "run"))
    rewritten(run / "checkpoints" / "last.safetensors", {}, nothing)
    bunryu.resume(run, quiet=True)
    assert (run / "metrics.json").exists()
