"""What a file of weights holds, however another framework saved it: its tensors by name, without running its code."""

from __future__ import annotations

import re
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch

from bunryu.core.errors import ModelError, some

State = dict[str, torch.Tensor]

_AVERAGED = re.compile(r"(^|[._])(ema|swa|avg|averaged?|averaging|shadow|teacher)([._]|$)", re.IGNORECASE)
_DEEPEST = 4
"""Mappings within mappings: {"module": {"state_dict": {"model": tensors}}} is the most that was met."""
_MOST_MORE, _MOST_ENTRIES = 100_000_000, 100_000
"""Bytes that an archive unpacks to beyond its own size (torch.save does not compress), and parts that it has."""
_MOST_CLASSES = 200
"""Different classes in one pickle that are stood in for."""
_NOT_WEIGHTS = (  # how a file begins that is often found in place of weights, what it is, what mends it
    (b"version https://git-lfs", "it is a pointer of Git LFS, not the file itself", "Fetch the file: git lfs pull"),
    (b"<!doctype html", "it is a web page, not the file itself", "Download it again, from the link that page shows"),
    (b"<html", "it is a web page, not the file itself", "Download it again, from the link that page shows"),
    (b"<?xml", "it is an XML text, often a server's error", "Download it again"),
    (b"\x89HDF", "it is a model of Keras", "A net of PyTorch is needed: one of timm or torchvision"),
    (b"\x1f\x8b", "it is compressed (gzip)", "Unpack it first (gunzip)"),
)
_MOST_PLAIN = 500_000
"""Bytes of another pickle, which is read to say what is in it; it takes a second for each million."""
_OF_TORCH = b"l\xfc\x9cF\xf9 j\xa8P\x19"
"""Within the first bytes of what torch.save wrote before it wrote archives: a number, pickled."""
_PLAIN = "torch.save(model.state_dict(), FILE), or safetensors"


@dataclass(frozen=True)
class Held:
    """One set of tensors within a file."""

    where: str
    """The keys that lead to it, joined by dots; empty for the file itself."""
    tensors: State

    @property
    def averaged(self) -> bool:
        """Whether its place names it an average of the weights over training (EMA, SWA)."""
        return is_averaged(self.where)


def is_averaged(name: str) -> bool:
    """Return whether a key or a prefix of keys says that what is under it is an average of the weights."""
    return bool(_AVERAGED.search(name))


class _Inert:
    """Stands in for a class of a pickle: keeps what it was given, runs nothing of it."""

    def __new__(cls, *_: Any, **__: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        if isinstance(state, tuple) and len(state) == 2:  # with slots
            state = state[0]
        if isinstance(state, Mapping):
            self.__dict__.update({str(key): value for key, value in state.items()})


def read_state(path: Path) -> list[Held]:
    """Return every set of named tensors in a file, in the file's order.

    Read are safetensors and what ``torch.save`` writes: a state dict, one within a checkpoint, or a whole module, whose
    classes are not needed and whose code is not run.

    Raises:
        ModelError: the file is damaged, is no file of weights, or holds no tensors.
    """
    content = _read(path)
    found = list(_tensors(content, "", 0))
    if not found:
        keys = f": it has {some(map(str, content), 5)}" if isinstance(content, Mapping) and content else ""
        raise ModelError(f"model.weights: {path} holds no tensors by name{keys}. Expected a state dict: {_PLAIN}.")
    return found


def _read(path: Path) -> Any:
    if not path.is_file():
        raise ModelError(f"model.weights: {path} is not a file. Expected a .safetensors or .pth file, or a run folder.")
    with path.open("rb") as file:
        start = file.read(64)
    if not start:
        raise ModelError(f"model.weights: cannot read {path}: it is damaged (empty). Download or copy it again.")
    for begin, what, mend in _NOT_WEIGHTS:
        if start.lstrip().lower().startswith(begin.lower()):
            raise ModelError(f"model.weights: cannot read {path}: {what}. {mend}.")
    zipped = start.startswith(b"PK")
    try:
        if zipped:
            _require_torch_zip(path)
        elif start[8:9] == b"{":  # as safetensors begin, whatever the file is called
            from safetensors.torch import load

            return load(path.read_bytes())
        elif path.stat().st_size > _MOST_PLAIN and _OF_TORCH not in start:
            raise UnpicklingError("it does not begin as torch.save begins a file")
        return _load_inert(path, zipped)
    except ModelError:
        raise
    except MemoryError:
        raise
    except Exception as error:  # a damaged pickle can raise anything
        raise _unreadable(path, error) from None


def _require_torch_zip(path: Path) -> None:
    with zipfile.ZipFile(path) as archive:
        names = [name.rpartition("/")[2] for name in archive.namelist()]
        unpacked = sum(entry.file_size for entry in archive.infolist())
    if unpacked > path.stat().st_size + _MOST_MORE or len(names) > _MOST_ENTRIES:
        raise ModelError(
            f"model.weights: {path} says that it unpacks to {unpacked / 1e6:,.0f} MB in {len(names):,} parts, which "
            f"torch.save does not write. Save its tensors anew: {_PLAIN}."
        )
    if "constants.pkl" in names:
        raise ModelError(
            f"model.weights: {path} is a TorchScript model. Save its tensors alone, and give that file: python -c "
            f"\"import torch; torch.save(torch.jit.load('{path}', 'cpu').state_dict(), 'weights.pth')\""
        )
    if "data.pkl" not in names:
        raise ModelError(
            f"model.weights: {path} is an archive, with {some(names, 3)} in it. Unpack it and give the file of weights."
        )


def _load_inert(path: Path, zipped: bool) -> Any:
    """Load with `weights_only`; classes that this does not know become `_Inert`, or a plain list or dict."""
    stands: dict[str, type] = {}
    if zipped:
        unknown = torch.serialization.get_unsafe_globals_in_checkpoint(str(path))
        stands = {name: _stand_in(name, _Inert) for name in unknown}
    for _ in range(_MOST_CLASSES):
        try:
            known = torch.serialization.safe_globals([(stand, name) for name, stand in stands.items()])
            with known, path.open("rb") as file:  # given a path, torch goes by its ending
                return torch.load(file, "cpu", weights_only=True)
        except UnpicklingError as error:
            name, base = _wanted(str(error))
            if name is None or (name in stands and issubclass(stands[name], base)):
                raise
            stands[name] = _stand_in(name, base)
    raise UnpicklingError("it holds too many classes")


def _wanted(message: str) -> tuple[str | None, type]:
    """Return the class that the unpickler stopped at, and what must stand in for it."""
    if more := re.search(r"Unsupported global: GLOBAL (\S+) was not", message):
        name = more[1]
        return (name if "." in name else f"builtins.{name}"), _Inert
    if more := re.search(r"Can only (SETITEMS?|append|extend).* got <class '([^']+)'>", message):
        return more[2], (OrderedDict if more[1].startswith("SET") else list)
    return None, object


def _stand_in(name: str, base: type) -> type:
    """Make a class of this full name: its own, so that a refusal of the unpickler names it; or one that makes `base`s.

    The unpickler fills exact dicts and lists alone, hence no subclass of them.
    """
    module, _, last = name.rpartition(".")
    body: dict[str, Any] = {"__module__": module}
    if base is not _Inert:
        body["__new__"] = lambda *_, **__: base()
    made = type(last, (_Inert,) if base is _Inert else (base,), body)
    made.__qualname__ = last
    return made


def _tensors(content: Any, where: str, depth: int) -> Iterator[Held]:
    """Yield the sets of named tensors in what was loaded, outermost first; an optimiser's are none."""
    if isinstance(content, _Inert):
        whole = dict(_of_module(content, ""))
        if whole:
            yield Held(where, whole)
            return
        content = vars(content)
    if not isinstance(content, Mapping) or depth > _DEEPEST:
        return
    own = {key: value for key, value in content.items() if isinstance(key, str) and isinstance(value, torch.Tensor)}
    if own:
        yield Held(where, own)
    for key, value in content.items():
        if isinstance(key, str) and not key.lower().startswith("optim"):
            yield from _tensors(value, f"{where}.{key}" if where else key, depth + 1)


def _of_module(module: _Inert, prefix: str) -> Iterator[tuple[str, torch.Tensor]]:
    """Yield what ``module.state_dict()`` of a module of PyTorch would hold."""
    held = vars(module)
    absent = held.get("_non_persistent_buffers_set") or ()
    for place in ("_parameters", "_buffers"):
        tensors = held.get(place)
        for name, value in tensors.items() if isinstance(tensors, Mapping) else ():
            if isinstance(value, torch.Tensor) and name not in absent:
                yield f"{prefix}{name}", value.detach()
    children = held.get("_modules")
    for name, child in children.items() if isinstance(children, Mapping) else ():
        if isinstance(child, _Inert):
            yield from _of_module(child, f"{prefix}{name}.")


def _unreadable(path: Path, error: Exception) -> ModelError:
    code = re.search(r"GLOBAL (\S+) ?whose module \S+ is blocked", str(error))
    if code:
        return ModelError(
            f"model.weights: cannot read {path}: it holds more than tensors ({code[1]}), which could run code. "
            f"Expected a plain state dict: {_PLAIN}."
        )
    if isinstance(error, UnpicklingError) and re.search("Can only|Only persistent_load", str(error)):
        return ModelError(
            f"model.weights: cannot read {path} without the code it was saved with ({_said(error)}). Where that code "
            f"is, save its tensors alone, and give that file: {_PLAIN}."
        )
    return ModelError(
        f"model.weights: cannot read {path}: it is damaged ({_said(error)}). Expected a plain state dict: {_PLAIN}."
    )


def _said(error: Exception) -> str:
    text = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    return (text or type(error).__name__).splitlines()[0].split(". ")[0][:160]
