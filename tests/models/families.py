"""Small members of many families of both libraries, with a picture size each can take."""

from __future__ import annotations

from typing import TypeVar

import torch
from torch import nn

from bunryu.models.build import build, size_arguments
from bunryu.models.classifier import Classifier
from bunryu.models.record import Architecture, Head, Sealed
from bunryu.settings.data import DecodeSpec, InputSpec

N = TypeVar("N", bound=nn.Module)
TIMM = {
    "resnet10t": 64,
    "resnet18": 64,
    "test_resnet": (48, 80),
    "efficientnet_b0": 64,
    "tf_efficientnetv2_b0": 64,
    "mobilenetv3_small_050": 64,
    "mobilenetv2_050": 64,
    "lcnet_035": 64,
    "convnext_atto": 64,
    "convnextv2_atto": 64,
    "vit_tiny_patch16_224": 64,
    "deit_tiny_distilled_patch16_224": 64,
    "eva02_tiny_patch14_224": 56,
    "swin_tiny_patch4_window7_224": 112,
    "coat_tiny": 64,
    "coatnet_pico_rw_224": 64,
    "maxvit_pico_rw_256": 64,
    "mixer_s32_224": 224,
    "regnetx_002": 64,
    "regnety_002": 64,
    "densenet121": 64,
    "edgenext_xx_small": 64,
    "fastvit_t8": 64,
    "mobileone_s0": 64,
    "ghostnet_050": 64,
    "hrnet_w18_small": 64,
    "nf_regnet_b0": 64,
    "repvgg_a0": 64,
    "res2net50_26w_4s": 64,
    "pvt_v2_b0": 64,
}
TORCHVISION = {
    "densenet121": 64,
    "efficientnet_b0": 64,
    "googlenet": 64,
    "inception_v3": 96,
    "mnasnet0_5": 64,
    "mobilenet_v2": (48, 80),
    "mobilenet_v3_small": 64,
    "regnet_x_400mf": 64,
    "regnet_y_400mf": 64,
    "resnet18": 64,
    "shufflenet_v2_x0_5": 64,
    "squeezenet1_1": 64,
}
LARGE = {
    "beit_base_patch16_224": 64,
    "inception_v3": 96,
    "inception_v4": 96,
    "legacy_xception": 64,
    "naflexvit_base_patch16_gap": 64,
    "nfnet_l0": 64,
    "tresnet_m": 64,
    "vgg11": 64,
}
"""Of timm; for the meta device only."""


def pair(size: int | tuple[int, int]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else size


SMALL: list[tuple[str, tuple[int, int]]] = [
    ("scratch_cnn", (20, 30)),
    ("base_cnn", (20, 30)),
    ("mlp", (20, 30)),
    *((f"timm/{name}", pair(size)) for name, size in TIMM.items()),
    *((f"torchvision/{name}", pair(size)) for name, size in TORCHVISION.items()),
]


def architecture(name: str, size: tuple[int, int], channels: int = 3) -> Architecture:
    return Architecture(name=name, channels=channels, dropout=0.2, arguments=size_arguments(name, size))


def small(
    name: str = "timm/test_resnet", size: tuple[int, int] = (48, 80), channels: int = 3, classes: int = 3
) -> Classifier:
    """Build a net with every number its own, so that each one shows in the logits."""
    torch.manual_seed(1)
    return shaken(build(architecture(name, size, channels), classes), size, channels)


def shaken(net: N, size: tuple[int, int], channels: int = 3) -> N:
    """Move every parameter (also those that start near nought) and fill running statistics from noise."""
    norms = [module for module in net.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(torch.randn_like(parameter), alpha=0.01)
        net.eval()
        for module in norms:
            module.momentum = 1.0
            module.train()
        if norms:
            net(torch.rand(4, channels, *size))
    return net.eval()


def record(architecture: Architecture, size: tuple[int, int] = (48, 80), classes: int = 3) -> Sealed:
    depth = architecture.channels
    return Sealed(
        architecture=architecture,
        heads=[Head(column="label", classes=[f"class {k}" for k in range(classes)])],
        decode=DecodeSpec(),
        input=InputSpec(
            height=size[0],
            width=size[1],
            channels="rgb" if depth == 3 else "grey",
            mean=[0.4, 0.5, 0.6][:depth],
            std=[0.2, 0.3, 0.4][:depth],
        ),
    )
