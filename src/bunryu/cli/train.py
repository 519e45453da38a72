"""`bunryu train`: a run, a cross-validation, or one of them gone on with."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bunryu.cli.arguments import (
    FinalName,
    ModelFile,
    Quiet,
    TrustCode,
    data_and_pairs,
    nothing_written,
    trusted,
)
from bunryu.core import console
from bunryu.core.errors import ConfigError

if TYPE_CHECKING:
    from bunryu.api.new_run import Final

DataAndSettings = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="DATA [KEY=VALUE]",
        help="A folder or a table, and settings as train.epochs=10. [DATA: $SM_CHANNEL_TRAIN]",
        show_default=False,
    ),
]
Minutes = Annotated[
    float | None, typer.Option(min=0.1, help="Decide epochs and sizes so that everything fits into this time.")
]
Folds = Annotated[
    int | None, typer.Option(min=2, help="Cross-validate: a run for each of so many folds, and a final model.")
]


def train(
    args: DataAndSettings = None,
    recipe: Annotated[str | None, typer.Option(help="A recipe's name, or a settings file.")] = None,
    out: Annotated[Path | None, typer.Option(help="The run folder. [runs/NAME-N, or $SM_MODEL_DIR/NAME-N]")] = None,
    train_dir: Annotated[str | None, typer.Option(help="Class folders or a CSV to train on.")] = None,
    val_dir: Annotated[str | None, typer.Option(help="Class folders or a CSV to validate on.")] = None,
    test_dir: Annotated[str | None, typer.Option(help="Class folders or a CSV to test on.")] = None,
    resume: Annotated[Path | None, typer.Option(help="Go on with this run from its last checkpoint.")] = None,
    more_epochs: Annotated[int, typer.Option(min=0, help="With --resume: train a finished run further.")] = 0,
    minutes: Minutes = None,
    folds: Folds = None,
    final: Annotated[FinalName | None, typer.Option(help="With --folds: the final model. [ensemble]")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Go to the first batch; make no run.")] = False,
    trust_code: TrustCode = False,
    model_file: ModelFile = None,
    quiet: Quiet = False,
) -> None:
    """Train, measure and seal an image classifier."""
    console.set_quiet(quiet)
    chosen: Final | None = None if final is None else final.value
    if resume is not None:
        given = (*(args or []), recipe, out, train_dir, val_dir, test_dir, minutes, folds, chosen, dry_run or None)
        require_alone(given)
        from bunryu import api

        api.resume(resume, more_epochs=more_epochs, trust_code=trusted(trust_code, model_file))
        return
    require_nothing_of_resume(more_epochs, trust_code or model_file is not None)
    data, pairs = data_and_pairs(args)
    paths = {"source": data, "train": train_dir, "val": val_dir, "test": test_dir}
    named = {name: path for name, path in paths.items() if path is not None}
    with nothing_written():
        from bunryu import api

        verb = api.dry_run if dry_run else api.train
        verb(named, *pairs, recipe=recipe, out=out, minutes=minutes, folds=folds, final=chosen)


def require_alone(given: Iterable[object]) -> None:
    """Refuse what was given beside --resume.

    Raises:
        ConfigError: something was.
    """
    if any(value is not None for value in given):
        raise ConfigError(
            "--resume goes on with the run exactly as it was set up, so it takes no data, settings or other "
            "options. For more epochs: --resume RUN --more-epochs N"
        )


def require_nothing_of_resume(more_epochs: int, trusts: bool) -> None:
    """Refuse options that belong to --resume.

    Raises:
        ConfigError: naming them.
    """
    if more_epochs:
        raise ConfigError("--more-epochs belongs to --resume RUN. For a new run: train.epochs=N")
    if trusts:
        raise ConfigError(
            "--trust-code and --model-file belong to --resume RUN. For a new run: model.file=FILE.py:NAME"
        )
