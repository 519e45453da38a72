"""All resumable state in one file: safetensors for tensors, JSON in its metadata for the rest. No pickle."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch import nn, optim

from bunryu.core.errors import RunError
from bunryu.core.storage import write_atomic
from bunryu.models.record import Sealed
from bunryu.models.sealed_file import separate

SCHEMA = 1


@dataclass
class Progress:
    """Where training is, and what it remembers. Everything is JSON.

    Attributes:
        stage: index of the stage; the number of stages when training has ended.
        epoch: finished epochs of the stage.
        step: finished batches of the epoch; always at an optimiser update.
        updates: steps of the optimiser in the whole run.
        total_epochs: finished epochs of the run; names the randomness of the next.
        sums: running sums of the epoch: loss, correct, rows.
        best: best monitored value of the run, None before the first.
        best_loss: loss of that epoch, to choose between equal figures: of validation (calibrated, where noise may
            decide) or else of training.
        leader: 1-based epoch of the run in which it was reached.
        best_epoch: that of the best epoch: `leader`, or one that is as good within noise and has the lower loss.
        chosen_loss: as `best_loss`, of the best epoch.
        stage_best: best monitored value of the stage, for patience and plateau.
        stage_loss: as `best_loss`, of that epoch.
        stale_epochs: epochs of the stage without improvement.
        plateau_stale: the same since the last drop of the plateau schedule.
        plateau_drops: drops of the plateau schedule in the stage.
        history: rows of history.jsonl that belong to this state.
        group_logs: logarithms of the groups' weights of `loss.group_dro`; empty before its first batch.
        averaged: epochs whose weights are in the average (`train.swa`).
        kept: epoch of the weights in each checkpoint: name (best, stage-1-head, final) -> 1-based epoch of the run.
        ended_by: why it ended, in words.
        spent_seconds: time of the unfinished epoch, for its history row.
    """

    stage: int = 0
    epoch: int = 0
    step: int = 0
    updates: int = 0
    total_epochs: int = 0
    sums: dict[str, float] = field(default_factory=lambda: {"loss": 0.0, "correct": 0.0, "rows": 0.0})
    best: float | None = None
    best_loss: float | None = None
    leader: int = 0
    best_epoch: int = 0
    chosen_loss: float | None = None
    stage_best: float | None = None
    stage_loss: float | None = None
    stale_epochs: int = 0
    plateau_stale: int = 0
    plateau_drops: int = 0
    history: int = 0
    averaged: int = 0
    group_logs: list[float] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)
    ended_by: str = ""
    spent_seconds: float = 0.0


@dataclass(frozen=True)
class Checkpoint:
    """A checkpoint as it was read."""

    progress: Progress
    sealed: Sealed
    net: dict[str, torch.Tensor]
    ema: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    said: dict[str, torch.Tensor]
    optimizer_tensors: dict[str, torch.Tensor]
    optimizer: dict[str, Any] | None
    scaler: dict[str, Any]


def save_checkpoint(
    path: Path,
    progress: Progress,
    sealed: Sealed,
    net: nn.Module,
    optimizer: optim.Optimizer | None,
    scaler: dict[str, Any],
    ema: nn.Module | None = None,
    average: dict[str, torch.Tensor] | None = None,
    said: Mapping[str, NDArray[Any]] | None = None,
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
    tensors |= {f"said.{name}": torch.tensor(value) for name, value in (said or {}).items()}
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
        "checkpoint_schema": str(SCHEMA),
        "progress": json.dumps(dataclasses.asdict(progress)),
        "sealed": sealed.model_dump_json(),
        "optimizer": json.dumps(plain),
        "scaler": json.dumps(scaler),
    }
    write_atomic(path, save(tensors, metadata))


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
        with safe_open(path, "pt") as file:
            metadata = file.metadata() or {}
            # Copies: Windows cannot replace a file of which a tensor is still a map.
            tensors = {name: file.get_tensor(name).clone() for name in file.keys()}  # noqa: SIM118 - not a dict
        if int(metadata["checkpoint_schema"]) > SCHEMA:
            raise RunError(f"{path} was written by a later bunryu. Update: pip install --upgrade bunryu")
        return Checkpoint(
            progress=Progress(**json.loads(metadata["progress"])),
            sealed=Sealed.model_validate_json(metadata["sealed"]),
            net=_of("net.", tensors),
            ema=_of("ema.", tensors),
            average=_of("average.", tensors),
            said=_of("said.", tensors),
            optimizer_tensors={name: value for name, value in tensors.items() if name.startswith("optim.")},
            optimizer=json.loads(metadata["optimizer"]),
            scaler=json.loads(metadata["scaler"]),
        )
    except (SafetensorError, OSError, KeyError, ValueError, TypeError) as error:
        told = (str(error) or type(error).__name__).splitlines()[0]
        raise RunError(
            f"{path} is damaged or not a checkpoint ({told}). Start the training anew in another folder, or from "
            "the best weights so far with model.weights=RUN/checkpoints/best.safetensors."
        ) from None


def _of(prefix: str, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}


def restore_optimizer(optimizer: optim.Optimizer, checkpoint: Checkpoint) -> None:
    """Give a fresh optimiser of the same groups the saved state, in each parameter's own memory format.

    The format matters: elementwise kernels round differently at the ends of differently strided rows.
    """
    if checkpoint.optimizer is None:
        return
    state: dict[int, dict[str, Any]] = {}
    for index, values in checkpoint.optimizer["scalars"].items():
        state.setdefault(int(index), {}).update(values)
    for key, tensor in checkpoint.optimizer_tensors.items():
        _, index, name = key.split(".", 2)
        state.setdefault(int(index), {})[name] = tensor
    saved = checkpoint.optimizer["param_groups"]
    groups = [{name: _as_it_was(value) for name, value in group.items()} for group in saved]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    for parameter, values in optimizer.state.items():
        for name, value in values.items():
            if isinstance(value, torch.Tensor) and value.shape == parameter.shape:
                values[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)
