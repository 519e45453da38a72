"""The sealed model: one `model.safetensors` with the weights and, in its metadata, all that its use needs."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from torch import nn

from bunryu.core.errors import ModelError, RunError, some
from bunryu.core.storage import write_atomic
from bunryu.models import digest
from bunryu.models.budget import Budget
from bunryu.models.build import build, find
from bunryu.models.classifier import Classifier
from bunryu.models.record import LATER, SCHEMA, Member, Sealed, read_metadata, read_sealed, sealed_digest


def seal(path: Path, net: Classifier, sealed: Sealed) -> None:
    """Write the model file, atomically."""
    seal_state(path, net.state_dict(), sealed)


def seal_state(path: Path, state: Mapping[str, torch.Tensor], sealed: Sealed) -> None:
    """Write the model file of a network with these tensors, atomically."""
    from safetensors.torch import save

    values = {name: value for name, value in sealed.model_dump(mode="json").items() if value or name not in LATER}
    record = {name: json.dumps(value, ensure_ascii=False) for name, value in values.items()}
    head = {"format": "pt", "schema": str(SCHEMA), digest.KEY: digest.BLANK}
    write_atomic(path, digest.with_digest(save(separate(state), {**head, **record})))


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
        RunError: as `read_sealed`, weights that do not fit the record, or a file that is not what was sealed.
    """
    from safetensors.torch import load_file

    sealed = read_sealed(path)
    unanswered = len(sealed.heads) > 1 and sealed.joint is None
    if sealed.members != [Member()] or unanswered or (sealed.decision.thresholds and not sealed.multi_label):
        raise RunError(
            f"{path} has several members, heads without a joint answer, or thresholds of classes, which this bunryu "
            "does not know how to use. Update: pip install --upgrade bunryu"
        )
    if expected := sealed_digest(read_metadata(path)):
        digest.require_intact(path, expected)
    net = empty(path, sealed)
    try:
        _require_names(net, path)
        fill(net, load_file(path))
    except ValueError as error:
        raise RunError(f"{path}: its weights do not fit its own record: {error}") from None
    return net.eval(), sealed


def empty(path: Path, sealed: Sealed) -> Classifier:
    """Return the network of a file's record with other weights; no code of a library's makes it larger than its file.

    Raises:
        RunError: it would be.
        ModelError: it is code of the user's that was not allowed, or that makes no such network.
    """
    made, outputs = sealed.architecture, sealed.outputs
    with torch.random.fork_rng(devices=[]):
        if made.own is not None:
            return build(made, outputs)
        try:
            find(made.name)  # imports its library, whose own tables are not counted
        except ModelError as error:
            told = str(error).removeprefix("model.name: ")
            raise RunError(f"{path} names a network that this bunryu cannot make: {told}") from None
        try:
            with Budget(path.stat().st_size):
                return build(made, outputs)
        except ModelError as error:
            raise RunError(f"{path}: its weights do not fit its own record: {error}") from None


def fill(net: nn.Module, weights: Mapping[str, torch.Tensor]) -> None:
    """Give a network its weights.

    Raises:
        ValueError: they are not of this network, or no numbers.
    """
    own = net.state_dict()
    for name, tensor in weights.items():
        if name in own and (wrong := _wrong(tensor, own[name])):
            raise ValueError(f"{name} {wrong}")
    try:
        net.load_state_dict(weights)
    except RuntimeError as error:
        raise ValueError(" ".join(str(error).split())[:300]) from None


def _require_names(net: nn.Module, path: Path) -> None:
    """Refuse a file with other tensors than the network's, before any of them is read."""
    from safetensors import safe_open

    with safe_open(path, "pt") as file:
        own, found = net.state_dict().keys(), set(file.keys())
    if more := sorted(found - own):
        raise ValueError(f"it has tensors that the network has not: {some(more, 3)}")
    if missing := sorted(own - found):
        raise ValueError(f"it lacks tensors of the network: {some(missing, 3)}")


def _wrong(tensor: torch.Tensor, own: torch.Tensor) -> str | None:
    """Say what is wrong with a tensor in the place of the network's own; infinities it has itself (masks) are right."""
    if tensor.is_floating_point() != own.is_floating_point() or tensor.is_complex():
        return f"is {tensor.dtype}; expected {own.dtype}"
    if tensor.shape != own.shape or not tensor.is_floating_point():
        return None
    odd = ~torch.isfinite(tensor)
    if odd.any() and not torch.equal(tensor[odd], own[odd].to(tensor.dtype)):
        return f"has {int(odd.sum()):,} values that are no finite numbers"
    return None
