"""Settings of the evaluate room."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bunryu.settings.config import Settings

BOOTSTRAP = 2000
"""Resamples unless the settings say otherwise."""


class EvaluateSettings(Settings):
    """How results are measured."""

    positive: str | dict[str, str] | None = None
    """The positive one of two classes (its precision, recall and F1 are reported, with ROC AUC); {column: class} where
    several label columns are learned. When null: the rarer one in the training rows, of equals the last in order."""
    bootstrap: Annotated[int, Field(ge=0)] = BOOTSTRAP
    """Bootstrap resamples of the 95 % intervals; no intervals when 0."""


class DecisionSettings(Settings):
    """What happens between the trained network and its answers; sealed in the model."""

    tau: Annotated[float, Field(ge=0)] | Literal["auto"] | None = None
    """Logit adjustment after training (Menon et al. 2021): tau log(prior) is taken from the logits, so that rare
    classes are answered more often; the prior is that of what was learned, smoothing and weights counted. auto: the
    best for macro-F1 on the validation rows (of several label columns for the mean of theirs); nothing when null. Not
    with loss.group_dro and soft_f1."""
