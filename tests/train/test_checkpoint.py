"""A checkpoint gives back what was saved, to the bit, and says so where it cannot."""

from __future__ import annotations

import copy
import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import nn

from bunryu.core.errors import RunError
from bunryu.models import digest
from bunryu.models.build import build
from bunryu.models.record import Architecture, Head, Sealed
from bunryu.settings.data import DecodeSpec, InputSpec
from bunryu.settings.stages import OptimSettings, Stage
from bunryu.train.checkpoint import Progress, load_checkpoint, restore_optimizer, save_checkpoint
from bunryu.train.optim import create_optimizer

ARCHITECTURE = Architecture(name="scratch_cnn")
SEALED = Sealed(
    architecture=ARCHITECTURE,
    heads=[Head(column="label", classes=["가", "b"])],
    decode=DecodeSpec(),
    input=InputSpec(height=8, width=8, mean=[0, 0, 0], std=[1, 1, 1]),
)
PROGRESS = Progress(
    stage=1,
    epoch=2,
    step=3,
    updates=4,
    total_epochs=14,
    sums={"loss": 0.1 + 0.2, "correct": 6.0, "rows": 7.0},
    best=1 / 3,
    best_loss=2 / 3,
    best_epoch=8,
    stage_best=0.25,
    stage_loss=1e-300,
    stale_epochs=9,
    plateau_stale=10,
    plateau_drops=11,
    history=14,
    averaged=13,
    group_logs=[-0.1, -2.3],
    ended_by="참을성",
    spent_seconds=0.7,
)


class Named(nn.Module):
    """A network whose parts are called as the parts of a checkpoint are."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.net, self.ema, self.average, self.optim = (
            nn.Linear(3, 2),
            nn.BatchNorm1d(2),
            nn.Linear(2, 2),
            nn.Linear(2, 1),
        )


class Counting(torch.optim.Optimizer):
    """Keeps a state of every kind: tensors, a number, nothing, and a tensor in the group."""

    def __init__(self, parameters: Any) -> None:
        super().__init__(parameters, {"lr": 0.1, "betas": (0.9, 0.99)})
        for group in self.param_groups:
            group["steps"] = torch.tensor(0, dtype=torch.int32)

    def step(self) -> None:  # type: ignore[override]
        for group in self.param_groups:
            group["steps"] += 1
            for index, parameter in enumerate(group["params"]):
                state = self.state[parameter]
                state["mean"] = parameter.detach() * index
                state["number"] = state.get("number", 0) + index + 0.5
                state["nothing"] = None
                state["total.all"] = torch.tensor(index + 0.25)


def assert_equal(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert (found[name].dtype, found[name].shape) == (value.dtype, value.shape)
        assert torch.equal(found[name], value)


def test_training_starts_at_nothing() -> None:
    values = dataclasses.asdict(Progress())
    assert values.pop("sums") == {"loss": 0, "correct": 0, "rows": 0}
    assert not any(values.values())
    assert Progress().sums is not Progress().sums


def test_everything_comes_back(tmp_path: Path) -> None:
    assert not [name for name, value in vars(Progress()).items() if vars(PROGRESS)[name] == value], "all is told"
    net, ema = Named(0), Named(1)
    average = {"x": torch.randn(3, dtype=torch.float64), "n": torch.tensor(7)}
    scaler = {"scale": 65536.0, "_growth_tracker": 3}
    save_checkpoint(tmp_path / "last", PROGRESS, SEALED, net, None, scaler, ema, average)
    found = load_checkpoint(tmp_path / "last")
    assert (found.progress, found.sealed, found.scaler) == (PROGRESS, SEALED, scaler)
    assert_equal(found.net, net.state_dict())
    assert_equal(found.ema, ema.state_dict())
    assert_equal(found.average, average)
    assert (found.optimizer, found.optimizer_tensors) == (None, {})


def test_what_is_not_there_comes_back_as_nothing(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last", Progress(), SEALED, Named(0), None, {})
    found = load_checkpoint(tmp_path / "last")
    assert (found.ema, found.average, found.scaler) == ({}, {}, {})


def test_a_state_of_every_kind_comes_back(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Conv2d(3, 4, 2), nn.Linear(4, 2)).to(memory_format=torch.channels_last)
    optimizer = Counting([{"params": net[0].parameters()}, {"params": net[1].parameters(), "lr": 0.7}])
    optimizer.step()
    save_checkpoint(tmp_path / "last", Progress(), SEALED, net, optimizer, {})
    restored = Counting([{"params": net[0].parameters()}, {"params": net[1].parameters()}])
    restore_optimizer(restored, load_checkpoint(tmp_path / "last"))
    assert [group["lr"] for group in restored.param_groups] == [0.1, 0.7]
    assert [group["betas"] for group in restored.param_groups] == [[0.9, 0.99]] * 2
    for group in restored.param_groups:
        assert torch.equal(group["steps"], torch.tensor(1, dtype=torch.int32))
        assert group["steps"].dtype == torch.int32
    assert list(map(id, restored.state)) == list(map(id, net.parameters()))
    for parameter, values in restored.state.items():
        expected = optimizer.state[parameter]
        assert values.keys() == expected.keys()
        assert (values["number"], values["nothing"]) == (expected["number"], None)
        assert torch.equal(values["mean"], expected["mean"])
        assert values["mean"].stride() == parameter.stride()
        assert torch.equal(values["total.all"], expected["total.all"])


@pytest.mark.parametrize("name", ["adamw", "adam", "sgd", "rmsprop", "nadam", "lamb", "lion", "adan"])
def test_a_restored_optimizer_goes_on_as_the_saved_one(name: str, tmp_path: Path) -> None:
    """With its rates, steps and averages, whatever the fresh one was made with."""
    torch.manual_seed(0)
    net, x_BCHW = build(ARCHITECTURE, 2).eval(), torch.randn(4, 3, 8, 8)

    def steps(net: nn.Module, optimizer: torch.optim.Optimizer) -> None:
        for _ in range(2):
            optimizer.zero_grad()
            net(x_BCHW).square().sum().backward()
            optimizer.step()

    optimizer = create_optimizer(net, OptimSettings(name=name, lr=3e-3), Stage(name="all"))  # type: ignore[arg-type]
    steps(net, optimizer)
    save_checkpoint(tmp_path / "last", Progress(), SEALED, net, optimizer, {})
    other = copy.deepcopy(net)
    restored = create_optimizer(other, OptimSettings(name=name, lr=1.0), Stage(name="all"))  # type: ignore[arg-type]
    restore_optimizer(restored, load_checkpoint(tmp_path / "last"))
    steps(net, optimizer)
    steps(other, restored)
    assert_equal(other.state_dict(), net.state_dict())


def test_between_two_stages_an_optimizer_begins_anew(tmp_path: Path) -> None:
    net = nn.Linear(2, 2)
    save_checkpoint(tmp_path / "last", Progress(), SEALED, net, None, {})
    fresh = Counting(net.parameters())
    fresh.step()
    before = copy.deepcopy(fresh.state_dict())
    restore_optimizer(fresh, load_checkpoint(tmp_path / "last"))
    assert str(fresh.state_dict()) == str(before)


def test_weights_that_share_their_memory_are_saved_each(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    net[1].weight = net[0].weight
    save_checkpoint(tmp_path / "last", Progress(), SEALED, net, None, {})
    found = load_checkpoint(tmp_path / "last")
    assert_equal(found.net, net.state_dict())


def saved(file: Path, **changed: Any) -> Path:
    """Write a checkpoint with an optimiser in it; of what is kept as JSON this changed, its digest right."""
    net = nn.Linear(3, 2)
    optimizer = Counting(net.parameters())
    optimizer.step()
    save_checkpoint(file, PROGRESS, SEALED, net, optimizer, {"scale": 2.0, "_growth_tracker": 1})
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata() | {digest.KEY: digest.BLANK}
    texts = {name: value if isinstance(value, str) else json.dumps(value) for name, value in changed.items()}
    file.write_bytes(b"".join(digest.with_digest(save(load_file(file), metadata | texts))))
    return file


def told_of(file: Path) -> str:
    """Return the one message of a checkpoint that is refused."""
    with pytest.raises(RunError) as caught:
        load_checkpoint(file)
    return str(caught.value)


def test_a_later_schema_is_refused_and_the_first_one_read(tmp_path: Path) -> None:
    file = saved(tmp_path / "last.safetensors", checkpoint_schema="3")
    with pytest.raises(RunError, match=r"was written by a later bunryu\. Update: pip install --upgrade bunryu"):
        load_checkpoint(file)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata() | {"checkpoint_schema": "1"}
    del metadata[digest.KEY]
    save_file(load_file(file), file, metadata)
    assert load_checkpoint(file).progress == PROGRESS


def test_damage_is_told_in_one_line_with_the_ways_out(tmp_path: Path) -> None:
    file = tmp_path / "run" / "checkpoints" / "last.safetensors"
    file.parent.mkdir(parents=True)
    save_file({"x": torch.zeros(1)}, file)
    told = (
        f"{file} is damaged or not a checkpoint ('checkpoint_schema'), so this training cannot go on from it. Put back "
        f"a copy of it, or start again in a new folder: bunryu train --recipe {tmp_path / 'run' / 'config.yaml'} --out "
        "NEW_RUN"
    )
    assert told_of(file) == told
    (file.parent / "best.safetensors").write_bytes(b"")
    best = file.parent / "best.safetensors"
    assert told_of(file) == f"{told} To begin with its best weights so far, add model.weights={best}"


def test_a_fault_without_words_is_told_by_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise OSError

    monkeypatch.setattr("safetensors.safe_open", fail)
    assert "is damaged or not a checkpoint (OSError), so" in told_of(saved_plainly(tmp_path / "last.safetensors"))


def saved_plainly(file: Path) -> Path:
    save_checkpoint(file, Progress(), SEALED, nn.Linear(2, 2), None, {})
    return file


def test_any_flipped_bit_is_told(tmp_path: Path) -> None:
    """In the header and in each kind of tensor, of the optimiser and the average too."""
    file, net = tmp_path / "last.safetensors", nn.Linear(3, 2)
    optimizer = Counting(net.parameters())
    optimizer.step()
    average = {name: value.detach().clone() for name, value in net.named_parameters()}
    save_checkpoint(file, PROGRESS, SEALED, net, optimizer, {"scale": 2.0}, copy.deepcopy(net), average)
    load_checkpoint(file)
    whole = file.read_bytes()
    header = 8 + int.from_bytes(whole[:8], "little")
    for at in [*range(0, header, 7), *range(header, len(whole))]:
        for bit in (1, 64):
            content = bytearray(whole)
            content[at] ^= bit
            file.write_bytes(content)
            with pytest.raises(RunError, match=r"is damaged or not a checkpoint|was written by a later bunryu"):
                load_checkpoint(file)


WRONG: list[tuple[str, Any]] = [
    *((f"progress.{name}", -1) for name in vars(Progress()) if isinstance(vars(Progress())[name], int)),
    *((f"progress.{name}", value) for name in ("best", "spent_seconds") for value in (float("nan"), 1e999, "1")),
    ("progress.spent_seconds", -1.0),
    ("progress.step", 10**10),
    ("progress.step", 2.5),
    ("progress.step", True),
    ("progress.epoch", 15),
    ("progress.best_epoch", 15),
    ("progress.history", 13),
    ("progress.averaged", 99),
    ("progress.sums", {"loss": 0.1, "correct": 6.0}),
    ("progress.sums", {"loss": 0.1, "correct": 6.0, "rows": 0.0}),
    ("progress.sums", {"loss": 0.1, "correct": 6.0, "rows": 7.0, "more": 1.0}),
    ("progress.sums", []),
    ("progress.group_logs", [0.5]),
    ("progress.group_logs", [None]),
    ("progress.ended_by", 3),
    ("progress.unheard", 3),
    ("scaler", {"scale": float("nan")}),
    ("scaler", {"scale": -1.0}),
    ("scaler", {"scale": "big"}),
    ("scaler", [1]),
    ("optimizer", []),
    ("optimizer", {"param_groups": 1, "scalars": {}}),
    ("optimizer", {"param_groups": []}),
    ("optimizer", {"scalars": {}, "param_groups": [{"lr": float("inf")}]}),
    ("optimizer", {"scalars": {}, "param_groups": [{"lr": {"tensor": 1, "dtype": "torch.load"}, "params": [0]}]}),
    ("sealed", {}),
    ("sealed", "[" * 1000),
    ("progress", "[" * 100_000),
    ("progress", "NaN"),
]


@pytest.mark.parametrize(("key", "value"), WRONG, ids=[f"{key}={value!a}"[:50] for key, value in WRONG])
def test_a_wrong_value_is_refused_by_its_name(key: str, value: Any, tmp_path: Path) -> None:
    """Also where the digest is right, as whoever makes such a file would have it."""
    section, _, name = key.partition(".")
    values = dataclasses.asdict(PROGRESS) | {name: value} if name else value
    told = told_of(saved(tmp_path / "last.safetensors", **{section: values}))
    assert "is damaged or not a checkpoint (" in told
    assert len(told) < 500 + len(str(tmp_path)) * 3


def test_the_values_they_start_from_are_right(tmp_path: Path) -> None:
    assert load_checkpoint(saved(tmp_path / "last.safetensors")).progress == PROGRESS
