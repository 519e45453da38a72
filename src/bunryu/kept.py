"""Arrays kept between runs in the user's cache folder: each whole or not there, the longest unused removed first."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from bunryu.errors import TrainingError
from bunryu.storage import write_atomic

_DIGEST = 32
"""Bytes before the array: the SHA-256 of what follows."""


def cache_folder() -> Path:
    """Return where things are kept between runs: $BUNRYU_CACHE, else the user's cache folder."""
    folder = os.environ.get("BUNRYU_CACHE")
    return Path(folder) if folder else user_cache_path("bunryu", appauthor=False)


def key_of_facts(**facts: Any) -> str:
    """Return the name of what follows from `facts` (JSON values) alone."""
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:32]


def kept(kind: str, key: str, make: Callable[[], NDArray[Any]], limit_gb: float) -> NDArray[Any]:
    """Return the array of that key, made now or by an earlier run.

    Args:
        kind: the folder it is kept in.
        key: names everything that the array follows from.
        make: makes it where it is not kept.
        limit_gb: space for all of the kind, in 10^9 bytes; nothing is read or kept when 0.
    """
    if not limit_gb:
        return make()
    path = cache_folder() / kind / key
    found = _read(path)
    if found is not None:
        with contextlib.suppress(OSError):  # someone else's: it can be read all the same
            path.touch()
        return found
    array = make()
    if array.nbytes <= limit_gb * 1e9:
        buffer = io.BytesIO()
        np.save(buffer, array, allow_pickle=False)
        content = buffer.getbuffer()
        with contextlib.suppress(OSError, TrainingError):  # a cache that cannot be written costs time alone
            path.parent.mkdir(parents=True, exist_ok=True)
            _make_room(path.parent, limit_gb * 1e9 - array.nbytes)
            write_atomic(path, hashlib.sha256(content).digest() + content)
    return array


def _read(path: Path) -> NDArray[Any] | None:
    """Return the array of a file, or None where there is none, or a damaged one."""
    try:
        content = memoryview(path.read_bytes())
    except OSError:
        return None
    digest, array = content[:_DIGEST], content[_DIGEST:]
    if hashlib.sha256(array).digest() != digest:
        return None
    found: NDArray[Any] = np.load(io.BytesIO(array), allow_pickle=False)
    return found


def _make_room(folder: Path, limit: float) -> None:
    """Remove the longest unused files, also what a kill left half written, until the rest takes `limit` bytes."""
    files = []
    for file in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):  # another run removed it
            stat = file.stat()
            files.append((stat.st_mtime, stat.st_size, file))
    taken = sum(size for _, size, _ in files)
    for _, size, file in sorted(files):
        if taken <= limit:
            return
        with contextlib.suppress(OSError):  # in use on Windows, or gone
            file.unlink()
            taken -= size
