"""Settings of the models room."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bunryu.config import Settings

SCRATCH = ("scratch_cnn", "base_cnn", "mlp")
"""Networks of our own, without pretrained weights; see `scratch`."""


class ModelSettings(Settings):
    """Which network, and where its weights come from."""

    name: str = "timm/tf_efficientnetv2_b0"
    """scratch_cnn, base_cnn, mlp, timm/NAME or torchvision/NAME; a bare NAME is looked up in timm first."""
    weights: str | None = None
    """imagenet (fetched from the hub), a .safetensors or .pth file, a run folder, or none (from scratch).
    When null: imagenet for timm and torchvision names, none for the first three."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Dropout in front of the last linear layer."""
    batch_norm: bool = False
    """BatchNorm after each convolution of scratch_cnn."""
    heads: Literal["joint", "separate"] = "joint"
    """Of several label columns (data.label_columns, person folders). joint: one head for the combinations that the
    training rows have. separate: a linear head a column on the shared backbone, the loss being their mean; the
    probability of a combination is then the product of the heads'."""
