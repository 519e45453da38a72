"""Features computed once: the same training as a frozen backbone that runs each epoch, only sooner."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from bunryu import api
from bunryu.core.errors import ConfigError
from bunryu.core.storage import read_jsonl
from bunryu.models.classifier import Classifier

SMALL = (
    *("model.name=scratch_cnn", "train.device=cpu", "input.size=32", "train.threads=1", "train.precision=fp32"),
    *("train.batch_size=8", "evaluate.bootstrap=0", "train.epochs=4", "split.val=0.25", "model.dropout=0.3"),
)
PLAIN = ("augment.crop_scale=null", "augment.hflip=0")


def head(views: int | None) -> str:
    told = "" if views is None else f", views: {views}"
    return f"train.stages=[{{name: head, freeze: backbone{told}}}]"


@pytest.fixture
def photos(make_images: Callable[..., Path], tmp_path: Path) -> Path:
    return make_images(tmp_path / "photos", {"a": 16, "b": 16})


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect how many pictures went through the backbone in each call."""
    counts: list[int] = []
    features = Classifier.features

    def counted(self: Classifier, x: torch.Tensor) -> torch.Tensor:
        counts.append(len(x))
        return features(self, x)

    monkeypatch.setattr(Classifier, "features", counted)
    return counts


def trained(photos: Path, out: Path, *pairs: str) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    run = api.train(photos, *SMALL, *pairs, out=out, quiet=True).path
    return load_file(run / "model.safetensors"), read_jsonl(run / "history.jsonl")


@pytest.mark.parametrize(
    ("pairs", "views"),
    [(PLAIN, 0), (PLAIN, 1), ((), 4), (("train.accumulate=2", "loss.class_weights=balanced", "optim.name=sgd"), 4)],
    ids=["plain", "one view", "a view an epoch", "accumulated"],
)
def test_a_cached_stage_equals_the_uncached_one(
    pairs: tuple[str, ...], views: int, photos: Path, tmp_path: Path
) -> None:
    """Without augmentation one view says it all; with it, as many views as epochs are what each epoch sees."""
    slow, slow_rows = trained(photos, tmp_path / "slow", *pairs, head(None))
    fast, fast_rows = trained(photos, tmp_path / "fast", *pairs, head(views))
    for name, value in slow.items():
        torch.testing.assert_close(fast[name], value, rtol=1e-4, atol=1e-5)
    for one, other in zip(slow_rows, fast_rows, strict=True):
        assert one["train_loss"] == pytest.approx(other["train_loss"], rel=1e-4)
        assert one["val_loss"] == pytest.approx(other["val_loss"], rel=1e-4)


def test_the_backbone_runs_once_a_view(photos: Path, tmp_path: Path, passes: list[int]) -> None:
    trained(photos, tmp_path / "run", "train.epochs=20", head(2))
    train_rows, val_rows = 24, 8
    assert (
        sum(passes) == 2 * train_rows + 2 * val_rows + 1
    )  # the validation rows once more at the end; 1 tries the size


def test_views_differ_and_take_turns(photos: Path, tmp_path: Path) -> None:
    _, one = trained(photos, tmp_path / "one", head(1))
    _, two = trained(photos, tmp_path / "two", head(2))
    losses = [[row["train_loss"] for row in rows] for rows in (one, two)]
    assert losses[0][0] == losses[1][0]  # epoch 0 sees view 0 in both
    assert losses[0][1] != losses[1][1]


def test_a_stage_that_learns_the_backbone_has_no_views(photos: Path) -> None:
    with pytest.raises(ConfigError, match=r"stage 'all': views needs freeze: backbone"):
        api.train(photos, *SMALL, "train.stages=[{name: all, views: 2}]")


def test_the_next_stage_starts_from_the_trained_head(photos: Path, tmp_path: Path) -> None:
    stages = "train.stages=[{name: head, freeze: backbone, views: 0, epochs: 3}, {name: all}]"
    _, rows = trained(photos, tmp_path / "run", stages, "optim.lr=1e-5", *PLAIN)
    assert [row["stage"] for row in rows] == ["head"] * 3 + ["all"]
    assert np.isclose(rows[3]["val_loss"], rows[2]["val_loss"], rtol=0.05)
