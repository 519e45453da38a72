"""timm and torchvision, imported without torch's compiler: making and using a network needs none of it.

Both touch `torch._dynamo` while they are imported, and so sympy, inductor and 900 modules more: 1.3 s of 3.
Here its place is held meanwhile by modules that know the two names the libraries use, and that fetch the real ones
at the first use of these, or at once for any other name.
"""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch

_DYNAMO = "torch._dynamo"


def import_timm() -> Any:
    """Return the module timm."""
    with _without_compiler():
        return importlib.import_module("timm")


def import_torchvision_models() -> Any:
    """Return the module torchvision.models."""
    with _without_compiler():
        return importlib.import_module("torchvision.models")


class _Later(ModuleType):
    """Holds a module's place; asked for a name it does not have, it gives that of the real module."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return getattr(_real(self.__name__), name)


def _real(name: str) -> ModuleType:
    for held in (_DYNAMO, f"{_DYNAMO}.utils"):
        if isinstance(sys.modules.get(held), _Later):
            del sys.modules[held]
    return importlib.import_module(name)


@contextmanager
def _without_compiler() -> Iterator[None]:
    if _DYNAMO in sys.modules:  # somebody needed it already, and it is paid for
        yield
        return
    dynamo, utils = _Later(_DYNAMO), _Later(f"{_DYNAMO}.utils")
    vars(dynamo).update(utils=utils, disable=_disable, __path__=[str(Path(torch.__path__[0], "_dynamo"))])
    vars(utils).update(is_compile_supported=_is_compile_supported)
    sys.modules |= {_DYNAMO: dynamo, f"{_DYNAMO}.utils": utils}
    try:
        yield
    finally:
        for name, module in ((_DYNAMO, dynamo), (f"{_DYNAMO}.utils", utils)):
            if sys.modules.get(name) is module:
                del sys.modules[name]
        if isinstance(vars(torch).get("_dynamo"), _Later):
            del torch._dynamo


def _disable(fn: Any = None, *args: Any, **options: Any) -> Any:
    """As `torch._dynamo.disable`, which is fetched when the function is first called."""
    if fn is None:
        return lambda marked: _disable(marked, *args, **options)
    made: list[Callable[..., Any]] = []

    @functools.wraps(fn)
    def call(*arguments: Any, **named: Any) -> Any:
        if not made:
            made.append(_real(_DYNAMO).disable(fn, *args, **options))
        return made[0](*arguments, **named)

    return call


def _is_compile_supported(device_type: str) -> bool:
    return bool(_real(f"{_DYNAMO}.utils").is_compile_supported(device_type))
