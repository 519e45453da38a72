"""The groups of group DRO: training rows that are alike in some columns, on each of which the model shall be good."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from bunryu.core.errors import ConfigError, nearest, some
from bunryu.data.table import Table, joined, texts

MOST = 100
"""Groups; each has to have rows enough for a loss of its own to be known."""


def with_dro_groups(table: Table, columns: Sequence[str]) -> Table:
    """Return the table with the group of each row: its values in such columns, joined.

    Args:
        table: with those columns, be they labels, the leak group, or others of the source.
        columns: their names; none for a table without such groups.

    Raises:
        ConfigError: there is no such column.
    """
    if not columns:
        return table
    known = {**table.columns, **table.labels} | ({} if table.groups is None else {"group": table.groups})
    for name in columns:
        if name not in known:
            raise ConfigError(
                f"loss.group_dro: there is no column {name!r}.{nearest(name, known)} Columns: {some(known, 12)}."
            )
    cells = zip(*(known[name].tolist() for name in columns), strict=True)
    return dataclasses.replace(table, dro_groups=texts([joined([str(cell) for cell in row]) for row in cells]))


def require_dro_groups(table: Table) -> None:
    """Refuse training rows that are one group, or that fall into too many.

    Raises:
        ConfigError: with how many there are, and what makes other ones.
    """
    if table.dro_groups is None:
        return
    names, told = set(table.dro_groups[table.split("train")]), dro_groups_told(table)
    if len(names) < 2:
        raise ConfigError(f"loss.group_dro: all training rows are one group ({told}). Name columns that differ.")
    if len(names) > MOST:
        raise ConfigError(
            f"loss.group_dro: {len(names):,} groups of training rows, more than {MOST} ({told}). Name columns of few "
            "values, such as [background, label]."
        )


def dro_groups_told(table: Table) -> str:
    """Say how many training rows each group has."""
    assert table.dro_groups is not None
    names, counts = np.unique(table.dro_groups[table.split("train")].astype(str), return_counts=True)
    return some([f"{name} {n:,}" for name, n in zip(names, counts, strict=True)], 8)
