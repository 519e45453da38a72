"""Settings of the splits and of cross-validation."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bunryu.settings.config import Settings

Fraction = Annotated[float, Field(ge=0.0, lt=1.0)]


class SplitSettings(Settings):
    """How rows without a given split are divided."""

    val: Fraction = 0.2
    """Share of the rows for validation, where none is given."""
    test: Fraction = 0.0
    """Share of the rows for a held-out test, where none is given."""
    stratify: str | None = None
    """The CSV column to stratify by; the label when null."""
    seed: int = 0
    """Seed of the split alone, so that the same split can be trained with several train.seed."""
    file: str | None = None
    """A split.csv of an earlier run to use again, row by row."""

    @model_validator(mode="after")
    def _leave_rows_to_train(self) -> SplitSettings:
        if self.val + self.test >= 1.0:
            raise ValueError(f"split.val + split.test must be below 1, received {self.val} + {self.test}")
        return self


class FoldSettings(Settings):
    """Cross-validation: one run a fold, and a final model of all of them."""

    k: Annotated[int, Field(ge=2)] | None = None
    """Folds (--folds): the rows that are no test rows are divided into so many parts, and each is the validation of one
    run; one run with split.val when null."""
    final: Literal["ensemble", "refit", "none"] = "ensemble"
    """The final model of the folds (--final). ensemble: their models predicting together; refit: one more run on all
    rows that are no test rows, for as many epochs as the folds' best epochs say (the median); none."""
