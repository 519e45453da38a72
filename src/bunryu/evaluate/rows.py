"""What evaluate measures: the rows of a run that it was not trained on, or other labelled data."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

from bunryu.core import console
from bunryu.core.errors import ConfigError, DataError, LabelError, count, nearest, some, typed
from bunryu.core.same_text import Words, changes_told, replaced_words
from bunryu.data.dro_groups import with_dro_groups
from bunryu.data.multi_label import JOIN, names_in_rows
from bunryu.data.sources.read import read_source
from bunryu.data.splits.split_csv import read_run_rows
from bunryu.data.table import Table, texts
from bunryu.inference.model import Predictor
from bunryu.models.record import Sealed
from bunryu.runs.folder import RunFolder
from bunryu.settings.data import DataSettings
from bunryu.settings.run import RunSettings


def labelled(data: Any, model: Sealed, settings: RunSettings) -> Table:
    """Read labelled data, keep its test (or validation) rows where it has splits, and check its labels."""
    column: str | None = model.answer.column
    path = os.fspath(data) if isinstance(data, (str, os.PathLike)) else None
    chosen = DataSettings(**{**settings.data.model_dump(), "source": path})
    parts = [attribute.column for attribute in model.attributes]
    if model.multi_label:
        chosen, column = _of_labels(chosen, model)
    table = read_source(chosen, None if path is not None else data, label=column, parts=parts)
    for note in table.notes:
        console.say(f"data: {note}")
    for split in ("test", "val"):
        rows = table.split(split)
        if len(rows):
            console.say(f"data: has splits; measured on its {count(len(rows), f'{split} row')}")
            table = table.take(rows)
            break
    table = _as_the_model_spells(table, model)
    given = names_in_rows(table)
    unknown = sorted({name for names in given for name in names if name} - set(model.classes))
    if unknown:
        many = sum(not set(unknown).isdisjoint(names) for names in given)
        raise LabelError(
            f"{count(many, 'image has', 'images have')} a label that the model does not know: "
            f"{some([repr(u) for u in unknown])}."
            f"{nearest(unknown[0], model.classes)} The model's classes: {some(model.classes, 20)}. "
            "Rename the folder or the label, or leave those images out."
        )
    return table


def _as_the_model_spells(table: Table, model: Sealed) -> Table:
    """Return the labels as the model spells them, where each that it does not know may be one of its classes alone."""
    columns = {table.target: model.classes, **{part.column: part.classes for part in model.attributes}}
    labels = dict(table.labels)
    for column in labels.keys() & columns.keys():
        cells = [cell.split(JOIN) if table.label_names else [cell] for cell in labels[column]]
        given = [name for names in cells for name in names if name]
        own = Words(columns[column]).spellings(given)
        _, changed = replaced_words(given, own)
        if changed:
            console.say(f"data: column {column!r}: taken as the model spells them: {changes_told(changed)}")
            labels[column] = texts([JOIN.join(dict.fromkeys(own.get(name, name) for name in names)) for names in cells])
    return dataclasses.replace(table, labels=labels)


def by_group(folder: RunFolder, table: Table) -> Table:
    """Return labelled data with the groups of the run's group DRO, where it has their columns."""
    columns = folder.settings().loss.group_dro if folder.config.exists() else []
    try:
        return with_dro_groups(table, columns)
    except ConfigError as error:
        console.say(f"not measured by group: {error}", style="yellow")
        return table


def _of_labels(data: DataSettings, model: Sealed) -> tuple[DataSettings, str | None]:
    """Return how to read the truth of labels that can hold together, and the column that lists them, if it is there."""
    if data.multi_label is None:
        # not validated: no user could say this, that the labels stand in columns of theirs or listed in one
        return data.model_copy(update={"multi_label": model.classes}), model.answer.column
    missing = sorted(set(model.classes) - set(data.multi_label))
    if len(data.multi_label) > 1 and missing:
        raise LabelError(
            f"data.multi_label lacks {some(map(repr, missing), 8)}, which the model answers. Name the column of each "
            "label, or leave the setting out: they are found by their names."
        )
    return data, None


def own_splits(folder: RunFolder, model: Predictor, name: str | None) -> dict[str, Table]:
    """Return the run's validation and test rows, as its split.csv has them."""
    if name not in (None, "val", "test"):
        raise ConfigError(f"--name: without --data the run's own splits are measured, val or test; received {name!r}.")
    if not folder.split.exists():
        raise DataError(f"{folder.path} has no images of its own to measure. Give labelled data: --data PATH")
    root = Path(folder.read_environment().data_root)
    table = read_run_rows(folder.intact(folder.split), root, model.sealed.answer.column)
    found = {split: table.take(table.split(split)) for split in ("val", "test") if len(table.split(split))}
    chosen = {split: rows for split, rows in found.items() if name in (None, split)}
    if not chosen:
        raise DataError(f"{folder.path} has no {name or 'validation or test'} rows. Give labelled data: --data PATH")
    require_images(folder, root, list(chosen.values()))
    return chosen


def require_images(folder: RunFolder, root: Path, tables: list[Table]) -> None:
    """Refuse to measure a run whose images were moved or removed.

    Raises:
        DataError: none of them is where it was; with where that is, and what to do.
    """
    files = (table.file(row) for table in tables for row in range(len(table)))
    first = tables[0].file(0)
    if not any(os.path.exists(file) for file in files):  # noqa: PTH110
        raise DataError(
            f"The images of {folder.path} are no longer in {root} (such as {first}). Put them back there, or a link to "
            f"where they are now; or measure other labelled images: bunryu evaluate {typed(folder.path)} --data FOLDER"
        )
