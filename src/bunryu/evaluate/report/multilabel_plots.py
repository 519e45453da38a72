"""Pictures of labels that can hold together: F1 and average precision of each, and precision over recall."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from bunryu.evaluate.figures import LabelMetrics
from bunryu.evaluate.multilabel_metrics import precision_recall
from bunryu.evaluate.report.fonts import short_names
from bunryu.evaluate.report.style import BLUE, GREY, INK, ORANGE, PALE, legend_below, save, sheet, style
from bunryu.inference.multilabel_predictions import LabelPredictions

_MOST_BARS = 60
_MOST_CURVES = 24


def plot_labels(per_class: Mapping[str, LabelMetrics], path: Path, *, of: str) -> None:
    """Draw F1 and average precision of each label as bars, the worst average precision on top.

    Of more than 60 labels the 60 worst are drawn; those that hold for no image come last.

    Args:
        per_class: what was measured of each label.
        path: the PNG to write.
        of: the run and the split.
    """
    names = dict(zip(per_class, short_names(list(per_class)), strict=True))
    rows = sorted(per_class, key=lambda name: (per_class[name].support == 0, per_class[name].average_precision or 0))
    what = "F1 and average precision by label"
    if len(rows) > _MOST_BARS:
        what = f"F1 and average precision of {_MOST_BARS} of {len(rows)} labels"
    rows = rows[:_MOST_BARS]
    note = "F1 at the label's threshold; the average precision of a label that is guessed is its share of the images"
    figure = sheet(8, 0.34 * len(rows) + 1.2, of, f"{what}, worst first", note)
    axes = figure.subplots()
    f1s = [per_class[name].f1 for name in rows]
    aps = [per_class[name].average_precision or 0.0 for name in rows]
    for place, (values, label, colour) in enumerate(((f1s, "F1", BLUE), (aps, "average precision", ORANGE))):
        axes.barh(np.arange(len(rows)) + 0.36 * (place - 0.5), values, color=colour, height=0.34, label=label)
    for y, name in enumerate(rows):
        row = per_class[name]
        cells = [f"{row.f1:.3f}", f"{row.average_precision or 0:.3f}", f"{row.threshold:.2f}", f"{row.support:,}"]
        if not row.support:
            axes.text(0.01, y, "holds for no image", va="center", fontsize=8, color=GREY)
            cells[:2] = ["-", "-"]
        for x, cell in zip(_COLUMNS.values(), cells, strict=True):
            axes.text(x, y, cell, va="center", ha="right", fontsize=8, color=INK if x < 1.3 else GREY)
    style(axes, "", "", "")
    for head, x in _COLUMNS.items():
        across = axes.get_xaxis_transform()
        axes.text(x, 1.0, head, ha="right", va="bottom", fontsize=8, color=INK, transform=across)
    axes.set_yticks(range(len(rows)), [names[name] for name in rows], fontsize=8)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set(xlim=(0, max(_COLUMNS.values())), ylim=(len(rows) - 0.4, -0.6))
    axes.spines["bottom"].set_bounds(0, 1)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    legend_below(axes)
    save(figure, path)


_COLUMNS = {"F1": 1.1, "AP": 1.21, "threshold": 1.37, "images": 1.5}
"""Heads of the numbers beside the bars, and where they end."""


def plot_precision_recall(predictions: LabelPredictions, path: Path, *, of: str) -> None:
    """Draw precision over recall of each label, and where its threshold lies; of the 24 labels with most images.

    Args:
        predictions: with a known truth.
        path: the PNG to write.
        of: the run and the split.
    """
    held_NL = predictions.held_NL
    assert held_NL is not None
    support = held_NL.sum(axis=0)
    chosen = [int(k) for k in np.argsort(-support, kind="stable")[:_MOST_CURVES] if support[k]]
    columns = min(len(chosen), 4)
    lines = -(-len(chosen) // columns)
    names = short_names(predictions.classes)
    what = "precision over recall" + (f" of {len(chosen)} of {len(names)} labels" if len(chosen) < len(names) else "")
    note = "dot: the label's threshold; dotted: its share of the images, what guessing gives"
    figure = sheet(2.3 * columns, 2.3 * lines, of, what, note)
    grid = figure.subplots(lines, columns, squeeze=False, sharex=True, sharey=True)
    for axes in grid.flat[len(chosen) :]:
        axes.set_axis_off()
    said_NL = predictions.said_NL
    for axes, k in zip(grid.flat, chosen, strict=False):
        precision, recall = precision_recall(held_NL[:, k], predictions.probs_NK[:, k])
        axes.step(np.append(0, recall), np.append(precision[0], precision), where="pre", color=BLUE, linewidth=1.4)
        axes.axhline(support[k] / len(held_NL), color=GREY, linewidth=0.9, linestyle=":")
        if said := int(said_NL[:, k].sum()):
            right = int((said_NL[:, k] & held_NL[:, k]).sum())
            axes.plot(right / support[k], right / said, "o", color=ORANGE, markersize=5)
        style(
            axes,
            f"{names[k]} ({support[k]:,} of {len(held_NL):,})",
            "recall" if k in chosen[-columns:] else "",
            "precision" if axes in grid[:, 0] else "",
        )
        axes.set(xlim=(0, 1), ylim=(0, 1), xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
        for line in axes.lines:
            line.set_clip_on(False)  # a curve along 1, and a dot in the corner, are seen whole
    save(figure, path)
