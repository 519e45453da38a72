"""What the network shall answer: one head, or of several label columns a joint head or one a column."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product

from bunryu.core.errors import ConfigError, count, some
from bunryu.data.table import Table, class_names, joined
from bunryu.evaluate.positive import of_answer, of_column, positive_class, told
from bunryu.inference.multilabel_predictions import USUAL
from bunryu.models.record import Attribute, Decision, Head
from bunryu.settings.validate import replaced

Positive = str | Mapping[str, str] | None
"""What evaluate.positive can be."""
MOST = 1000
"""Combinations of classes that separate heads may have: predictions give the probability of each."""


@dataclass(frozen=True)
class Heads:
    """The heads, as the sealed record has them."""

    heads: list[Head]
    joint: Head | None
    attributes: list[Attribute]

    @property
    def answer(self) -> Head:
        """What is answered."""
        return self.joint or self.heads[0]

    def classes_told(self) -> str:
        """Say what can be answered."""
        return f"{len(self.answer.classes)}: {some(self.answer.classes, 12)}"

    def positives(self) -> str | dict[str, str] | None:
        """Return the positive class, or those of several label columns, as evaluate.positive has them."""
        if not self.attributes:
            return self.answer.positive
        return {one.column: one.positive for one in self.attributes if one.positive is not None} or None

    def told(self) -> str | None:
        """Say how several label columns are answered; None for one."""
        if not self.attributes:
            return None
        parts = ", ".join(f"{part.column} ({some(part.classes, 6)})" for part in self.attributes)
        return f"{count(len(self.heads), 'head') if self.joint else 'one joint head'} for {parts}"

    def positives_told(self, table: Table, asked: Positive) -> str | None:
        """Say which the positive class is, or those of several label columns, and why; None without two classes."""
        if not self.attributes:
            own = self.answer
            return None if own.positive is None else told(own.positive, own.classes, training_rows(own, table), asked)
        parts = []
        for one in self.attributes:
            if one.positive is not None:
                given = of_column(asked, one.column)
                said = told(one.positive, one.classes, training_rows(one, table), given, one.column)
                parts.append(f"{one.column}: {said}")
        return "\n".join(parts) or None


def choose_heads(table: Table, positive: Positive = None) -> Heads:
    """Return the heads for the label columns of a table, their classes those of the training rows.

    Args:
        table: divided into its splits.
        positive: evaluate.positive.

    Raises:
        ConfigError: too many combinations for separate heads; or `positive` is no class of two.
    """
    return _with_positives(_heads(table), table, positive)


def _heads(table: Table) -> Heads:
    if table.label_names:
        return Heads([Head(column=table.target, kind="sigmoid", classes=list(table.label_names))], None, [])
    rows = table.split("train")
    names = {column: class_names(table, rows, column=column) for column in table.attributes}
    if table.separate:
        heads = [_head(table, column, classes) for column, classes in names.items()]
        total = math.prod(map(len, names.values()))
        if total > MOST:
            raise ConfigError(
                f"model.heads=separate: {joined(table.attributes)} have {total:,} combinations of classes, more than "
                f"{MOST:,}. Name fewer columns in data.label_columns, or use model.heads=joint."
            )
        combinations = list(product(*names.values()))
        joint = _head(table, table.target, [joined(values) for values in combinations])
        if len(set(joint.classes)) < total:
            raise ConfigError("model.heads=separate: write the labels without +, which joins those of several columns.")
        return Heads(heads, joint, _attributes(names, combinations))
    head = _head(table, table.target, class_names(table, rows))
    labels = (table.labels[column][rows].tolist() for column in table.attributes)
    means = dict(zip(table.target_labels[rows].tolist(), zip(*labels, strict=True), strict=True)) if names else {}
    return Heads([head], None, _attributes(names, [means[name] for name in head.classes] if names else []))


def usual_decision(heads: Heads) -> Decision:
    """Return the decision until one is chosen: labels that can hold together need thresholds from the start."""
    first = heads.heads[0]
    return Decision(thresholds=dict.fromkeys(first.classes, USUAL) if first.kind == "sigmoid" else {})


def _with_positives(heads: Heads, table: Table, asked: Positive) -> Heads:
    """Return the heads with the positive class of each label column that has two."""
    if table.label_names:
        return heads
    columns = [one.column for one in heads.attributes]
    answer = replaced(heads.answer, {"positive": _positive(heads.answer, table, of_answer(asked, columns))})
    attributes = [
        replaced(one, {"positive": _positive(one, table, of_column(asked, one.column))}) for one in heads.attributes
    ]
    if heads.joint is None:
        return Heads([answer], None, attributes)
    return Heads(heads.heads, answer, attributes)


def _positive(of: Head | Attribute, table: Table, asked: str | None) -> str | None:
    return positive_class(asked, of.classes, training_rows(of, table))


def training_rows(of: Head | Attribute, table: Table) -> list[int]:
    """Return how many training rows each class has."""
    counts = Counter(table.labels[of.column][table.split("train")].tolist())
    return [counts[name] for name in of.classes]


def _head(table: Table, column: str, classes: list[str]) -> Head:
    published = table.published.get(column)
    known = published is not None and all(name in published for name in classes)
    numbers = [published[name] for name in classes] if published and known else None
    return Head(column=column, classes=classes, published=numbers)


def _attributes(names: dict[str, list[str]], combinations: list[tuple[str, ...]]) -> list[Attribute]:
    """Return the attributes of joint classes that combine such values."""
    return [
        Attribute(column=column, classes=classes, of=[classes.index(values[place]) for values in combinations])
        for place, (column, classes) in enumerate(names.items())
    ]
