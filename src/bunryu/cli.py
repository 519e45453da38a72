"""The command: a function per verb that parses, calls and prints. Torch is imported inside, when it is needed."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from bunryu import __version__
from bunryu.commands import (
    ORIGIN,
    Commands,
    Device,
    DeviceName,
    FinalName,
    Format,
    ModelFile,
    Quiet,
    TrainCommand,
    TrustCode,
    Tta,
    answers_file,
    data_and_pairs,
    evaluated_run,
    nothing_written,
    run_and_inputs,
    runs_folder,
    settings_and_data,
    trusted,
)
from bunryu.core import console, distributed
from bunryu.core.errors import BunryuError, ConfigError, Interrupted
from bunryu.core.process import collect_seldom, end_at_once, keep_freed_memory, wait_patiently
from bunryu.reference import recipes, settings
from bunryu.side_commands import augment, bench, ensemble, probe, score, split

app = typer.Typer(
    cls=Commands,
    name="bunryu",
    help="From a folder or a table of images to a classifier you can trust, explain and ship.",
    epilog="Start with: bunryu demo, then: bunryu train photos/",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)

_BEGAN = time.monotonic()


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="Where digits and run go.")] = Path("bunryu-demo"),
    quiet: Quiet = False,
) -> None:
    """Train on real handwritten digits, offline, in a minute."""
    from bunryu.workflows.demo import run_demo

    console.set_quiet(quiet)
    run_demo(folder)


@app.command(cls=TrainCommand)
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


@app.command()
def evaluate(
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN [KEY=VALUE]",
            help="The run folder [$SM_CHANNEL_MODEL], and data.* and evaluate.* settings.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Labelled data. [the run's own validation and test rows]")] = None,
    out: Annotated[Path | None, typer.Option(help="Where results go. [RUN/evaluate-N]")] = None,
    name: Annotated[str | None, typer.Option(help="What the data are called in the results. [test]")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="One of RUN/checkpoints/ instead of the sealed model, such as stage-1-head.")
    ] = None,
    device: Device = DeviceName.auto,
    tta: Tta = None,
    trust_code: TrustCode = False,
    model_file: ModelFile = None,
    quiet: Quiet = False,
) -> None:
    """Measure a run on its own or other labelled data.

    Without --data: its validation and test rows.
    """
    from bunryu.data.sources.read import require_path
    from bunryu.inference.trust import trust_model
    from bunryu.inference.tta import parse_tta
    from bunryu.runs.folder import open_folder
    from bunryu.settings.load import evaluation_settings

    console.set_quiet(quiet)
    views = parse_tta(tta)
    run, pairs = evaluated_run(args or [])
    folder = open_folder(run)
    evaluation_settings(folder.settings if folder.config.exists() else None, pairs, ORIGIN)
    if data is not None:
        require_path(data)
    trust_model(folder.path, trusted(trust_code, model_file))
    from bunryu.workflows import evaluate as evaluation

    found = evaluation.evaluate(
        folder, data, out=out, name=name, overrides=pairs, device=device.value, tta=views, checkpoint=checkpoint
    )
    console.result(repr(found))


@app.command()
def predict(
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN IMAGES",
            help="The run folder or a model file [$SM_CHANNEL_MODEL]; images, folders, globs, or a CSV of paths "
            "[$SM_CHANNEL_EVAL].",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write: .csv, .tsv or .jsonl; - is standard output. "
            "[-, or $SM_OUTPUT_DATA_DIR/predictions.csv]"
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            help="csv-excel is a CSV that Excel opens with Hangul right. [by --out; a list for one image file]"
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures in one forward pass.")] = 32,
    image_root: Annotated[str | None, typer.Option(help="What a CSV's paths are relative to. [its folder]")] = None,
    submission: Annotated[
        Path | None,
        typer.Option(help="A competition's sample file: --out gets its rows and columns, filled in."),
    ] = None,
    device: Device = DeviceName.auto,
    tta: Tta = None,
    trust_code: TrustCode = False,
    model_file: ModelFile = None,
    quiet: Quiet = False,
) -> None:
    """Predict images.

    The exit code is 2 if some of them could not be read.
    """
    console.set_quiet(quiet)
    run, inputs = run_and_inputs(args or [])
    out = answers_file(out, submission, format)
    file = None if out == Path("-") else out
    with nothing_written():
        from bunryu.inference.trust import trust_model
        from bunryu.inference.tta import parse_tta
        from bunryu.ship import predict as ship

        views = parse_tta(tta)
        trust_model(run, trusted(trust_code, model_file))
        found = ship.predict(
            run,
            inputs,
            batch_size=batch_size,
            image_root=image_root,
            out=file,
            format=format,
            submission=submission,
            device=device.value,
            tta=views,
        )
    if submission is not None:
        return
    if out is None and format is None and found.predictions.paths == inputs[:1] == inputs:
        console.result(ship.top_k(found.predictions))
    elif file is None:
        ship.show(found.predictions, format or "csv")
    if found.unreadable:
        console.fail(found.unreadable_note())
        raise typer.Exit(2)


for command in (probe, bench, ensemble, split, augment, score, settings, recipes):
    app.command()(command)


def version(show: bool) -> None:
    """Print the version and leave."""
    if show:
        print(f"bunryu {__version__}")
        raise typer.Exit


@app.callback()
def options(
    ctx: typer.Context,
    _: Annotated[bool, typer.Option("--version", callback=version, is_eager=True, help="Print the version.")] = False,
) -> None:
    """From a folder or a table of images to a classifier you can trust, explain and ship."""
    if distributed.asked() > 1 and ctx.invoked_subcommand != "train":
        raise ConfigError(
            f"{distributed.asked()} processes were started (by torchrun?), and only `bunryu train` shares its work "
            f"among several. Start it once: bunryu {ctx.invoked_subcommand} ..."
        )


def entry() -> None:
    """Be the command: run it, and end the process."""
    try:
        main()
    except SystemExit as ended:
        if distributed.world() == 1 and isinstance(ended.code, int | None):
            end_at_once(ended.code or 0)
        raise


def main() -> None:
    """Run the command; print an error of ours as one message, without a traceback."""
    wait_patiently()
    keep_freed_memory()
    collect_seldom()
    console.use_utf8()
    try:
        app()
    except Interrupted as stop:
        distributed.let_first_speak()
        print(stop, file=sys.stderr)
        sys.exit(stop.exit_code)
    except BunryuError as error:
        distributed.let_first_speak()
        console.fail(str(error))
        sys.exit(error.exit_code)
    except OSError as error:
        if error.filename is None:
            raise
        console.fail(f"{error.filename}: {error.strerror}.")
        sys.exit(2)
