"""What is written of measured labels that can hold together: their counts, and pictures."""

from __future__ import annotations

from pathlib import Path, PurePath

from bunryu.core.storage import write_atomic
from bunryu.data.multi_label import joined_set
from bunryu.evaluate.measured import MeasuredLabels
from bunryu.evaluate.multilabel_metrics import labels_csv
from bunryu.evaluate.report import multilabel_plots, plots
from bunryu.evaluate.report.fonts import short_names
from bunryu.inference.examples import shown


def write_tables(folder: Path, result: MeasuredLabels) -> None:
    """Write the counts of each label."""
    write_atomic(folder / f"labels_{result.name}.csv", labels_csv(result.counts, result.metrics.per_class))


def draw(folder: Path, result: MeasuredLabels, of: str) -> None:
    """Draw F1 and average precision of each label, precision over recall, and examples.

    Args:
        folder: where the pictures go.
        result: what was measured.
        of: the run and the split, which begin each title.
    """
    multilabel_plots.plot_labels(result.metrics.per_class, folder / f"labels_{result.name}.png", of=of)
    multilabel_plots.plot_precision_recall(result.predictions, folder / f"precision_recall_{result.name}.png", of=of)
    _draw_examples(folder / f"examples_{result.name}.png", result, of)


def _draw_examples(path: Path, result: MeasuredLabels, of: str) -> None:
    """Show those with most wrong labels first, then right answers spread over the sets of labels."""
    said_NL, held_NL = result.predictions.said_NL, result.held_NL
    wrong_N = (said_NL != held_NL).sum(axis=1)
    rows = shown(result.predictions)
    names, titles = short_names(result.predictions.classes), []
    for row in rows:
        told = [joined_set(names, held[row]) or "(none)" for held in (said_NL, held_NL)]
        titles.append(told[0] if wrong_N[row] == 0 else f"{told[0]}\n(true: {told[1]})")
    note = f"{int((wrong_N > 0).sum()):,} of {len(wrong_N):,} images have a wrong label; those with most first"
    right = [bool(wrong_N[row] == 0) for row in rows]
    files = [PurePath(result.predictions.paths[row]).name for row in rows]
    plots.plot_examples([result.picture(row) for row in rows], titles, right, path, of=of, note=note, files=files)
