"""`bunryu probe`: what frozen weights reach."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import DataAndPairs, Quiet, data_and_pairs
from bunryu.core import console


def probe(
    args: DataAndPairs = None,
    backbone: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME[=WEIGHTS]", help="A backbone to try; give it several times to compare. [model.name]"
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Where results go. [runs/NAME-probe-N, or $SM_MODEL_DIR/...]")
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Tell in a minute what pretrained weights reach.

    Cross-validates linear heads on the features of one or several backbones, and writes the recipe to train next.
    """
    console.set_quiet(quiet)
    data, pairs = data_and_pairs(args)
    from bunryu import api

    api.probe(data, *pairs, backbones=backbone or (), out=out)
