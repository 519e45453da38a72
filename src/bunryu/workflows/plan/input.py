"""What pictures become before the network sees them: chosen from the settings, the weights and the data."""

from __future__ import annotations

import numpy as np

from bunryu.core.errors import ConfigError
from bunryu.data.checks.check import Checked
from bunryu.data.images.statistics import mean_and_std, size_from_data
from bunryu.data.table import Table
from bunryu.models.build import IMAGENET_MEAN, IMAGENET_STD, Expected, expected_input
from bunryu.models.record import Architecture, Sealed
from bunryu.settings.data import InputSpec
from bunryu.settings.model import without_library
from bunryu.settings.run import RunSettings, decode_spec
from bunryu.settings.validate import replaced


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
            table,
            decode_spec(settings),
            spec,
            seed=settings.split.seed,
            workers=settings.data.workers,
            contents=checked.contents,
            cache_gb=settings.data.cache_gb,
        )
        how = "mean and std of the training rows"
    else:
        mean, std = (known.mean, known.std) if source == "weights" and known else (IMAGENET_MEAN, IMAGENET_STD)
        how = "mean and std of the weights" if source == "weights" else "mean and std of ImageNet"
    if wanted.channels == "grey" and len(mean) == 3:
        mean, std = [sum(mean) / 3], [sum(std) / 3]
    return replaced(spec, {"mean": list(mean), "std": list(std)}), how


def likely_input(settings: RunSettings) -> InputSpec:
    """Return an input to try the augmentation on before the data are read."""
    height, width = settings.input.size or (224, 224)
    channels = settings.input.channels
    return InputSpec(height=height, width=width, channels=channels, mean=[0.5] * 3, std=[0.5] * 3)


def _known_input(architecture: Architecture, donor: Sealed | None) -> Expected | None:
    if donor is not None:
        spec = donor.input
        return Expected((spec.height, spec.width), spec.crop_pct, spec.interpolation, spec.mean, spec.std)
    return None if without_library(architecture.name) else expected_input(architecture.name)


def middle_told(spec: InputSpec) -> str:
    """Say what part of each picture is looked at, where it is not all of it."""
    return "middle {}x{} of each picture, to ".format(*spec.center_crop) if spec.center_crop else ""
