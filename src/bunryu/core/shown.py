"""Text from outside, such as names of files, as people may see it: on one line, with nothing in it that acts.

A terminal obeys what a name holds: ESC clears the screen, a line feed begins a line that we never wrote, a
right-to-left mark turns the rest around. So everything that leaves bunryu for a person (terminal, errors, reports,
pictures) goes through `shown`, line by line, where it leaves; files for programs (CSV, JSON) keep true names.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

_ACTING = re.compile(
    "["
    "\x00-\x1f\x7f-\x9f"  # control characters: C0, DEL, C1
    "\u2028\u2029"  # further ends of lines
    "\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069"  # which way text runs
    "\u00ad\u200b\u2060-\u2064\u206a-\u206f\ufeff\ufff9-\ufffb"  # not seen; but the joiners of scripts and emoji are
    "\ud800-\udfff"  # bytes that are no text, as Python holds them, and halves of characters
    "]"
)
_SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def shown(text: object) -> str:
    r"""Return `text` on one line, each character that acts or is not seen as an escape such as ``\x1b``.

    Hangul, emoji and combining marks stay; so do backslashes, so that to show twice is to show once.
    """
    return _ACTING.sub(_escape, str(text))


def shown_lines(lines: Iterable[object]) -> str:
    """Return several lines in one text; a line feed within one of them begins no line."""
    return "\n".join(map(shown, lines))


def acts(text: str) -> bool:
    """Return whether `text` has something that `shown` escapes."""
    return _ACTING.search(text) is not None


def json_escaped(text: str) -> str:
    """Return JSON in which nothing acts; what it holds is the same. Its own ends of lines and indents stay."""
    return _ACTING.sub(lambda found: found[0] if found[0] in "\n\t" else f"\\u{ord(found[0]):04x}", text)


def _escape(found: re.Match[str]) -> str:
    char = found[0]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:  # how Python holds the byte of a name that is no UTF-8
        return f"\\x{code - 0xDC00:02x}"
    return _SHORT.get(char) or (f"\\x{code:02x}" if code < 0x80 else f"\\u{code:04x}")
