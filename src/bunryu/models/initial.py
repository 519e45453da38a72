"""The network that a run starts from, as its settings say: which one, with whose weights."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import nn

from bunryu.core.errors import ModelError, nearest, typed
from bunryu.core.randomness import key_of
from bunryu.models.allowed_code import require_same
from bunryu.models.build import build, expected_input, find, libraries_with, size_arguments
from bunryu.models.classifier import Classifier, Head
from bunryu.models.hub import weights_name
from bunryu.models.record import Architecture, Sealed, metadata_of, read_sealed
from bunryu.models.sealed_file import open_sealed
from bunryu.models.user_code import own_architecture
from bunryu.models.weights import Loaded, choose_library, load_file_into
from bunryu.settings.model import split_name, without_library
from bunryu.settings.run import RunSettings
from bunryu.settings.validate import replaced

_WORDS = (None, "none", "imagenet")
_OF_RUNS = ("config.yaml", "ensemble.json", "model.safetensors")
_OF_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin", ".ckpt", ".tar")


def require_weights(settings: RunSettings) -> None:
    """Refuse weights that are not there, before anything slow happens.

    Raises:
        ModelError: neither a known word nor a file nor a run folder.
    """
    weights = settings.model.weights
    if weights in _WORDS:
        return
    path = Path(weights)
    expected = "Expected imagenet, none, a .safetensors or .pth file, or a run folder."
    if path.is_dir() and not any((path / name).is_file() for name in _OF_RUNS):
        files = sorted(file for file in path.iterdir() if file.suffix in _OF_WEIGHTS)
        mend = f"To take the file in it: model.weights={typed(files[0])}" if files else expected
        raise ModelError(f"model.weights: {path} is not a run folder. {mend}")
    if not path.exists():
        beside = path.parent if path.parent.is_dir() else Path()
        names = sorted(str(file) for file in beside.iterdir() if file.suffix in _OF_WEIGHTS)
        hub = weights.removeprefix("hf-hub:")
        model = f" To use a model of timm's hub: model.name={hub}" if hub.startswith("timm/") else ""
        raise ModelError(
            f"model.weights: there is no file or run folder {weights}. {expected}"
            f"{model or nearest(weights, names, quote='')}"
        )


def choose_architecture(settings: RunSettings) -> tuple[Architecture, Sealed | None]:
    """Return the architecture, and the record of the run whose weights it starts from, if any.

    Raises:
        ModelError: an unknown name, weights that are not there, or a run of another network.
    """
    require_weights(settings)
    donor = _donor(settings)
    if donor is not None:
        return _donors_architecture(settings, donor), donor
    if settings.model.file is not None:
        channels = 3 if settings.input.channels == "rgb" else 1
        asked = settings.model
        return own_architecture(str(asked.file), asked.arguments, channels, asked.dropout, settings.input.size), None
    name = settings.model.name
    if settings.model.weights not in _WORDS:
        name = choose_library(name, Path(str(settings.model.weights)))
    library, bare = find(name)
    full = bare if library == "scratch" else f"{library}/{bare}"
    arguments: dict[str, Any] = {"batch_norm": settings.model.batch_norm} if full == "scratch_cnn" else {}
    if library != "scratch":
        arguments = size_arguments(full, settings.input.size or expected_input(full).size)
    return Architecture(
        name=full,
        channels=3 if settings.input.channels == "rgb" else 1,
        dropout=settings.model.dropout,
        arguments=arguments,
    ), None


def network(settings: RunSettings, architecture: Architecture, donor: Sealed | None) -> tuple[Classifier, Loaded]:
    """Build the network with its backbone's weights; `new_head` follows once the classes are known.

    Raises:
        ModelError: weights that cannot be had, or that do not fit.
    """
    torch.manual_seed(key_of(settings.train.seed, "init"))
    weights = settings.model.weights or ("none" if without_library(architecture.name) else "imagenet")
    if donor is not None:
        path = _model_file(Path(weights))
        if settings.model.ema:
            raise ModelError(f"model.ema=true: {path} is a bunryu model, which holds one set. Leave the setting out.")
        net, _ = open_sealed(path)
        return net, Loaded(str(path), len(net.backbone.state_dict()), ["the head of that run"])
    net = build(architecture, 2, pretrained=weights == "imagenet")
    if weights == "none":
        return net, Loaded("none: from scratch", 0, [])
    if weights == "imagenet":
        name = weights_name(*find(architecture.name))
        return net, Loaded(f"{name}, from the hub", len(net.backbone.state_dict()), [])
    return net, load_file_into(net, architecture, Path(weights), averaged=settings.model.ema)


def require_head(settings: RunSettings, architecture: Architecture) -> None:
    """Refuse settings that need the head apart, of a network of the user's own that has none.

    Raises:
        ModelError: saying which.
    """
    if architecture.own is None or architecture.own.head is not None:
        return
    frozen = [stage.name for stage in settings.train.stages if stage.freeze == "backbone"]
    what = f"the stage '{frozen[0]}' has freeze: backbone, which" if frozen else ""
    what = what or ("optim.head_lr" if settings.optim.head_lr is not None else "")
    what = what or ("model.weights" if settings.model.weights not in (None, "none") else "")
    if what:
        raise ModelError(
            f"{what} needs a head apart, and {settings.model.file} has none: its output is not that of a linear layer "
            "(nn.Linear with a bias, used once). Make that its last step, or leave the setting out."
        )


def told_of(architecture: Architecture) -> str:
    """Return the architecture as people are told of it."""
    own = architecture.own
    if own is None:
        return architecture.name
    head = f"its head is {own.head}" if own.head is not None else "without a head that could be told apart"
    return f"{own.name} of {own.file} (SHA-256 {own.sha256[:12]}..., {head})"


def new_head(net: Classifier, architecture: Architecture, classes: int, settings: RunSettings) -> None:
    """Give the network a head for these classes, its draw named by the seed alone.

    A network of the user's own is made anew, so that its head is as they draw it.
    """
    if architecture.own is not None:
        torch.manual_seed(key_of(settings.train.seed, "init"))
        made = build(architecture, classes)
        if settings.model.weights not in (None, "none"):
            made.backbone.load_state_dict(net.backbone.state_dict())
        net.backbone, net.head, net.width = made.backbone, made.head, made.width
        return
    torch.manual_seed(key_of(settings.train.seed, "head"))
    net.head = Head(settings.model.dropout, nn.Linear(net.width, classes))


def _donor(settings: RunSettings) -> Sealed | None:
    """Return the record of the run (or sealed model file) that weights come from, if they do."""
    if settings.model.weights in _WORDS:
        return None
    path = Path(str(settings.model.weights))
    if (path / "ensemble.json").exists():
        raise ModelError(
            f"model.weights: {path} holds several models. Name the run, or the model file, of one of them."
        )
    if path.is_dir():
        return read_sealed(_model_file(path))
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError

        try:
            sealed = "architecture" in metadata_of(path)
        except (SafetensorError, OSError, ValueError):
            sealed = False  # the loader tells what is wrong with it
        return read_sealed(path) if sealed else None
    return None


def _model_file(path: Path) -> Path:
    return path / "model.safetensors" if path.is_dir() else path


def _donors_architecture(settings: RunSettings, donor: Sealed) -> Architecture:
    """Return the run's own architecture with the dropout asked for; refuse settings that ask for another net."""
    own, asked, run = donor.architecture, settings.model, settings.model.weights
    if (own.own is None) != (asked.file is None) or (asked.file and asked.arguments != own.arguments):
        told = f"model.file=FILE.py:{own.own.name}" if own.own else f"no model.file: it is a {own.name}"
        raise ModelError(
            f"model.weights: the run {run} needs {told}" + (f" and model.arguments={own.arguments}" if own.own else "")
        )
    if own.own is not None:
        require_same(own.own, split_name(str(asked.file))[0])
    if "name" in asked.model_fields_set and asked.name != own.name and own.name not in libraries_with(asked.name):
        raise ModelError(
            f"model.weights: the run {run} is a {own.name}, not a {asked.name}. Leave model.name out, or give other "
            "weights."
        )
    if donor.input.channels != settings.input.channels:
        raise ModelError(
            f"model.weights: the run {run} takes {donor.input.channels} pictures; set input.channels="
            f"{donor.input.channels} (it is {settings.input.channels}), or give other weights."
        )
    batch_norm = own.name == "scratch_cnn" and own.arguments.get("batch_norm", False)
    if "batch_norm" in asked.model_fields_set and asked.batch_norm != batch_norm:
        raise ModelError(
            f"model.weights: the run {run} has model.batch_norm={str(batch_norm).lower()}. Leave the setting out."
        )
    size = settings.input.size
    if size and not without_library(own.name) and size_arguments(own.name, size) != own.arguments:
        raise ModelError(
            f"model.weights: the run {run} has weights for {donor.input.height}x{donor.input.width} alone, not for "
            f"{size[0]}x{size[1]}. Leave input.size out."
        )
    return replaced(own, {"dropout": asked.dropout})
