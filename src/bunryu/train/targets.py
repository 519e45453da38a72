"""What each row is to be answered with, as one index: of its class, or of the set of labels that hold for it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bunryu.data.multi_label import held_labels
from bunryu.data.table import Table
from bunryu.models.record import Sealed


@dataclass(frozen=True)
class Targets:
    """The targets of a table.

    Attributes:
        index_N: of each row.
        names: what an index means, as text.
        held_JL: of labels that can hold together, which of them each index means, bool (J, L); else None.
    """

    index_N: NDArray[np.int64]
    names: list[str]
    held_JL: NDArray[np.bool_] | None = None

    def counts(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return how many of these rows each index has."""
        return np.bincount(self.index_N[rows], minlength=len(self.names))


def targets_of(table: Table, sealed: Sealed) -> Targets:
    """Return the targets for a model's classes, or for its labels: the sets of labels that the table has, in order."""
    if not sealed.multi_label:
        return Targets(class_indices(table, sealed.classes), sealed.classes)
    names = sorted(set(table.target_labels.tolist()))
    return Targets(class_indices(table, names), names, held_labels(names, sealed.classes))


def class_indices(table: Table, classes: list[str]) -> NDArray[np.int64]:
    """Return the class index of each row."""
    index = {name: k for k, name in enumerate(classes)}
    return np.array([index[name] for name in table.target_labels], np.int64)
