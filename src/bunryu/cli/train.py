"""`bunryu train`: a run, a cross-validation, or one of them gone on with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import (
    FinalName,
    ModelFile,
    Quiet,
    TrustCode,
    data_and_pairs,
    nothing_written,
    runs_folder,
    settings_and_data,
    trusted,
)
from bunryu.core import console
from bunryu.core.errors import ConfigError

_BEGAN = time.monotonic()
"""When the command began: `--minutes` counts from here."""


def train(
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA [KEY=VALUE]",
            help="A folder or a table, and settings as train.epochs=10. [DATA: $SM_CHANNEL_TRAIN]",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name, or a settings file.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. [runs/NAME-N, or $SM_MODEL_DIR/NAME-N]")] = None,
    train_dir: Annotated[str | None, typer.Option(help="Class folders or a CSV to train on.")] = None,
    val_dir: Annotated[str | None, typer.Option(help="Class folders or a CSV to validate on.")] = None,
    test_dir: Annotated[str | None, typer.Option(help="Class folders or a CSV to test on.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run from its last checkpoint.")] = None,
    more_epochs: Annotated[int, typer.Option(min=0, help="With --resume: train a finished run further.")] = 0,
    minutes: Annotated[
        float | None, typer.Option(min=0.1, help="Decide epochs and sizes so that everything fits into this time.")
    ] = None,
    folds: Annotated[
        int | None, typer.Option(min=2, help="Cross-validate: a run for each of so many folds, and a final model.")
    ] = None,
    final: Annotated[FinalName | None, typer.Option(help="With --folds: the final model. [ensemble]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Go to the first batch; make no run.")] = False,
    trust_code: TrustCode = False,
    model_file: ModelFile = None,
    quiet: Quiet = False,
) -> None:
    """Train, measure and seal an image classifier."""
    console.set_quiet(quiet)
    if resume is not None:
        given = (*(args or []), recipe, out, train_dir, val_dir, test_dir, minutes, folds, final, dry_run or None)
        if any(value is not None for value in given):
            raise ConfigError(
                "--resume goes on with the run exactly as it was set up, so it takes no data, settings or other "
                "options. For more epochs: --resume RUN --more-epochs N"
            )
        from bunryu.workflows import cross_validate
        from bunryu.workflows import train as experiment

        trust = trusted(trust_code, model_file)
        experiment.say_results(cross_validate.go_on(resume, more_epochs=more_epochs, trust=trust), console.result)
        return
    if more_epochs:
        raise ConfigError("--more-epochs belongs to --resume RUN. For a new run: train.epochs=N")
    if trust_code or model_file is not None:
        raise ConfigError(
            "--trust-code and --model-file belong to --resume RUN. For a new run: model.file=FILE.py:NAME"
        )
    data, pairs = data_and_pairs(args or [])
    sources = {"source": data, "train": train_dir, "val": val_dir, "test": test_dir}
    asked = {"k": folds, "final": None if final is None else final.value}
    values = {
        section: {name: value for name, value in given.items() if value is not None}
        for section, given in (("data", sources), ("folds", asked))
    }

    with nothing_written():
        settings, _ = settings_and_data(pairs, values, recipe=recipe, minutes=minutes)
        from bunryu.runs.folder import require_new

        require_new(out)
        root = runs_folder(out)
        from bunryu.workflows import cross_validate
        from bunryu.workflows import train as experiment

        if dry_run:
            plan = cross_validate.dry_run if settings.folds.k else experiment.dry_run
            plan(settings, minutes=minutes, began=_BEGAN)
            return
        train_all = cross_validate.cross_validate if settings.folds.k else experiment.train
        folder = train_all(settings, out=out, root=root, minutes=minutes, began=_BEGAN)
    experiment.say_results(folder, console.result)
