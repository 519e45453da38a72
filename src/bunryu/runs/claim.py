"""Who works in an output folder: a new folder is claimed by a marker, which goes when all in it is whole.

A kill leaves the marker, with the names of the files that the command meant to write. The next command that finds it,
and no one at work, takes the folder over: it removes those files and begins again. Anything else in it stays, and is
refused by name. Without a marker nothing is removed.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import Literal

from bunryu.core.errors import RunError, some, typed
from bunryu.core.storage import json_text, read_json, write_atomic

Verb = Literal["train", "ensemble", "split", "augment", "probe", "evaluate"]
MARKER = ".unfinished"
LOCK = ".lock"
_AGAIN = {
    "train": "bunryu train DATA --out",
    "ensemble": "bunryu ensemble RUN RUN --out",
    "split": "bunryu split DATA --out",
    "augment": "bunryu augment DATA --out",
    "probe": "bunryu probe DATA --out",
    "evaluate": "bunryu evaluate RUN --out",
}
OF_THE_WHOLE = ("config.yaml", "model.safetensors", "ensemble.json")
"""Files of which a run has one at least, and which stand for it."""
_TEMPORARY = re.compile(r"\.(.+)\.\d+\.tmp", re.DOTALL)
"""What `write_atomic` was writing: the file's name in it."""


def is_run(folder: Path) -> bool:
    """Return whether this is a run folder."""
    return any((folder / name).exists() for name in OF_THE_WHOLE)


def stopped_before_whole(folder: Path) -> str:
    """Return how to begin again in a folder that a kill left unfinished; "" where it is whole, or not bunryu's."""
    if not (folder / MARKER).is_file() or (folder / "config.yaml").exists():
        return ""
    verb, _ = _read(folder)
    noun = {"train": "training", "evaluate": "evaluation"}.get(verb, verb)
    return (
        f"{folder} was stopped before it was set up, so there is nothing in it to go on with. Begin the {noun} again, "
        f"with the same data and settings, in the same folder: {_AGAIN[verb]} {typed(folder)}"
    )


def require_new(out: Path | None, verb: Verb = "train") -> None:
    """Refuse a folder that is taken: called again before anything slow happens.

    Raises:
        RunError: `out` is there already and not empty, nor left unfinished by a kill.
    """
    if out is None or not out.exists():
        return
    if out.is_dir():
        left = set(_left(out))
        if not left:
            return
        if stopped_before_whole(out):
            _require_only(out, left, _read(out)[1])
            return
    told = "is a file" if out.is_file() else "is not empty"
    way = "Name a new folder."
    if verb == "train" and (out / "config.yaml").exists():
        finished = (out / "metrics.json").exists()
        more = " --more-epochs 5" if finished and not (out / "folds.csv").exists() else ""
        if more or not finished:
            way = f"Name a new folder, or go on with that run: bunryu train --resume {typed(out)}{more}"
    result = "a run is" if verb in ("train", "ensemble") else "results are"
    raise RunError(f"--out: {out} {told}, and {result} never overwritten. {way}")


def claim(name: str, out: Path | None, root: Path, verb: Verb, files: Iterable[str]) -> Path:
    """Make `out`, or the next free ``root/NAME-N``, mark it as unfinished, and return it.

    Args:
        name: of the numbered folder.
        out: the folder; None for a numbered one.
        root: where numbered folders are.
        verb: the command.
        files: all that it writes before it takes the marker away (`whole`), relative, with ``/``; one that ends in
            ``/`` stands for every file in that folder.

    Raises:
        RunError: `out` is there already and not empty, or another command is at work in it.
    """
    require_new(out, verb)
    folder = _next_free(root, name) if out is None else out
    folder.mkdir(parents=True, exist_ok=True)
    with hold(folder):
        require_new(folder, verb)  # while this one waited for the lock, another may have been here
        if (folder / MARKER).is_file():
            _clear(folder, _read(folder)[1])
        write_atomic(folder / MARKER, json_text({"command": verb, "files": sorted(files)}) + "\n")
    return folder


@contextmanager
def claimed(name: str, out: Path | None, root: Path, verb: Verb, files: Iterable[str]) -> Iterator[Path]:
    """Claim a folder for what cannot be gone on with, hold it, and leave it whole; see `claim`."""
    folder = claim(name, out, root, verb, files)
    with hold(folder):
        yield folder
        whole(folder)
    with suppress(OSError):
        (folder / LOCK).unlink(missing_ok=True)


def whole(folder: Path) -> None:
    """Take the marker away: what is in the folder now is complete, or can be gone on with."""
    (folder / MARKER).unlink(missing_ok=True)


@contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold the folder for one command; the system lets go of it even after a kill.

    Raises:
        RunError: another one holds it.
    """
    from filelock import FileLock, Timeout

    held = FileLock(folder / LOCK, timeout=0)
    try:
        held.acquire()
    except Timeout:
        raise RunError(
            f"Another command is running in {folder}. Wait for it, or stop it first; or name another folder with --out."
        ) from None
    try:
        yield
    finally:
        held.release()


def _left(folder: Path) -> Iterator[str]:
    """Yield what is in a folder, relative with ``/``, but for the lock and what was to become a marker."""
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if name != LOCK and _meant(name) != MARKER:
            yield name


def _meant(name: str) -> str:
    """Return the file that a name is, or was to become."""
    path = PurePosixPath(name)
    half = _TEMPORARY.fullmatch(path.name)
    return str(path.with_name(half[1])) if half else name


def _read(folder: Path) -> tuple[Verb, set[str]]:
    """Return the command that was killed here, and the files that it meant to write."""
    found = read_json(folder / MARKER)
    verb, files = (found.get("command"), found.get("files")) if isinstance(found, dict) else (None, None)
    if verb not in _AGAIN or not isinstance(files, list) or not all(isinstance(name, str) for name in files):
        raise RunError(f"{folder / MARKER} is damaged. Remove it, or name a new folder.")
    return verb, {*files, MARKER}


def _require_only(folder: Path, left: set[str], files: set[str]) -> None:
    """Refuse to take over a folder with something in it that the killed command did not mean to write.

    Raises:
        RunError: naming it.
    """
    folders = {str(parent) for name in files for parent in PurePosixPath(f"{name}x").parents}
    strange = []
    for name in sorted(left):
        path, meant = folder / name, _meant(name)
        if path.is_dir() and not path.is_symlink():
            own = name in folders
        else:
            own = meant in files or f"{PurePosixPath(meant).parent}/" in files
        if not own:
            strange.append(name)
    if strange:
        raise RunError(
            f"--out: {folder} was left unfinished, but holds something else, which is never removed: "
            f"{some(strange)}. Move it away, or name a new folder."
        )


def _clear(folder: Path, files: set[str]) -> None:
    """Remove what a killed command left, the marker last: killed here, the next one goes on with it."""
    left = set(_left(folder)) - {MARKER}
    _require_only(folder, left, files)
    for name in sorted(left, key=lambda name: -name.count("/")):  # what is deepest first
        path = folder / name
        if path.is_dir() and not path.is_symlink():
            path.rmdir()
        else:
            path.unlink()


def _next_free(root: Path, name: str) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    taken = [path.name[len(name) + 1 :] for path in root.glob(f"{_escaped(name)}-*")]  # photos-probe-1 is no photos
    number = 1 + max((int(text) for text in taken if text.isascii() and text.isdigit()), default=0)
    while True:
        try:
            (root / f"{name}-{number}").mkdir()
        except FileExistsError:
            number += 1
        else:
            return root / f"{name}-{number}"


def _escaped(name: str) -> str:
    return "".join(f"[{c}]" if c in "*?[" else c for c in name)
