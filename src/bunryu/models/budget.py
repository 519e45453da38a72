"""A cap on the memory that building a network takes: a small file must not make us build a giant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._pytree import tree_map_only

from bunryu.core.errors import ModelError

_MAKERS = {torch.empty, torch.zeros, torch.ones, torch.full, torch.rand, torch.randn, torch.arange, torch.linspace}
_MORE = 200_000_000
"""Bytes. Tables that are not sealed, and what initial values take on their way, come on top of the file's tensors."""
_LARGE = 4_000_000
"""Bytes of a tensor of which what is computed is measured before."""


class Budget(TorchFunctionMode):
    """Within the ``with``, tensors live side by side until they are far more than a file of `size` bytes can fill.

    Raises:
        ModelError: there are, before the memory for it is taken.
    """

    def __init__(self, size: int) -> None:
        super().__init__()
        self.size = size
        self.most = size + _MORE
        self._held: list[tuple[StorageWeakRef, int]] = []
        self._taken = 0

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Sequence[type],
        args: Sequence[Any] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        """Count what `func` makes, from its shape alone where it may be much, and let it."""
        kwargs = kwargs or {}
        if func is torch.Tensor.__setitem__:  # by the hundred thousand, in tables of relative positions
            return func(*args, **kwargs)
        if func in _MAKERS:
            self._require_room(func(*args, **{**kwargs, "device": "meta"}).nbytes)
        elif any(value.nbytes >= _LARGE for value in _tensors(args)) and not _changes_in_place(func):
            on_meta = tree_map_only(torch.Tensor, lambda value: value.detach().to("meta"), (args, kwargs))
            with suppress(RuntimeError, TypeError, ValueError, NotImplementedError):  # not known by shapes alone
                made = func(*on_meta[0], **on_meta[1])
                self._require_room(sum(value.nbytes for value in _tensors(made) if value._base is None))
        made = func(*args, **kwargs)
        for value in _tensors(made):
            if value._base is None and value.nbytes >= 1000 and not isinstance(value, torch.nn.Parameter):
                held = StorageWeakRef(value.untyped_storage())  # type: ignore[no-untyped-call]
                self._held.append((held, value.nbytes))
                self._taken += value.nbytes
        return made

    def _require_room(self, more: int) -> None:
        if self._taken + more <= self.most:
            return
        alive = (pair for pair in self._held if not pair[0].expired())  # type: ignore[no-untyped-call]
        self._held = list({held.cdata: (held, size) for held, size in alive}.values())
        self._taken = sum(size for _, size in self._held)
        if self._taken + more > self.most:
            raise ModelError(f"the network is far larger than the {self.size / 1e6:.1f} MB that the file has")


def _changes_in_place(func: Callable[..., Any]) -> bool:
    return getattr(func, "__name__", "").endswith("_")


def _tensors(values: Any) -> list[torch.Tensor]:
    """Return the tensors that are given or returned: a value, or those of a tuple or list."""
    if isinstance(values, torch.Tensor):
        return [values]
    if not isinstance(values, tuple | list):
        return []
    return [tensor for value in values for tensor in _tensors(value)]
