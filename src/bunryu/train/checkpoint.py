"""All resumable state in one file: safetensors for tensors, JSON in its metadata for the rest. No pickle."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

import torch
from pydantic import ConfigDict, Field, TypeAdapter, ValidationError
from torch import nn, optim

from bunryu.core.errors import RunError, typed
from bunryu.core.small_json import parsed
from bunryu.core.storage import write_atomic
from bunryu.models import digest
from bunryu.models.record import Sealed, metadata_of, schema_number, sealed_digest
from bunryu.models.sealed_file import separate
from bunryu.settings.config import Settings
from bunryu.settings.validate import first_fault

SCHEMA = 2
"""1: without the digest that 2 has."""
_SCHEMA_KEY = "checkpoint_schema"
Count = Annotated[int, Field(ge=0, lt=2**31, strict=True)]
Number = Annotated[float, Field(strict=True)]
Log = Annotated[float, Field(le=0.0, strict=True)]
Seconds = Annotated[float, Field(ge=0.0, strict=True)]


@dataclass
class Progress:
    """Where training is, and what it remembers. Everything is JSON, and has bounds when it is read.

    Attributes:
        stage: index of the stage; the number of stages when training has ended.
        epoch: finished epochs of the stage.
        step: finished batches of the epoch; always at an optimiser update.
        updates: steps of the optimiser in the whole run.
        total_epochs: finished epochs of the run; names the randomness of the next.
        sums: running sums of the epoch: loss, correct, rows.
        best: best monitored value of the run, None before the first.
        best_loss: validation (or else training) loss of that epoch, to choose between equal figures.
        best_epoch: 1-based epoch of the run in which it was reached.
        stage_best: best monitored value of the stage, for patience and plateau.
        stage_loss: as `best_loss`, of that epoch.
        stale_epochs: epochs of the stage without improvement.
        plateau_stale: the same since the last drop of the plateau schedule.
        plateau_drops: drops of the plateau schedule in the stage.
        history: rows of history.jsonl that belong to this state.
        group_logs: logarithms of the groups' weights of `loss.group_dro`; empty before its first batch.
        averaged: epochs whose weights are in the average (`train.swa`).
        ended_by: why it ended, in words.
        spent_seconds: time of the unfinished epoch, for its history row.
    """

    __pydantic_config__: ClassVar = ConfigDict(extra="forbid", allow_inf_nan=False)

    stage: Count = 0
    epoch: Count = 0
    step: Count = 0
    updates: Count = 0
    total_epochs: Count = 0
    sums: dict[str, Number] = field(default_factory=lambda: {"loss": 0.0, "correct": 0.0, "rows": 0.0})
    best: Number | None = None
    best_loss: Number | None = None
    best_epoch: Count = 0
    stage_best: Number | None = None
    stage_loss: Number | None = None
    stale_epochs: Count = 0
    plateau_stale: Count = 0
    plateau_drops: Count = 0
    history: Count = 0
    averaged: Count = 0
    group_logs: list[Log] = field(default_factory=list)
    ended_by: str = ""
    spent_seconds: Seconds = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was read."""

    progress: Progress
    sealed: Sealed
    net: dict[str, torch.Tensor]
    ema: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    optimizer_tensors: dict[str, torch.Tensor]
    optimizer: dict[str, Any] | None
    scaler: dict[str, Any]
    file: Path


def save_checkpoint(
    path: Path,
    progress: Progress,
    sealed: Sealed,
    net: nn.Module,
    optimizer: optim.Optimizer | None,
    scaler: dict[str, Any],
    ema: nn.Module | None = None,
    average: dict[str, torch.Tensor] | None = None,
) -> None:
    """Write the state atomically. `optimizer` is None between two stages.

    Raises:
        TrainingError: the disk is full; the old checkpoint is untouched.
    """
    from safetensors.torch import save

    tensors = {f"net.{name}": value for name, value in separate(net.state_dict()).items()}
    if ema is not None:
        tensors |= {f"ema.{name}": value for name, value in separate(ema.state_dict()).items()}
    tensors |= {f"average.{name}": value.cpu() for name, value in (average or {}).items()}
    plain: dict[str, Any] | None = None
    if optimizer is not None:
        state = optimizer.state_dict()
        groups = [{name: _plain(value) for name, value in group.items()} for group in state["param_groups"]]
        plain = {"param_groups": groups, "scalars": {}}
        for index, values in state["state"].items():
            for name, value in values.items():
                if isinstance(value, torch.Tensor):
                    tensors[f"optim.{index}.{name}"] = value.detach().cpu().contiguous()
                else:
                    plain["scalars"].setdefault(str(index), {})[name] = value
    metadata = {
        _SCHEMA_KEY: str(SCHEMA),
        digest.KEY: digest.BLANK,
        "progress": json.dumps(dataclasses.asdict(progress)),
        "sealed": sealed.model_dump_json(),
        "optimizer": json.dumps(plain),
        "scaler": json.dumps(scaler),
    }
    write_atomic(path, digest.with_digest(save(tensors, metadata)))


def _plain(value: Any) -> Any:
    """Return a value of a parameter group for JSON; some optimisers (LAMB) count their steps there in a tensor."""
    return {"tensor": value.item(), "dtype": str(value.dtype)} if isinstance(value, torch.Tensor) else value


def _as_it_was(value: Any) -> Any:
    """Take back what `_plain` did."""
    if isinstance(value, dict) and "dtype" in value:
        return torch.tensor(value["tensor"], dtype=getattr(torch, value["dtype"].removeprefix("torch.")))
    return value


def load_checkpoint(path: Path) -> Checkpoint:
    """Read a checkpoint.

    Raises:
        RunError: it is damaged, or of a later schema.
    """
    from safetensors import SafetensorError, safe_open

    try:
        metadata = metadata_of(path)
        if schema_number(metadata[_SCHEMA_KEY]) > SCHEMA:
            raise RunError(f"{path} was written by a later bunryu. Update: pip install --upgrade bunryu")
        expected = sealed_digest(metadata, _SCHEMA_KEY)
        if expected is not None and digest.digest_of(path, expected) != expected:
            raise ValueError("its content is not what was saved: the SHA-256 differs")
        values = {name: parsed(metadata[name]) for name in ("progress", "sealed", "optimizer", "scaler")}
        progress, sealed = _progress(values["progress"]), Sealed.model_validate(values["sealed"])
        _OPTIMIZER.validate_python(values["optimizer"])
        _SCALER.validate_python(values["scaler"])
        with safe_open(path, "pt") as file:
            # Copies: Windows cannot replace a file of which a tensor is still a map.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
    except ValidationError as error:
        raise damaged(path, first_fault(error)) from None
    except (SafetensorError, OSError, KeyError, ValueError) as error:
        raise damaged(path, (str(error) or type(error).__name__).splitlines()[0]) from None
    return Checkpoint(
        progress=progress,
        sealed=sealed,
        net=_of("net.", tensors),
        ema=_of("ema.", tensors),
        average=_of("average.", tensors),
        optimizer_tensors={name: value for name, value in tensors.items() if name.startswith("optim.")},
        optimizer=values["optimizer"],
        scaler=values["scaler"],
        file=path,
    )


def damaged(path: Path, told: str) -> RunError:
    """Describe a checkpoint that cannot be gone on from, and the ways out."""
    best, config = path.parent / "best.safetensors", path.parent.parent / "config.yaml"
    from_best = f" To begin with its best weights so far, add model.weights={typed(best)}" if best.exists() else ""
    return RunError(
        f"{path} is damaged or not a checkpoint ({told}), so this training cannot go on from it. Put back a "
        f"copy of it, or start again in a new folder: bunryu train --recipe {typed(config)} --out NEW_RUN{from_best}"
    )


class _Tensor(Settings):
    """A number of a parameter group that was a tensor."""

    tensor: float | int
    dtype: Literal["torch.float64", "torch.float32", "torch.float16", "torch.bfloat16", "torch.int64", "torch.int32"]


_Value = int | float | bool | str | None


class _Optimizer(Settings):
    """What an optimiser's state dict has beside its tensors."""

    param_groups: Annotated[list[dict[str, _Value | list[_Value] | _Tensor]], Field(min_length=1, max_length=10_000)]
    scalars: dict[Annotated[str, Field(pattern="^[0-9]{1,9}$")], dict[str, _Value]]


_PROGRESS = TypeAdapter(Progress)
_OPTIMIZER = TypeAdapter(_Optimizer | None)
_SCALER = TypeAdapter(dict[str, Annotated[float, Field(ge=0.0, allow_inf_nan=False)]])


def _progress(values: Any) -> Progress:
    """Return what was written of `Progress`, its numbers within their bounds and in keeping with each other.

    Raises:
        ValueError: they are not.
    """
    found = _PROGRESS.validate_python(values)
    if found.sums.keys() != Progress().sums.keys():
        raise ValueError(f"progress.sums: expected loss, correct and rows, received {len(found.sums)} sums")
    if found.step and not found.sums["rows"] > 0:
        raise ValueError(f"progress: {found.step} batches of the epoch, and no rows in them")
    for name in ("epoch", "best_epoch", "stale_epochs", "averaged", "history"):
        if getattr(found, name) > found.total_epochs:
            raise ValueError(f"progress.{name}: {getattr(found, name)}, after {found.total_epochs} epochs")
    if found.history != found.total_epochs:
        raise ValueError(f"progress.history: {found.history}, after {found.total_epochs} epochs")
    return found


def _of(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def restore_optimizer(optimizer: optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Give a fresh optimiser of the same groups the saved state, in each parameter's own memory format.

    The format matters: elementwise kernels round differently at the ends of differently strided rows.

    Raises:
        RunError: it is the state of another optimiser, or of other parameters.
    """
    if checkpoint.optimizer is None:
        return
    state: dict[int, dict[str, Any]] = {}
    for index, values in checkpoint.optimizer["scalars"].items():
        state.setdefault(int(index), {}).update(values)
    saved = checkpoint.optimizer["param_groups"]
    groups = [{name: _as_it_was(value) for name, value in group.items()} for group in saved]
    fresh = optimizer.state_dict()["param_groups"]
    try:
        for key, tensor in checkpoint.optimizer_tensors.items():
            _, index, name = key.split(".", 2)
            state.setdefault(int(index), {})[name] = tensor
        if [group["params"] for group in fresh] != [group["params"] for group in groups]:
            raise ValueError("its optimiser has other groups of parameters than the settings make")
        parameters = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        for at, values in state.items():
            if at >= len(parameters) or any(_too_large(value, parameters[at]) for value in values.values()):
                raise ValueError(f"what its optimiser kept of parameter {at} does not fit the network")
        optimizer.load_state_dict({"state": state, "param_groups": groups})
    except (ValueError, KeyError) as error:
        raise damaged(checkpoint.file, str(error)) from None
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def _too_large(value: Any, parameter: torch.Tensor) -> bool:
    """Return whether this cannot be what an optimiser keeps of a parameter: as many numbers, or a few of them all."""
    if not isinstance(value, torch.Tensor) or value.shape == parameter.shape:
        return False
    return value.numel() >= max(parameter.numel(), 2)
