"""Labels that may be one: named before training (`likely_twins`), and made one where the user says so (`renamed`)."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from decimal import Decimal

from bunryu.core.errors import ConfigError, nearest, some, typed
from bunryu.core.same_text import as_number, changes_told, loose, replaced_words
from bunryu.data.multi_label import JOIN
from bunryu.data.sources.columns import Rows
from bunryu.data.table import joined

_OFTEN = 20
"""How many times as often as a rare label one of nearly its spelling is, so that the rare one may be a slip."""
_LONG = 5
"""Letters of a label from which on one letter more or less may be a slip; 3 for a plural."""
_MOST_LABELS = 3000
_MARKS = re.compile(r"[-_ '\"`\u2018\u2019\u201c\u201d]")
_POWER = re.compile(r"\d+(?:\.\d+)?e[+-]?\d\d?", re.ASCII | re.IGNORECASE)
_YAML_WORDS = ("yes", "no", "y", "n", "on", "off", "true", "false", "null")


def renamed(rows: Rows, names: Mapping[str, str] | None, *, strict: bool) -> Rows:
    """Return rows with some labels under another name (`data.rename_labels`); of several columns in each.

    Args:
        rows: the rows of all sources.
        names: label -> its new name.
        strict: refuse a label that there is not; data to measure need not have all.

    Raises:
        ConfigError: a label that there is not.
    """
    if not names:
        return rows
    parts = dict(list(rows.labels.items())[1:]) or dict(rows.labels)
    there = set(rows.label_names) or {cell for cells in parts.values() for cell in cells}
    unknown = [name for name in names if name not in there]
    if unknown and strict:
        raise ConfigError(
            f"data.rename_labels: there is no label {unknown[0]!r}.{nearest(unknown[0], there)} The labels: "
            f"{some(sorted(there), 12)}."
        )
    told: Counter[tuple[str, str]] = Counter()
    labels: dict[str, list[str]] = {}
    for column, cells in parts.items():
        if rows.label_names:
            labels[column] = [_renamed_set(cell, names) for cell in cells]
            told += Counter((name, names[name]) for cell in cells for name in cell.split(JOIN) if name in names)
        else:
            labels[column], changed = replaced_words(cells, names)
            told += changed
    if len(rows.labels) > 1:
        labels = {next(iter(rows.labels)): [joined(cells) for cells in zip(*labels.values(), strict=True)], **labels}
    note = [f"labels renamed (data.rename_labels): {changes_told(told)}"]
    return dataclasses.replace(
        rows,
        labels=labels,
        published=_published(rows, labels, names),
        notes=[*rows.notes, *(note if told else [])],
        label_names=tuple(dict.fromkeys(names.get(name, name) for name in rows.label_names)),
    )


def _renamed_set(cell: str, names: Mapping[str, str]) -> str:
    return JOIN.join(dict.fromkeys(names.get(name, name) for name in cell.split(JOIN)))


def _published(rows: Rows, labels: Mapping[str, Sequence[str]], names: Mapping[str, str]) -> dict[str, dict[str, int]]:
    """Return the numbers of the classes: one that takes another's name leaves its own number."""
    found = {}
    for column, numbers in rows.published.items():
        own = {new: numbers[old] for old, new in names.items() if old in numbers} | numbers
        if set(labels[column]) <= set(own):
            found[column] = {name: number for name, number in own.items() if name not in names}
    return found


def likely_twins(column: str, counts: Mapping[str, int]) -> list[str]:
    """Name the labels that may be one, in sentences: they stay classes of their own.

    Args:
        column: what the label column is called.
        counts: label -> its rows.
    """
    pairs = dict.fromkeys([*_same_but_for_marks(counts), *_slips(counts)])
    if not pairs:
        return []
    told = some((f"{one!r} ({counts[one]:,}) and {other!r} ({counts[other]:,})" for one, other in pairs), 5)
    mend = typed(
        "data.rename_labels={" + ", ".join(f"{yaml_text(a)}: {yaml_text(b)}" for a, b in list(pairs)[:5]) + "}"
    )
    return [f"column {column!r}: labels that may be one: {told}; classes of their own here; to make them one: {mend}"]


def yaml_text(name: str) -> str:
    """Return a label as one writes it in a YAML mapping."""
    plain = name.replace("_", "a").isalnum() and not name[0].isdigit() and name.lower() not in _YAML_WORDS
    return name if plain else "'" + name.replace("'", "''") + "'"


def _same_but_for_marks(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return pairs that differ in case, spaces, marks between or around words, or in a plural's s; the rarer first."""
    alike: dict[str, list[str]] = defaultdict(list)
    for name in counts:
        key = _power(name) or _MARKS.sub("", loose(name))
        alike[key or name].append(name)
    found = []
    for key, names in alike.items():
        plural = alike.get(f"{key}s", []) if len(key) >= 3 and key.isalpha() else []
        if len(names) + len(plural) > 1:
            *rarer, most = sorted([*names, *plural], key=lambda name: (counts[name], -len(name), name))
            found += [(name, most) for name in rarer]
    return found


def _power(name: str) -> str | None:
    """Return a number that is written with a power of ten, as spreadsheets write long ones, without it."""
    found = _POWER.fullmatch(name.strip())
    return as_number(f"{Decimal(found[0]):f}") if found else None


def _slips(counts: Mapping[str, int]) -> list[tuple[str, str]]:
    """Return rare labels beside a frequent one that differs in one letter: left out, put in, or another."""
    if len(counts) > _MOST_LABELS:
        return []
    frequent = [name for name in counts if len(name) >= _LONG and name.isalpha()]
    without: dict[str, set[str]] = defaultdict(set)
    for name in frequent:
        for key in (name.casefold(), *_one_less(name)):
            without[key].add(name)
    found = []
    for name in counts:
        if len(name) < _LONG - 1 or not name.isalpha():
            continue
        near = set().union(*(without.get(key, set()) for key in (name.casefold(), *_one_less(name)))) - {name}
        near = {other for other in near if counts[other] >= _OFTEN * counts[name] and abs(len(other) - len(name)) < 2}
        if near:
            found.append((name, max(near, key=lambda other: (counts[other], other))))
    return found


def _one_less(name: str) -> list[str]:
    """Return the spellings of a label without one of its letters."""
    name = name.casefold()
    return [name[:at] + name[at + 1 :] for at in range(len(name))]
