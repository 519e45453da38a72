"""`bunryu split`: the split as folders."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import LinkName, Quiet, data_and_pairs, nothing_written, of_source, settings_and_data
from bunryu.core import console
from bunryu.core.errors import typed


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
    data, pairs = data_and_pairs(args or [])
    from bunryu.settings.load import require_of_splits

    require_of_splits(pairs)
    settings, _ = settings_and_data(pairs, of_source(data))
    from bunryu.workflows import split as splitting

    with nothing_written():
        table = splitting.split(settings, out, link=link.value)
    console.say(f"next: bunryu train {typed(out)}")
    if lost := splitting.only_in_the_table(table):
        again = [settings.data.source, *(pair for pair in pairs if pair.startswith("data."))]
        command = " ".join(typed(part) for part in [*again, f"split.file={out / 'split.csv'}"] if part)
        console.say(f"folders do not hold {' and '.join(lost)}; the same split with them: bunryu train {command}")
