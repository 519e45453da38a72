"""--minutes: a plan that fits, is told, stands in the settings, and is then a run like any other."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bunryu import api
from bunryu.core.errors import ConfigError, ModelError
from bunryu.core.storage import read_jsonl
from bunryu.models.build import build
from bunryu.models.record import Architecture
from bunryu.settings.load import load_settings
from bunryu.settings.run import RunSettings, absolute
from bunryu.settings.stages import size_at
from bunryu.train import precision
from bunryu.workflows.plan import time_budget
from bunryu.workflows.plan.decide import make_plan
from bunryu.workflows.plan.plan import Plan
from bunryu.workflows.plan.time_budget import Pace, epochs_that_fit, paced, usable_sizes

SMALL = (
    *("train.device=cpu", "train.threads=1", "train.precision=fp32", "train.batch_size=8", "evaluate.bootstrap=0"),
    *("split.val=0.25", "split.test=0.25", "input.size=64"),
)
SCRATCH = (*SMALL, "model.name=scratch_cnn")


@pytest.fixture
def photos(make_images: Callable[..., Path], tmp_path: Path) -> Path:
    return make_images(tmp_path / "photos", {"a": 16, "b": 16})


@pytest.fixture
def weights(tmp_path: Path) -> str:
    """Return the settings of a small net with weights from a file."""
    torch.manual_seed(3)
    path = tmp_path / "weights.pth"
    torch.save(build(Architecture(name="timm/test_resnet"), 2).backbone.state_dict(), path)
    return str(path)


@pytest.fixture
def speed(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set how many seconds a picture is said to take, instead of timing it."""

    def set_to(look: float, learn: float) -> None:
        def pace(_: Plan, sizes: list[tuple[int, int]]) -> Pace:
            full = sizes[-1][0] * sizes[-1][1]
            return Pace(look, {(h, w): learn * h * w / full for h, w in sizes})

        monkeypatch.setattr(time_budget, "measure_pace", pace)

    return set_to


def settings_of(photos: Path, *pairs: str, minutes: float | None = 1.0) -> RunSettings:
    return absolute(load_settings(pairs, values={"data": {"source": str(photos)}}, minutes=minutes))


def plan_of(photos: Path, *pairs: str) -> Plan:
    return make_plan(settings_of(photos, *pairs))


def test_sizes_are_shared_out_evenly_and_end_at_the_last() -> None:
    sizes = [(1, 1), (2, 2), (3, 3)]
    shares = {epochs: [size_at(sizes, epoch, epochs)[0] for epoch in range(epochs)] for epochs in range(1, 8)}
    assert (shares[1], shares[2]) == ([3], [2, 3])
    assert (shares[3], shares[4], shares[6]) == ([1, 2, 3], [1, 2, 3, 3], [1, 1, 2, 2, 3, 3])
    for epochs, found in shares.items():
        assert found == sorted(found)
        counts = [found.count(size) for size in (1, 2, 3)]
        assert max(counts) - min(counts) <= 1
        assert found[-1] == 3, epochs


@pytest.mark.parametrize("seed", range(40))
def test_as_many_epochs_as_fit_and_no_more(seed: int) -> None:
    rng = np.random.default_rng(seed)
    sides = sorted(rng.choice(np.arange(32, 300, 32), int(rng.integers(1, 4)), replace=False).tolist())
    seconds = {(side, side): float(side**2 * rng.uniform(0.9, 1.1)) for side in sides}
    sizes, left = list(seconds), float(rng.uniform(0, 30) * max(seconds.values()))

    def cost(plan: list[tuple[int, int]]) -> float:
        return sum(seconds[size] for size in plan)

    def allowed(epochs: int) -> list[list[tuple[int, int]]]:
        if epochs > 6:
            return [[size_at(sizes, epoch, epochs) for epoch in range(epochs)]]
        every = (list(plan) for plan in itertools.product(sizes, repeat=epochs))
        return [plan for plan in every if plan == sorted(plan) and 3 * plan.count(sizes[-1]) >= epochs]

    epochs, chosen = epochs_that_fit(left, seconds)
    used = [size_at(chosen, epoch, epochs) for epoch in range(epochs)]
    assert cost(used) <= left
    assert all(cost(plan) > left for more in range(epochs + 1, 41) for plan in allowed(more))
    if epochs:
        assert used in allowed(epochs)
        assert cost(used) == pytest.approx(max(cost(plan) for plan in allowed(epochs) if cost(plan) <= left))


def test_an_ample_time_is_not_used_up() -> None:
    assert epochs_that_fit(1e9, {(32, 32): 1.0}) == (40, [(32, 32)])
    assert epochs_that_fit(0.5, {(32, 32): 1.0}) == (0, [])


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ("224", [(160, 160), (192, 192), (224, 224)]),
        ("64", [(32, 32), (64, 64)]),
        ("32", [(32, 32)]),
        ("16", [(16, 16)]),
        ("[112, 30]", [(112, 30)]),
        ("[128, 256]", [(96, 192), (128, 256)]),
    ],
)
def test_sizes_are_multiples_of_32_and_never_larger(size: str, expected: list[Any], photos: Path) -> None:
    found = usable_sizes(plan_of(photos, *SCRATCH, f"input.size={size}"))
    assert found[-1] == expected[-1]
    assert all(a[0] <= b[0] and a[1] <= b[1] for a, b in itertools.pairwise(found))
    assert all(side % 32 == 0 for pair in found[:-1] for side in pair)
    if size != "[128, 256]":
        assert found == expected


def test_a_net_for_one_size_trains_at_that_one(photos: Path) -> None:
    vit = ("model.name=timm/vit_tiny_patch16_224", "model.weights=none", "input.size=64")
    assert usable_sizes(plan_of(photos, *SMALL[:-1], *vit)) == [(64, 64)]


def test_a_bug_in_a_net_is_not_taken_for_a_fixed_size(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plan = plan_of(photos, *SCRATCH)
    monkeypatch.setattr(time_budget, "require_fit", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        usable_sizes(plan)


@pytest.mark.parametrize("minutes", [0.3, 1, 3, 30])
def test_the_plan_fits(minutes: float, photos: Path, weights: str, speed: Callable[..., None]) -> None:
    speed(look=0.05, learn=0.4)
    plan = plan_of(photos, *SMALL, "model.name=timm/test_resnet", f"model.weights={weights}")
    found = paced(plan, minutes, time_budget.time.monotonic())
    stages = found.settings.train.stages
    assert stages[0].solve
    assert found.settings.train.epochs == max(1, sum(int(stage.epochs or 0) for stage in stages[1:]))
    n = {name: len(plan.table.split(name)) for name in ("train", "val", "test")}
    seconds = 0.05 * (n["train"] + 2 * n["val"] + n["test"])
    for stage in stages[1:]:
        for epoch in range(int(stage.epochs or 0)):
            height, width = size_at(stage.sizes or [], epoch, int(stage.epochs or 0))
            seconds += n["train"] * 0.4 * height * width / 64**2 + 0.05 * n["val"]
    assert seconds < 60 * minutes
    assert len(stages) == 1 or stages[-1].sizes[-1] == (64, 64)
    assert found.decisions.told()["plan"].startswith(f"{minutes:g} min: the head solved on features")


@pytest.mark.parametrize("scratch", [False, True])
def test_too_short_a_time_is_refused_with_the_minutes_needed(
    scratch: bool, photos: Path, weights: str, speed: Callable[..., None]
) -> None:
    speed(look=1.0, learn=10.0)
    model = ("model.name=scratch_cnn",) if scratch else ("model.name=timm/test_resnet", f"model.weights={weights}")
    plan = plan_of(photos, *SMALL, *model)
    with pytest.raises(
        ConfigError, match=r"--minutes 0.2 is too short: one (epoch|look at each) of the 32 pictures"
    ) as told:
        paced(plan, 0.2, time_budget.time.monotonic())
    (need,) = map(int, re.findall(r"Give --minutes (\d+) or more", str(told.value)))
    enough = paced(plan, need, time_budget.time.monotonic())
    assert enough.settings.train.epochs == 1
    with pytest.raises(ConfigError, match="too short"):
        paced(plan, need - 1, time_budget.time.monotonic())


def test_what_does_not_go_with_the_stages_decided_is_refused(
    photos: Path, weights: str, speed: Callable[..., None]
) -> None:
    speed(look=0.05, learn=0.4)
    net = (*SMALL, "model.name=timm/test_resnet", f"model.weights={weights}", "train.ema=null")
    with pytest.raises(ConfigError, match=r"is no average.*\(--minutes 0.3 \(the head solved"):
        paced(plan_of(photos, *net, "train.swa=0.25"), 0.3, time_budget.time.monotonic())
    assert paced(plan_of(photos, *net, "train.swa=0.25"), 30, time_budget.time.monotonic()).settings.train.swa == 0.25


def test_time_spent_before_counts(photos: Path, speed: Callable[..., None]) -> None:
    speed(look=0.001, learn=0.1)
    plan = plan_of(photos, *SCRATCH)
    now = time_budget.time.monotonic()
    assert paced(plan, 2, now - 90).settings.train.epochs < paced(plan, 2, now).settings.train.epochs


@pytest.mark.parametrize("pair", ["train.epochs=5", "train.stages=[{name: all}]"])
def test_epochs_and_minutes_are_not_both_given(pair: str, photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"the settings given: --minutes decides train.epochs and train.stages"):
        settings_of(photos, pair)
    file = tmp_path / "mine.yaml"
    file.write_text("optim:\n  lr: 1e-3\ntrain:\n  epochs: 5\n")
    with pytest.raises(ConfigError, match=r"mine.yaml, line 4: --minutes decides .* Leave out train.epochs"):
        load_settings([], recipe=str(file), minutes=3)
    assert load_settings([], recipe=str(file)).train.epochs == 5


def test_the_plan_is_a_run_like_any_other(
    photos: Path, weights: str, tmp_path: Path, speed: Callable[..., None]
) -> None:
    """It stands in config.yaml: a run from that file needs no timing and has the same bits."""
    speed(look=0.01, learn=0.3)
    pairs = (*SMALL, "model.name=timm/test_resnet", f"model.weights={weights}")
    one = api.train(photos, *pairs, minutes=0.6, out=tmp_path / "one", quiet=True).path
    rows = read_jsonl(one / "history.jsonl")
    assert rows[0]["stage"] == "head"
    assert len(rows) > 2
    stage = api.open_run(one).folder.settings().train.stages[-1]
    assert set(stage.sizes or []) == {(32, 32), (64, 64)}
    assert "the head solved on features and" in (one / "report.txt").read_text()
    two = api.train(recipe=str(one / "config.yaml"), out=tmp_path / "two", quiet=True).path
    first, second = load_file(one / "model.safetensors"), load_file(two / "model.safetensors")
    assert all(torch.equal(first[name], second[name]) for name in first)


@pytest.mark.parametrize(("bf16", "chosen"), [(0.1, "bf16"), (0.199, "fp32"), (0.4, "fp32")])
def test_bf16_is_taken_where_it_is_clearly_faster(
    bf16: float, chosen: str, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(precision, "cpu_has_bf16", lambda: True)
    timed = {"fp32": 0.2, "bf16": bf16}
    monkeypatch.setattr(
        time_budget, "measure_pace", lambda plan, sizes: Pace(0.01, dict.fromkeys(sizes, timed[plan.sealed.precision]))
    )
    net = ("model.name=timm/mobilenetv3_small_050", "model.weights=none", "train.device=cpu", "input.size=32")
    found = paced(plan_of(photos, *net), 2, time_budget.time.monotonic())
    assert found.sealed.precision == chosen
    assert found.settings.train.precision == ("bf16" if chosen == "bf16" else "auto")
    assert ("timed" in found.decisions.told()["device"]) == (chosen == "bf16")
    asked = paced(plan_of(photos, *net, "train.precision=fp32"), 2, time_budget.time.monotonic())
    assert asked.sealed.precision == "fp32", "what the user asked for stands"


def test_timing_is_told_of_and_leaves_the_net_alone(photos: Path) -> None:
    plan = plan_of(photos, *SCRATCH, "model.batch_norm=true", "train.batch_size=5")
    before = {name: value.clone() for name, value in plan.net.state_dict().items()}
    pace = time_budget.measure_pace(plan, usable_sizes(plan))
    assert pace.look > 0
    assert list(pace.learn) == [(32, 32), (64, 64)]
    assert all(seconds > 0 for seconds in pace.learn.values())
    assert all(torch.equal(value, before[name]) for name, value in plan.net.state_dict().items())


def test_sizes_that_a_net_cannot_take_are_refused_before_training(photos: Path) -> None:
    vit = ("model.name=timm/vit_tiny_patch16_224", "model.weights=none", "input.size=64")
    with pytest.raises(ModelError, match=r"timm/vit_tiny_patch16_224 cannot take pictures of 96x96") as told:
        make_plan(settings_of(photos, *SMALL[:-1], *vit, "train.stages=[{name: all, sizes: [96, 64]}]", minutes=None))
    assert "leave sizes out" in str(told.value)
