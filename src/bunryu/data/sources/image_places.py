"""The folder that a table's images lie in: the one named, the table's own, the one below it that has them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence
from pathlib import Path

from bunryu.core.errors import DataError, nearest, typed
from bunryu.core.storage import absolute
from bunryu.data.sources.archives import folder_of, is_archive
from bunryu.data.sources.find_files import Located, file_under, folders_with, is_address, locate

_LONGEST_PATH = 64
"""From here on text of the letters of base64 is no path."""
_BASE64 = re.compile(r"(?:data:[\w/+.-]+;base64,)?[A-Za-z0-9+/\s]+=*")


def image_folder(given: str | None, base: Path, *, key: str = "data.image_root") -> Path:
    """Return the absolute folder that a table's paths are relative to; `key` is what the user sets it with.

    Raises:
        DataError: the given one is not there.
    """
    root = Path(os.path.expanduser(given)) if given else base  # noqa: PTH111
    if given and not root.is_dir():
        near = nearest(root.name, _names(root.parent))
        raise DataError(f"{key}: there is no folder {root}.{near}")
    return absolute(root)


def located_below(
    cells: Sequence[str], given: str | None, base: Path, where: str, *, key: str = "data.image_root", typed_as: str = ""
) -> Located:
    """Return the files that a table's paths mean; where none is there, in the one folder below that has them.

    Args:
        cells: the paths.
        given: the folder that the user says they are relative to.
        base: the table's own folder, where none is given.
        where: the table.
        key: what the user sets the folder with.
        typed_as: how that is typed, with the folder in place of ``{}``; the key, = and the folder unless given.

    Raises:
        DataError: none of the files is there, with the folder that may be meant.
    """
    root, mend = image_folder(given, base, key=key), typed_as or f"{key}={{}}"
    located = locate(cells, root, where)
    if located.found:
        return located
    below = [] if given else folders_with(cells, str(root))
    own = [folder for folder in below if Path(folder).name in (Path(where).stem, "images")]
    if len(below) == 1 or len(own) == 1:
        folder = (own if len(own) == 1 else below)[0]
        located = locate(cells, folder, where)
        return dataclasses.replace(located, told=[f"its images are in {folder}", *located.told])
    if below:
        ways = " or ".join(mend.format(typed(folder)) for folder in below[:3])
        raise DataError(
            f"The images of {where} are not in {root} itself, and {len(below)} folders below have such names. Say "
            f"which is meant: {ways}"
        )
    _require_files(where, cells[0], root, mend)
    return located


def _require_files(where: str, first: str, root: Path, mend: str) -> None:
    """Say what is wrong where none of a table's files exist: no paths at all, or the folder that may have them."""
    if is_address(first):
        raise DataError(
            f"The images in {where} are addresses, such as {first}, and none is on this disk. Fetch them first, into "
            f"folders as the addresses have them (wget -x -i LIST), below {root}; the same command then finds each by "
            "the end of its address."
        )
    if len(first) > _LONGEST_PATH and _BASE64.fullmatch(first):
        raise DataError(
            f"The images in {where} are pictures as base64 text, not paths. Write each into a file (in Python: "
            "base64.b64decode), and the names of these files into the column."
        )
    hint = _where_instead(root, first, mend) or f" Name the folder the paths are relative to: {mend.format('FOLDER')}"
    raise DataError(f"None of the images in {where} is where its path points, e.g. {root / first}.{hint}")


def _where_instead(root: Path, first: str, mend: str) -> str:
    """Look for a table's first image in the folders around."""
    near = [folder / name for folder in (root, root.parent) for name in _names(folder)]
    if inside := next((found for path in near if is_archive(path) and (found := folder_of(path, first))), None):
        return f" Did you mean {mend.format(typed(inside))}? They are in that archive, and read from there."
    for folder in (root.parent, *(path for path in near if path.is_dir())):
        if os.path.isfile(file_under(folder, first)):  # noqa: PTH113
            return f" Did you mean {mend.format(folder)}?"
    for folder in (root, *(path for path in near if path.is_dir())):
        for suffix in (".jpg", ".jpeg", ".png"):
            if os.path.isfile(file_under(folder, first + suffix)):  # noqa: PTH113
                return f" There is {folder / first}{suffix}. Did you mean {mend.format(folder)}?"
    return ""


def _names(folder: Path) -> list[str]:
    return sorted(os.listdir(folder)) if folder.is_dir() else []  # noqa: PTH208
