"""Which pattern the names of loose images may have: what a user is offered who has no class folders."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from bunryu.core.errors import count, some, typed
from bunryu.settings.label_pattern import LabelPattern, label_pattern

_USUAL = (
    "{label}.#", "{label}_#", "{label}-#", "{label} (#)", "{label} #", "{label}#", "#.{label}", "#_{label}",
    "#-{label}", "{label}.*", "{label}_*", "{label}-*", "{label}_*_*", "{label}_*_*_*", "{label}-*-*",
)  # fmt: skip
"""The patterns that are tried to help a user, the strictest first."""
_ENOUGH = 0.95
"""Share of the names that a pattern has to fit to be suggested."""
_LOOKED_AT = 2_000


def pattern_hint(names: Sequence[str]) -> str:
    """Return a sentence with the pattern that fits these names and what it makes of them; "" where none does."""
    looked = names[:: max(1, len(names) // _LOOKED_AT)]
    for text in _USUAL:
        counts = _labels(label_pattern(text), looked)
        if counts.total() >= _ENOUGH * len(looked) and 1 < len(counts) <= len(looked) / 2 and _are_words(counts):
            shown = some((f"{label} ({many})" for label, many in sorted(counts.items())), 4)
            return (
                f" Do the names hold the labels? data.label_pattern={typed(text)} makes "
                f"{count(len(counts), 'class', 'classes')}: {shown}."
            )
    return ""


def _labels(pattern: LabelPattern, names: Iterable[str]) -> Counter[str]:
    found = (pattern.find(name) for name in names)
    return Counter(unicodedata.normalize("NFC", parts["label"]) for parts in found if parts)


def _are_words(counts: Mapping[str, int]) -> bool:
    """Return whether labels look like some: each in several files but for a few."""
    return sum(many == 1 for many in counts.values()) <= len(counts) / 4
