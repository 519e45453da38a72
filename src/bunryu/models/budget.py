"""A cap on the memory that building a network takes: a small file must not make us build a giant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from bunryu.core.errors import ModelError

_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn}
_TIMES, _MORE = 4, 256_000_000
"""Tables that are not sealed, and what initial values take on their way, come on top of the tensors of the file."""


class Budget(TorchFunctionMode):
    """Within the ``with``, tensors are made until they are far more than a file of `size` bytes can fill.

    Raises:
        ModelError: there are, before the memory for it is taken.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.left = _TIMES * size + _MORE

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Count what `func` makes, from its shape alone, and let it."""
        if func in _MAKERS:
            self.left -= func(*args, **{**(kwargs or {}), "device": "meta"}).nbytes
            if self.left < 0:
                raise ModelError(f"the network is far larger than the {self.size / 1e6:.1f} MB that the file has")
        return func(*args, **(kwargs or {}))
