"""Results in words: the report of a run, one line for the terminal, the confusion table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.csv_text import csv_lines
from bunryu.core.shown import shown_lines
from bunryu.core.text_width import clean, pad, shorten, width
from bunryu.evaluate.figures import (
    NAME_WIDTH,
    ClassMetrics,
    Figure,
    Figures,
    Folds,
    GroupMetrics,
    Interval,
)
from bunryu.evaluate.report.mistakes import mistakes_file
from bunryu.evaluate.report.warnings import is_at_chance, named, warnings_of
from bunryu.settings.run import RunSettings


def text_report(
    title: str,
    facts: Mapping[str, str | list[str]],
    metrics_by_split: Mapping[str, Figures],
    *,
    next_steps: list[str],
    settings: RunSettings | None = None,
    listed: bool = False,
) -> str:
    """Write the plain-text report: what is wrong first, then the facts, the figures and the tables.

    Args:
        title: the first line.
        facts: what was decided (model, data, settings), in order; shown as aligned `key  value` lines, a list as
            several.
        metrics_by_split: split name -> what was measured, in order of interest.
        next_steps: commands or advice, one line each; the section is left out when empty.
        settings: of the run, for what to try; None where they are not known.
        listed: whether the mistakes of each split are in a file beside.

    Returns:
        Text that ends with a newline, no line with spaces at its end. Columns are aligned for terminals
        that draw Hangul in two cells (Unicode Standard Annex 11).
    """
    lines = [clean(title), "=" * width(clean(title)), ""]
    found = [
        (f"{split}: " if len(metrics_by_split) > 1 else "") + sentence
        for split, metrics in metrics_by_split.items()
        for sentence in warnings_of(metrics, settings, mistakes_file(split) if listed else "")
    ]
    if found:
        lines += ["Look at this first", *(f"  ! {sentence}" for sentence in found), ""]
    if facts:
        lines += [*_pairs(facts), ""]
    for split, metrics in metrics_by_split.items():
        lines += [*_split_section(split, metrics), ""]
    if next_steps:
        lines += ["Next", *(f"  {step}" for step in next_steps), ""]
    return shown_lines(line.rstrip() for line in lines).rstrip("\n") + "\n"


def headline(metrics: Figures) -> str:
    """Return the figures to know, on one line: macro-F1, accuracy, ROC AUC and attributes if any, how many images."""
    parts = [f"{name} {figure}" for name, figure in metrics.headline().items()]
    if metrics.worst_group_accuracy is not None:
        name = shorten(next(iter(metrics.by_group)), NAME_WIDTH)
        parts.append(f"worst group {metrics.worst_group_accuracy:.3f} ({name})")
    parts += [f"{shorten(name, NAME_WIDTH)} {own.accuracy:.3f}" for name, own in metrics.attributes.items()]
    return ", ".join([*parts, _images(metrics.n)])


def attributes_told(metrics: Figures) -> list[str]:
    """Return a line for each attribute, where there are any: accuracy, macro-F1, and whether it is at chance."""
    lines = []
    for name, own in metrics.attributes.items():
        figures = own.figures()
        chance = ", no better than chance" if is_at_chance(own) else ""
        told = f"accuracy {figures['accuracy']}, macro-F1 {figures['macro-F1']}{chance}"
        lines.append(f"{shorten(name, NAME_WIDTH)}: {told}")
    return lines


def confusion_csv(matrix_KK: NDArray[np.integer[Any]], classes: list[str]) -> str:
    """Return the confusion counts as CSV: a row for each true class, a column for each answer."""
    rows = ([name, *counts] for name, counts in zip(classes, matrix_KK.tolist(), strict=True))
    return "".join(csv_lines(["true", *classes], rows))


def _images(n: int) -> str:
    return f"{n:,} image" + ("" if n == 1 else "s")


def _split_section(split: str, metrics: Figures) -> Iterator[str]:
    head = f"{clean(split)}: {_images(metrics.n)}"
    if metrics.groups is not None:
        head += f" in {metrics.groups:,} groups"
    yield head
    yield "-" * width(head)
    several = metrics.noun[0] == "class" and sum(row.support > 0 for row in metrics.per_class.values()) > 1
    undefined = f"not defined: {'answers alone rank no images' if several else 'the truth has one class only'}"
    yield from _pairs(
        {n: undefined if figure.value is None else str(figure) for n, figure in metrics.figures().items()}
    )
    if how := metrics.bootstrap:
        drawn = f"percentile bootstrap, {how.resamples:,} resamples of {how.units:,} {how.of}"
        exact = f"exact (Clopper and Pearson) for {how.units:,} {how.of} without an error"
        fewer = "" if how.rank_resamples is None else f" (mAP and ROC AUC: {how.rank_resamples:,})"
        yield f"  [low, high]: 95 % interval, {drawn + fewer if how.resamples else exact}"
    if metrics.folds:
        yield from _fold_table(metrics.folds)
    if metrics.by_group:
        yield from _group_table(metrics.by_group)
    if metrics.absent:
        yield f"  absent from the truth, not in the macro averages: {named(metrics.absent, 50)}"
    yield ""
    yield from _table(metrics.per_class, metrics.noun[0])
    yield from _interval_table(metrics)
    for name, own in metrics.attributes.items():
        yield ""
        yield f"  {shorten(name, NAME_WIDTH)}{': no better than chance' if is_at_chance(own) else ''}"
        figures = own.figures()
        told = {label: str(figures[label]) for label in ("accuracy", "macro-F1", "macro recall")}
        yield from _pairs(told | {"by guessing": f"macro recall {own.chance:.3f}"})
        yield from _table(own.per_class, own.noun[0])
        yield from _interval_table(own)


def _interval_table(metrics: Figures) -> Iterator[str]:
    """Yield the 95 % intervals of each class that has some, in the model's order."""
    found = {name: row.with_intervals() for name, row in metrics.per_class.items()}
    found = {name: row for name, row in found.items() if any(figure.interval for figure in row.values())}
    if not found:
        return
    noun, names = metrics.noun[0], [shorten(name, NAME_WIDTH) for name in found]
    column = max(width(name) for name in [noun, *names])
    heads = list(next(iter(found.values())))
    yield ""
    yield f"  95 % intervals of each {noun}: {_of_each(metrics)}"
    yield f"  {pad(noun, column)}" + "".join(f"  {head:<14}" for head in heads)
    for name, row in zip(names, found.values(), strict=True):
        yield f"  {pad(name, column)}" + "".join(f"  {_ends(row[head].interval):<14}" for head in heads)


def _of_each(metrics: Figures) -> str:
    """Say how they were found."""
    if metrics.bootstrap is not None and metrics.bootstrap.of == "groups":
        return "whole groups resampled"
    return "Wilson's; of the ROC AUC Newcombe's"


def _ends(interval: Interval | None) -> str:
    return "-" if interval is None else f"[{interval.low:.3f}, {interval.high:.3f}]"


def _fold_table(folds: Folds) -> Iterator[str]:
    """Yield a line a fold, their mean and their standard deviation."""
    yield ""
    yield "  " + "  ".join([pad("fold", 18), "  images", "   macro-F1", "   accuracy", "weighted F1", "       loss"])
    rows = [(str(i), fold) for i, fold in enumerate(folds.each, 1)]
    for label, row in [*rows, ("mean", folds.mean), ("standard deviation", folds.std)]:
        images = "" if row.n is None else f"{row.n:,}"
        values = (row.macro_f1, row.accuracy, row.weighted_f1, row.loss)
        yield "  " + "  ".join([pad(label, 18), f"{images:>8}", *(f"{value:>11.3f}" for value in values)])


def _group_table(groups: Mapping[str, GroupMetrics]) -> Iterator[str]:
    """Yield a line for each group of `loss.group_dro`, the worst first."""
    names = {name: shorten(name, NAME_WIDTH) for name in groups}
    column = max(map(width, ("group", *names.values())))
    yield ""
    yield f"  {pad('group', column)}    images  accuracy"
    for name, row in groups.items():
        yield f"  {pad(names[name], column)}  {row.n:>8,}  {Figure(row.accuracy, row.accuracy_ci)}"


def _pairs(pairs: Mapping[str, str | list[str]]) -> Iterator[str]:
    """Yield aligned `key  value` lines; further lines of a value are indented under the first."""
    column = max(width(clean(key)) for key in pairs)
    for key, value in pairs.items():
        first, *more = [value] if isinstance(value, str) else value
        yield f"  {pad(clean(key), column)}  {first}"
        yield from (f"  {' ' * column}  {line}" for line in more)


def _table(per_class: Mapping[str, ClassMetrics], noun: str) -> Iterator[str]:
    """Yield the per-class table in the model's order; a class without a row in the truth shows dashes."""
    names = [shorten(name, NAME_WIDTH) for name in per_class]
    column = max(width(name) for name in [noun, *names])
    wide = {head: max(len(head), 5) for head in next(iter(per_class.values())).further()}
    heads = "".join(f"  {head:>{cells}}" for head, cells in wide.items())
    yield f"  {pad(noun, column)}  precision  recall     F1  images  predicted{heads}"
    for name, row in zip(names, per_class.values(), strict=True):
        if row.support:
            ratios = f"{row.precision:>9.3f}  {row.recall:>6.3f}  {row.f1:>5.3f}"
        else:
            ratios = f"{'-':>9}  {'-':>6}  {'-':>5}"
        further = "".join(f"  {Figure(value)!s:>{wide[head]}}" for head, value in row.further().items())
        mark = "  < never right" if row.support and not row.recall else ""
        yield f"  {pad(name, column)}  {ratios}  {row.support:>6}  {row.predicted:>9}{further}{mark}"
