"""The Korean catalogue: every template is one of the source's, and each is read in exactly one way."""

from __future__ import annotations

import ast
import errno
import os
import re
import string
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic_core._pydantic_core import list_all_errors  # type: ignore[attr-defined]

from bunryu.core import console, language
from bunryu.core.language import Entry, Slot, in_korean, read_catalogue
from bunryu.core.particles import particle
from bunryu.core.text_width import width

SRC = Path(language.__file__).parents[1]
CATALOGUE = read_catalogue(language.CATALOGUE.read_text(encoding="utf-8"))
ENTRIES = [(context, entry) for context, entries in CATALOGUE.items() for entry in entries]
HOLE = "\0"
"""What stands for a field in a template."""


def expression(entry: Entry) -> re.Pattern[str]:
    """Return what finds a template in the source: its words word for word, its fields as holes or text."""
    parts = (re.escape(part) if isinstance(part, str) else "[^\n]*" for part in entry.english)
    return re.compile("(?i)" + "".join(parts))


def template_of(node: ast.AST) -> str | None:
    """Return a text of the source with a hole for all that is not constant."""
    match node:
        case ast.Constant(value=str() as text):
            return text
        case ast.JoinedStr(values=parts):
            return "".join(template_of(part) or "" for part in parts)
        case ast.FormattedValue():
            return HOLE
        case ast.BinOp(left=left, op=ast.Add(), right=right):
            found = [template_of(left), template_of(right)]
            return None if found == [None, None] else "".join(HOLE if text is None else text for text in found)
    return None


def counted(node: ast.AST) -> Iterator[str]:
    """Yield what `count(number, noun, plural)` writes."""
    if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "count":
        nouns = [text for text in map(template_of, node.args[1:]) if text]
        for own in ("val", "test", "class", "classes", "label", "labels"):
            some = [noun.replace(HOLE, own) for noun in nouns]
            yield from (f"{HOLE} {noun}" for noun in [*some, *(f"{noun}s" for noun in some)])


@cache
def of_the_source() -> set[str]:
    """Return every text that the package, or the parser of the command line, can say."""
    parser = Path(typer.__file__).parent
    found = set(map(os.strerror, errno.errorcode)) | {
        re.sub(r"\{\w+\}", HOLE, error["message_template_python"]) for error in list_all_errors()
    }
    for path in [*SRC.rglob("*.py"), *parser.rglob("*.py")]:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            found.update(counted(node))
            text = template_of(node)
            if text is not None and parser in path.parents:
                found.add(re.sub(r"\{\w+(![rs])?\}", HOLE, text).removesuffix("."))
            elif text is not None:
                found.update((text, text.rstrip(HOLE)))  # behind it a hint may stand
    return found


def slots(entry: Entry) -> dict[str, Slot]:
    return {part.name: part for part in entry.english if isinstance(part, Slot)}


def test_every_template_stands_in_the_source() -> None:
    assert len(ENTRIES) > 400
    there = of_the_source()
    lost = [entry.english for _, entry in ENTRIES if not any(map(expression(entry).fullmatch, there))]
    assert lost == [], lost


def fields(korean: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(korean) if name is not None and "/" not in name}


@pytest.mark.parametrize(("context", "entry"), ENTRIES, ids=[f"{n}" for n in range(len(ENTRIES))])
def test_both_sides_have_the_same_fields(context: str, entry: Entry) -> None:
    """What comes from outside is kept; what is grammar alone (were, them) may have no place in Korean."""
    own = slots(entry)
    grammar = {
        slot.name for slot in own.values() if not slot.outside and slot.kind in ("are", "was", "them", "they", "have")
    }
    assert fields(entry.korean) <= own.keys()
    assert own.keys() - grammar <= fields(entry.korean)
    assert len(own) == sum(isinstance(part, Slot) for part in entry.english)
    assert all(slot.kind in CATALOGUE for slot in own.values() if not slot.outside)
    assert not any(isinstance(a, Slot) and isinstance(b, Slot) and a.kind == b.kind == "" for a, b in pairs(entry))


def pairs(entry: Entry) -> Iterator[tuple[str | Slot, str | Slot]]:
    yield from zip(entry.english, entry.english[1:], strict=False)


def sample(slot: Slot, number: int) -> str:
    """Return what may stand in a field, other than in any other field."""
    if slot.often == "*":
        return language_sample(CATALOGUE[slot.kind][0])
    return {"d": f"{number + 11}", "count": f"{number + 11} images", "words": f"zz{number}, yy"}.get(
        slot.kind, f"zz{number}"
    )


def language_sample(entry: Entry) -> str:
    spelling = language._spellings(entry)[0]
    return "".join(part if isinstance(part, str) else sample(part, n) for n, part in enumerate(spelling.parts))


def test_every_template_is_read_in_one_way() -> None:
    """Each spelling of each, with texts that stand in no template."""
    wrong, seen = [], 0
    for entry in CATALOGUE[""]:
        for spelling in language._spellings(entry):
            texts = [part if isinstance(part, str) else sample(part, n) for n, part in enumerate(spelling.parts)]
            line = "".join(texts)
            told = in_korean(line)
            whole = zip(texts, spelling.parts, strict=True)
            outside = [text for text, part in whole if isinstance(part, Slot) and part.kind in ("", "w")]
            if told is None or not re.search("[가-힣]", told) or not all(text in told for text in outside):
                wrong.append((line, told))
            seen += 1
    assert not wrong, "\n".join(line for line, _ in wrong)
    assert seen > 400


NAMES = [
    "사진",
    "a. Did you mean 'b'?",
    "Stopped.",
    "x. Found instead: 3 .txt",
    "a (1).png (truncated)",
    ": ",
    "{path}",
    "{을/를}",
    "2 images",
    "nested. Expected one folder a class, such as a/cat/1.jpg and b/dog/2.jpg",
    "There is no file or folder x",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_is_passed_through_and_taken_for_no_text_of_ours(name: str) -> None:
    """Whatever it says; where it could be taken for a part of the message the line stays English."""
    for template in ("There is no file or folder {}.", "There are no images in {}.", "There is no run folder {}."):
        told = in_korean(template.format(name))
        plain = in_korean(template.format("사진"))
        assert plain is not None
        assert told in (None, plain.replace("사진", name))


@settings(deadline=None)
@given(st.text(alphabet=st.sampled_from("ab .:?'(){}/가0,"), min_size=1, max_size=30))
def test_any_name_is_kept_whole(name: str) -> None:
    for template in (
        "There is no file or folder {}.",
        "There is no run folder {}. Did you mean '사진'?",
        "--out: {} is not empty, and a run is never overwritten. Name a new folder.",
    ):
        told = in_korean(template.format(name))
        assert told is None or name in told


@pytest.mark.parametrize(("context", "entry"), ENTRIES, ids=[f"{n}" for n in range(len(ENTRIES))])
def test_templates_as_names_are_kept_whole(context: str, entry: Entry) -> None:
    """A name that is itself one of our lines, in another of our lines."""
    name = language_sample(entry)
    for line in (
        f"There is no file or folder {name}.",
        f"{name} is not a run folder: it has neither config.yaml nor model.safetensors.",
    ):
        told = in_korean(line)
        assert told is None or name in told, (line, told)


def test_what_acts_on_a_terminal_is_escaped_before(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setenv("BUNRYU_LANG", "ko")
    console.fail("There is no file or folder a\x1b[2J\nerror: b.")
    assert capsys.readouterr().err == "오류: 그런 파일이나 폴더가 없습니다: a\\x1b[2J\\nerror: b.\n"


@pytest.mark.parametrize(
    "text",
    ["a", " ", ". Did you mean '", "1", " and 1 more", "x. Found instead: ", ", ", " (", "가: "],
)
def test_the_time_grows_with_the_length_of_a_line(text: str) -> None:
    """A name may be thousands of characters long; twice the length may not take four times the time."""
    in_korean("x")

    def seconds(times: int) -> float:
        line = f"There are no class folders and no images in {text * times}."
        found = []
        for _ in range(5):
            start = time.process_time()
            in_korean(line)
            found.append(time.process_time() - start)
        return min(found)

    small = 4_000 // len(text)
    assert seconds(8 * small) < 32 * seconds(small) + 0.02


@pytest.mark.parametrize(
    ("word", "pair", "expected"),
    [
        ("사진", "을/를", "을"),
        ("고양이", "을/를", "를"),
        ("'개'", "이/가", "가"),
        ("서울", "으로/로", "로"),
        ("집", "으로/로", "으로"),
        ("runs/a-1", "은/는", "은"),
        ("runs/a-2", "은/는", "는"),
        ("8", "으로/로", "로"),
        ("10", "이/가", "이"),
        ("a.png", "을/를", "를"),
        ("a.csv", "은/는", "는"),
        ("model.safetensors", "을/를", "를"),
        ("train", "이/가", "이"),
        ("optim.lr", "은/는", "은"),
        ("model", "으로/로", "로"),
        ("dog", "을/를", "를"),
        ("cat", "을/를", "을"),
        ("apple", "이/가", "이"),
        ("resnet18", "이라는/라는", "이라는"),
        ("(ROC AUC)", "은/는", "는"),
        ("ㄱ", "을/를", "을"),
        ("ㅏ", "을/를", "를"),
        ("", "을/를", "를"),
        ("日本", "을/를", "를"),
    ],
)
def test_a_particle_fits_the_word_before_it(word: str, pair: str, expected: str) -> None:
    assert particle(word, pair) == expected


NOTHING = dict.fromkeys(("BUNRYU_LANG", "LC_ALL", "LC_MESSAGES", "LANG"), "")


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, "en"),
        ({"BUNRYU_LANG": "ko"}, "ko"),
        ({"BUNRYU_LANG": "KO_KR.UTF-8"}, "ko"),
        ({"LANG": "ko_KR.UTF-8"}, "ko"),
        ({"LC_MESSAGES": "ko_KR.UTF-8", "LANG": "en_US.UTF-8"}, "ko"),
        ({"LC_ALL": "C", "LANG": "ko_KR.UTF-8"}, "en"),
        ({"BUNRYU_LANG": "en", "LANG": "ko_KR.UTF-8"}, "en"),
        ({"LANG": "kok_IN"}, "en"),
        ({"LANG": "fr_FR.UTF-8"}, "en"),
    ],
)
def test_the_environment_says_which_language(
    environment: dict[str, str], expected: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in (NOTHING | environment).items():
        monkeypatch.setenv(name, value)
    assert language.asked() == (expected, "")


def test_a_language_that_is_not_known_is_told_once(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    monkeypatch.setattr(console, "_told_of_language", False)
    monkeypatch.setenv("BUNRYU_LANG", "kr")
    console.say("one")
    console.say("two")
    assert capsys.readouterr().err.splitlines() == [
        "BUNRYU_LANG=kr: expected ko or en; messages are in English.",
        "one",
        "two",
    ]


def test_a_terminal_without_hangul_is_spoken_to_in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    class Old:
        encoding = "cp1252"

    monkeypatch.setattr("sys.stderr", Old())
    monkeypatch.setenv("BUNRYU_LANG", "ko")
    assert language.asked() == ("en", "BUNRYU_LANG=ko: cp1252 has no Hangul; messages are in English.")
    for name, value in (NOTHING | {"LANG": "ko_KR.UTF-8"}).items():
        monkeypatch.setenv(name, value)
    assert language.asked() == ("en", "")


def test_lines_that_stand_below_each_other_are_aligned() -> None:
    first, second = (in_korean(f"next: {'x' * 3}"), "      yyy")
    assert first is not None
    assert width(first) == width(second)


def test_english_reads_no_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNRYU_LANG", "en")
    monkeypatch.setattr(language, "_catalogue", None)
    console.say("There are no images in x.")
