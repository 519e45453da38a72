"""Which files of code may be run as networks: those that the person named, known by their SHA-256. Free of torch.

A model file or a run folder never makes us run code by itself: that would be the hole that pickles have.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from bunryu.core.errors import ModelError, nearest, typed
from bunryu.models.record import Own

_allowed: dict[str, bytes] = {}
"""SHA-256 -> source, of what may be run in this process."""


def allow(file: Path) -> str:
    """Allow a file to be run in this process; return its SHA-256.

    Raises:
        ModelError: there is no such file.
    """
    return allow_source(read(file))


def allow_source(source: bytes) -> str:
    """Allow a source to be run in this process; return its SHA-256."""
    digest = sha256(source)
    _allowed[digest] = source
    return digest


def sha256(source: bytes) -> str:
    """Return the SHA-256 of a source, in hex."""
    return hashlib.sha256(source).hexdigest()


def read(file: Path) -> bytes:
    """Return a file's source.

    Raises:
        ModelError: there is no such file.
    """
    if not file.is_file():
        there = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
        raise ModelError(f"There is no file {file}.{nearest(file.name, there, folder=str(file.parent))}")
    return file.read_bytes()


def source_of(own: Own) -> bytes:
    """Return the source of a network, if it was allowed.

    Raises:
        ModelError: it was not, with what to say to allow it.
    """
    if own.sha256 not in _allowed:
        name = Path(own.file).name
        others = "".join(f" What was given has {digest}." for digest in _allowed)
        raise ModelError(
            f"This network is code, {name}:{own.name} with SHA-256 {own.sha256}, and code is run only if you say so."
            f"{others} Give the file: --model-file {typed(name)}; or, if you trust where the run is from, let its own "
            f"copy be run: --trust-code. (In Python: trust_code={name!r}, or True. To train from it: "
            f"model.file={typed(name)}:{own.name})"
        )
    return _allowed[own.sha256]


def require_same(own: Own, file: Path) -> None:
    """Allow a file that has the recorded source.

    Raises:
        ModelError: it is another; both digests are told.
    """
    found = sha256(read(file))
    if found != own.sha256:
        raise ModelError(
            f"{file} is not what this network was trained as: its SHA-256 is {found}, the record says {own.sha256} "
            f"({own.name} of {own.file}). Give the file as it was."
        )
    allow(file)
