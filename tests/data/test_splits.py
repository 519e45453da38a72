from __future__ import annotations

import csv
import dataclasses
import warnings
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.model_selection import StratifiedGroupKFold
from tabling import make, quick

from bunryu.core.errors import ConfigError, DataError
from bunryu.data.splits.assign import _two_fullest, assign, few_groups, folds, require_groups_apart
from bunryu.data.splits.stratify import Holdings, Sides, give_each, join, round_shares
from bunryu.data.table import SPLITS, Table, texts
from bunryu.settings.data import SplitSettings

SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNRYU_CACHE", str(tmp_path_factory.mktemp("cache")))


def counts(table: Table, label: str) -> list[int]:
    found = Counter(table.splits[table.target_labels == label].tolist())
    return [found[name] for name in SPLITS]


@st.composite
def tables(draw: st.DrawFn, *, grouped: bool | None = None, copies: bool = True) -> Table:
    """Tables of a few classes in which each class has at least three units."""
    classes = draw(st.integers(1, 5))
    n = draw(st.integers(classes * 3, 80))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    skew = draw(st.sampled_from([0.3, 1.0, 10.0]))
    labels = [f"c{i}" for i in [*range(classes)] * 3]
    labels += [f"c{i}" for i in rng.choice(classes, n - len(labels), p=rng.dirichlet([skew] * classes))]
    groups = digests = None
    if grouped if grouped is not None else draw(st.booleans()):
        many = draw(st.integers(1, n))
        groups = [f"only {i}" if i < 3 * classes else f"g{rng.integers(many)}" for i in range(n)]
        groups = ["" if rng.random() < 0.1 else group for group in groups]
    if copies and draw(st.booleans()):
        digests = [f"only {i}" if i < 3 * classes else f"d{rng.integers(n)}" for i in range(n)]
    return make(labels, None, groups, digests)


def units(table: Table) -> list[int]:
    """Rows that must stay together, the slow and sure way."""
    unit = list(range(len(table)))
    columns = [column for column in (table.groups, table.digests) if column is not None]
    for _ in range(len(table)):
        before = list(unit)
        for column in columns:
            for value in set(column.tolist()) - {""}:
                rows = np.flatnonzero(column == value).tolist()
                least = min(unit[row] for row in rows)
                for row in rows:
                    unit[row] = least
        if unit == before:
            return unit
    return unit


# Any table, any shares.


@quick
@given(tables(), st.sampled_from([0.0, 0.1, 0.25, 0.5]), st.sampled_from([0.0, 0.1, 0.4]), st.integers(0, 99))
def test_every_row_gets_one_side_and_no_unit_is_cut(table: Table, val: float, test: float, seed: int) -> None:
    found = assign(table, SplitSettings(val=val, test=test, seed=seed))
    assert set(found.splits) <= {"train", *(["val"] if val else []), *(["test"] if test else [])}
    assert (found.paths == table.paths).all()
    sides: dict[int, set[str]] = {}
    for unit, split in zip(units(table), found.splits, strict=True):
        sides.setdefault(unit, set()).add(split)
    assert all(len(found) == 1 for found in sides.values())
    for label in set(table.target_labels):
        train, n_val, _ = counts(found, label)
        assert train > 0
        if table.groups is None:
            assert n_val > 0 or not val


@quick
@given(
    st.lists(st.integers(2, 40), min_size=1, max_size=8),
    st.sampled_from([0.1, 0.2, 0.33, 0.5]),
    st.sampled_from([0.0, 0.1, 0.2]),
    st.integers(0, 99),
)
def test_single_images_are_stratified_within_one(sizes: list[int], val: float, test: float, seed: int) -> None:
    labels = [f"c{i}" for i, size in enumerate(sizes) for _ in range(size)]
    found = assign(make(labels), SplitSettings(val=val, test=test, seed=seed))
    bumped = 0
    for i, size in enumerate(sizes):
        train, n_val, n_test = counts(found, f"c{i}")
        assert abs(n_val - size * val) <= 1
        assert abs(n_test - size * test) <= 1
        assert abs(train - size * (1 - val - test)) <= (2 if test else 1)
        assert min(train, n_val) >= 1
        assert n_test >= 1 or not test or size < 3
        bumped += (size * val < 1) + (size * test < 1) + (size * (1 - val - test) < 1)
    total = int((found.splits == "val").sum())
    assert abs(total - len(labels) * val) <= 1 + bumped


@quick
@given(tables(), st.integers(0, 2**32), st.integers(0, 99))
def test_the_split_depends_on_the_rows_not_on_their_order(table: Table, shuffle: int, seed: int) -> None:
    chosen = SplitSettings(val=0.3, test=0.1, seed=seed)
    order = np.random.default_rng(shuffle).permutation(len(table))
    straight, mixed = assign(table, chosen), assign(table.take(order), chosen)
    assert (straight.splits[order] == mixed.splits).all()


@pytest.mark.parametrize("grouped", [False, True])
def test_a_seed_gives_one_split_and_another_seed_another(grouped: bool) -> None:
    rng = np.random.default_rng(0)
    # Groups of quite different sizes: the order by size must not leave a seed without effect.
    # (With a few groups only, several seeds may find the same best split.)
    groups = [f"g{min(int(size), 30)}" for size in rng.pareto(0.7, 200) * 3] if grouped else None
    table = make([f"c{i % 3}" for i in range(200)], groups=groups)
    splits = [assign(table, SplitSettings(seed=seed)).splits.tolist() for seed in (0, 0, 1, 2, 3, 4)]
    assert splits[0] == splits[1]
    assert len({tuple(split) for split in splits}) >= (3 if grouped else 5)
    parts = [folds(table.target_labels, 5, seed, table.groups).tolist() for seed in (0, 0, 1, 2, 3, 4)]
    assert parts[0] == parts[1]
    assert len({tuple(part) for part in parts}) >= (3 if grouped else 5)


def test_the_split_is_the_same_on_every_machine() -> None:
    table = make(list("aaaaaaaabbbbbbbbcccccccc"), groups=list("112345612345566789012345"))
    found = assign(table, SplitSettings(val=0.3, seed=7))
    assert "".join(split[0] for split in found.splits) == "ttvtttvtvttttvvttvttvttt"
    assert "".join(str(fold) for fold in folds(table.target_labels, 4, 7)) == "300212130202331103112023"


def test_groups_keep_the_proportions() -> None:
    rng = np.random.default_rng(1)
    people = rng.integers(0, 150, 1500)
    taste = rng.dirichlet([0.5] * 6, 150)
    labels = [f"c{rng.choice(6, p=taste[person])}" for person in people]
    table = assign(make(labels, groups=[str(p) for p in people]), SplitSettings(val=0.2, test=0.1))
    for label in set(labels):
        train, val, test = counts(table, label)
        assert abs(val / (train + val + test) - 0.2) < 0.02
        assert abs(test / (train + val + test) - 0.1) < 0.02


def test_stratified_by_another_column() -> None:
    table = make(["a", "b"] * 50)
    sites = texts(["north"] * 90 + ["south"] * 10)
    table.columns["site"] = sites
    found = assign(table, SplitSettings(stratify="site"))
    assert Counter(sites[found.splits == "val"].tolist()) == {"north": 18, "south": 2}
    with pytest.raises(ConfigError, match=r"no column 'sit'. Did you mean 'site'\? Columns: site, label"):
        assign(table, SplitSettings(stratify="sit"))


def test_each_class_is_trained_and_validated_though_another_column_is_stratified() -> None:
    table = make(["rare", "rare"] + ["b"] * 98)
    table.columns["site"] = texts(["north"] * 50 + ["south"] * 50)
    for seed in range(20):
        found = assign(table, SplitSettings(stratify="site", seed=seed))
        assert counts(found, "rare") == [1, 1, 0]


# Given splits.


def test_given_splits_stay() -> None:
    n = 20
    labels = ["a", "b"] * (2 * n)
    for names, expected in (
        (["train", "val"], {"train": 40, "val": 40}),
        (["train", "test"], {"train": 32, "val": 8, "test": 40}),
        (["", "test"], {"train": 32, "val": 8, "test": 40}),
        (["", "val"], {"train": 40, "val": 40}),
        (["train", ""], {"train": 64, "val": 16}),
    ):
        given_splits = [name for name in names for _ in range(2 * n)]
        table = assign(make(labels, given_splits), SplitSettings())
        assert Counter(table.splits.tolist()) == expected
        fixed = np.isin(texts(given_splits).astype(str), ["val", "test"])
        assert (table.splits[fixed] == texts(given_splits)[fixed]).all()
    table = assign(make(labels, ["train"] * (2 * n) + ["val"] * (2 * n)), SplitSettings(test=0.25))
    assert Counter(table.splits.tolist()) == {"train": 30, "val": 40, "test": 10}


def test_a_class_with_one_image_needs_no_split_where_val_is_given() -> None:
    assert assign(make(["a", "b", "a"], ["", "", "val"]), SplitSettings()).splits.tolist() == [
        "train",
        "train",
        "val",
    ]
    assert assign(make(["a", "b"]), SplitSettings(val=0)).splits.tolist() == ["train", "train"]


def test_a_class_too_small_to_split() -> None:
    with pytest.raises(
        DataError, match=r"Class 'b' has 1 image: too few to split into train and val\. Give at least 2"
    ):
        assign(make(["a", "a", "b"]), SplitSettings())
    with pytest.raises(DataError, match=r"'b' has 1 image \(2 copies\): too few to split into train, val and test.*3"):
        assign(make(list("aaaabb"), digests=list("123455")), SplitSettings(test=0.2))
    with pytest.raises(DataError, match=r"'b' has 1 group \(3 images\)"):
        assign(make(list("aabbb"), groups=list("12333")), SplitSettings())
    with pytest.raises(DataError, match=r"2 classes have 1 image each \('b', 'c'\)"):
        assign(make(["a", "a", "c", "b"]), SplitSettings())
    with pytest.raises(DataError, match=r"7 classes have 1 image each \('b', 'c', 'd', 'e', 'f' and 2 more\)"):
        assign(make(list("aahgfedcb")), SplitSettings())


def of_two_columns(*, separate: bool) -> Table:
    shapes, colours = list("rrrrss"), ["red", "red", "blue", "blue", "red", "blue"]
    table = make([f"{shape}+{colour}" for shape, colour in zip(shapes, colours, strict=True)])
    labels = {"both": table.target_labels, "shape": texts(shapes), "colour": texts(colours)}
    return dataclasses.replace(table, labels=labels, separate=separate)


def test_combinations_of_two_columns_may_be_there_once_where_each_has_its_own_head() -> None:
    hint = r"remove the class, or give val yourself\.( With model.heads=separate each value of a column is enough.*)?$"
    with pytest.raises(DataError, match=hint) as caught:
        assign(of_two_columns(separate=False), SplitSettings(val=0.34))
    assert "model.heads=separate" in str(caught.value)
    with pytest.raises(DataError, match=hint) as caught:
        assign(make(["a", "a", "b"]), SplitSettings())
    assert "model.heads=separate" not in str(caught.value)
    for seed in range(20):
        found = assign(of_two_columns(separate=True), SplitSettings(val=0.34, seed=seed))
        for name in ("shape", "colour"):
            assert set(zip(found.labels[name], found.splits, strict=True)) == {
                (label, split) for label in set(found.labels[name]) for split in ("train", "val")
            }
    alone = of_two_columns(separate=True)
    alone.labels["shape"][-1] = "t"
    with pytest.raises(DataError, match=r"'s', 't'.*give val yourself\.$") as caught:
        assign(alone, SplitSettings())
    assert "model.heads=separate" not in str(caught.value), "it is so already"


def test_rows_without_a_group_are_independent() -> None:
    """The empty text is no group: as many of them come to each side as of single images."""
    groups = [""] * 40 + [f"g{i // 4}" for i in range(40)]
    labels = ["a", "b"] * 40
    for seed in range(5):
        found = assign(make(labels, groups=groups), SplitSettings(val=0.25, seed=seed))
        assert 0 < Counter(found.splits[:40].tolist())["val"] < 40
        assert Counter(found.splits.tolist()) == {"train": 60, "val": 20}
        fold = folds(texts(labels), 4, seed, texts(groups))
        assert np.bincount(fold).tolist() == [20] * 4
        assert len(set(fold[:40])) == 4
        assert assign(make(["a", "b"] * 20, groups=[""] * 40), SplitSettings(val=0.25, seed=seed)).splits.tolist() == (
            assign(make(["a", "b"] * 20), SplitSettings(val=0.25, seed=seed)).splits.tolist()
        )


def test_one_path_that_comes_twice_stays_on_one_side_also_without_digests() -> None:
    paths = [f"{i % 20}.jpg" for i in range(40)]
    for seed in range(5):
        table = dataclasses.replace(make(["a"] * 40, paths=paths), digests=None)
        found = assign(table, SplitSettings(val=0.3, seed=seed))
        assert (found.splits[:20] == found.splits[20:]).all()


def test_two_images_of_a_class_are_trained_and_validated_before_they_are_tested() -> None:
    table = assign(make(["a"] * 2 + ["b"] * 30), SplitSettings(val=0.1, test=0.3))
    assert counts(table, "a") == [1, 1, 0]


def test_a_group_in_two_given_splits() -> None:
    table = make(["a", "b"] * 4, ["train"] * 4 + ["val"] * 4, groups=["kim", "lee", "", "x", "kim", "y", "", "z"])
    with pytest.raises(DataError, match=r"1 group is on two sides .*'kim' \(train 1, val 1\)"):
        assign(table, SplitSettings())
    undecided = make(["a", "b"] * 4, [""] * 4 + ["test"] * 4, groups=list("12345614"))
    with pytest.raises(DataError, match=r"2 groups are on two sides .*'1' \(train 1, test 1\)"):
        require_groups_apart(undecided)
    require_groups_apart(make(["a", "b"] * 4, ["train", ""] * 4, groups=["1"] * 8))


# Folds.


@quick
@given(tables(), st.integers(2, 5), st.integers(0, 99))
def test_folds_cover_all_rows_and_cut_no_unit(table: Table, k: int, seed: int) -> None:
    unit = units(table)
    if len(set(unit)) < k:
        return
    fold = folds(table.target_labels, k, seed, table.groups, table.digests)
    assert fold.shape == (len(table),)
    assert fold.min() >= 0
    assert fold.max() < k
    assert len(set(zip(unit, fold.tolist(), strict=True))) == len(set(unit))
    for label in set(table.target_labels):  # so that each fold's training rows hold each class
        assert len(set(fold[table.target_labels == label])) >= 2


@quick
@given(st.lists(st.integers(2, 30), min_size=1, max_size=8), st.integers(2, 10), st.integers(0, 99))
def test_folds_of_single_images_are_even(sizes: list[int], k: int, seed: int) -> None:
    labels = texts([f"c{i}" for i, size in enumerate(sizes) for _ in range(size)])
    if len(labels) < k:
        return
    fold = folds(labels, k, seed)
    for label in set(labels):
        spread = np.bincount(fold[labels == label], minlength=k)
        assert spread.max() - spread.min() <= 1
    spread = np.bincount(fold, minlength=k)
    assert spread.max() - spread.min() <= 2


def test_folds_are_as_even_as_those_of_scikit_learn() -> None:
    ours, theirs = [], []
    for trial in range(30):
        rng = np.random.default_rng(trial)
        k, many = int(rng.choice([3, 5])), int(rng.choice([15, 60, 200]))
        people = rng.integers(0, many, 600)
        taste = rng.dirichlet([rng.choice([0.3, 3.0])] * 5, many)
        labels = (taste[people].cumsum(axis=1) > rng.random((600, 1))).argmax(axis=1)
        other = np.zeros(600, dtype=int)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            cut = StratifiedGroupKFold(k, shuffle=True, random_state=trial)
            for i, (_, test) in enumerate(cut.split(labels, labels, people)):
                other[test] = i
        fold = folds(texts([str(i) for i in labels]), k, trial, texts([str(i) for i in people]))
        for found, to in ((fold, ours), (other, theirs)):
            table = np.zeros((5, k))
            np.add.at(table, (labels, found), 1)
            to.append(float((table / table.sum(axis=1, keepdims=True)).std(axis=1).mean()))
    assert np.mean(ours) <= np.mean(theirs)
    assert max(np.array(ours) - np.array(theirs)) < 0.03


def test_too_many_folds() -> None:
    with pytest.raises(DataError, match="Cannot make 5 folds of 2 groups"):
        folds(texts(list("aabb")), 5, 0, texts(list("1122")))
    with pytest.raises(DataError, match="Class 'b' has 1 image: too few to split into 3 folds"):
        folds(texts(list("aaaab")), 3, 0)


def test_as_many_folds_as_there_are_images_or_groups_and_no_more() -> None:
    assert sorted(folds(texts(list("aabb")), 4, 0)) == [0, 1, 2, 3]
    assert len(set(folds(texts(list("aaabbb")), 3, 0, texts(list("112233"))))) == 3
    for labels, k, told in (
        ("", 2, "Cannot make 2 folds of 0 images: expected more of them."),
        ("a", 2, "Cannot make 2 folds of 1 image: expected more of them."),
        ("ab", 3, "Cannot make 3 folds of 2 images: expected 2 to 2 folds."),
        ("aabb", 1, "Cannot make 1 fold of 4 images: expected 2 to 4 folds."),
    ):
        with pytest.raises(DataError) as caught:
            folds(texts(list(labels)), k, 0)
        assert str(caught.value) == told


def test_each_class_is_in_two_folds_though_another_column_is_stratified() -> None:
    labels, sites = texts(["rare"] * 2 + ["b"] * 58), texts(["north", "south"] * 30)
    for seed in range(20):
        fold = folds(labels, 3, seed, strata=sites)
        assert len(set(fold[:2])) == 2
        for site in ("north", "south"):
            assert np.ptp(np.bincount(fold[sites == site])) <= 2  # one was moved for the rare class


def test_of_several_columns_each_has_its_classes_in_two_folds() -> None:
    """What is learned is each column, so a combination may be there once."""
    shapes, colours = texts(list("rrss" * 15)), texts(["red", "blue", "red"] + ["green"] * 56 + ["blue"])
    both = texts([f"{shape}+{colour}" for shape, colour in zip(shapes, colours, strict=True)])
    assert 1 in Counter(both.tolist()).values()
    for seed in range(20):
        fold = folds(both, 3, seed, learned=[shapes, colours])
        for column in (shapes, colours):
            assert all(len(set(fold[column == name])) >= 2 for name in set(column))
    with pytest.raises(DataError, match="too few to split into 3 folds"):
        folds(both, 3, 0)
    with pytest.raises(DataError, match="Class 'once' has 1 image: too few"):
        folds(both, 3, 0, learned=[shapes, texts(["once"] + ["more"] * 59)])


def test_a_class_is_wanted_in_the_folds_that_have_most_of_it_or_else_are_emptiest() -> None:
    classes = np.array([0, 0, 1, 1, 1, 1, 1, 1, 2])
    sides = Sides(np.arange(9), classes, np.full(3, 1 / 3))
    for unit, side in enumerate([0, 0, 0, 0, 1, 1, 1, 2, 2]):  # of the classes (2, 0, 0), (2, 3, 1) and (0, 0, 1)
        sides.put(unit, side)
    need = _two_fullest(sides, Holdings.of(np.arange(9), classes))
    assert need.tolist() == [[True, False, True], [True, True, False], [False, True, True]]


def test_a_class_that_is_in_two_folds_stays_there_though_another_is_empty() -> None:
    sides, held = (
        Sides(np.arange(2), np.zeros(2, np.int64), np.full(3, 1 / 3)),
        Holdings.of(np.arange(2), np.zeros(2, int)),
    )
    sides.put(0, 1)
    sides.put(1, 2)
    assert _two_fullest(sides, held).tolist() == [[False, True, True]]


def test_of_two_units_that_would_do_the_one_moves_that_leaves_no_gap() -> None:
    """The other would fit the shares better, but it is all that its side has of another class."""
    units, classes = np.array([0, 0, 1, 2]), np.array([0, 1, 0, 2])
    sides, held = Sides(units, np.zeros(4, np.int64), np.array([0.5, 0.5])), Holdings.of(units, classes)
    for unit in range(3):
        sides.put(unit, 0)
    costs = [sides.costs(unit) for unit in (0, 1)]
    assert costs[0][1] - costs[0][0] < costs[1][1] - costs[1][0]
    give_each(sides, held, np.array([[True, True], [True, False], [True, False]]))
    assert sides.side.tolist() == [0, 1, 0]


def test_each_side_gets_what_it_needs_the_first_before_the_others() -> None:
    """Where there are too few, the later side goes without; what was moved once is counted where it lies then."""
    for seed in range(20):
        rng = np.random.default_rng(seed)
        units = np.arange(40)
        classes = np.repeat(np.arange(5), [30, 1, 2, 3, 4])
        sides, held = Sides(units, np.zeros(40, np.int64), np.array([0.6, 0.2, 0.2])), Holdings.of(units, classes)
        for unit in range(40):
            sides.put(unit, int(rng.integers(3)))
        give_each(sides, held, np.ones((5, 3), bool))
        found = [sorted(set(sides.side[classes == k])) for k in range(5)]
        assert found == [[0, 1, 2], [0], [0, 1], [0, 1, 2], [0, 1, 2]]
        assert sides.counts[-1].tolist() == np.bincount(sides.side, minlength=3).tolist()


# The parts.


@quick
@given(st.lists(st.lists(st.floats(0, 9), min_size=3, max_size=3), min_size=1, max_size=9), st.integers(0, 9))
def test_rounding_moves_no_number_by_one_and_keeps_the_sums(lines: list[list[float]], seed: int) -> None:
    wanted = np.array(lines)
    rows = np.floor(wanted.sum(axis=1)).astype(np.int64)
    wanted *= (rows / np.maximum(wanted.sum(axis=1), 1e-9))[:, None]
    whole = round_shares(wanted, rows, np.random.default_rng(seed).random(len(rows)))
    assert (whole.sum(axis=1) == rows).all()
    assert (np.abs(whole - wanted) < 1 + 1e-6).all()
    assert (np.abs(whole.sum(axis=0) - wanted.sum(axis=0)) <= 1.5 + 1e-6).all()


def test_what_a_unit_costs_is_by_how_much_the_misfit_grows() -> None:
    """And the misfit is the sum of (is - should)^2 / should over the strata and all rows, each as a share of it."""
    rng, shares = np.random.default_rng(0), np.array([0.7, 0.2, 0.1])
    units, strata = np.repeat(np.arange(20), 3), rng.integers(0, 4, 60)

    def misfit(side_U: list[int]) -> float:
        side_N, found = np.array(side_U)[units], 0.0
        for rows in [np.ones(60, bool), *(strata == k for k in range(4))]:
            found += float((((side_N[rows, None] == np.arange(3)).sum(0) / rows.sum() - shares) ** 2 / shares).sum())
        return found

    sides, placed = Sides(units, strata, shares), [-1] * 20
    for unit in range(20):
        assert sides.misfit() == pytest.approx(misfit(placed), abs=1e-8)
        grown = [misfit([*placed[:unit], side, *placed[unit + 1 :]]) - misfit(placed) for side in range(3)]
        assert sides.costs(unit) == pytest.approx(grown, abs=1e-8)
        placed[unit] = int(rng.integers(3))
        sides.put(unit, placed[unit])
    for unit, side in ((3, 2), (3, 0), (4, 1)):  # taken from where it was
        placed[unit] = side
        sides.put(unit, side)
    assert sides.misfit() == pytest.approx(misfit(placed), abs=1e-8)


@quick
@given(tables(grouped=True))
def test_units_join_through_groups_and_copies(table: Table) -> None:
    keys = []
    for column in (table.groups, table.digests):
        assert column is not None
        index = {value: code for code, value in enumerate(dict.fromkeys(column.tolist()))}
        keys.append(np.array([-1 if value == "" else index[value] for value in column.tolist()]))
    pairs = set(zip(join(*keys).tolist(), units(table), strict=True))
    assert len(pairs) == len({one for one, _ in pairs}) == len({other for _, other in pairs})


# Real data.


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "emotion").is_dir(), reason=f"no development images in {SHARED}")
def test_real_faces_are_split_by_person() -> None:
    with (SHARED / "emotion" / "labels.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    columns = {name: [row[name] for row in rows] for name in rows[0]}
    table = make(columns["emotion"], groups=columns["person"], paths=columns["path"])
    found = assign(table, SplitSettings(val=0.2, test=0.1))
    require_groups_apart(found)
    assert counts(found, "neutral") == [700, 200, 100]
    assert all(min(counts(found, label)) >= 1 for label in set(columns["emotion"]))
    fold = folds(table.target_labels, 5, 0, table.groups)
    assert np.bincount(fold[table.target_labels == "neutral"]).tolist() == [200] * 5


def test_a_split_of_one_or_two_groups_is_warned_of() -> None:
    def warning(groups: list[str] | None) -> str:
        many = 4 if groups is None else len(groups)
        names = texts([f"{i}.jpg" for i in range(many)])
        labels = texts([str(i % 2) for i in range(many)])
        rows = None if groups is None else texts(groups)
        return few_groups(Table(Path(), names, {"label": labels}, texts(["val"] * many), rows), "val")

    assert warning(["p1", "p1"]).startswith("val has 1 group only ('p1')")
    assert warning(["p1", "p2", "p1"]).startswith("val has 2 groups only ('p1', 'p2')")
    assert "data.group_column=none" in warning(["p1"])
    for first in range(20):
        assert f"('p{first}', 'q')" in warning(["q", f"p{first}"]), "in order, whatever the order of a set"
    for groups in (None, [], ["p1", "p2", "p3"], ["p1", ""]):
        assert warning(groups) == ""
