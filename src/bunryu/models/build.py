"""A network by its name: scratch_cnn, or any classification model of timm or torchvision, with a new head."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import torch
from torch import nn

from bunryu.config import Settings
from bunryu.errors import ModelError, nearest
from bunryu.models.scratch import scratch_cnn

Library = Literal["scratch", "timm", "torchvision"]
IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_STD = [0.229, 0.224, 0.225]


class Architecture(Settings):
    """The sealed record of a network's shape; `build` makes it again."""

    name: str
    """With its library: scratch_cnn, timm/NAME or torchvision/NAME."""
    channels: int = 3
    """Input channels: 3 or 1."""
    dropout: float = 0.0
    """In front of the last linear layer."""
    arguments: dict[str, Any] = {}
    """Further arguments of the library's constructor."""


@dataclass(frozen=True)
class Expected:
    """The input that a model's pretrained weights were trained for."""

    size: tuple[int, int]
    crop_pct: float
    interpolation: Literal["bilinear", "bicubic", "lanczos", "nearest"]
    mean: list[float]
    std: list[float]


class Classifier(nn.Module):
    """A backbone, (B, C, H, W) -> (B, F), and a head of dropout and a linear layer, (B, F) -> (B, K)."""

    def __init__(self, backbone: nn.Module, features: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.backbone = backbone
        self.head = nn.Sequential(nn.Dropout(dropout), nn.Linear(features, classes))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits, shape (B, K)."""
        return cast(torch.Tensor, self.head(self.backbone(x_BCHW)))


def find(name: str) -> tuple[Library, str]:
    """Return the library and the library's own name of a model. A bare name means timm first.

    Raises:
        ModelError: no library knows the name; the nearest ones are named.
    """
    if name == "scratch_cnn":
        return "scratch", name
    library, _, bare = name.rpartition("/")
    if library not in ("", "timm", "torchvision"):
        raise ModelError(f"model.name: expected timm/NAME, torchvision/NAME or scratch_cnn, received {name!r}.")
    if library in ("", "timm") and _in_timm(bare):
        return "timm", bare
    if library in ("", "torchvision") and bare in torchvision_names():
        return "torchvision", bare
    raise ModelError(f"model.name: there is no model {name!r}.{_nearest_name(library, bare)}")


def libraries_with(name: str) -> list[str]:
    """Return the prefixed names of every library that knows a bare `name`, timm first."""
    found = ["timm/" + name] if _in_timm(name) else []
    return [*found, "torchvision/" + name] if name in torchvision_names() else found


def torchvision_names() -> list[str]:
    """Return the classification models of torchvision."""
    from torchvision import models

    return cast(list[str], models.list_models(module=models))


def build(architecture: Architecture, classes: int, *, pretrained: bool = False) -> Classifier:
    """Make the network, its head new.

    Args:
        architecture: what to make.
        classes: K, the number of outputs.
        pretrained: fetch the library's ImageNet weights for the backbone from its hub.

    Raises:
        ModelError: an unknown name, an argument the model refuses, or weights that cannot be had.
    """
    library, bare = find(architecture.name)
    if library == "scratch":
        backbone, features = scratch_cnn(architecture.channels, **architecture.arguments)
        return Classifier(backbone, features, classes, architecture.dropout)
    make = _timm_backbone if library == "timm" else _torchvision_backbone
    net, features = make(bare, architecture.arguments, pretrained)
    if architecture.channels == 1:
        to_grey(net)
    return Classifier(net, features, classes, architecture.dropout)


def expected_input(name: str) -> Expected:
    """Return the input that the library's weights for `name` were trained for (not for scratch_cnn)."""
    library, bare = find(name)
    if library == "timm":
        import timm

        cfg = timm.get_pretrained_cfg(bare) or timm.models.PretrainedCfg()
        size = (cfg.test_input_size or cfg.input_size)[1:]
        crop = cfg.test_crop_pct if cfg.test_input_size and cfg.test_crop_pct else cfg.crop_pct
        return Expected(size, crop, cfg.interpolation, list(cfg.mean), list(cfg.std))
    from torchvision import models

    transform = models.get_model_weights(bare).DEFAULT.transforms()
    side, resized = transform.crop_size[0], transform.resize_size[0]
    return Expected(
        (side, side), side / resized, transform.interpolation.value, list(transform.mean), list(transform.std)
    )


def size_arguments(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return the constructor's arguments for nets whose weights depend on the input's size (such as ViT)."""
    library, bare = find(name)
    if library == "timm":
        import timm

        cfg = timm.get_pretrained_cfg(bare)
        fixed = cfg is not None and cfg.fixed_input_size and tuple(cfg.input_size[1:]) != tuple(size)
        return {"img_size": list(size)} if fixed else {}
    if library == "torchvision" and bare.startswith("vit_") and size != (224, 224):
        if size[0] != size[1]:
            raise ModelError(f"{name} takes square input only, received {size[0]}x{size[1]}.")
        return {"image_size": size[0]}
    return {}


def has_depthwise(net: nn.Module) -> bool:
    """Return whether the net has depthwise convolutions, whose bf16 backward is slow on CPUs."""
    return any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in net.modules())


def to_grey(net: nn.Module) -> None:
    """Give the first convolution one input channel, its weights summed over RGB (as timm adapts them)."""
    for module in net.modules():
        if isinstance(module, nn.Conv2d) and module.in_channels == 3 and module.groups == 1:
            module.weight = nn.Parameter(module.weight.detach().sum(dim=1, keepdim=True))
            module.in_channels = 1
            return
    raise ModelError("input.channels=grey: this model has no first convolution over 3 channels to adapt. Use rgb.")


def _timm_backbone(name: str, arguments: dict[str, Any], pretrained: bool) -> tuple[nn.Module, int]:
    import timm

    if pretrained:
        _skip_retries_without_network()
    try:
        net = timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments)
    except Exception as error:
        raise _refusal("timm/" + name, arguments, pretrained, error) from error
    return net, int(net.head_hidden_size if hasattr(net, "head_hidden_size") else net.num_features)


def _torchvision_backbone(name: str, arguments: dict[str, Any], pretrained: bool) -> tuple[nn.Module, int]:
    from torchvision import models

    extra: dict[str, Any] = {"aux_logits": pretrained} if name in ("googlenet", "inception_v3") else {}
    extra |= {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    try:
        net = models.get_model(name, weights="DEFAULT" if pretrained else None, **extra, **arguments)
    except Exception as error:
        raise _refusal("torchvision/" + name, arguments, pretrained, error) from error
    if extra:
        net.aux_logits, net.AuxLogits, net.aux1, net.aux2 = False, None, None, None
    return _without_classifier(net)


def _without_classifier(net: nn.Module) -> tuple[nn.Module, int]:
    """Replace the last linear layer (and a dropout just before it) by nothing, and return its inputs' number."""
    if type(net).__name__ == "SqueezeNet":  # classifies by a 1x1 convolution before the pool
        cast(Any, net).classifier = nn.AdaptiveAvgPool2d(1)
        return net, 512
    name, linear = [(n, m) for n, m in net.named_modules() if isinstance(m, nn.Linear)][-1]
    parent_name, _, attribute = name.rpartition(".")
    parent = net.get_submodule(parent_name)
    setattr(parent, attribute, nn.Identity())
    if isinstance(parent, nn.Sequential) and attribute.isdigit() and int(attribute) > 0:
        before = parent[int(attribute) - 1]
        if isinstance(before, nn.Dropout):
            parent[int(attribute) - 1] = nn.Identity()
    return net, linear.in_features


def classifier_prefixes(library: Library, name: str) -> tuple[str, ...]:
    """Return how the keys of the library's own classifier begin, which a new head replaces."""
    if library == "timm":
        import timm

        cfg = timm.get_pretrained_cfg(name)
        found = cfg.classifier if cfg is not None else None
        names = (found,) if isinstance(found, str) else tuple(found or ())
        return (*(f"{prefix}." for prefix in names), "head.", "classifier.", "fc.")
    return ("fc.", "classifier.", "head.", "heads.", "AuxLogits.", "aux1.", "aux2.")


def _in_timm(name: str) -> bool:
    import timm

    return bool(timm.is_model(name.split(".", 1)[0]))


def _nearest_name(library: str, bare: str) -> str:
    import timm

    choices: Sequence[str] = ["scratch_cnn"] if not library else []
    if library in ("", "timm"):
        choices = [*choices, *(f"timm/{name}" for name in timm.list_models())]
    if library in ("", "torchvision"):
        choices = [*choices, *(f"torchvision/{name}" for name in torchvision_names())]
    return nearest(f"{library or 'timm'}/{bare}", choices)


def _skip_retries_without_network() -> None:
    """Where the hub's name cannot be looked up, use its local cache only, instead of retrying for a minute."""
    import socket
    from urllib.parse import urlsplit
    from urllib.request import getproxies

    import huggingface_hub.constants as hub

    host = urlsplit(hub.ENDPOINT).hostname
    if host is None or getproxies():
        return
    try:
        socket.getaddrinfo(host, 443)
    except OSError:
        hub.HF_HUB_OFFLINE = True


def _refusal(name: str, arguments: dict[str, Any], pretrained: bool, error: Exception) -> ModelError:
    if pretrained and not isinstance(error, (TypeError, ValueError)):
        return ModelError(
            f"The ImageNet weights of {name} could not be fetched: the hub cannot be reached and the local cache "
            f"does not have them ({_first_line(error)}). Nothing was trained. Download them where there is a "
            "network and give the file: model.weights=FILE.safetensors (or .pth); or train from scratch with "
            "model.weights=none (model.name=scratch_cnn is quicker)."
        )
    if pretrained and "pretrained" in str(error).lower():
        return ModelError(f"{name} has no ImageNet weights on its hub. Give model.weights=FILE or model.weights=none.")
    told = f" with {arguments}" if arguments else ""
    return ModelError(f"{name} cannot be made{told}: {_first_line(error)}")


def _first_line(error: Exception) -> str:
    first = (str(error).strip().splitlines() or [""])[0].split(". ")[0]
    return f"{type(error).__name__}: {first[:160]}"
