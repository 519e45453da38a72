"""What is written of measured classes that exclude each other: the confusion, and pictures."""

from __future__ import annotations

import io
from pathlib import Path, PurePath

import numpy as np

from bunryu.core.storage import write_atomic
from bunryu.evaluate.measured import MeasuredClasses
from bunryu.evaluate.metrics import confusion
from bunryu.evaluate.report import plots
from bunryu.evaluate.report.fonts import short_names
from bunryu.evaluate.report.mistakes import mistakes_file
from bunryu.evaluate.report.style import SEPARATOR
from bunryu.evaluate.report.text import confusion_csv
from bunryu.inference.examples import shown


def write_tables(folder: Path, result: MeasuredClasses) -> None:
    """Write the confusion counts, for programs and for people."""
    buffer = io.BytesIO()
    np.save(buffer, result.counts)
    write_atomic(folder / f"confusion_{result.name}.npy", buffer.getvalue())
    write_atomic(folder / f"confusion_{result.name}.csv", confusion_csv(result.counts, result.columns))


def draw(folder: Path, result: MeasuredClasses, of: str) -> None:
    """Draw the confusion, F1 by class, the probabilities and examples; of attributes their figures and confusions.

    Args:
        folder: where the pictures go.
        result: what was measured.
        of: the run and the split, which begin each title.
    """
    name, predictions, matrix, metrics = result.name, result.predictions, result.counts, result.metrics
    classes = predictions.classes
    plots.plot_confusion(matrix, classes, folder / f"confusion_{name}.png", of=of, normalize=False)
    plots.plot_confusion(matrix, classes, folder / f"confusion_{name}_normalized.png", of=of, normalize=True)
    plots.plot_per_class(metrics.per_class, folder / f"per_class_f1_{name}.png", of=of)
    file = folder / f"probabilities_{name}.png"
    plots.plot_probabilities(predictions.probs_NK, result.true_N, classes, file, metrics.positive, of=of)
    _draw_examples(folder / f"examples_{name}.png", result, of)
    if predictions.attributes:
        plots.plot_attributes(metrics, folder / f"attributes_{name}.png", of=of)
    for number, attribute in enumerate(predictions.attributes, 1):
        own = predictions.of(attribute)
        assert own.true_N is not None
        counts = confusion(own.pred_N, own.true_N, len(own.classes))
        file = folder / f"confusion_{name}_attribute{number}_normalized.png"
        plots.plot_confusion(counts, own.classes, file, of=SEPARATOR.join([of, attribute.column]), normalize=True)


def _draw_examples(path: Path, result: MeasuredClasses, of: str) -> None:
    """Show the surest mistakes first, then right answers spread over the classes."""
    predictions, true_N = result.predictions, result.true_N
    pred_N, conf_N = predictions.pred_N, predictions.probs_NK.max(axis=1)
    right_N = pred_N == true_N
    rows = shown(predictions)
    names, titles = short_names(predictions.classes), []
    for row in rows:
        said = f"{names[pred_N[row]]} {conf_N[row]:.2f}"
        titles.append(said if right_N[row] else f"{said}\n(true: {names[true_N[row]]})")
    note = "no answer is wrong"
    if wrong := int((~right_N).sum()):
        drawn = sum(not right_N[row] for row in rows)
        some = "" if drawn == wrong else f" {drawn} of them"
        note = f"{wrong:,} of {len(right_N):,} answers are wrong; the surest{some or ' mistakes'} first"
        note += f" (all: {mistakes_file(result.name)})" if some else ""
    right = [bool(right_N[row]) for row in rows]
    files = [PurePath(predictions.paths[row]).name for row in rows]
    plots.plot_examples([result.picture(row) for row in rows], titles, right, path, of=of, note=note, files=files)
