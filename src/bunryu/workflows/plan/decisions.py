"""What was decided for a run, and how it is told: in the echo, at the head of report.txt, in environment.json."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from bunryu.core.errors import count
from bunryu.data.checks.check import Checked
from bunryu.data.table import SPLITS, Table


@dataclass(frozen=True)
class Network:
    """The network: its name with its library, and how many parameters it has."""

    name: str
    parameters: int

    def __str__(self) -> str:
        """Say it."""
        return f"{self.name}, {self.parameters:,} parameters"

    @classmethod
    def read(cls, told: str) -> Network:
        """Return what `told` says."""
        name, _, rest = told.rpartition(", ")
        return cls(name, _number(rest))


@dataclass(frozen=True)
class Images:
    """How many images are used, skipped, and there more than once."""

    used: int
    skipped: int = 0
    copied: int = 0
    """Pictures that stand in several rows."""

    @classmethod
    def of(cls, checked: Checked) -> Images:
        """Count them."""
        return cls(len(checked.table), len(checked.skipped), len(checked.copies))

    def __str__(self) -> str:
        """Say it."""
        parts = [f"{self.used:,} used"]
        parts += [f"{self.skipped:,} skipped"] if self.skipped else []
        parts += [f"{count(self.copied, 'picture')} in several rows"] if self.copied else []
        return ", ".join(parts)

    @classmethod
    def read(cls, told: str) -> Images:
        """Return what `told` says."""
        used, *rest = told.split(", ")
        found = {"skipped" if text.endswith("skipped") else "copied": _number(text) for text in rest}
        return cls(_number(used), **found)


@dataclass(frozen=True)
class Rows:
    """How many rows each split has; those without any are left out."""

    counts: Mapping[str, int]

    @classmethod
    def of(cls, table: Table) -> Rows:
        """Count those of a table."""
        return cls({name: n for name in SPLITS if (n := len(table.split(name)))})

    def __str__(self) -> str:
        """Say it."""
        return ", ".join(f"{name} {n:,}" for name, n in self.counts.items())

    @classmethod
    def read(cls, told: str) -> Rows:
        """Return what `told` says."""
        pairs = (text.rpartition(" ") for text in told.split(", "))
        return cls({name: _number(n) for name, _, n in pairs})


@dataclass(frozen=True)
class Decisions:
    """What was decided, in the order in which it is told; what is None was not, and is not told.

    Attributes:
        model: the network.
        weights: where they come from.
        classes: that exclude each other; either these or `labels`, that can hold together.
        labels: likewise.
        heads: of several label columns.
        positive: the positive one of two classes.
        images: what the check found.
        rows: of each split; with folds those "in folds", and test.
        input: what the network sees of a picture.
        values: which values of deep pictures become black and white.
        device: where it trains, and in which arithmetic.
        recipe: by name.
        learning: the loss and the optimiser.
        few: that there are few pictures for the way chosen.
        not_clean: what the weights' own run has seen of the rows to measure.
        balance: the copies that data.balance_to adds.
        group_dro: the groups that loss.group_dro makes.
        pixels: whether decoded pictures are kept.
        processes: that share the batches.
        plan: of ``--minutes``.
        folds: of a cross-validation.
        stages: what each trains, and for how long.
        checkpoints: the weights that are kept beside the best and the last.
        best_epochs: of each fold, once they are trained.
        training: where it ended, once it has.
        decision: what is done with logits before they are an answer, once that is decided.
        refit: of a cross-validation, once it is trained.
    """

    model: Network | None = None
    weights: str | None = None
    classes: str | None = None
    labels: str | None = None
    heads: str | None = None
    positive: str | None = field(default=None, metadata={"told": "positive class"})
    images: Images | None = None
    rows: Rows | None = None
    input: str | None = None
    values: str | None = None
    device: str | None = None
    recipe: str | None = None
    learning: str | None = None
    few: str | None = field(default=None, metadata={"told": "pictures"})
    not_clean: str | None = None
    balance: str | None = None
    group_dro: str | None = field(default=None, metadata={"told": "group DRO"})
    pixels: str | None = None
    processes: str | None = None
    plan: str | None = None
    folds: str | None = None
    stages: str | None = None
    checkpoints: str | None = None
    best_epochs: str | None = None
    training: str | None = None
    decision: str | None = None
    refit: str | None = None

    def told(self) -> dict[str, str]:
        """Return name -> sentence of everything that was decided, in order."""
        values = {name: getattr(self, key) for key, name in _names().items()}
        return {name: str(value) for name, value in values.items() if value is not None}

    @classmethod
    def read(cls, told: Mapping[str, str]) -> Decisions:
        """Return what was told; what another bunryu told beside is left out."""
        found: dict[str, Any] = {key: told[name] for key, name in _names().items() if name in told}
        for key, kind in (("model", Network), ("images", Images), ("rows", Rows)):
            if key in found:
                found[key] = kind.read(found[key])
        return cls(**found)


def _names() -> dict[str, str]:
    """Return how each of the decisions is called where it is told."""
    return {one.name: one.metadata.get("told", one.name.replace("_", " ")) for one in fields(Decisions)}


def _number(text: str) -> int:
    """Return the first whole number in a text, such as 1,234."""
    found = re.search(r"\d[\d,]{0,20}", text)
    return int(found[0].replace(",", "")) if found else 0
