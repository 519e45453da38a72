"""SHA256SUMS of a run: the digests of what it wrote and reads back, so that a damaged or edited file is noticed.

In the format of `sha256sum`, which can check it too. A file that is written anew is first taken out and afterwards put
in again: a kill between the two leaves it unlisted, and so never accused wrongly.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from bunryu.core.errors import RunError, typed
from bunryu.core.storage import write_atomic

NAME = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")
_MOST_BYTES = 10_000_000
"""Of the list; a file that is larger is none of ours."""


def note(folder: Path, files: Iterable[Path]) -> None:
    """Put the present digests of those of `files`, in `folder` or below it, that are there into its list."""
    found = {file.relative_to(folder).as_posix(): _digest(file) for file in files if file.exists()}
    _write(folder, read(folder) | found)


def forget(folder: Path, files: Iterable[Path]) -> None:
    """Take files out of the list, since they are about to be written anew."""
    listed, gone = read(folder), {file.relative_to(folder).as_posix() for file in files}
    if gone & listed.keys():
        _write(folder, {name: digest for name, digest in listed.items() if name not in gone})


def require_same(folder: Path, file: Path, mend: str) -> None:
    """Refuse a file that is not as the run wrote it; one that is not there, or not in the list, passes.

    Args:
        folder: of the run.
        file: in it.
        mend: what to do where the change was meant.

    Raises:
        RunError: it was changed or damaged since, or the list was.
    """
    if not file.is_file():
        return
    name = file.relative_to(folder).as_posix()
    said = read(folder).get(name)
    if said is None or said == (found := _digest(file)):
        return
    raise RunError(
        f"{file} is not as the run wrote it: it was damaged, or edited (SHA-256 {found[:12]}..., {NAME} beside it says "
        f"{said[:12]}...). Put it back as it was. {mend}To go on with the file as it is now, remove the line of "
        f"{name} from {typed(folder / NAME)}."
    )


def read(folder: Path) -> dict[str, str]:
    """Return the list: name -> SHA-256 in hex; empty where there is none, as in a run of an earlier version.

    Raises:
        RunError: it is damaged.
    """
    path = folder / NAME
    if not path.exists():
        return {}
    try:
        if not path.is_file() or path.stat().st_size > _MOST_BYTES:
            raise ValueError
        *lines, last = path.read_text(encoding="utf-8").split("\n")
        pairs = [match.groups() for match in map(_LINE.fullmatch, lines) if match]
        if last or len(pairs) < len(lines):
            raise ValueError
    except ValueError:
        raise RunError(
            f"{path} is damaged: expected lines of a SHA-256 and the name of a file. Put it back as it was, or remove "
            "it, if you trust the files of the run as they are now."
        ) from None
    return {name: digest for digest, name in pairs}


def _write(folder: Path, digests: Mapping[str, str]) -> None:
    write_atomic(folder / NAME, "".join(f"{digest}  {name}\n" for name, digest in sorted(digests.items())))


def _digest(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
