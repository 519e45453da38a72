"""`bunryu score`: a table of answers against the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import Quiet, table_of
from bunryu.cli.sagemaker import ANSWERS, TRUTH
from bunryu.core import console


def score(
    predictions: Annotated[
        Path | None,
        typer.Argument(help="A table of images and answers. [$SM_OUTPUT_DATA_DIR/predictions.csv]", show_default=False),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Argument(
            help="A table of the same images and the truth. [$SM_GROUND_TRUTH_DIR/gt.csv]", show_default=False
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the figures there, as JSON.")] = None,
    positive: Annotated[
        str | None,
        typer.Option(help="The positive one of two classes; the rarer in the truth unless given.", show_default=False),
    ] = None,
    group_column: Annotated[
        str | None,
        typer.Option(
            help="Column of the truth that tells persons, patients, videos ...: intervals resample these. [group, if "
            "there is one]",
            show_default=False,
        ),
    ] = None,
    bootstrap: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Resamples of the 95 % intervals; neither intervals nor tests when 0. [as evaluate.bootstrap]",
            show_default=False,
        ),
    ] = None,
    quiet: Quiet = False,
) -> None:
    """Score a table of answers against the truth.

    Rows are joined by the longest end that their paths share.
    """
    console.set_quiet(quiet)
    answers = table_of(predictions, ANSWERS, "predictions", "predictions.csv")
    true = table_of(truth, TRUTH, "truth", "gt.csv")
    from bunryu import api

    more = {} if bootstrap is None else {"bootstrap": bootstrap}
    found = api.score(answers, true, out=out, positive=positive, group_column=group_column, **more)
    console.say(*found.report.rstrip().split("\n"))
    console.result(repr(found))
