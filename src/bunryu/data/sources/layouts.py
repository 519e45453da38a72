"""What a folder is: where its data begin, which of its folders are splits, and how deep the classes lie."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bunryu.core.errors import DataError, count, some, typed
from bunryu.data.sources.class_folders import Listing, class_folders, holds_images, walk_images
from bunryu.data.sources.file_names import read_names
from bunryu.data.sources.split_words import PREDICT, split_of, splits_of
from bunryu.data.table import SPLITS
from bunryu.settings.label_pattern import label_pattern

Layout = Literal["auto", "classes", "nested", "persons"]
NESTED = "**/{label}/*"
"""The innermost folder of each image is its class."""
CLASS_FIRST = "{label}/{split}/**"
"""Class folders that each hold train/, test/ ..."""
SPLIT_SECOND = "*/{split}/{label}/**"
"""Data sets beside each other, each with train/, test/ ... of the same classes."""
METADATA = ("metadata.csv", "metadata.jsonl")
"""The tables of a Hugging Face folder, which name the images beside them."""
_DEEPEST = 8
_ONE_OF_MANY = ("images", "image", "imgs", "img", "photos", "pictures", "data")


@dataclass(frozen=True)
class Tree:
    """A folder as it is read."""

    root: Path
    """Where the data begin: the folder itself, or the one that it holds alone."""
    trees: dict[str, Path]
    """{split: folder}; {"": root} where none of its folders is a split."""
    told: str
    """What it is, in words."""
    notes: list[str] = field(default_factory=list)


def recognised(given: Path, layout: Layout, *, loose: bool = False) -> Tree:
    """Find out where the data of a folder begin, and which of its folders are splits.

    Args:
        given: the folder.
        layout: what the user said of it.
        loose: split folders may hold the images themselves, as where names hold the labels.

    Raises:
        DataError: two folders for one split, or folders of which it is not clear whether they are splits.
    """
    root = opened(given)
    splits, notes = _split_folders(root, layout, loose=loose)
    if root != given:
        notes = [f"{given} holds {root.relative_to(given)}/ alone: the data are taken from there", *notes]
    if not splits:
        return Tree(root, {"": root}, "one tree of class folders", notes)
    deep = _opened_alike(splits)
    names = ", ".join(f"{folder.name}/" for folder in splits.values())
    plain = all(folder.name.lower() in (split, "training", "validation") for split, folder in splits.items())
    told = f"split folders {names}" + ("" if plain else f" (as {', '.join(splits)})")
    return Tree(root, deep, told, notes)


def opened(folder: Path) -> Path:
    """Return the folder below in which data begin: a wrapper holds one folder alone, as photos/photos/ of a zip.

    Where that would lead to a single class, the folder itself is returned.
    """
    here = folder
    for _ in range(_DEEPEST):  # links may lead in a circle
        below = class_folders(here)
        if len(below) > 1 or metadata_in(here):
            return here
        if len(below) == 1 and below[0].name != here.name and split_of(below[0].name):
            return here
        inner = below[0] if below else None
        if inner is None or holds_images(here) or (holds_images(inner) and not metadata_in(inner)):
            return folder
        here = inner
    return folder


def _opened_alike(splits: Mapping[str, Path]) -> dict[str, Path]:
    """Return where the classes of each split begin: as deep as in the first one, though others have a class alone."""
    first = next(iter(splits.values()))
    below = opened(first).relative_to(first)
    return {
        split: folder / below if below.parts and (folder / below).is_dir() else opened(folder)
        for split, folder in splits.items()
    }


def class_pattern(tree: Tree, layout: Layout) -> str:
    """Return the pattern by which classes lie deeper than in the folders of a tree; "" where these are the classes.

    Raises:
        DataError: both readings, and the setting that chooses.
    """
    if layout == "nested":
        return NESTED
    if layout != "auto":
        return ""
    known: set[str] = set()
    for root in tree.trees.values():
        if pattern := _deeper(root, known, tree):
            return pattern
        known |= {folder.name for folder in class_folders(root)}
    return ""


def _deeper(root: Path, known: Collection[str], tree: Tree) -> str:
    """Return what `class_pattern` does, of one tree; `known` are classes that an earlier one has."""
    tops = class_folders(root)
    if known and {top.name for top in tops} <= set(known):
        return ""
    inner = {top: _with_images(class_folders(top)) for top in tops if not holds_images(top)}
    used = [top for top in tops if top not in inner or inner[top]]
    if len(used) < 2:
        return ""
    if "" in tree.trees and (names := _splits_in_names([top.name for top in used])):
        raise _two_readings(root, used, {f'data.label_pattern="{names}/**"': f"{names}/**"})
    if all(len(below) < 2 for below in inner.values()):
        return ""
    below = sorted({folder.name for top in used for folder in inner.get(top, [])})
    if "" in tree.trees and set(used) <= set(inner) and _all_splits(below):
        parts = [folder for top in used for folder in inner[top] if not holds_images(folder)]
        if any(len(_with_images(class_folders(folder))) > 1 for folder in parts):
            raise _two_readings(
                root, used, {f'data.label_pattern="{text}"': text for text in (CLASS_FIRST, SPLIT_SECOND)}
            )
        return CLASS_FIRST
    if set(below) <= set(_ONE_OF_MANY):
        return ""
    raise _two_readings(root, used, {"data.layout=nested": NESTED})


def _all_splits(names: Collection[str]) -> bool:
    found = splits_of(sorted(names))
    return set(found) == set(names) and "train" in found.values() and PREDICT not in found.values()


def _splits_in_names(names: Collection[str]) -> str:
    """Return the pattern of class folders that have the split in their names (train_cat, test_cat, train_dog ...)."""
    found = splits_of(sorted(names))
    rest = set(names) - {name for name in names if split_of(name)}
    if set(found) != rest or "train" not in found.values():
        return ""
    for between in "_-. ":
        heads, tails = Counter(), Counter()  # type: Counter[str], Counter[str]
        for name in rest:
            heads[name.split(between)[0]] += 1
            tails[name.rsplit(between, 1)[-1]] += 1
        for words, pattern in ((heads, "{split}" + between + "{label}"), (tails, "{label}" + between + "{split}")):
            if all(split_of(word) for word in words) and words.total() > len(words):
                return pattern
    return ""


def _two_readings(root: Path, tops: list[Path], other: Mapping[str, str]) -> DataError:
    """Return the question which of two readings of a folder is meant, with what each finds."""
    counts = Counter({top.name: sum(1 for _ in walk_images(top, Listing())) for top in tops})
    told = [f"data.layout=classes: {_shown(counts)}, each with all folders in it"]
    repeated = False
    for setting, pattern in other.items():
        rows = read_names({"": root}, label_pattern(pattern), Listing()).rows
        told.append(f"{setting}: {_shown(Counter(row[1] for row in rows))}")
        folders = Counter(os.path.basename(folder) for folder in {os.path.dirname(row[0]) for row in rows})  # noqa: PTH119, PTH120
        repeated = max(folders.values()) > 1
    parts = ""
    if repeated and "data.layout=nested" in other:
        parts = (
            f" Or, if {some([f'{top.name}/' for top in tops], 3)} are the parts of a split: "
            f"--train-dir {typed(tops[0])} --val-dir {typed(tops[1])}"
        )
    return DataError(
        f"The folders in {root} can be read in two ways, and which is meant changes the classes. "
        f"{'. '.join(told)}. Add the one that is right.{parts}"
    )


def _shown(counts: Counter[str]) -> str:
    classes = some((f"{name} ({many})" for name, many in sorted(counts.items())), 4)
    return f"{count(len(counts), 'class', 'classes')} {classes}"


def _with_images(folders: list[Path]) -> list[Path]:
    return [folder for folder in folders if next(walk_images(folder, Listing()), None) is not None]


def metadata_in(folder: Path) -> Path | None:
    """Return the table that a Hugging Face folder has, or None."""
    return next((folder / name for name in METADATA if (folder / name).is_file()), None)


def _split_folders(root: Path, layout: Layout, *, loose: bool) -> tuple[dict[str, Path], list[str]]:
    """Return {split: folder}, and what is told of the folders beside; none where they are classes."""
    everything = class_folders(root)
    called = splits_of([folder.name for folder in everything])
    found: dict[str, list[Path]] = {}
    for folder in everything:
        if folder.name in called:
            found.setdefault(called[folder.name], []).append(folder)
    to_predict, others = found.pop(PREDICT, []), [folder for folder in everything if folder.name not in called]
    if not found or not _are_splits(found, others, loose=loose):
        return {}, _called_like_splits(found)
    twice = any(len(folders) > 1 for folders in found.values())
    if twice and not any(split_of(folder.name) for folders in found.values() for folder in folders):
        return {}, []  # train_cat/, test_cat/, train_dog/ ...
    for split, folders in found.items():
        if len(folders) > 1:
            options = (f"--{name}-dir {typed(found[name][0])}" for name in SPLITS if name in found)
            raise DataError(
                f"{root} has both {folders[0].name}/ and {folders[1].name}/, which both mean {split}. Name the ones to "
                f"use, such as: {' '.join(options)}"
            )
    notes = [f"{folder.name}/ is to be predicted: not used" for folder in to_predict]
    if doubtful := [other for other in others if _is_class(other, found)]:
        if layout == "classes":
            return {}, []
        raise _split_or_class(root, [folders[0] for folders in found.values()], doubtful)
    notes += [f"{folder.name}/ is none of train, val and test: not used" for folder in others]
    return {split: found[split][0] for split in ("train", "val", "test") if split in found}, notes


def _are_splits(found: Mapping[str, list[Path]], others: list[Path], *, loose: bool) -> bool:
    """Return whether folders that are called like splits are some, and not classes."""

    def is_tree(folder: Path) -> bool:
        return bool(class_folders(folder)) or metadata_in(folder) is not None

    if "train" in found:
        return loose or not others or any(map(is_tree, found["train"]))
    return not others and all(is_tree(folder) for folders in found.values() for folder in folders)


def _called_like_splits(found: Mapping[str, list[Path]]) -> list[str]:
    names = [folder.name for folders in found.values() for folder in folders if holds_images(folder)]
    return [f"{some(f'{name}/' for name in names)} read as classes, though called like splits"] if names else []


def _is_class(folder: Path, splits: Mapping[str, list[Path]]) -> bool:
    """Return whether a folder beside split folders may be a class; not one with the same classes or splits again."""
    if holds_images(folder):
        return True
    below = _with_images(class_folders(folder))
    classes = {inner.name for inner in class_folders(opened(splits["train"][0]))} if "train" in splits else set()
    names = [inner.name for inner in below]
    return bool(names) and not set(names) & classes and not splits_of(names)


def _split_or_class(root: Path, splits: list[Path], others: list[Path]) -> DataError:
    names = some([f"{folder.name}/" for folder in others], 4)
    own = [folder for folder in splits if split_of(folder.name) == "train"] or splits
    return DataError(
        f"{root} has {some(f'{folder.name}/' for folder in splits)}, called like splits, beside {names} with images. "
        f"data.layout=classes takes each folder for a class. To leave {names} out: --train-dir {typed(own[0])}"
        + "".join(
            f" --{split}-dir {typed(folder)}"
            for folder in splits
            if (split := split_of(folder.name)) in ("val", "test")
        )
    )
