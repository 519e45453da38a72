"""The picture of training: loss, scores and learning rates over the epochs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from bunryu.core.text_width import shorten
from bunryu.evaluate.report.fonts import drawable
from bunryu.evaluate.report.style import BLUE, GREEN, GREY, INK, ORANGE, inches, legend_below, save, sheet, style

_WIDE = 13.0
_VALIDATION = "validation: after the epoch, plain pictures, plain cross-entropy"


def plot_curves(history: Sequence[dict[str, Any]], path: Path, run: str, note: str = "") -> None:
    """Draw loss, accuracy with macro-F1, and learning rates over the epochs.

    Args:
        history: a dict an epoch: ``epoch`` (1-based over the whole run), ``stage``, ``train_loss``, ``lr``
            and where known ``train_accuracy, val_loss, val_accuracy, val_macro_f1, head_lr``. What is
            missing, null or not finite leaves a gap. The last row with ``best: true`` is marked, and so are
            where each stage begins if there are several, and the rows with ``clean: false``.
        path: the PNG to write.
        run: name of the run, which begins the title.
        note: what the training figures were computed with.

    Raises:
        TrainingError: the disk is full.
    """
    validated = any(row.get("val_loss") is not None for row in history)
    train = ", ".join(part for part in ("train: while learning", note) if part)
    splits, told = ("train and val", f"{train}  |  {_VALIDATION}") if validated else ("train", train)
    figure = sheet(_WIDE, 4.1, f"{run} · {splits}", "curves", told)
    loss, score, rate = figure.subplots(1, 3)
    _line(loss, history, "train_loss", "train (while learning)", BLUE)
    _line(loss, history, "val_loss", "validation", ORANGE)
    _line(score, history, "train_accuracy", "train accuracy (while learning)", BLUE)
    _line(score, history, "val_accuracy", "validation accuracy", ORANGE)
    _line(score, history, "val_macro_f1", "validation macro-F1", GREEN, "--")
    _rates(rate, history)
    loss.set_ylim(bottom=0)
    rate.set_ylim(bottom=0)
    lowest = score.dataLim.y0 if score.lines else 0.0
    score.set_ylim(max(0.0, min(lowest - 0.05, 0.9)), 1)  # never beyond what can be
    for line in score.lines:
        line.set_clip_on(False)  # what lies along 1 is seen whole
    starts = [row for before, row in zip([{}, *history], history, strict=False) if row["stage"] != before.get("stage")]
    titles = ("Loss", "Accuracy and macro-F1", "Learning rate at the end of each epoch")
    for axes, title in zip((loss, score, rate), titles, strict=True):
        style(axes, title, "epoch", "", pad=24 if len(starts) > 1 else 8)
        _epochs(axes, history)
        if len(starts) > 1:
            _stages(axes, starts, len(history))
        legend_below(axes)
    save(figure, path)


def _line(axes: Axes, history: Sequence[dict[str, Any]], key: str, label: str, colour: str, dashes: str = "-") -> None:
    values = [math.nan if row.get(key) is None else float(row[key]) for row in history]
    if any(map(math.isfinite, values)):
        epochs = [row["epoch"] for row in history]
        marker = "o" if len(history) <= 30 else ""
        axes.plot(epochs, values, dashes, label=label, color=colour, linewidth=1.6, marker=marker, markersize=3.5)


def _rates(axes: Axes, history: Sequence[dict[str, Any]]) -> None:
    """Draw both rates from 0 on. The legend says how high they are: beside the head's, the backbone's may be flat."""

    def highest(key: str) -> str:
        return f"{max((row[key] for row in history if row.get(key) is not None), default=0.0):.3g}"

    if any(row.get("head_lr") not in (None, row.get("lr")) for row in history):
        _line(axes, history, "head_lr", f"head (highest {highest('head_lr')})", ORANGE)
        _line(axes, history, "lr", f"backbone (highest {highest('lr')})", BLUE)
    else:
        _line(axes, history, "lr", f"head and backbone (highest {highest('lr')})", BLUE)
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # matplotlib's own would be formulas


def _epochs(axes: Axes, history: Sequence[dict[str, Any]]) -> None:
    """Set the epoch axis and mark the best epoch."""
    if not history:
        axes.set(xticks=[], yticks=[])
        return
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(history[0]["epoch"] - 0.5, history[-1]["epoch"] + 0.5)
    best = [row["epoch"] for row in history if row.get("best")]
    if other := [row["epoch"] for row in history if not row.get("clean", True)]:
        end, label = history[-1]["epoch"] + 0.5, "validation not clean"
        axes.axvspan(other[0] - 0.5, end, color=GREY, alpha=0.15, linewidth=0, label=label, zorder=0)
    if best:
        axes.axvline(best[-1], color=INK, linewidth=1, linestyle=":", label=f"best epoch: {best[-1]}", zorder=1)


def _stages(axes: Axes, starts: Sequence[dict[str, Any]], epochs: int) -> None:
    """Mark and name where each stage begins; a name that would meet the one before it stands higher."""
    end, level = -math.inf, 0
    for number, row in enumerate(starts, 1):
        x, name = row["epoch"] - 0.5, shorten(row["stage"], 14)
        name = name if drawable(name) else f"stage {number}"
        level = 1 - level if x < end else 0
        end = x + (inches(name, 8) + 0.1) * epochs / (_WIDE / 3 - 0.5)
        axes.axvline(x, color=GREY, linewidth=0.8, zorder=1)
        axes.annotate(
            name,
            (x, 1.0),
            (2, 2 + 9 * level),
            xycoords=axes.get_xaxis_transform(),
            textcoords="offset points",
            fontsize=8,
            color=GREY,
        )
