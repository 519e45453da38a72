"""The one table: a row an image, with path, label(s), group and split. Nothing downstream knows its source."""

from __future__ import annotations

import dataclasses
import os
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Texts = NDArray[np.object_]
SPLITS = ("train", "val", "test")
DRO_GROUP = "dro_group"
"""The column of `Table.dro_groups` in split.csv and in predictions."""


@dataclass(frozen=True)
class Table:
    """Images and what is known of them. Arrays all have one entry a row; a row's index is its id.

    Attributes:
        root: the folder that `paths` are relative to.
        paths: relative to `root` with forward slashes, or absolute where they lie outside it.
        labels: label column -> class names as text (NFC); the first column is the target. Where several columns are
            learned, it is the joint one, and theirs follow.
        splits: ``"train"``, ``"val"``, ``"test"``, or ``""`` where it is not decided yet.
        groups: rows with the same text must never be on two sides of a split; None without groups.
        columns: further columns of the source, as text, that `split.stratify` may name.
        published: label column -> {class: index} where the source pairs classes with whole numbers.
        digests: a hash of each file's content (hex), or None before the images were checked.
        dro_groups: what `loss.group_dro` tells apart: the group of each row on which the model shall be good.
        notes: what was found, in sentences, for the echo.
        unpacked: archive, by its absolute path -> the folder that it is unpacked into; paths lead into the archive.
    """

    root: Path
    paths: Texts
    labels: dict[str, Texts]
    splits: Texts
    groups: Texts | None = None
    columns: dict[str, Texts] = field(default_factory=dict)
    published: dict[str, dict[str, int]] = field(default_factory=dict)
    digests: Texts | None = None
    notes: tuple[str, ...] = ()
    dro_groups: Texts | None = None
    separate: bool = False
    """Each further label column is learned by a head of its own, so that their classes count, not the joint ones."""
    label_names: tuple[str, ...] = ()
    """Of labels that can hold together: all of them. The target then names those that hold; see `multi_label`."""
    unpacked: Mapping[str, str] = field(default_factory=dict)

    def __len__(self) -> int:
        """Return the number of rows."""
        return len(self.paths)

    @property
    def target(self) -> str:
        """The name of the label column that is learned."""
        return next(iter(self.labels))

    @property
    def target_labels(self) -> Texts:
        """The class name of each row in the target column."""
        return self.labels[self.target]

    @property
    def attributes(self) -> list[str]:
        """The label columns that the target joins; none where it is a column of its own."""
        return list(self.labels)[1:]

    @property
    def learned(self) -> dict[str, Texts]:
        """The label columns that heads learn: the target, or else each attribute."""
        return {name: self.labels[name] for name in (self.attributes if self.separate else [self.target])}

    def file(self, row: int) -> str:
        """Return the path of a row's file as the system opens it."""
        return self.on_disk(os.path.join(self.root, self.paths[row]))  # noqa: PTH118 - a million rows, no Path objects

    def on_disk(self, file: str) -> str:
        """Return where a path below `root` lies: itself, or in the folder that its archive is unpacked into."""
        if not self.unpacked:
            return file
        leads = (archive for archive in self.unpacked if f"{file}{os.sep}".startswith(f"{archive}{os.sep}"))
        archive = max(leads, key=len, default=None)
        return file if archive is None else self.unpacked[archive] + file[len(archive) :]

    def take(self, rows: NDArray[np.integer[Any]] | NDArray[np.bool_]) -> Table:
        """Return a table of the rows chosen by index or mask, in that order."""

        def pick(values: Texts | None) -> Texts | None:
            return None if values is None else values[rows]

        return dataclasses.replace(
            self,
            paths=self.paths[rows],
            labels={name: values[rows] for name, values in self.labels.items()},
            splits=self.splits[rows],
            groups=pick(self.groups),
            columns={name: values[rows] for name, values in self.columns.items()},
            digests=pick(self.digests),
            dro_groups=pick(self.dro_groups),
        )

    def split(self, name: str) -> NDArray[np.int64]:
        """Return the ids of the rows in one split, ascending."""
        return np.flatnonzero(self.splits == name).astype(np.int64)

    def named_columns(self) -> dict[str, Texts]:
        """Return path, the label columns, group, split, DRO group and digest by name, as split.csv has them."""
        found = {"path": self.paths, **self.labels}
        if self.groups is not None:
            found["group"] = self.groups
        found["split"] = self.splits
        if self.dro_groups is not None:
            found[DRO_GROUP] = self.dro_groups
        if self.digests is not None:
            found["digest"] = self.digests
        return found


def texts(values: Sequence[str]) -> Texts:
    """Return `values` as an object array of text, also when empty or all of one length."""
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def nfc(text: str) -> str:
    """Return the text with its letters composed: macOS writes Hangul names in parts."""
    return unicodedata.normalize("NFC", text)


def joined(values: Sequence[str]) -> str:
    """Return the one name for values of several label columns, or for the columns: worn+male+under30."""
    return "+".join(values)


def class_names(table: Table, rows: NDArray[np.integer[Any]] | None = None, *, column: str | None = None) -> list[str]:
    """Return the classes of the target column (or of another label column) in their one fixed order.

    By published index where the source pairs classes with whole numbers; numerically where every
    label is a whole number; else as text. Only the classes of `rows` (say, the training rows) when given.
    """
    column = column or table.target
    labels = table.labels[column] if rows is None else table.labels[column][rows]
    names = set(labels.tolist())
    published = table.published.get(column)
    if published:
        return sorted(names, key=lambda name: published[name])
    if all(_is_whole_number(name) for name in names):
        return sorted(names, key=lambda name: (int(name), name))
    return sorted(names)


def _is_whole_number(text: str) -> bool:
    return text.isascii() and text.removeprefix("-").isdigit()
