"""Which rows train, validate and test: decided once, by label, by group, and by copy; kept in split.csv."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import ConfigError, DataError, count, nearest, some
from bunryu.core.randomness import generator
from bunryu.data.multi_label import held_labels
from bunryu.data.splits.stratify import Floats, Holdings, Ints, Sides, divide, divide_sets, give_each, join
from bunryu.data.table import SPLITS, Table, Texts, nfc, texts
from bunryu.settings.data import SplitSettings


def assign(table: Table, settings: SplitSettings) -> Table:
    """Return the table with every row's split decided.

    Rows given as val or test stay there. Where no row is val, a share of `split.val` of the training rows
    (given as train, or not given) becomes val; likewise test. Every class keeps a training row. Rows of one
    group, and copies of one picture, stay together; the result does not depend on the rows' order.

    Raises:
        ConfigError: `split.stratify` names no column.
        DataError: a class too small to split, or a group on two sides of a given split.
    """
    require_groups_apart(table)
    strata = stratum_column(table, settings)
    splits = table.splits.copy()
    pool = np.flatnonzero((splits == "") | (splits == "train"))
    splits[pool] = "train"
    cut = {name: getattr(settings, name) for name in ("val", "test") if not (splits == name).any()}
    cut = {name: share for name, share in cut.items() if share > 0}
    if cut and len(pool):
        pool = pool[canonical_order(table.take(pool))]
        names = texts(["train", *cut])
        shares = np.array([1.0 - sum(cut.values()), *cut.values()])
        own, seed = table.take(pool), settings.seed
        if table.label_names:
            splits[pool] = names[_sides_of_sets(own, None if settings.stratify is None else strata[pool], shares, seed)]
        else:
            splits[pool] = names[_sides_of(own, strata[pool], shares, list(names), seed)]
    return dataclasses.replace(table, splits=splits)


def folds(
    labels: Texts,
    k: int,
    seed: int,
    groups: Texts | None = None,
    digests: Texts | None = None,
    strata: Texts | None = None,
    learned: Sequence[Texts] = (),
) -> NDArray[np.int64]:
    """Return the fold (0 to k - 1) of each row: stratified by label, with groups and copies kept whole.

    Each class is in two folds at least, so in the rest of any fold.

    Args:
        labels: the class of each row.
        k: how many folds, at least 2.
        seed: the split's seed.
        groups: rows with the same text stay in one fold; the empty text is no group.
        digests: rows with the same digest stay in one fold.
        strata: stratify by these instead of the labels.
        learned: the columns whose classes are each to be in two folds, where that is not the label.

    Raises:
        DataError: fewer rows or groups than folds, or a class that is all in one row or group.
    """
    units = joined_units(len(labels), groups, digests)
    what = "group" if groups is not None else "image"
    if k < 2 or int(units.max(initial=-1)) + 1 < k:
        have = int(units.max(initial=-1)) + 1
        expected = f"2 to {have} folds" if have > 1 else "more of them"
        raise DataError(f"Cannot make {count(k, 'fold')} of {count(have, what)}: expected {expected}.")
    mend = f"Give at least 2 {what}s a class, or remove the class."
    for column in learned or [labels]:
        _require_two_units(units, column, what, f"{k} folds", mend)
    kinds = _codes(labels if strata is None else strata)
    sides = divide(units, kinds, np.full(k, 1.0 / k), generator(seed, "folds"))
    for column in learned or [labels]:
        held = Holdings.of(units, _codes(column))
        give_each(sides, held, _two_fullest(sides, held))
    return sides.side[units].astype(np.int64)


def few_groups(table: Table, split: str) -> str:
    """Return a warning where all rows of a split are of one or two groups; an empty string elsewhere."""
    groups = set() if table.groups is None else set(table.groups[table.split(split)]) - {""}
    loose = table.groups is not None and (table.groups[table.split(split)] == "").any()
    if not groups or loose or len(groups) > 2:
        return ""
    shown = some(sorted(map(repr, groups)))
    return (
        f"{split} has {count(len(groups), 'group')} only ({shown}), so its figures say little of others. "
        f"Give more groups, raise split.{split}, or set data.group_column=none if rows are independent"
    )


def require_groups_apart(table: Table) -> None:
    """Raise where rows of one group are given to two splits.

    Raises:
        DataError: naming some of the groups, and the mend.
    """
    if table.groups is None:
        return
    given = np.where(table.splits == "", "train", table.splits)
    found: dict[str, Counter[str]] = defaultdict(Counter)
    for group, split in zip(table.groups.tolist(), given.tolist(), strict=True):
        if group:
            found[group][split] += 1
    torn = {group: counts for group, counts in found.items() if len(counts) > 1}
    if torn:
        shown = (
            f"'{group}' ({', '.join(f'{name} {counts[name]}' for name in SPLITS if counts[name])})"
            for group, counts in torn.items()
        )
        many = "1 group is" if len(torn) == 1 else f"{len(torn):,} groups are"
        raise DataError(
            f"{many} on two sides of the given split: {some(shown, 3)}. The model would be tested on what it "
            "has trained on. Give all rows of a group the same split, leave the split out to have it made by "
            "group, or leave the group column out if its rows are independent."
        )


def _sides_of(table: Table, strata: Texts, shares: Floats, names: list[str], seed: int) -> Ints:
    """Return the side of each row of a table in its canonical order."""
    units = joined_units(len(table), table.groups, table.digests if table.digests is not None else table.paths)
    what = "group" if table.groups is not None else "image"
    into = f"{', '.join(names[:-1])} and {names[-1]}"
    mend = f"Give at least {len(names)} {what}s a class, remove the class, or give {names[-1]} yourself."
    if table.attributes and not table.separate:
        mend += " With model.heads=separate each value of a column is enough, not each combination."
    for labels in table.learned.values():
        _require_two_units(units, labels, what, into, mend)
    sides = divide(units, _codes(strata), shares, generator(seed, "split"))
    for labels in table.learned.values():
        held = Holdings.of(units, _codes(labels))
        of_class = np.bincount(held.kinds)
        give_each(sides, held, of_class[:, None] > np.arange(len(names)))
    return sides.side[units]


def _sides_of_sets(table: Table, strata: Texts | None, shares: Floats, seed: int) -> Ints:
    """Return the side of each row where labels can hold together: each label is spread evenly, or else `strata`."""
    units = joined_units(len(table), table.groups, table.digests if table.digests is not None else table.paths)
    held_NL = held_labels(table.target_labels, table.label_names)
    kinds = None if strata is None else _codes(strata)
    return divide_sets(units, held_NL, shares, generator(seed, "split"), kinds).side[units]


def _two_fullest(sides: Sides, held: Holdings) -> NDArray[np.bool_]:
    """Return the two folds that have most of each class, so that each class is in the rest of any fold."""
    counts = np.zeros((int(held.kinds.max()) + 1, len(sides.shares)))
    np.add.at(counts, (held.kinds, sides.side[held.owners()]), held.counts)
    # Where a class is in one fold only, the emptiest fold is to get a unit of it.
    key = -counts + np.where(counts == 0, sides.counts[-1] / sides.totals[-1] / 2, 0)
    need = np.zeros(counts.shape, dtype=bool)
    np.put_along_axis(need, np.argsort(key, axis=1, kind="stable")[:, :2], True, axis=1)
    return need


def _require_two_units(units: Ints, labels: Texts, what: str, into: str, mend: str) -> None:
    """Raise where all rows of a class are in one unit, so that it would be missing on a side."""
    seen: dict[str, set[int]] = defaultdict(set)
    for label, unit in zip(labels.tolist(), units.tolist(), strict=True):
        if len(seen[label]) < 2:
            seen[label].add(unit)
    alone = sorted(label for label, ones in seen.items() if len(ones) == 1)
    if not alone:
        return
    rows = Counter(labels.tolist())
    more = f" ({rows[alone[0]]} {'copies' if what == 'image' else 'images'})" if rows[alone[0]] > 1 else ""
    names = some((f"'{label}'" for label in alone), 5)
    which = (
        f"Class {names} has 1 {what}{more}"
        if len(alone) == 1
        else f"{len(alone):,} classes have 1 {what} each ({names})"
    )
    raise DataError(f"{which}: too few to split into {into}. {mend}")


def stratum_column(table: Table, settings: SplitSettings) -> Texts:
    """Return the column that is spread evenly: the labels, or what `split.stratify` names."""
    if settings.stratify is None:
        return table.target_labels
    columns = {**table.columns, **table.labels}
    if settings.stratify not in columns:
        raise ConfigError(
            f"split.stratify: there is no column '{settings.stratify}'.{nearest(settings.stratify, columns)} "
            f"Columns: {some(columns, 12)}."
        )
    return columns[settings.stratify]


def joined_units(rows: int, groups: Texts | None, digests: Texts | None) -> Ints:
    """Return the unit of each row; the empty text joins nothing."""
    keys = [np.where(values == "", -1, _codes(values)) for values in (groups, digests) if values is not None]
    return join(*keys) if keys else np.arange(rows)


def _codes(values: Texts) -> Ints:
    """Number equal texts alike, in the texts' order (np.unique is slow on objects)."""
    index = {name: code for code, name in enumerate(sorted(set(values.tolist())))}
    return np.fromiter((index[name] for name in values.tolist()), dtype=np.int64, count=len(values))


def canonical_order(table: Table) -> Ints:
    """Return the rows by what they are, so that a split does not depend on how they were listed."""
    groups = [""] * len(table) if table.groups is None else table.groups.tolist()
    paths = (nfc(path) for path in table.paths.tolist())
    keys = list(zip(paths, table.target_labels.tolist(), groups, strict=True))
    return np.array(sorted(range(len(table)), key=keys.__getitem__), dtype=np.int64)
