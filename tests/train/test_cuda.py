"""What only a GPU can show; skipped where there is none."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

import bunryu
from bunryu.settings.stages import OptimSettings, Stage
from bunryu.train.optim import create_optimizer
from bunryu.train.prefetch import prefetched

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")


def batches(device: str) -> Iterator[tuple[torch.Tensor, int]]:
    for number in range(20):
        yield torch.full((64, 64, 64, 3), number, device=device), number


def test_on_the_cpu_no_batch_is_begun_before_it_is_asked_for() -> None:
    asked: list[int] = []

    def watched() -> Iterator[tuple[torch.Tensor, int]]:
        for x, number in batches("cpu"):
            asked.append(number)
            yield x, number

    for _, number in prefetched(watched(), torch.device("cpu")):
        assert asked == list(range(number + 1))


@needs_gpu
def test_prefetched_batches_are_the_batches() -> None:
    for x, number in prefetched(batches("cuda"), torch.device("cuda")):
        assert (x.float().sqrt().square().round() == number).all()
        del x


@needs_gpu
@pytest.mark.parametrize("name", ["adamw", "adam", "sgd"])
def test_the_optimiser_is_fused(name: str) -> None:
    from bunryu.models.build import build
    from bunryu.models.record import Architecture

    net = build(Architecture(name="scratch_cnn"), 2).cuda()
    made = create_optimizer(net, OptimSettings(name=name), Stage(name="all"))  # type: ignore[arg-type]
    assert made.defaults["fused"]


@needs_gpu
@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
def test_a_whole_run(precision: str, make_images: Callable[..., Path], tmp_path: Path) -> None:
    photos = make_images(tmp_path / "photos", {"a": 16, "b": 16})
    pairs = ("model.name=scratch_cnn", "input.size=32", "train.epochs=3", "train.device=cuda")
    run = bunryu.train(photos, *pairs, f"train.precision={precision}", out=tmp_path / "run", quiet=True)
    assert run.metrics["val"]["accuracy"] >= 0.5
