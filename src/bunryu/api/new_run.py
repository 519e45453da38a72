"""The verbs that make a run: train, resume and demo; and dry_run, which stops before."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bunryu.api.asked import root_of, settings_of
from bunryu.api.run import Run
from bunryu.core import caller, console
from bunryu.core.errors import ConfigError, nearest
from bunryu.inference.trust import Trust
from bunryu.runs.claim import require_new
from bunryu.runs.folder import RunFolder
from bunryu.settings.fields import keys
from bunryu.settings.run import RunSettings

if TYPE_CHECKING:
    from bunryu.api.asked import Data

Final = Literal["ensemble", "refit", "none"]


def train(
    data: Data | None = None,
    *overrides: str,
    recipe: str | None = None,
    out: str | os.PathLike[str] | None = None,
    minutes: float | None = None,
    folds: int | None = None,
    final: Final | None = None,
    quiet: bool = False,
    **mistaken: object,
) -> Run:
    """Train, measure and seal a classifier.

    Args:
        data: a folder of class folders, one with train/val/test, a CSV or TSV, or a DataFrame; or several of these
            paths by their splits, as ``{"train": "a/", "val": "b/"}``.
        overrides: ``section.key=value`` pairs, as on the command line.
        recipe: a recipe's name or a settings file; chosen by the model when None.
        out: the run folder; the next free ``runs/NAME-N`` when None.
        minutes: decide epochs and sizes so that everything fits into this time.
        folds: cross-validate: one run for each of so many folds, and a final model of all of them.
        final: of the folds: their models predicting together (ensemble, unless the settings say otherwise), one more
            run on all their rows (refit), or none.
        quiet: print nothing.
        mistaken: none; a setting given as a keyword is answered with how to give it.

    Returns:
        The finished run.

    Raises:
        BunryuError: with one message that says what, where and how to mend.
    """
    if mistaken:
        name, value = next(iter(mistaken.items()))
        raise ConfigError(_as_a_pair(name, value))
    with console.quietly(quiet):
        settings, frame, root = _of_training(data, overrides, recipe, out, minutes, folds, final)
        begin, _ = _one_or_folds(settings)
        where = Path(out) if out else None
        folder = begin(settings, frame=frame, out=where, root=root, minutes=minutes, began=caller.present().began)
        return _told(folder)


def dry_run(
    data: Data | None = None,
    *overrides: str,
    recipe: str | None = None,
    out: str | os.PathLike[str] | None = None,
    minutes: float | None = None,
    folds: int | None = None,
    final: Final | None = None,
    quiet: bool = False,
) -> None:
    """Plan what `train` would do, and take its first batch through the network, without making a run.

    Args:
        data: all as for `train`.
        overrides: likewise.
        recipe: likewise.
        out: likewise; nothing is written there.
        minutes: likewise.
        folds: likewise.
        final: likewise.
        quiet: print nothing: what would not allow the training is still raised.

    Raises:
        BunryuError: as `train`.
    """
    with console.quietly(quiet):
        settings, frame, _ = _of_training(data, overrides, recipe, out, minutes, folds, final)
        _, plan = _one_or_folds(settings)
        plan(settings, frame=frame, minutes=minutes, began=caller.present().began)


def _of_training(
    data: Data | None,
    overrides: Sequence[str],
    recipe: str | None,
    out: str | os.PathLike[str] | None,
    minutes: float | None,
    folds: int | None,
    final: Final | None,
) -> tuple[RunSettings, Any, Path]:
    """Return the settings of a training, its DataFrame if the data are one, and where runs get their folders."""
    asked = {name: value for name, value in (("k", folds), ("final", final)) if value is not None}
    own = {"folds": asked} if asked else {}
    settings, frame, _ = settings_of(data, overrides, own, recipe=recipe, minutes=minutes)
    if recipe is not None and recipe.endswith((".yaml", ".yml")):
        console.say(f"settings: {recipe}, and what it leaves out from the recipe '{settings.recipe}'")
    require_new(Path(out) if out else None)
    return settings, frame, root_of(out)


def _one_or_folds(settings: RunSettings) -> tuple[Callable[..., RunFolder], Callable[..., None]]:
    """Return what trains by these settings, and what only plans it: one run, or one for each fold."""
    from bunryu.workflows import cross_validate
    from bunryu.workflows import train as one

    if settings.folds.k:
        return cross_validate.cross_validate, cross_validate.dry_run
    return one.train, one.dry_run


def _told(folder: RunFolder) -> Run:
    """Show the results of a run that is finished, and what to type next; return it."""
    from bunryu.workflows import train as one

    one.say_results(folder, caller.present().show)
    return Run(folder)


def _as_a_pair(name: str, value: object) -> str:
    """Say how to give a setting that was given as a keyword: ``epochs=3``, ``train_epochs=3``."""
    whole = [key.name for key in keys(RunSettings)]
    known = [key for key in whole if name in (key.replace(".", "_"), key.split(".")[-1])]
    hint = f'train(data, "{known[0]}={value}")' if known else 'train(data, "train.epochs=3")'
    mean = "" if known else nearest(name.replace("_", "."), whole)
    return f"{name}={value!r}: settings are given by their whole names, as text: {hint}.{mean}"


def resume(run: str | os.PathLike[str], *, more_epochs: int = 0, trust_code: Trust = False, quiet: bool = False) -> Run:
    """Go on with a stopped training (of several folds, at the one it was in); with `more_epochs`, train a finished one
    further. `trust_code`: see `open_run`.
    """
    from bunryu.workflows.cross_validate import go_on

    with console.quietly(quiet):
        return _told(go_on(Path(run), more_epochs=more_epochs, trust=trust_code))


def demo(folder: str | os.PathLike[str] = "bunryu-demo", *, quiet: bool = False) -> Run:
    """Train on real handwritten digits that come with scikit-learn, offline, in a minute.

    Args:
        folder: gets the digits as class folders, and the run: run-1, the next time run-2.
        quiet: print nothing.

    Raises:
        DataError: `folder` holds digits that are not the demo's.
    """
    from bunryu.workflows.demo import run_demo

    with console.quietly(quiet):
        return Run(run_demo(Path(folder)))
