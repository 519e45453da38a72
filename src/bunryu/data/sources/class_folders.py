"""Class folders: the folder's name is the label; and what lies around the images."""

from __future__ import annotations

import os
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bunryu.core.errors import DataError, count, some, typed
from bunryu.core.storage import absolute
from bunryu.data.images.formats import IMAGE_SUFFIXES
from bunryu.data.sources.pattern_hints import pattern_hint
from bunryu.data.sources.split_words import split_of

_HEAD_BYTES = 1 << 24
_JUNK = {"thumbs.db", "desktop.ini", "__macosx", "@eadir", "$recycle.bin", "system volume information"}


@dataclass
class Listing:
    """What a walk through folders found, besides the images."""

    rows: list[tuple[str, str, str]] = field(default_factory=list)
    """(absolute path, label, split) of each image."""
    junk: int = 0
    others: Counter[str] = field(default_factory=Counter)
    loose: int = 0
    empty: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def all_notes(self) -> list[str]:
        """Return what was ignored, in sentences."""
        notes = list(self.notes)
        if self.junk:
            notes.append(f"{count(self.junk, 'hidden or system file')} ignored (such as .DS_Store, Thumbs.db)")
        if self.others:
            kinds = some([f"{n} {suffix or 'without ending'}" for suffix, n in self.others.most_common()], 4)
            others = count(self.others.total(), "file that is not an image", "files that are not images")
            notes.append(f"{others} ignored ({kinds})")
        if self.loose:
            notes.append(f"{count(self.loose, 'image')} outside any class folder ignored")
        return notes


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
    empty, instead = [], Listing()
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
            listing.others[os.path.splitext(entry.name)[1].lower()] += 1  # noqa: PTH122


def _empty_folders(root: Path, empty: list[str], total: int, instead: str) -> DataError:
    """Return what is wrong where class folders have no image: few of them, or most, as in a project's folder."""
    below = next(_data_below(root), None)
    hint = f" Did you mean the data in it: {below[0]} (with {some(f'{name}/' for name in below[1])})?" if below else ""
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
                listing.others[os.path.splitext(entry.name)[1].lower()] += 1  # noqa: PTH122
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
    for entry in kept:
        require_utf8(entry.path)
    return sorted(kept, key=lambda entry: entry.name)


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
        hint = table_hint(root) or pattern_hint(names) or _one_class_hint(root)
        hint = hint or table_hint(root.parent, naming=Path(images[0]).name)
        return DataError(
            f"{root} has {count(len(images), 'image')} but no class folders, so their labels are not known. "
            f"Expected one folder a class ({root}/cat/1.jpg) or a CSV with path and label columns.{hint}"
        )
    return DataError(
        f"There are no class folders and no images in {root}. Expected one folder a class, such as {root}/cat/1.jpg "
        f"and {root}/dog/2.jpg.{_found_instead(listing)}{table_hint(root)}"
    )


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
    return f" Is it one class of several ({some(beside)})? Then give the folder that holds them: {root.parent}"


def table_hint(folder: Path, *, naming: str | None = None) -> str:
    """Name a table in `folder`, which may hold the labels of images; one that names the image `naming`, if given."""
    tables = sorted(path for path in folder.iterdir() if path.suffix.lower() in (".csv", ".tsv"))
    found = next((table for table in tables if naming is None or _names_image(table, naming)), None)
    return f" A table may hold the labels: bunryu train {typed(found)}" if found else ""


def _names_image(table: Path, name: str) -> bool:
    try:
        with table.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError:
        return False
    return any(name.encode(encoding, "replace") in head for encoding in ("utf-8", "cp949", "utf-16-le"))


def _found_instead(listing: Listing) -> str:
    kinds = some([f"{n} {suffix or 'without ending'}" for suffix, n in listing.others.most_common()], 4)
    return f" Found instead: {kinds}." if kinds else ""
