"""`bunryu ensemble`: several runs that predict together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import MeanName, Quiet, WeightsName, nothing_written
from bunryu.core import console


def ensemble(
    runs: Annotated[list[Path], typer.Argument(help="Two or more runs.", show_default=False)],
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    weights: Annotated[
        WeightsName, typer.Option(help="Equal, or fitted on the rows that all were validated on.")
    ] = WeightsName.equal,
    mean: Annotated[
        MeanName, typer.Option(help="What is averaged: probabilities, or the scores before (logits).")
    ] = MeanName.probabilities,
    quiet: Quiet = False,
) -> None:
    """Let several runs predict together.

    Copies their models into a folder that predict and evaluate take.
    """
    console.set_quiet(quiet)
    from bunryu import api

    with nothing_written():
        api.ensemble(runs, out=out, weights=weights.value, mean=mean.value)
