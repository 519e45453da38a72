"""Settings of cross-validation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bunryu.settings.config import Settings


class FoldSettings(Settings):
    """Cross-validation: one run a fold, and a final model of all of them."""

    k: Annotated[int, Field(ge=2)] | None = None
    """Folds (--folds): the rows that are no test rows are divided into so many parts, and each is the validation of one
    run; one run with split.val when null."""
    column: str | None = None
    """The CSV column that says the fold of each row, where the data come with folds; folds.k is the number of its
    values. The folds are made by label (or split.stratify) when null."""
    final: Literal["ensemble", "refit", "none"] = "ensemble"
    """The final model of the folds (--final). ensemble: their models predicting together; refit: one more run on all
    rows that are no test rows, for as many epochs as the folds' best epochs say (the median); none."""
