"""Whether the labels of a table can make a classifier."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from bunryu.core.errors import DataError, count, nearest, some, typed
from bunryu.data.multi_label import check_labels, lacking_labels, names_in_rows
from bunryu.data.sources import class_folders
from bunryu.data.sources.archives import as_written
from bunryu.data.sources.label_twins import likely_twins, yaml_text
from bunryu.data.table import SPLITS, Table


def check_classes(table: Table) -> None:
    """Refuse labels that cannot make a classifier.

    Raises:
        DataError: fewer than two classes, the same class in two cases, or a class only outside training.
    """
    _require_training_rows(table)
    if table.label_names:
        held = Counter(name for row in names_in_rows(table) for name in row)
        _require_one_spelling({name: held[name] for name in table.label_names})
        check_labels(table)
        return
    for column in dict.fromkeys([*table.learned, *table.attributes]):
        _check_column(table, column)


def lacking(table: Table, split: str) -> list[str]:
    """Say which classes a split that has rows has no image of, a sentence for each column that is learned."""
    if table.label_names:
        return lacking_labels(table, split)
    trained, rows = table.split("train"), table.split(split)
    columns = table.learned.values() if len(rows) else ()
    absent = (sorted(set(labels[trained]) - set(labels[rows])) for labels in columns)
    return [f"{split} has no image of class {some(names, 8)}" for names in absent if names]


def twins(table: Table) -> list[str]:
    """Name the labels that may be one and stay classes of their own; see `likely_twins`."""
    if table.label_names:
        held = Counter(name for row in names_in_rows(table) for name in row)
        return likely_twins(table.target, held)
    return [
        note
        for column in table.attributes or [table.target]
        for note in likely_twins(column, Counter(table.labels[column].tolist()))
    ]


def _require_training_rows(table: Table) -> None:
    counts = Counter(table.splits)
    if not counts[""] + counts["train"]:
        others = [f"{count(counts[name], 'image')} for {name}" for name in SPLITS if counts[name]]
        raise DataError(
            f"There are no images to train on in {table.root}, only {' and '.join(others)}. "
            "Give them too: --train-dir FOLDER, or data.train=FOLDER."
        )


def _check_column(table: Table, column: str) -> None:
    labels = table.labels[column]
    training = {label for label, split in zip(labels, table.splits, strict=True) if split in ("", "train")}
    everything = set(labels)
    _require_one_spelling(Counter(labels.tolist()))
    unknown = sorted(everything - training)
    if unknown:
        joint = table.attributes and column == table.target
        mend = " With model.heads=separate each value of a column is enough, not each combination." if joint else ""
        raise DataError(
            f"Class {some([repr(name) for name in unknown])} has images for validation or test but none to train on."
            f"{nearest(unknown[0], training)} Training classes: {some(sorted(training), 12)}.{mend}"
        )
    if len(training) < 2 and column != table.target:
        raise DataError(
            f"There is only one value, {next(iter(training))!r}, in the label column {column!r}. A classifier needs at "
            "least two; leave the column out of data.label_columns"
        )
    if len(training) < 2:
        inside = _nested_hint(table)
        raise DataError(
            f"There is only one class, {next(iter(training))!r}, in {table.root}. A classifier needs at least two; "
            f"expected one folder (or one label) a class.{inside}"
        )


def _require_one_spelling(counts: Mapping[str, int]) -> None:
    """Refuse a class in two cases. Single letters are classes of their own: letter sets have a beside A."""
    folded: dict[str, str] = {}
    for name in sorted(counts):
        other = folded.setdefault(name.strip().casefold(), name)
        if other != name and len(name.strip()) > 1:
            mend = typed(f"data.rename_labels={{{yaml_text(name)}: {yaml_text(other)}}}")
            raise DataError(
                f"The same class in two spellings: {other!r} ({count(counts[other], 'image')}) and {name!r} "
                f"({count(counts[name], 'image')}). To make them one: {mend} (or rename one so that both are clearly "
                "two)."
            )


def _nested_hint(table: Table) -> str:
    """Where everything lies under one folder (a zip unpacked twice, images beside a table), name what to use."""
    parts = [Path(path).parts for path in table.paths]
    row = next((i for i, split in enumerate(table.splits) if split in ("", "train")), 0)
    first, label = parts[row], table.target_labels[row]
    seconds = {part[1] for part in parts if len(part) > 2}
    if first[0] == label and len(seconds) > 1:
        return f" Did you mean what is in it ({some(sorted(seconds))})? bunryu train {typed(table.root / label)}"
    folder = (
        Path(table.on_disk(str(table.root.joinpath(*first[: first.index(label)])))) if label in first[:-1] else None
    )
    return as_written(class_folders.table_hint(folder), table.unpacked) if folder else ""
