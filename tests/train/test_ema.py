"""Averaged weights: the averaging, and that they are what is validated and sealed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from bunryu import api
from bunryu.core.errors import ConfigError
from bunryu.core.storage import read_jsonl
from bunryu.train import loop
from bunryu.train.state import Job

SMALL = (
    *("model.name=scratch_cnn", "train.device=cpu", "input.size=16", "train.threads=1", "train.precision=fp32"),
    *("train.batch_size=8", "evaluate.bootstrap=0", "split.val=0.25", "model.batch_norm=true", "optim.lr=1e-2"),
)


@pytest.fixture
def photos(make_images: Any, tmp_path: Path) -> Path:
    return make_images(tmp_path / "photos", {"a": 16, "b": 16})


@pytest.fixture
def seen(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, torch.Tensor]]:
    """Collect the trained weights at the start, and after each update."""
    found: list[dict[str, torch.Tensor]] = []

    def note(job: Job) -> None:
        found.append({name: value.clone() for name, value in job.model.net.state_dict().items()})

    begin, update = loop.begin, loop.update
    monkeypatch.setattr(loop, "begin", lambda job, checkpoint: (note(job), begin(job, checkpoint))[1])
    monkeypatch.setattr(loop, "update", lambda job, *rest: (update(job, *rest), note(job))[0])
    return found


def averaged(seen: list[dict[str, torch.Tensor]], decay: float) -> dict[str, torch.Tensor]:
    """Average by hand: after update t the average keeps min(decay, 1 - t^(-2/3)) of itself (timm's warm-up)."""
    mean = dict(seen[0])
    for update, weights in enumerate(seen[1:], 1):
        keep = max(0.0, min(decay, 1 - update ** (-2 / 3)))
        for name, value in weights.items():
            mean[name] = keep * mean[name] + (1 - keep) * value if value.is_floating_point() else value
    return mean


def test_the_average_is_what_is_sealed(photos: Path, tmp_path: Path, seen: list[dict[str, torch.Tensor]]) -> None:
    run = api.train(photos, *SMALL, "train.epochs=3", "train.ema=0.7", out=tmp_path / "run", quiet=True).path
    last = 3 * max(row["epoch"] for row in read_jsonl(run / "history.jsonl") if row["best"])
    assert len(seen) == 1 + 9
    sealed, expected = load_file(run / "model.safetensors"), averaged(seen[: 1 + last], 0.7)
    assert sealed.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(sealed[name], value, rtol=1e-4, atol=1e-6)
    assert not torch.allclose(sealed["backbone.0.weight"], seen[last]["backbone.0.weight"], atol=1e-4)
    kept = load_file(run / "checkpoints" / "last.safetensors")
    assert torch.equal(kept["net.backbone.0.weight"], seen[-1]["backbone.0.weight"])
    torch.testing.assert_close(kept["ema.backbone.0.weight"], averaged(seen, 0.7)["backbone.0.weight"])


def test_the_average_is_what_is_validated(photos: Path, tmp_path: Path) -> None:
    run = api.train(photos, *SMALL, "train.epochs=3", "train.ema=0.9", out=tmp_path / "run", quiet=True).path
    best = [row for row in read_jsonl(run / "history.jsonl") if row["best"]][-1]
    assert api.open_run(run).metrics["val"]["loss"] == pytest.approx(best["val_loss"], rel=1e-6)


def test_a_solved_head_is_the_averages_too(photos: Path, tmp_path: Path) -> None:
    stages = "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true, epochs: 1}, {name: all}]"
    run = api.train(
        photos, *SMALL, "train.epochs=1", "train.ema=0.999", stages, "optim.lr=1e-9", out=tmp_path / "run", quiet=True
    ).path
    first, second = read_jsonl(run / "history.jsonl")
    assert first["val_loss"] == pytest.approx(second["val_loss"], abs=0.05)
    kept = load_file(run / "checkpoints" / "last.safetensors")
    torch.testing.assert_close(kept["net.head.1.weight"], kept["ema.head.1.weight"], atol=1e-5, rtol=0)


def test_features_of_another_backbone_than_the_averaged_one_are_refused(photos: Path) -> None:
    stages = "train.stages=[{name: all, epochs: 1}, {name: last, freeze: backbone, views: 0}]"
    with pytest.raises(ConfigError, match=r"stage 'last': views are features of the backbone as trained"):
        api.train(photos, *SMALL, "train.epochs=2", "train.ema=0.9", stages)


def test_on_features_the_head_alone_is_averaged_to_the_same_bits(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = "train.stages=[{name: head, freeze: backbone, views: 0}]"
    pairs = (*SMALL, stage, "train.epochs=3", "train.ema=0.9")
    one = api.train(photos, *pairs, out=tmp_path / "one", quiet=True).path
    monkeypatch.setattr(loop, "follow", lambda ema, net, _, updates: ema.update(net, updates))
    two = api.train(photos, *pairs, out=tmp_path / "two", quiet=True).path
    kept = [load_file(run / "checkpoints" / "last.safetensors") for run in (one, two)]
    assert kept[0].keys() == kept[1].keys()
    assert all(torch.equal(kept[0][name], kept[1][name]) for name in kept[0])
    assert not torch.equal(kept[0]["ema.head.1.weight"], kept[0]["net.head.1.weight"])
