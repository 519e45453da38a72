"""A network by its name: one of our own, or any classification model of timm or torchvision, with a new head."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, cast

import torch
from torch import nn

from bunryu.core.errors import ModelError, nearest, some
from bunryu.models.classifier import Classifier
from bunryu.models.hub import fetched, first_line
from bunryu.models.lazy_imports import import_timm, import_torchvision_models
from bunryu.models.record import Architecture
from bunryu.models.scratch import scratch_net
from bunryu.settings.model import SCRATCH, without_library

Library = Literal["scratch", "timm", "torchvision", "own"]
IMAGENET_MEAN = [0.485, 0.456, 0.406]
IMAGENET_STD = [0.229, 0.224, 0.225]
_ARGUMENTS = ("batch_norm", "img_size", "image_size")


@dataclass(frozen=True)
class Expected:
    """The input that a model's pretrained weights were trained for."""

    size: tuple[int, int]
    crop_pct: float
    interpolation: Literal["bilinear", "bicubic", "lanczos", "nearest"]
    mean: list[float]
    std: list[float]


def find(name: str) -> tuple[Library, str]:
    """Return the library and the library's own name of a model. A bare name means timm first.

    Raises:
        ModelError: no library knows the name; the nearest ones are named.
    """
    if name in SCRATCH:
        return "scratch", name
    library, _, bare = name.rpartition("/")
    if library == "own":
        return "own", bare
    if library not in ("", "timm", "torchvision"):
        raise ModelError(f"model.name: expected timm/NAME, torchvision/NAME or {some(SCRATCH)}, received {name!r}.")
    if library in ("", "timm") and _in_timm(bare):
        _require_tag(bare)
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
    models = import_torchvision_models()

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
    if library == "own":
        from bunryu.models.user_code import own_classifier

        return own_classifier(architecture, classes)
    if unknown := set(architecture.arguments) - set(_ARGUMENTS):
        raise ModelError(f"{architecture.name}: there is no argument {some(sorted(unknown))}; known: {_ARGUMENTS}.")
    if library == "scratch":
        backbone, features = scratch_net(bare, architecture.channels, **architecture.arguments)
        return Classifier(backbone, features, classes, architecture.dropout, repeat=False)
    make = partial(_timm_net if library == "timm" else _torchvision_net, bare, architecture.arguments, pretrained)
    try:
        net = fetched(library, bare, make) if pretrained else make()
    except ModelError:
        raise
    except Exception as error:
        told = f" with {architecture.arguments}" if architecture.arguments else ""
        raise ModelError(f"{architecture.name} cannot be made{told}: {first_line(error)}") from error
    if library == "torchvision":
        net, features = _without_classifier(net)
    else:
        features = int(getattr(net, "head_hidden_size", None) or cast(Any, net).num_features)
    return Classifier(net, features, classes, architecture.dropout, repeat=architecture.channels == 1)


def expected_input(name: str) -> Expected:
    """Return the input that the library's weights for `name` were trained for; for names of timm and torchvision."""
    library, bare = find(name)
    if library == "timm":
        timm = import_timm()

        cfg = timm.get_pretrained_cfg(bare) or timm.models.PretrainedCfg()
        size = (cfg.test_input_size or cfg.input_size)[1:]
        crop = cfg.test_crop_pct if cfg.test_input_size and cfg.test_crop_pct else cfg.crop_pct
        return Expected(size, min(crop, 1.0), cfg.interpolation, list(cfg.mean), list(cfg.std))
    models = import_torchvision_models()

    transform = models.get_model_weights(bare).DEFAULT.transforms()
    side, resized = transform.crop_size[0], transform.resize_size[0]
    return Expected(
        (side, side), side / resized, transform.interpolation.value, list(transform.mean), list(transform.std)
    )


def size_arguments(name: str, size: tuple[int, int]) -> dict[str, Any]:
    """Return the constructor's arguments for nets whose weights depend on the input's size (such as ViT)."""
    library, bare = find(name)
    if library == "timm":
        timm = import_timm()

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


def require_fit(net: Classifier, architecture: Architecture, size: tuple[int, int]) -> None:
    """Take one empty picture through the net, so that a size it cannot take is told before anything is trained.

    Raises:
        ModelError: it cannot, or the backbone gives no one vector for a picture.
    """
    training, device = net.training, next(net.parameters()).device
    told = f"{size[0]}x{size[1]}"
    try:
        with torch.no_grad():
            shape = tuple(net.eval().features(torch.zeros(1, architecture.channels, *size, device=device)).shape)
    except Exception as error:
        known = None if without_library(architecture.name) else expected_input(architecture.name).size
        mend = f" It is made for {known[0]}x{known[1]}; leave sizes out, or set others." if known else ""
        raise ModelError(f"{architecture.name} cannot take pictures of {told}: {first_line(error)}.{mend}") from error
    finally:
        net.train(training)
    if shape == (1, net.width):
        return
    if architecture.own is not None and architecture.own.head is None:
        raise ModelError(
            f"{architecture.own.file}:{architecture.own.name} gives {shape[-1]} numbers for a picture; there are "
            f"{net.width} classes. Let it take num_classes, and give as many."
        )
    raise ModelError(
        f"{architecture.name} gives features of shape {shape[1:]} for a picture of {told}, not one vector, so it "
        "cannot classify. Choose another model.name."
    )


def _timm_net(name: str, arguments: dict[str, Any], pretrained: bool) -> nn.Module:
    timm = import_timm()

    return cast(nn.Module, timm.create_model(name, pretrained=pretrained, num_classes=0, **arguments))


def _torchvision_net(name: str, arguments: dict[str, Any], pretrained: bool) -> nn.Module:
    models = import_torchvision_models()

    weights = "DEFAULT" if pretrained else None
    if name in ("googlenet", "inception_v3"):  # as their weights want them: inputs rescaled inside, no second heads
        heads = {} if pretrained else {"aux_logits": False}
        net = models.get_model(name, weights=weights, init_weights=False, transform_input=True, **heads)
        net.aux_logits, net.AuxLogits, net.aux1, net.aux2 = False, None, None, None
        return cast(nn.Module, net)
    if pretrained and "image_size" in arguments:  # a ViT of another size than its weights
        from torchvision.models.vision_transformer import interpolate_embeddings

        net = models.get_model(name, weights=weights)
        if net.image_size != arguments["image_size"]:
            state = interpolate_embeddings(arguments["image_size"], net.patch_size, net.state_dict())
            net = models.get_model(name, **arguments)
            net.load_state_dict(state)
        return cast(nn.Module, net)
    return cast(nn.Module, models.get_model(name, weights=weights, **arguments))


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
        timm = import_timm()

        cfg = timm.get_pretrained_cfg(name)
        found = cfg.classifier if cfg is not None else None
        names = (found,) if isinstance(found, str) else tuple(found or ())
        return (*(f"{prefix}." for prefix in names), "head.", "classifier.", "fc.")
    return ("fc.", "classifier.", "head.", "heads.", "AuxLogits.", "aux1.", "aux2.")


def _in_timm(name: str) -> bool:
    timm = import_timm()

    return bool(timm.is_model(name.split(".", 1)[0]))


def _require_tag(name: str) -> None:
    """Refuse a tag that timm has no weights of; the tag says which of several trainings is meant."""
    timm = import_timm()

    base, dot, _ = name.partition(".")
    tags = timm.list_pretrained(f"{base}.*") if dot else []
    if dot and name not in tags:
        known = f" Known: {some(tags, 12)}." if tags else ""
        raise ModelError(f"model.name: timm has no weights {name!r}.{nearest(name, tags)}{known}")


def _nearest_name(library: str, bare: str) -> str:
    """Name the models that have the wanted name in theirs (whatever its case and dashes), else the one most alike."""
    timm = import_timm()

    choices = [] if library else list(SCRATCH)
    if library in ("", "timm"):
        choices += [f"timm/{name}" for name in timm.list_models()]
    if library in ("", "torchvision"):
        choices += [f"torchvision/{name}" for name in torchvision_names()]
    wanted = _letters(bare)
    found = {choice: _letters(choice.rpartition("/")[2]) for choice in choices}
    exact = [choice for choice, letters in found.items() if letters == wanted]
    inside = [choice for choice, letters in found.items() if len(wanted) > 2 and wanted in letters]
    inside.sort(key=lambda choice: (not found[choice].startswith(wanted), len(found[choice]), choice))
    near = exact or inside
    if len(near) > 1:
        return f" Did you mean one of {some(near, 8)}?"
    if near:
        return f" Did you mean '{near[0]}'?"
    alike = difflib.get_close_matches(wanted, sorted(set(found.values()), key=len), n=1, cutoff=0.6)
    near = [choice for choice, letters in found.items() if letters in alike]
    return f" Did you mean {' or '.join(map(repr, near))}?" if near else ""


def _letters(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.lower())
