"""Predictions in the shape of a competition's sample file: the same rows, order and columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bunryu.core import console
from bunryu.core.csv_text import csv_lines
from bunryu.core.errors import typed
from bunryu.data.multi_label import JOIN
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions, PredictionTable
from bunryu.models.record import Sealed
from bunryu.ship.joining import places
from bunryu.ship.sample import Sample, read_sample
from bunryu.ship.sample_cells import Asked


def fill(path: Path, predictions: PredictionTable, sealed: Sealed, given: str | None = None) -> str:
    """Return the sample file with what it asks for filled in (`read_sample`), as CSV.

    Rows are joined by the longest tail that two paths share. A table without a column to fill in, such as a list of
    images, becomes ``ID,image_path,target``, ID counting from 0. No cell is guarded against spreadsheets: a grader has
    to find the sample's names as they are.

    Args:
        path: the sample.
        predictions: of its images.
        sealed: the record of the model.
        given: what the user says that the sample wants; see `read_sample`.

    Raises:
        DataError: what is wanted cannot be told, a row of the sample without a prediction, or a prediction without
            a row.
        ConfigError: `given` is nothing that a sample can want.
    """
    sample = read_sample(path, predictions.paths, sealed, given)
    for note in sample.notes:
        console.say(f"{sample.table.where}: {note}")
    mend = f" To answer those alone, predict the table: bunryu predict RUN {typed(path)} --submission {typed(path)}"
    rows_R = np.array(places(sample.images, str(path), predictions.paths, "The predictions", mend), np.int64)
    filled: dict[str, Sequence[object]]
    if sample.asked:
        cells = {name: _cells(asked, predictions, rows_R) for name, asked in sample.asked.items()}
        filled = {name: cells.get(name, own) for name, own in sample.table.values.items()}
    else:
        answers = _cells(_of_a_list(sample, sealed), predictions, rows_R)
        filled = {"ID": range(len(rows_R)), "image_path": sample.images, "target": answers}
    return "".join(csv_lines(filled, zip(*filled.values(), strict=True), guarded=False))


def _of_a_list(sample: Sample, sealed: Sealed) -> Asked:
    """Return what a list of images wants: the published numbers of the classes, else their names."""
    head = sealed.answer
    if sealed.multi_label:
        return Asked("labels", words=head.classes, separator=JOIN)
    if head.published is not None:
        return Asked("word", words=[str(number) for number in head.published])
    if not all(name.lstrip("-").isdigit() for name in head.classes):
        console.say(
            f"{sample.table.where} has no column of answers, and the model knows no numbers for its classes: "
            "their names are written",
            style="yellow",
        )
    return Asked("word", words=head.classes)


def _cells(asked: Asked, predictions: PredictionTable, rows_R: NDArray[np.int64]) -> list[object]:
    """Return the cells of one column; `rows_R` says where in the predictions each row's image is."""
    if asked.what == "probability":
        return [float(f"{value:.6g}") for value in predictions.probs_NK[rows_R, list(asked.of)].tolist()]
    said_NK = _said(predictions)
    if asked.what == "yes-no":
        return [asked.words[int(holds)] for holds in said_NK[rows_R, list(asked.of)].tolist()]
    words = [asked.separator.join(asked.words[k] for k in np.flatnonzero(said_K).tolist()) for said_K in said_NK]
    return [words[row] for row in rows_R.tolist()]


def _said(predictions: PredictionTable) -> NDArray[np.bool_]:
    """Return which classes are answered, bool (N, K): one an image, or of labels that hold together any."""
    if isinstance(predictions, LabelPredictions):
        return predictions.said_NL
    assert isinstance(predictions, Predictions)
    said_NK = np.zeros(predictions.probs_NK.shape, bool)
    said_NK[np.arange(len(predictions)), predictions.pred_N] = True
    return said_NK
