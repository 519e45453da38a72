"""Text in the cells of a terminal, where Hangul takes two (Unicode Standard Annex 11)."""

from __future__ import annotations

import unicodedata


def width(text: str) -> int:
    """Return how many terminal cells `text` takes: two for wide and full-width characters, none for marks."""
    return sum(_cells(char) for char in unicodedata.normalize("NFC", text))


def pad(text: str, cells: int) -> str:
    """Fill `text` with spaces to the right until it takes `cells` terminal cells."""
    return text + " " * (cells - width(text))


def shorten(text: str, cells: int) -> str:
    """Return `text` on one line in at most `cells` terminal cells, its middle replaced by an ellipsis."""
    whole = clean(text)
    if width(whole) <= cells:
        return whole
    tail = _head(whole[::-1], (cells - 1) // 2)[::-1]
    return _head(whole, cells - 1 - width(tail)) + "…" + tail


def clean(text: str) -> str:
    """Compose Hangul that macOS wrote as separate letters; replace what breaks a line or is not Unicode."""
    composed = unicodedata.normalize("NFC", text)
    swaps = {"Cc": " ", "Zl": " ", "Zp": " ", "Cs": "\ufffd"}
    return "".join(swaps.get(unicodedata.category(char), char) for char in composed)


def _cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me", "Cf", "Cc"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _head(text: str, cells: int) -> str:
    taken = 0
    for i, char in enumerate(text):
        taken += _cells(char)
        if taken > cells:
            return text[:i]
    return text
