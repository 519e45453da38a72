"""Pictures of a run, as PNG files: curves, confusion, classes, probabilities, examples.

Matplotlib's Figure and Agg canvas are used directly, never pyplot: nothing is global, and threads may draw
at once. Importing this module imports matplotlib (about half a second), so import it late.
Every function writes its file atomically and raises TrainingError when the disk is full.

Colours are those of Okabe & Ito, "Color Universal Design" (2008), told apart by colour-blind eyes.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bunryu.evaluate.fonts import NAME_CELLS, characters_of, drawable, fonts_for, short_names
from bunryu.evaluate.report import shorten, width
from bunryu.storage import write_atomic

_BLUE, _ORANGE, _GREEN, _RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
_GREY, _PALE, _INK = "#8C8C8C", "#EDEDED", "#333333"
_DPI = 110
_MOST_BARS = 100
_MOST_EXAMPLES = 24


def plot_curves(history: Sequence[dict[str, Any]], path: Path) -> None:
    """Draw loss, accuracy with macro-F1, and learning rate over the epochs.

    Args:
        history: a dict an epoch: ``epoch`` (1-based over the whole run), ``stage``, ``train_loss``, ``lr``
            and where known ``train_accuracy, val_loss, val_accuracy, val_macro_f1, head_lr``. What is
            missing, null or not finite leaves a gap, and so does a learning rate of 0.
            The last row with ``best: true`` is marked.
        path: the PNG to write.
    """
    figure = _figure(13, 3.7)
    loss, score, rate = figure.subplots(1, 3)
    _line(loss, history, "train_loss", "train", _BLUE)
    _line(loss, history, "val_loss", "validation", _RED)
    _line(score, history, "train_accuracy", "train accuracy", _BLUE)
    _line(score, history, "val_accuracy", "validation accuracy", _RED)
    _line(score, history, "val_macro_f1", "validation macro-F1", _GREEN)
    if any(row.get("head_lr") not in (None, row.get("lr")) for row in history):
        _line(rate, history, "lr", "backbone", _BLUE)
        _line(rate, history, "head_lr", "head", _RED, "--")
    else:
        _line(rate, history, "lr", "", _BLUE)
    rates = [float(value) for line in rate.lines for value in np.asarray(line.get_ydata())]
    if rates and max(rates) > 20 * min(rates):
        rate.set_yscale("log")
        rate.minorticks_off()
    elif rates:
        rate.set_ylim(0, 1.05 * max(rates))
    rate.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # matplotlib's own would be formulas
    for axes, title in ((loss, "Loss"), (score, "Accuracy and macro-F1"), (rate, "Learning rate")):
        _style(axes, title, "epoch", "")
        _epochs(axes, history)
        _legend(axes)
    _save(figure, path)


def plot_confusion(matrix_KK: NDArray[np.integer[Any]], classes: Sequence[str], path: Path, *, normalize: bool) -> None:
    """Draw the confusion matrix: rows the truth, columns the answers; a class absent from the truth is grey.

    Args:
        matrix_KK: counts, shape (K, K).
        classes: K names in the model's order.
        path: the PNG to write.
        normalize: show the shares of each row (they sum to 1) instead of counts.
    """
    k, names = len(classes), short_names(classes)
    side = min(max(0.5 * k, 2.5), 13)
    cell = side / k
    size = min(9.0, max(cell * 72 * 0.75, 5.0))
    margin = max(width(name) for name in names) * size * 0.6 / 72 + 0.3
    figure = _figure(side + margin + 1.1, side + margin + 0.6)
    axes = figure.subplots()
    rows = matrix_KK.sum(axis=1)
    shown_KK = matrix_KK / np.maximum(rows, 1)[:, None] if normalize else matrix_KK.astype(np.float64)
    top = 1.0 if normalize else max(float(shown_KK.max()), 1.0)
    what = "share of each true class" if normalize else "images"
    # The square root keeps single mistakes visible beside a full diagonal.
    image = axes.imshow(shown_KK, cmap="Blues", norm=PowerNorm(0.5, 0, top))
    for i in np.flatnonzero(rows == 0):
        axes.axhspan(i - 0.5, i + 0.5, color=_PALE, linewidth=0)
    ticks = range(0, k, math.ceil(size * 1.15 / 72 / cell))
    labels = [names[i] for i in ticks]
    longest = max(width(name) for name in names) * size * 0.6 / 72
    _style(axes, f"Confusion: {what}", "predicted", "true")
    axes.set_xticks(ticks, labels, fontsize=size)
    if longest > cell:
        slant = 45 if cell >= 0.3 else 90
        axes.tick_params(axis="x", labelrotation=slant)
        for label in axes.get_xticklabels():
            label.set(ha="right", va="center" if slant == 90 else "top", rotation_mode="anchor")
    axes.set_yticks(ticks, labels, fontsize=size)
    _cell_numbers(axes, shown_KK, top, cell, normalize)
    bar = figure.colorbar(image, ax=axes, shrink=0.6, aspect=30, pad=0.02)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, labelcolor=_INK, length=0)
    _save(figure, path)


def plot_per_class(per_class: dict[str, dict[str, Any]], path: Path) -> None:
    """Draw F1 of each class as bars, the classes with most images on top.

    Of more than 100 classes the 100 with the lowest F1 are drawn. Classes never predicted right, and classes
    absent from the truth, are marked in words.

    Args:
        per_class: class -> ``f1, recall, support`` as `metrics.measure` returns them.
        path: the PNG to write.
    """
    names = dict(zip(per_class, short_names(list(per_class)), strict=True))
    rows = sorted(per_class, key=lambda name: (per_class[name]["support"] == 0, per_class[name]["f1"]))
    title = "F1 by class" if len(rows) <= _MOST_BARS else f"F1 of the {_MOST_BARS} weakest of {len(rows)} classes"
    rows = sorted(rows[:_MOST_BARS], key=lambda name: -per_class[name]["support"])
    figure = _figure(8, 0.24 * len(rows) + 1.1)
    axes = figure.subplots()
    f1s = [per_class[name]["f1"] if per_class[name]["support"] else 0.0 for name in rows]
    axes.barh(range(len(rows)), f1s, color=_BLUE, height=0.7)
    for y, name in enumerate(rows):
        row = per_class[name]
        images = f"{row['support']:,}"
        if not row["support"]:
            axes.text(0.01, y, "absent from the truth", va="center", fontsize=8, color=_GREY)
        elif not row["recall"]:
            axes.text(0.01, y, f"never right: 0 of {images}", va="center", fontsize=8, color=_RED)
        else:
            axes.text(1.10, y, f"{row['f1']:.3f}", va="center", ha="right", fontsize=8, color=_INK)
        axes.text(1.22, y, images, va="center", ha="right", fontsize=8, color=_GREY)
    _style(axes, title, "", "")
    for x, head in ((1.10, "F1"), (1.22, "images")):
        across = axes.get_xaxis_transform()
        axes.text(x, 1.0, head, ha="right", va="bottom", fontsize=8, color=_INK, transform=across)
    axes.set_yticks(range(len(rows)), [names[name] for name in rows], fontsize=8)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set(xlim=(0, 1.22), ylim=(len(rows) - 0.4, -0.6))
    axes.spines["bottom"].set_bounds(0, 1)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=_PALE, linewidth=0.8)
    _save(figure, path)


def plot_probabilities(
    probs_NK: NDArray[np.floating[Any]],
    true_N: NDArray[np.integer[Any]],
    classes: Sequence[str],
    path: Path,
    positive: str | None = None,
) -> None:
    """Draw how sure the answers are.

    Two classes: p(positive) by true class, as shares of the class. More: confidence, right and wrong.

    Args:
        probs_NK: class probabilities, shape (N, K).
        true_N: index of the true class, shape (N,).
        classes: K names in the model's order.
        path: the PNG to write.
        positive: the positive one of two classes; the last in order when None.
    """
    figure = _figure(6.5, 3.7)
    axes = figure.subplots()
    names = short_names(classes)
    bins = np.linspace(0, 1, 26)
    if len(classes) == 2:
        index = classes.index(positive) if positive else 1
        for i, colour in ((1 - index, _BLUE), (index, _RED)):
            values = probs_NK[true_N == i, index]
            label = f"true: {names[i]} ({len(values):,})"
            _histogram(axes, values, bins, np.full(len(values), 1 / max(len(values), 1)), label, colour)
        axes.axvline(0.5, color=_GREY, linewidth=0.9, linestyle=":")
        _style(axes, "Probability by true class", f"p({names[index]})", "share of the true class")
    else:
        confidence, right = probs_NK.max(axis=1), probs_NK.argmax(axis=1) == true_N
        for which, label, colour in ((right, "right", _GREEN), (~right, "wrong", _RED)):
            values = confidence[which]
            _histogram(axes, values, bins, np.ones(len(values)), f"{label} ({len(values):,})", colour)
        _style(axes, "Confidence of the answers", "probability of the predicted class", "images")
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_xlim(-0.01, 1.01)
    _legend(axes)
    _save(figure, path)


def plot_examples(
    images: Sequence[NDArray[np.uint8]], titles: Sequence[str], right: Sequence[bool | None], path: Path
) -> None:
    """Draw up to 24 images in a grid, each under its title.

    Args:
        images: uint8 arrays of shape (H, W, C), C 1, 3 or 4, of any sizes.
        titles: a title an image; may have several lines.
        right: whether the answer is right (green, ✓), wrong (red, ✗) or not known (None).
        path: the PNG to write.
    """
    shown = list(zip(images, titles, right, strict=True))[:_MOST_EXAMPLES]
    columns = min(max(len(shown), 1), 6)
    lines = max((title.count("\n") + 1 for _, title, _ in shown), default=1)
    rows = math.ceil(max(len(shown), 1) / columns)
    figure = _figure(1.9 * columns, (1.75 + 0.17 * lines) * rows)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()
        axes.set_anchor("N")
    if not shown:
        grid[0, 0].text(0.5, 0.5, "no examples", ha="center", va="center", color=_GREY)
    for axes, (image, title, good) in zip(grid.flat, shown, strict=False):
        pixels = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        mark, colour = {True: ("✓ ", _GREEN), False: ("✗ ", _RED), None: ("", _INK)}[good]
        text = "\n".join(drawable(shorten(line, NAME_CELLS)) for line in title.split("\n"))
        axes.set_title(mark + text, fontsize=8, color=colour)
    _save(figure, path)


def _line(axes: Axes, history: Sequence[dict[str, Any]], key: str, label: str, colour: str, style: str = "-") -> None:
    points = [(row["epoch"], float(row[key])) for row in history if row.get(key) is not None]
    points = [(x, y) for x, y in points if math.isfinite(y) and (y > 0 or "lr" not in key)]
    if points:
        x, y = zip(*points, strict=True)
        marker = "o" if len(history) <= 30 else ""
        axes.plot(x, y, style, label=label, color=colour, linewidth=1.6, marker=marker, markersize=3.5)


def _epochs(axes: Axes, history: Sequence[dict[str, Any]]) -> None:
    """Set the epoch axis; mark the best epoch, and where each stage begins if there are several."""
    if not history:
        axes.set(xticks=[], yticks=[])
        return
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, min_n_ticks=1))
    axes.set_xlim(history[0]["epoch"] - 0.5, history[-1]["epoch"] + 0.5)
    best = [row["epoch"] for row in history if row.get("best")]
    if best:
        axes.axvline(best[-1], color=_INK, linewidth=1, linestyle=":", label=f"best (epoch {best[-1]})")
    starts = [row for before, row in zip([{}, *history], history, strict=False) if row["stage"] != before.get("stage")]
    for row in starts if len(starts) > 1 else []:
        x = row["epoch"] - 0.5
        axes.axvline(x, color=_GREY, linewidth=0.8)
        stage = drawable(shorten(row["stage"], 14))
        axes.text(x, 1.0, f" {stage}", transform=axes.get_xaxis_transform(), va="bottom", fontsize=8, color=_GREY)


def _cell_numbers(axes: Axes, shown_KK: NDArray[np.float64], top: float, cell: float, normalize: bool) -> None:
    """Write the numbers into the cells, zeros left out, where they fit."""
    digits = 4 if normalize else len(f"{int(top)}")
    size = min(10.0, cell * 72 * 0.9 / (digits * 0.64))
    if size < 5:
        return
    for i, j in np.argwhere(shown_KK > 0).tolist():
        value = shown_KK[i, j]
        colour = "white" if value > 0.35 * top else _INK
        text = f"{value:.2f}" if normalize else f"{value:.0f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)


def _histogram(
    axes: Axes,
    values: NDArray[Any],
    bins: NDArray[np.float64],
    weights: NDArray[np.float64],
    label: str,
    colour: str,
) -> None:
    counts = np.histogram(values, bins, weights=weights)[0]
    axes.stairs(counts, bins, fill=True, color=colour, alpha=0.4, label=label)
    axes.stairs(np.where(counts > 0, counts, np.nan), bins, color=colour, linewidth=1.3)


def _figure(wide: float, high: float) -> Figure:
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1)
    return Figure(figsize=(wide, high), dpi=_DPI, layout=layout, facecolor="white")


def _style(axes: Axes, title: str, x: str, y: str) -> None:
    axes.set_title(title, loc="left", fontsize=10, color=_INK, pad=14 if x == "epoch" else 8)
    axes.set_xlabel(x, fontsize=9, color=_INK)
    axes.set_ylabel(y, fontsize=9, color=_INK)
    axes.tick_params(labelsize=8, labelcolor=_INK, length=0)
    for place, spine in axes.spines.items():
        spine.set_visible(place == "bottom" or (place == "left" and bool(y)))
        spine.set_color(_GREY)


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[0]:
        axes.legend(frameon=False, fontsize=8, labelcolor=_INK)


def _save(figure: Figure, path: Path) -> None:
    """Set the fonts of every text, draw, write. Names are plain text: a $ in them starts no formula."""
    texts = [artist for artist in figure.findobj(Text) if isinstance(artist, Text)]
    fonts = list(fonts_for(characters_of(text.get_text() for text in texts))[0])
    for text in texts:
        text.set_fontfamily(fonts)
        text.set_parse_math(False)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_png(buffer)  # type: ignore[no-untyped-call]
    write_atomic(path, buffer.getvalue())
