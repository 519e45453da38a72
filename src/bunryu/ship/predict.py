"""Images, folders, globs and tables in; a table of predictions out, row by row in the order of the input."""

from __future__ import annotations

import csv
import glob
import io
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np

from bunryu.data.columns import TABLE_SUFFIXES, read_csv
from bunryu.data.decode import Source
from bunryu.data.folders import Listing, require_utf8, walk_images
from bunryu.data.tabular import file_under, image_column, image_folder
from bunryu.errors import ConfigError, DataError, nearest, some
from bunryu.predictions import Predictions, guard
from bunryu.storage import write_atomic

if TYPE_CHECKING:  # so that a file that is not there is told before torch is imported
    from bunryu.inference import Model

Format = Literal["csv", "jsonl"]
Reason = tuple[str, str]
"""A name that could not be read, and why; a name given twice has two."""


@dataclass(frozen=True)
class Inputs:
    """What to predict: names as they are shown, the files they mean, and what was ignored, in sentences."""

    names: list[str]
    files: list[Source]
    notes: list[str] = field(default_factory=list)


def gather(inputs: Sequence[Source], image_root: str | None = None) -> Inputs:
    """List the files that the inputs mean: images, folders (recursively, sorted), globs, or tables of paths.

    Pictures in memory (bytes, arrays) are taken as they are, and are called ``image 0`` by their position.

    Raises:
        DataError: an input that is not there, or that holds no image.
    """
    names: list[str] = []
    files: list[Source] = []
    notes: list[str] = []
    for position, item in enumerate(inputs):
        if isinstance(item, (bytes, np.ndarray)):
            names.append(f"image {position}")
            files.append(item)
            continue
        given = os.fspath(item)
        require_utf8(given)
        path = Path(given).expanduser()
        if path.is_dir():
            listing = Listing()
            found = list(walk_images(path, listing))
            ignored = [f"{path}: {note}" for note in listing.all_notes()]
            if not found:
                raise DataError(" ".join([f"There are no images in {path}.", *(f"{note}." for note in ignored)]))
            notes += ignored
            names += [os.path.join(given, os.path.relpath(file, path)) for file in found]  # noqa: PTH118
            files += found
        elif path.suffix.lower() in TABLE_SUFFIXES and path.exists():
            cells = image_column(read_csv(path))
            root = image_folder(image_root, path.parent)
            names += cells
            files += [file_under(root, cell) for cell in cells]
        elif os.path.exists(path):  # noqa: PTH110 - Path.exists raises where a name is too long
            names.append(given)
            files.append(str(path))
        else:
            matches = sorted(match for match in glob.glob(str(path), recursive=True) if os.path.isfile(match))  # noqa: PTH113, PTH207
            if not matches:
                raise DataError(_not_there(path))
            names += matches
            files += matches
    return Inputs(names, files, notes)


def _not_there(path: Path) -> str:
    if glob.has_magic(str(path)):
        return f"No file matches {path}."
    there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
    return f"There is no file or folder {path}.{nearest(path.name, there)}"


def predict(model: Model, inputs: Inputs, *, batch_size: int) -> tuple[Predictions, list[Reason]]:
    """Predict every input that can be read.

    Returns:
        The predictions, in the order of the inputs, and (name, reason) of each that could not be read, in their order.
    """
    rows = np.arange(len(inputs.files))
    kept, probs, failed = model.infer(inputs.files.__getitem__, rows, batch_size=batch_size, label="Predicting")
    predictions = Predictions([inputs.names[row] for row in kept], model.classes, probs)
    return predictions, [(inputs.names[row], failed[row]) for row in sorted(failed)]


def write_predictions(
    path: Path, predictions: Predictions, unreadable: Sequence[Reason], format: Format
) -> Path | None:
    """Write the predictions and, beside them, the list of unreadable files; return the latter's path, if any.

    Raises:
        ConfigError: `path` is a folder.
    """
    require_file(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(path, predictions.text(format))
    if not unreadable:
        return None
    listing = path.with_name(f"{path.stem}.skipped.csv")
    write_atomic(listing, reasons_csv(unreadable))
    return listing


def require_file(path: Path) -> None:
    """Refuse a file that cannot be written, before anything is predicted.

    Raises:
        ConfigError: `path` is a folder, or nothing can be written into its folder.
    """
    if path.is_dir():
        raise ConfigError(f"--out: {path} is a folder. Name a file, such as {path / 'predictions.csv'}.")
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(f"--out: nothing can be written into {there}. Name a file in another folder.")


def reasons_csv(reasons: Iterable[Reason]) -> str:
    """Return (path, reason) pairs as CSV."""
    buffer = io.StringIO()
    writer = csv.writer(buffer, lineterminator="\n")
    writer.writerow(["path", "reason"])
    writer.writerows([guard(path), guard(reason)] for path, reason in reasons)
    return buffer.getvalue()


def top_k(predictions: Predictions, k: int = 5) -> str:
    """Return the most probable classes of the first image, for people to read."""
    probs = predictions.probs_NK[0]
    order = np.argsort(-probs, kind="stable")[:k]
    width = max(len(predictions.classes[i]) for i in order)
    lines = [predictions.paths[0]]
    lines += [
        f"  {predictions.classes[i]:<{width}}  {probs[i]:.3f}  {'█' * round(24 * float(probs[i]))}".rstrip()
        for i in order
    ]
    return "\n".join(lines)


def unreadable_note(unreadable: Sequence[Reason], total: int) -> str:
    """Say how many of the inputs could not be read, and which."""
    told = some((f"{name} ({reason})" for name, reason in unreadable), 5)
    return f"{len(unreadable)} of {total} files could not be read and have no row: {told}"
