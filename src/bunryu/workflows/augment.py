"""bunryu augment: copies of the training images on the disk, with a table that keeps them beside their originals.

Every copy has the group of its original, so whatever split is made of the table, no copy stands on another side.
"""

from __future__ import annotations

import io
import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bunryu.core import console
from bunryu.core.errors import ConfigError, DataError, ImageError, Interrupted, count, nearest, some
from bunryu.core.randomness import coming, comings, key_of, plain
from bunryu.core.storage import absolute as absolute_path
from bunryu.data.augment.batch import apply, draw
from bunryu.data.augment.per_image import pipeline, require_working
from bunryu.data.checks.check import Checked, Skipped
from bunryu.data.images.decode import Pixels, decode, fit
from bunryu.data.images.load import cores
from bunryu.data.splits.split_csv import write_split
from bunryu.data.table import Table, texts
from bunryu.runs.claim import claimed, require_new
from bunryu.settings.augment import NO_AUGMENT
from bunryu.settings.bounds import Colour
from bunryu.settings.data import InputSpec
from bunryu.settings.run import RunSettings, absolute, decode_spec
from bunryu.settings.validate import replaced
from bunryu.train.sampling import Rows, balanced
from bunryu.workflows.plan.data import check_data, find_data, require_exclusive
from bunryu.workflows.plan.record import write_skipped
from bunryu.workflows.plan.values import choose_range

FLIPS = {"horizontal": 1, "vertical": 0}
"""The axis of (H, W, C) that each turns round."""
COLOURS = {"white": (255, 255, 255), "black": (0, 0, 0)}
TABLE = "labels.csv"


@dataclass(frozen=True)
class Wish:
    """What is to be made.

    Attributes:
        square: pad every picture, in every split, to a square of this colour; not when None.
        flips: a mirror image of each training picture, for each of these.
        balance_to: random copies until each class has so many training pictures.
        copies: a random copy of each training picture (where nothing is balanced).
    """

    square: Colour | None = None
    flips: tuple[str, ...] = ()
    balance_to: int | None = None
    copies: bool = False


@dataclass(frozen=True)
class _Made:
    """One picture to write: of which row, and what is done to it ("" nothing, a flip, or a random copy's id)."""

    row: int
    change: str | int
    name: str


def read_wish(
    square: bool, colour: str | None, flip: str | Sequence[str], balance_to: int | None, operations: bool
) -> Wish:
    """Return what the options ask for.

    Raises:
        ConfigError: a colour or flip that is not known, or nothing to do.
    """
    flips = tuple(flip.split(",") if isinstance(flip, str) else flip) if flip else ()
    for name in flips:
        if name not in FLIPS:
            raise ConfigError(
                f"--flip: expected horizontal, vertical or both, received {name!r}.{nearest(name, FLIPS)}"
            )
    if not (square or flips or balance_to is not None or operations):
        raise ConfigError("Nothing to do: give --square, --flip, --balance-to N or --ops FILE.yaml.")
    if balance_to is not None and balance_to < 1:
        raise ConfigError(f"--balance-to: expected 1 image a class or more, received {balance_to}.")
    if colour is not None and colour != "white" and not square:
        raise ConfigError(f"--colour {colour} is the colour of --square's padding, which was not asked for.")
    padding = _colour(colour or "white") if square else None
    return Wish(padding, tuple(dict.fromkeys(flips)), balance_to, operations and balance_to is None)


def _colour(text: str) -> Colour:
    if text in COLOURS:
        return COLOURS[text]
    parts = text.split(",")
    if len(parts) == 3 and all(part.strip().isdigit() and int(part) < 256 for part in parts):
        red, green, blue = map(int, parts)
        return red, green, blue
    raise ConfigError(f"--colour: expected white, black or R,G,B (0 to 255 each), received {text!r}.")


def make(settings: RunSettings, out: Path, wish: Wish, *, frame: Any = None) -> Table:
    """Write the images and their copies; return the table of what was written.

    Raises:
        RunError: `out` is there already and not empty.
        DataError: what would not allow training.
        ConfigError: augmentation that cannot be, or a balance that adds nothing.
        Interrupted: Ctrl-C.
    """
    require_new(out, "augment")
    settings = absolute(settings)
    augment = settings.augment.settled()
    if (wish.balance_to is not None or wish.copies) and augment == NO_AUGMENT:
        raise ConfigError("augment.* change nothing, so all copies would be equal. Give others, or --ops FILE.yaml.")
    require_working(augment, _input(64, 64))
    require_exclusive(settings, "augment")
    checked = check_data(settings, find_data(settings, frame))
    table = checked.table
    settings, values = choose_range(settings, checked, table)
    if values:
        console.say(f"values: {values}")
    listed = list(_listed(table, wish, settings.train.seed))
    written = [TABLE, "skipped.csv", *(f"images/{made.name}" for made in listed)]
    with claimed("", out, out.parent, "augment", written):
        try:
            return _make(checked, listed, out, settings, wish)
        except KeyboardInterrupt:
            raise Interrupted(f"Stopped. The same command begins again in {out}.") from None


def _make(checked: Checked, listed: list[_Made], out: Path, settings: RunSettings, wish: Wish) -> Table:
    """Write the pictures and the table of them, and say what was made."""
    table = checked.table
    (out / "images").mkdir()
    failed = _write(table, listed, out / "images", settings, wish)
    for made in (made for made in listed if made.row in failed):
        (out / "images" / made.name).unlink(missing_ok=True)
    listed = [made for made in listed if made.row not in failed]
    if not listed:
        raise DataError(f"None of the images could be read: {some(failed.values(), 3)}.")
    skipped = [*checked.skipped, *(_skipped(table, row, why) for row, why in failed.items())]
    if skipped:
        write_skipped(out / "skipped.csv", skipped)
        console.say(f"{count(len(skipped), 'image')} skipped: listed in {out / 'skipped.csv'}", style="yellow")
    result = _table(table, listed, out)
    write_split(out / TABLE, result)
    _say(table, result, listed, out)
    return result


def _to_copy(table: Table) -> Rows:
    """Return the rows that may be copied: all but those given as validation or test."""
    return np.flatnonzero((table.splits == "train") | (table.splits == "")).astype(np.int64)


def _listed(table: Table, wish: Wish, seed: int) -> Iterator[_Made]:
    """Yield every picture to write: the originals, then flips, then random copies."""
    width = len(str(len(table)))

    def made(row: int, change: str | int, suffix: str) -> _Made:
        path = Path(table.file(row))
        return _Made(row, change, f"{row + 1:0{width}}_{path.stem}{suffix or path.suffix}")

    for row in range(len(table)):
        yield made(row, "", ".png" if wish.square else "")
    rows = _to_copy(table)
    for name in wish.flips:
        for row in rows.tolist():
            yield made(row, name, f"-{name}.png")
    keys = coming(rows, 1) if wish.copies else rows[:0]
    if wish.balance_to is not None:
        keys = _balancing(table, rows, wish.balance_to, len(wish.flips), seed)
    for key in keys.tolist():
        yield made(plain(key), key, f"-copy{comings(key)}.png")


def _balancing(table: Table, rows: Rows, to: int, flips: int, seed: int) -> Rows:
    """Return the copies (see `randomness.coming`) of rows that bring each class to `to`, with its flips counted."""
    labels, copies = table.target_labels[rows], [rows[:0]]
    for name in sorted(set(labels.tolist())):
        own = rows[labels == name]
        copies.append(balanced(own, np.zeros(len(own), np.int64), to - flips * len(own), seed, 0)[len(own) :])
    keys = np.concatenate(copies)
    if not len(keys):
        raise ConfigError(
            f"--balance-to {to} adds nothing: every class has so many images to train on. Give a larger number, or "
            "leave it out."
        )
    return keys


def _write(table: Table, listed: list[_Made], folder: Path, settings: RunSettings, wish: Wish) -> dict[int, str]:
    """Write every picture, in threads; return the rows that cannot be read, and why."""
    failed: dict[int, str] = {}
    write = partial(_write_one, table=table, folder=folder, settings=settings, wish=wish)
    pool = ThreadPoolExecutor(settings.data.workers or cores(), thread_name_prefix="bunryu-augment")
    try:
        with console.working("writing images", len(listed)) as task:
            for made, why in zip(listed, pool.map(write, listed), strict=True):
                if why:
                    failed[made.row] = why
                task.advance()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
    return failed


def _write_one(made: _Made, *, table: Table, folder: Path, settings: RunSettings, wish: Wish) -> str:
    """Write one picture; return why it cannot be read, or ""."""
    file, target = table.file(made.row), folder / made.name
    if made.change == "" and wish.square is None:
        shutil.copyfile(file, target)
        return ""
    try:
        pixels = decode(file, decode_spec(settings))
    except ImageError as error:
        return str(error)
    if wish.square is not None:
        side = max(pixels.shape[:2])
        pixels = fit(pixels, replaced(_input(side, side), {"fit": "pad", "pad_colour": wish.square}))
    buffer = io.BytesIO()
    Image.fromarray(changed(pixels, made.change, settings, wish)).save(buffer, "PNG")
    target.write_bytes(buffer.getvalue())
    return ""


def changed(pixels: Pixels, change: str | int, settings: RunSettings, wish: Wish) -> Pixels:
    """Return pixels (H, W, C) flipped, or augmented as a training row of this id would be; of the same size."""
    if isinstance(change, str):
        return np.flip(pixels, FLIPS[change]) if change else pixels
    augment, seed = settings.augment.settled(), settings.train.seed
    spec = replaced(_input(*pixels.shape[:2]), {"pad_colour": wish.square or settings.input.pad_colour})
    if augment.ops is not None:
        return pipeline(augment, spec)(pixels, key_of(seed, "augment", 0, change))
    batch = torch.from_numpy(pixels[None].copy())
    return apply(batch, draw(augment, seed, 0, np.array([change])), augment, spec)[0].numpy()


def _input(height: int, width: int) -> InputSpec:
    return InputSpec(height=height, width=width, mean=[0.5] * 3, std=[0.5] * 3)


def _skipped(table: Table, row: int, why: str) -> Skipped:
    return Skipped(str(table.paths[row]), str(table.target_labels[row]), str(table.splits[row]), why)


def _table(table: Table, listed: list[_Made], out: Path) -> Table:
    """Return what was written, each with the group of its original: its own, or one made of its path."""
    rows = np.array([made.row for made in listed], np.int64)
    took = table.take(rows)
    own = took.groups if took.groups is not None else texts([""] * len(rows))
    groups = [group or path for group, path in zip(own.tolist(), took.paths.tolist(), strict=True)]
    labels = {"label": took.target_labels} | {name: took.labels[name] for name in list(took.labels)[1:]}
    if (published := table.published.get(table.target)) is not None:
        labels["index"] = texts([str(published[name]) for name in took.target_labels])
    return Table(
        root=absolute_path(out),
        paths=texts([f"images/{made.name}" for made in listed]),
        labels=labels,
        splits=took.splits,
        groups=texts(groups),
    )


def _say(table: Table, result: Table, listed: list[_Made], out: Path) -> None:
    before = Counter(table.target_labels[_to_copy(table)].tolist())
    after = Counter(result.target_labels[_to_copy(result)].tolist())
    copies = sum(made.change != "" for made in listed)
    console.say(f"{count(len(listed), 'image')} in {out}: {len(listed) - copies:,} originals, {copies:,} copies")
    told = some([f"{name} {before[name]:,} to {after[name]:,}" for name in sorted(after)], 12)
    console.say(f"to train on: {told}")
    if (result.splits == "").any():
        console.say(
            "no split is given, so copies will be validated on too, with their originals; to validate on originals "
            "alone, give one first: bunryu split",
            style="yellow",
        )
