"""What a message about a table advises works: raise, apply the setting it names, and the table reads."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bunryu.core.errors import BunryuError
from bunryu.data.classes import check_classes
from bunryu.data.sources.read import read_source
from bunryu.data.table import Table
from bunryu.settings.load import load_settings

FRACTIONS = "".join(f"{at}.png,{0.1 + at * 0.037:.3f}\n" for at in range(20))
TABLES = {
    "a measurement that is named": ("path,score\n" + FRACTIONS, []),
    "a measurement that is called label": ("path,label\n" + FRACTIONS, []),
    "labels in one of several columns": ("path,kind,note\n0.png,a,x\n1.png,b,y\n2.png,a,z\n", []),
    "paths in a column of another name": ("where,label\n0,a\n1,b\n", []),
    "pictures in one of two folders": ("path,label\nbeside.png,a\nother.png,b\n", []),
    "pictures in a folder beside": ("path,label\naside.png,a\nasunder.png,b\n", []),
    "a word in two cases": ("path,label\n0.png,Cat\n1.png,cat\n2.png,dog\n", []),
    "cells that list labels, some empty": ("path,label\n0.png,a|b\n1.png,\n2.png,b\n", []),
    "one column of yes and no": ("path,hat\n0.png,1\n1.png,0\n2.png,1\n", ["data.multi_label=hat"]),
    "a label that is not there": ("path,label\n0.png,cat\n1.png,dog\n", ["data.rename_labels={dgo: hund}"]),
    "a column that is not there": ("path,label\n0.png,cat\n1.png,dog\n", ["data.label_column=labl"]),
}
BY_HAND = {
    "one column of yes and no": "data.label_column=hat",
    "paths in a column of another name": "data.path_column=where",
    "a label that is not there": "data.rename_labels={dog: hund}",
    "a column that is not there": "data.label_column=label",
}
"""Where the message has a word to fill in (COLUMN), the nearest word to write instead, or two ways."""


def read(file: Path, pairs: list[str]) -> Table:
    table = read_source(load_settings([f"data.source={file}", *pairs]).data)
    check_classes(table)
    return table


@pytest.mark.parametrize("kind", TABLES)
def test_the_advice_of_a_message_works(kind: str, tmp_path: Path) -> None:
    text, pairs = TABLES[kind]
    file = tmp_path / "t" / "table.csv"
    (tmp_path / "t" / "pictures").mkdir(parents=True)
    for name in [*(f"{at}.png" for at in range(20)), "pictures/beside.png", "pictures/other.png"]:
        (tmp_path / "t" / name).touch()
    for name in ("t/copies/beside.png", "t/copies/other.png", "aside/aside.png", "aside/asunder.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    file.write_text(text, encoding="utf-8")
    with pytest.raises(BunryuError) as error:
        read(file, pairs)
    advised = re.findall(r"data\.\w+=(?:\{[^}]*\}|[^\s\"?,]+)", str(error.value))
    advice = BY_HAND.get(kind) or advised[-1]
    key, value = advice.split("=", 1)
    assert key in str(error.value)
    assert value.strip("{}").split(":")[0] in str(error.value), "what is to be written is in the message"
    table = read(file, [advice.rstrip(".")])
    assert len(table) >= 2


def test_grades_and_whole_numbers_are_classes(tmp_path: Path) -> None:
    """Few fractions that come again, versions and ids: what people have as classes."""
    for at in range(40):
        (tmp_path / f"{at}.png").touch()
    for name, labels in {
        "grades": [f"{1 + at % 4 / 2}" for at in range(40)],
        "ids": [str(at) for at in range(40)],
        "words": [f"{at % 3}.5 mm" for at in range(40)],
    }.items():
        file = tmp_path / f"{name}.csv"
        file.write_text("path,label\n" + "".join(f"{at}.png,{label}\n" for at, label in enumerate(labels)))
        assert len(set(read(file, []).target_labels)) == len(set(labels))
