"""What messages about data advise works: each is raised, its advice is typed as it stands, and the data are read.

Of every message in the files of `TOLD_IN` that names a setting or a command there is a case here; a new one needs one.
"""

from __future__ import annotations

import ast
import dataclasses
import re
import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from sourcing import touch, write_csv
from test_archives import zipped

import bunryu
from bunryu.core.errors import BunryuError
from bunryu.data.classes import check_classes, twins
from bunryu.data.sources.read import read_source
from bunryu.data.splits.assign import assign
from bunryu.data.splits.folds import assign_folds
from bunryu.data.table import Table
from bunryu.settings.load import load_settings

SOURCES = Path(bunryu.__file__).parent / "data"
TOLD_IN = [*sorted(SOURCES.glob("sources/*.py")), SOURCES / "classes.py", SOURCES / "multi_label.py"]
ADVICE = re.compile(r"\b(?:data|folds|model)\.[a-z_]+=|--(?:train|val|test)-dir|bunryu train ")
BLANK = re.compile(r"\b(?:FOLDER|COLUMN|PATH)\b|\.\.\.")
"""Words that a person has to fill in."""


def both(root: Path, *places: str) -> None:
    touch(root, *(f"{place}/{label}/{at}.jpg" for place in places for label in ("cat", "dog") for at in range(4)))


def table(root: Path, head: str, *rows: str, pictures: str = "") -> None:
    """Write t/t.csv, and an image for each row in ``t/pictures``, or where else it is said."""
    write_csv(root / "t/t.csv", "\n".join([head, *rows]) + "\n")
    touch(root / (pictures or "t"), *(row.split(",")[0] for row in rows))


def rows(*labels: str, start: int = 0) -> list[str]:
    return [f"{at}.png,{label}" for at, label in enumerate(labels, start)]


Case = tuple[Callable[[Path], object], str]
"""Makes what is there below a folder; and what is typed, with {d} for the folder."""
FEW = ("a", "b") * 4
CASES: dict[str, Case] = {
    "parents or innermost folders": (lambda d: both(d, "x", "y"), "{d}"),
    "classes in folders of parents": (
        lambda d: touch(d, *(f"{p}/{c}/{n}.jpg" for p, c in ("ab", "ac", "de", "df") for n in range(4))),
        "{d}",
    ),
    "data sets with splits": (lambda d: both(d, "x/train", "x/test", "y/train", "y/test"), "{d}"),
    "splits in the names of classes": (
        lambda d: touch(d, *(f"{s}_{c}/{n}.jpg" for s in ("train", "test") for c in "ab" for n in range(4))),
        "{d}",
    ),
    "one split twice": (lambda d: both(d, "train", "training", "val"), "{d}"),
    "a class beside splits": (lambda d: (both(d, "train", "val"), touch(d, "bus/1.jpg", "bus/2.jpg")), "{d}"),
    "a folder with splits for one split": (lambda d: both(d, "a/train", "a/val"), "--train-dir {d}/a"),
    "validation alone": (lambda d: both(d, "v"), "--val-dir {d}/v"),
    "names with labels": (lambda d: touch(d, *(f"{c}.{n}.jpg" for c in ("cat", "dog") for n in range(9))), "{d}"),
    "a pattern of no name": (
        lambda d: touch(d, *(f"{c}.{n}.jpg" for c in ("cat", "dog") for n in range(9))),
        "{d} data.label_pattern=x{{label}}",
    ),
    "a pattern that fits some": (
        lambda d: touch(d, *(f"{c}{n}.jpg" for c in ("cat", "dog") for n in range(9)), "x.jpg"),
        "{d} data.label_pattern='{{label}}#'",
    ),
    "a split that is none in a pattern": (
        lambda d: touch(d, *(f"{c}/{n}/{n}.jpg" for c in ("cat", "dog") for n in "xy")),
        "{d} data.label_pattern='{{label}}/{{split}}/*'",
    ),
    "one class of several": (lambda d: both(d, "."), "{d}/cat"),
    "loose images and a table": (lambda d: table(d, "path,label", *rows(*FEW)), "{d}/t"),
    "one folder and a table": (lambda d: table(d, "path,label", *(f"i/{row}" for row in rows(*FEW))), "{d}/t"),
    "an archive in a folder": (lambda d: zipped(d / "photos.zip"), "{d}"),
    "archives of splits in a folder": (lambda d: (zipped(d / "train.zip"), zipped(d / "test.zip")), "{d}"),
    "lists beside": (
        lambda d: (
            both(d, "i"),
            *(write_csv(d / f"meta/{s}.txt", f"cat/{n}\ndog/{n}\n") for n, s in enumerate(("train", "val"))),
        ),
        "{d}/i",
    ),
    "settings of a table for folders": (lambda d: both(d, "."), "{d} data.label_column=x"),
    "one folder that holds a project": (
        lambda d: (both(d, "data/photos"), touch(d, "src/a.py", "docs/b.md")),
        "{d} data.layout=classes",
    ),
    "one class that holds classes": (lambda d: (both(d, "photos"), touch(d, "photos/9.jpg")), "{d}"),
    "images for test alone": (
        lambda d: table(d, "path,label,split", *(f"{row},test" for row in rows(*FEW))),
        "{d}/t/t.csv",
    ),
    "a measurement": (
        lambda d: table(d, "path,score", *rows(*(f"{0.1 + n * 0.037:.3f}" for n in range(20)))),
        "{d}/t/t.csv",
    ),
    "several columns": (lambda d: table(d, "path,kind,note", *(f"{row},x" for row in rows(*FEW))), "{d}/t/t.csv"),
    "paths in an odd column": (
        lambda d: table(d, "where,label", *(row.replace(".png", "") for row in rows(*FEW))),
        "{d}/t/t.csv",
    ),
    "the label column is the paths": (
        lambda d: table(d, "path,label", *rows(*FEW)),
        "{d}/t/t.csv data.label_column=path",
    ),
    "two cases": (lambda d: table(d, "path,label", *rows(*("Cat", "cat", "dog") * 4)), "{d}/t/t.csv"),
    "two cases of labels together": (
        lambda d: table(d, "path,label", *rows(*("Cat|x", "cat", "x", "Cat") * 4)),
        "{d}/t/t.csv data.multi_label=label",
    ),
    "likely twins": (lambda d: table(d, "path,label", *rows(*("cat", "cats", "dog") * 4)), "{d}/t/t.csv"),
    "cells that list labels": (lambda d: table(d, "path,label", *rows(*("a|b", "", "b") * 4)), "{d}/t/t.csv"),
    "one column of yes and no": (lambda d: table(d, "path,hat", *rows(*"01" * 4)), "{d}/t/t.csv data.multi_label=hat"),
    "labels with the separator": (
        lambda d: table(d, "path,tags", *rows(*("a|b;c", "c", "a|b") * 4)),
        "{d}/t/t.csv data.multi_label=tags data.label_separator=';'",
    ),
    "one label alone": (
        lambda d: table(d, "path,tags,kind", *rows(*("a,x", "a,y") * 4)),
        "{d}/t/t.csv data.multi_label=tags",
    ),
    "a label without rows": (
        lambda d: table(d, "path,x,y,z", *(f"{at}.png,{at % 2},{(at + 1) % 2},0" for at in range(8))),
        "{d}/t/t.csv data.multi_label=[x,y,z]",
    ),
    "classes in an answer of yes and no": (
        lambda d: table(d, "path,x,y", *(f"{at}.png,{at % 3},{at % 2}" for at in range(9))),
        "{d}/t/t.csv data.multi_label=[x,y]",
    ),
    "one value of several columns": (
        lambda d: table(d, "path,x,y", *(f"{at}.png,{at % 2},1" for at in range(8))),
        "{d}/t/t.csv data.label_columns=[x,y]",
    ),
    "a class for test alone in a joint column": (
        lambda d: table(
            d, "path,x,y,split", *(f"{at}.png,{at % 2},{at // 4},train" for at in (*range(4), 4, 6)), "9.png,1,1,test"
        ),
        "{d}/t/t.csv data.label_columns=[x,y]",
    ),
    "a column that looks like a split": (
        lambda d: table(
            d, "path,label,part", *(f"{at}.png,{'ab'[at % 2]},{('train', 'val')[at // 4]}" for at in range(8))
        ),
        "{d}/t/t.csv",
    ),
    "a column of folds": (
        lambda d: table(d, "path,label,fold", *(f"{at}.png,{'ab'[at % 2]},{at // 2}" for at in range(8))),
        "{d}/t/t.csv",
    ),
    "a column of many folds": (
        lambda d: table(d, "path,label,fold", *(f"{at}.png,{'ab'[at % 2]},{at}" for at in range(30))),
        "{d}/t/t.csv",
    ),
    "a column like groups": (
        lambda d: table(d, "path,label,video", *(f"{at}.png,{'ab'[at % 2]},{at // 2}" for at in range(12))),
        "{d}/t/t.csv",
    ),
    "groups found by their name": (
        lambda d: table(d, "path,label,person", *(f"{at}.png,{'ab'[at % 2]},{at // 2}" for at in range(12))),
        "{d}/t/t.csv",
    ),
    "images in the folder above": (lambda d: table(d, "path,label", *rows(*FEW), pictures="i"), "{d}/t/t.csv"),
    "ids in a folder above": (
        lambda d: (
            table(d, "id,label", *(row.replace(".png", "") for row in rows(*FEW))),
            touch(d / "i", *(f"{n}.png" for n in range(8))),
            [(d / "t" / str(n)).unlink() for n in range(8)],
        ),
        "{d}/t/t.csv",
    ),
    "images in one of two folders": (
        lambda d: (
            table(d, "path,label", *rows(*FEW), pictures="t/x"),
            table(d, "path,label", *rows(*FEW), pictures="t/y"),
        ),
        "{d}/t/t.csv",
    ),
    "images in a zip": (
        lambda d: (
            write_csv(d / "t/t.csv", "path,label\n1.png,a\n2.png,b\n3.png,a\n4.png,b\n"),
            zipped(d / "t/i.zip", {f"x/{n}.png": b"" for n in range(1, 5)}),
        ),
        "{d}/t/t.csv",
    ),
    "images nowhere": (
        lambda d: (
            write_csv(d / "t/t.csv", "path,label\na/1.png,a\na/2.png,b\n"),
            touch(d / "far/away/i/a", "1.png", "2.png"),
        ),
        "{d}/t/t.csv",
    ),
    "two paths for one file": (
        lambda d: (
            write_csv(d / "t/t.csv", "path,label\nx/1.png,a\ny/1.png,b\n"),
            touch(d / "t", "1.png"),
            touch(d / "far/away/i", "x/1.png", "y/1.png"),
        ),
        "{d}/t/t.csv",
    ),
    "persons of images": (lambda d: table(d, "path,label", *rows(*FEW)), "{d}/t/t.csv data.layout=persons"),
    "person folders of no form": (
        lambda d: touch(
            d, *(f"{n:06}_male_Asian_{20 + n}/mask1.jpg" for n in range(8)), *(f"x{n}/1.jpg" for n in range(2))
        ),
        "{d}",
    ),
    "person folders that are not there": (
        lambda d: (
            write_csv(d / "t/t.csv", "path\n" + "".join(f"{n:06}_male_Asian_{20 + n}\n" for n in range(8))),
            touch(
                d / "far/away", *(f"{n:06}_male_Asian_{20 + n}/{m}.jpg" for n in range(8) for m in ("mask1", "normal"))
            ),
        ),
        "{d}/t/t.csv data.label_column=mask",
    ),
}
BY_HAND = {
    "validation alone": "--train-dir {d}/v --val-dir {d}/v",
    "settings of a table for folders": "{d}",
    "images for test alone": "--train-dir {d}/t/t.csv",
    "paths in an odd column": "{d}/t/t.csv data.path_column=where",
    "the label column is the paths": "{d}/t/t.csv data.label_column=label",
    "one label alone": "{d}/t/t.csv data.label_column=kind",
    "a label without rows": "{d}/t/t.csv data.multi_label=[x,y]",
    "classes in an answer of yes and no": "{d}/t/t.csv data.label_columns=[x,y]",
    "one value of several columns": "{d}/t/t.csv data.label_column=x",
    "images nowhere": "{d}/t/t.csv data.image_root={d}/far/away/i",
    "two paths for one file": "{d}/t/t.csv data.image_root={d}/far/away/i",
    "person folders that are not there": "{d}/t/t.csv data.label_column=mask data.image_root={d}/far/away",
    "persons of images": "{d}/t/t.csv",
    "labels with the separator": "{d}/t/t.csv data.multi_label=tags data.label_separator='|'",
    "a split that is none in a pattern": "{d} data.label_pattern='{{label}}/*/*'",
}
"""What a person writes where the message has a blank, or only says what to leave out: case -> what is typed then."""


def parsed(words: str) -> tuple[list[str], dict[str, str], int | None]:
    """Return what is typed as pairs of settings, data by their splits, and folds."""
    pairs, data, folds = [], {}, None
    given = iter(shlex.split(words))
    for word in given:
        if found := re.fullmatch(r"--(train|val|test)-dir", word):
            data[found[1]] = next(given)
        elif word == "--folds":
            folds = int(next(given))
        elif "=" in word and not word.startswith("/"):
            pairs.append(word)
        else:
            data["source"] = word
    return pairs, data, folds


def tried(words: str) -> Table:
    pairs, data, folds = parsed(words)
    settings = load_settings(pairs, values={"data": data, **({"folds": {"k": folds}} if folds else {})})
    table = dataclasses.replace(read_source(settings.data), separate=settings.model.heads == "separate")
    check_classes(table)
    if folds:
        assign_folds(assign(table, load_settings(["split.val=0"]).split), folds, settings.split, settings.folds.column)
    return table


_WORD = r"(?:\"[^\"]*\"|'[^']*'|[^\s\"';,:?()]+)"
_KEY = r"(?:data|folds|model|split)\.[a-z_]+"
_OPTIONS = rf"--(?:train|val|test)-dir {_WORD}(?: (?:--(?:train|val|test)-dir {_WORD}|{_KEY}={_WORD}))*"
_COMMAND = re.compile(rf"bunryu train ({_OPTIONS}|{_WORD})")
_SETTING = re.compile(
    rf"(?:--folds \d+ )?(?:{_KEY}=(?:\{{[^}}]*\}}(?![\w{{])|\[[^\]]*\]|{_WORD})|[\"']{_KEY}=[^\"']*[\"'])"
)


OTHERWISE = {
    "Data came twice: a DataFrame and data.source=", "and --train-dir. Give one.",
    "No data was named. Expected a folder or a CSV: bunryu train photos/",
}  # fmt: skip
"""Messages of a DataFrame, and of no data at all."""
EXCLUSIVE = {"data.label_column", "data.label_columns", "data.multi_label"}


def advised(words: str, message: str) -> list[str]:
    """Return what the message says to type, each as a whole: a command, other data, or a setting more."""
    pairs, data, _ = parsed(words)
    found = [at[1] for at in _COMMAND.finditer(message)]
    rest = _COMMAND.sub("", message)
    found += re.findall(_OPTIONS, rest)
    for setting in _SETTING.findall(re.sub(_OPTIONS, "", rest)):
        given = setting.rstrip(".")
        key = shlex.split(given)[-1].partition("=")[0]
        instead = EXCLUSIVE if key in EXCLUSIVE and "in place of" in message else {key}
        kept = [shlex.quote(pair) for pair in pairs if pair.partition("=")[0] not in instead]
        places = [path if split == "source" else f"--{split}-dir {path}" for split, path in data.items()]
        found.append(" ".join([*places, *kept, given]))
    return [re.sub(r"[.]+$", "", one) for one in found if one.rstrip(".") != words]


def told(words: str) -> str:
    """Return what is said of data: the error, or else all notes."""
    try:
        table = tried(words)
    except BunryuError as error:
        return str(error)
    return "\n".join([*table.notes, *twins(table)])


@pytest.mark.parametrize("kind", CASES)
def test_the_advice_of_every_message_works(kind: str, tmp_path: Path) -> None:
    make, words = CASES[kind]
    make(tmp_path)
    words = words.format(d=tmp_path)
    message = told(words)
    assert ADVICE.search(message) or kind in BY_HAND, message
    ways = [way for way in advised(words, message) if not BLANK.search(way)]
    if kind in BY_HAND:
        ways.append(BY_HAND[kind].format(d=tmp_path))
    assert ways, message
    for way in ways:
        assert len(tried(way)) >= 2, f"{message}\n{way}"


def pieces() -> dict[str, str]:
    """Return every piece of a message that advises something -> where it stands."""
    found = {}
    for file in TOLD_IN:
        tree = ast.parse(file.read_text(encoding="utf-8"))
        told_in = [node for node in ast.walk(tree) if isinstance(node, (ast.JoinedStr, ast.Constant))]
        docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in told_in:
            text = node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""
            if id(node) not in docs and ADVICE.search(text) and " " in text.strip():
                found[text.strip()] = f"{file.name}:{node.lineno}"
    return found


def test_every_message_that_advises_something_has_a_case(tmp_path: Path) -> None:
    said = []
    for number, (make, words) in enumerate(CASES.values()):
        (folder := tmp_path / str(number)).mkdir()
        make(folder)
        said.append(told(words.format(d=folder)))
    everything = "\n".join(said)
    lacking = {piece: where for piece, where in pieces().items() if piece not in everything and piece not in OTHERWISE}
    assert lacking == {}
    assert len(pieces()) > 20
