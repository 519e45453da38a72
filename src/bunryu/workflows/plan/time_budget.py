"""`--minutes M`: a few timed steps, then a plan of epochs and sizes that fits, fixed before training begins.

Timing decides the plan and nothing else: the plan stands in config.yaml, so the run is repeated and resumed
exactly, whatever the machine does meanwhile.
"""

from __future__ import annotations

import copy
import dataclasses
import itertools
import math
import time
from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bunryu.core import console
from bunryu.core.errors import ConfigError, ModelError, count
from bunryu.inference.model import Model
from bunryu.inference.reading import BATCH
from bunryu.models.build import require_fit
from bunryu.models.classifier import Classifier
from bunryu.settings.config import Size
from bunryu.settings.stages import Stage, size_at
from bunryu.settings.validate import replaced
from bunryu.train.feed import Pictures, pictures
from bunryu.train.precision import bf16_is_open
from bunryu.train.sampling import epoch_counts
from bunryu.train.stages import epoch_batches
from bunryu.workflows.plan.plan import Plan

_SPARE = 0.92
"""Share of the time that is planned for: the clock of a busy machine varies."""
_FINISH = 6.0
"""Seconds for sealing, plots and the report, beside measuring."""
_CLEAR = 1.05
"""A precision replaces the rule's where it is so many times as fast."""
_MOST_EPOCHS = 40
_FEW_EPOCHS = 6
"""With so few, the time is filled by choosing a size for each; with more, they go through the sizes in equal shares."""
_SHARES = (0.72, 0.86, 1.0)
"""Sides of the small, the middle and the full pictures, such as 160, 192 and 224."""


@dataclass(frozen=True)
class Pace:
    """Seconds a picture takes, measured."""

    look: float
    """Through the backbone, without gradients."""
    learn: dict[Size, float]
    """Forward and backward, at each size."""


def paced(plan: Plan, minutes: float, began: float) -> Plan:
    """Return the plan with the epochs and sizes that fit into the time.

    Args:
        plan: the run, decided; `train.epochs` and `train.stages` of its settings are replaced.
        minutes: for everything, to the end of the report.
        began: when the time began, by `time.monotonic`.

    Raises:
        ConfigError: the time is too short for one look at every picture, or for one epoch from scratch; or settings
            that do not go with these stages.
    """
    pretrained = plan.settings.model.weights != "none"
    sizes = usable_sizes(plan)
    plan = quickest(plan, sizes[-1])
    pace = measure_pace(plan, sizes)
    n = {name: len(plan.table.split(name)) for name in ("train", "val", "test")}
    spent = time.monotonic() - began
    looks = n["val"] + n["test"] + (n["train"] + n["val"] if pretrained else 0)  # to measure, and for the probe
    labels = Counter(plan.table.target_labels[plan.table.split("train")])
    learned = sum(epoch_counts(list(labels.values()), plan.settings.train, plan.settings.data.balance_to))
    seconds = {size: pace.learn[size] * learned + pace.look * n["val"] for size in sizes}
    left = _SPARE * (60 * minutes - spent) - _FINISH - pace.look * looks
    least = 0.0 if pretrained else seconds[sizes[-1]]
    if left < least:
        need = math.ceil(minutes + (least - left) / _SPARE / 60)
        what = "look at each" if pretrained else "epoch"
        raise ConfigError(
            f"--minutes {minutes:g} is too short: one {what} of the {sum(n.values()):,} pictures does not fit. "
            f"Give --minutes {need} or more, or a smaller input.size or model.name."
        )
    epochs, chosen = epochs_that_fit(left, seconds)
    stages = [Stage(name="head", freeze="backbone", views=0, solve=True, epochs=1)] if pretrained else []
    if epochs:
        freeze: Literal["none", "statistics"] = "statistics" if pretrained else "none"
        stages.append(Stage(name="all", freeze=freeze, epochs=epochs, sizes=chosen))
    told = " and ".join(
        (["the head solved on features"] if pretrained else [])
        + ([f"{count(epochs, 'epoch')} of everything at {', '.join(f'{h}x{w}' for h, w in chosen)}"] if epochs else [])
    )
    speed = f"{1 / pace.look:.0f} images/s looked at, {1 / pace.learn[sizes[-1]]:.0f} learned from at full size"
    planned = spent + _FINISH + pace.look * looks + _cost(chosen, epochs, seconds)
    total = sum(int(stage.epochs or 0) for stage in stages if not stage.solve)
    changes = {"train.epochs": max(total, 1), "train.stages": stages}
    settings = replaced(plan.settings, changes, origin=f"--minutes {minutes:g} ({told})")
    told = f"{minutes:g} min: {told}, in about {console.duration(planned)} ({speed})"
    return dataclasses.replace(plan, settings=settings, decisions=dataclasses.replace(plan.decisions, plan=told))


def quickest(plan: Plan, size: Size) -> Plan:
    """Return the plan in bf16 where that is clearly faster here, though the rule says fp32: of depthwise nets on a CPU.

    Whether it is differs by net and CPU; with a time to keep, timing decides more than this anyway.
    """
    if plan.settings.train.precision != "auto" or not bf16_is_open(plan.sealed.precision, plan.device, min(size)):
        return plan
    rival = dataclasses.replace(plan, sealed=replaced(plan.sealed, {"precision": "bf16"}))
    gain = measure_pace(plan, [size]).learn[size] / measure_pace(rival, [size]).learn[size]
    if gain < _CLEAR:
        return plan
    told = f"{plan.device}, bf16 (timed: {gain:.1f} times as fast as fp32)"
    return dataclasses.replace(
        rival,
        settings=replaced(plan.settings, {"train.precision": "bf16"}),
        decisions=dataclasses.replace(plan.decisions, device=told),
    )


def usable_sizes(plan: Plan) -> list[Size]:
    """Return the sizes to train at, from small to full: multiples of 32 that the network takes."""
    full = (plan.sealed.input.height, plan.sealed.input.width)
    found: list[Size] = []
    for share in _SHARES[:-1]:
        size = (max(32, round(full[0] * share / 32) * 32), max(32, round(full[1] * share / 32) * 32))
        if size not in found and size != full and size[0] <= full[0] and size[1] <= full[1]:
            try:
                require_fit(plan.net, plan.sealed.architecture, size)
            except ModelError:  # a net for one size alone: it trains at that one
                return [full]
            found.append(size)
    return [*found, full]


def epochs_that_fit(left: float, seconds: dict[Size, float]) -> tuple[int, list[Size]]:
    """Return how many epochs fit into `left` seconds, and the sizes they go through in equal shares.

    As many epochs as fit; of few, each has its own size: never a smaller one after a larger, at least a third of them
    at the full size, and as many pixels as there is time for.

    Args:
        left: seconds.
        seconds: what an epoch takes at each size, from the smallest to the full one.
    """
    sizes = list(seconds)
    for epochs in range(_MOST_EPOCHS, 0, -1):
        fitting = [plan for plan in _size_plans(sizes, epochs) if _cost(plan, epochs, seconds) <= left]
        if fitting:
            return epochs, max(fitting, key=lambda plan: _cost(plan, epochs, seconds))
    return 0, []


def _size_plans(sizes: list[Size], epochs: int) -> list[list[Size]]:
    """Return the sequences of sizes that so many epochs may go through."""
    if epochs > _FEW_EPOCHS:
        return [sizes]
    full = -(-epochs // 3)
    return [
        [*growing, *[sizes[-1]] * full] for growing in itertools.combinations_with_replacement(sizes, epochs - full)
    ]


def _cost(plan: list[Size], epochs: int, seconds: dict[Size, float]) -> float:
    return sum(seconds[size_at(plan, epoch, epochs)] for epoch in range(epochs))


def measure_pace(plan: Plan, sizes: list[Size]) -> Pace:
    """Time a few batches of the run's own rows, on a copy of the network."""
    settings = plan.settings
    model = Model(copy.deepcopy(plan.net), plan.sealed, plan.device)
    feed = pictures(model, settings, plan.table, np.zeros(0, np.int64))
    rows = epoch_batches(plan.table.split("train"), 3 * BATCH, settings.train.seed, 0)[0]
    batches = epoch_batches(rows, settings.train.batch_size, settings.train.seed, 0)
    with console.working("timing a few steps", len(sizes) + 1) as task:
        model.infer(plan.table.file, rows[:BATCH])  # warms up
        begin = time.monotonic()
        model.infer(plan.table.file, rows)
        look = (time.monotonic() - begin) / len(rows)
        task.advance()
        learn = {}
        for size in sizes:
            learn[size] = _seconds_to_learn(feed, batches, size)
            task.advance()
    return Pace(look, learn)


def _seconds_to_learn(feed: Pictures, batches: list[NDArray[np.int64]], size: Size) -> float:
    """Return seconds a picture, forward and backward; the first batch warms up and does not count."""
    sized = dataclasses.replace(feed, input=replaced(feed.input, {"height": size[0], "width": size[1]}))
    net: Classifier = feed.model.net
    net.train()
    begin, rows = time.monotonic(), 0
    for number, (x, batch) in enumerate(sized.batches(batches, 0)):
        logits_BK = sized.logits(x)
        target_B = torch.zeros(len(batch), dtype=torch.int64, device=x.device)
        F.cross_entropy(logits_BK.float(), target_B).backward()  # type: ignore[no-untyped-call]
        net.zero_grad(set_to_none=True)
        if x.device.type == "cuda":
            torch.cuda.synchronize()
        if number == 0 and len(batches) > 1:
            begin = time.monotonic()
        else:
            rows += len(batch)
    return (time.monotonic() - begin) / max(rows, 1)
