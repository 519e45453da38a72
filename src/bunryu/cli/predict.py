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

RunAndImages = Annotated[
    list[str] | None,
    typer.Argument(
        metavar="RUN IMAGES",
        help="The run folder or a model file [$SM_CHANNEL_MODEL]; images, folders, globs, or a CSV of paths "
        "[$SM_CHANNEL_EVAL].",
        show_default=False,
    ),
]
Out = Annotated[
    Path | None,
    typer.Option(
        help="The file to write: .csv, .tsv or .jsonl; - is standard output. "
        "[-, or $SM_OUTPUT_DATA_DIR/predictions.csv]"
    ),
]
FormatName = Annotated[
    Format | None,
    typer.Option(help="csv-excel is a CSV that Excel opens with Hangul right. [by --out; a list for one image file]"),
]
Submission = Annotated[
    Path | None, typer.Option(help="A competition's sample file: --out gets its rows and columns, filled in.")
]
SubmissionAs = Annotated[
    str | None,
    typer.Option(
        metavar="WHAT",
        help="What the sample wants, where it does not say: probability, yes-no, name, number, index or p_CLASS.",
    ),
]


def predict(
    args: RunAndImages = None,
    out: Out = None,
    format: FormatName = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Pictures in one forward pass.")] = 32,
    image_root: Annotated[str | None, typer.Option(help="What a CSV's paths are relative to. [its folder]")] = None,
    submission: Submission = None,
    submission_as: SubmissionAs = None,
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
    run, inputs = run_and_inputs(args)
    out = answers_file(out, submission, format)
    file = None if out == Path("-") else out
    with nothing_written():
        from bunryu import api

        found = api.predicted(
            run,
            inputs,
            out=file,
            format=format,
            submission=submission,
            submission_as=submission_as,
            batch_size=batch_size,
            image_root=image_root,
            device=device.value,
            tta=tta or (),
            trust_code=trusted(trust_code, model_file),
        )
    if submission is not None:
        return
    if out is None and format is None and found.predictions.paths == inputs[:1] == inputs:
        console.result(*found.top_k().split("\n"))
    elif file is None:
        found.show(format or "csv")
    if found.unreadable:
        console.fail(found.unreadable_note())
        raise typer.Exit(2)
