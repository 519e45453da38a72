"""Text in the cells of a terminal, where Hangul takes two."""

from __future__ import annotations

import unicodedata

from rich.cells import cell_len

from bunryu.core.shown import shown


def width(text: str) -> int:
    """Return how many terminal cells `text` takes: two for wide and full-width characters, none for marks."""
    return cell_len(unicodedata.normalize("NFC", text))


def pad(text: str, cells: int) -> str:
    """Fill `text` with spaces to the right until it takes `cells` terminal cells."""
    return text + " " * (cells - width(text))


def shorten(text: str, cells: int) -> str:
    """Return `text` on one line in at most `cells` terminal cells, its middle replaced by an ellipsis."""
    whole = clean(text)
    if width(whole) <= cells:
        return whole
    start, stop = 0, len(whole)
    while width(whole[stop - 1 :]) <= (cells - 1) // 2:
        stop -= 1
    room = cells - 1 - width(whole[stop:])
    while width(whole[: start + 1]) <= room:
        start += 1
    return whole[:start] + "…" + whole[stop:]


def clean(text: str) -> str:
    """Compose Hangul that macOS wrote as separate letters; escape what breaks a line, acts or is not Unicode."""
    return shown(unicodedata.normalize("NFC", text))
