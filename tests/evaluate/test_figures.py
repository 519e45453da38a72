"""What metrics.json holds, as types: written once, read back the same, the keys in their order."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from bunryu.core.errors import RunError
from bunryu.core.storage import write_json
from bunryu.evaluate.figures import (
    AttributeMetrics,
    Difference,
    Figure,
    Figures,
    FoldMetrics,
    Folds,
    Interval,
    LabelMetrics,
    Metrics,
    MultilabelMetrics,
    Record,
    Tta,
    parsed,
    read_metrics,
)
from bunryu.evaluate.measured import Measured, measured
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Attribute
from bunryu.runs.folder import RunFolder
from bunryu.settings.evaluate import EvaluateSettings

RNG = np.random.default_rng(0)
N = 40


def of(predictions: Any, bootstrap: int = 20) -> Measured:
    pixels = np.zeros((9, 9, 3), np.uint8)
    return measured("val", predictions, EvaluateSettings(bootstrap=bootstrap), lambda _: pixels, {"lost.png": "broken"})


def classes(k: int = 4, **more: Any) -> Predictions:
    probs_NK = RNG.dirichlet(np.ones(k), N).astype(np.float32)
    true_N = np.where(RNG.random(N) < 0.7, probs_NK.argmax(axis=1), RNG.integers(0, k, N))
    return Predictions([f"{i}.png" for i in range(N)], [f"c{i}" for i in range(k)], probs_NK, true_N, **more)


def labels(share: float = 0.3) -> LabelPredictions:
    held_NL = RNG.random((N, 3)) < share
    held_NL[0, 0] = True
    probs_NL = np.clip(held_NL * 0.3 + RNG.random((N, 3)) * 0.7, 0, 1).astype(np.float32)
    names = ["a", "b", "c"]
    return LabelPredictions([""] * N, names, probs_NL, groups=None, thresholds=[0.5] * 3, held_NL=held_NL)


def attributes() -> list[Attribute]:
    return [Attribute(column=f"of{i}", classes=["x", "y"], of=of) for i, of in enumerate(([0, 0, 1, 1], [0, 1, 0, 1]))]


def whole() -> Metrics:
    """Return metrics with every part that there is."""
    fold = FoldMetrics(macro_f1=0.5, accuracy=0.5, weighted_f1=0.5, loss=1.0)
    groups = {
        "attributes": attributes(),
        "more": {"dro_group": ["g", "h"] * (N // 2)},
        "groups": ["p", "q", "r", "s"] * 10,
    }
    found = of(classes(**groups)).metrics
    assert isinstance(found, Metrics)
    tta = Tta(views=("hflip",), macro_f1_change=Difference(0.1, 0.0, 0.2))
    return found.plus(folds=Folds(each=(fold.plus(n=7),), mean=fold, std=fold), tta=tta)


@pytest.mark.parametrize(
    "made",
    [whole, lambda: of(classes(2)).metrics, lambda: of(labels()).metrics, lambda: of(labels(0.0), 0).metrics],
    ids=["whole", "two classes", "labels", "absent labels"],
)
def test_what_is_written_reads_back_the_same(made: Any) -> None:
    found = made()
    text = json.dumps(found.as_json(), allow_nan=False)
    again = parsed(json.loads(text))
    assert again == found
    assert type(again) is type(found)
    assert json.dumps(again.as_json()) == text, "also the keys and their order"


def test_keys_stand_in_the_order_they_always_had() -> None:
    assert list(whole().as_json()) == [
        "n",
        "accuracy",
        "macro_f1",
        "weighted_f1",
        "macro_precision",
        "macro_recall",
        "loss",
        "absent",
        "per_class",
        "notes",
        "groups",
        "accuracy_ci",
        "macro_f1_ci",
        "weighted_f1_ci",
        "bootstrap",
        "shuffled",
        "attributes",
        "by_group",
        "worst_group_accuracy",
        "skipped",
        "folds",
        "tta",
    ]
    two = of(classes(2)).metrics.as_json()
    assert list(two)[9:16] == (
        ["notes", "positive", "positive_precision", "positive_recall", "positive_f1", "roc_auc", "accuracy_ci"]
    )
    assert list(of(labels()).metrics.as_json()) == [
        "n",
        "accuracy",
        "macro_f1",
        "micro_f1",
        "weighted_f1",
        "macro_precision",
        "macro_recall",
        "mean_average_precision",
        "loss",
        "absent",
        "per_class",
        "notes",
        "bootstrap",
        "macro_f1_ci",
        "accuracy_ci",
        "micro_f1_ci",
        "weighted_f1_ci",
        "mean_average_precision_ci",
        "skipped",
    ]
    own = whole().as_json()["attributes"]["of0"]
    assert list(own)[-3:] == ["shuffled", "chance", "better_than_chance"]
    label = of(labels()).metrics.as_json()["per_class"]["a"]
    assert list(label) == [
        "precision",
        "recall",
        "f1",
        "average_precision",
        "support",
        "predicted",
        "threshold",
        "roc_auc",
        "roc_auc_ci",
        "better_than_chance",
        "precision_ci",
        "recall_ci",
        "f1_ci",
        "worse",
    ]
    assert two["accuracy_ci"] == [pytest.approx(two["accuracy_ci"][0]), two["accuracy_ci"][1]]
    assert isinstance(two["accuracy_ci"], list)


@pytest.mark.parametrize("kind", [Metrics, AttributeMetrics, MultilabelMetrics, LabelMetrics])
def test_every_field_has_its_place(kind: type[Record]) -> None:
    """A field that KEYS lacks would be left out of metrics.json without a word."""
    assert sorted(kind.KEYS) == sorted(kind.model_fields)


def test_what_was_not_measured_has_no_key_and_what_is_not_defined_is_null() -> None:
    plain = of(classes(), 0).metrics.as_json()
    assert not {"accuracy_ci", "bootstrap", "groups", "positive", "roc_auc", "attributes", "folds"} & plain.keys()
    assert plain["skipped"] == 1
    absent = of(labels(0.0), 0).metrics.as_json()["per_class"]["b"]
    assert (absent["average_precision"], absent["roc_auc"]) == (None, None)
    assert "roc_auc_ci" not in absent


def test_they_cannot_be_changed_or_misspelled() -> None:
    found = of(classes()).metrics
    with pytest.raises(ValidationError):
        found.accuracy = 1.0
    with pytest.raises(ValidationError):
        found.plus(acuracy=1.0)
    with pytest.raises(ValidationError):
        found.plus(skipped="many")
    assert found.plus(skipped=7).as_json() == found.as_json() | {"skipped": 7}


def test_both_kinds_say_the_same_things_of_themselves() -> None:
    for found in (whole(), of(labels()).metrics):
        assert isinstance(found, Figures)
        assert {"macro-F1", "weighted F1", "macro precision", "macro recall", "loss"} <= found.figures().keys()
        assert found.headline().items() <= found.figures().items()
        assert all(isinstance(figure, Figure) for figure in found.guessed().values())
        heads = {tuple(row.further()) for row in found.per_class.values()}
        assert len(heads) == 1
        assert len(found.noun) == 2


def test_a_figure_in_words() -> None:
    assert str(Figure(0.95204, Interval(0.9, 0.98765))) == "0.952 [0.900, 0.988]"
    assert str(Figure(0.5)) == "0.500"
    assert str(Figure(None)) == "-"


def test_a_file_that_is_damaged_is_told_with_what_and_where(tmp_path: Path) -> None:
    folder = RunFolder(tmp_path)
    write_json(folder.metrics, {"val": whole().as_json()})
    assert read_metrics(folder) == {"val": Metrics.model_validate(folder.read_metrics()["val"])}
    write_json(folder.metrics, {"val": whole().as_json() | {"accuracy": "good"}})
    with pytest.raises(RunError, match=r"metrics\.json is damaged, or of another version: accuracy: "):
        read_metrics(folder)
