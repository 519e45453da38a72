"""`bunryu bench`: what is timed, which way is called the fastest, and that its file trains next."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bunryu.workflows.bench import Benched, Timed

Command = Any


def way(precision: Any, threads: int, training: float) -> Timed:
    return Timed(precision, threads, step=training, training=training, looking=2 * training)


def fastest(*ways: Timed) -> Timed:
    return Benched(list(ways), "scratch", "scratch_cnn", None, "cpu").fastest


def test_the_rules_choice_stands_unless_another_is_clearly_faster() -> None:
    rule = way("fp32", 2, 100.0)
    assert fastest(rule, way("bf16", 2, 104.0)) is rule
    faster = way("bf16", 1, 110.0)
    assert fastest(rule, way("bf16", 2, 104.0), faster) is faster
    assert fastest(rule) is rule


@pytest.fixture
def photos(make_images: Any, here: Path) -> Path:
    return make_images(here / "photos", {"개": 12, "고양이": 12})


SMALL = ("model.name=scratch_cnn", "input.size=32", "train.batch_size=4", "train.device=cpu")


def test_one_way_is_timed_without_tune(bunryu: Command, photos: Path) -> None:
    ended = bunryu("bench", photos, *SMALL, "train.precision=fp32")
    assert ended.code == 0, ended.err
    head, row = ended.out.splitlines()
    assert head.split()[:2] == ["precision", "threads"]
    precision, threads, *rates = row.split()
    assert (precision, threads) == ("fp32", "1")
    assert all(float(rate) > 0 for rate in rates)
    assert sorted(path.name for path in Path().iterdir()) == ["photos"], "nothing is written"


def test_tune_writes_settings_that_train_next(bunryu: Command, photos: Path) -> None:
    ended = bunryu("bench", photos, *SMALL, "--tune")
    assert ended.code == 0, ended.err
    assert {line.split()[0] for line in ended.out.splitlines()[1:]} == {"bf16", "fp32"}
    assert f"next: bunryu train {photos} --recipe tuned.yaml" in ended.err
    again = bunryu("bench", photos, *SMALL, "--tune")
    assert again.code == 2
    assert "tuned.yaml is there already" in again.err
    run = bunryu("train", photos, "--recipe", "tuned.yaml", "train.epochs=1", "input.size=16", "--out", "run")
    assert run.code == 0, run.err
    told = (Path("tuned.yaml").read_text(encoding="utf-8"), Path("run/config.yaml").read_text(encoding="utf-8"))
    precision = next(word for word in ("bf16", "fp32") if f"precision: {word}" in told[0])
    assert f"precision: {precision}" in told[1]
