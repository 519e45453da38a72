"""What the commands share: how they stop, how options are typed, and how DATA is told from KEY=VALUE."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import Annotated, Any, Literal

import typer
from typer.core import TyperCommand, TyperGroup

from bunryu.errors import ConfigError, Interrupted
from bunryu.usage import told_plainly

_PAIR = re.compile(r"^[A-Za-z_][A-Za-z0-9_.]*=")
ORIGIN = "the command line"
"""Where settings come from, for messages."""
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


Device = Annotated[DeviceName, typer.Option(help="Where to compute.")]


class Commands(TyperGroup):
    """All commands; one that Ctrl-C stops says so, where typer leaves without a word."""

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


@contextmanager
def nothing_written() -> Iterator[None]:
    """Say of a Ctrl-C within the ``with`` that nothing was written."""
    try:
        yield
    except KeyboardInterrupt:
        raise Interrupted("Stopped; nothing was written.") from None


class TrainCommand(TyperCommand):
    """The train command, whose --help explains every setting too."""

    def format_epilog(self, ctx: Any, formatter: Any) -> None:  # noqa: ARG002 - as click calls it
        """Write the settings below the options."""
        from bunryu.config import keys
        from bunryu.settings import RunSettings, defaults

        told = [(key.name, f"{' '.join(key.help.split())} [{key.type}; {defaults(key)}]") for key in keys(RunSettings)]
        with formatter.section("Settings, as KEY=VALUE (one of them: bunryu settings WORD)"):
            formatter.write_dl(told)


def data_and_pairs(args: list[str]) -> tuple[str | None, list[str]]:
    """Tell the data from ``key=value`` pairs."""
    pairs = [arg for arg in args if _PAIR.match(arg) and not os.path.exists(arg)]  # noqa: PTH110 - any length
    rest = [arg for arg in args if arg not in pairs]
    if len(rest) > 1:
        raise ConfigError(
            f"Expected one DATA and then key=value settings, received {len(rest)} without '=': {', '.join(rest)}. "
            "For data in several places use --train-dir, --val-dir and --test-dir."
        )
    return (rest[0] if rest else None), pairs
