"""A folder becomes rows, whatever it holds: persons, a Hugging Face table, names with labels, or class folders."""

from __future__ import annotations

import dataclasses
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from bunryu.core.errors import DataError, count, some, typed
from bunryu.data.sources import columns as tabular
from bunryu.data.sources import layouts, person_folders
from bunryu.data.sources.class_folders import (
    Listing,
    class_folders,
    count_beside,
    entries,
    no_class_folders,
    read_class_folders,
    walk_images,
)
from bunryu.data.sources.file_names import Named, read_names
from bunryu.data.sources.layouts import Tree
from bunryu.data.sources.split_lists import lists_told
from bunryu.settings.data import DataSettings
from bunryu.settings.label_pattern import LabelPattern, label_pattern

ReadTable = Callable[[Path, str], tabular.Rows]
"""Reads a table, which is told to be what the text says."""


def read_tree(
    path: Path, split: str, settings: DataSettings, read_table: ReadTable, *, label: str | None, parts: Sequence[str]
) -> tabular.Rows:
    """Read a folder.

    Args:
        path: the folder.
        split: of all of it; "" where its own folders say, or nothing does.
        settings: its layout, and the pattern of its names.
        read_table: reads the table of a Hugging Face folder.
        label: the label column of a model that will be measured on these data.
        parts: the columns that it joins.

    Raises:
        DataError: there is nothing usable, or more than one way to read it.
    """
    pattern = None if settings.label_pattern is None else label_pattern(settings.label_pattern)
    tree = _recognised(path, split, settings, pattern)
    if settings.layout == "persons" or (settings.layout == "auto" and _of_persons(tree) and pattern is None):
        columns, notes = person_folders.from_folders(tree.trees)
        rows = tabular.interpret(columns, settings, tree.root, label=label, parts=parts)
        return dataclasses.replace(rows, notes=[*tree.notes, *notes, *rows.notes])
    if pattern is None and any(map(layouts.metadata_in, tree.trees.values())):
        return _hugging_face(tree, read_table)
    listing = Listing()
    if pattern is not None:
        named, told = read_names(tree.trees, pattern, listing), f"names as {pattern.text}"
        told = told if "" in tree.trees else f"{tree.told}, {told}"
    elif deeper := layouts.class_pattern(tree, settings.layout):
        named, told = _deeper(tree, deeper, listing)
    else:
        named, told = _class_folders(tree, listing, strict=label is None), tree.told
    if label is None and not split and not any(row[2] for row in named.rows):
        listing.notes += lists_told(tree.root)
    return _rows(path, named, f"{split}: {told}" if split else told, [*tree.notes, *listing.all_notes()], label)


def holds_persons(path: Path, settings: DataSettings) -> bool:
    """Return whether a folder holds person folders, itself or in its split folders."""
    return settings.layout == "persons" or (
        settings.layout == "auto" and _of_persons(layouts.recognised(path, settings.layout))
    )


def holds_table(path: Path, settings: DataSettings) -> bool:
    """Return whether a folder is one of Hugging Face's, with a table of its images, itself or in its split folders."""
    tree = layouts.recognised(path, settings.layout)
    return settings.label_pattern is None and any(map(layouts.metadata_in, tree.trees.values()))


def _of_persons(tree: Tree) -> bool:
    return any(map(person_folders.are_person_folders, tree.trees.values()))


def _recognised(path: Path, split: str, settings: DataSettings, pattern: LabelPattern | None) -> Tree:
    if pattern is not None and "split" in pattern.regex.groupindex:
        return Tree(path, {split: path}, "")
    tree = layouts.recognised(path, settings.layout, loose=pattern is not None)
    if not split:
        return tree
    if "" not in tree.trees:
        own = {name: folder for name, folder in tree.trees.items() if name == split} or tree.trees
        raise DataError(
            f"{path} was given for {split}, and has {tree.told} itself. Name one of them: "
            f"--{split}-dir {typed(next(iter(own.values())))}; or give it alone: bunryu train {typed(path)}"
        )
    return dataclasses.replace(tree, trees={split: tree.root}, told="class folders")


def _hugging_face(tree: Tree, read_table: ReadTable) -> tabular.Rows:
    """Read the table in each tree; its paths are relative to its own folder."""
    tables = {split: layouts.metadata_in(folder) for split, folder in tree.trees.items()}
    notes = [
        f"{tree.trees[split].name}/ has no {layouts.METADATA[0]}: not used"
        for split, table in tables.items()
        if not table
    ]
    read = []
    for split, table in tables.items():
        if table:
            rows = read_table(table, f"a Hugging Face folder{f' ({split})' if split else ''}")
            read.append(dataclasses.replace(rows, splits=[split] * len(rows.files)) if split else rows)
    if "train" in tables and tables["train"] is None:
        raise no_class_folders(tree.trees["train"])
    found = tabular.concatenated(read)
    return dataclasses.replace(found, notes=[*tree.notes, *found.notes, *notes])


def _deeper(tree: Tree, deeper: str, listing: Listing) -> tuple[Named, str]:
    """Read classes that lie deeper than the first folders."""
    named = read_names(tree.trees, label_pattern(deeper), listing)
    if named.other:
        listing.loose += len(named.other)
        listing.notes.pop()
    if deeper == layouts.CLASS_FIRST:
        return named, "class folders of split folders"
    folders: dict[str, set[Path]] = defaultdict(set)
    for file, name, _ in named.rows:
        folders[name].add(Path(file).parent)
    if shared := sorted(name for name, places in folders.items() if len(places) > len(tree.trees)):
        listing.notes.append(f"innermost folders of one name are one class: {some(shared)}")
    told = "the innermost folders as classes"
    return named, told if "" in tree.trees else f"{tree.told}, {told}"


def _class_folders(tree: Tree, listing: Listing, *, strict: bool) -> Named:
    for split, folder in tree.trees.items():
        if class_folders(folder) or split in ("", "train"):
            read_class_folders(folder, split, listing, strict=strict)
        elif len(tree.trees) == 1:
            raise no_class_folders(folder)
        else:
            images = count(sum(1 for _ in walk_images(folder, Listing())), "image")
            listing.notes.append(f"{folder.name}/ has {images} but no class folders: not used (predict them)")
    if "" not in tree.trees:
        count_beside(entries(tree.root, listing), listing)
    return Named(listing.rows, [""] * len(listing.rows))


def _rows(path: Path, named: Named, told: str, notes: list[str], label: str | None) -> tabular.Rows:
    return tabular.Rows(
        files=[row[0] for row in named.rows],
        labels={label or "label": [row[1] for row in named.rows]},
        splits=[row[2] for row in named.rows],
        groups=named.groups if any(named.groups) else None,
        columns={},
        published={},
        notes=[f"read as: {told}; {count(len(named.rows), 'image')} in {path}", *notes],
    )
