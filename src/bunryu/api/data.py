"""The verbs that take data and train no run: probe and bench, which try, split and augment, which write."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bunryu.api.asked import as_typed, root_of, settings_of
from bunryu.core import caller, console
from bunryu.core.errors import ConfigError, typed
from bunryu.runs.claim import require_new
from bunryu.settings.load import augment_settings, require_of_splits

if TYPE_CHECKING:
    import pandas as pd

    from bunryu.api.asked import Data
    from bunryu.workflows.bench import Benched
    from bunryu.workflows.probe_report import Probed


def probe(
    data: Data | None = None,
    *overrides: str,
    backbones: Sequence[str] = (),
    out: str | os.PathLike[str] | None = None,
    quiet: bool = False,
) -> Probed:
    """Tell in a minute what frozen weights reach: cross-validated linear heads on the features of backbones.

    Args:
        data: as for `train`.
        overrides: ``section.key=value`` pairs, as for `train`.
        backbones: NAME or NAME=WEIGHTS each; model.name and model.weights when empty.
        out: where results go, a recipe to train next among them; the next free ``runs/NAME-probe-N`` when None.
        quiet: print nothing.

    Returns:
        What was tried, the best first.

    Raises:
        BunryuError: with one message that says what, where and how to mend.
    """
    with console.quietly(quiet):
        _, frame, values = settings_of(data, overrides)
        require_new(Path(out) if out else None, "probe")
        root = root_of(out)
        from bunryu.workflows import probe as probing
        from bunryu.workflows.probe_report import advice

        found = probing.probe(overrides, backbones, values, frame=frame, out=Path(out) if out else None, root=root)
        caller.present().show(*repr(found).split("\n"))
        for line in (*advice(found), *found.look):
            console.say(line)
        files = "report.txt, probe.json, predictions_oof.csv" + (", review.csv, review.png" if found.look else "")
        console.say(f"probe: {found.path} ({files})")
        decided = ("model.name=", "model.weights=", "loss.", "decision.tau=")
        given = [*as_typed(data), *(typed(pair) for pair in overrides if not pair.startswith(decided))]
        console.say(f"next: bunryu train {' '.join([*given, '--recipe', typed(found.path / 'recipe.yaml')])}")
    return found


def bench(
    data: Data | None = None,
    *overrides: str,
    tune: bool = False,
    out: str | os.PathLike[str] = "tuned.yaml",
    quiet: bool = False,
) -> Benched:
    """Time a few steps of a run on this machine: on a batch in memory, from files, and prediction.

    Args:
        data: as for `train`.
        overrides: ``section.key=value`` pairs, as for `train`.
        tune: time other precisions and thread counts too.
        out: with `tune`, a new file that gets the fastest settings.
        quiet: print nothing.

    Returns:
        Each way to compute with its images a second; the first is what a run would take.

    Raises:
        ConfigError: `out` is there already.
        BunryuError: whatever does not allow the run.
    """
    file = Path(out)
    with console.quietly(quiet):
        settings, frame, _ = settings_of(data, overrides)
        if tune and file.exists():
            raise ConfigError(f"--out: {file} is there already, and is not overwritten. Name another file.")
        from bunryu.workflows.bench import bench as time_ways

        found = time_ways(settings, frame=frame, tune=tune)
        caller.present().show(*repr(found).split("\n"))
        if tune:
            found.write(file)
            console.say(f"fastest: {found.fastest.precision}, {found.fastest.threads} threads: {file}")
            console.say(f"next: bunryu train {' '.join(as_typed(data)) or 'DATA'} --recipe {typed(file)}")
    return found


def split(
    data: Data | None = None,
    *overrides: str,
    out: str | os.PathLike[str],
    link: Literal["copy", "hard", "symlink"] = "copy",
    quiet: bool = False,
) -> pd.DataFrame:
    """Lay the split of the data out as folders, OUT/train/CLASS/FILE, without training anything.

    Args:
        data: as for `train`.
        overrides: ``data.key=value`` and ``split.key=value`` pairs.
        out: a new or empty folder; it also gets split.csv.
        link: copy the files, or link to them.
        quiet: print nothing.

    Returns:
        path, label, split (and group) of every row.

    Raises:
        BunryuError: with one message that says what, where and how to mend.
    """
    require_of_splits(overrides)
    with console.quietly(quiet):
        settings, frame, _ = settings_of(data, overrides)
        from bunryu.workflows.split import only_in_the_table
        from bunryu.workflows.split import split as lay_out

        table = lay_out(settings, Path(out), frame=frame, link=link)
        console.say(f"next: bunryu train {typed(out)}")
        if lost := only_in_the_table(table):
            again = [settings.data.source, *(pair for pair in overrides if pair.startswith("data."))]
            command = " ".join(typed(part) for part in [*again, f"split.file={Path(out) / 'split.csv'}"] if part)
            console.say(f"folders do not hold {' and '.join(lost)}; the same split with them: bunryu train {command}")
    import pandas as pd

    return pd.DataFrame(table.named_columns()).drop(columns="digest", errors="ignore")


def augment(
    data: Data | None = None,
    *overrides: str,
    out: str | os.PathLike[str],
    square: bool = False,
    colour: str = "white",
    flip: str | Sequence[str] = (),
    balance_to: int | None = None,
    ops: str | os.PathLike[str] | None = None,
    quiet: bool = False,
) -> pd.DataFrame:
    """Write the images and copies of those to train on into a new folder, with a table that `train` takes.

    Where the data have splits, only rows of train are copied; the others are written as they are (or squared).

    Args:
        data: as for `train`; it stays as it is.
        overrides: pairs of data.*, decode.*, augment.* and train.seed.
        out: a folder that is not there yet; gets images/, labels.csv and skipped.csv.
        square: pad every picture to a square.
        colour: of the padding: white, black or R,G,B.
        flip: horizontal, vertical, or both with a comma: such a mirror image of each picture.
        balance_to: random copies, by augment.*, until each class has so many.
        ops: a settings file with the augment.* of the random copies; without `balance_to` one of each picture.
        quiet: print nothing.

    Returns:
        path, label, group and split of every image written.

    Raises:
        BunryuError: with one message that says what, where and how to mend.
    """
    with console.quietly(quiet):
        file = None if ops is None else os.fspath(ops)
        balances = balance_to is not None
        settings, frame, _ = settings_of(data, overrides, load=augment_settings, file=file, balances=balances)
        from bunryu.workflows.augment import TABLE, make, read_wish

        table = make(settings, Path(out), read_wish(square, colour, flip, balance_to, ops is not None), frame=frame)
        console.say(f"next: bunryu train {typed(Path(out) / TABLE)}")
    import pandas as pd

    return pd.DataFrame(table.named_columns())
