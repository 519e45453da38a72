"""What deserves a look: each method against its paper's formula, computed the slow and plain way."""

from __future__ import annotations

import csv

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunryu.evaluate import review as reviewing
from bunryu.evaluate.review import (
    confirmed,
    label_errors,
    nearest,
    outliers,
    review,
    review_lines,
    review_told,
    unit_features,
)
from bunryu.inference.predictions import Predictions


def features(n: int = 60, f: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(n, f)).astype(np.float32)


def test_cosines_are_those_of_centred_features() -> None:
    x_NF = features() + 100
    unit_NF = unit_features(x_NF)
    np.testing.assert_allclose(np.linalg.norm(unit_NF, axis=1), 1, rtol=1e-5)
    correlation = np.corrcoef(x_NF - x_NF.mean(axis=0))
    centred = x_NF - x_NF.mean(axis=0)
    plain = centred @ centred.T / np.outer(*[np.linalg.norm(centred, axis=1)] * 2)
    np.testing.assert_allclose(unit_NF @ unit_NF.T, plain, atol=1e-4)
    assert correlation.shape == plain.shape


@pytest.mark.parametrize("chunk", [1, 7, 1024])
def test_nearest_is_what_a_plain_loop_finds(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviewing, "_CHUNK", chunk)
    x_NF = features(40)
    x_NF[31] = x_NF[4] + 0.01
    x_NF[7] = x_NF[4] - 0.01
    unit_NF = unit_features(x_NF)
    found = nearest(unit_NF, similar=0.9, k=3)
    assert {(pair.row, pair.other) for pair in found.pairs} == {(4, 31), (4, 7), (7, 31)}
    assert [pair.similarity for pair in found.pairs] == sorted((p.similarity for p in found.pairs), reverse=True)
    for row in range(40):
        distances = sorted(np.linalg.norm(unit_NF[row] - unit_NF[other]) for other in range(40) if other != row)
        assert found.distance_N[row] == pytest.approx(distances[2], abs=1e-3)


@pytest.mark.parametrize("n", [0, 1, 2])
def test_few_images(n: int) -> None:
    found = nearest(unit_features(features(n)) if n else np.zeros((0, 4), np.float32), similar=0.9)
    assert found.pairs == []
    assert len(found.distance_N) == n
    assert len(outliers(found.distance_N)) == 0


def test_what_lies_far_away_is_an_outlier() -> None:
    rng = np.random.default_rng(0)
    near = rng.normal(size=(100, 16)) * 0.1 + np.repeat(np.eye(2, 16) * 5, 50, axis=0)
    x_NF = np.concatenate([near, -np.ones((1, 16))]).astype(np.float32)
    found = nearest(unit_features(x_NF), similar=0.99)
    assert outliers(found.distance_N).tolist() == [100]


def label_errors_of_the_paper(probs_NK: np.ndarray, true_N: np.ndarray) -> list[int]:
    """Northcutt et al. 2021, equations 1 and 2, row by row, and the floor."""
    k = probs_NK.shape[1]
    thresholds = {}
    for j in range(k):
        own = [p[j] for p, label in zip(probs_NK, true_N, strict=True) if label == j]
        thresholds[j] = sum(own) / len(own) if own else float("inf")
    found = []
    for i, (p, label) in enumerate(zip(probs_NK, true_N, strict=True)):
        reached = [j for j in range(k) if p[j] >= thresholds[j]]
        if reached:
            likeliest = max(reached, key=lambda j: p[j])
            if likeliest != label and p[likeliest] >= 0.9:
                found.append((p[label] - max(p[j] for j in range(k) if j != label), i))
    return [i for _, i in sorted(found)]


@given(st.integers(0, 10_000), st.integers(2, 5), st.integers(1, 60))
def test_label_errors_are_those_of_the_paper(seed: int, k: int, n: int) -> None:
    rng = np.random.default_rng(seed)
    true_N = rng.integers(0, k, n)
    probs_NK = rng.dirichlet(np.full(k, 0.15), n)  # often sure
    assert label_errors(probs_NK, true_N).tolist() == label_errors_of_the_paper(probs_NK, true_N)


def test_wrong_labels_are_found() -> None:
    rng = np.random.default_rng(1)
    truth_N = rng.integers(0, 3, 300)
    probs_NK = np.full((300, 3), 0.02)
    probs_NK[np.arange(300), truth_N] = 0.96
    given_N = truth_N.copy()
    wrong = rng.choice(300, 9, replace=False)
    given_N[wrong] = (given_N[wrong] + 1) % 3
    assert sorted(label_errors(probs_NK, given_N).tolist()) == sorted(wrong.tolist())


def test_the_table_and_the_sentences() -> None:
    x_NF = features(50)
    x_NF[3] = x_NF[2] + 0.001
    x_NF[5] = x_NF[2] - 0.001
    true_N = np.arange(50) % 2
    probs_NK = np.full((50, 2), 0.03, np.float32)
    probs_NK[np.arange(50), true_N] = 0.97
    probs_NK[9] = probs_NK[9][::-1]
    predictions = Predictions([f"=사진/{i}.png" for i in range(50)], ["가", "b"], probs_NK, true_N)
    pixels = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    found = confirmed(review(x_NF, probs_NK, true_N), lambda _: pixels)
    rows = list(csv.DictReader("".join(review_lines(found, predictions)).splitlines()))
    assert [row["kind"] for row in rows] == ["label", *["near-duplicate"] * 3]
    assert (rows[0]["path"], rows[0]["label"], rows[0]["rather"]) == ("'=사진/9.png", "b", "가")
    assert {(row["path"], row["other"]) for row in rows[1:]} >= {("'=사진/2.png", "'=사진/3.png")}
    told = review_told(found, true_N, np.arange(50) % 5)
    assert told[0] == "The frozen weights disagree with 1 label, and are sure of it."
    assert told[1].startswith("3 pairs of images are copies of each other by their pixels, 2 of them")
    assert "3 stood in two folds" in told[1]
    shown, titles = reviewing.review_examples(found, predictions)
    assert shown[0] == 9
    assert len(shown) == len(titles) == 7
    nothing = found._replace(labels=np.zeros(0, np.int64), pairs=[])
    assert review_told(nothing, true_N, true_N) == []


def test_too_many_images_are_not_compared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reviewing, "MOST", 10)
    x_NF = np.zeros((11, 4), np.float32)
    found = review(x_NF, np.full((11, 2), 0.5, np.float32), np.zeros(11, np.int64))
    assert found.pairs == []
    assert len(found.outliers) == 0
