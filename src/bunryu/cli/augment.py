"""`bunryu augment`: copies on disk, with a table that train takes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import Quiet, data_and_pairs
from bunryu.core import console


def augment(
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA [KEY=VALUE]",
            help="As for train: data.*, decode.* and augment.* count. [DATA: $SM_CHANNEL_TRAIN]",
            show_default=False,
        ),
    ] = None,
    square: Annotated[bool, typer.Option("--square", help="Pad every picture to a square.")] = False,
    colour: Annotated[str, typer.Option(metavar="COLOUR", help="Of the padding: white, black or R,G,B.")] = "white",
    flip: Annotated[
        str, typer.Option(metavar="WAYS", help="A mirror image of each: horizontal, vertical, or both with a comma.")
    ] = "",
    balance_to: Annotated[
        int | None, typer.Option(metavar="N", help="Random copies until each class has N images to train on.")
    ] = None,
    ops: Annotated[
        Path | None,
        typer.Option(metavar="FILE.yaml", help="The augment.* of random copies; alone, one copy of each image."),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Write copies of training images to disk.

    OUT/labels.csv is a table of them that train takes. The data stay as they are. A copy has the group of its
    original, so that no split can tear them apart.
    """
    console.set_quiet(quiet)
    data, pairs = data_and_pairs(args)
    from bunryu import api

    api.augment(data, *pairs, out=out, square=square, colour=colour, flip=flip, balance_to=balance_to, ops=ops)
