"""The table of mistakes: every one, the surest first, whatever the kind of answers."""

from __future__ import annotations

import csv
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from bunryu.evaluate.report.mistakes import mistakes_csv
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Attribute


def read(predictions: Any) -> list[dict[str, str]]:
    return list(csv.DictReader("".join(mistakes_csv(predictions)).splitlines()))


@given(st.integers(0, 40), st.integers(0, 10**6))
def test_every_mistake_is_there_the_surest_first(n: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    probs_NK = rng.dirichlet(np.ones(4), n).astype(np.float32)
    true_N = rng.integers(0, 4, n)
    parts = [
        Attribute(column="mask", classes=["no", "yes"], of=[0, 0, 1, 1]),
        Attribute(column="sex", classes=["f", "m"], of=[0, 1, 0, 1]),
    ]
    paths, names = [f"{i}.jpg" for i in range(n)], ["no+f", "no+m", "yes+f", "yes+m"]
    plain = Predictions(paths, names, probs_NK, true_N, more={"fold": [i % 3 for i in range(n)]})
    rows = read(plain)
    wrong = {f"{i}.jpg" for i in range(n) if probs_NK[i].argmax() != true_N[i]}
    assert {row["path"] for row in rows} == wrong
    sure = [float(row["p_pred"]) for row in rows]
    assert sure == sorted(sure, reverse=True)
    for row in rows:
        i = int(row["path"].partition(".")[0])
        assert (row["true"], row["pred"], row["fold"]) == (names[true_N[i]], names[probs_NK[i].argmax()], str(i % 3))
        assert float(row["p_true"]) == float(f"{probs_NK[i, true_N[i]]:.6g}")
    of_parts = read(Predictions(paths, names, probs_NK, true_N, attributes=parts))
    assert {row["path"] for row in of_parts} >= wrong
    assert all(
        row["true"] != row["pred"] or row["true_mask"] != row["pred_mask"] or row["true_sex"] != row["pred_sex"]
        for row in of_parts
    )


def test_of_labels_each_wrong_one_has_its_line() -> None:
    probs_NL = np.array([[0.9, 0.2], [0.2, 0.7], [0.6, 0.4]], np.float32)
    held_NL = np.array([[False, False], [True, True], [True, True]])
    found = read(LabelPredictions(["a", "=b", "c"], ["x", "y"], probs_NL, thresholds=[0.5, 0.5], held_NL=held_NL))
    assert [(row["path"], row["label"], row["true"], row["pred"], row["p_pred"]) for row in found] == [
        ("a", "x", "no", "yes", "0.9"),
        ("'=b", "x", "yes", "no", "0.8"),
        ("c", "y", "yes", "no", "0.6"),
    ]
