"""The command line as a caller; and what no argument names, named by variables as Amazon SageMaker sets them."""

from __future__ import annotations

import os
import time
from pathlib import Path

from bunryu.core import console, distributed
from bunryu.core.caller import Caller
from bunryu.core.errors import ConfigError

DATA, RUNS, INPUTS = "SM_CHANNEL_TRAIN", "SM_MODEL_DIR", "SM_CHANNEL_EVAL"
RUN, ANSWERS, TRUTH = "SM_CHANNEL_MODEL", "SM_OUTPUT_DATA_DIR", "SM_GROUND_TRUTH_DIR"
"""Environment variables, as Amazon SageMaker sets them, that name what no argument names; see `given_or`."""


def given_or(given: str | None, variable: str, noun: str, *, there: bool = True) -> str | None:
    """Return what was given, else what the environment variable names; where it is set, say which of them counts.

    An empty variable counts as not set.

    Args:
        given: what the arguments and settings name, if they do.
        variable: the name of the variable.
        noun: what it names, for the echo.
        there: whether it has to be there already.

    Raises:
        ConfigError: the variable names something that is not there.
    """
    named = os.environ.get(variable)
    if not named:
        return given
    if given is None and there and not os.path.exists(named):  # noqa: PTH110 - any length
        raise ConfigError(
            f"{variable}={named}: there is no such file or folder. Set it to the {noun}, or name them as an argument, "
            "which wins over the variable."
        )
    if distributed.first():
        told = (
            f"{given} (as given; {variable}={named} is not used)" if given is not None else f"{named} (from {variable})"
        )
        console.say(f"{noun}: {told}")
    return named if given is None else given


class CommandLine(Caller):
    """The command line, as who calls a verb: environment variables name what it does not, results go to standard
    output, and time is counted from the beginning of the process.
    """

    origin = "the command line"
    began = time.monotonic()

    def source(self, given: str | None) -> str | None:
        """Return the data that were named, else those that SM_CHANNEL_TRAIN names."""
        return given_or(given, DATA, "data")

    def root(self, out: Path | None) -> Path | None:
        """Return the folder in which runs get their own, where SM_MODEL_DIR names it."""
        named = given_or(None if out is None else str(out), RUNS, "run" if out else "runs", there=False)
        return Path(named) if named and out is None else None

    def show(self, *lines: str, style: str | None = None) -> None:  # noqa: ARG002 - results are plain
        """Print a result on standard output."""
        console.result(*lines)
