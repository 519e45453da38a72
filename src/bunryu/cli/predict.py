"""`bunryu predict`: files in, answers out."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import (
    Device,
    DeviceName,
    Format,
    ModelFile,
    Quiet,
    TrustCode,
    Tta,
    answers_file,
    nothing_written,
    run_and_inputs,
    trusted,
)
from bunryu.core import console


def predict(
    args: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN IMAGES",
            help="The run folder or a model file [$SM_CHANNEL_MODEL]; images, folders, globs, or a CSV of paths "
            "[$SM_CHANNEL_EVAL].",
            show_default=False,
        ),
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="The file to write: .csv, .tsv or .jsonl; - is standard output. "
            "[-, or $SM_OUTPUT_DATA_DIR/predictions.csv]"
        ),
    ] = None,
    format: Annotated[
        Format | None,
        typer.Option(
            help="csv-excel is a CSV that Excel opens with Hangul right. [by --out; a list for one image file]"
        ),
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures in one forward pass.")] = 32,
    image_root: Annotated[str | None, typer.Option(help="What a CSV's paths are relative to. [its folder]")] = None,
    submission: Annotated[
        Path | None,
        typer.Option(help="A competition's sample file: --out gets its rows and columns, filled in."),
    ] = None,
    device: Device = DeviceName.auto,
    tta: Tta = None,
    trust_code: TrustCode = False,
    model_file: ModelFile = None,
    quiet: Quiet = False,
) -> None:
    """Predict images.

    The exit code is 2 if some of them could not be read.
    """
    console.set_quiet(quiet)
    run, inputs = run_and_inputs(args or [])
    out = answers_file(out, submission, format)
    file = None if out == Path("-") else out
    with nothing_written():
        from bunryu.inference.trust import trust_model
        from bunryu.inference.tta import parse_tta
        from bunryu.ship import predict as ship

        views = parse_tta(tta)
        trust_model(run, trusted(trust_code, model_file))
        found = ship.predict(
            run,
            inputs,
            batch_size=batch_size,
            image_root=image_root,
            out=file,
            format=format,
            submission=submission,
            device=device.value,
            tta=views,
        )
    if submission is not None:
        return
    if out is None and format is None and found.predictions.paths == inputs[:1] == inputs:
        console.result(ship.top_k(found.predictions))
    elif file is None:
        ship.show(found.predictions, format or "csv")
    if found.unreadable:
        console.fail(found.unreadable_note())
        raise typer.Exit(2)
