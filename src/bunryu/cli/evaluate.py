"""`bunryu evaluate`: what a run is worth, on its own or on other rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import Device, DeviceName, ModelFile, Quiet, TrustCode, Tta, evaluated_run, trusted
from bunryu.core import console


def evaluate(
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN [KEY=VALUE]",
            help="The run folder [$SM_CHANNEL_MODEL], and data.* and evaluate.* settings.",
            show_default=False,
        ),
    ] = None,
    data: Annotated[str | None, typer.Option(help="Labelled data. [the run's own validation and test rows]")] = None,
    out: Annotated[Path | None, typer.Option(help="Where results go. [RUN/evaluate-N]")] = None,
    name: Annotated[str | None, typer.Option(help="What the data are called in the results. [test]")] = None,
    checkpoint: Annotated[
        str | None, typer.Option(help="One of RUN/checkpoints/ instead of the sealed model, such as stage-1-head.")
    ] = None,
    device: Device = DeviceName.auto,
    tta: Tta = None,
    trust_code: TrustCode = False,
    model_file: ModelFile = None,
    quiet: Quiet = False,
) -> None:
    """Measure a run on its own or other labelled data.

    Without --data: its validation and test rows.
    """
    console.set_quiet(quiet)
    run, pairs = evaluated_run(args)
    trust = trusted(trust_code, model_file)
    from bunryu import api

    api.evaluate(
        run,
        data,
        out=out,
        name=name,
        overrides=pairs,
        device=device.value,
        tta=tta or (),
        checkpoint=checkpoint,
        trust_code=trust,
    )
