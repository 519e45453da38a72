"""Labels that stand in the names of files or in their paths (cat.1.jpg), found by data.label_pattern."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bunryu.core.deadline import deadline
from bunryu.core.errors import DataError, count, some
from bunryu.data.sources.class_folders import Listing, walk_images
from bunryu.data.sources.pattern_hints import pattern_hint
from bunryu.data.sources.split_words import PREDICT, split_of
from bunryu.data.table import nfc
from bunryu.settings.label_pattern import LabelPattern

_SECONDS, _SECONDS_A_NAME = 20.0, 1e-4
"""That patterns may take: a hundred times what usual ones do."""


@dataclass
class Named:
    """What the names of files say."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    """(absolute path, label, split) of each image."""
    groups: list[str] = field(default_factory=list)
    """The group of each; all empty where the pattern has none."""
    other: list[str] = field(default_factory=list)
    """Files whose names the pattern does not fit."""


def read_names(trees: Mapping[str, Path], pattern: LabelPattern, listing: Listing) -> Named:
    """Read the images of trees, {split, or "" where it is not decided: folder}, whose names hold their labels.

    Notes go to `listing`, where a tree for validation or test has no label in any name.

    Raises:
        DataError: names without a label in what is to be learned, a split that is none, or a pattern that takes too
            long.
    """
    found = Named()
    for split, root in trees.items():
        before, strange = len(found.rows), []
        files = list(walk_images(root, listing))
        for file, parts in zip(files, _parts(files, root, pattern), strict=True):
            label = nfc(parts["label"]).strip() if parts else ""
            if not parts or not label:
                strange.append(file)
                continue
            found.rows.append((file, label, split or _split_in(parts, pattern, file)))
            found.groups.append(nfc(parts.get("group", "")))
        if len(found.rows) == before and split in ("", "train"):
            raise _nothing_fits(root, pattern, strange)
        if len(found.rows) == before:
            listing.notes.append(f"{root.name}/ has {count(len(strange), 'image')} without a label: not used")
        else:
            found.other += strange
    if found.other:
        shown = some((Path(file).name for file in found.other), 3)
        listing.notes.append(
            f"{count(len(found.other), 'image does', 'images do')} not fit data.label_pattern={pattern.text}: not used "
            f"({shown})"
        )
    return found


def _parts(files: Sequence[str], root: Path, pattern: LabelPattern) -> list[dict[str, str] | None]:
    """Return what the pattern finds in the path of each file below `root`."""
    names = [os.path.relpath(file, root).replace(os.sep, "/") for file in files]
    found: list[dict[str, str] | None] = []
    try:
        with deadline(_SECONDS + len(names) * _SECONDS_A_NAME):
            found.extend(map(pattern.find, names))
    except TimeoutError:
        raise DataError(
            f"data.label_pattern={pattern.text} takes too long on {names[len(found)]}, as where repeats stand in "
            "repeats, (a+)+, or many * beside each other. Write a simpler one: {label} where the label stands, and as "
            "few * as tell it apart."
        ) from None
    return found


def _split_in(parts: Mapping[str, str], pattern: LabelPattern, file: str) -> str:
    """Return the split that a path names, "" where the pattern has none."""
    if "split" not in parts:
        return ""
    split = split_of(parts["split"])
    if split is None or split == PREDICT:
        raise DataError(
            f"data.label_pattern={pattern.text}: {parts['split']!r} of {file} is none of train, val and test. Write "
            "a * in place of {split} to have the split made."
        )
    return split


def _nothing_fits(root: Path, pattern: LabelPattern, files: Sequence[str]) -> DataError:
    if not files:
        return DataError(f"There are no images in {root}.")
    names = [os.path.relpath(file, root).replace(os.sep, "/") for file in files]
    hint = pattern_hint(names) or " Expected {label} where the label stands, * for any text, # for a number."
    return DataError(
        f"data.label_pattern={pattern.text} fits none of the {count(len(names), 'image')} in {root}, such as "
        f"{names[0]}.{hint}"
    )
