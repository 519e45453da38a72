"""bunryu split: the split of a run as folders on the disk, DIR/train/CLASS/FILE, without training anything."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from pathlib import Path
from typing import Any, Literal

from bunryu.core import console
from bunryu.core.errors import ConfigError, DataError, count, some
from bunryu.data.splits.split_csv import write_split
from bunryu.data.table import SPLITS, Table
from bunryu.runs.claim import claimed, require_new
from bunryu.settings.run import RunSettings, absolute
from bunryu.workflows.plan.data import find_data, read_data, require_exclusive, require_one_run

Link = Literal["copy", "hard", "symlink"]
_UNSAFE = set('/\\:*?"<>|\0')


def split(settings: RunSettings, out: Path, *, frame: Any = None, link: Link = "copy") -> Table:
    """Check the data, split them as training would, and lay the split out as folders.

    The files stay as they are, and where they are. `out` also gets split.csv, which `split.file` takes.

    Args:
        settings: data.* and split.* decide.
        out: a new or empty folder.
        frame: a DataFrame instead of `data.source`.
        link: copy the files, or link to them (hard links need the same disk).

    Raises:
        RunError: `out` is not empty.
        ConfigError: links to images in an archive.
        DataError: what would not allow training, or class names that cannot be folders.
    """
    require_new(out, "split")
    require_one_run(settings)
    require_exclusive(settings, "split lays out a folder a class and")
    settings = absolute(settings)
    found = find_data(settings, frame)
    if found.unpacked and link != "copy":
        raise ConfigError(
            f"--link {link}: the images are in {next(iter(found.unpacked))}, and links would lead into the cache, "
            "where it is unpacked. Leave it out: the files are copied."
        )
    table, _ = read_data(settings, found)
    targets = _targets(table)
    written = ["split.csv", *(target.as_posix() for target in targets)]
    with claimed("", out, out.parent, "split", written):
        _lay_out(table, targets, out, link)
    counts = Counter(table.splits.tolist())
    told = ", ".join(f"{name} {counts[name]:,}" for name in SPLITS if counts[name])
    console.say(f"{count(len(table), 'image')} in {out}: {told} (split.csv)")
    return table


def _lay_out(table: Table, targets: list[Path], out: Path, link: Link) -> None:
    """Write every file, and the table last."""
    with console.working("copying" if link == "copy" else "linking", len(table)) as task:
        for row, target in enumerate(targets):
            _place(Path(table.file(row)), out / target, link)
            task.advance()
    write_split(out / "split.csv", table)


def only_in_the_table(table: Table) -> list[str]:
    """Return what is known of the images that folders of classes cannot say."""
    known = {
        "the numbers of its classes": bool(table.published.get(table.target)),
        f"the labels {', '.join(table.attributes)}": bool(table.attributes),
        "the groups": table.groups is not None,
    }
    return [name for name, is_there in known.items() if is_there]


def _targets(table: Table) -> list[Path]:
    """Return where each row goes; of two files with one name, the second gets a number."""
    wrong = sorted({name for name in table.target_labels.tolist() if set(name) & _UNSAFE or not name.strip(". ")})
    if wrong:
        raise DataError(f"{count(len(wrong), 'class name')} cannot be a folder: {some(map(repr, wrong))}.")
    taken: Counter[str] = Counter()
    found = []
    for row in range(len(table)):
        name = Path(table.file(row)).name
        folder = Path(str(table.splits[row]), str(table.target_labels[row]))
        key = str(folder / name).casefold()
        taken[key] += 1
        number = taken[key]
        target = folder / name
        found.append(target if number == 1 else target.with_stem(f"{target.stem}-{number}"))
    return found


def _place(file: Path, target: Path, link: Link) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    match link:
        case "copy":
            shutil.copyfile(file, target)
        case "hard":
            os.link(file, target)
        case "symlink":
            target.symlink_to(file.absolute())
