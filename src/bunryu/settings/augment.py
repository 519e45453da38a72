"""Settings of the random changes of training pictures."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, model_validator

from bunryu.settings.augment_ops import TORCHVISION_ONLY, Ops, read_ops
from bunryu.settings.bounds import Positive
from bunryu.settings.config import Settings


class AugmentSettings(Settings):
    """Random changes of training pictures, drawn for each row and epoch. Nothing is random elsewhere."""

    preset: Literal["none", "light", "medium", "heavy", "trivial_augment", "rand_augment"] | None = None
    """A whole choice in place of the fields below (and of what the recipe says of them). none; light: crops and mirror
    images; medium, heavy: with turns, brightness, contrast, saturation, and more of each (heavy: hue and erasing too);
    trivial_augment (Mueller & Hutter 2021), rand_augment (Cubuk et al. 2020): after a crop and a mirror image."""
    ops: Annotated[Ops | None, BeforeValidator(read_ops)] = Field(
        None, json_schema_extra={"type": "list of NAME or {NAME: {PARAMETER: VALUE}} | null"}
    )
    """Operations in this order, in place of the fields below: `[hflip, {rotate: {degrees: 15}}]`. Names: see
    docs/training/augmentation.md; or classes of the backend. They run picture by picture in the threads that decode."""
    backend: Literal["torchvision", "albumentations"] = "torchvision"
    """What carries out augment.ops: torchvision's transforms.v2, or albumentations (pip install
    'bunryu[albumentations]')."""
    crop_scale: tuple[Positive, Positive] | None = (0.35, 1.0)
    """Random resized crop: smallest and largest share of the area; off when null."""
    crop_ratio: tuple[Positive, Positive] = (0.75, 1.3333)
    """Random resized crop: smallest and largest aspect (width over height, relative to the input's)."""
    hflip: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Probability of a mirror image."""
    vflip: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Probability of an upside-down image."""
    rotate: Annotated[float, Field(ge=0.0, le=180.0)] = 0.0
    """Largest rotation in degrees, either way; edges are filled with input.pad_colour."""
    brightness: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Brightness factor drawn from 1 - b to 1 + b."""
    contrast: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Contrast factor drawn from 1 - c to 1 + c."""
    saturation: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Saturation factor drawn from 1 - s to 1 + s (RGB)."""
    hue: Annotated[float, Field(ge=0.0, le=0.5)] = 0.0
    """Hue shift drawn from -h to h of a full turn (RGB)."""
    erase: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Probability of erasing a random rectangle (Zhong et al. 2020), filled with the mean colour."""
    erase_scale: tuple[Positive, Positive] = (0.02, 0.33)
    """Smallest and largest share of the area that erasing takes."""

    @model_validator(mode="before")
    @classmethod
    def _off_unless_given(cls, values: Any) -> Any:
        """With a preset or operations the fields are off, not at their defaults."""
        asked = isinstance(values, dict) and (values.get("ops") is not None or values.get("preset") is not None)
        return {**_FIELDS_OFF, **values} if asked else values

    @model_validator(mode="after")
    def _once(self) -> AugmentSettings:
        chosen = [name for name in ("preset", "ops") if getattr(self, name) is not None]
        if len(chosen) == 2:
            raise ValueError(f"augment.preset={self.preset} and augment.ops came both; give one")
        for name in type(self).model_fields if chosen else ():
            off = _FIELDS_OFF.get(name, type(self).model_fields[name].default)
            if name not in ("preset", "ops", "backend") and getattr(self, name) != off:
                raise ValueError(
                    f"augment.{chosen[0]} and augment.{name} came both, and augment.{chosen[0]} says all; leave one "
                    f"out (augment.{chosen[0]}=null, augment.{name}={'null' if off is None else off})"
                )
        if self.backend == "albumentations" and self.ops is None:
            raise ValueError("augment.backend=albumentations carries out augment.ops, and there are none; give them")
        theirs = [name for item in self.ops or [] for name in item if name in TORCHVISION_ONLY]
        if self.backend == "albumentations" and theirs:
            raise ValueError(
                f"augment.ops: {theirs[0]} is torchvision's; leave it out, or set augment.backend=torchvision"
            )
        return self

    def settled(self, channels: Literal["rgb", "grey"] = "rgb") -> AugmentSettings:
        """Return the same without a preset: with what it stands for. Grey pictures have no saturation and hue."""
        if self.preset is None:
            return self
        chosen = _PRESETS[self.preset]
        return AugmentSettings(
            **{name: value for name, value in chosen.items() if channels == "rgb" or name not in ("saturation", "hue")}
        )

    @model_validator(mode="after")
    def _ordered(self) -> AugmentSettings:
        for name in ("crop_scale", "crop_ratio", "erase_scale"):
            pair = getattr(self, name)
            if pair is not None and pair[0] > pair[1]:
                raise ValueError(f"augment.{name} is [smallest, largest], received {list(pair)}")
        for name in ("crop_scale", "erase_scale"):
            pair = getattr(self, name)
            if pair is not None and pair[1] > 1.0:
                raise ValueError(f"augment.{name} is a share of the area, at most 1, received {list(pair)}")
        return self


_FIELDS_OFF: dict[str, Any] = {"crop_scale": None, "hflip": 0.0}
"""Of the fields that are on unless they are switched off."""
_PRESETS: dict[str, dict[str, Any]] = {
    "none": _FIELDS_OFF,
    "light": {"crop_scale": (0.5, 1.0), "hflip": 0.5},
    "medium": {
        "crop_scale": (0.35, 1.0), "hflip": 0.5, "rotate": 10, "brightness": 0.2, "contrast": 0.2, "saturation": 0.2,
    },
    "heavy": {
        "crop_scale": (0.2, 1.0), "hflip": 0.5, "rotate": 20, "brightness": 0.4, "contrast": 0.4, "saturation": 0.4,
        "hue": 0.05, "erase": 0.25,
    },
    "trivial_augment": {"ops": ["random_resized_crop", "hflip", "trivial_augment"]},
    "rand_augment": {"ops": ["random_resized_crop", "hflip", "rand_augment"]},
}  # fmt: skip
NO_AUGMENT = AugmentSettings(**_FIELDS_OFF)
"""Pictures as validation sees them."""
