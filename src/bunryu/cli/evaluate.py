"""`bunryu evaluate`: what a run is worth, on its own or on other rows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import ORIGIN, Device, DeviceName, ModelFile, Quiet, TrustCode, Tta, evaluated_run, trusted
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
    from bunryu.data.sources.read import require_path
    from bunryu.inference.trust import trust_model
    from bunryu.inference.tta import parse_tta
    from bunryu.runs.folder import open_folder
    from bunryu.settings.load import evaluation_settings

    console.set_quiet(quiet)
    views = parse_tta(tta)
    run, pairs = evaluated_run(args or [])
    folder = open_folder(run)
    evaluation_settings(folder.settings if folder.config.exists() else None, pairs, ORIGIN)
    if data is not None:
        require_path(data)
    trust_model(folder.path, trusted(trust_code, model_file))
    from bunryu.workflows import evaluate as evaluation

    found = evaluation.evaluate(
        folder, data, out=out, name=name, overrides=pairs, device=device.value, tta=views, checkpoint=checkpoint
    )
    console.result(repr(found))
