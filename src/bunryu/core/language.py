"""The language that the terminal speaks: what was said in English, in Korean where the catalogue has it.

Messages are written in English where they arise. Just before a line is printed it is looked up here: ``ko.po`` holds
English templates and their Korean. A line is translated only where the catalogue can read it in exactly one way, so
that names from outside are passed through as they are, and taken for no text of ours; all other lines stay English.
Exceptions and files are English always (docs/decisions/54-korean-is-looked-up.md).

Templates are written as for `str.format`:

- ``{path}``: text from outside, not empty;
- ``{n:d}``: a number; ``{name:w}``: a word, without spaces; ``{names:words}``: words with commas between;
- ``{files:count}``: a number and a noun, as `errors.count` writes them, of the context ``count``;
- ``{names:some}``: a list, as `errors.some` writes it;
- ``{why:KIND}``: one of the templates whose ``msgctxt`` is KIND; ``{hint:KIND?}`` may be missing, ``{word:KIND~}`` may
  be another text, and ``{parts:KIND*}`` are several, with semicolons between.

In Korean ``{을/를}`` is the particle that fits what stands before it. A line takes time in proportion to its length.
"""

from __future__ import annotations

import json
import os
import re
import string
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from itertools import product
from pathlib import Path
from typing import Literal, NamedTuple

from bunryu.core.particles import particle

Language = Literal["en", "ko"]
VARIABLE = "BUNRYU_LANG"
CATALOGUE = Path(__file__).with_name("ko.po")
_NUMBER = r"[\d,]*\d(?:\.\d+)?%?"
_EXACT = {"d": _NUMBER, "w": r"\S+", "words": r"[^\s,;]+(?:, [^\s,;]+)*"}
_SENTENCES = re.compile(r"[.?!] [A-Z]")
_REST = re.compile(rf"(.+) and ({_NUMBER}) more")


def asked() -> tuple[Language, str]:
    """Return the language that the environment asks for, and a note where it asks for one that cannot be had.

    BUNRYU_LANG wins (ko or en); else the locale, as POSIX reads it: the first of LC_ALL, LC_MESSAGES and LANG that is
    set.
    """
    named = os.environ.get(VARIABLE, "").strip().lower()
    locale = next(filter(None, map(os.environ.get, ("LC_ALL", "LC_MESSAGES", "LANG"))), "")
    korean = re.match(r"ko([_.-]|$)", named or locale.lower()) is not None
    if named and not korean and not re.match(r"en([_.-]|$)", named):
        return "en", f"{VARIABLE}={named}: expected ko or en; messages are in English."
    if not korean:
        return "en", ""
    encoding = getattr(sys.stderr, "encoding", None) or "utf-8"
    try:
        "한글".encode(encoding)
    except (UnicodeEncodeError, LookupError):
        return "en", f"{VARIABLE}={named}: {encoding} has no Hangul; messages are in English." if named else ""
    return "ko", ""


def in_korean(line: str) -> str | None:
    """Return a line in Korean; None where it cannot be read in exactly one way.

    A line that begins with a word of ours and a colon (``data: ...``) is looked up without it as well.
    """
    return _only(_by_first_word(line))


def _by_first_word(line: str) -> set[str | None]:
    found = _readings(line, "")
    word, colon, rest = line.partition(": ")
    if colon and (known := _only(_readings(word, "word"))):
        found |= {told and f"{known}: {told}" for told in _by_first_word(rest)}
    return found


def _only(found: set[str | None]) -> str | None:
    return next(iter(found)) if len(found) == 1 else None


class Slot(NamedTuple):
    """A field of a template: its name, what stands in it, and how often: once "", perhaps "?", or as `_value` says."""

    name: str
    kind: str
    often: str

    @property
    def outside(self) -> bool:
        """Whether it is found in the line, and not made of further templates."""
        return self.kind in ("", "count", "some", *_EXACT) or self.often in ("~", "*")


class Entry(NamedTuple):
    """A template and its Korean: literal text and fields in turn."""

    english: tuple[str | Slot, ...]
    korean: str


def read_catalogue(text: str) -> dict[str, list[Entry]]:
    """Return the templates of each context of a catalogue, with ``msgctxt``, ``msgid``, ``msgstr`` a line each.

    Raises:
        ValueError: a line that is none of these.
    """
    entries: dict[str, list[Entry]] = {}
    context = english = ""
    for line in text.splitlines():
        if not line or line.startswith("#"):
            continue
        word, _, quoted = line.partition(" ")
        value = json.loads(quoted)
        match word:
            case "msgctxt":
                context = value
            case "msgid":
                english = value
            case "msgstr":
                if english:  # the first is gettext's head
                    entries.setdefault(context, []).append(Entry(tuple(_parts(english)), value))
                context = ""
            case _:
                raise ValueError(line)
    return entries


def _parts(template: str) -> Iterator[str | Slot]:
    for literal, name, kind, _ in string.Formatter().parse(template):
        if literal:
            yield literal
        if name is not None:
            bare = (kind or "").rstrip("?~*")
            yield Slot(name, bare, (kind or "").removeprefix(bare))


@cache
def _catalogue() -> Mapping[str, list[Entry]]:
    return read_catalogue(CATALOGUE.read_text(encoding="utf-8"))


class Spelling(NamedTuple):
    """One way to spell a template: which of the templates of its fields stands in each, and what is left to find."""

    parts: tuple[str | Slot, ...]
    chosen: Mapping[str, Entry | None]


@cache
def _spellings(entry: Entry, prefix: str = "") -> list[Spelling]:
    """Return every way to spell a template; names of fields within fields are joined by full stops."""
    ways: list[list[Spelling]] = []
    for part in entry.english:
        if isinstance(part, str) or part.outside:
            kept = part if isinstance(part, str) else part._replace(name=prefix + part.name)
            ways.append([Spelling((kept,), {})])
            continue
        name = prefix + part.name
        inner = [Spelling((), {name: None})] if part.often == "?" else []
        for choice in _catalogue().get(part.kind, []):
            inner += [Spelling(s.parts, {name: choice, **s.chosen}) for s in _spellings(choice, f"{name}.")]
        ways.append(inner)
    return [
        Spelling(tuple(p for s in found for p in s.parts), {k: v for s in found for k, v in s.chosen.items()})
        for found in product(*ways)
    ]


@cache
def _nouns() -> str:
    """Return a regular expression for the nouns that are counted."""
    nouns = sorted((str(entry.english[1]) for entry in _catalogue()["count"]), key=len, reverse=True)
    return "|".join(map(re.escape, nouns))


class Pattern(NamedTuple):
    """A spelling made ready to read: what stands between the texts from outside, as expressions of bounded length."""

    between: tuple[re.Pattern[str], ...]
    names: tuple[Slot, ...]
    literals: tuple[str, ...]


@cache
def _pattern(parts: tuple[str | Slot, ...]) -> Pattern:
    between, names = [""], []
    for part in parts:
        if isinstance(part, str):
            between[-1] += re.escape(part)
        elif part.kind in ("count", *_EXACT):
            what = rf"{_NUMBER}(?:{_nouns()})" if part.kind == "count" else _EXACT[part.kind]
            between[-1] += f"(?P<{part.name.replace('.', '__')}>{what})"
        else:
            names.append(part)
            between.append("")
    # as a look ahead, so that matches that overlap are all found
    inner = [re.compile(f"(?=(?P<whole>{one}))") for one in between[1:-1]]
    ends = [re.compile(between[0]), *inner, *([re.compile(rf"(?:{between[-1]})\Z")] if names else [])]
    return Pattern(tuple(ends), tuple(names), tuple(part for part in parts if isinstance(part, str)))


def _read(line: str, pattern: Pattern) -> list[dict[str, str]]:
    """Return what stands in the fields, read from the left and from the right; nothing where a line is another's.

    Where both are the same there is no further way: each separator stands at its first and at its last place.
    """
    if not all(literal in line for literal in pattern.literals):
        return []
    first, *inner = pattern.between
    if not pattern.names:
        whole = first.fullmatch(line)
        return [_numbers(whole)] if whole else []
    last = inner.pop()
    head = first.match(line)
    tail = last.search(line, head.end()) if head else None
    if head is None or tail is None:
        return []
    left, at = [], head.end()
    for separator in inner:
        found = separator.search(line, at + 1)
        if found is None or found.end("whole") >= tail.start():
            return []
        left.append(found)
        at = found.end("whole")
    right: list[re.Match[str]] = []
    limit = tail.start()
    for separator in reversed(inner):
        found = next(m for m in reversed(list(separator.finditer(line))) if m.end("whole") < limit)
        right.insert(0, found)
        limit = found.start()
    ways = [_values(line, pattern, [head, *found, tail]) for found in (left, right)]
    return [way for way in ways if way]


def _values(line: str, pattern: Pattern, found: list[re.Match[str]]) -> dict[str, str]:
    """Return the text between the matches by the names of the fields; nothing where one is empty."""
    head, *rest = found
    values, at = _numbers(head), head.end()
    for slot, match in zip(pattern.names, rest, strict=True):
        values[slot.name] = line[at : match.start()]
        if not values[slot.name]:
            return {}
        at = match.end("whole") if "whole" in match.re.groupindex else match.end()
        values |= _numbers(match)
    return values


def _numbers(match: re.Match[str]) -> dict[str, str]:
    return {name.replace("__", "."): text for name, text in match.groupdict().items() if name != "whole"}


def _readings(line: str, context: str) -> set[str | None]:
    """Return each way to say a line by the templates of a context; None among them is one that cannot be said."""
    found: set[str | None] = set()
    for entry in _catalogue().get(context, []):
        first = entry.english[0]
        if isinstance(first, str) and not line.startswith(first):
            continue
        for spelling in _spellings(entry):
            pattern = _pattern(spelling.parts)
            slots = {slot.name: slot for slot in spelling.parts if isinstance(slot, Slot)}
            for values in _read(line, pattern):
                try:
                    found.add(_written(entry, "", spelling.chosen, values, slots))
                except _UnknownError:
                    continue
                if any(map(_SENTENCES.search, values.values())):
                    found.add(None)  # a name, or a sentence that is not known
    return found


class _UnknownError(Exception):
    """A text stands in a field that is none of the templates which may stand there."""


def _written(
    entry: Entry, prefix: str, chosen: Mapping[str, Entry | None], values: Mapping[str, str], slots: Mapping[str, Slot]
) -> str:
    """Return the Korean of a template whose fields hold `values`. Raise _UnknownError."""
    text = ""
    for literal, name, _, _ in string.Formatter().parse(entry.korean):
        text += literal
        if name is None:
            continue
        full = prefix + name
        if "/" in name:
            text += particle(text, name)
        elif full in chosen:
            inner = chosen[full]
            text += "" if inner is None else _written(inner, f"{full}.", chosen, values, slots)
        else:
            text += _value(values[full], slots[full])
    return text


def _value(text: str, slot: Slot) -> str:
    if slot.often == "*":
        parts = [_only(_readings(part, slot.kind)) for part in text.split("; ")]
        if None in parts:
            raise _UnknownError
        return ". ".join(filter(None, parts))
    if slot.kind == "count" or slot.often == "~":
        return _only(_readings(text, slot.kind)) or text
    if slot.kind == "some" and (rest := _REST.fullmatch(text)):
        return f"{rest[1]} 외 {rest[2]}개"
    return text
