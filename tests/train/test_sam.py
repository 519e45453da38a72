"""Sharpness-aware minimisation against the papers' formulas, and in the loop."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import nn

from bunryu import api
from bunryu.core.errors import ConfigError
from bunryu.settings.load import load_settings
from bunryu.train import loop
from bunryu.train.sam import nearby_worst
from killing import nursery, results

SMALL = (
    *("model.name=scratch_cnn", "train.device=cpu", "input.size=16", "train.threads=1", "train.precision=fp32"),
    *("train.batch_size=8", "evaluate.bootstrap=0", "split.val=0.25", "train.epochs=2"),
)


def test_by_hand_on_a_quadratic() -> None:
    """loss = (3 w^2 + b^2) / 2: gradient g = (3 w, b), so e = rho g / |g|, and the new gradient is that at w + e."""
    net = nn.Linear(1, 1)
    with torch.no_grad():
        net.weight.fill_(2.0)
        net.bias.fill_(-1.0)

    def loss() -> torch.Tensor:
        return (3 * net.weight.square() + net.bias.square()).sum() / 2

    loss().backward()
    length = (6.0**2 + 1.0**2) ** 0.5
    with nearby_worst(net, 0.5, adaptive=False):
        assert net.weight.item() == pytest.approx(2 + 0.5 * 6 / length)
        assert net.bias.item() == pytest.approx(-1 - 0.5 / length)
        assert net.weight.grad is None
        loss().backward()
    assert (net.weight.item(), net.bias.item()) == (2.0, -1.0)
    assert net.weight.grad.item() == pytest.approx(3 * (2 + 0.5 * 6 / length))
    assert net.bias.grad.item() == pytest.approx(-1 - 0.5 / length)

    net.zero_grad()
    loss().backward()
    length = ((2.01 * 6) ** 2 + 1) ** 0.5  # T = |w| + 0.01 of the weight, 1 of the bias
    with nearby_worst(net, 0.5, adaptive=True):
        assert net.weight.item() == pytest.approx(2 + 0.5 * 2.01**2 * 6 / length)
        assert net.bias.item() == pytest.approx(-1 - 0.5 / length)


@pytest.mark.parametrize("adaptive", [False, True])
def test_the_step_up_has_its_length_and_statistics_stay(adaptive: bool) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 3))
    x, target = torch.randn(5, 3, 8, 8), torch.tensor([0, 1, 2, 0, 1])
    first = F.cross_entropy(net(x), target)
    first.backward()
    before = copy.deepcopy(net.state_dict())
    with nearby_worst(net, 0.05, adaptive):
        moved = {name: p.detach() - before[name] for name, p in net.named_parameters()}
        sizes = {name: before[name].abs() + 0.01 if adaptive and "weight" in name else 1.0 for name in moved}
        length = torch.stack([(step / sizes[name]).norm() for name, step in moved.items()]).norm()
        assert float(length) == pytest.approx(0.05, rel=1e-4)
        loss = F.cross_entropy(net(x), target)
        assert loss > first
        loss.backward()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items()), "BatchNorm counted once"
    assert all(p.grad is not None for p in net.parameters())


def weights(path: Path) -> dict[str, torch.Tensor]:
    return {name: value for name, value in load_file(path / "checkpoints/last.safetensors").items() if "net." in name}


def test_in_the_loop(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch twice with the same dropout, the second time nearby; a tiny rho changes next to nothing."""
    seeds: list[tuple[int, int, int]] = []
    learn_from = loop.learn_from

    def watched(job: Any, state: Any, *rest: Any) -> Any:
        seeds.append((state.progress.total_epochs, state.progress.step, torch.initial_seed()))
        return learn_from(job, state, *rest)

    monkeypatch.setattr(loop, "learn_from", watched)
    pairs = (*SMALL, "model.dropout=0.3", "model.batch_norm=true", "mix.name=mixup", "optim.name=sgd", "optim.lr=0.02")

    def trained(name: str, *more: str) -> dict[str, torch.Tensor]:
        seeds.clear()
        return weights(api.train(photos, *pairs, *more, out=tmp_path / name, quiet=True).path)

    plain = trained("plain")
    once = list(seeds)
    near = trained("near", "optim.sam_rho=1e-6")
    assert seeds == [seed for seed in once for _ in range(2)]
    far = trained("far", "optim.sam_rho=0.5")
    adaptive = trained("adaptive", "optim.sam_rho=0.5", "optim.sam_adaptive=true")
    for name, value in plain.items():
        torch.testing.assert_close(near[name], value, rtol=1e-4, atol=1e-5)
    for other in (far, adaptive):
        assert not torch.allclose(other["net.head.1.weight"], plain["net.head.1.weight"], atol=1e-4)
    assert plain["net.backbone.1.num_batches_tracked"] == far["net.backbone.1.num_batches_tracked"] == 6


def test_a_stage_may_have_it_alone(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    used: list[tuple[float, bool]] = []
    worst = loop.nearby_worst

    def watched(net: nn.Module, rho: float, adaptive: bool) -> Any:
        used.append((rho, adaptive))
        return worst(net, rho, adaptive)

    monkeypatch.setattr(loop, "nearby_worst", watched)
    stages = "train.stages=[{name: one, epochs: 1}, {name: two, epochs: 1, optim: {sam_rho: 0.1}}]"
    api.train(photos, *SMALL, stages, out=tmp_path / "run", quiet=True)
    assert used == [(0.1, False)] * 3


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (["optim.sam_rho=0.1", "train.accumulate=2"], r"set train\.accumulate=1"),
        (["optim.sam_adaptive=true"], r"give optim\.sam_rho"),
    ],
)
def test_what_cannot_be_is_refused(pairs: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_settings(pairs)


def test_scaled_gradients_are_refused(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bunryu.workflows.plan import decide

    monkeypatch.setattr(decide, "choose_precision", lambda *_: ("fp16", "as asked"))
    with pytest.raises(ConfigError, match=r"does not go with train\.precision=fp16"):
        api.train(photos, *SMALL, "optim.sam_rho=0.1", quiet=True)


def test_resumed_is_never_stopped(photos: Path, tmp_path: Path) -> None:
    pairs = (*SMALL, "optim.sam_rho=0.1", "optim.sam_adaptive=true", "model.dropout=0.3", "model.batch_norm=true")
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    nursery().finish("train", photos, "--out", straight, *pairs)
    assert nursery().run("train", photos, "--out", stopped, *pairs, point="SIGTERM", at=4).code == 130
    nursery().finish("train", "--resume", stopped)
    assert results(stopped) == results(straight)
