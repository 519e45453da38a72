"""Which features may be taken from an earlier run: those that would come out the same, and no others."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from bunryu.core.cache import cache_folder
from bunryu.inference.model import Model
from bunryu.models.build import build
from bunryu.models.classifier import Classifier
from bunryu.settings.augment import NO_AUGMENT
from bunryu.settings.load import load_settings
from bunryu.settings.run import absolute
from bunryu.train import feed as feeding
from bunryu.train.feed import Pictures, features, pictures
from bunryu.workflows.plan.decide import make_plan

SMALL = (
    *("model.name=timm/test_resnet", "model.weights=none", "train.device=cpu", "train.threads=1", "input.size=32"),
    *("train.precision=fp32", "split.val=0.25", "input.normalize=imagenet"),
)
NOTHING = np.zeros(0, np.int64)


@pytest.fixture
def photos(make_images: Callable[..., Path], tmp_path: Path) -> Path:
    return make_images(tmp_path / "photos", {"a": 6, "b": 6})


@pytest.fixture
def passes(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Collect how many pictures went through the backbone in each call."""
    counts: list[int] = []
    original = Classifier.features
    monkeypatch.setattr(Classifier, "features", lambda self, x: (counts.append(len(x)), original(self, x))[1])
    return counts


def feed_of(photos: Path, *pairs: str) -> Pictures:
    settings = absolute(load_settings([*SMALL, *pairs], values={"data": {"source": str(photos)}}))
    plan = make_plan(settings)
    return pictures(Model(plan.net, plan.sealed, plan.device), plan.settings, plan.table, NOTHING)


def ask(feed: Pictures, epoch: int = 0, rows: Any = range(12)) -> torch.Tensor:
    return features(feed, np.array(rows, np.int64), epoch, "features")


def with_input(feed: Pictures, **update: Any) -> Pictures:
    return dataclasses.replace(feed, input=feed.input.model_copy(update=update))


def with_sealed(feed: Pictures, **update: Any) -> Pictures:
    model = Model(feed.model.net, feed.model.sealed.model_copy(update=update), feed.model.device)
    return dataclasses.replace(feed, model=model)


def test_what_is_taken_is_what_was_made(photos: Path, passes: list[int]) -> None:
    feed = feed_of(photos)
    passes.clear()
    made = ask(feed)
    found = ask(feed)
    assert passes == [12]
    assert torch.equal(made, found)
    (kept,) = (cache_folder() / "features").iterdir()
    kept.write_bytes(kept.read_bytes()[:-1] + b"?")
    assert torch.equal(ask(feed), made)
    assert passes == [12, 12], "a damaged file is made anew"


@pytest.mark.parametrize(
    "change",
    [
        lambda feed: with_input(feed, height=48),
        lambda feed: with_input(feed, mean=[0.1, 0.2, 0.3]),
        lambda feed: with_input(feed, interpolation="nearest"),
        lambda feed: with_sealed(feed, precision="bf16"),
        lambda feed: with_sealed(feed, decode=feed.model.sealed.decode.model_copy(update={"max_pixels": 7777})),
        lambda feed: dataclasses.replace(feed, seed=1),
        lambda feed: dataclasses.replace(feed, augment=feed.augment.model_copy(update={"rotate": 9.0})),
        lambda feed: dataclasses.replace(feed, augment=NO_AUGMENT),
    ],
    ids=["size", "mean", "interpolation", "precision", "decode", "seed", "augmentation", "no augmentation"],
)
def test_whatever_they_follow_from_counts(
    change: Callable[[Pictures], Pictures], photos: Path, passes: list[int]
) -> None:
    feed = feed_of(photos)
    ask(feed)
    passes.clear()
    ask(change(feed))
    assert sum(passes) == 12


def test_every_weight_counts_and_so_does_a_statistic_but_not_the_head(photos: Path, passes: list[int]) -> None:
    feed = feed_of(photos)
    ask(feed)
    net = feed.model.net
    for name, value in list(net.state_dict().items()):
        passes.clear()
        old = value.clone()
        value.add_(1)
        ask(feed)
        assert sum(passes) == (0 if name.startswith("head.") else 12), name
        value.copy_(old)


def test_nets_of_the_same_weights_are_not_the_same_net(photos: Path, passes: list[int]) -> None:
    """timm's efficientnet_b0 and tf_efficientnet_b0: the same tensors, other padding and another epsilon."""
    one = feed_of(photos, "model.name=timm/efficientnet_b0")
    made = ask(one, rows=range(2))
    architecture = one.model.sealed.architecture.model_copy(update={"name": "timm/tf_efficientnet_b0"})
    net = build(architecture, 2)
    net.load_state_dict(one.model.net.state_dict())
    sealed = one.model.sealed.model_copy(update={"architecture": architecture})
    other = dataclasses.replace(one, model=Model(net, sealed, one.model.device))
    passes.clear()
    assert not torch.allclose(ask(other, rows=range(2)), made, rtol=0.1, atol=0)
    assert passes == [2]


def test_the_number_of_threads_and_the_versions_count(
    photos: Path, passes: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    feed = feed_of(photos)
    ask(feed)
    passes.clear()
    with monkeypatch.context() as patch:
        patch.setattr(torch, "get_num_threads", lambda: 64)
        ask(feed)
    with monkeypatch.context() as patch:
        patch.setattr(feeding, "versions", lambda: {"pillow": "0.1"})
        ask(feed)
    assert passes == [12, 12]


def test_one_pictures_content_counts_and_where_it_lies_does_not(
    photos: Path, tmp_path: Path, passes: list[int]
) -> None:
    made = ask(feed_of(photos), epoch=3)
    moved = tmp_path / "elsewhere"
    shutil.copytree(photos, moved)
    passes.clear()
    feed = feed_of(moved, "model.dropout=0.5", "optim.lr=1")
    passes.clear()
    assert torch.equal(ask(feed, epoch=3), made)
    assert passes == []
    file = moved / "a" / "000.png"
    pixels = np.asarray(Image.open(file)).copy()
    pixels[0, 0, 0] ^= 1
    Image.fromarray(pixels).save(file)
    feed = feed_of(moved)
    passes.clear()
    ask(feed, epoch=3)
    assert passes == [12]


def test_draws_are_of_an_epoch_and_of_rows_only_where_there_are_any(photos: Path, passes: list[int]) -> None:
    feed = feed_of(photos)
    plain = dataclasses.replace(feed, augment=NO_AUGMENT)
    ask(feed), ask(plain)
    passes.clear()
    assert torch.equal(ask(plain), ask(dataclasses.replace(plain, seed=5), epoch=9))
    assert passes == []
    assert not torch.equal(ask(feed), ask(feed, epoch=1))
    assert passes == [12]
    assert torch.equal(ask(plain, rows=[3, 1]), ask(plain)[[3, 1]])


def test_no_rows_are_no_features(photos: Path) -> None:
    feed = feed_of(photos)
    assert ask(feed, rows=[]).shape == (0, feed.model.net.head[-1].in_features)
