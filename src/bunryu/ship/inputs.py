"""What to predict: the files that images, folders, globs and tables mean."""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from bunryu.core.errors import ConfigError, DataError, nearest
from bunryu.data.images.decode import Source
from bunryu.data.images.sources import source_name
from bunryu.data.sources.archives import archive_in, as_written, is_archive, on_disk, told_of
from bunryu.data.sources.class_folders import Listing, require_utf8, walk_images
from bunryu.data.sources.columns import image_column
from bunryu.data.sources.image_places import located_below
from bunryu.data.sources.tables import TABLES, read_table


@dataclass(frozen=True)
class Inputs:
    """What to predict: names as they are shown, the files they mean, and what was ignored, in sentences."""

    names: list[str] = field(default_factory=list)
    files: list[Source] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def add(self, names: Sequence[str], files: Sequence[Source]) -> None:
        """Add files under their names."""
        self.names.extend(names)
        self.files.extend(files)


def gather(inputs: Sequence[Source], image_root: str | None = None) -> Inputs:
    """List the files that the inputs mean: images, folders or archives (all in them, sorted), globs, tables of paths.

    Pictures in memory (bytes, arrays) are taken as they are, and are called ``image 0`` by their position.

    Raises:
        DataError: an input that is not there or holds no image, or a table none of whose files are there.
        ConfigError: an `image_root` without a table.
    """
    found = Inputs()
    tables = 0
    for position, item in enumerate(inputs):
        if isinstance(item, (bytes, np.ndarray)):
            found.add([source_name(item, position)], [item])
            continue
        given = os.fspath(item)
        require_utf8(given)
        path = Path(given).expanduser()
        if not given:
            raise DataError("Expected images, folders, globs or tables, received an empty name.")
        if archive_in(given) is not None:
            _add_archive(found, given)
        elif path.is_dir():
            _add_folder(found, given, path)
        elif path.suffix.lower() in TABLES and path.exists():
            tables += 1
            _add_table(found, path, image_root)
        elif os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a name is too long
            found.add([given], [str(path)])
        else:
            matches = sorted(match for match in glob.glob(str(path), recursive=True) if os.path.isfile(match))  # noqa: PTH113, PTH207
            if not matches:
                raise DataError(_not_there(path))
            for match in matches:
                if is_archive(match):
                    _add_archive(found, match)
                else:
                    found.add([match], [match])
    if image_root is not None and not tables:
        raise ConfigError("--image-root says what the paths in a CSV are relative to, and no CSV was given.")
    return found


def _add_archive(found: Inputs, given: str) -> None:
    """Add the images in an archive, or in a folder of it, or one image in it."""
    opened: dict[str, str] = {}
    path = on_disk(given, opened)
    before = len(found.notes)
    try:
        if path.is_dir():
            _add_folder(found, given, path)
        elif path.exists():
            found.add([given], [str(path)])
        else:
            raise DataError(_not_there(path))
    except DataError as error:
        raise DataError(*(as_written(line, opened) for line in error.args)) from None
    found.notes[before:] = [*told_of(opened), *(as_written(note, opened) for note in found.notes[before:])]


def _add_folder(found: Inputs, given: str, path: Path) -> None:
    listing = Listing()
    files = list(walk_images(path, listing))
    ignored = [f"{path}: {note}" for note in listing.all_notes()]
    if not files:
        raise DataError(" ".join([f"There are no images in {path}.", *(f"{note}." for note in ignored)]))
    found.notes.extend(ignored)
    found.add([os.path.join(given, os.path.relpath(file, path)) for file in files], files)  # noqa: PTH118


def _add_table(found: Inputs, path: Path, image_root: str | None) -> None:
    cells = image_column(read_table(path))
    located = located_below(
        cells,
        image_root,
        path.parent,
        str(path),
        key="--image-root",
        typed_as="--image-root {} (in Python: image_root=)",
    )
    found.notes.extend(f"{path}: {told}" for told in located.told)
    found.add(cells, located.files)


def _not_there(path: Path) -> str:
    if glob.has_magic(str(path)):
        return f"No file matches {path}."
    there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"There is no file or folder {path}.{nearest(path.name, there, folder=str(path.parent))}"
