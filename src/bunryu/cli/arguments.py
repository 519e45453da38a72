"""What the commands share: how they stop, how options are typed, and how DATA is told from KEY=VALUE."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from bunryu.cli.sagemaker import ANSWERS, INPUTS, RUN, given_or
from bunryu.cli.usage_errors import ELSEWHERE, raise_plainly, told_plainly
from bunryu.core.errors import ConfigError, Interrupted, some

_TABLES = (".csv", ".tsv")
_PAIR = re.compile(r"^[A-Za-z_][A-Za-z0-9_.]*=")
DataAndPairs = Annotated[
    list[str] | None,
    typer.Argument(metavar="DATA [KEY=VALUE]", help="As for train. [DATA: $SM_CHANNEL_TRAIN]", show_default=False),
]
Format = Literal["csv", "csv-excel", "tsv", "jsonl"]
Tta = Annotated[
    str | None,
    typer.Option(metavar="VIEWS", help="Average over several views of a picture: hflip,crops,scales or some of them."),
]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Print errors and results only.")]


class DeviceName(StrEnum):
    """Where to compute."""

    auto = "auto"
    cuda = "cuda"
    mps = "mps"
    cpu = "cpu"


class LinkName(StrEnum):
    """How a file is laid out anew."""

    copy = "copy"
    hard = "hard"
    symlink = "symlink"


class WeightsName(StrEnum):
    """How much each model of an ensemble counts."""

    equal = "equal"
    fit = "fit"


class MeanName(StrEnum):
    """What an ensemble averages."""

    probabilities = "probabilities"
    logits = "logits"


class FinalName(StrEnum):
    """The final model of several folds."""

    ensemble = "ensemble"
    refit = "refit"
    none = "none"


TrustCode = Annotated[
    bool, typer.Option("--trust-code", help="Run the run's own copy of its network's code (of model.file).")
]
ModelFile = Annotated[Path | None, typer.Option(help="The file that the run's network is code of, as it was trained.")]
Device = Annotated[DeviceName, typer.Option(help="Where to compute.")]


class Commands(TyperGroup):
    """All commands; one that Ctrl-C stops says so, where typer leaves without a word."""

    def main(self, *args: Any, **options: Any) -> Any:
        """Be the whole command; what the parser says of options is an error like all others, in one line."""
        try:
            code = super().main(*args, **options | {"standalone_mode": False})
        except Exception as error:  # typer carries click within itself or not, by its version
            raise_plainly(error)
            raise
        sys.exit(code if isinstance(code, int) else 0)

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            raise Interrupted("Stopped.") from None
        except Exception as error:  # typer carries click within itself or not, by its version
            if usage := told_plainly(error, str(ctx.invoked_subcommand), sys.argv):
                raise ConfigError(usage) from None
            raise

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        """Find the command; one that is called otherwise elsewhere is told its name here."""
        if args[0] in ELSEWHERE and self.get_command(ctx, args[0]) is None:
            raise ConfigError(f"There is no command {args[0]!r}. Did you mean {ELSEWHERE[args[0]]!r}?")
        return super().resolve_command(ctx, args)


@contextmanager
def nothing_written() -> Iterator[None]:
    """Say of a Ctrl-C within the ``with`` that nothing was written."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Stopped; nothing was written.") from None


MOST_USED = (
    *("model.name", "input.size", "train.epochs", "train.batch_size", "optim.lr"),
    *("augment.hflip", "loss.class_weights", "split.val", "data.label_column", "train.seed"),
)
"""The settings that people change most often."""


class TrainCommand(TyperCommand):
    """The train command, whose --help explains the settings that people use most, and says where the others are."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as click calls it
        """Write settings below the options."""
        from bunryu.settings.fields import keys
        from bunryu.settings.recipes import defaults
        from bunryu.settings.run import RunSettings

        every = {key.name: key for key in keys(RunSettings)}
        told = []
        for name in MOST_USED:
            first, *_ = re.split(r"(?<=\.) (?=[A-Z])", " ".join(every[name].help.split()))
            told.append((name, f"{first} [{defaults(every[name])}]"))
        with formatter.section("Settings used most, as KEY=VALUE"):
            formatter.write_dl(told)
        formatter.write_paragraph()
        formatter.write_text(f"All {len(every)}: bunryu settings. Those about something: bunryu settings WORD")


def data_and_pairs(args: list[str] | None) -> tuple[str | None, list[str]]:
    """Tell the data from ``key=value`` pairs.

    Raises:
        ConfigError: several that are no pair.
    """
    args = args or []
    pairs = [arg for arg in args if _PAIR.match(arg) and not os.path.exists(arg)]  # noqa: PTH110 - any length
    rest = [arg for arg in args if arg not in pairs]
    if len(rest) > 1:
        raise ConfigError(
            f"Expected one DATA and then key=value settings, received {len(rest)} without '=': {', '.join(rest)}. "
            "For data in several places use --train-dir, --val-dir and --test-dir."
        )
    return (rest[0] if rest else None), pairs


def trusted(trust_code: bool, model_file: Path | None) -> bool | Path:
    """Return what code of the user's own may be run: none, the run's own copy, or a file.

    Raises:
        ConfigError: both were given.
    """
    if trust_code and model_file is not None:
        raise ConfigError(
            "--trust-code runs the run's own copy, --model-file the file that you name: give one of them."
        )
    return model_file or trust_code


def evaluated_run(args: list[str] | None) -> tuple[Path, list[str]]:
    """Return the run to evaluate, the one argument that is no ``key=value`` or what SM_CHANNEL_MODEL names, and the
    rest.

    Raises:
        ConfigError: no run.
    """
    arguments = args or []
    own = bool(arguments) and not (_PAIR.match(arguments[0]) and not os.path.exists(arguments[0]))  # noqa: PTH110
    run = given_or(arguments[0] if own else None, RUN, "run")
    if run is None:
        raise ConfigError("Which run? bunryu evaluate RUN")
    return Path(run), arguments[1:] if own else arguments


def run_and_inputs(args: list[str] | None) -> tuple[Path, list[str]]:
    """Return the run and what it is to predict.

    The first argument is the run, unless SM_CHANNEL_MODEL names one and the argument is none. What is to be
    predicted are the arguments after it, else what SM_CHANNEL_EVAL names.

    Raises:
        ConfigError: one of the two is missing.
    """
    from bunryu.api import is_run

    arguments = args or []
    first = Path(arguments[0]) if arguments else None
    own = first is not None and (not os.environ.get(RUN) or first.suffix == ".safetensors" or is_run(first))
    run = given_or(arguments[0] if own else None, RUN, "run")
    inputs = arguments[1:] if own else arguments
    if run is None:
        raise ConfigError("Which run, and which images? bunryu predict RUN IMAGES")
    asked = given_or(some(inputs, 3) if inputs else None, INPUTS, "images")
    if asked is None:
        raise ConfigError(f"Which images? bunryu predict {run} IMAGES: images, folders, globs, or a CSV of paths.")
    return Path(run), inputs or [asked]


def answers_file(out: Path | None, submission: Path | None, format: Format | None) -> Path | None:
    """Return the file for predictions: `out`, or one in the folder that SM_OUTPUT_DATA_DIR names."""
    named = given_or(None if out is None else str(out), ANSWERS, "predictions", there=False)
    if out is not None or named is None:
        return out
    ending = (format or "csv").removesuffix("-excel")
    return Path(named, f"{'predictions' if submission is None else 'submission'}.{ending}")


def table_of(given: Path | None, variable: str, noun: str, name: str) -> Path:
    """Return the table that was given, else the one in the folder (or the file) that the variable names.

    Args:
        given: the argument.
        variable: the name of the variable.
        noun: what the table holds.
        name: what the table is called where a folder holds several.

    Raises:
        ConfigError: there is none, or there are several and none of that name.
    """
    named = given_or(None if given is None else str(given), variable, noun)
    if named is None:
        raise ConfigError(f"Which {noun}? bunryu score PREDICTIONS.csv TRUTH.csv")
    if given is not None or not os.path.isdir(named):  # noqa: PTH112
        return Path(named)
    tables = sorted(path for path in Path(named).iterdir() if path.suffix.lower() in _TABLES)
    found = [path for path in tables if path.name == name] or tables
    if len(found) != 1:
        told = f"has several tables ({some(path.name for path in found)})" if found else "has no table"
        raise ConfigError(f"{variable}={named} {told}. Expected {name}, or name the table as an argument.")
    return found[0]
