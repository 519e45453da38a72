"""What can be done with measured rows, whatever kind of answers they have."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from bunryu.core.storage import read_json
from bunryu.evaluate.caveats import Exposure
from bunryu.evaluate.figures import Figures, parsed
from bunryu.evaluate.measured import Measured, measured
from bunryu.evaluate.report.files import write_results
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions, PredictionTable
from bunryu.settings.evaluate import EvaluateSettings

N = 40
RNG = np.random.default_rng(1)
PROBS = RNG.dirichlet(np.ones(3), N).astype(np.float32)
PATHS = [f"{i}.png" for i in range(N)]


def of_classes() -> PredictionTable:
    return Predictions(PATHS, ["a", "b", "c"], PROBS, np.where(np.arange(N) % 4, PROBS.argmax(axis=1), 0))


def of_labels() -> PredictionTable:
    held_NL = RNG.uniform(0.2, 0.5, PROBS.shape) < PROBS
    return LabelPredictions(PATHS, ["a", "b", "c"], PROBS, thresholds=[0.3] * 3, held_NL=held_NL)


def of(table: PredictionTable, exposure: Exposure | None = None) -> Measured:
    pixels = np.zeros((9, 9, 3), np.uint8)
    more = {} if exposure is None else {"exposure": exposure}
    return measured("val", table, EvaluateSettings(bootstrap=50), lambda _: pixels, {"x.png": "broken"}, **more)


kinds = pytest.mark.parametrize("kind", [of_classes, of_labels])
Kind = Callable[[], PredictionTable]


@kinds
def test_counts_have_a_line_a_class_and_a_column_an_answer(kind: Kind) -> None:
    result = of(kind())
    assert result.counts.shape == (3, len(result.columns))
    assert result.counts.dtype == np.int64
    right = np.diag(result.counts) if result.columns == ["a", "b", "c"] else result.counts[:, 0]
    recalls = [row.recall for row in result.metrics.per_class.values()]
    support = [row.support for row in result.metrics.per_class.values()]
    assert (right / np.maximum(support, 1)).tolist() == pytest.approx(recalls)


@kinds
def test_caveats_of_the_rows_are_notes_of_the_figures(kind: Kind) -> None:
    plain, known = of(kind()), of(kind(), Exposure(learned=True))
    assert not any("mean nothing" in note for note in plain.metrics.notes)
    assert "mean nothing" in known.metrics.notes[0]


@kinds
def test_what_views_change_is_told(kind: Kind) -> None:
    plain = of(kind())
    other = dataclasses.replace(plain, name="val_tta")
    after, told = other.changed_by(["hflip"], plain, bootstrap=200)
    assert told.startswith("macro-F1 ")
    assert isinstance(after.metrics, Figures)
    assert after.name == "val_tta"
    assert parsed(after.metrics.as_json()) == after.metrics


@kinds
def test_all_that_is_written_of_it(kind: Kind, tmp_path: Path) -> None:
    result = of(kind())
    write_results(tmp_path, [result], "run-1", "title", {}, [], "draw")
    assert parsed(read_json(tmp_path / "metrics.json")["val"]) == result.metrics
    assert {"predictions_val.csv", "report.txt"} <= {path.name for path in tmp_path.iterdir()}
    assert (tmp_path / "plots" / "examples_val.png").stat().st_size > 1000
    assert len(list((tmp_path / "plots").iterdir())) >= 3
