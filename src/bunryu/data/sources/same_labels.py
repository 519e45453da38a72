"""Labels that are one and written twice: spaces, Unicode forms and numbers in a table, spellings across splits."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence

from bunryu.core.errors import typed
from bunryu.core.same_text import Words, as_number, changes_told, plain, replaced_words
from bunryu.data.table import joined

_EMPTY = ("nan", "<na>", "nat", "null", "none", "n/a", "na", "#n/a")
"""What programs write for an empty cell, lower-case; words too, that a class may be called."""
_MISSING = _EMPTY[:3]
"""Of these what no class beside numbers is called."""


def one_spelling(name: str, cells: Sequence[str]) -> tuple[list[str], list[str]]:
    """Return a label column with one spelling of each label, and what was changed, in sentences.

    Spaces around a label and its Unicode form never make another class. Where every label is a number, neither does how
    it is written (0, 0.0 and 00), and a word for an empty cell is one; elsewhere such a word is a class like others.
    """
    trimmed = [plain(cell) for cell in cells]
    spaced = sum(old.strip() != old for old in cells)
    told = [f"column {name!r}: spaces around {spaced:,} of {len(cells):,} labels are no part of them"] if spaced else []
    counts = Counter(trimmed)
    words = [word for word in counts if word and word.lower() not in _EMPTY]
    empty = [word for word in counts if word and word.lower() in _EMPTY]
    if words and all(as_number(word) is not None for word in words):
        names = {
            **_of_numbers(words, counts),
            **dict.fromkeys((word for word in empty if word.lower() in _MISSING), ""),
        }
        empty = [word for word in empty if word not in names]
        trimmed, changed = replaced_words(trimmed, names)
        if numbers := {pair: n for pair, n in changed.items() if pair[1]}:
            told.append(f"column {name!r}: one number in two spellings is one class: {changes_told(numbers)}")
    if empty:
        shown = ", ".join(f"{word!r} ({counts[word]})" for word in empty)
        told.append(f"column {name!r}: {shown} may stand for empty cells; a class here (else remove the rows)")
    return trimmed, [*told, *_several_at_once(name, counts)]


def _several_at_once(name: str, counts: Mapping[str, int]) -> list[str]:
    """Say it where cells seem to list labels that hold together: parts of them stand in other cells as well."""
    for separator in ("|", ";", ","):
        parts_of = {word: {part.strip() for part in word.split(separator)} for word in counts if word}
        lists = [word for word, parts in parts_of.items() if len(parts) > 1]
        often = Counter(part for parts in parts_of.values() for part in parts)
        if lists and sum(n > 1 for n in often.values()) > 1:
            mend = typed(f"data.multi_label={name}")
            mend += "" if separator == "|" else " " + typed(f"data.label_separator={separator}")
            return [
                f"column {name!r}: {len(lists)} of {len(parts_of)} classes seem to be several labels at once, such as "
                f"{lists[0]!r}. To learn each label: {mend}"
            ]
    return []


def _of_numbers(words: Sequence[str], counts: Mapping[str, int]) -> dict[str, str]:
    """Return spelling -> the one of its number: the shortest, and of these the most common."""
    spellings: dict[str | None, list[str]] = defaultdict(list)
    for word in words:
        spellings[as_number(word)].append(word)
    best = {number: min(same, key=lambda word: (len(word), -counts[word], word)) for number, same in spellings.items()}
    return {word: best[as_number(word)] for word in words if best[as_number(word)] != word}


def as_in_training(
    labels: Mapping[str, Sequence[str]], splits: Sequence[str]
) -> tuple[dict[str, list[str]], list[str]]:
    """Return the labels of validation and test rows as the training rows spell them, and what was changed.

    Args:
        labels: label column -> a label a row; of several the first joins the others.
        splits: of each row; the empty text is training too.
    """
    found: dict[str, list[str]] = {}
    told: list[str] = []
    for name, cells in labels.items():
        learned = {cell for cell, split in zip(cells, splits, strict=True) if split in ("", "train")}
        found[name], changed = replaced_words(cells, Words(learned).spellings(cells))
        if changed and (name != next(iter(labels)) or len(labels) == 1):
            told.append(f"column {name!r}: labels of other splits taken as in training: {changes_told(changed)}")
    target, *parts = found
    if parts:
        found[target] = [joined(values) for values in zip(*(found[part] for part in parts), strict=True)]
    return found, told
