"""`bunryu bench`: how fast a run of these data and settings would be here, and what holds it back.

With ``--tune`` other precisions and thread counts are timed too, and the fastest are written down as a settings file.
They are used only when that file is named: no timing decides a run behind its owner's back.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bunryu.core import console
from bunryu.core.shown import shown_lines
from bunryu.core.storage import write_atomic
from bunryu.data.images.load import cores
from bunryu.inference.model import Model, forward
from bunryu.models.record import Precision
from bunryu.settings.fields import value_text
from bunryu.settings.run import RunSettings, absolute
from bunryu.settings.validate import replaced
from bunryu.train.feed import Pictures, pictures
from bunryu.train.precision import memory_advice
from bunryu.train.stages import epoch_batches
from bunryu.workflows.plan.decide import make_plan
from bunryu.workflows.plan.plan import Plan

_STEPS = 4
_CLEAR = 1.05
"""The rule's own choice stands unless another is faster by more than this."""


@dataclass(frozen=True)
class Timed:
    """One way to compute, and its images a second."""

    precision: Precision
    threads: int
    step: float
    """Forward and backward on a batch in memory: the limit."""
    training: float
    """The same from files, decoded and augmented on the way."""
    looking: float
    """Forward only, on a batch in memory."""

    def line(self) -> str:
        """Return a row of the table."""
        return (
            f"{self.precision:<9}  {self.threads:>7}  {self.step:>9.1f}  {self.training:>8.1f}  {self.looking:>7.1f}"
            f"   {self.training / self.step:.2f}"
        )


@dataclass(frozen=True)
class Benched:
    """What was timed: the ways to compute of one run on one machine.

    Attributes:
        ways: the run's own, which the rules choose, first.
        recipe: that the run is set up by.
        name: of the network.
        weights: that it begins with, as in the settings.
        device: that computed.
    """

    ways: list[Timed]
    recipe: str
    name: str
    weights: str | None
    device: str

    @property
    def fastest(self) -> Timed:
        """The way that trains fastest; the first, which is the rule's, unless another is clearly faster."""
        best = max(self.ways, key=lambda way: way.training)
        return best if best.training > _CLEAR * self.ways[0].training else self.ways[0]

    def write(self, path: Path) -> None:
        """Write the fastest way as a settings file."""
        best = self.fastest
        lines = [
            f"# Found by bunryu bench --tune for {self.name} on {self.device}, {cores()} cores: {best.training:.0f} "
            "images/s.",
            f"recipe: {self.recipe}",
            f"model: {{name: {self.name}, weights: {value_text(self.weights)}}}",
            f"train: {{precision: {best.precision}, threads: {best.threads}}}",
        ]
        write_atomic(path, "\n".join(lines) + "\n")

    def __repr__(self) -> str:
        """Return the table."""
        return shown_lines([HEADER, *(way.line() for way in self.ways)])


HEADER = "precision  threads  pure step  training  looking   training / pure step   (images/s)"


def bench(settings: RunSettings, *, frame: Any = None, tune: bool = False) -> Benched:
    """Time the run's own way to compute, first, and with `tune` the others of this device.

    Args:
        settings: of the run.
        frame: a DataFrame instead of `data.source`.
        tune: time the others too.

    Raises:
        BunryuError: whatever does not allow the run.
    """
    plan = make_plan(absolute(settings), frame)
    threads = torch.get_num_threads()
    ways: list[tuple[Precision, int]] = [(plan.sealed.precision, threads)]
    if tune:
        ways += [way for way in others(plan, threads) if way not in ways]
    found = []
    with console.working("timing", len(ways)) as task:
        for precision, count in ways:
            torch.set_num_threads(count)
            found.append(time_way(plan, precision, count))
            task.advance()
    torch.set_num_threads(threads)
    name, weights = plan.sealed.architecture.name, plan.settings.model.weights
    return Benched(found, plan.settings.recipe, name, weights, str(plan.device))


def others(plan: Plan, threads: int) -> list[tuple[Precision, int]]:
    """Return the precisions and thread counts worth a try on this device."""
    if plan.device.type == "cpu":
        counts = sorted({1, max(1, cores() // 2), threads})
        return [(precision, count) for precision in ("bf16", "fp32") for count in counts]
    return (
        [("bf16", threads), ("fp16", threads), ("fp32", threads)] if plan.device.type == "cuda" else [("fp32", threads)]
    )


def time_way(plan: Plan, precision: Precision, threads: int) -> Timed:
    """Time one way on a copy of the network, with the run's own rows."""
    model = Model(copy.deepcopy(plan.net), replaced(plan.sealed, {"precision": precision}), plan.device)
    feed = pictures(model, plan.settings, plan.table, np.zeros(0, np.int64))
    size = plan.settings.train.batch_size
    batches = epoch_batches(plan.table.split("train"), size, plan.settings.train.seed, 0)[: _STEPS + 1]
    with memory_advice(size):
        x, rows = next(iter(feed.batches(batches[:1], 0)))
        step = len(rows) / _median(lambda: learn(feed, x), model)
        begin, seen = time.perf_counter(), 0
        for number, (pixels, batch) in enumerate(feed.batches(batches, 0)):
            learn(feed, pixels)
            if number == 0:
                begin = _now(model)
            else:
                seen += len(batch)
        training = seen / max(_now(model) - begin, 1e-9) if seen else step
        model.net.eval()
        looking = len(rows) / _median(lambda: forward(model.net, x, model.sealed.input, precision), model)
    return Timed(precision, threads, step, training, looking)


def learn(feed: Pictures, x: torch.Tensor) -> None:
    """Go forward and backward once; which loss it is makes no difference to the time."""
    feed.model.net.train()
    feed.logits(x).float().logsumexp(1).mean().backward()  # type: ignore[no-untyped-call]
    feed.model.net.zero_grad(set_to_none=True)


def _now(model: Model) -> float:
    if model.device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def _median(action: Callable[[], object], model: Model) -> float:
    """Return the median seconds of `action`, after one that does not count."""
    action()
    seconds = []
    for _ in range(_STEPS):
        begin = _now(model)
        action()
        seconds.append(_now(model) - begin)
    return statistics.median(seconds)
