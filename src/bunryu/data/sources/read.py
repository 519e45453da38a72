"""Whatever the user has (a folder, split folders, a CSV, a DataFrame) becomes the one table."""

from __future__ import annotations

import dataclasses
import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bunryu.core.errors import BunryuError, ConfigError, DataError, count, nearest, typed
from bunryu.core.storage import absolute
from bunryu.data.sources import class_folders, person_folders
from bunryu.data.sources import columns as tabular
from bunryu.data.sources.archives import Opened, archive_in, as_written, on_disk, told_of
from bunryu.data.sources.csv_files import Columns, from_frame, require_frame
from bunryu.data.sources.folder_tree import holds_persons, holds_table, read_tree
from bunryu.data.sources.image_places import image_folder, located_below
from bunryu.data.sources.label_twins import renamed
from bunryu.data.sources.same_labels import as_in_training
from bunryu.data.sources.tables import TABLES, read_table
from bunryu.data.table import SPLITS, Table, texts
from bunryu.settings.data import DataSettings
from bunryu.settings.validate import replaced

_OTHER_ARCHIVES = {
    ".gz": "gunzip -k",
    ".7z": "7z x",
    ".rar": "unrar x",
    ".zst": "unzstd",
    ".egg": "7z x",
    ".alz": "7z x",
}
"""Ending of an archive that is not read -> what unpacks it."""
_OF_TABLES = (
    "image_root", "path_column", "label_column", "label_columns", "multi_label", "group_column", "split_column",
)  # fmt: skip
_OF_PERSONS = ("label_column", "label_columns", "group_column")


def read_source(
    settings: DataSettings,
    frame: Any = None,
    *,
    label: str | None = None,
    parts: Sequence[str] = (),
    root: Path | None = None,
) -> Table:
    """Read the data that `settings` (or a DataFrame) names, without opening any image.

    Args:
        settings: where the data is.
        frame: a pandas DataFrame instead of `data.source`.
        label: the label column of a model that will be measured on this data.
        parts: the columns that it joins, where it is a joint one.
        root: what paths are shown relative to, where an earlier run decided it.

    Returns:
        The table, its rows sorted by path, with splits only where the source gives them.

    Raises:
        ConfigError: no data named, or named twice.
        DataError: there is nothing usable, with what was expected and the nearest right thing.
    """
    sources = _parts(settings, frame)
    opened: Opened = {}
    try:
        places = [str(on_disk(data, opened)) if isinstance(data, str) else data for _, data in sources]
        below = settings.image_root and replaced(settings, {"image_root": str(on_disk(settings.image_root, opened))})
        _require_table(settings, places)
        read = [
            _read_part(data, split, below or settings, label, parts)
            for (split, _), data in zip(sources, places, strict=True)
        ]
        rows = renamed(tabular.concatenated(read), settings.rename_labels, strict=label is None)
    except BunryuError as error:
        raise type(error)(*(as_written(line, opened) for line in error.args)) from None
    if not rows.label_names:
        labels, told = as_in_training(rows.labels, rows.splits)
        rows = dataclasses.replace(rows, labels=labels, notes=[*rows.notes, *told])
    rows = dataclasses.replace(rows, notes=[*told_of(opened), *(as_written(note, opened) for note in rows.notes)])
    written = [
        (Path(data), Path(place)) for (_, data), place in zip(sources, places, strict=True) if isinstance(data, str)
    ]
    return _table(rows, root or _root(written, settings), opened)


def with_absolute_paths(frame: Any, settings: DataSettings) -> Any:
    """Return a copy of a DataFrame whose image paths mean the same from anywhere; as it is, if below an archive."""
    if settings.image_root and archive_in(settings.image_root):
        return frame
    column = tabular.path_column(from_frame(frame), settings)
    cells = [str(cell) for cell in frame[column]]
    return frame.assign(**{column: located_below(cells, settings.image_root, Path.cwd(), "the DataFrame").files})


def require_there(settings: DataSettings, frame: Any = None) -> None:
    """Refuse data that were not named or are not there; called before anything slow happens.

    Raises:
        ConfigError: no data named, or named twice.
        DataError: a path that is not there, or a `frame` that is no DataFrame.
    """
    for _, data in _parts(settings, frame):
        if isinstance(data, str):
            require_path(data)
        else:
            require_frame(data)


def require_path(path: str) -> None:
    """Refuse a path that is not there, and name the nearest.

    Raises:
        DataError: it is not there.
    """
    class_folders.require_utf8(path)
    if archive_in(path) is not None:  # what is in it is seen when it is unpacked
        return
    file = os.path.expanduser(path)  # noqa: PTH111
    if not os.path.exists(file):  # noqa: PTH110 - Path.exists raises where a name is too long
        parent = os.path.dirname(file.rstrip("/")) or "."  # noqa: PTH120
        beside = os.listdir(parent) if os.path.isdir(parent) else []  # noqa: PTH112, PTH208
        raise DataError(f"There is no file or folder {path}.{nearest(Path(path).name, beside, folder=parent)}")


def _parts(settings: DataSettings, frame: Any) -> list[tuple[str, Any]]:
    """Return (split, path or frame) of each source; split "" where the source itself decides."""
    if frame is not None and settings.source is not None:
        raise ConfigError(f"Data came twice: a DataFrame and data.source={settings.source}. Give one.")
    source = frame if frame is not None else settings.source
    if source is not None and settings.train is not None:
        raise ConfigError(f"Data came twice: {settings.source or 'a DataFrame'} and --train-dir. Give one.")
    apart = [(split, path) for split, path in (("val", settings.val), ("test", settings.test)) if path is not None]
    if source is None and settings.train is None and apart:
        split, path = apart[0]
        raise ConfigError(
            f"Data to train on are missing: {path} is for {split} only. Name them too: "
            f"bunryu train --train-dir FOLDER --{split}-dir {typed(path)}"
        )
    if source is None and settings.train is None:
        raise ConfigError("No data was named. Expected a folder or a CSV: bunryu train photos/")
    parts = [("", source) if source is not None else ("train", settings.train), *apart]
    _require_table(settings, [data for _, data in parts])
    return parts


def _require_table(settings: DataSettings, sources: list[Any]) -> None:
    """Refuse settings that say how to read a table, where all data are folders."""
    given = next((name for name in _OF_TABLES if getattr(settings, name) is not None), None)
    if given and all(isinstance(data, str) and os.path.isdir(os.path.expanduser(data)) for data in sources):  # noqa: PTH111, PTH112
        places = [Path(data).expanduser() for data in sources]
        if given in _OF_PERSONS and all(holds_persons(place, settings) for place in places):
            return
        if given != "image_root" and any(holds_table(place, settings) for place in places):
            return
        raise ConfigError(
            f"data.{given} belongs to a CSV; {sources[0]} is a folder, where the class folders say all. Leave it out."
        )


def _read_part(data: Any, split: str, settings: DataSettings, label: str | None, parts: Sequence[str]) -> tabular.Rows:
    if not isinstance(data, str):
        return _interpreted(from_frame(data), settings, Path.cwd(), label, parts)
    require_path(data)
    path = Path(data).expanduser()
    if path.is_dir():

        def table_in(file: Path, told: str) -> tabular.Rows:
            return _table_rows(file, "", settings, label, parts, told)

        return read_tree(path, split, settings, table_in, label=label, parts=parts)
    if path.suffix.lower() not in TABLES:
        how = _OTHER_ARCHIVES.get(path.suffix.lower())
        mend = f" Unpack it, and give the folder: {how} {typed(path)}" if how else ""
        raise DataError(
            f"{path} is not a folder and not a table. Expected a folder of class folders, a .zip or .tar of them, a "
            f".csv, .tsv, .jsonl or .parquet.{mend}"
        )
    return _table_rows(path, split, settings, label, parts)


def _table_rows(
    path: Path,
    split: str,
    settings: DataSettings,
    label: str | None,
    parts: Sequence[str],
    told: str = "",
) -> tabular.Rows:
    table = read_table(path)
    rows = _interpreted(table, settings, path.parent, label, parts)
    read_as = f"read as: a table; {count(len(table), 'row')} in {path}"
    if told:
        read_as = f"read as: {told}; {count(len(table), 'row')} in {path}"
    notes = [read_as, *rows.notes]
    splits = [split] * len(rows.files) if split else rows.splits
    return dataclasses.replace(rows, splits=splits, notes=notes)


def _interpreted(
    columns: Columns, settings: DataSettings, base: Path, label: str | None, parts: Sequence[str]
) -> tabular.Rows:
    """Interpret a table of images, or of person folders."""
    notes: list[str] = []
    paths = tabular.path_column(columns, settings)
    if settings.layout != "classes" and person_folders.are_person_paths(columns.values[paths]):
        columns, notes = person_folders.from_table(columns, paths, image_folder(settings.image_root, base))
        settings = replaced(settings, {"path_column": None})
    elif settings.layout == "persons" and not (settings.train or settings.val or settings.test):
        raise ConfigError(
            f"data.layout=persons: the column {paths!r} of {columns.where} names images, not person folders. Leave it "
            "out."
        )
    rows = tabular.interpret(columns, settings, base, label=label, parts=parts)
    return dataclasses.replace(rows, notes=[*notes, *rows.notes])


def _root(sources: list[tuple[Path, Path]], settings: DataSettings) -> Path:
    """Return the one folder (or archive) that paths are shown relative to; of sources as written, and as they lie."""
    if settings.image_root:
        return absolute(settings.image_root)
    folders_ = [str(absolute(path if place.is_dir() else path.parent)) for path, place in sources]
    if not folders_:
        return Path.cwd()
    try:
        return Path(os.path.commonpath(folders_))
    except ValueError:  # different drives: paths stay absolute
        return Path(folders_[0])


def _table(rows: tabular.Rows, root: Path, opened: Opened) -> Table:
    prefix = str(root).rstrip(os.sep) + os.sep
    shown = [os.path.normpath(file) for file in rows.files]
    for archive, folder in opened.items():
        shown = [archive + file[len(folder) :] if file.startswith(folder + os.sep) else file for file in shown]
    shown = [file[len(prefix) :] if file.startswith(prefix) else file for file in shown]
    shown = [path.replace(os.sep, "/") for path in shown]
    notes = list(rows.notes)
    keys = list(zip(shown, next(iter(rows.labels.values())), rows.splits, strict=True))
    order = sorted({key: i for i, key in reversed(list(enumerate(keys)))}.values(), key=keys.__getitem__)
    if len(order) < len(shown):
        repeated = count(len(shown) - len(order), "row that repeats", "rows that repeat")
        notes.append(f"{repeated} another row's path and label: dropped")

    def arranged(cells: list[str]) -> Any:
        return texts([cells[i] for i in order])

    counts = Counter(rows.splits[i] for i in order)
    if set(counts) - {""}:
        notes.append("given splits: " + ", ".join(f"{name} {counts[name]}" for name in SPLITS if counts[name]))
    return Table(
        root=root,
        paths=arranged(shown),
        labels={name: arranged(cells) for name, cells in rows.labels.items()},
        splits=arranged(rows.splits),
        groups=None if rows.groups is None else arranged(rows.groups),
        columns={name: arranged(cells) for name, cells in rows.columns.items()},
        published=rows.published,
        notes=tuple(notes),
        label_names=rows.label_names,
        unpacked=opened,
    )
