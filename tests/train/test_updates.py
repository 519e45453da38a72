"""An epoch as updates: no batch lost or doubled, the last group shorter, and going on in the middle."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from bunryu.core.randomness import coming
from bunryu.train import updates as module
from bunryu.train.checkpoint import Progress
from bunryu.train.updates import updates


class Numbered:
    """A feed whose pictures are the rows themselves, and which notes when it has ended."""

    ended = False

    def batches(self, batches: list[Any], _: int) -> Iterator[Any]:
        for rows in batches:
            yield torch.from_numpy(rows), rows
        self.ended = True


@pytest.mark.parametrize("step", [0, 3, 6])
def test_groups(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    monkeypatch.setattr(module, "factor", lambda _job, _progress, many, number: many + number / 10)
    job: Any = SimpleNamespace(settings=SimpleNamespace(train=SimpleNamespace(accumulate=3)))
    batches = [np.arange(4) + 4 * i for i in range(8)]
    feed: Any = Numbered()
    found = []
    for one in updates(job, Progress(step=step), feed, batches):
        read = [rows.tolist() for x, rows in one.batches if x.tolist() == rows.tolist()]
        assert one.rows.tolist() == [row for rows in read for row in rows]
        found.append((len(read), one.rate))
    assert found == [(3, 3.0), (3, 3.1), (2, 3.2)][step // 3 :]
    assert feed.ended


def test_rows_that_come_again_are_named_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "factor", lambda *_: 1.0)
    job: Any = SimpleNamespace(settings=SimpleNamespace(train=SimpleNamespace(accumulate=2)))
    batches = [np.arange(3), coming(np.arange(3), 1)]
    (one,) = [(list(one.batches), one.rows) for one in updates(job, Progress(), Numbered(), batches)]  # type: ignore[arg-type]
    assert one[1].tolist() == [0, 1, 2, 0, 1, 2]
