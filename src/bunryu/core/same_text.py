"""The same text written twice: how words and names that come from two places are compared (paths: `same_paths`).

From the strictest to the loosest: as it stands; composed (macOS writes Hangul in parts) and trimmed; as a number
(pandas makes 1.0 of 1, spreadsheets 1 of 01); whatever the case and the width. A looser way is taken only where it
leaves one candidate, and is told.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping

from bunryu.core.errors import some

_UNSEEN = "\ufeff\u200b\u200c\u200d\u2060\u00ad"
"""Marks that take no room: byte-order marks, zero-width spaces, soft hyphens."""
_NUMBER = re.compile(r"([+-]?)0*(\d+)(?:\.(\d*))?", re.ASCII)


def plain(text: str) -> str:
    """Return the text composed (NFC), without spaces and unseen marks around it."""
    if text.isascii():
        return text.strip()
    before, text = "", unicodedata.normalize("NFC", text)
    while text != before:
        before, text = text, text.strip().strip(_UNSEEN)
    return text


def loose(text: str) -> str:
    """Return the text whatever its case, its width (full-width letters) and the spaces in it."""
    return plain(" ".join(unicodedata.normalize("NFKC", plain(text)).casefold().split()))


def as_number(text: str) -> str | None:
    """Return the one spelling of a number: ``1`` of 1, 01, 1.0 and +1; None of what is no number."""
    found = _NUMBER.fullmatch(text.strip())
    if found is None:
        return None
    sign, whole, fraction = found[1], found[2], (found[3] or "").rstrip("0")
    number = f"{whole}.{fraction}" if fraction else whole
    return f"-{number}" if sign == "-" and number != "0" else number


def difference(one: str, other: str) -> str:
    """Say in what two spellings of one text differ, for one where they look alike."""
    if unicodedata.normalize("NFC", one) == unicodedata.normalize("NFC", other):
        return "the Unicode form"
    if plain(one) == plain(other):
        return "spaces around it"
    if as_number(one) is not None and as_number(one) == as_number(other):
        return "how a number is written"
    if plain(one).casefold() == plain(other).casefold():
        return "upper and lower case"
    return "case, width or spaces" if loose(one) == loose(other) else "spelling"


_WAYS: tuple[Callable[[str], str | None], ...] = (plain, as_number, loose)


class Words:
    """Words of one place, in which those of another are looked up."""

    def __init__(self, words: Iterable[str]) -> None:
        self._own = dict.fromkeys(words)
        self._by: list[dict[str, list[str]]] = []

    def find(self, word: str) -> str | None:
        """Return the one of the words that says the same; None where there is none, or more than one."""
        if word in self._own:
            return word
        for way, index in zip(_WAYS, self._indices(), strict=True):
            key = way(word)
            there = [] if key is None else index.get(key, [])
            if there:
                return there[0] if len(there) == 1 else None
        return None

    def spellings(self, words: Iterable[str]) -> dict[str, str]:
        """Return {word: the one of these that says the same} for those of `words` that are spelled otherwise."""
        found = ((word, self.find(word)) for word in dict.fromkeys(words))
        return {word: own for word, own in found if own is not None and own != word}

    def _indices(self) -> list[dict[str, list[str]]]:
        if not self._by:
            for way in _WAYS:
                index: dict[str, list[str]] = defaultdict(list)
                for word in self._own:
                    if (key := way(word)) is not None:
                        index[key].append(word)
                self._by.append(index)
        return self._by


def same_word(word: str, words: Iterable[str]) -> str | None:
    """Return the one of `words` that says the same as `word`; see `Words.find`."""
    return Words(words).find(word)


def changes_told(changed: Mapping[tuple[str, str], int], limit: int = 5) -> str:
    """Say which spellings were taken for which: ``'Cat' for 'cat' (3 times; upper and lower case)``."""
    return some(
        (f"{old!r} for {new!r} ({n} times; {difference(old, new)})" for (old, new), n in changed.items()), limit
    )


def replaced_words(cells: Iterable[str], names: Mapping[str, str]) -> tuple[list[str], Counter[tuple[str, str]]]:
    """Return the cells with some words in place of others, and how often each was."""
    old = list(cells)
    new = [names.get(cell, cell) for cell in old]
    return new, Counter((a, b) for a, b in zip(old, new, strict=True) if a != b)
