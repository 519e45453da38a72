"""What is written of measured predictions: figures, tables, pictures and the report."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bunryu.core.storage import write_atomic, write_json
from bunryu.data.multi_label import joined_set
from bunryu.evaluate.measured import Measured
from bunryu.evaluate.metrics import confusion
from bunryu.evaluate.multilabel_metrics import labels_csv
from bunryu.evaluate.report import plots
from bunryu.evaluate.report.fonts import font_note, short_names
from bunryu.evaluate.report.multilabel_plots import plot_labels, plot_precision_recall
from bunryu.evaluate.report.plots import plot_attributes
from bunryu.evaluate.report.style import SEPARATOR
from bunryu.evaluate.report.text import confusion_csv, text_report
from bunryu.inference.multilabel_predictions import LabelPredictions

_EXAMPLES = 18


def write_results(
    folder: Path, results: list[Measured], run: str, title: str, facts: dict[str, str], steps: list[str], again: str
) -> None:
    """Write everything about `results` into `folder`; metrics.json comes last.

    Args:
        folder: a folder that exists.
        results: what was measured, an item a split.
        run: what was measured in few words, the run's name first: it begins the title of every picture.
        title: first line of the report.
        facts: name -> sentence, at the head of the report.
        steps: commands to type next, at its end.
        again: the command that measures the same again, for who lacks a font for the pictures.
    """
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    classes = results[0].predictions.classes if results else []
    if note := font_note(classes, run, again, listed=len(classes)):
        facts = facts | {"plots": note}
    for result in results:
        write_atomic(folder / f"predictions_{result.name}.csv", result.predictions.lines())
        of = SEPARATOR.join([run, result.name])
        if isinstance(result.predictions, LabelPredictions):
            write_atomic(
                folder / f"labels_{result.name}.csv", labels_csv(result.confusion, result.metrics["per_class"])
            )
            _write_label_plots(folder / "plots", result, result.predictions, of)
            continue
        _write_tables(folder, result)
        _write_plots(folder / "plots", result, of)
    by_name = {result.name: result.metrics for result in results}
    write_atomic(folder / "report.txt", text_report(title, facts, by_name, next_steps=steps))
    write_json(folder / "metrics.json", by_name)


def _write_tables(folder: Path, result: Measured) -> None:
    matrix = result.confusion
    buffer = io.BytesIO()
    np.save(buffer, matrix)
    write_atomic(folder / f"confusion_{result.name}.npy", buffer.getvalue())
    write_atomic(folder / f"confusion_{result.name}.csv", confusion_csv(matrix, result.predictions.classes))


def _write_plots(folder: Path, result: Measured, of: str) -> None:
    name, classes = result.name, result.predictions.classes
    predictions, matrix = result.predictions, result.confusion
    assert predictions.true_N is not None
    plots.plot_confusion(matrix, classes, folder / f"confusion_{name}.png", of=of, normalize=False)
    plots.plot_confusion(matrix, classes, folder / f"confusion_{name}_normalized.png", of=of, normalize=True)
    plots.plot_per_class(result.metrics["per_class"], folder / f"per_class_f1_{name}.png", of=of)
    plots.plot_probabilities(
        predictions.probs_NK,
        predictions.true_N,
        classes,
        folder / f"probabilities_{name}.png",
        result.metrics.get("positive"),
        of=of,
    )
    _plot_examples(folder / f"examples_{name}.png", result, of)
    if predictions.attributes:
        plot_attributes(result.metrics, folder / f"attributes_{name}.png", of=of)
    for number, attribute in enumerate(predictions.attributes, 1):
        own = predictions.of(attribute)
        assert own.true_N is not None
        counts = confusion(own.pred_N, own.true_N, len(own.classes))
        file = folder / f"confusion_{name}_attribute{number}_normalized.png"
        plots.plot_confusion(counts, own.classes, file, of=SEPARATOR.join([of, attribute.column]), normalize=True)


def _write_label_plots(folder: Path, result: Measured, predictions: LabelPredictions, of: str) -> None:
    """Draw F1 and average precision of each label, precision over recall, and examples: most wrong labels first."""
    name, held_NL = result.name, predictions.held_NL
    assert held_NL is not None
    plot_labels(result.metrics["per_class"], folder / f"labels_{name}.png", of=of)
    plot_precision_recall(predictions, folder / f"precision_recall_{name}.png", of=of)
    wrong_N = (predictions.said_NL != held_NL).sum(axis=1)
    mistakes = np.argsort(-wrong_N, kind="stable")[: min(_EXAMPLES // 2, int((wrong_N > 0).sum()))]
    answers = np.flatnonzero(wrong_N == 0)
    places = _place_in_class(np.unique(held_NL[answers], axis=0, return_inverse=True)[1].reshape(-1))
    rows = [int(row) for row in (*mistakes, *answers[np.argsort(places, kind="stable")][: _EXAMPLES - len(mistakes)])]
    names, titles = short_names(predictions.classes), []
    for row in rows:
        told = [joined_set(names, held[row]) or "(none)" for held in (predictions.said_NL, held_NL)]
        titles.append(told[0] if wrong_N[row] == 0 else f"{told[0]}\n(true: {told[1]})")
    note = f"{int((wrong_N > 0).sum()):,} of {len(wrong_N):,} images have a wrong label; those with most first"
    right = [bool(wrong_N[row] == 0) for row in rows]
    plots.plot_examples(
        [result.picture(row) for row in rows], titles, right, folder / f"examples_{name}.png", of=of, note=note
    )


def _plot_examples(path: Path, result: Measured, of: str) -> None:
    """Show the surest mistakes first, then right answers spread over the classes."""
    predictions = result.predictions
    assert predictions.true_N is not None
    pred_N, conf_N = predictions.pred_N, predictions.probs_NK.max(axis=1)
    right_N = pred_N == predictions.true_N
    mistakes = np.flatnonzero(~right_N)
    mistakes = mistakes[np.argsort(-conf_N[mistakes], kind="stable")][: _EXAMPLES // 2]
    places = _place_in_class(predictions.true_N)
    answers = np.flatnonzero(right_N)
    answers = answers[np.argsort(places[answers], kind="stable")][: _EXAMPLES - len(mistakes)]
    rows = [int(row) for row in (*mistakes, *answers)]
    names, titles = short_names(predictions.classes), []
    for row in rows:
        said = f"{names[pred_N[row]]} {conf_N[row]:.2f}"
        titles.append(said if right_N[row] else f"{said}\n(true: {names[predictions.true_N[row]]})")
    images = [result.picture(row) for row in rows]
    note = "no answer is wrong"
    if wrong := int((~right_N).sum()):
        some = "" if len(mistakes) == wrong else f" {len(mistakes)} of them"
        note = f"{wrong:,} of {len(right_N):,} answers are wrong; the surest{some or ' mistakes'} first"
    plots.plot_examples(images, titles, [bool(right_N[row]) for row in rows], path, of=of, note=note)


def _place_in_class(true_N: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return each row's place among the rows of its class, so that sorting by it takes the classes in turn."""
    places = np.zeros(len(true_N), np.int64)
    for label in np.unique(true_N):
        rows = np.flatnonzero(true_N == label)
        places[rows] = np.arange(len(rows))
    return places
