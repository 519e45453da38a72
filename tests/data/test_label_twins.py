"""Labels that may be one are named, never made one unless data.rename_labels says so."""

from __future__ import annotations

import re
import string
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunryu.core.errors import ConfigError, DataError
from bunryu.data.classes import check_classes, twins
from bunryu.data.sources.label_twins import likely_twins
from bunryu.data.sources.read import read_source
from bunryu.data.table import Table
from bunryu.settings.load import load_settings


def table(folder: Path, labels: list[str], *pairs: str, **more: Any) -> Table:
    for at in range(len(labels)):
        (folder / f"{at}.png").touch()
    frame = pd.DataFrame({"path": [f"{at}.png" for at in range(len(labels))], "label": labels, **more})
    return read_source(load_settings([f"data.image_root={folder}", *pairs]).data, frame)


@pytest.mark.parametrize(
    ("labels", "pairs"),
    [
        (["cat", "cats", "dog"], ["'cats' (1) and 'cat' (1)"]),
        (["red fox", "red_fox", "red-fox"], ["'red fox' (1)", "'red-fox' (1)"]),
        (["healthy"] * 20 + ["heatlhy", "helthy"], ["'helthy' (1) and 'healthy' (20)"]),
        (["a", "A"], ["'A' (1) and 'a' (1)"]),
        (["fox", "'fox'"], ["(1) and 'fox' (1)"]),
        (["100000", "1.0E+05", "7"], ["'1.0E+05' (1) and '100000' (1)"]),
        (["healthy"] * 3 + ["healthi"], []),
        (["cat"] * 50 + ["bat"], []),
        (["class1"] * 50 + ["class2"], []),
        ([*string.ascii_lowercase], []),
        ([str(number) for number in range(300)], []),
    ],
)
def test_likely_twins_are_named(labels: list[str], pairs: list[str]) -> None:
    told = likely_twins("label", Counter(labels))
    assert len(told) == bool(pairs)
    for pair in pairs:
        assert pair in told[0]


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.integers(1, 100), max_size=12))
def test_every_label_that_is_named_is_there(counts: dict[str, int]) -> None:
    for note in likely_twins("label", counts):
        named = [name for name in counts if f"{name!r} ({counts[name]:,})" in note]
        assert len(named) >= 2


def test_letters_in_two_cases_are_classes_and_words_in_two_cases_are_not(tmp_path: Path) -> None:
    letters = table(tmp_path, [*string.ascii_letters, *string.digits])
    check_classes(letters)
    assert len(set(letters.target_labels)) == 62
    assert "'A' (1) and 'a' (1)" in twins(letters)[0] or "'a' (1) and 'A' (1)" in twins(letters)[0]
    with pytest.raises(DataError, match="same class in two spellings") as error:
        check_classes(table(tmp_path, ["Cat", "cat", "dog"]))
    advice = re.search(r"data.rename_labels=\{.*?\}", str(error.value))
    assert advice
    mended = table(tmp_path, ["Cat", "cat", "dog"], advice[0])
    check_classes(mended)
    assert len(set(mended.target_labels)) == 2


def test_the_advice_makes_them_one(tmp_path: Path) -> None:
    labels = ["cat", "cat", "cats", "yes", "yess", "yess"]
    found = twins(table(tmp_path, labels))
    advice = re.search(r"data.rename_labels=\{.*?\}", found[0])
    assert advice
    one = table(tmp_path, labels, advice[0])
    assert Counter(one.target_labels.tolist()) == {"cat": 3, "yess": 3}
    assert not twins(one)
    assert any("labels renamed" in note and "'cats' for 'cat' (1 times" in note for note in one.notes)


def test_renaming_keeps_numbers_several_columns_and_sets(tmp_path: Path) -> None:
    rename = "data.rename_labels={cats: cat}"
    numbered = table(tmp_path, ["cat", "cats", "dog"], rename, number=[3, 4, 5])
    assert numbered.published == {"label": {"cat": 3, "dog": 5}}
    joint = table(tmp_path, ["cat", "cats", "dog"], rename, "data.label_columns=[label, size]", size=["s", "s", "l"])
    assert joint.target_labels.tolist() == ["cat+s", "cat+s", "dog+l"]
    sets = table(tmp_path, ["cat|cats", "cats|dog", ""], rename, "data.multi_label=label")
    assert sets.target_labels.tolist() == ["cat", "cat|dog", ""]
    assert sets.label_names == ("cat", "dog")
    with pytest.raises(ConfigError, match=r"no label 'dgo'.*Did you mean 'dog'\?"):
        table(tmp_path, ["cat", "cats", "dog"], "data.rename_labels={dgo: cat}")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("{cat: dog, dog: bird}", "makes 'dog' of 'cat', and 'bird' of 'dog'.*{cat: bird, dog: bird}"),
        ("{cat: dog, dog: cat}", "change places"),
        ("{cat: ' '}", "gives 'cat' an empty name"),
    ],
)
def test_names_that_are_renamed_again_are_refused(names: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_settings([f"data.rename_labels={names}"])
    load_settings(["data.rename_labels={cat: dog, dogs: dog, dog: dog}"])
