"""What the tests of splits share: tables made on the spot."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from hypothesis import settings

from bunryu.data.table import Table, texts

quick = settings(max_examples=60, deadline=None)


def make(
    labels: Sequence[str],
    splits: Sequence[str] | None = None,
    groups: Sequence[str] | None = None,
    digests: Sequence[str] | None = None,
    paths: Sequence[str] | None = None,
) -> Table:
    n = len(labels)
    return Table(
        root=Path("/data"),
        paths=texts(list(paths or (f"{label}/{i:04}.jpg" for i, label in enumerate(labels)))),
        labels={"label": texts(list(labels))},
        splits=texts(list(splits or [""] * n)),
        groups=None if groups is None else texts(list(groups)),
        digests=texts(list(digests or (f"{i:032x}" for i in range(n)))),
    )
