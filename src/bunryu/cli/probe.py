"""`bunryu probe`: what frozen weights reach."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import (
    Quiet,
    data_and_pairs,
    of_source,
    runs_folder,
    settings_and_data,
)
from bunryu.core import console
from bunryu.core.errors import typed


def probe(
    args: Annotated[
        list[str] | None,
        typer.Argument(metavar="DATA [KEY=VALUE]", help="As for train. [DATA: $SM_CHANNEL_TRAIN]", show_default=False),
    ] = None,
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
    """Tell in a minute what frozen weights reach.

    Cross-validates linear heads on the features of one or several backbones, and writes the recipe to train next.
    """
    console.set_quiet(quiet)
    data, pairs = data_and_pairs(args or [])
    _, values = settings_and_data(pairs, of_source(data))
    from bunryu.runs.folder import require_new

    require_new(out)
    root = runs_folder(out)
    from bunryu.workflows import probe as probing
    from bunryu.workflows import probe_report

    found = probing.probe(pairs, backbone or [], values, out=out, root=root)
    console.result(repr(found))
    for line in (*probe_report.advice(found), *found.look):
        console.say(line)
    files = "report.txt, probe.json, predictions_oof.csv" + (", review.csv, review.png" if found.look else "")
    console.say(f"probe: {found.path} ({files})")
    given = [arg for arg in args or [] if not arg.startswith(("model.name=", "model.weights=", "loss."))]
    console.say(f"next: bunryu train {' '.join(map(typed, [*given, '--recipe', found.path / 'recipe.yaml']))}")
