"""The sealed model: one `model.safetensors` with the weights and, in its metadata, all that its use needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Field, ValidationError

from bunryu.config import Settings
from bunryu.data.settings import DecodeSpec, InputSpec
from bunryu.errors import RunError
from bunryu.models.build import Architecture, Classifier, build
from bunryu.storage import write_atomic

SCHEMA = 1
Precision = Literal["fp32", "bf16", "fp16"]


class Head(Settings):
    """What one output of the network means."""

    column: str
    """The label column."""
    kind: Literal["softmax"] = "softmax"
    """How logits become probabilities."""
    classes: list[str]
    """Class names; output k is classes[k]."""
    published: list[int] | None = None
    """The source's own whole number of each class, where it had one."""


class Member(Settings):
    """One network of an ensemble."""

    prefix: str = ""
    """How the keys of its tensors begin."""
    weight: float = 1.0
    """Its share of the mean."""


class Decision(Settings):
    """What happens between logits and the answer."""

    temperature: float | None = None
    """Logits are divided by it; not when null."""
    thresholds: dict[str, float] = {}
    """Class -> least probability to answer with it."""


class Sealed(Settings):
    """Everything beside the weights. Every field is there from the first schema on."""

    architecture: Architecture
    heads: Annotated[list[Head], Field(min_length=1)]
    members: list[Member] = [Member()]
    decode: DecodeSpec
    input: InputSpec
    precision: Precision = "fp32"
    decision: Decision = Decision()
    provenance: dict[str, Any] = {}

    @property
    def classes(self) -> list[str]:
        """Class names of the first head, in the order of the outputs."""
        return self.heads[0].classes


def seal(path: Path, net: Classifier, sealed: Sealed) -> None:
    """Write the model file, atomically."""
    seal_state(path, net.state_dict(), sealed)


def seal_state(path: Path, state: Mapping[str, torch.Tensor], sealed: Sealed) -> None:
    """Write the model file of a network with these tensors, atomically."""
    from safetensors.torch import save

    record = {name: json.dumps(value, ensure_ascii=False) for name, value in sealed.model_dump(mode="json").items()}
    write_atomic(path, save(separate(state), {"format": "pt", "schema": str(SCHEMA), **record}))


def separate(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors on the CPU, each with memory of its own: some nets (CoaT) use one under several names."""
    tensors: dict[str, torch.Tensor] = {}
    taken: set[int] = set()
    for name, value in state.items():
        tensor = value.detach().cpu().contiguous()
        place = tensor.untyped_storage().data_ptr()
        tensors[name] = tensor.clone() if place in taken else tensor
        taken.add(place)
    return tensors


def read_sealed(path: Path) -> Sealed:
    """Read the record of a model file, without its weights.

    Raises:
        RunError: missing, damaged, not a bunryu model, or of a later schema.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise RunError(f"There is no model file {path}. A finished run has model.safetensors in its folder.")
    try:
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is damaged or not a safetensors file: {error}") from None
    if "schema" not in metadata or "architecture" not in metadata:
        raise RunError(f"{path} has weights but no bunryu record. To start from it: model.weights={path}")
    try:
        if int(metadata["schema"]) > SCHEMA:
            raise RunError(
                f"{path} was sealed by a later bunryu (schema {metadata['schema']}; this one knows {SCHEMA}). "
                "Update: pip install --upgrade bunryu"
            )
        return Sealed.model_validate({name: json.loads(metadata[name]) for name in Sealed.model_fields})
    except KeyError as error:
        raise RunError(f"{path} has a damaged bunryu record: {error.args[0]} is missing.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(f"{path} has a damaged bunryu record: {where}: {first['msg']}") from None
    except ValueError as error:
        raise RunError(f"{path} has a damaged bunryu record: {error}") from None


def open_sealed(path: Path) -> tuple[Classifier, Sealed]:
    """Read a model file: the network in eval mode on the CPU, and its record.

    Raises:
        RunError: as `read_sealed`, or weights that do not fit the record.
    """
    from safetensors.torch import load_file

    sealed = read_sealed(path)
    if sealed.members != [Member()] or len(sealed.heads) != 1 or sealed.decision.thresholds:
        raise RunError(
            f"{path} has several members, several heads or thresholds, which this bunryu does not know how to use. "
            "Update: pip install --upgrade bunryu"
        )
    with torch.random.fork_rng(devices=[]):
        net = build(sealed.architecture, len(sealed.classes))
    try:
        net.load_state_dict(load_file(path))
    except RuntimeError as error:
        told = " ".join(str(error).split())[:300]
        raise RunError(f"{path}: its weights do not fit its own record: {told}") from None
    return net.eval(), sealed
