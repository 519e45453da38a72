"""Files that are either whole or not there: written beside, flushed to disk, renamed."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bunryu.core.errors import BunryuError, TrainingError
from bunryu.core.shown import json_escaped
from bunryu.core.small_json import MOST_CHARACTERS, parsed, require_few_values


def absolute(path: str | Path) -> Path:
    """Return the path from the root, ``~`` and ``..`` resolved; links stay, but where a ``..`` leads out of one."""
    given = os.path.expanduser(path)  # noqa: PTH111
    plain, real = os.path.abspath(given), os.path.realpath(given)  # noqa: PTH100
    return Path(plain if os.path.realpath(plain) == real else real)


def write_atomic(path: Path, content: bytes | str | Iterable[str | bytes | memoryview]) -> None:
    """Write `content`, whole or piece by piece, to `path`: a reader, or a kill, sees the old file or the new one.

    Raises:
        TrainingError: the disk is full; the old file, if any, is untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    size = 0
    try:
        with temporary.open("wb") as file:
            for piece in [content] if isinstance(content, (bytes, str)) else content:
                payload = as_bytes(piece) if isinstance(piece, str) else piece
                size += len(payload)
                file.write(payload)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        if isinstance(error, OSError):
            if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                raise _no_space(path, size, error) from error
            error.filename = str(path)
        raise
    _sync_folder(path.parent)


def as_bytes(text: str) -> bytes:
    """Return UTF-8; the bytes of a file's name that is none (as Python holds them) are themselves again."""
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # half a character, out of an escape of JSON or YAML
        return text.encode("utf-8", "backslashreplace")


def remove_leftovers(folder: Path) -> None:
    """Remove what a kill left half written in `folder`; only for who knows that no one writes there now."""
    for temporary in folder.glob(".*.tmp"):
        if temporary.is_file():
            temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write `value` as indented UTF-8 JSON, atomically. Hangul stays readable."""
    write_atomic(path, json_text(value, indent=2, allow_nan=False) + "\n")


def json_text(value: Any, **options: Any) -> str:
    """Return JSON with Hangul as it is, and what acts on a terminal as an escape: a reader finds the same text."""
    return json_escaped(json.dumps(value, ensure_ascii=False, **options))


def read_json(path: Path) -> Any:
    """Read UTF-8 JSON, with the caps of `small_json`.

    Raises:
        BunryuError: it is missing, damaged, or no file.
    """
    try:
        return parsed(read_text(path, MOST_CHARACTERS))
    except (OSError, ValueError) as error:
        raise BunryuError(f"{path} is damaged or cannot be read ({error}). Put it back as it was.") from None


def require_regular(path: Path) -> None:
    """Refuse what is there but no file, such as a folder, or a pipe that one would wait on for ever.

    Raises:
        OSError: it is none, or not there.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(errno.EINVAL, "it is not a regular file", str(path))


def read_text(path: Path, most: int) -> str:
    """Read a file of UTF-8 text of at most so many bytes.

    Raises:
        OSError: there is none, or it is no regular file.
        ValueError: it is larger, or not UTF-8.
    """
    require_regular(path)
    if (size := path.stat().st_size) > most:
        raise ValueError(f"it has {size:,} bytes, more than {most:,}")
    return path.read_text(encoding="utf-8-sig")


def read_jsonl(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines, with the caps of `small_json`; a last line cut short by a kill is left out.

    Raises:
        BunryuError: another line is no JSON object, or it is no file.
    """
    if not path.exists():
        return []
    try:
        text = read_text(path, MOST_CHARACTERS)
        require_few_values([text])
        return list(_whole_lines(text))
    except (OSError, ValueError) as error:
        raise BunryuError(f"{path} is damaged or cannot be read ({error}). Put it back as it was.") from None


def write_jsonl(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write JSON lines atomically."""
    write_atomic(path, "".join(json_text(row) + "\n" for row in rows))


def _whole_lines(text: str) -> Iterator[dict[str, Any]]:
    *lines, last = text.split("\n")
    for number, line in enumerate(lines, 1):
        row = parsed(line, finite=False)
        if not isinstance(row, dict):
            raise ValueError(f"line {number}: expected a JSON object")
        yield row
    with contextlib.suppress(ValueError):
        if isinstance(row := parsed(last, finite=False), dict):
            yield row


def _sync_folder(folder: Path) -> None:
    """Make the rename itself durable where the system knows how (not on Windows)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def _no_space(path: Path, size: int, error: OSError) -> TrainingError:
    free = shutil.disk_usage(path.parent).free
    return TrainingError(
        f"No space left to write {path} ({error.strerror}): it needs at least {size / 1e6:.1f} MB and {free / 1e6:.1f} "
        "MB of the disk are free. The file that was there before is untouched. Free some space "
        "(a training then goes on with `bunryu train --resume RUN`), or choose another disk with --out."
    )
