"""train.compile: the same figures, and one message where it cannot be."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import bunryu
from bunryu.core.errors import ConfigError
from bunryu.core.storage import read_jsonl
from bunryu.train.compile import compiled

SMALL = (
    *("model.name=mlp", "input.size=8", "train.batch_size=4", "train.epochs=2", "evaluate.bootstrap=0"),
    *("train.device=cpu", "train.threads=1", "train.precision=fp32", "model.dropout=0"),
)


def test_training_compiled_gives_the_same_figures(
    make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = functools.partial(torch.compile, backend="aot_eager")  # writing C++ would take twenty seconds
    monkeypatch.setattr(torch, "compile", traced)
    photos = make_images(tmp_path / "photos", {"a": 8, "b": 8})
    runs = [
        bunryu.train(photos, *SMALL, f"train.compile={asked}", out=tmp_path / asked, quiet=True)
        for asked in ("false", "true")
    ]
    plain, fast = ([row["train_loss"] for row in read_jsonl(run.path / "history.jsonl")] for run in runs)
    assert fast == pytest.approx(plain, rel=1e-4)
    names = [list(bunryu.open_run(run.path).model.net.state_dict()) for run in runs]
    assert names[0] == names[1]


def test_what_cannot_be_compiled_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    from torch._dynamo.exc import Unsupported

    def fail(_: nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        def call(_: torch.Tensor) -> torch.Tensor:
            raise Unsupported("no compiler", gb_type="test")

        return call

    monkeypatch.setattr(torch, "compile", fail)
    with pytest.raises(ConfigError, match=r"train\.compile=true.*no compiler.*Leave train\.compile out"):
        compiled(nn.Linear(1, 1))(torch.from_numpy(np.zeros((1, 1), np.float32)))
