"""torch.compile, where the user asks for it."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from bunryu.core.errors import ConfigError


def compiled(net: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return the network's forward pass, compiled at its first call (and again for another shape or mode).

    The module itself stays as it is, with its names of parameters, and is what is validated and sealed.

    Raises:
        ConfigError: at a call: this machine or this network cannot be compiled; with the compiler's own words.
    """
    made = torch.compile(net)

    def forward(x_BCHW: torch.Tensor) -> torch.Tensor:
        from torch._dynamo.exc import TorchDynamoException

        try:
            logits_BK: torch.Tensor = made(x_BCHW)
        except TorchDynamoException as error:
            first = str(error).strip().splitlines()[0]
            raise ConfigError(
                f"train.compile=true: torch.compile fails here ({type(error).__name__}: {first}). "
                "Leave train.compile out."
            ) from error
        return logits_BK

    return forward
