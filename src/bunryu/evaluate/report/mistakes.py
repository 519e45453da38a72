"""Every wrong answer as a table, the surest first: mistakes_<split>.csv."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from bunryu.core.csv_text import csv_lines
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions, PredictionTable, one_answer


def mistakes_file(name: str) -> str:
    """Return what the file of a split's mistakes is called."""
    return f"mistakes_{name}.csv"


def mistakes_csv(predictions: PredictionTable) -> Iterator[str]:
    """Yield the wrong answers of predictions whose truth is known, the surest first; of equals the first.

    Of classes a line an image: path, true, pred, p_pred, p_true; and where several label columns are answered together
    the same of each, with a line for an image of which any is wrong. Of labels that can hold together a line a wrong
    label: path, label, true and pred (yes or no), and the probabilities of these two.
    """
    if isinstance(predictions, LabelPredictions):
        return _of_labels(predictions)
    return _of_classes(one_answer(predictions))


def _of_classes(whole: Predictions) -> Iterator[str]:
    parts = {"": whole, **{f"_{one.column}": whole.of(one) for one in whole.attributes}}
    words = ("true", "pred", "p_pred", "p_true")
    header = ["path", *(f"{word}{ending}" for ending in parts for word in words), *whole.more]
    wrong_N, sure_N = np.zeros(len(whole), bool), np.zeros(len(whole))
    for part in parts.values():
        wrong_N |= part.pred_N != part.true_N
        sure_N = np.maximum(sure_N, np.where(part.pred_N != part.true_N, part.probs_NK.max(axis=1, initial=0), 0))
    rows = np.flatnonzero(wrong_N)
    order = rows[np.argsort(-sure_N[rows], kind="stable")]
    return csv_lines(
        header,
        (
            [whole.paths[i], *(cell for part in parts.values() for cell in _cells(part, i)), *_more(whole, i)]
            for i in order.tolist()
        ),
    )


def _cells(part: Predictions, row: int) -> list[Any]:
    assert part.true_N is not None
    true, pred = int(part.true_N[row]), int(part.pred_N[row])
    return [part.classes[true], part.classes[pred], *map(_share, part.probs_NK[row, [pred, true]])]


def _of_labels(predictions: LabelPredictions) -> Iterator[str]:
    said_NL, held_NL = predictions.said_NL, predictions.held_NL
    assert held_NL is not None
    rows, labels = np.nonzero(said_NL != held_NL)
    yes = predictions.probs_NK[rows, labels].astype(np.float64)
    p_said = np.where(said_NL[rows, labels], yes, 1 - yes)
    order = np.argsort(-p_said, kind="stable")
    words = ("no", "yes")
    return csv_lines(
        ["path", "label", "true", "pred", "p_pred", "p_true", *predictions.more],
        (
            [
                predictions.paths[rows[at]],
                predictions.classes[labels[at]],
                words[int(held_NL[rows[at], labels[at]])],
                words[int(said_NL[rows[at], labels[at]])],
                _share(p_said[at]),
                _share(1 - p_said[at]),
                *_more(predictions, int(rows[at])),
            ]
            for at in order.tolist()
        ),
    )


def _more(predictions: PredictionTable, row: int) -> list[Any]:
    return [cells[row] for cells in predictions.more.values()]


def _share(value: float) -> float:
    return float(f"{value:.6g}")
