"""Labels that can hold together, as they are read and split."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sourcing import one_message, read, touch, write_csv

from bunryu.core.errors import ConfigError
from bunryu.data.multi_label import held_labels
from bunryu.data.splits.assign import assign
from bunryu.data.splits.split_csv import read_run_rows, write_split
from bunryu.data.splits.stratify import divide_sets
from bunryu.data.table import Table, texts
from bunryu.settings.data import SplitSettings

COLUMNS = ["웃음", "glasses", "hat"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return touch(tmp_path, *(f"{i}.png" for i in range(4)))


def listed(folder: Path, *lines: str) -> Path:
    return write_csv(folder / "t.csv", "\n".join(lines) + "\n")


@pytest.mark.parametrize("words", ["1 0", "true False", "YES no", "1.0 0.0", "1 -1", "y n"])
def test_columns_of_yes_and_no_become_one_text_a_row(folder: Path, words: str) -> None:
    yes, no = words.split()
    rows = (f"0.png,{yes},{no},{no}", f"1.png,{no},{no},{no}", f"2.png,{yes},{yes},{no}", f"3.png,{no},{no},{yes}")
    table = read(listed(folder, "path,웃음,glasses,hat", *rows), multi_label=COLUMNS)
    assert (table.target, table.label_names) == ("labels", tuple(COLUMNS))
    assert table.target_labels.tolist() == ["웃음", "", "웃음|glasses", "hat"]
    assert held_labels(table.target_labels, table.label_names).tolist() == [
        [True, False, False], [False] * 3, [True, True, False], [False, False, True],
    ]  # fmt: skip


def test_one_column_may_list_the_labels(folder: Path) -> None:
    rows = ("0.png,hat; 웃음", "1.png,", "2.png,glasses;;glasses", "3.png,웃음")
    table = read(listed(folder, "path,tags", *rows), multi_label=["tags"], label_separator=";")
    assert (table.target, table.label_names) == ("tags", ("glasses", "hat", "웃음"))
    assert table.target_labels.tolist() == ["hat|웃음", "", "glasses", "웃음"]


def test_a_frame_of_booleans(folder: Path) -> None:
    frame = pd.DataFrame({"path": [str(folder / f"{i}.png") for i in range(4)], "a": [True, False] * 2})
    frame["b"] = [1, 1, 0, 0]
    assert read(frame, multi_label=["a", "b"]).target_labels.tolist() == ["a|b", "b", "a", ""]


@pytest.mark.parametrize(
    ("rows", "given", "told"),
    [
        (("0.png,1,maybe", "1.png,0,1"), ["a", "b"], ["line 2", "'b'", "expected yes or no", "'maybe'"]),
        (("0.png,1,", "1.png,0,1"), ["a", "b"], ["'b'", "is empty in 1 of 2 rows", "line 2"]),
        (("0.png,1,0", "1.png,0,-1", "2.png,0,1"), ["a", "b"], ["'b'", "both 0 and -1"]),
        (("0.png,1,0", "1.png,0,0"), ["a", "b"], ["Label 'b' holds for no image to train on", "Leave it out"]),
        (("0.png,1,1", "1.png,0,1"), ["a", "b"], ["Label 'b' holds for every image", "without it"]),
        (("0.png,1,1", "1.png,0,0"), ["a"], ["one column of yes and no", "data.label_column=a"]),
        (("0.png,1,1", "1.png,0,0"), ["a", "c"], ["data.multi_label", "no column 'c'"]),
        (("0.png,Hat,1", "1.png,hat|x,0"), ["a"], ["two spellings", "'Hat'", "'hat'"]),
        (("0.png,x,1", "1.png,,0"), ["a"], ["only the label 'x'"]),
        (("0.png,x|y,1", "1.png,,0"), ["path"], ["column of the image paths"]),
    ],
)  # fmt: skip
def test_what_cannot_be_learned(folder: Path, rows: tuple[str, ...], given: list[str], told: list[str]) -> None:
    message = one_message(listed(folder, "path,a,b", *rows), multi_label=given)
    assert [part for part in told if part not in message] == []


def test_settings_that_contradict_each_other() -> None:
    from bunryu.settings.load import load_settings

    for pairs, told in (
        (["data.multi_label=[a, b]", "data.label_columns=[a, b]"], "came both"),
        (["data.multi_label=[a, b]", "data.label_column=a"], "came both"),
        (["data.multi_label=[a, a]"], "twice"),
        (["data.multi_label=[a, b]", "data.label_separator=;"], "one column that lists labels"),
        (["data.label_separator=;"], "one column that lists labels"),
    ):
        with pytest.raises(ConfigError, match=told):
            load_settings(["data.source=x.csv", *pairs])
    assert load_settings(["data.multi_label=tags"]).data.multi_label == ["tags"]


def test_a_label_with_the_joining_sign_is_refused(folder: Path) -> None:
    rows = ("0.png,1,1", "1.png,0,0")
    assert "joined to others by |" in one_message(listed(folder, "path\ta|b\tc", *(r.replace(",", "\t") for r in rows)),
                                                   multi_label=["a|b", "c"])  # fmt: skip
    path = listed(folder, "path;tags", "0.png;a|b,c", "1.png;d")
    message = one_message(path, multi_label=["tags"], label_separator=",")
    assert "'a|b'" in message
    assert "data.label_separator" in message


def many(n: int, labels: int, seed: int) -> Table:
    """Return rows with labels from frequent to rare, nearly every combination there once."""
    rng = np.random.default_rng(seed)
    held_NL = rng.random((n, labels)) < 0.6 * np.linspace(1, 0.13, labels) ** 2
    held_NL[:2, -1] = True  # whatever was drawn, two rows have the rarest
    names = tuple(f"l{k:02}" for k in range(labels))
    cells = ["|".join(name for name, holds in zip(names, row, strict=True) if holds) for row in held_NL]
    table = Table(Path("/d"), texts([f"{i:05}.png" for i in range(n)]), {"labels": texts(cells)}, texts([""] * n))
    return Table(**{**vars(table), "label_names": names})


def shares_of(table: Table, split: str) -> np.ndarray:
    held_NL = held_labels(table.target_labels, table.label_names)
    return held_NL[table.split(split)].sum(axis=0) / held_NL.sum(axis=0)


def test_each_label_is_spread_by_its_shares_though_combinations_are_single() -> None:
    settings = SplitSettings(val=0.2, test=0.1)
    table = assign(many(1500, 40, 0), settings)
    assert len(set(table.target_labels)) > 1400
    sizes = {split: len(table.split(split)) / 1500 for split in ("train", "val", "test")}
    assert sizes == pytest.approx({"train": 0.7, "val": 0.2, "test": 0.1}, abs=0.005)
    held_NL = held_labels(table.target_labels, table.label_names)
    rows_L = held_NL.sum(axis=0)
    assert rows_L.min() < 40
    for split, share in (("val", 0.2), ("test", 0.1)):
        off_L = np.abs(held_NL[table.split(split)].sum(axis=0) - share * rows_L)
        assert off_L.max() <= 3  # rows; drawing at random is off by several times that
    rng = np.random.default_rng(0)
    at_random = [np.abs(held_NL[rng.permutation(1500)[:300]].sum(axis=0) - 0.2 * rows_L).max() for _ in range(20)]
    assert np.median(at_random) > 10


def test_the_split_knows_no_order_of_rows_and_a_seed() -> None:
    table, settings = many(200, 6, 1), SplitSettings(val=0.3)
    order = np.random.default_rng(5).permutation(200)
    ways = [
        dict(zip(t.paths, t.splits, strict=True))
        for t in (assign(table, settings), assign(table.take(order), settings))
    ]
    assert ways[0] == ways[1]
    other = assign(table, SplitSettings(val=0.3, seed=1))
    assert (other.splits != assign(table, settings).splits).any()


def test_groups_stay_whole_and_a_label_of_one_row_is_trained_on() -> None:
    rng = np.random.default_rng(0)
    for seed in range(5):
        held_NL = rng.random((90, 3)) < [0.5, 0.1, 0.0]
        held_NL[17, 2] = True
        units = np.repeat(np.arange(30), 3)
        sides = divide_sets(units, held_NL, np.array([0.8, 0.2]), np.random.default_rng(seed))
        side_N = sides.side[units]
        assert side_N[17] == 0
        assert {0, 1} == set(side_N[held_NL[:, 1]]) == set(side_N[~held_NL[:, 1]])
        assert (side_N == 1).mean() == pytest.approx(0.2, abs=0.05)


@pytest.mark.parametrize("by", ["digests", "paths", "groups"])
def test_copies_stay_on_one_side(by: str) -> None:
    table = many(120, 5, 4)
    twice = texts([f"{i // 2}" for i in range(120)])
    for seed in range(3):
        found = assign(Table(**{**vars(table), by: twice}), SplitSettings(val=0.3, seed=seed))
        assert (found.splits[::2] == found.splits[1::2]).all()


def test_another_column_to_stratify_by() -> None:
    table = many(200, 4, 2)
    hospital = texts(["a" if i < 40 else "b" for i in range(200)])
    table = Table(**{**vars(table), "columns": {"hospital": hospital}})
    for seed in range(5):
        found = assign(table, SplitSettings(val=0.25, stratify="hospital", seed=seed))
        in_val = found.columns["hospital"][found.split("val")].tolist()
        assert abs(in_val.count("a") - 10) <= 1  # one was moved for a rare label


def test_split_csv_reads_back(tmp_path: Path) -> None:
    table = assign(many(50, 5, 3), SplitSettings())
    write_split(tmp_path / "split.csv", table)
    back = read_run_rows(tmp_path / "split.csv", Path("/d"), "labels")
    assert back.target_labels.tolist() == table.target_labels.tolist()
    assert back.splits.tolist() == table.splits.tolist()
