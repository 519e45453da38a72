"""Operations and balance in whole runs: what is trained on, sealed, kept, drawn, and said."""

from __future__ import annotations

import csv
import dataclasses
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import bunryu as package
from bunryu.inference.model import Model, normalize
from bunryu.settings.load import load_settings
from bunryu.settings.stages import Stage
from bunryu.train import feed as feeding
from bunryu.train.feed import choose_feed, pictures
from bunryu.train.sampling import balanced
from bunryu.workflows.plan import preview
from bunryu.workflows.plan.decide import make_plan
from bunryu.workflows.plan.plan import Plan
from conftest import TINY, Command, refused

OPS = "augment.ops=[random_resized_crop, hflip, {rotate: {degrees: 20}}, gaussian_noise]"
PAIRS = [pair for pair in TINY if not pair.startswith("augment.")]


@pytest.fixture
def photos(make_images: Callable[..., Path], here: Path) -> Path:
    return make_images(here / "photos", {"강아지": 12, "b": 6})


def planned(photos: Path, *pairs: str) -> tuple[Plan, Model]:
    plan = make_plan(load_settings([*PAIRS, *pairs], values={"data": {"source": str(photos)}}))
    return plan, Model(plan.net, plan.sealed, plan.device)


@pytest.mark.parametrize("backend", ["torchvision", "albumentations"])
def test_a_row_sees_the_same_in_any_batch_and_with_any_number_of_threads(photos: Path, backend: str) -> None:
    if backend == "albumentations":
        pytest.importorskip("albumentations")
    plan, model = planned(photos, OPS, f"augment.backend={backend}")
    feed = pictures(model, plan.settings, plan.table, np.zeros(0, np.int64))
    keys = balanced(np.arange(10), np.zeros(10, np.int64), 24, 0, 0)
    seen = []
    for workers, size in ((1, 24), (4, 5)):
        batches = [keys[start : start + size] for start in range(0, 24, size)]
        found = list(dataclasses.replace(feed, workers=workers).batches(batches, 3))
        assert np.concatenate([rows for _, rows in found]).tolist() == [key & 0xFF for key in keys.tolist()]
        seen.append(torch.cat([x for x, _ in found]))
    assert torch.equal(*seen)
    assert seen[0].shape == (24, 16, 16, 3)
    assert len({picture.numpy().tobytes() for picture in seen[0]}) == 24, "a copy is augmented anew"
    other = next(iter(feed.batches([keys], 4)))[0]
    assert not torch.equal(seen[0], other), "another epoch draws anew"


def test_cached_views_are_what_the_operations_give_and_are_kept_by_them(photos: Path) -> None:
    stage = Stage(name="head", freeze="backbone", views=2)
    rows = np.arange(8)
    found = []
    for ops in (OPS, "augment.ops=[vflip]", OPS):
        plan, model = planned(photos, ops, "train.seed=3")
        feed = pictures(model, plan.settings, plan.table, np.zeros(0, np.int64))
        views = choose_feed(feed, stage, rows)
        x, _ = next(iter(views.batches([rows], 1)))
        pixels, _ = next(iter(feed.batches([rows], 1)))
        with torch.no_grad():
            expected = model.net.eval().features(normalize(pixels, plan.sealed.input))
        torch.testing.assert_close(x, expected)
        again, _ = next(iter(views.batches([rows | (1 << 40)], 0)))
        assert torch.equal(again, x), "a copy in epoch 0 is the view of epoch 1"
        found.append(x)
    assert torch.equal(found[0], found[2])
    assert not torch.equal(found[0], found[1]), "other operations are other features"


@pytest.mark.pictures
def test_a_run_with_operations_and_balance(photos: Path, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = package.train(photos, *PAIRS, OPS, "data.balance_to=20", "train.epochs=1", out=here / "run")
    told = capsys.readouterr().err
    with (run.path / "split.csv").open(encoding="utf-8", newline="") as stream:
        own = Counter(row["label"] for row in csv.DictReader(stream) if row["split"] == "train")
    copies = 40 - own["b"] - own["강아지"]
    line = f"balance: {copies} copies added in each epoch, to 20 rows a class (b {own['b']}, 강아지 {own['강아지']})"
    assert line in told
    assert line.replace("balance: ", "") in (run.path / "report.txt").read_text(encoding="utf-8")
    record = run.model.sealed.provenance["augmentation"]
    names = [next(iter(item)) for item in record["operations"]]
    assert names == ["random_resized_crop", "hflip", "rotate", "gaussian_noise"]
    assert record["backend"] == "torchvision"
    assert record["version"]
    assert run.settings.data.balance_to == 20
    with Image.open(run.path / "plots/augmented.png") as picture:
        assert picture.width > 800


def test_nothing_is_drawn_where_nothing_is_augmented(photos: Path, bunryu: Command, here: Path) -> None:
    run = package.train(photos, *TINY, "train.epochs=1", out=here / "run", quiet=True)
    assert not (run.path / "plots/augmented.png").exists()
    ended = bunryu("train", "photos", *PAIRS, OPS, "--dry-run")
    assert ended.code == 0, ended.err
    assert not (here / "runs").exists()


@pytest.mark.pictures
def test_the_grid_shows_the_batch_that_training_gets(photos: Path, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pictures are those of the loop's own first batch, mixed as there."""
    drawn: list[tuple[list[np.ndarray], list[str]]] = []
    monkeypatch.setattr(preview, "plot_examples", lambda images, titles, *_, **__: drawn.append((images, titles)))
    learned: list[torch.Tensor] = []

    def logits(self: feeding.Pictures, x: torch.Tensor) -> torch.Tensor:
        learned.append(x.clone())
        return original(self, x)

    original = feeding.Pictures.logits
    monkeypatch.setattr(feeding.Pictures, "logits", logits)
    pairs = (OPS, "mix.name=cutmix", "train.epochs=1", "data.balance_to=12")
    stages = "train.stages=[{name: solved, freeze: backbone, views: 0, solve: true}, {name: all}]"
    package.train(photos, *PAIRS, *pairs, stages, out=here / "run", quiet=True)
    (images, titles), first = drawn[0], learned[0]
    assert np.array_equal(np.stack(images), first.numpy())
    assert len(titles) == 8
    assert any("강아지" in title for title in titles)


def test_captions() -> None:
    names = ["가", "b", "c"]
    assert preview.caption(torch.tensor(1), names) == "b"
    assert preview.caption(torch.tensor([0.3, 0.0, 0.7]), names) == "c 0.70\n가 0.30"
    assert preview.caption(torch.tensor([0.0, 1.0, 0.0]), names) == "b"


def test_a_balance_without_effect_is_refused(photos: Path, bunryu: Command) -> None:
    told = refused(bunryu("train", "photos", *PAIRS, "data.balance_to=5", "--dry-run"))
    assert told.startswith(
        "data.balance_to=5 adds nothing: every class has so many training rows (the fewest has b: 5)"
    )


def test_center_crop_is_sealed_and_used_alike(photos: Path, here: Path) -> None:
    run = package.train(photos, *TINY, "input.center_crop=8x12", "train.epochs=1", out=here / "run", quiet=True)
    assert run.model.sealed.input.center_crop == (8, 12)
    with Image.open(next((photos / "b").glob("*.png"))) as picture:
        whole = np.asarray(picture)
    dark = whole.copy()
    dark[:4], dark[12:], dark[:, :2], dark[:, 14:] = 0, 0, 0, 0
    assert (run.model.probabilities([whole]) == run.model.probabilities([dark])).all()
    dark[4:12, 2:14] = 0
    assert (run.model.probabilities([whole]) != run.model.probabilities([dark])).any()
