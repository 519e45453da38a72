"""Stochastic weight averaging: torch's own of the same weights and batches; and stopped is never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.optim.swa_utils import AveragedModel, update_bn

import killing
from bunryu import api
from bunryu.core.errors import ConfigError, RunError
from bunryu.models.sealed_file import open_sealed
from bunryu.runs.folder import RunFolder
from bunryu.settings.load import load_settings
from bunryu.train import loop, weight_averaging
from bunryu.workflows import train
from killing import results, state

SMALL = (
    *("model.name=scratch_cnn", "model.batch_norm=true", "train.device=cpu", "input.size=16", "train.threads=1"),
    *("train.precision=fp32", "train.batch_size=8", "evaluate.bootstrap=0", "split.val=0.25", "optim.lr=1e-2"),
    *("train.swa=0.5", "train.epochs=6", "schedule.warmup_epochs=0"),
)


def test_it_is_torchs_average(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    weights: list[dict[str, torch.Tensor]] = []
    seen: list[torch.Tensor] = []
    collect, settle = loop.collect, loop.settle

    def watched(job: Any, state: Any) -> None:
        weights.append({name: value.clone() for name, value in job.model.net.state_dict().items()})
        collect(job, state)

    def watched_settle(job: Any, state: Any, feed: Any) -> dict[str, float]:
        hook = job.model.net.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
        try:
            return settle(job, state, feed)
        finally:
            hook.remove()

    monkeypatch.setattr(loop, "collect", watched)
    monkeypatch.setattr(loop, "settle", watched_settle)
    run = RunFolder(api.train(photos, *SMALL, "schedule.name=cosine", out=tmp_path / "run", quiet=True).path)
    assert len(weights) == 6

    net, _ = open_sealed(run.best)
    reference = AveragedModel(net)
    for kept in weights[3:]:
        net.load_state_dict(kept)
        reference.update_parameters(net)
    update_bn(seen, reference)
    found = load_file(run.last)
    for name, value in reference.module.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(found[f"net.{name}"], value, rtol=1e-5, atol=1e-6)
    assert sum(map(len, seen)) == 24
    assert not any(name.startswith("average.") for name in found), "it was used up"

    rows = run.read_history()
    assert [row["stage"] for row in rows] == ["all"] * 6 + ["swa"]
    assert [row["lr"] for row in rows[3:]] == [rows[3]["lr"]] * 3 + [None]
    assert rows[2]["lr"] > rows[3]["lr"] == pytest.approx(1e-2 * 0.5)
    assert "swa (the average of its last epochs" in run.report.read_text(encoding="utf-8")
    kept = {path.stem: path for path in run.best.parent.iterdir()}
    assert kept.keys() == {"best", "last", "stage-1-all", "stage-2-swa", "final"}
    assert kept["final"].samefile(kept["stage-2-swa"])


def test_it_is_sealed_where_it_is_the_best(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    scorer, calls = train.scorer, 0

    def better_at_last(*args: Any) -> Any:
        score = scorer(*args)

        def scored(rows: Any, probs: Any) -> dict[str, float]:
            nonlocal calls
            calls += 1
            return score(rows, probs) | {"loss": 0.1 if calls == 7 else 0.5}

        return scored

    monkeypatch.setattr(train, "scorer", better_at_last)
    run = RunFolder(api.train(photos, *SMALL, "train.monitor=loss", out=tmp_path / "run", quiet=True).path)
    assert [row["epoch"] for row in run.read_history() if row["best"]][-1] == 7
    last = load_file(run.last)
    assert all(torch.equal(value, last[f"net.{name}"]) for name, value in load_file(run.model).items())
    with pytest.raises(RunError, match=r"ends in an average of weights.*model\.weights="):
        api.resume(run.path, more_epochs=2, quiet=True)


def test_statistics_that_are_kept_stay(photos: Path, tmp_path: Path) -> None:
    stages = "train.stages=[{name: all, freeze: statistics}]"
    run = RunFolder(api.train(photos, *SMALL, stages, "train.swa_lr=3e-3", out=tmp_path / "run", quiet=True).path)
    last = load_file(run.last)
    means = [value for name, value in last.items() if name.endswith("running_mean")]
    assert means
    assert not any(value.any() for value in means), "they began at nought"
    assert [row["lr"] for row in run.read_history()[3:6]] == pytest.approx([3e-3] * 3)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (["train.swa=0.25", "train.ema=0.9"], "train.swa and train.ema both average"),
        (["train.swa=0.25", "train.patience=3"], "which patience may cut off"),
        (["train.swa=0.1", "train.epochs=5"], "of the last stage's 5 epochs is no average"),
        (["train.swa_lr=0.1"], "give both"),
    ],
)
def test_what_cannot_be_is_refused(pairs: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_settings(["train.ema=null", *pairs])


RESUMED = (
    *SMALL,
    *("train.stages=[{name: all}, {name: 끝, rows: all, epochs: 1}]", "train.epochs=7", "split.test=0.2"),
    *("train.monitor=loss", "model.dropout=0.3", "optim.name=sgd", "train.checkpoint_minutes=1e-6"),
)


@pytest.fixture(scope="module")
def never_stopped(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("reference") / "run"
    killing.nursery().finish("train", photos, "--out", run, *RESUMED)
    return run


@pytest.mark.parametrize(("point", "at"), [("update", 13), ("end of stage", 1), ("remembered", 7)])
def test_resumed_is_never_stopped(point: str, at: int, never_stopped: Path, photos: Path, tmp_path: Path) -> None:
    run, nursery = tmp_path / "run", killing.nursery()
    assert nursery.run("train", photos, "--out", run, *RESUMED, point=point, at=at).killed
    kept = state(run)
    assert kept["progress"]["averaged"] in (1, 2, 3)
    assert any(name.startswith("average.") for name in kept["tensors"])
    nursery.finish("train", "--resume", run)
    assert {name for name, value in results(never_stopped).items() if results(run)[name] != value} == set()
    assert [row["stage"] for row in killing.history(run)] == ["all"] * 6 + ["swa", "끝"]


def test_the_mean_has_one_memory_format() -> None:
    """Else what a checkpoint brings back is rounded differently."""
    from types import SimpleNamespace

    from bunryu.settings.stages import Stage
    from bunryu.settings.train import with_average
    from bunryu.train.checkpoint import Progress

    settings = load_settings(["train.swa=0.5", "train.epochs=4", "train.ema=null"])
    net = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    job: Any = SimpleNamespace(
        model=SimpleNamespace(net=net),
        settings=settings,
        stages=with_average([Stage(name="all", epochs=4)], settings.train),
    )
    at: Any = SimpleNamespace(progress=Progress(epoch=1), average=None)
    weight_averaging.collect(job, at)
    assert at.average is None
    for epoch, value in ((2, 1.0), (3, 4.0)):
        at.progress.epoch = epoch
        torch.nn.init.constant_(net.weight, value)
        weight_averaging.collect(job, at)
    assert at.average["weight"].is_contiguous()
    assert torch.equal(at.average["weight"], torch.full((4, 3, 3, 3), 2.5))
