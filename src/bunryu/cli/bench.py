"""`bunryu bench`: what a run costs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import DataAndPairs, Quiet, data_and_pairs
from bunryu.core import console


def bench(
    args: DataAndPairs = None,
    tune: Annotated[bool, typer.Option("--tune", help="Time other precisions and thread counts too.")] = False,
    out: Annotated[Path, typer.Option(help="With --tune: where the fastest settings go.")] = Path("tuned.yaml"),
    quiet: Quiet = False,
) -> None:
    """Time a few steps of a run on this machine.

    The pure step on a batch in memory, training from files, and prediction; with --tune, other ways to compute.
    """
    console.set_quiet(quiet)
    data, pairs = data_and_pairs(args)
    from bunryu import api

    api.bench(data, *pairs, tune=tune, out=out)
