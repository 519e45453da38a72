"""The data of a run: found, checked, divided."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from bunryu.core import console
from bunryu.core.errors import ConfigError, count, typed
from bunryu.data.checks.check import Checked, check_images, find_copies, require_no_leaks, require_usable
from bunryu.data.classes import check_classes, lacking, twins
from bunryu.data.dro_groups import with_dro_groups
from bunryu.data.sources.read import read_source
from bunryu.data.splits.assign import assign, few_groups
from bunryu.data.splits.folds import without_validation
from bunryu.data.splits.split_csv import read_digests, read_split
from bunryu.data.table import Table
from bunryu.runs.folder import RunFolder
from bunryu.settings.run import RunSettings, decode_spec
from bunryu.settings.validate import replaced
from bunryu.workflows.plan.check_told import say_checked


def require_one_run(settings: RunSettings) -> None:
    """Refuse folds where there is one run, or none, to prepare.

    Raises:
        ConfigError: with what takes them.
    """
    if settings.folds.k:
        raise ConfigError(f"folds.k={settings.folds.k}: only bunryu train makes folds. Leave it out here.")


def require_exclusive(settings: RunSettings, what: str) -> None:
    """Refuse labels that can hold together where only classes that exclude each other are known.

    Raises:
        ConfigError: saying so.
    """
    if settings.data.multi_label is not None:
        raise ConfigError(
            f"data.multi_label: {what} knows classes that exclude each other, not labels that can hold together. Leave "
            "it out; train, evaluate and predict know them."
        )


def find_data(settings: RunSettings, frame: Any = None) -> Table:
    """Find the data and its classes, without opening an image.

    Raises:
        DataError: the data do not allow a classifier; see `sources`.
    """
    table = read_source(settings.data, frame)
    if settings.model.heads == "separate":
        if not table.attributes:
            raise ConfigError(
                "model.heads=separate is for several label columns; there is one, "
                f"{table.target!r}. Name them: data.label_columns=[mask, gender]"
            )
        table = dataclasses.replace(table, separate=True)
    table = with_dro_groups(table, settings.loss.group_dro)
    for note in table.notes:
        console.say(f"data: {note}")
    check_classes(table)
    for note in twins(table):
        console.say(f"data: {note}", style="yellow")
    return table


def check_data(settings: RunSettings, table: Table) -> Checked:
    """Check every image, and say what was found.

    Raises:
        DataError: too little can be read, or leaks; see `checks`.
    """
    checked = check_images(table, decode_spec(settings), level=settings.data.check, workers=settings.data.workers)
    say_checked(checked, len(table))
    require_usable(checked, total=len(table))
    require_no_leaks(checked, settings.data)
    return checked


def read_data(settings: RunSettings, table: Table) -> tuple[Table, Checked]:
    """Check every image, and decide every row's split; with folds.k, which of them are test rows.

    Raises:
        DataError: too little can be read, leaks, or a class too small to split; see `checks` and `splits`.
    """
    split, folds = settings.split, settings.folds.k
    if folds:
        split = replaced(split, {"val": 0.0})
        if many := len(table.split("val")):
            console.say(f"data: the {count(many, 'given validation row')} join the {folds} folds")
        table = without_validation(table)
    checked = check_data(settings, table)
    if settings.split.file:
        table = read_split(Path(settings.split.file), checked.table)
        table = without_validation(table) if folds else table
        check_classes(table)
        require_no_leaks(dataclasses.replace(checked, table=table, copies=find_copies(table)), settings.data)
        return table, checked
    return assign(checked.table, split), checked


def say_poor_splits(table: Table) -> None:
    """Name the classes that validation or test has no image of, and say where it has hardly any groups."""
    for split in ("val", "test"):
        for told in (*lacking(table, split), few_groups(table, split)):
            if told:
                console.say(f"data: {told}", style="yellow")


def known_to_donor(weights: str | None, table: Table) -> str:
    """Say how many rows to measure the run whose weights are the start has learned from, byte for byte; "" for none.

    Args:
        weights: of the settings: a run folder, the model in one, or anything else.
        table: checked and divided.
    """
    if weights in (None, "none", "imagenet") or table.digests is None:
        return ""
    given = Path(str(weights))
    donor = RunFolder(given if given.is_dir() else given.parent)
    if not donor.split.exists():
        return ""
    learned = read_digests(donor.intact(donor.split))["train"]
    told = []
    for split in ("val", "test"):
        own = table.digests[table.split(split)].tolist()
        if seen := sum(digest in learned for digest in own):
            told.append(f"{seen:,} of {count(len(own), f'{split} image')}")
    if not told:
        return ""
    return (
        f"{donor.path} has learned from {' and '.join(told)}, so that figures of these promise too much; its own split "
        f"again: split.file={typed(donor.split)}"
    )
