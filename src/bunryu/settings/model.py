"""Settings of the models room."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from bunryu.settings.config import Settings
from bunryu.settings.fields import as_it_looks

SCRATCH = ("scratch_cnn", "base_cnn", "mlp")
"""Networks of our own, without pretrained weights; see `scratch`."""


def without_library(name: str) -> bool:
    """Return whether a network is none of a library's, which could have pretrained weights for it."""
    return name in SCRATCH or name.startswith("own/")


class ModelSettings(Settings):
    """Which network, and where its weights come from."""

    name: str = "timm/tf_efficientnetv2_b0"
    """scratch_cnn, base_cnn, mlp, timm/NAME or torchvision/NAME; a bare NAME is looked up in timm first."""
    weights: str | None = None
    """imagenet (fetched from the hub), a .safetensors or .pth file, a run folder, or none (from scratch).
    When null: imagenet for timm and torchvision names, none for the first three."""
    ema: bool = False
    """Of a file of weights that holds the network twice, as it was trained and averaged over training (EMA): take the
    averaged one."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Dropout in front of the last linear layer."""
    batch_norm: bool = False
    """BatchNorm after each convolution of scratch_cnn."""
    heads: Literal["joint", "separate"] = "joint"
    """Of several label columns (data.label_columns, person folders). joint: one head for the combinations that the
    training rows have. separate: a linear head a column on the shared backbone, the loss being their mean; the
    probability of a combination is then the product of the heads'."""
    file: str | None = None
    """Instead of model.name a network of your own, FILE.py:NAME: a class or function that makes a torch.nn.Module from
    pictures (B, C, H, W) to logits (B, K). It is given num_classes=K, if it takes that, and model.arguments; dropout is
    0 unless set."""
    arguments: Annotated[dict[str, Any], BeforeValidator(as_it_looks)] = {}
    """Of model.file: keyword arguments, as {width: 64}."""

    @model_validator(mode="before")
    @classmethod
    def _of_a_file(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("file"), str):
            return values
        own = f"own/{values['file'].rpartition(':')[2]}"
        if values.get("name", own) != own:
            raise ValueError(f"model.name={values['name']} and model.file={values['file']}: give one of the two")
        if not re.fullmatch(r".+\.py:[^\W\d]\w*", values["file"]):
            raise ValueError(f"model.file: expected FILE.py:NAME, such as net.py:MyModel; received {values['file']!r}")
        if values.get("weights") == "imagenet":
            raise ValueError("model.weights=imagenet: a network of your own has none; leave it out, or give a file")
        return {"dropout": 0.0, **values, "name": own}

    @model_validator(mode="after")
    def _with_a_file(self) -> ModelSettings:
        if self.file is None and (self.arguments or self.name.startswith("own/")):
            what = "model.arguments" if self.arguments else f"model.name={self.name}"
            raise ValueError(f"{what} needs model.file=FILE.py:NAME")
        if self.ema and self.weights in (None, "none", "imagenet"):
            raise ValueError("model.ema=true says which weights of a file are taken: it needs model.weights=FILE")
        return self


def split_name(file: str) -> tuple[Path, str]:
    """Return the file and the name in it of ``FILE.py:NAME``."""
    path, _, name = file.rpartition(":")
    return Path(path).expanduser(), name
