"""Pictures of one measured split, as PNG files: confusion, classes, probabilities, examples.

Every title begins with `of`: the run and the split, e.g. "ants_bees-1 · val". Importing this module imports
matplotlib (about half a second), so import it late.
Every function writes its file atomically and raises TrainingError when the disk is full.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from bunryu.core.text_width import shorten
from bunryu.evaluate.figures import ClassMetrics, Metrics
from bunryu.evaluate.report.fonts import NAME_CELLS, short_names
from bunryu.evaluate.report.style import BLUE, GREEN, GREY, INK, ORANGE, PALE, inches, legend_below, save, sheet, style

_MOST_BARS = 100
_MOST_EXAMPLES = 24
_MOST_ZEROS = 10
"""Classes of the largest confusion matrix whose zeros are written; in a larger one they would hide the mistakes."""
_FEW = 100
"""Images of a panel of probabilities up to which each bar has its number."""
_BINS = np.linspace(0, 1, 21)
"""Edges of the probabilities; one is exactly 0.5, where the answer of two classes changes."""


def plot_confusion(
    matrix_KK: NDArray[np.integer[Any]], classes: Sequence[str], path: Path, *, of: str, normalize: bool
) -> None:
    """Draw the confusion matrix: rows the truth, columns the answers; a class absent from the truth is grey.

    Args:
        matrix_KK: counts, shape (K, K).
        classes: K names in the model's order, which is kept.
        path: the PNG to write.
        of: the run and the split.
        normalize: show the shares of each row (they sum to 1) instead of counts.
    """
    k, names = len(classes), short_names(classes)
    side = min(max(0.5 * k, 3.0), 13)
    cell = side / k
    size = min(9.0, max(cell * 72 * 0.75, 5.0))
    longest = max(inches(name, size) for name in names)
    rows = matrix_KK.sum(axis=1)
    shown_KK = matrix_KK / np.maximum(rows, 1)[:, None] if normalize else matrix_KK.astype(np.float64)
    top = 1.0 if normalize else max(float(shown_KK.max()), 1.0)
    what = "share of each true class" if normalize else "images"
    wider = max(inches(f" ({count:,})", size) for count in rows) if normalize else 0.0
    note = "grey: classes without a labelled image here" if (rows == 0).any() else ""
    slant = 0 if longest <= cell else 45 if cell >= 0.3 else 90
    below = {0: size / 72, 45: longest * 0.71, 90: longest}[slant]
    figure = sheet(side + longest + wider + 1.7, side + below + 0.8, of, f"confusion, {what}", note)
    axes = figure.subplots()
    # Of counts the square root keeps single mistakes visible beside a full diagonal; shares are as dark as they are.
    image = axes.imshow(shown_KK, cmap="Blues", norm=Normalize(0, 1) if normalize else PowerNorm(0.5, 0, top))
    for i in np.flatnonzero(rows == 0):
        axes.axhspan(i - 0.5, i + 0.5, color=PALE, linewidth=0)
    style(axes, "", "predicted", "true")
    ticks = range(0, k, math.ceil(size * 1.15 / 72 / cell))
    labels = [names[i] for i in ticks]
    counted = [f"{names[i]} ({rows[i]:,})" for i in ticks] if normalize else labels
    axes.set_xticks(ticks, labels, fontsize=size)
    axes.set_yticks(ticks, counted, fontsize=size)
    if slant:
        axes.tick_params(axis="x", labelrotation=slant)
        for label in axes.get_xticklabels():
            label.set(ha="right", va="center" if slant == 90 else "top", rotation_mode="anchor")
    _cell_numbers(axes, shown_KK, rows, top, cell, normalize)
    bar = figure.colorbar(image, ax=axes, shrink=0.8, aspect=30, pad=0.02)
    bar.set_label(what if normalize else f"{what} (square-root colour scale)", fontsize=8, color=INK)
    bar.outline.set_visible(False)
    bar.ax.tick_params(labelsize=8, labelcolor=INK, length=0)
    save(figure, path)


def plot_per_class(per_class: Mapping[str, ClassMetrics], path: Path, *, of: str) -> None:
    """Draw F1 of each class as bars, the worst on top; classes of equal F1 stay in the model's order.

    Of more than 100 classes the 100 with the lowest F1 are drawn. Classes never predicted right are marked in
    words, and so are those absent from the truth, which come last.

    Args:
        per_class: what was measured of each class.
        path: the PNG to write.
        of: the run and the split.
    """
    names = dict(zip(per_class, short_names(list(per_class)), strict=True))
    rows = sorted(per_class, key=lambda name: (per_class[name].support == 0, per_class[name].f1))
    what = "F1 by class" if len(rows) <= _MOST_BARS else f"F1 of {_MOST_BARS} of {len(rows)} classes"
    rows = rows[:_MOST_BARS]
    note = "lines: 95 % intervals" if any(per_class[name].f1_ci for name in rows) else ""
    figure = sheet(8, 0.24 * len(rows) + 0.9, of, f"{what}, worst first", note)
    axes = figure.subplots()
    f1s = [per_class[name].f1 if per_class[name].support else 0.0 for name in rows]
    axes.barh(range(len(rows)), f1s, color=BLUE, height=0.7)
    for y, name in enumerate(rows):
        row = per_class[name]
        images = f"{row.support:,}"
        if row.support and row.f1_ci is not None:
            axes.plot(row.f1_ci, [y, y], color=INK, linewidth=1)
        if not row.support:
            axes.text(0.01, y, "absent from the truth", va="center", fontsize=8, color=GREY)
        elif not row.recall:
            right = 0.01 if row.f1_ci is None else row.f1_ci.high + 0.01
            axes.text(right, y, f"never right: 0 of {images}", va="center", fontsize=8, color=ORANGE)
        else:
            axes.text(1.10, y, f"{row.f1:.3f}", va="center", ha="right", fontsize=8, color=INK)
        axes.text(1.22, y, images, va="center", ha="right", fontsize=8, color=GREY)
    style(axes, "", "", "")
    for x, head in ((1.10, "F1"), (1.22, "images")):
        across = axes.get_xaxis_transform()
        axes.text(x, 1.0, head, ha="right", va="bottom", fontsize=8, color=INK, transform=across)
    axes.set_yticks(range(len(rows)), [names[name] for name in rows], fontsize=8)
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.set(xlim=(0, 1.22), ylim=(len(rows) - 0.4, -0.6))
    axes.spines["bottom"].set_bounds(0, 1)
    axes.set_axisbelow(True)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    save(figure, path)


def plot_probabilities(
    probs_NK: NDArray[np.floating[Any]],
    true_N: NDArray[np.integer[Any]],
    classes: Sequence[str],
    path: Path,
    positive: str | None = None,
    *,
    of: str,
) -> None:
    """Draw how sure the answers are, right ones green and wrong ones orange.

    Two classes: p(positive), a panel each true class. More: p(answer), one panel of the right answers and one,
    on its own scale, of the wrong ones.

    Args:
        probs_NK: class probabilities, shape (N, K).
        true_N: index of the true class, shape (N,).
        classes: K names in the model's order.
        path: the PNG to write.
        positive: the positive one of two classes; the last in order when None.
        of: the run and the split.
    """
    names, two = short_names(classes), len(classes) == 2
    right = probs_NK.argmax(axis=1) == true_N
    if two:
        index = classes.index(positive) if positive else 1
        shown, x = probs_NK[:, index], f"p({names[index]})"
        panels = [
            (f"true: {names[i]} ({(true_N == i).sum():,} images, {(~right[true_N == i]).sum():,} wrong)", true_N == i)
            for i in range(2)
        ]
    else:
        shown, x = probs_NK.max(axis=1), "probability of the predicted class"
        panels = [(f"right answers ({right.sum():,})", right), (f"wrong answers ({(~right).sum():,})", ~right)]
    note = "green: right answers, orange: wrong; " * two + "each panel has its own scale"
    figure = sheet(6.5, 4.0, of, "probabilities", note)
    grid = figure.subplots(2, 1, sharex=True)
    for axes, (title, rows) in zip(grid, panels, strict=True):
        for chosen, colour in ((rows & right, GREEN), (rows & ~right, ORANGE)):
            counts = np.histogram(np.clip(shown[chosen], 0, 1), _BINS)[0]
            axes.stairs(counts, _BINS, fill=True, color=colour, alpha=0.4)
            axes.stairs(np.where(counts > 0, counts, np.nan), _BINS, color=colour, linewidth=1.3)
            if rows.sum() <= _FEW:
                _bar_numbers(axes, counts, colour)
        if two:
            axes.axvline(0.5, color=GREY, linewidth=0.9, linestyle=":")
        style(axes, title, x if axes is grid[-1] else "", "images")
        axes.yaxis.set_major_locator(MaxNLocator(4, integer=True, min_n_ticks=1))
        axes.set(xlim=(0, 1), ylim=(0, max(1.15 * axes.dataLim.y1, 1.3)))
    grid[-1].set_xticks(np.linspace(0, 1, 11))
    save(figure, path)


def plot_examples(
    images: Sequence[NDArray[np.uint8]],
    titles: Sequence[str],
    right: Sequence[bool | None],
    path: Path,
    *,
    of: str,
    what: str = "examples",
    note: str = "",
    files: Sequence[str] = (),
) -> None:
    """Draw up to 24 images in a grid, each under its title.

    Args:
        images: uint8 arrays of shape (H, W, C), C 1, 3 or 4, of any sizes.
        titles: a title an image; may have several lines. Names in it come from `short_names`: they can be drawn.
        right: whether the answer is right (green, ✓), wrong (orange, ✗) or not known (None).
        path: the PNG to write.
        of: the run and the split.
        what: what they are, in the title.
        note: how the images were chosen.
        files: the name of each image's file, to stand under it.
    """
    shown = list(zip(images, titles, right, strict=True))[:_MOST_EXAMPLES]
    columns = min(max(len(shown), 1), 6)
    lines = max((title.count("\n") + 1 for _, title, _ in shown), default=1)
    rows = math.ceil(max(len(shown), 1) / columns)
    figure = sheet(1.9 * columns, (1.75 + 0.17 * (lines + bool(files))) * rows, of, what, note)
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set(xticks=[], yticks=[])  # not drawn, but the layout looks at each of them
        axes.set_axis_off()
        axes.set_anchor("N")
    if not shown:
        grid[0, 0].text(0.5, 0.5, "no examples", ha="center", va="center", color=GREY)
    for axes, (image, title, good) in zip(grid.flat, shown, strict=False):
        pixels = image[:, :, 0] if image.ndim == 3 and image.shape[2] == 1 else image
        axes.imshow(pixels, cmap="gray", vmin=0, vmax=255)
        mark, colour = {True: ("✓ ", GREEN), False: ("✗ ", ORANGE), None: ("", INK)}[good]
        text = "\n".join(shorten(line, NAME_CELLS) for line in title.split("\n"))
        axes.set_title(mark + text, fontsize=8, color=colour)
    for axes, file in zip(grid.flat, short_names(files[:_MOST_EXAMPLES]), strict=False):
        axes.text(0.5, -0.03, file, transform=axes.transAxes, ha="center", va="top", fontsize=7, color=GREY)
    save(figure, path)


def _bar_numbers(axes: Axes, counts: NDArray[np.integer[Any]], colour: str) -> None:
    """Write how many images each bar has above it."""
    for low, high, count in zip(_BINS[:-1], _BINS[1:], counts.tolist(), strict=True):
        if count:
            axes.text((low + high) / 2, count, f"{count}", ha="center", va="bottom", fontsize=7, color=colour)


def _cell_numbers(
    axes: Axes, shown_KK: NDArray[np.float64], rows_K: NDArray[Any], top: float, cell: float, normalize: bool
) -> None:
    """Write the numbers into the cells where they fit; zeros only into a small matrix."""
    digits = 4 if normalize else len(f"{int(top)}")
    size = min(10.0, cell * 72 * 0.9 / (digits * 0.64))
    if size < 5:
        return
    zeros = len(rows_K) <= _MOST_ZEROS
    for i, j in np.argwhere((shown_KK > 0) | (zeros & (rows_K > 0)[:, None])).tolist():
        value = shown_KK[i, j]
        colour = "white" if value > (0.55 if normalize else 0.35) * top else INK if value else GREY
        text = _share(value) if normalize else f"{value:.0f}"
        axes.text(j, i, text, ha="center", va="center", fontsize=size, color=colour)


def _share(value: float) -> str:
    """Return a share with two decimals, which rounds to 0.00 or 1.00 only what is so."""
    return "<.01" if 0 < value < 0.005 else ">.99" if 0.995 <= value < 1 else f"{value:.2f}"


def plot_attributes(metrics: Metrics, path: Path, *, of: str) -> None:
    """Draw accuracy, macro-F1 and macro recall of each attribute and of all together, with intervals and chance.

    Args:
        metrics: of a split, with attributes.
        path: the PNG to write.
        of: the run and the split.
    """
    rows: dict[str, Metrics] = {**metrics.attributes, "all together": metrics}
    names = [*short_names(list(metrics.attributes)), "all together"]
    note = f"{metrics.n:,} images; lines: 95 % intervals; grey: macro recall by guessing, one over the classes"
    page = sheet(7, 0.62 * len(rows) + 1.1, of, "attributes", note)
    axes = page.subplots()
    for place, (name, colour) in enumerate((("accuracy", BLUE), ("macro-F1", ORANGE), ("macro recall", GREEN))):
        figures = [row.figures()[name] for row in rows.values()]
        y = np.arange(len(rows)) + 0.22 * (place - 1)
        values = [figure.value or 0.0 for figure in figures]
        axes.plot(values, y, "o", color=colour, markersize=5, label=name)
        for at, value, figure in zip(y, values, figures, strict=True):
            axes.plot(figure.interval or (value, value), [at, at], color=colour, linewidth=1.5)
            axes.text(1.02, at, f"{value:.3f}", va="center", fontsize=8, color=INK)
    together = 1 / max(sum(one.support > 0 for one in metrics.per_class.values()), 1)
    for place, chance in enumerate([*(own.chance for own in metrics.attributes.values()), together]):
        axes.plot([chance, chance], [place - 0.38, place + 0.38], color=GREY, linewidth=1.5, linestyle=":")
    style(axes, "", "", "")
    axes.set_yticks(range(len(rows)), names, fontsize=9)
    axes.set(xlim=(0, 1.1), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.spines["bottom"].set_bounds(0, 1)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    legend_below(axes)
    save(page, path)
