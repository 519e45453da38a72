"""Pictures kept while they are read are those that are chosen when all answers are there."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bunryu.data.table import Table, texts
from bunryu.inference.examples import MOST, Examples, chosen
from bunryu.inference.multilabel_predictions import answers_of
from bunryu.models.record import Decision


def places(kinds: Any) -> np.ndarray:
    seen: dict[Any, int] = {}
    found = []
    for kind in kinds:
        found.append(seen.get(kind, 0))
        seen[kind] = found[-1] + 1
    return np.array(found, np.int64)


def sealed(classes: list[str], multi_label: bool) -> Any:
    head = SimpleNamespace(positive=None)
    return SimpleNamespace(classes=classes, multi_label=multi_label, decision=Decision(), attributes=(), answer=head)


@pytest.mark.parametrize("multi_label", [False, True])
@pytest.mark.parametrize(("n", "sharp"), [(7, 0.0), (200, 0.0), (200, 3.0), (200, 30.0)])
def test_as_chosen_of_all_at_once(n: int, sharp: float, multi_label: bool) -> None:
    rng = np.random.default_rng(n)
    classes = [f"c{k}" for k in range(4)]
    truth = rng.integers(0, 4, n)
    probs = rng.dirichlet([1.0] * 4, n) + sharp * np.eye(4)[truth]
    probs = (probs / probs.sum(axis=1, keepdims=True)).round(1).astype(np.float32)  # with ties
    names = [f"c{k}" if not multi_label or k else "c0|c1" for k in truth]
    table = Table(
        Path(), texts([""] * 2 * n), {"label": texts([x for name in names for x in (name, "-")])}, texts([""] * 2 * n)
    )
    rows = 2 * np.arange(n)
    pixels = rng.integers(0, 256, (n, 2, 2, 1)).astype(np.uint8)
    examples = Examples(sealed(classes, multi_label), table)
    most = 0
    for start in range(0, n, 32):
        part = slice(start, start + 32)
        examples.see(rows[part], pixels[part], probs[part])
        most = max(most, len(examples.pictures))
    wrong_N, kinds = answers_of(sealed(classes, multi_label), [""] * n, probs, true=texts(names)).mistakes()
    wanted = chosen(wrong_N, places(kinds))
    assert examples.pictures.keys() == set((2 * wanted).tolist())
    assert all((examples.pictures[2 * i] == pixels[i]).all() for i in wanted.tolist())
    assert most <= MOST


def test_mistakes_come_first_and_kinds_in_turn() -> None:
    wrong = np.array([0, 0.5, 0, 0, 0.9, 0])
    assert chosen(wrong, places(["a", "a", "a", "b", "b", "c"])).tolist() == [4, 1, 0, 3, 5, 2]
    many = np.concatenate([np.full(20, 0.7), np.zeros(20)])
    assert chosen(many, np.zeros(40, np.int64)).tolist() == [*range(9), *range(20, 29)]
