"""Every error that bunryu raises on purpose, drawn.

    BunryuError                 one message, exit code 2, no traceback on the command line
    ├── ConfigError             a wrong key, type, value or combination of settings
    ├── DataError               the images, labels or splits do not allow what was asked
    │   ├── ImageError          one image that cannot be used (skipped, counted, listed)
    │   └── LabelError          a label that the model does not know, or that is ambiguous
    ├── ModelError              an unknown architecture, weights that cannot be had or do not fit
    ├── DeviceError             a device or precision that is not there, or out of memory
    ├── RunError                a run folder: missing, taken, in use, damaged, or changed data
    ├── TrainingError           training cannot go on (non-finite loss, no space left)
    └── Interrupted             stopped by Ctrl-C or SIGTERM after saving; exit code 130

Messages say what, where, expected, received, the nearest right thing, and how to mend.
"""

from __future__ import annotations

import difflib
import heapq
import re
import shlex
from collections.abc import Iterable
from itertools import takewhile

from bunryu.core.shown import acts, shown

_MOST_CHOICES = 2_000


class BunryuError(Exception):
    """Base of every error a user can mend. ``str(error)`` is the whole message.

    Each argument is one line: what a name from outside has in it begins no other, and acts on no terminal (`shown`).
    """

    exit_code = 2

    def __init__(self, *lines: object) -> None:
        super().__init__(*map(shown, lines))

    def __str__(self) -> str:
        return "\n".join(self.args)


class ConfigError(BunryuError):
    """A wrong key, type, value or combination of settings."""


class DataError(BunryuError):
    """The images, labels or splits do not allow what was asked."""


class ImageError(DataError):
    """One image that cannot be used; the message is the reason, without the path."""


class LabelError(DataError):
    """A label that the model does not know, or that is ambiguous."""


class ModelError(BunryuError):
    """An unknown architecture, or weights that cannot be had or do not fit."""


class DeviceError(BunryuError):
    """A device or precision that this machine does not have, or memory that ran out."""


class RunError(BunryuError):
    """A run folder that is missing, taken, in use or damaged, or whose data changed."""


class TrainingError(BunryuError):
    """Training cannot go on: non-finite loss, or no space left for a checkpoint."""


class Interrupted(BunryuError):
    """Stopped by Ctrl-C or SIGTERM; the state was saved first."""

    exit_code = 130


def nearest(word: str, choices: Iterable[str], *, quote: str = "'", folder: str = "") -> str:
    """Return ``" Did you mean 'x'?"`` for the nearest of `choices` (in `folder`), or an empty string."""
    looked = list(choices)
    if len(looked) > _MOST_CHOICES:  # difflib is slow: of a large folder's names, those that begin most alike
        looked = heapq.nlargest(_MOST_CHOICES, looked, key=lambda choice: _alike(word, choice))
    by_lower = {choice.lower(): choice for choice in reversed(looked)}
    found = difflib.get_close_matches(word.lower(), by_lower, n=1, cutoff=0.5)
    found = found or [choice.lower() for choice in looked if len(word) > 1 and word.lower() in choice.lower()][:1]
    if not found:
        return ""
    within = f"{folder}/" if folder not in ("", ".") else ""
    return f" Did you mean {quote}{within}{by_lower[found[0]]}{quote}?"


def _alike(a: str, b: str) -> int:
    """Return with how many equal characters two words begin."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(a, b, strict=False)))


def some(items: Iterable[object], limit: int = 5) -> str:
    """Return `items` joined by commas, cut after `limit` with the number left out."""
    texts = [str(item) for item in items]
    rest = len(texts) - limit
    return ", ".join(texts[:limit]) + (f" and {rest} more" if rest > 0 else "")


def typed(path: object) -> str:
    r"""Return a path as one types it on a command line: quoted where it has a space or another special character.

    What acts on a terminal, or is no text, is typed byte by byte as ``$'\x1b'``, which bash and zsh know.
    """
    text = str(path)
    if acts(text):
        return f"$'{''.join(map(_typed_bytes, text))}'"
    if re.fullmatch(r"[\w@%+=:,./\\~-]+", text):
        return text
    return shlex.quote(text) if set(text) & set('"$`!') else f'"{text}"'  # cmd.exe knows double quotes alone


def _typed_bytes(char: str) -> str:
    if char in "\\'":
        return f"\\{char}"
    if not acts(char):
        return char
    errors = "surrogateescape" if "\udc80" <= char <= "\udcff" else "surrogatepass"
    return "".join(f"\\x{byte:02x}" for byte in char.encode("utf-8", errors))


def count(number: int, noun: str, plural: str = "") -> str:
    """Return ``"1 file"``, ``"2 files"``, ``"1,000 files"``; `plural` where it is not just an s."""
    return f"{number:,} {noun if number == 1 else plural or noun + 's'}"
