"""`bunryu bench`: what a run costs on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import Quiet, data_and_pairs, of_source, settings_and_data
from bunryu.core import console
from bunryu.core.errors import ConfigError, typed


def bench(
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA [KEY=VALUE]", help="As for train. [DATA: $SM_CHANNEL_TRAIN]", show_default=False),
    ] = None,
    tune: Annotated[bool, typer.Option("--tune", help="Time other precisions and thread counts too.")] = False,
    out: Annotated[Path, typer.Option(help="With --tune: where the fastest settings go.")] = Path("tuned.yaml"),
    quiet: Quiet = False,
) -> None:
    """Time a few steps of a run on this machine.

    The pure step on a batch in memory, training from files, and prediction; with --tune, other ways to compute.
    """
    console.set_quiet(quiet)
    data, pairs = data_and_pairs(args or [])
    settings, _ = settings_and_data(pairs, of_source(data))
    if tune and out.exists():
        raise ConfigError(f"--out: {out} is there already, and is not overwritten. Name another file.")
    from bunryu.workflows import bench as benching

    found, plan = benching.bench(settings, tune=tune)
    console.result("\n".join([benching.HEADER, *(way.line() for way in found)]))
    if tune:
        best = benching.fastest(found)
        benching.write_tuned(out, best, plan)
        console.say(f"fastest: {best.precision}, {best.threads} threads: {out}")
        console.say(f"next: bunryu train {typed(data) if data else 'DATA'} --recipe {typed(out)}")
