"""Lists beside class folders that say a split (train.txt, test.txt), as Food-101 and many others have them."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

from bunryu.core.errors import some, typed
from bunryu.data.images.formats import IMAGE_SUFFIXES
from bunryu.data.sources.split_words import PREDICT, split_of

_PLACES = (".", "meta", "annotations", "splits", "split", "lists", "labels", "ImageSets", "ImageSets/Main")
_MOST_FILES = 1000
_HEAD = 4096


def lists_told(root: Path) -> list[str]:
    """Name the lists of a split that lie with the class folders in `root`, or beside it, and what takes them."""
    for folder in (place / name for place in (root, root.parent) for name in _PLACES):
        found: dict[str, Path] = {}
        for file in _texts(folder):
            split = split_of(file.stem)
            if split not in (None, PREDICT) and _names_an_image(file, root):
                kept = found.setdefault(str(split), file)
                if file.stem.lower() == split and kept != file:
                    found[str(split)] = file
        if "train" in found and len(found) > 1:
            options = " ".join(
                f"--{split}-dir {typed(found[split])}" for split in ("train", "val", "test") if split in found
            )
            names = some((found[split].name for split in found), 3)
            return [
                f"{folder.resolve().name}/ has {names}, which say a split and are not used: bunryu train {options} "
                f"data.image_root={typed(root)} takes it"
            ]
    return []


def _texts(folder: Path) -> list[Path]:
    try:
        return sorted(islice((file for file in folder.iterdir() if file.suffix.lower() == ".txt"), _MOST_FILES))
    except OSError:
        return []


def _names_an_image(file: Path, root: Path) -> bool:
    """Return whether the first line of a file names an image below `root`, with its ending or without."""
    try:
        with file.open("rb") as stream:
            first = stream.read(_HEAD).decode("utf-8-sig").split("\n")[0].split()
        return bool(first) and any((root / f"{first[0]}{ending}").is_file() for ending in ("", *IMAGE_SUFFIXES))
    except (OSError, ValueError):
        return False
