"""Everything that is decided before the first step: data, split, classes, network, input, precision.

Nothing is written here, so that an error leaves no half-made run, and `--dry-run` can stop after it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from bunryu import storage
from bunryu.data.checks import Checked
from bunryu.data.pipelines import described, require_working
from bunryu.data.pixels import worth_keeping
from bunryu.data.settings import InputSpec
from bunryu.data.statistics import mean_and_std, size_from_data
from bunryu.data.table import SPLITS, Table
from bunryu.errors import ConfigError, count, some
from bunryu.evaluate.metrics import positive_class
from bunryu.heads import Heads, choose_heads
from bunryu.inference import choose_device
from bunryu.models.build import IMAGENET_MEAN, IMAGENET_STD, Classifier, Expected, expected_input, require_fit
from bunryu.models.record import Architecture, Sealed
from bunryu.models.settings import without_library
from bunryu.models.start import choose_architecture, network, new_head, require_head, told_of
from bunryu.models.trust import split_name
from bunryu.preparing import decode_spec, find_data, read_data, require_one_run, say_poor_splits
from bunryu.run import versions
from bunryu.settings import RunSettings
from bunryu.train.device import choose_precision
from bunryu.train.heads import HeadLosses
from bunryu.train.settings import Stage, stage_epochs, with_average
from bunryu.train.stage_settings import with_given
from bunryu.train.stages import require_other_rows


@dataclass(frozen=True)
class Plan:
    """A run, decided.

    Attributes:
        settings: as the user gave them, paths made absolute, the network's name with its library.
        checked: what the check of the images found.
        table: the usable rows, every split decided.
        classes: in their one fixed order.
        net: the network on the CPU, its head new (or as the weights of a run had it).
        sealed: the record that the model will carry.
        device: where to train.
        facts: what was decided, for the echo and the report.
    """

    settings: RunSettings
    checked: Checked
    table: Table
    classes: list[str]
    net: Classifier
    sealed: Sealed
    device: torch.device
    facts: dict[str, str]


def make_plan(
    settings: RunSettings,
    frame: Any = None,
    root: Path | None = None,
    read: tuple[Table, Checked] | None = None,
) -> Plan:
    """Decide everything. What is quickly told comes first: the data are listed, then the weights found,
    then the images checked.

    Args:
        settings: all settings.
        frame: a DataFrame instead of `settings.data.source`.
        root: the folder that the data's paths are relative to; as the source says when None.
        read: the data, where they were read and divided already.

    Raises:
        BunryuError: whatever does not allow the run.
    """
    require_one_run(settings)
    device = choose_device(settings.train.device, mend="train.device=auto")
    augment = settings.augment.settled(settings.input.channels)
    require_working(augment, _likely_input(settings))
    found = find_data(settings, frame, root) if read is None else read[0]
    architecture, donor = choose_architecture(settings)
    require_head(settings, architecture)
    net, loaded = network(settings, architecture, donor)
    table, checked = read_data(settings, found) if read is None else read
    heads = choose_heads(table)
    classes = heads.answer.classes
    _require_validation(settings, table)
    say_poor_splits(table)
    _require_measurable(settings, table, heads)
    new_head(net, architecture, sum(len(head.classes) for head in heads.heads), settings)
    spec, how = choose_input(settings, architecture, donor, checked, table)
    for size in [(spec.height, spec.width), *(size for stage in settings.train.stages for size in stage.sizes or [])]:
        require_fit(net, architecture, size)
    require_working(augment, spec)
    precision, why = choose_precision(settings.train.precision, device, net, min(spec.height, spec.width))
    if precision == "fp16" and any(with_given(settings.optim, s.optim).sam_rho for s in settings.train.stages):
        raise ConfigError("optim.sam_rho does not go with train.precision=fp16, whose gradients are scaled. Use bf16.")
    sealed = Sealed(
        architecture=architecture,
        heads=heads.heads,
        joint=heads.joint,
        attributes=heads.attributes,
        decode=decode_spec(settings),
        input=spec,
        precision=precision,
        provenance={
            "versions": versions(),
            "weights": loaded.source,
            "seed": settings.train.seed,
            "augmentation": described(augment),
        },
    )
    facts = {
        "model": f"{told_of(architecture)}, {sum(p.numel() for p in net.parameters()):,} parameters",
        "weights": loaded.told(),
        **heads.facts(),
        "images": _used(checked),
        "rows": ", ".join(f"{name} {n:,}" for name in SPLITS if (n := len(table.split(name)))),
        "input": f"{_middle_told(spec)}{spec.height}x{spec.width} {spec.channels}, {spec.fit}; {how}",
        "device": f"{device}, {precision} ({why})",
        "recipe": settings.recipe,
    }
    if settings.data.balance_to is not None:
        facts["balance"] = _balanced_told(settings.data.balance_to, table.target_labels[table.split("train")].tolist())
    megapixels = float((checked.widths.astype(np.int64) * checked.heights).mean()) / 1e6
    kept = worth_keeping(settings.data, megapixels, _looks(settings))
    if kept:
        facts["pixels"] = f"decoded once and kept (originals of {megapixels:.1f} MP on average)"
    return Plan(_settled(settings, architecture, spec, kept), checked, table, classes, net, sealed, device, facts)


def _middle_told(spec: InputSpec) -> str:
    return "middle {}x{} of each picture, to ".format(*spec.center_crop) if spec.center_crop else ""


def _used(checked: Checked) -> str:
    """Say how many images are used, skipped, and there more than once."""
    skipped, copies = len(checked.skipped), len(checked.copies)
    parts = [f"{len(checked.table):,} used"]
    parts += [f"{skipped:,} skipped"] if skipped else []
    parts += [f"{count(copies, 'picture')} in several rows"] if copies else []
    return ", ".join(parts)


def _require_measurable(settings: RunSettings, table: Table, heads: Heads) -> None:
    """Refuse settings that name a class, or need two, before any time is spent on them."""
    classes = heads.answer.classes
    positive_class(settings.evaluate.positive, classes)
    counts = Counter(table.target_labels[table.split("train")])
    HeadLosses.prepare(settings.loss, [counts[name] for name in classes], heads.heads, heads.attributes)
    of_val = {head.column: Counter(table.labels[head.column][table.split("val")]) for head in heads.heads}
    rows = {name: of_val[head.column][name] for head in heads.heads for name in head.classes}
    require_other_rows(settings, settings.train.stages, rows)
    _require_copies(settings, {name: counts[name] for name in classes if counts[name]})
    monitor = settings.train.monitor
    if monitor.startswith(("roc_auc", "positive_")) and (
        len(classes) != 2 or len(set(table.target_labels[table.split("val")])) != 2
    ):
        raise ConfigError(f"train.monitor={monitor} needs two classes, both of them among the validation rows.")


def _require_copies(settings: RunSettings, counts: dict[str, int]) -> None:
    """Refuse a balance that adds nothing."""
    to, least = settings.data.balance_to, min(counts, key=lambda name: counts[name])
    if to is not None and counts[least] >= to:
        raise ConfigError(
            f"data.balance_to={to} adds nothing: every class has so many training rows (the fewest has {least}: "
            f"{counts[least]:,}). Give a larger number, or leave it out."
        )


def _balanced_told(to: int, labels: list[str]) -> str:
    """Say what copies are added to training rows of these classes."""
    counts = Counter(labels)
    short = sorted((name for name in counts if counts[name] < to), key=lambda name: (counts[name], name))
    told = some([f"{name} {counts[name]:,}" for name in short], 8)
    copies = sum(to - counts[name] for name in short)
    return f"{count(copies, 'copy', 'copies')} added in each epoch, to {to:,} rows a class ({told})"


def _looks(settings: RunSettings) -> int:
    """Return how often a run reads each training picture."""
    return sum(int(s.epochs or 0) if s.views is None else max(s.views, 1) for s in whole_stages(settings))


def _settled(settings: RunSettings, architecture: Architecture, spec: InputSpec, kept: bool) -> RunSettings:
    """Return the settings with what was chosen for the user, so that the run's record of them is whole."""
    model = {
        "name": architecture.name,
        "weights": settings.model.weights or ("none" if without_library(architecture.name) else "imagenet"),
        "batch_norm": architecture.name == "scratch_cnn" and architecture.arguments.get("batch_norm", False),
    }
    chosen = {
        "size": (spec.height, spec.width),
        "crop_pct": spec.crop_pct if spec.fit == "crop" else None,
        "interpolation": spec.interpolation,
    }
    return settings.model_copy(
        update={
            "data": settings.data.model_copy(update={"pixel_cache": "on" if kept else "off"}),
            "model": settings.model.model_copy(update=model),
            "input": settings.input.model_copy(update=chosen),
            "train": settings.train.model_copy(update={"threads": torch.get_num_threads()}),
        }
    )


def absolute(settings: RunSettings) -> RunSettings:
    """Return the settings with every path absolute, so that the run can be resumed from anywhere."""

    def there(path: str | None) -> str | None:
        return str(storage.absolute(path)) if path else path

    data = {name: there(getattr(settings.data, name)) for name in ("source", "train", "val", "test", "image_root")}
    weights = settings.model.weights
    model = {} if weights in (None, "none", "imagenet") else {"weights": there(weights)}
    if settings.model.file:
        path, name = split_name(settings.model.file)
        model["file"] = f"{there(str(path))}:{name}"
    return settings.model_copy(
        update={
            "data": settings.data.model_copy(update=data),
            "split": settings.split.model_copy(update={"file": there(settings.split.file)}),
            "model": settings.model.model_copy(update=model),
        }
    )


def choose_input(
    settings: RunSettings, architecture: Architecture, donor: Sealed | None, checked: Checked, table: Table
) -> tuple[InputSpec, str]:
    """Complete the input record from the settings, the weights and the data; return it, and how in words."""
    wanted = settings.input
    known = _known_input(architecture, donor)
    height, width = wanted.center_crop or (2**31 - 1, 2**31 - 1)
    sides = np.minimum(checked.widths, width), np.minimum(checked.heights, height)
    size = wanted.size or (known.size if known else size_from_data(*sides))
    crop = wanted.crop_pct or (known.crop_pct if known else 1.0)
    spec = InputSpec(
        height=size[0],
        width=size[1],
        channels=wanted.channels,
        center_crop=wanted.center_crop,
        fit=wanted.fit,
        crop_pct=crop if wanted.fit == "crop" else 1.0,
        pad_colour=wanted.pad_colour,
        interpolation=wanted.interpolation or (known.interpolation if known else "bilinear"),
        mean=wanted.mean or [0.0] * (3 if wanted.channels == "rgb" else 1),
        std=wanted.std or [1.0] * (3 if wanted.channels == "rgb" else 1),
    )
    if wanted.mean is not None:
        return spec, "mean and std as given"
    scratch = donor is None and (settings.model.weights == "none" or without_library(architecture.name))
    if architecture.own and donor is None and settings.model.weights not in (None, "none"):
        scratch = False
        if wanted.normalize in ("auto", "weights"):
            raise ConfigError(
                f"{settings.model.weights} does not say how its pictures were normalised. Say it: "
                "input.normalize=imagenet or train, or input.mean=[...] input.std=[...]"
            )
    source = wanted.normalize if wanted.normalize != "auto" else "train" if scratch else "weights"
    if source == "weights" and scratch:
        raise ConfigError("input.normalize=weights: there are no pretrained weights. Use train or imagenet.")
    if source == "train":
        mean, std = mean_and_std(
            table, decode_spec(settings), spec, seed=settings.split.seed, workers=settings.data.workers
        )
        how = "mean and std of the training rows"
    else:
        mean, std = (known.mean, known.std) if source == "weights" and known else (IMAGENET_MEAN, IMAGENET_STD)
        how = "mean and std of the weights" if source == "weights" else "mean and std of ImageNet"
    if wanted.channels == "grey" and len(mean) == 3:
        mean, std = [sum(mean) / 3], [sum(std) / 3]
    return spec.model_copy(update={"mean": list(mean), "std": list(std)}), how


def _likely_input(settings: RunSettings) -> InputSpec:
    """Return an input to try the augmentation on before the data are read."""
    height, width = settings.input.size or (224, 224)
    channels = settings.input.channels
    return InputSpec(height=height, width=width, channels=channels, mean=[0.5] * 3, std=[0.5] * 3)


def _known_input(architecture: Architecture, donor: Sealed | None) -> Expected | None:
    if donor is not None:
        spec = donor.input
        return Expected((spec.height, spec.width), spec.crop_pct, spec.interpolation, spec.mean, spec.std)
    return None if without_library(architecture.name) else expected_input(architecture.name)


def _require_validation(settings: RunSettings, table: Table) -> None:
    if len(table.split("val")) == 0 and not settings.train.monitor.startswith("train_"):
        raise ConfigError(
            f"There are no validation rows to compute train.monitor={settings.train.monitor} on. "
            "Set split.val above 0, give --val-dir, or use train.monitor=train_loss."
        )


def whole_stages(settings: RunSettings) -> list[Stage]:
    """Return the stages with whole numbers of epochs, and that of train.swa; those with none are left out."""
    pairs = zip(settings.train.stages, stage_epochs(settings.train), strict=True)
    stages = [stage.model_copy(update={"epochs": epochs}) for stage, epochs in pairs if epochs]
    return with_average(stages, settings.train)
