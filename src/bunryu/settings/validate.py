"""Layers of values, merged and validated into settings; every mistake told in one message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError

from bunryu.core.errors import ConfigError
from bunryu.settings.config import Layer, S, merge


def build(model: type[S], layers: Sequence[Layer]) -> S:
    """Merge `layers`, the later over the earlier, and validate them into `model`.

    Raises:
        ConfigError: one message with every wrong key and value, where it stands, and the nearest right one.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer.values)
    try:
        return model.model_validate(merged)
    except ValidationError as error:
        from bunryu.settings.messages import explain

        raise ConfigError("\n".join(explain(model, error.errors(), layers))) from None
