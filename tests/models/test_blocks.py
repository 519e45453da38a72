"""A backbone as a row of blocks: whole, in the order of use, for nets of many families."""

from __future__ import annotations

import pytest
import torch
from families import LARGE, SMALL, architecture, pair
from torch import nn
from torch.overrides import TorchFunctionMode

from bunryu.models.blocks import _NORMS, blocks, whole_blocks
from bunryu.models.build import build

NETS = [
    *SMALL,
    *((f"timm/{name}", pair(size)) for name, size in LARGE.items()),
    *((f"torchvision/{name}", (224, 224)) for name in ("alexnet", "maxvit_t", "swin_t", "vit_b_16")),
    *((f"torchvision/{name}", (64, 64)) for name in ("convnext_tiny", "efficientnet_v2_s", "vgg11_bn")),
]
OUT_OF_ORDER = {"timm/coat_tiny": "patch_embed", "torchvision/vit_b_16": "class_token"}
"""Nets with a part that is used earlier or later than where it stands: timm's own grouping, a token of one vector."""


class Uses(TorchFunctionMode):
    """Note in which order the parameters of a net are first used."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.names = {id(parameter): name for name, parameter in net.named_parameters()}
        self.order: dict[str, int] = {}

    def __torch_function__(self, func, types, args=(), kwargs=None):
        self._see([*args, *(kwargs or {}).values()])
        return func(*args, **(kwargs or {}))

    def _see(self, values: object) -> None:
        for value in values if isinstance(values, list | tuple) else [values]:
            if isinstance(value, list | tuple):
                self._see(value)
            elif (name := self.names.get(id(value))) is not None:
                self.order.setdefault(name, len(self.order))


def backbone_of(name: str, size: tuple[int, int]) -> nn.Module:
    copies = name.startswith("torchvision/regnet")  # from a tensor without data, which meta refuses
    with torch.device("cpu" if copies else "meta"):
        return build(architecture(name, size), 3).backbone.eval()


@pytest.mark.parametrize(("name", "size"), NETS, ids=[name for name, _ in NETS])
def test_every_parameter_stands_once_in_the_order_of_use(name: str, size: tuple[int, int]) -> None:
    net = backbone_of(name, size)
    rows = blocks(net)
    parameters = dict(net.named_parameters())
    assert sorted(key for row in rows for key in row) == sorted(parameters)
    assert len(rows) > (1 if name == "mlp" else 2)
    assert all(rows)
    with Uses(net) as uses, torch.no_grad():
        net(torch.zeros(1, 3, *size, device=next(net.parameters()).device))
    assert uses.order.keys() == parameters.keys()
    if name not in OUT_OF_ORDER:
        firsts = [[uses.order[key] for key in row] for row in rows]
        assert [number for row in firsts for number in sorted(row)] == list(range(len(parameters)))


@pytest.mark.parametrize("name", [name for name, _ in NETS if name != "mlp"])
def test_a_norm_stands_with_what_is_before_it(name: str) -> None:
    size = dict(NETS)[name]
    net = backbone_of(name, size)
    norms = {f"{key}." for key, module in net.named_modules() if isinstance(module, _NORMS)}
    for row in whole_blocks(net):
        assert not all(key.rpartition(".")[0] + "." in norms for key in row), row


def test_known_nets() -> None:
    assert [row[0].split(".")[0] for row in blocks(backbone_of("torchvision/resnet18", (64, 64)))] == [
        "conv1",
        *(f"layer{stage}" for stage in (1, 2, 3, 4) for _ in range(2)),
    ]
    vit = blocks(backbone_of("torchvision/vit_b_16", (224, 224)))
    assert vit[0] == ["class_token"]
    assert vit[1] == ["conv_proj.weight", "conv_proj.bias", "encoder.pos_embedding"]
    assert [row[0].split(".")[2] for row in vit[2:]] == [f"encoder_layer_{i}" for i in range(12)]
    assert vit[-1][-2:] == ["encoder.ln.weight", "encoder.ln.bias"]
    assert blocks(backbone_of("scratch_cnn", (20, 30))) == [[f"{i}.weight", f"{i}.bias"] for i in (0, 3, 6, 11)]
