"""Several label columns answered together: each measured for itself, and whether it is better than chance.

The probability of an attribute's class is the sum over the joint classes that share it (the marginal); for separate
heads that is what its head says.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from bunryu.core.text_width import shorten
from bunryu.evaluate.metrics import FIGURES, measure
from bunryu.inference.predictions import Predictions


def measure_attributes(predictions: Predictions, *, bootstrap: int) -> dict[str, dict[str, Any]]:
    """Measure each attribute of predictions with a known truth, as `metrics.measure` does a class.

    Returns:
        {label column: metrics}, each with ``macro_recall_ci`` and ``chance`` besides: what macro recall (the balanced
        accuracy) comes to without a look at the picture, 1 / (classes in the truth), and ``better_than_chance``,
        whether its interval lies above that (null without an interval).
    """
    found = {}
    for attribute in predictions.attributes:
        own = predictions.of(attribute)
        assert own.true_N is not None
        metrics = measure(
            own.probs_NK,
            own.true_N,
            own.classes,
            groups=own.groups,
            bootstrap=bootstrap,
            intervals=(*FIGURES, "macro_recall"),
        )
        chance = 1 / len(np.unique(own.true_N))
        ends = metrics.get("macro_recall_ci")
        metrics |= {"chance": chance, "better_than_chance": None if ends is None else bool(ends[0] > chance)}
        found[attribute.column] = metrics
    return found


def plot_attributes(metrics: Mapping[str, Any], path: Path, *, of: str) -> None:
    """Draw accuracy, macro-F1 and macro recall of each attribute and of all together, with intervals and chance.

    Args:
        metrics: of a split, with ``attributes``.
        path: the PNG to write.
        of: the run and the split.
    """
    from bunryu.evaluate.drawing import BLUE, GREEN, GREY, INK, ORANGE, PALE, legend_below, save, sheet, style

    rows = {**metrics["attributes"], "all together": metrics}
    note = "lines: 95 % intervals; grey: macro recall by guessing, one over the number of classes"
    figure = sheet(7, 0.62 * len(rows) + 1.1, of, "attributes", note)
    axes = figure.subplots()
    kinds = (("accuracy", "accuracy", BLUE), ("macro_f1", "macro-F1", ORANGE), ("macro_recall", "macro recall", GREEN))
    for place, (key, name, colour) in enumerate(kinds):
        y = np.arange(len(rows)) + 0.22 * (place - 1)
        axes.plot([row[key] for row in rows.values()], y, "o", color=colour, markersize=5, label=name)
        for at, row in zip(y, rows.values(), strict=True):
            axes.plot(row.get(f"{key}_ci", [row[key]] * 2), [at, at], color=colour, linewidth=1.5)
            axes.text(1.02, at, f"{row[key]:.3f}", va="center", fontsize=8, color=INK)
    for place, row in enumerate(rows.values()):
        chance = row.get("chance", 1 / max(sum(one["support"] > 0 for one in row["per_class"].values()), 1))
        axes.plot([chance, chance], [place - 0.38, place + 0.38], color=GREY, linewidth=1.5, linestyle=":")
    style(axes, "", "", "")
    axes.set_yticks(range(len(rows)), [shorten(name, 30) for name in rows], fontsize=9)
    axes.set(xlim=(0, 1.1), ylim=(len(rows) - 0.5, -0.5))
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.spines["bottom"].set_bounds(0, 1)
    axes.grid(axis="x", color=PALE, linewidth=0.8)
    axes.set_axisbelow(True)
    legend_below(axes)
    save(figure, path)
