"""Optimiser groups, and schedules held to torch's at every update."""

from __future__ import annotations

import math
import typing
import warnings
from itertools import pairwise
from typing import Any, get_args

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import nn, optim

from bunryu.models.blocks import blocks
from bunryu.models.build import build
from bunryu.models.classifier import Classifier
from bunryu.models.record import Architecture
from bunryu.settings.stages import OptimSettings, ScheduleSettings, Stage
from bunryu.train.optim import create_optimizer, lr_factor, lr_of, set_lr, undecayed
from bunryu.train.stages import freeze

NAMES = get_args(OptimSettings.model_fields["name"].annotation)
SCHEDULES = get_args(ScheduleSettings.model_fields["name"].annotation)
ALL, HEAD = Stage(name="all"), Stage(name="head", freeze="backbone")


@pytest.fixture
def net() -> Classifier:
    torch.manual_seed(0)
    return build(Architecture(name="timm/test_resnet"), 3)


def grouped(optimizer: optim.Optimizer) -> dict[tuple[str, float], set[int]]:
    return {(g["name"], g["weight_decay"]): {id(p) for p in g["params"]} for g in optimizer.param_groups}


def test_the_same_layers_are_in_the_same_groups(net: Classifier) -> None:
    optimizer = create_optimizer(net, OptimSettings(lr=1e-3, head_lr=1e-2, weight_decay=0.3), ALL)
    groups = grouped(optimizer)
    assert set(groups) == {("backbone", 0.3), ("backbone", 0.0), ("head", 0.3), ("head", 0.0)}
    for name in ("backbone", "head"):
        parameters = list(net.get_submodule(name).parameters())
        assert groups[name, 0.3] == {id(p) for p in parameters if p.ndim > 1}
        assert groups[name, 0.0] == {id(p) for p in parameters if p.ndim <= 1}
    every = [id(p) for g in optimizer.param_groups for p in g["params"]]
    assert sorted(every) == sorted(id(p) for p in net.parameters())
    assert (lr_of(optimizer, "backbone"), lr_of(optimizer, "head")) == (1e-3, 1e-2)


@pytest.mark.parametrize(
    ("name", "added"),
    [
        ("timm/test_vit", {"cls_token", "pos_embed"}),
        ("timm/test_resnet", set()),
        ("torchvision/vit_b_16", {"class_token", "encoder.pos_embedding"}),
    ],
)
def test_positions_and_tokens_have_no_weight_decay(name: str, added: set[str]) -> None:
    with torch.device("meta"):
        backbone = build(Architecture(name=name), 3).backbone
    assert undecayed(backbone) == added


def test_what_has_no_weight_decay_is_in_that_group() -> None:
    net = build(Architecture(name="timm/test_vit"), 3)
    groups = grouped(create_optimizer(net, OptimSettings(weight_decay=0.3), ALL))
    assert {id(net.backbone.get_parameter(name)) for name in ("cls_token", "pos_embed")} <= groups["backbone", 0.0]
    assert len(groups["backbone", 0.3]) + len(groups["backbone", 0.0]) == len(list(net.backbone.parameters()))


def test_norms_and_biases_have_no_weight_decay(net: Classifier) -> None:
    optimizer = create_optimizer(net, OptimSettings(weight_decay=0.3), ALL)
    decayed = {i for (_, decay), ids in grouped(optimizer).items() if decay for i in ids}
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert not decayed & {id(module.weight), id(module.bias)}
        if isinstance(module, nn.Conv2d | nn.Linear):
            assert id(module.weight) in decayed
            assert id(module.bias) not in decayed


def test_a_frozen_backbone_is_not_in_the_optimiser(net: Classifier) -> None:
    freeze(net, HEAD)
    optimizer = create_optimizer(net, OptimSettings(head_lr=1e-2), HEAD)
    assert {name for name, _ in grouped(optimizer)} == {"head"}
    assert (lr_of(optimizer, "head"), lr_of(optimizer, "backbone")) == (1e-2, None)


def test_without_a_rate_of_its_own_the_head_has_the_others(net: Classifier) -> None:
    assert lr_of(create_optimizer(net, OptimSettings(lr=2e-3), ALL), "head") == 2e-3


@pytest.mark.parametrize("stage", [ALL, HEAD], ids=lambda stage: stage.name)
@pytest.mark.parametrize("name", NAMES)
def test_every_optimiser_takes_a_step_that_lowers_the_loss(name: str, stage: Stage, net: Classifier) -> None:
    freeze(net, stage)
    optimizer = create_optimizer(net, OptimSettings(name=name, lr=1e-4, head_lr=1e-3), stage)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    x, target = torch.randn(4, 3, 32, 32), torch.tensor([0, 1, 2, 0])
    net.eval()
    first = nn.functional.cross_entropy(net(x), target)
    first.backward()
    optimizer.step()
    assert nn.functional.cross_entropy(net(x), target) < first
    moved = {key for key, value in net.state_dict().items() if not torch.equal(value, before[key])}
    assert {"head.1.weight", "head.1.bias"} <= moved
    assert any(key.startswith("backbone.") for key in moved) == (stage is ALL)


EXPECTED = {"adamw": optim.AdamW, "adam": optim.Adam, "sgd": optim.SGD, "nadam": optim.NAdam}


@pytest.mark.parametrize("name", EXPECTED)
def test_optimisers_are_those_they_are_called(name: str, net: Classifier) -> None:
    optimizer = create_optimizer(net, OptimSettings(name=name, momentum=0.8), ALL)  # type: ignore[arg-type]
    assert type(optimizer) is EXPECTED[name]
    if name == "sgd":
        assert all(group["nesterov"] and group["momentum"] == 0.8 for group in optimizer.param_groups)


def test_adamw_steps_as_torchs(net: Classifier) -> None:
    other = build(Architecture(name="timm/test_resnet"), 3)
    other.load_state_dict(net.state_dict())
    settings = OptimSettings(lr=1e-3, head_lr=1e-2, weight_decay=0.1)
    ours = create_optimizer(net, settings, ALL)
    torchs = optim.AdamW(
        [
            {"params": [p], "lr": 1e-2 if key.startswith("head") else 1e-3, "weight_decay": 0.1 if p.ndim > 1 else 0.0}
            for key, p in other.named_parameters()
        ]
    )
    for seed in range(3):
        x = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(seed))
        for model, optimizer in ((net, ours), (other, torchs)):
            optimizer.zero_grad()
            model.eval()(x).square().sum().backward()
            optimizer.step()
    for key, value in net.state_dict().items():
        torch.testing.assert_close(value, other.state_dict()[key])


def test_a_factor_applies_to_each_groups_own_rate(net: Classifier) -> None:
    optimizer = create_optimizer(net, OptimSettings(lr=1e-3, head_lr=1e-2), ALL)
    for factor in (0.5, 0.1, 1.0):
        set_lr(optimizer, factor)
        assert (lr_of(optimizer, "backbone"), lr_of(optimizer, "head")) == (1e-3 * factor, 1e-2 * factor)


# Schedules


def ours(settings: ScheduleSettings, per_epoch: int, epochs: int) -> list[float]:
    return [lr_factor(settings, update, per_epoch, epochs, 0) for update in range(per_epoch * epochs)]


def torchs(make: Any, updates: int, every: int = 1) -> list[float]:
    """Return the rate that a scheduler of torch's gives at each update, stepped every `every` updates."""
    optimizer = optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler = make(optimizer)
    found = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that SequentialLR steps its parts in the old way
        for update in range(updates):
            found.append(optimizer.param_groups[0]["lr"])
            optimizer.step()
            if (update + 1) % every == 0:
                scheduler.step()
    return found


@pytest.mark.parametrize(("per_epoch", "epochs"), [(1, 7), (5, 4), (3, 1)])
def test_cosine_is_torchs(per_epoch: int, epochs: int) -> None:
    total = per_epoch * epochs
    expected = torchs(lambda o: optim.lr_scheduler.CosineAnnealingLR(o, T_max=total), total)
    assert ours(ScheduleSettings(name="cosine"), per_epoch, epochs) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("step_epochs", [1, 3, 100])
def test_step_is_torchs(step_epochs: int) -> None:
    expected = torchs(lambda o: optim.lr_scheduler.StepLR(o, step_epochs, gamma=0.3), 4 * 10, every=4)
    settings = ScheduleSettings(name="step", step_epochs=step_epochs, gamma=0.3)
    assert ours(settings, 4, 10) == pytest.approx(expected)


@pytest.mark.parametrize("milestones", [[1], [3, 5], [2, 2, 8]])
def test_multistep_is_torchs(milestones: list[int]) -> None:
    expected = torchs(lambda o: optim.lr_scheduler.MultiStepLR(o, milestones, gamma=0.3), 4 * 10, every=4)
    settings = ScheduleSettings(name="multistep", milestones=milestones, gamma=0.3)
    assert ours(settings, 4, 10) == pytest.approx(expected)


def test_exponential_is_torchs() -> None:
    expected = torchs(lambda o: optim.lr_scheduler.ExponentialLR(o, gamma=0.8), 4 * 6, every=4)
    assert ours(ScheduleSettings(name="exponential", gamma=0.8), 4, 6) == pytest.approx(expected)


@pytest.mark.parametrize(("per_epoch", "epochs"), [(5, 4), (7, 3), (1, 30), (10, 1)])
@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_one_cycle_is_torchs_and_warms_up_by_itself(per_epoch: int, epochs: int, warmup: float) -> None:
    total = per_epoch * epochs
    expected = torchs(
        lambda o: optim.lr_scheduler.OneCycleLR(o, max_lr=1.0, total_steps=total, cycle_momentum=False), total
    )
    found = ours(ScheduleSettings(name="one_cycle", warmup_epochs=warmup), per_epoch, epochs)
    assert found == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("updates", [1, 2, 3, 4])
def test_one_cycle_of_a_handful_of_updates_stays_within_its_bounds(updates: int) -> None:
    assert all(0 < factor <= 1 for factor in ours(ScheduleSettings(name="one_cycle"), 1, updates))


OPTIMIZERS = typing.get_args(OptimSettings.model_fields["name"].annotation)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer_learns_with_two_rates(net: Classifier, name: str) -> None:
    optimizer = create_optimizer(net, OptimSettings(name=name, lr=1e-4, head_lr=1e-3), ALL)
    x = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    before = {key: value.clone() for key, value in net.named_parameters()}
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(net.eval()(x), torch.tensor([0, 1, 2, 0])).backward()
        optimizer.step()
    moved = [key for key, value in net.named_parameters() if not torch.equal(value, before[key])]
    assert all(torch.isfinite(value).all() for value in net.parameters())
    assert any(key.startswith("head") for key in moved)
    assert any(key.startswith("backbone") for key in moved)
    assert {group["name"] for group in optimizer.param_groups} == {"head", "backbone"}


def test_plateau_drops_by_gamma() -> None:
    settings = ScheduleSettings(name="plateau", gamma=0.2)
    assert [lr_factor(settings, 9, 3, 5, drops) for drops in range(3)] == pytest.approx([1, 0.2, 0.04])


def test_constant_is_constant() -> None:
    assert set(ours(ScheduleSettings(name="constant"), 3, 4)) == {1.0}


@pytest.mark.parametrize("warmup", [0.5, 1.0, 2.0])
def test_warm_up_and_cosine_are_torchs_in_sequence(warmup: float) -> None:
    per_epoch, epochs = 8, 5
    rise, total = round(warmup * per_epoch), per_epoch * epochs

    def make(o: optim.Optimizer) -> Any:
        parts: list[Any] = [
            optim.lr_scheduler.LinearLR(o, start_factor=1 / (rise + 1), total_iters=rise),
            optim.lr_scheduler.CosineAnnealingLR(o, T_max=total - rise),
        ]
        return optim.lr_scheduler.SequentialLR(o, parts, milestones=[rise])

    settings = ScheduleSettings(name="cosine", warmup_epochs=warmup)
    assert ours(settings, per_epoch, epochs) == pytest.approx(torchs(make, total), abs=1e-9)


@pytest.mark.parametrize("name", ["step", "multistep", "constant"])
def test_warm_up_is_torchs_linear_times_the_schedule(name: Any) -> None:
    settings = ScheduleSettings(name=name, warmup_epochs=3, step_epochs=2, milestones=[1, 4], gamma=0.5)
    plain = ours(settings.model_copy(update={"warmup_epochs": 0.0}), 4, 8)
    linear = torchs(lambda o: optim.lr_scheduler.LinearLR(o, start_factor=1 / 13, total_iters=12), 32)
    assert ours(settings, 4, 8) == pytest.approx([a * b for a, b in zip(plain, linear, strict=True)])


@pytest.mark.parametrize("name", SCHEDULES)
def test_the_schedule_goes_on_where_the_warm_up_ends(name: Any) -> None:
    if name in ("exponential", "one_cycle"):
        pytest.skip("falls from the first epoch on; has its own warm-up")
    settings = ScheduleSettings(name=name, warmup_epochs=2, step_epochs=4, milestones=[4])
    factors = ours(settings, 50, 6)
    assert factors[0] == pytest.approx(1 / 101)
    assert factors[100] == 1.0
    assert factors[:100] == sorted(factors[:100])
    assert max(abs(a - b) for a, b in pairwise(factors[:200])) < 0.02


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize(("per_epoch", "epochs", "warmup"), [(1, 1, 0.0), (1, 1, 5.0), (3, 2, 2.0), (1, 4, 0.2)])
def test_no_schedule_gives_nothing_or_less(name: Any, per_epoch: int, epochs: int, warmup: float) -> None:
    settings = ScheduleSettings(name=name, warmup_epochs=warmup, milestones=[1])
    assert all(0 < factor <= 1 and math.isfinite(factor) for factor in ours(settings, per_epoch, epochs))


def test_a_warm_up_takes_half_of_a_short_stage_at_most() -> None:
    settings = ScheduleSettings(name="constant", warmup_epochs=5)
    assert ours(settings, 8, 2)[8:] == [1.0] * 8
    assert ours(settings, 1, 1) == [1.0]


# Layer-wise rates


def rates(net: Classifier, settings: OptimSettings) -> dict[str, float]:
    names = {id(parameter): name for name, parameter in net.named_parameters()}
    groups = create_optimizer(net, settings, ALL).param_groups
    return {names[id(parameter)]: group["base_lr"] for group in groups for parameter in group["params"]}


@pytest.mark.parametrize("name", ["timm/test_resnet", "torchvision/resnet18", "scratch_cnn"])
def test_each_block_learns_at_the_next_ones_rate_times_the_decay(name: str) -> None:
    net = build(Architecture(name=name), 3)
    found = rates(net, OptimSettings(lr=1e-3, head_lr=1e-2, layer_decay=0.5))
    rows = blocks(net.backbone)
    assert found.keys() == dict(net.named_parameters()).keys()
    for depth, row in enumerate(reversed(rows)):
        assert [found[f"backbone.{key}"] for key in row] == [pytest.approx(1e-3 * 0.5**depth)] * len(row)
    assert {value for key, value in found.items() if key.startswith("head.")} == {1e-2}


@pytest.mark.parametrize(
    "name", ["test_resnet", "resnet18", "vit_tiny_patch16_224", "convnext_atto", "swin_tiny_patch4_window7_224"]
)
def test_layer_decay_is_timms(name: str) -> None:
    with torch.device("meta"):
        net = build(Architecture(name=f"timm/{name}"), 3)
    found = rates(net, OptimSettings(lr=1.0, layer_decay=0.75))
    names = {id(parameter): f"backbone.{key}" for key, parameter in net.backbone.named_parameters()}
    theirs = {
        names[id(parameter)]: group["lr_scale"]
        for group in param_groups_layer_decay(net.backbone, layer_decay=0.75)
        for parameter in group["params"]
    }
    assert {key: found[key] for key in theirs} == pytest.approx(theirs)
    assert len(theirs) == len(names)


def test_no_decay_is_one_group_for_all(net: Classifier) -> None:
    groups = create_optimizer(net, OptimSettings(lr=1e-3, layer_decay=1.0), ALL).param_groups
    assert [(group["name"], group["base_lr"]) for group in groups] == [("head", 1e-3)] * 2 + [("backbone", 1e-3)] * 2


def test_the_rate_that_is_told_is_that_of_the_last_block(net: Classifier) -> None:
    optimizer = create_optimizer(net, OptimSettings(lr=1e-3, layer_decay=0.5), ALL)
    set_lr(optimizer, 0.1)
    assert lr_of(optimizer, "backbone") == pytest.approx(1e-4)
    assert min(group["lr"] for group in optimizer.param_groups) == pytest.approx(1e-4 * 0.5**4)


def test_a_warm_up_has_a_few_updates_where_an_epoch_has_one() -> None:
    settings = ScheduleSettings(name="constant", warmup_epochs=0.5)
    assert ours(settings, 1, 10)[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert ours(settings, 1, 6)[:4] == pytest.approx([0.25, 0.5, 0.75, 1.0])
    assert ours(settings.model_copy(update={"warmup_epochs": 0.0}), 1, 10)[0] == 1.0
