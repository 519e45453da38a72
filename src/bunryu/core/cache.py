"""Arrays kept between runs in the user's cache folder: each whole or not there, the longest unused removed first."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import re
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from platformdirs import user_cache_path

from bunryu.core.errors import TrainingError
from bunryu.core.storage import write_atomic

_DIGEST = 32
"""Bytes before the array: the SHA-256 of what follows."""
_OURS = re.compile(r"\.?[0-9a-f]{32}(\.npy)?(\.\d+\.tmp)?")
"""Names that we give to files: those of `key_of_facts`, and what `write_atomic` writes first."""


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
        limit_gb: space for all that is kept, in 10^9 bytes; nothing is read or kept when 0.
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
    with contextlib.suppress(OSError, TrainingError):  # a cache that cannot be written costs time alone
        path.parent.mkdir(parents=True, exist_ok=True)
        if make_room(array.nbytes, limit_gb):
            buffer = io.BytesIO()
            np.save(buffer, array, allow_pickle=False)
            content = buffer.getbuffer()
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


def make_room(size: int, limit_gb: float, spared: Collection[Path] = ()) -> bool:
    """Remove the longest unused files of all kinds until `size` bytes more fit; return whether they do.

    What a kill left half written is counted, and removed, like the others; what others put there is not.

    Args:
        size: of what is to be kept.
        limit_gb: space for all that is kept, in 10^9 bytes.
        spared: files that are not removed. Where what is left could not suffice, none is.
    """
    files = []
    limit = limit_gb * 1e9 - size
    if sum(file.stat().st_size for file in spared if file.exists()) > limit:
        return False
    for file in cache_folder().glob("*/*"):
        if not _OURS.fullmatch(file.name):
            continue
        with contextlib.suppress(FileNotFoundError):  # another run removed it
            stat = file.stat()
            files.append((stat.st_mtime, stat.st_size, file))
    taken = sum(size for _, size, _ in files)
    for _, bytes_of_file, file in sorted(files):
        if taken <= limit:
            break
        if file not in spared:
            with contextlib.suppress(OSError):  # in use on Windows, or gone
                file.unlink()
                taken -= bytes_of_file
    return taken <= limit
