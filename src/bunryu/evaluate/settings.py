"""Settings of the evaluate room."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from bunryu.config import Settings


class EvaluateSettings(Settings):
    """How results are measured."""

    positive: str | None = None
    """The positive class of a two-class run (its precision, recall, F1 and ROC AUC are reported);
    the last class in order when null."""
    bootstrap: Annotated[int, Field(ge=0)] = 2000
    """Bootstrap resamples of the 95 % intervals; no intervals when 0."""
