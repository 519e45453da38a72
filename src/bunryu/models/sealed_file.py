"""The sealed model: one `model.safetensors` with the weights and, in its metadata, all that its use needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from bunryu.core.errors import RunError
from bunryu.core.storage import write_atomic
from bunryu.models.build import build
from bunryu.models.classifier import Classifier
from bunryu.models.record import LATER, SCHEMA, Member, Sealed, read_sealed


def seal(path: Path, net: Classifier, sealed: Sealed) -> None:
    """Write the model file, atomically."""
    seal_state(path, net.state_dict(), sealed)


def seal_state(path: Path, state: Mapping[str, torch.Tensor], sealed: Sealed) -> None:
    """Write the model file of a network with these tensors, atomically."""
    from safetensors.torch import save

    values = {name: value for name, value in sealed.model_dump(mode="json").items() if value or name not in LATER}
    record = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
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


def open_sealed(path: Path) -> tuple[Classifier, Sealed]:
    """Read a model file: the network in eval mode on the CPU, and its record.

    Raises:
        RunError: as `read_sealed`, or weights that do not fit the record.
    """
    from safetensors.torch import load_file

    sealed = read_sealed(path)
    unanswered = len(sealed.heads) > 1 and sealed.joint is None
    if sealed.members != [Member()] or unanswered or (sealed.decision.thresholds and not sealed.multi_label):
        raise RunError(
            f"{path} has several members, heads without a joint answer, or thresholds of classes, which this bunryu "
            "does not know how to use. Update: pip install --upgrade bunryu"
        )
    with torch.random.fork_rng(devices=[]):
        net = build(sealed.architecture, sealed.outputs)
    try:
        net.load_state_dict(load_file(path))
    except RuntimeError as error:
        told = " ".join(str(error).split())[:300]
        raise RunError(f"{path}: its weights do not fit its own record: {told}") from None
    return net.eval(), sealed
