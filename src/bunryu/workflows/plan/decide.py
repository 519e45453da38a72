"""Everything that is decided before the first step: data, split, classes, network, input, precision.

Nothing is written here, so that an error leaves no half-made run, and `--dry-run` can stop after it.
"""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import numpy as np
import torch

from bunryu.core import console, distributed
from bunryu.core.environment import versions
from bunryu.core.errors import ConfigError
from bunryu.data.augment.per_image import described, require_working
from bunryu.data.checks.check import Checked
from bunryu.data.dro_groups import dro_groups_told
from bunryu.data.images.pixel_cache import worth_keeping
from bunryu.data.table import Table
from bunryu.inference.device import choose_device
from bunryu.models.build import require_fit
from bunryu.models.initial import choose_architecture, network, new_head, require_head, told_of
from bunryu.models.record import Architecture, Sealed
from bunryu.models.weights import Loaded
from bunryu.settings.data import InputSpec
from bunryu.settings.model import without_library
from bunryu.settings.run import RunSettings, absolute, decode_spec, whole_stages
from bunryu.settings.validate import replaced
from bunryu.train.best_epoch import kept_told
from bunryu.train.epoch_table import learning_told
from bunryu.train.precision import choose_precision, set_threads
from bunryu.train.stages import require_trainable_batch, stages_told
from bunryu.train.tensorboard import require_tensorboard
from bunryu.workflows.plan.data import find_data, known_to_donor, read_data, require_one_run, say_poor_splits
from bunryu.workflows.plan.decisions import Decisions, Images, Network, Rows
from bunryu.workflows.plan.few import few_told
from bunryu.workflows.plan.heads import Heads, Positive, choose_heads, usual_decision
from bunryu.workflows.plan.input import choose_input, likely_input, middle_told
from bunryu.workflows.plan.plan import Plan
from bunryu.workflows.plan.requirements import balanced_told, require_measurable, require_unscaled, require_validation
from bunryu.workflows.plan.time_budget import paced
from bunryu.workflows.plan.values import choose_range


def make_plan(settings: RunSettings, frame: Any = None, read: tuple[Table, Checked] | None = None) -> Plan:
    """Decide everything. What is quickly told comes first: the data are listed, then the weights found,
    then the images checked.

    Args:
        settings: all settings.
        frame: a DataFrame instead of `settings.data.source`.
        read: the data, where they were read and divided already.

    Raises:
        BunryuError: whatever does not allow the run.
    """
    require_one_run(settings)
    device = choose_device(settings.train.device, mend="train.device=auto")
    augment = settings.augment.settled(settings.input.channels)
    require_working(augment, likely_input(settings))
    found = find_data(settings, frame) if read is None else read[0]
    architecture, donor = choose_architecture(settings)
    require_head(settings, architecture)
    net, loaded = network(settings, architecture, donor)
    table, checked = read_data(settings, found) if read is None else read
    settings, values = choose_range(settings, checked, table)
    heads = choose_heads(table, settings.evaluate.positive)
    classes = heads.answer.classes
    require_validation(settings, table)
    say_poor_splits(table)
    require_measurable(settings, table, heads)
    new_head(net, architecture, sum(len(head.classes) for head in heads.heads), settings)
    spec, how = choose_input(settings, architecture, donor, checked, table)
    for size in [(spec.height, spec.width), *(size for stage in settings.train.stages for size in stage.sizes or [])]:
        require_fit(net, architecture, size)
    require_working(augment, spec)
    precision, why = choose_precision(settings.train.precision, device, net, min(spec.height, spec.width))
    require_unscaled(settings, precision)
    sealed = Sealed(
        architecture=architecture,
        heads=heads.heads,
        joint=heads.joint,
        attributes=heads.attributes,
        decode=decode_spec(settings),
        input=spec,
        precision=precision,
        decision=usual_decision(heads),
        provenance=_provenance(settings, loaded),
    )
    megapixels = float((checked.widths.astype(np.int64) * checked.heights).mean()) / 1e6
    kept = worth_keeping(settings.data, megapixels, _looks(settings))
    settings = with_monitor(settings, heads)
    plan = Plan(
        _settled(settings, architecture, spec, kept, heads), checked, table, classes, net, sealed, device, Decisions()
    )
    decisions = dataclasses.replace(
        _decisions(plan, loaded, heads, settings.evaluate.positive),
        input=f"{middle_told(spec)}{spec.height}x{spec.width} {spec.channels}, {spec.fit}; {how}",
        values=values,
        device=f"{device}, {precision} ({why})",
        pixels=f"decoded once and kept (originals of {megapixels:.1f} MP on average)" if kept else None,
    )
    return dataclasses.replace(plan, decisions=decisions)


def _decisions(plan: Plan, loaded: Loaded, heads: Heads, asked: Positive) -> Decisions:
    """Return what was decided, but for the input, the device and the pixels; `asked` is evaluate.positive."""
    settings, table, labels = plan.settings, plan.table, plan.sealed.multi_label
    to, train = settings.data.balance_to, table.split("train")
    groups = None if table.dro_groups is None else f"training rows of each group: {dro_groups_told(table)}"
    return Decisions(
        model=Network(told_of(plan.sealed.architecture), sum(p.numel() for p in plan.net.parameters())),
        weights=loaded.told(),
        classes=None if labels else heads.classes_told(),
        labels=heads.classes_told() if labels else None,
        heads=heads.told(),
        positive=heads.positives_told(table, asked),
        images=Images.of(plan.checked),
        rows=Rows.of(table),
        recipe=settings.recipe,
        learning=learning_told(settings),
        few=few_told(settings, table),
        not_clean=known_to_donor(settings.model.weights, table) or None,
        balance=None if to is None else balanced_told(to, table.target_labels[train].tolist()),
        group_dro=groups,
    )


def _provenance(settings: RunSettings, loaded: Loaded) -> dict[str, Any]:
    """Return where a model comes from, for its record."""
    augmentation = described(settings.augment.settled(settings.input.channels))
    seed = settings.train.seed
    return {"versions": versions(), "weights": loaded.source, "seed": seed, "augmentation": augmentation}


def _looks(settings: RunSettings) -> int:
    """Return how often a run reads each training picture."""
    return sum(int(s.epochs or 0) if s.views is None else max(s.views, 1) for s in whole_stages(settings))


def with_monitor(settings: RunSettings, heads: Heads) -> RunSettings:
    """Return the settings with what train.monitor=auto is for these heads."""
    if settings.train.monitor != "auto":
        return settings
    return replaced(settings, {"train.monitor": "mean_macro_f1" if heads.attributes else "macro_f1"})


def _settled(
    settings: RunSettings, architecture: Architecture, spec: InputSpec, kept: bool, heads: Heads
) -> RunSettings:
    """Return the settings with what was chosen for the user, so that the run's record of them is whole."""
    name = architecture.name
    return replaced(
        settings,
        {
            "data.pixel_cache": "on" if kept else "off",
            "model.name": name,
            "model.weights": settings.model.weights or ("none" if without_library(name) else "imagenet"),
            "model.batch_norm": name == "scratch_cnn" and architecture.arguments.get("batch_norm", False),
            "input.size": (spec.height, spec.width),
            "input.crop_pct": spec.crop_pct if spec.fit == "crop" else None,
            "input.interpolation": spec.interpolation,
            "train.threads": torch.get_num_threads(),
            "evaluate.positive": heads.positives(),
        },
    )


def planned(settings: RunSettings, frame: Any, minutes: float | None, began: float | None) -> Plan:
    """Decide everything, and say it."""
    began = time.monotonic() if began is None else began
    settings = ready(settings)
    plan = make_plan(settings, frame)
    require_shareable(settings)
    if distributed.world() > 1:
        shared = f"{distributed.world()}, each with its part of every batch of {settings.train.batch_size}"
        plan = dataclasses.replace(plan, decisions=dataclasses.replace(plan.decisions, processes=shared))
    if minutes is not None:
        plan = paced(plan, minutes, began)
    return said(plan)


def require_shareable(settings: RunSettings) -> None:
    """Refuse several processes where a batch cannot be shared among them.

    Raises:
        ConfigError: naming the setting.
    """
    if distributed.world() > 1 and (settings.loss.name == "soft_f1" or settings.loss.group_dro):
        which = "group_dro" if settings.loss.group_dro else "name=soft_f1"
        raise ConfigError(f"loss.{which} is a figure of the whole batch, of which each process has a part.")


def ready(settings: RunSettings) -> RunSettings:
    """Return the settings with absolute paths; make torch ready for them."""
    require_tensorboard(settings.train)
    settings = absolute(settings)
    set_threads(settings.train)
    distributed.require_devices(choose_device(settings.train.device, mend="train.device=auto").type)
    return settings


def said(plan: Plan) -> Plan:
    """Say what was decided; return it with its stages among the decisions."""
    stages, net = whole_stages(plan.settings), plan.net
    decisions = dataclasses.replace(plan.decisions, stages=stages_told(stages, net), checkpoints=kept_told(stages, net))
    for name, text in decisions.told().items():
        console.say(f"{name}: {text}")
    for stage in stages:
        require_trainable_batch(net, stage, len(plan.table.split("train")), plan.settings.train.batch_size)
    return dataclasses.replace(plan, decisions=decisions)
