"""The command. A verb is a file beside this one, which parses, calls and prints."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from bunryu import __version__
from bunryu.cli.arguments import Commands, TrainCommand
from bunryu.cli.augment import augment
from bunryu.cli.bench import bench
from bunryu.cli.demo import demo
from bunryu.cli.ensemble import ensemble
from bunryu.cli.evaluate import evaluate
from bunryu.cli.lookup import recipes, settings
from bunryu.cli.predict import predict
from bunryu.cli.probe import probe
from bunryu.cli.sagemaker import CommandLine
from bunryu.cli.score import score
from bunryu.cli.split import split
from bunryu.cli.train import train
from bunryu.core import caller, console, distributed
from bunryu.core.errors import BunryuError, ConfigError, Interrupted
from bunryu.core.process import collect_seldom, end_at_once, keep_freed_memory, wait_patiently

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

app.command()(demo)
app.command(cls=TrainCommand)(train)
for command in (evaluate, predict, probe, bench, ensemble, split, augment, score, settings, recipes):
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
    with console.guarded():
        try:
            with caller.called_by(CommandLine()):
                app()
        except Interrupted as stop:
            distributed.let_first_speak()
            console.stopped(*stop.args)
            sys.exit(stop.exit_code)
        except BunryuError as error:
            distributed.let_first_speak()
            console.fail(*error.args)
            sys.exit(error.exit_code)
        except OSError as error:
            if error.filename is None:
                raise
            console.fail(f"{error.filename}: {error.strerror}.")
            sys.exit(2)
