"""All but the last blocks frozen: for nets of many families only those and the head learn, and nothing else moves."""

from __future__ import annotations

import pytest
import torch
from families import architecture
from test_blocks import OUT_OF_ORDER, Uses
from timm.layers import DropPath
from torch import nn
from torchvision.ops import StochasticDepth

from bunryu.core.errors import ConfigError
from bunryu.models.blocks import whole_blocks
from bunryu.models.build import build
from bunryu.models.classifier import Classifier
from bunryu.settings.stages import Stage
from bunryu.train.stages import freeze, stages_told, training_mode

FAMILIES = {
    "timm/resnet18": 64,
    "timm/efficientnet_b0": 64,
    "timm/mobilenetv2_050": 64,
    "timm/mobilenetv3_small_050": 64,
    "timm/convnext_atto": 64,
    "timm/vit_tiny_patch16_224": 64,
    "timm/eva02_tiny_patch14_224": 56,
    "timm/swin_tiny_patch4_window7_224": 112,
    "timm/densenet121": 64,
    "timm/regnety_002": 64,
    "timm/mixer_s32_224": 224,
    "timm/repvgg_a0": 64,
    "timm/coatnet_pico_rw_224": 64,
    "torchvision/resnet18": 64,
    "torchvision/efficientnet_b0": 64,
    "torchvision/mobilenet_v2": 64,
    "torchvision/mobilenet_v3_small": 64,
    "torchvision/convnext_tiny": 64,
    "torchvision/swin_t": 64,
    "torchvision/densenet121": 64,
    "torchvision/regnet_y_400mf": 64,
    "torchvision/squeezenet1_1": 64,
    "torchvision/inception_v3": 96,
    "scratch_cnn": 32,
}
LAST = Stage(name="last", train_blocks=2)


def restless(net: Classifier) -> Classifier:
    """Let every dropout and drop path drop half, also where the library would leave it out."""
    for module in list(net.modules()):
        for key, child in module.named_children():
            if key.startswith("drop_path") and isinstance(child, nn.Identity):
                setattr(module, key, DropPath(0.5))
            elif isinstance(child, nn.Dropout | StochasticDepth):
                child.p = 0.5
            elif isinstance(child, DropPath):
                child.drop_prob = 0.5
    return net


def outputs(net: Classifier, names: list[str], x: torch.Tensor, seed: int) -> tuple[dict[str, torch.Tensor], Uses]:
    """Return what the modules of these names give, and in which order the parameters of the backbone are used."""
    found: dict[str, torch.Tensor] = {}
    modules = dict(net.named_modules())
    hooks = [
        modules[name].register_forward_hook(lambda _, __, out, name=name: found.__setitem__(name, out.detach().clone()))
        for name in names
    ]
    torch.manual_seed(seed)
    with Uses(net.backbone) as uses:
        net(x).sum().backward()
    for hook in hooks:
        hook.remove()
    return found, uses


@pytest.mark.parametrize("name", FAMILIES)
def test_only_the_last_blocks_and_the_head_learn(name: str) -> None:
    torch.manual_seed(0)
    size = FAMILIES[name]
    net = restless(build(architecture(name, (size, size)), 3))
    last = {f"backbone.{key}" for row in whole_blocks(net.backbone)[-2:] for key in row}
    learning = last | {"head.1.weight", "head.1.bias"}
    frozen = [key for key, m in net.named_modules() if len(list(m.parameters())) and not _any_in(learning, key)]
    x = torch.randn(3, 3, size, size)
    before = {key: value.clone() for key, value in net.named_buffers()}

    freeze(net, LAST)
    training_mode(net, LAST)
    assert {key for key, p in net.named_parameters() if p.requires_grad} == learning
    first, uses = outputs(net, frozen, x, seed=1)
    assert {key for key, p in net.named_parameters() if p.grad is not None} == learning
    moved = {key for key, value in net.named_buffers() if not torch.equal(value, before[key])}
    second, _ = outputs(net, frozen, x, seed=2)
    net.eval()
    third, _ = outputs(net, frozen, x, seed=3)

    assert first, "something is frozen"
    for key, value in first.items():
        assert torch.equal(value, second[key]), f"{key} drops at random"
        assert torch.equal(value, third[key]), f"{key} is not in eval mode"
    batch_norms = {key for key, m in net.named_modules() if isinstance(m, nn.BatchNorm2d)}
    trained = {key for key in batch_norms if f"{key}.weight" in learning}
    assert {key.rpartition(".")[0] for key in moved} == trained
    if name not in OUT_OF_ORDER:
        order = {f"backbone.{key}": place for key, place in uses.order.items()}
        assert max(order[key] for key in order if key not in last) < min(order[key] for key in last)


def _any_in(learning: set[str], key: str) -> bool:
    return any(name.startswith(f"{key}." if key else "") for name in learning)


def test_known_last_blocks() -> None:
    def learning(name: str, k: int, size: int = 64) -> set[str]:
        with torch.device("meta"):
            net = build(architecture(name, (size, size)), 3)
        freeze(net, Stage(name="last", train_blocks=k))
        return {".".join(key.split(".")[:3]) for key, p in net.backbone.named_parameters() if p.requires_grad}

    found = learning("torchvision/resnet18", 3)
    assert {key.rpartition(".")[0] for key in found} == {"layer3.1", "layer4.0", "layer4.1"}
    found = learning("timm/vit_tiny_patch16_224", 3)
    assert {key.split(".")[1] for key in found} == {"9", "10", "11", "weight", "bias"}
    found = learning("timm/efficientnet_b0", 3)
    assert {key for key in found if key.startswith("blocks")} == {"blocks.5.2", "blocks.5.3", "blocks.6.0"}
    assert {key.split(".")[0] for key in found} == {"blocks", "conv_head", "bn2"}
    assert {key.split(".")[1] for key in learning("torchvision/mobilenet_v2", 2)} == {"17", "18"}


@pytest.mark.parametrize("k", [9, 50])
def test_more_blocks_than_there_are_is_refused(k: int) -> None:
    net = build(architecture("torchvision/resnet18", (64, 64)), 3)
    with pytest.raises(ConfigError, match=rf"train_blocks: {k}: this backbone has 9 blocks.*Give 8 or fewer"):
        freeze(net, Stage(name="last", train_blocks=k))


def test_statistics_may_be_kept_in_the_blocks_that_learn() -> None:
    net = build(architecture("torchvision/resnet18", (64, 64)), 3)
    stage = Stage(name="last", train_blocks=2, freeze="statistics", epochs=3)
    freeze(net, stage)
    training_mode(net, stage)
    assert not any(m.training for m in net.modules() if isinstance(m, nn.BatchNorm2d))
    assert net.backbone.layer4.training
    told = "last (3 epochs, the last 2 of 9 blocks and the head, BatchNorm statistics kept)"
    assert stages_told([stage], net) == told


def test_gradients_come_back_after_the_stage() -> None:
    net = build(architecture("scratch_cnn", (32, 32)), 3)
    freeze(net, LAST)
    assert not all(p.requires_grad for p in net.parameters())
    freeze(net, Stage(name="all"))
    training_mode(net, Stage(name="all"))
    assert all(p.requires_grad for p in net.parameters())
    assert all(module.training for module in net.modules())
