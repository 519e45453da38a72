"""A network of the user's own, FILE.py:NAME: run once, called with num_classes, and made into a `Classifier`."""

from __future__ import annotations

import inspect
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, cast

import torch
from torch import nn

from bunryu.core.errors import ModelError, nearest, some
from bunryu.models.allowed_code import allow, source_of
from bunryu.models.classifier import Classifier, Head
from bunryu.models.record import Architecture, Own
from bunryu.settings.model import split_name
from bunryu.settings.validate import replaced

_CANNOT = "it cannot take"
_SIZES = ((224, 224), (64, 64), (32, 32))
"""Tried where the settings say none."""


class OwnClassifier(Classifier):
    """The user's network. Where its output is that of a linear layer, that layer is the head.

    Where not, the network is all backbone, the head does nothing, and `width` is the number of classes.
    Memory stays contiguous: networks that call ``view`` need it.
    """

    memory_format = torch.contiguous_format

    def __init__(self, net: nn.Module, head: str | None, classes: int, dropout: float) -> None:
        super().__init__(net, 1, 1, dropout, repeat=False)
        self.whole = head is None
        if head is None:
            self.head, self.width = nn.Sequential(nn.Identity()), classes
            return
        linear = cast(nn.Linear, net.get_submodule(head))
        _replace(net, head, nn.Identity())
        fits = linear.out_features == classes
        self.width = linear.in_features
        self.head = Head(dropout, linear if fits else nn.Linear(self.width, classes))

    def features(self, x_BCHW: torch.Tensor) -> torch.Tensor:
        """Return what comes before the head, shape (B, F); of a network without one, the logits (B, K)."""
        return cast(torch.Tensor, self.backbone(x_BCHW.contiguous()))


def own_classifier(architecture: Architecture, classes: int) -> OwnClassifier:
    """Make the network of a record.

    Raises:
        ModelError: its code was not allowed, or does not make a network.
    """
    assert architecture.own is not None
    net = _make(architecture.own, architecture.arguments, classes)
    return OwnClassifier(net, architecture.own.head, classes, architecture.dropout)


def own_architecture(
    file: str, arguments: dict[str, Any], channels: int, dropout: float, size: tuple[int, int] | None
) -> Architecture:
    """Allow the user's file, try its network on two empty pictures, and return its record.

    Args:
        file: ``FILE.py:NAME``.
        arguments: of the class or function, besides num_classes.
        channels: of the pictures.
        dropout: in front of the head.
        size: height and width of the pictures; some usual ones are tried when None.

    Raises:
        ModelError: no such file or name, no network, or one that gives no logits.
    """
    path, name = split_name(file)
    own = Own(file=str(path), name=name, sha256=allow(path))
    with torch.random.fork_rng(devices=[]):
        net = _make(own, arguments, 2)
        head = _head(own, net, channels, size)
    if head is None and dropout:
        raise ModelError(
            f"model.dropout={dropout:g} is for the last linear layer, and the output of {file} is not that of one. "
            "Leave it out."
        )
    return Architecture(
        name=f"own/{name}",
        channels=channels,
        dropout=dropout,
        arguments=arguments,
        own=replaced(own, {"head": head}),
    )


def _make(own: Own, arguments: dict[str, Any], classes: int) -> nn.Module:
    maker = _named(own)
    with _telling(own, f"{own.name} cannot be made"):
        known = inspect.signature(maker).parameters
        takes = "num_classes" in known or any(p.kind is p.VAR_KEYWORD for p in known.values())
        net = maker(**({"num_classes": classes} if takes else {}), **arguments)
    if not isinstance(net, nn.Module):
        raise ModelError(f"{own.file}:{own.name} gives a {type(net).__name__}; expected a torch.nn.Module.")
    return net


def _named(own: Own) -> Callable[..., Any]:
    """Return the class or function, its file run once in this process."""
    module = f"bunryu_own_{own.sha256}"
    if module not in sys.modules:
        made = ModuleType(module)
        made.__file__ = own.file
        sys.modules[module] = made  # dataclasses and pickles look themselves up there
        try:
            with _telling(own, "it cannot be run"):
                exec(compile(source_of(own), own.file, "exec"), vars(made))
        except BaseException:
            del sys.modules[module]
            raise
    names = vars(sys.modules[module])
    found = names.get(own.name)
    if not callable(found):
        mine = [key for key, value in names.items() if getattr(value, "__module__", None) == module and callable(value)]
        what = f"has no {own.name!r}" if found is None else f"has {own.name!r}, which is no class or function"
        near = nearest(own.name, mine)
        raise ModelError(f"model.file: {own.file} {what}.{near} It has: {some(mine) or 'none'}.")
    return cast(Callable[..., Any], found)


def _head(own: Own, net: nn.Module, channels: int, size: tuple[int, int] | None) -> str | None:
    """Return the name of the linear layer whose output is the network's, alike in training; None if there is none."""
    if size is not None:
        return _head_at(own, net, torch.randn(2, channels, *size))
    told = ""
    for usual in _SIZES:
        try:
            return _head_at(own, net, torch.randn(2, channels, *usual))
        except ModelError as error:
            told = told or str(error)
    mend = " If it takes pictures of one size alone, say which: input.size=HEIGHTxWIDTH" if _CANNOT in told else ""
    raise ModelError(told + mend)


def _head_at(own: Own, net: nn.Module, x_BCHW: torch.Tensor) -> str | None:
    size = f"{x_BCHW.shape[2]}x{x_BCHW.shape[3]}, {x_BCHW.shape[1]} channels"
    found: list[set[str]] = []
    for training in (True, False):
        with torch.no_grad(), _telling(own, f"{_CANNOT} two pictures of {size}"), _watched(net) as seen:
            out = net.train(training)(x_BCHW)
        if not isinstance(out, torch.Tensor) or out.ndim != 2 or len(out) != len(x_BCHW):
            shape = tuple(out.shape) if isinstance(out, torch.Tensor) else f"a {type(out).__name__}"
            raise ModelError(
                f"{own.file}:{own.name} gives {shape} for two pictures of {size}"
                f"{' in training' if training else ''}; expected logits of shape (2, number of classes)."
            )
        names = [name for name, _, _ in seen]
        once = [call for call in seen if call[2] is out and names.count(call[0]) == 1 and call[1].ndim == 2]
        found.append({name for name, given, _ in once if torch.equal(_linear(net, name, given), out)})
    return min(set.intersection(*found), default=None)


@contextmanager
def _watched(net: nn.Module) -> Iterator[list[tuple[str, torch.Tensor, torch.Tensor]]]:
    """Give the calls of linear layers within the ``with``: name, input, output."""
    seen: list[tuple[str, torch.Tensor, torch.Tensor]] = []
    hooks = [
        module.register_forward_hook(lambda _, given, out, name=name: seen.append((name, given[0], out)))
        for name, module in net.named_modules()
        if isinstance(module, nn.Linear) and module.bias is not None
    ]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


def _linear(net: nn.Module, name: str, x: torch.Tensor) -> torch.Tensor:
    layer = cast(nn.Linear, net.get_submodule(name))
    return nn.functional.linear(x, layer.weight, layer.bias)


def _replace(net: nn.Module, name: str, module: nn.Module) -> None:
    parent, _, attribute = name.rpartition(".")
    setattr(net.get_submodule(parent), attribute, module)


@contextmanager
def _telling(own: Own, what: str) -> Iterator[None]:
    """Turn any error of the user's code into one message with the line of their file."""
    try:
        yield
    except ModelError:
        raise
    except Exception as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == own.file]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        where = f"{own.file}, line {line}" if line else own.file
        hint = " The file is run by itself: import installed packages only." if isinstance(error, ImportError) else ""
        said = " ".join(str(error).split())[:200]
        raise ModelError(f"{where}: {what}: {type(error).__name__}: {said}.{hint}") from error
