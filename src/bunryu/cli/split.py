"""`bunryu split`: the split as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import LinkName, Quiet, data_and_pairs, nothing_written
from bunryu.core import console


def split(
    out: Annotated[Path, typer.Option(help="A new folder.", show_default=False)],
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="DATA [KEY=VALUE]",
            help="As for train, of the settings data.*, split.* and decode.*. [DATA: $SM_CHANNEL_TRAIN]",
            show_default=False,
        ),
    ] = None,
    link: Annotated[LinkName, typer.Option(help="Copy the files, or link to them.")] = LinkName.copy,
    quiet: Quiet = False,
) -> None:
    """Lay the split out as folders: OUT/train/CLASS/FILE, and so on."""
    console.set_quiet(quiet)
    data, pairs = data_and_pairs(args)
    with nothing_written():
        from bunryu import api

        api.split(data, *pairs, out=out, link=link.value)
