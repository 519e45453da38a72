"""Results in words: the report of a run, one line for the terminal, the confusion table."""

from __future__ import annotations

import statistics
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.csv_text import csv_lines
from bunryu.core.errors import count, some
from bunryu.core.text_width import clean, pad, shorten, width

_FAR_BELOW = 0.2
"""A class this much F1 under the median class is pointed out."""
_NAME_WIDTH = 40
_LISTED = 10


def text_report(
    title: str, facts: dict[str, str], metrics_by_split: dict[str, dict[str, Any]], *, next_steps: list[str]
) -> str:
    """Write the plain-text report: what is wrong first, then the facts, the figures and the tables.

    Args:
        title: the first line.
        facts: what was decided (model, data, settings), in order; shown as aligned `key  value` lines.
        metrics_by_split: split name -> what `metrics.measure` returned, in order of interest.
        next_steps: commands or advice, one line each; the section is left out when empty.

    Returns:
        Text that ends with a newline, no line with spaces at its end. Columns are aligned for terminals
        that draw Hangul in two cells (Unicode Standard Annex 11).
    """
    lines = [clean(title), "=" * width(clean(title)), ""]
    found = [
        (f"{split}: " if len(metrics_by_split) > 1 else "") + sentence
        for split, metrics in metrics_by_split.items()
        for sentence in warnings_of(metrics)
    ]
    if found:
        lines += ["Look at this first", *(f"  ! {sentence}" for sentence in found), ""]
    if facts:
        lines += [*_pairs(facts), ""]
    for split, metrics in metrics_by_split.items():
        lines += [*_split_section(split, metrics), ""]
    if next_steps:
        lines += ["Next", *(f"  {step}" for step in next_steps), ""]
    return "\n".join(line.rstrip() for line in lines).rstrip("\n") + "\n"


def headline(metrics: dict[str, Any]) -> str:
    """Return the figures to know, on one line: macro-F1, accuracy, ROC AUC and attributes if any, how many images."""
    parts = [figure(metrics, "macro_f1", "macro-F1"), figure(metrics, "accuracy", "accuracy")]
    if "mean_average_precision" in metrics:
        parts[1] = figure(metrics, "accuracy", "all labels right")
        parts.insert(1, figure(metrics, "mean_average_precision", "mAP"))
    if metrics.get("roc_auc") is not None:
        parts.append(figure(metrics, "roc_auc", "ROC AUC"))
    if "by_group" in metrics:
        name = shorten(next(iter(metrics["by_group"])), _NAME_WIDTH)
        parts.append(f"worst group {metrics['worst_group_accuracy']:.3f} ({name})")
    for name, own in metrics.get("attributes", {}).items():
        parts.append(f"{shorten(name, _NAME_WIDTH)} {own['accuracy']:.3f}")
    return ", ".join([*parts, _images(metrics["n"])])


def attributes_told(metrics: dict[str, Any]) -> list[str]:
    """Return a line for each attribute, where there are any: accuracy, macro-F1, and whether it is at chance."""
    return [
        f"{shorten(name, _NAME_WIDTH)}: {figure(own, 'accuracy', 'accuracy')}, {figure(own, 'macro_f1', 'macro-F1')}"
        + (", no better than chance" if _is_at_chance(own) else "")
        for name, own in metrics.get("attributes", {}).items()
    ]


def confusion_csv(matrix_KK: NDArray[np.integer[Any]], classes: list[str]) -> str:
    """Return the confusion counts as CSV: a row for each true class, a column for each answer."""
    rows = ([name, *counts] for name, counts in zip(classes, matrix_KK.tolist(), strict=True))
    return "".join(csv_lines(["true", *classes], rows))


def warnings_of(metrics: dict[str, Any]) -> list[str]:
    """Say in sentences what the averages hide: attributes at chance, dead and weak classes, the notes of `measure`."""
    present = {name: row for name, row in metrics["per_class"].items() if row["support"]}
    dead = [name for name, row in present.items() if row["recall"] == 0]
    found = [_at_chance(name, own) for name, own in metrics.get("attributes", {}).items() if _is_at_chance(own)]
    guessed = [name for name, row in present.items() if row.get("better_than_chance") is False and name not in dead]
    found += [_guessed(name, present[name]) for name in guessed[:_LISTED]]
    if len(guessed) > _LISTED:
        found.append(f"{len(guessed) - _LISTED} more are no better than chance: {_names(guessed[_LISTED:], 5)}.")
    found += [_dead(name, present[name]) for name in dead[:_LISTED]]
    if len(dead) > _LISTED:
        found.append(f"{len(dead) - _LISTED} more are never predicted right: {_names(dead[_LISTED:], 5)}.")
    middle = statistics.median(row["f1"] for row in present.values())
    weak = [name for name, row in present.items() if name not in {*dead, *guessed} and row["f1"] < middle - _FAR_BELOW]
    weak.sort(key=lambda name: float(present[name]["f1"]))
    found += [_weak(name, present[name], middle) for name in weak[:_LISTED]]
    if len(weak) > _LISTED:
        found.append(f"{len(weak) - _LISTED} more are far below the median: {_names(weak[_LISTED:], 5)}.")
    for name, row in metrics.get("by_group", {}).items():
        if row["accuracy_ci"][1] < metrics["accuracy"]:
            told = figure(row, "accuracy", "accuracy")
            found.append(f"group '{shorten(name, _NAME_WIDTH)}' fares worse: {told}, all {metrics['accuracy']:.3f}.")
    if metrics["absent"]:
        k, absent = len(metrics["per_class"]), metrics["absent"]
        noun = _noun(next(iter(metrics["per_class"].values())))
        many = count(len(absent), f"{noun} has", f"{'classes' if noun == 'class' else 'labels'} have")
        found.append(f"{many} no image in the truth (the model knows {k}): {_names(absent, 5)}.")
    return found + list(metrics["notes"])


def _is_at_chance(metrics: dict[str, Any]) -> bool:
    return metrics["better_than_chance"] is False


def _at_chance(name: str, metrics: dict[str, Any]) -> str:
    told = figure(metrics, "macro_recall", "macro recall")
    return f"{shorten(name, _NAME_WIDTH)}: no better than chance ({told}; guessing gives {metrics['chance']:.3f})."


def _guessed(name: str, row: dict[str, Any]) -> str:
    told = figure(row, "roc_auc", "ROC AUC")
    return f"label '{shorten(name, _NAME_WIDTH)}': no better than chance ({told}; guessing gives 0.500)."


def _noun(row: dict[str, Any]) -> str:
    return "label" if "threshold" in row else "class"


def _dead(name: str, row: dict[str, Any]) -> str:
    answers = row["predicted"]
    given = f"all {answers} answers of this {_noun(row)} are wrong" if answers else "it is the answer for no image"
    return f"{_noun(row)} '{shorten(name, _NAME_WIDTH)}' is never predicted right (0 of {row['support']}): {given}."


def _weak(name: str, row: dict[str, Any], middle: float) -> str:
    found = f"{round(row['recall'] * row['support'])} of {row['support']} found"
    return (
        f"{_noun(row)} '{shorten(name, _NAME_WIDTH)}' is far below the others: "
        f"F1 {row['f1']:.3f}, median {middle:.3f} ({found})."
    )


def figure(metrics: dict[str, Any], key: str, name: str = "") -> str:
    """Return ``"macro-F1 0.952 [0.921, 0.981]"``, the interval only where it was measured."""
    ends = metrics.get(f"{key}_ci")
    interval = "" if ends is None else f" [{ends[0]:.3f}, {ends[1]:.3f}]"
    return f"{name} {metrics[key]:.3f}{interval}".lstrip()


def _images(n: int) -> str:
    return f"{n:,} image" + ("" if n == 1 else "s")


def _split_section(split: str, metrics: dict[str, Any]) -> Iterator[str]:
    head = f"{clean(split)}: {_images(metrics['n'])}"
    if "groups" in metrics:
        head += f" in {metrics['groups']:,} groups"
    yield head
    yield "-" * width(head)
    together = "mean_average_precision" in metrics
    figures = {"macro-F1": figure(metrics, "macro_f1")}
    if together:
        figures |= {"micro-F1": figure(metrics, "micro_f1"), "mAP": figure(metrics, "mean_average_precision")}
    figures |= {
        "all labels right" if together else "accuracy": figure(metrics, "accuracy"),
        "weighted F1": figure(metrics, "weighted_f1"),
        "macro precision": figure(metrics, "macro_precision"),
        "macro recall": figure(metrics, "macro_recall"),
    }
    if "loss" in metrics:
        figures["loss"] = figure(metrics, "loss")
    if "positive" in metrics:
        name = shorten(metrics["positive"], _NAME_WIDTH)
        for part, label in (("precision", "precision"), ("recall", "recall"), ("f1", "F1")):
            figures[f"{label} of '{name}'"] = figure(metrics, f"positive_{part}")
        auc = metrics["roc_auc"]
        figures["ROC AUC"] = "not defined: the truth has one class only" if auc is None else f"{auc:.3f}"
    yield from _pairs(figures)
    if "bootstrap" in metrics:
        how = metrics["bootstrap"]
        drawn = f"percentile bootstrap, {how['resamples']:,} resamples of {how['units']:,} {how['of']}"
        exact = f"Clopper and Pearson for {how['units']:,} {how['of']} without an error"
        yield f"  [low, high]: 95 % interval, {drawn if how['resamples'] else exact}"
    if "folds" in metrics:
        yield from _fold_table(metrics["folds"])
    if "by_group" in metrics:
        yield from _group_table(metrics["by_group"])
    if metrics["absent"]:
        yield f"  absent from the truth, not in the macro averages: {_names(metrics['absent'], 50)}"
    yield ""
    yield from _table(metrics["per_class"])
    for name, own in metrics.get("attributes", {}).items():
        yield ""
        yield f"  {shorten(name, _NAME_WIDTH)}{': no better than chance' if _is_at_chance(own) else ''}"
        figures = {"accuracy": "accuracy", "macro_f1": "macro-F1", "macro_recall": "macro recall"}
        told = {label: figure(own, key) for key, label in figures.items()}
        yield from _pairs(told | {"by guessing": f"macro recall {own['chance']:.3f}"})
        yield from _table(own["per_class"])


def _fold_table(folds: dict[str, Any]) -> Iterator[str]:
    """Yield a line a fold, their mean and their standard deviation."""
    names = {"macro_f1": "macro-F1", "accuracy": "accuracy", "weighted_f1": "weighted F1", "loss": "loss"}
    yield ""
    yield "  " + "  ".join([pad("fold", 18), "  images", *(f"{label:>11}" for label in names.values())])
    rows: list[tuple[str, dict[str, float]]] = [(str(i), fold) for i, fold in enumerate(folds["each"], 1)]
    for label, row in [*rows, ("mean", folds["mean"]), ("standard deviation", folds["std"])]:
        images = f"{row['n']:,}" if "n" in row else ""
        yield "  " + "  ".join([pad(label, 18), f"{images:>8}", *(f"{row[name]:>11.3f}" for name in names)])


def _group_table(groups: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield a line for each group of `loss.group_dro`, the worst first."""
    names = {name: shorten(name, _NAME_WIDTH) for name in groups}
    column = max(map(width, ("group", *names.values())))
    yield ""
    yield f"  {pad('group', column)}    images  accuracy"
    for name, row in groups.items():
        yield f"  {pad(names[name], column)}  {row['n']:>8,}  {figure(row, 'accuracy')}"


def _names(names: list[str], limit: int) -> str:
    return some([shorten(name, _NAME_WIDTH) for name in names], limit)


def _pairs(pairs: dict[str, str]) -> Iterator[str]:
    """Yield aligned `key  value` lines; further lines of a value are indented under the first."""
    column = max(width(clean(key)) for key in pairs)
    for key, value in pairs.items():
        first, *more = str(value).splitlines() or [""]
        yield f"  {pad(clean(key), column)}  {first}"
        yield from (f"  {' ' * column}  {line}" for line in more)


def _table(per_class: dict[str, dict[str, Any]]) -> Iterator[str]:
    """Yield the per-class table in the model's order; a class without a row in the truth shows dashes.

    Of labels that can hold together also the average precision and the threshold.
    """
    names = [shorten(name, _NAME_WIDTH) for name in per_class]
    together = any("threshold" in row for row in per_class.values())
    first = "label" if together else "class"
    column = max(width(name) for name in [first, *names])
    more = "     AP  threshold" if together else ""
    yield f"  {pad(first, column)}  precision  recall     F1  images  predicted{more}"
    for name, row in zip(names, per_class.values(), strict=True):
        if row["support"]:
            ratios = f"{row['precision']:>9.3f}  {row['recall']:>6.3f}  {row['f1']:>5.3f}"
        else:
            ratios = f"{'-':>9}  {'-':>6}  {'-':>5}"
        more = ""
        if together:
            ap = row["average_precision"]
            more = f"  {'-' if ap is None else f'{ap:.3f}':>5}  {row['threshold']:>9.3f}"
        mark = "  < never right" if row["support"] and not row["recall"] else ""
        yield f"  {pad(name, column)}  {ratios}  {row['support']:>6}  {row['predicted']:>9}{more}{mark}"
