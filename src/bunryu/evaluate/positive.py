"""Which of two classes is the positive one, whose precision, recall and F1 are told: as asked, else the rarer one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from bunryu.core.errors import ConfigError, nearest, some, typed


def positive_class(asked: str | None, classes: Sequence[str], counts: Sequence[int]) -> str | None:
    """Return the name of the positive class; None when there are not two classes.

    Args:
        asked: evaluate.positive, of one label column.
        classes: in the model's order.
        counts: how many rows each has; the rarer one is positive unless another is asked for, of equals the last.

    Raises:
        ConfigError: it is not one of two classes.
    """
    if asked is None:
        return classes[0 if counts[0] < counts[1] else 1] if len(classes) == 2 else None
    if len(classes) != 2:
        raise ConfigError(
            f"evaluate.positive is for two-class runs; got {asked!r}, and this run has {len(classes)} "
            "classes. Leave evaluate.positive out."
        )
    if asked not in classes:
        raise ConfigError(
            f"evaluate.positive must be one of the two classes {classes[0]!r} and {classes[1]!r}, "
            f"got {asked!r}.{nearest(asked, classes)}"
        )
    return asked


def of_answer(asked: str | Mapping[str, str] | None, columns: Sequence[str]) -> str | None:
    """Return what is asked for the classes that are answered, which may be of several label columns.

    Args:
        asked: evaluate.positive: a class, or {label column: class} where there are several label columns.
        columns: the label columns, where they are several.

    Raises:
        ConfigError: a column that there is not, or columns where there is one.
    """
    if asked is None or isinstance(asked, str):
        return asked
    if not columns:
        raise ConfigError(
            f"evaluate.positive={dict(asked)} names label columns, and there is one. Give the class alone: "
            f"evaluate.positive={next(iter(asked.values()), 'CLASS')}"
        )
    if wrong := [column for column in asked if column not in columns]:
        raise ConfigError(
            f"evaluate.positive: there is no label column {wrong[0]!r}.{nearest(wrong[0], columns)} The label columns: "
            f"{some(columns)}."
        )
    return None


def of_column(asked: str | Mapping[str, str] | None, column: str) -> str | None:
    """Return what is asked for one of several label columns."""
    return asked.get(column) if isinstance(asked, Mapping) else None


def told(positive: str, classes: Sequence[str], counts: Sequence[int], asked: object, column: str | None = None) -> str:
    """Say which class is the positive one, why, and how to choose the other.

    Args:
        positive: that class.
        classes: both.
        counts: training rows of each.
        asked: what evaluate.positive says of it.
        column: of several label columns the one that has them.
    """
    other = next(name for name in classes if name != positive)
    if asked is not None:
        return f"{positive} (as set)"
    own, all_rows = counts[classes.index(positive)], sum(counts)
    why = "the last of two equally frequent" if own * 2 == all_rows else "the rarer of the two"
    setting = f"evaluate.positive={other}" if column is None else f"evaluate.positive={{{column}: {other}}}"
    return f"{positive} ({why}: {own:,} of {all_rows:,} training rows; for the other: {typed(setting)})"
