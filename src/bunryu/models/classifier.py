"""A backbone and a head: what every network of ours is, whatever library it came from."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any, cast

import torch
from torch import nn


class Head(nn.Sequential):
    """Dropout and a linear layer, (B, F) -> (B, K), computed in float32 also under autocast.

    In bf16 logits have 8 bits: many pictures share one value, and ties are decided by the order of the classes. A
    linear layer on features is nothing beside the backbone.
    """

    def __init__(self, dropout: float, linear: nn.Module) -> None:
        super().__init__(nn.Dropout(dropout), linear)

    def forward(self, input: torch.Tensor) -> torch.Tensor:
        """Return the logits, float32 (B, K)."""
        kind = input.device.type
        with torch.autocast(kind, enabled=False) if torch.amp.is_autocast_available(kind) else nullcontext():
            return cast(torch.Tensor, super().forward(input.float()))  # type: ignore[no-untyped-call]


class Classifier(nn.Module):
    """A backbone, (B, 3, H, W) -> (B, F), and a head of dropout and a linear layer, (B, F) -> (B, K).

    Grey pictures, (B, 1, H, W), are given to a backbone for colour three times over. For its first convolution
    that is the same as the sum of its weights over the colours, whatever the backbone looks like inside.
    """

    memory_format = torch.channels_last

    def __init__(self, backbone: nn.Module, features: int, classes: int, dropout: float, *, repeat: bool) -> None:
        super().__init__()
        self.backbone = backbone
        self.width = features
        self.head: nn.Sequential = Head(dropout, nn.Linear(features, classes))
        self.repeat = repeat

    def features(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return what the backbone makes of the pictures, shape (B, F)."""
        return cast(torch.Tensor, self.backbone(x_BCHW.repeat(1, 3, 1, 1) if self.repeat else x_BCHW))

    def forward(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return the logits, shape (B, K)."""
        return cast(torch.Tensor, self.head(self.features(x_BCHW)))

    def load_state_dict(self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False) -> Any:
        """As `nn.Module` does. A plain dict, as safetensors gives, names no versions: the present ones are meant."""
        if not hasattr(state_dict, "_metadata"):
            state_dict = OrderedDict(state_dict)
            vars(state_dict)["_metadata"] = vars(self.state_dict())["_metadata"]
        return super().load_state_dict(state_dict, strict, assign)
