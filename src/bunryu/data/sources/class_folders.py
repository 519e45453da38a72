"""Class folders: the folder's name is the label; and what lies around the images."""

from __future__ import annotations

import os
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bunryu.core.errors import DataError, count, some, typed
from bunryu.core.storage import absolute
from bunryu.data.images.formats import HEAD_BYTES, IMAGE_SUFFIXES, true_ending
from bunryu.data.sources.archives import is_archive
from bunryu.data.sources.pattern_hints import pattern_hint
from bunryu.data.sources.split_words import split_of, splits_of

_HEAD_BYTES = 1 << 24
_LOOKED_INTO = 8
"""Endings of which the first file is looked into: it may be a picture under a name that is none of a picture's."""
_JUNK = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information"}


@dataclass
class Listing:
    """What a walk through folders found, besides the images."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    """(absolute path, label, split) of each image."""
    junk: int = 0
    runs: dict[str, None] = field(default_factory=dict)
    """Folders of runs: what lies in them are plots of ours."""
    others: Counter[str] = field(default_factory=Counter)
    """Ending -> files that no name makes a picture."""
    inside: dict[str, str] = field(default_factory=dict)
    """Ending -> the one that the first such file should have, where it begins as a picture does."""
    loose: int = 0
    empty: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def all_notes(self) -> list[str]:
        """Return what was ignored, in sentences."""
        notes = list(self.notes)
        if self.junk:
            notes.append(f"{count(self.junk, 'hidden or system file')} ignored (such as .DS_Store, Thumbs.db)")
        if self.runs:
            notes.append(f"{some((f'{name}/' for name in self.runs), 3)} ignored: bunryu's own runs")
        if self.others:
            kinds = some(self.kinds(), 4)
            others = count(self.others.total(), "file that is not an image", "files that are not images")
            notes.append(f"{others} ignored ({kinds})")
        if self.loose:
            notes.append(f"{count(self.loose, 'image')} outside any class folder ignored")
        return notes

    def pass_over(self, entry: os.DirEntry[str]) -> None:
        """Count a file that is not read, for its name is not a picture's."""
        ending = os.path.splitext(entry.name)[1].lower()  # noqa: PTH122
        if ending not in self.others and len(self.others) < _LOOKED_INTO and (true := _true_ending(entry)):
            self.inside[ending] = true
        self.others[ending] += 1

    def kinds(self) -> list[str]:
        """Return how many of each ending are not read, the most frequent first."""
        told = {ending: f" (the first is a {true} inside: name them so)" for ending, true in self.inside.items()}
        return [f"{n} {ending or 'without ending'}{told.get(ending, '')}" for ending, n in self.others.most_common()]


def _true_ending(entry: os.DirEntry[str]) -> str:
    try:
        if not entry.is_file():  # one would wait for a pipe for ever
            return ""
        with open(entry.path, "rb") as file:  # noqa: PTH123
            return true_ending(file.read(HEAD_BYTES))
    except OSError:
        return ""


def read_class_folders(root: Path, split: str, listing: Listing, *, strict: bool = True) -> None:
    """Add the images under each class folder of `root` to `listing`. The folder's name is the label.

    Args:
        root: the folder that holds the class folders.
        split: of all of them; "" where it is not decided.
        listing: gets the rows.
        strict: refuse a class folder to train on that has no image. Not so for data to measure on.

    Raises:
        DataError: there is no such folder, it has no class folders, or a class folder has no image.
    """
    folders = class_folders(root)
    if not folders:
        raise no_class_folders(root)
    empty, instead = [], Listing(inside=listing.inside)
    for folder in folders:
        label = unicodedata.normalize("NFC", folder.name)
        before, others = len(listing.rows), listing.others.copy()
        listing.rows.extend((path, label, split) for path in walk_images(folder, listing))
        if len(listing.rows) == before:
            empty.append(folder.name)
            instead.others += listing.others - others
    count_beside(entries(root, listing), listing)
    if empty and (len(empty) == len(folders) or (strict and split in ("", "train"))):
        raise _empty_folders(root, empty, len(folders), _found_instead(instead))
    listing.notes.extend(f"{root.name}/{name} has no images" for name in empty)


def count_beside(entries: list[os.DirEntry[str]], listing: Listing) -> None:
    """Count the files that lie beside class folders or split folders."""
    for entry in entries:
        if entry.is_file() and is_image(entry.name):
            listing.loose += 1
        elif entry.is_file():
            listing.pass_over(entry)


def _empty_folders(root: Path, empty: list[str], total: int, instead: str) -> DataError:
    """Return what is wrong where class folders have no image: few of them, or most, as in a project's folder."""
    below = next(_data_below(root), None)
    names = some(f"{name}/" for name in below[1]) if below else ""
    hint = f" Did you mean the data in it (with {names})? bunryu train {typed(below[0])}" if below else ""
    if 2 * len(empty) <= total:
        return DataError(
            f"Class folder without any image in {root}: {some(empty)}. "
            f"Add images, or remove the empty folder.{instead}{hint}"
        )
    many = "its folder has" if total == 1 else f"{len(empty)} of its {total} folders have"
    return DataError(
        f"{root} is not a data set: {many} no images ({some(empty)}). Expected one folder a class, with files such "
        f"as .jpg or .png in it.{instead}{hint}"
    )


def _data_below(root: Path, depth: int = 2) -> Iterator[tuple[Path, list[str]]]:
    """Yield the folders at most `depth` below `root` that hold class folders, and the names of these."""
    for folder in class_folders(root):
        classes = [inner for inner in class_folders(folder) if any(is_image(e.name) for e in entries(inner, Listing()))]
        if len(classes) > 1:
            yield folder, [inner.name for inner in classes]
        elif depth > 1:
            yield from _data_below(folder, depth - 1)


def walk_images(folder: Path, listing: Listing) -> Iterator[str]:
    """Yield the absolute path of every image below `folder`, in sorted order; count the rest in `listing`."""
    seen: set[str] = set()
    stack = [str(absolute(folder))]
    while stack:
        here = stack.pop()
        real = os.path.realpath(here)
        if real in seen:  # a link that leads back up
            continue
        seen.add(real)
        below = []
        for entry in entries(Path(here), listing):
            if entry.is_dir():
                below.append(entry.path)
            elif is_image(entry.name):
                yield entry.path
            else:
                listing.pass_over(entry)
        stack.extend(reversed(below))


def entries(folder: Path, listing: Listing) -> list[os.DirEntry[str]]:
    """Return what lies in a folder, sorted; junk is counted in `listing`."""
    try:
        with os.scandir(folder) as found:
            entries = list(found)
    except OSError as error:
        raise DataError(f"Cannot open the folder {folder}: {error.strerror}.") from None
    kept = [entry for entry in entries if not (entry.name.startswith(".") or entry.name.lower() in _JUNK)]
    listing.junk += len(entries) - len(kept)
    if ours := {entry.name for entry in kept if entry.is_dir() and _is_of_runs(entry)}:
        listing.runs |= dict.fromkeys(sorted(ours))
        kept = [entry for entry in kept if entry.name not in ours]
    for entry in kept:
        require_utf8(entry.path)
    return sorted(kept, key=lambda entry: entry.name)


def _is_of_runs(entry: os.DirEntry[str]) -> bool:
    """Return whether a folder is a run, or that in which runs are made where data are trained on from within."""
    if _is_run(entry.path):
        return True
    if entry.name != "runs":
        return False
    try:
        with os.scandir(entry.path) as found:
            return any(inner.is_dir() and _is_run(inner.path) for inner in found)
    except OSError:
        return False


def _is_run(folder: str) -> bool:
    marks = ("config.yaml", "ensemble.json")
    digests = os.path.join(folder, "SHA256SUMS")  # noqa: PTH118
    return os.path.exists(digests) and any(os.path.exists(os.path.join(folder, mark)) for mark in marks)  # noqa: PTH110, PTH118


def require_utf8(path: str) -> None:
    """Refuse a path that no table or model could hold: its bytes are no UTF-8, as in zips of Korean Windows.

    Raises:
        DataError: naming what it may be, and how to rename it.
    """
    try:
        path.encode()
    except UnicodeEncodeError:
        guess = Path(*(_in_utf8_or_cp949(os.fsencode(part)) for part in Path(path).parts))
        raise DataError(
            f"The name of {guess} is not UTF-8 text (it is shown here as cp949). "
            "Rename it, and all like it: convmv -f cp949 -t utf8 -r --notest FOLDER"
        ) from None


def _in_utf8_or_cp949(part: bytes) -> str:
    try:
        return part.decode()
    except UnicodeDecodeError:
        return part.decode("cp949", "replace")


def is_image(name: str) -> bool:
    """Return whether a file is named like an image."""
    return os.path.splitext(name)[1].lower() in IMAGE_SUFFIXES  # noqa: PTH122 - called a million times


def holds_images(folder: Path) -> bool:
    """Return whether images lie in a folder itself, not only in folders below."""
    return any(is_image(entry.name) and not entry.is_dir() for entry in entries(folder, Listing()))


def class_folders(root: Path) -> list[Path]:
    """Return the folders in `root`, sorted.

    Raises:
        DataError: there is no such folder.
    """
    if not root.is_dir():
        raise DataError(f"There is no folder {root}.")
    return [Path(entry.path) for entry in entries(root, Listing()) if entry.is_dir()]


def no_class_folders(root: Path) -> DataError:
    """Return what is wrong with a folder that holds no folders."""
    listing = Listing()
    images = list(walk_images(root, listing))
    if images:
        names = [os.path.relpath(image, root).replace(os.sep, "/") for image in images]
        beside = table_hint(root.parent, naming=Path(images[0]).name)
        hint = table_hint(root) or beside or pattern_hint(names) or _one_class_hint(root)
        return DataError(
            f"{root} has {count(len(images), 'image')} but no class folders, so their labels are not known. "
            f"Expected one folder a class ({root}/cat/1.jpg) or a CSV with path and label columns.{hint}"
        )
    return DataError(
        f"There are no class folders and no images in {root}. Expected one folder a class, such as {root}/cat/1.jpg "
        f"and {root}/dog/2.jpg.{_found_instead(listing)}{_archive_hint(root) or table_hint(root)}"
    )


def _archive_hint(folder: Path) -> str:
    """Name an archive in `folder`, as where a competition's zip holds train.zip."""
    there = [path for path in sorted(folder.iterdir()) if is_archive(path)]
    called = splits_of([path.name.split("-")[0].split(".")[0] for path in there])
    splits = {called.get(path.name.split("-")[0].split(".")[0], ""): path for path in there}
    if "train" in splits and len(splits) == len(there) > 1:
        options = " ".join(f"--{name}-dir {typed(splits[name])}" for name in ("train", "val", "test") if name in splits)
        return f" There are archives in it: bunryu train {options}"
    found = next(iter(there), None)
    return f" There is an archive in it: bunryu train {typed(found)}" if found else ""


def _one_class_hint(root: Path) -> str:
    """Where `root` is one of several folders with images in them, name the folder that holds them."""
    try:
        beside = [
            folder.name
            for folder in sorted(root.parent.iterdir())
            if folder.is_dir() and split_of(folder.name) is None and not folder.name.startswith(".")
            if any(is_image(file.name) for file in folder.iterdir())
        ]
    except OSError:
        return ""
    if root.name not in beside or len(beside) < 2:
        return ""
    whole = f"bunryu train {typed(root.parent)}"
    return f" Is it one class of several ({some(beside)})? Then give the folder that holds them: {whole}"


def table_hint(folder: Path, *, naming: str | None = None) -> str:
    """Name the tables in `folder` that may hold the labels of images, the likeliest first.

    Args:
        folder: where to look.
        naming: an image that a table has to have, if given; with its ending or without.
    """
    tables = [path for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv")]
    found = [table for table in tables if naming is None or _names_image(table, naming)]
    found.sort(key=lambda table: (_unlikely(table.stem), table.name))
    if not found:
        return ""
    others = f" (or {some((table.name for table in found[1:]), 3)})" if len(found) > 1 else ""
    return f" A table may hold the labels: bunryu train {typed(found[0])}{others}"


def _unlikely(stem: str) -> int:
    """Return how unlikely a table of this name is to hold the labels to learn."""
    word = stem.lower()
    if split_of(stem) == "train" or "label" in word or "train" in word:
        return 0
    return 2 if split_of(stem) or "sample" in word or "submi" in word or "test" in word else 1


def _names_image(table: Path, name: str) -> bool:
    try:
        with table.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return False
    return any(
        re.search(rb"(?:^|[,;\t\r\n/\"\\])" + re.escape(text.encode(encoding, "replace")), head) is not None
        for text in (name, os.path.splitext(name)[0] + ",")  # noqa: PTH122
        for encoding in ("utf-8", "cp949", "utf-16-le")
    )


def _found_instead(listing: Listing) -> str:
    kinds = some(listing.kinds(), 4)
    return f" Found instead: {kinds}." if kinds else ""
