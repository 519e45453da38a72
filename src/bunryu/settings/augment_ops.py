"""The operations that augment.ops names, with their parameters: free of torch, so that mistakes are told at once.

Each is written for both backends, in `data/augment/torchvision_ops.py` and `albumentations_ops.py`. A name that begins
with a capital is a class of the backend, checked when it is made.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from bunryu.core.errors import nearest, some
from bunryu.settings.config import Settings, parse_size
from bunryu.settings.fields import as_it_looks

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Factor = Annotated[float, Field(ge=0.0, lt=1.0)]
Positive = Annotated[float, Field(gt=0.0)]
Shares = tuple[Annotated[float, Field(gt=0.0, le=1.0)], Annotated[float, Field(gt=0.0, le=1.0)]]
Interval = tuple[Positive, Positive]
Turn = Annotated[float, Field(ge=0.0, le=0.5)]


class Operation(Settings):
    """A random change of one picture."""

    p: Share = 1.0
    """The chance that it is done."""

    @model_validator(mode="after")
    def _ordered(self) -> Operation:
        for name, value in self:
            if isinstance(value, tuple) and name != "size" and value[0] > value[1]:
                raise ValueError(f"{name} is [smallest, largest], received {list(value)}")
        return self


class HFlip(Operation):
    """A mirror image."""

    p: Share = 0.5


class VFlip(Operation):
    """An upside-down image."""

    p: Share = 0.5


class Rotate(Operation):
    """A turn by up to so many degrees, either way; corners are filled with input.pad_colour."""

    degrees: Annotated[float, Field(gt=0.0, le=180.0)] = 15.0


class Affine(Operation):
    """A turn (degrees), a shift (share of the side), a change of size (factor) and a shear (degrees) at once."""

    degrees: Annotated[float, Field(ge=0.0, le=180.0)] = 10.0
    translate: Share = 0.1
    scale: Interval = (0.9, 1.1)
    shear: Annotated[float, Field(ge=0.0, lt=90.0)] = 0.0


class Perspective(Operation):
    """A look from the side: how far corners move, in half sides (torchvision) or as a deviation (albumentations)."""

    p: Share = 0.5
    distortion: Annotated[float, Field(gt=0.0, le=1.0)] = 0.2


class RandomResizedCrop(Operation):
    """A part of the picture, of so much of its area and such an aspect, brought to the input's size."""

    scale: Shares = (0.35, 1.0)
    ratio: Interval = (0.75, 1.3333)


class RandomCrop(Operation):
    """A part of the input's size, after so many pixels of padding on each side (in input.pad_colour)."""

    padding: Annotated[int, Field(ge=0)] = 4


class CenterCrop(Operation):
    """The middle, HEIGHTxWIDTH pixels, of training pictures alone; for validation and use too: input.center_crop."""

    size: Annotated[tuple[Annotated[int, Field(gt=0)], Annotated[int, Field(gt=0)]], BeforeValidator(parse_size)]


class ColourJitter(Operation):
    """Brightness, contrast and saturation by a factor from 1 - x to 1 + x, the hue by up to so much of a full turn."""

    brightness: Factor = 0.2
    contrast: Factor = 0.2
    saturation: Factor = 0.2
    hue: Turn = 0.0


class BrightnessContrast(Operation):
    """Brightness and contrast by a factor from 1 - x to 1 + x."""

    brightness: Factor = 0.2
    contrast: Factor = 0.2


class HSV(Operation):
    """Hue, saturation and value shifted by up to so much of their range, either way."""

    hue: Turn = 0.05
    saturation: Factor = 0.1
    value: Factor = 0.1


class GaussianNoise(Operation):
    """Normal noise on each channel of each pixel; the deviation is a share of the full range."""

    std: Annotated[float, Field(gt=0.0, le=1.0)] = 0.05


class GaussianBlur(Operation):
    """A blur whose deviation, in pixels, is drawn from this range."""

    sigma: Interval = (0.1, 2.0)


class RandomErasing(Operation):
    """A rectangle of so much of the area, and such an aspect, filled with the mean colour (Zhong et al. 2020)."""

    p: Share = 0.5
    scale: Shares = (0.02, 0.33)
    ratio: Interval = (0.3, 3.3)


class Grayscale(Operation):
    """No colours."""

    p: Share = 0.1


class TrivialAugment(Operation):
    """TrivialAugment Wide (Mueller & Hutter 2021): one operation at one strength, both drawn. torchvision's."""


class RandAugment(Operation):
    """RandAugment (Cubuk et al. 2020): so many operations at this strength of 30. torchvision's."""

    operations: Annotated[int, Field(ge=1)] = 2
    magnitude: Annotated[int, Field(ge=0, le=30)] = 9


OPERATIONS: dict[str, type[Operation]] = {
    "hflip": HFlip,
    "vflip": VFlip,
    "rotate": Rotate,
    "affine": Affine,
    "perspective": Perspective,
    "random_resized_crop": RandomResizedCrop,
    "random_crop": RandomCrop,
    "center_crop": CenterCrop,
    "colour_jitter": ColourJitter,
    "brightness_contrast": BrightnessContrast,
    "hsv": HSV,
    "gaussian_noise": GaussianNoise,
    "gaussian_blur": GaussianBlur,
    "random_erasing": RandomErasing,
    "grayscale": Grayscale,
    "trivial_augment": TrivialAugment,
    "rand_augment": RandAugment,
}
TORCHVISION_ONLY = ("trivial_augment", "rand_augment")
Ops = list[dict[str, dict[str, Any]]]


def read_ops(value: Any) -> Any:
    """Read ``[hflip, {rotate: {degrees: 15}}]`` as ``[{hflip: {}}, {rotate: {degrees: 15.0}}]``, checked.

    Raises:
        ValueError: an unknown name or parameter, or a wrong value, with the nearest right one.
    """
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not value:
        raise ValueError(f"expected a list, such as [hflip, {{rotate: {{degrees: 15}}}}]; received {value!r}")
    return [_read_op(item, number) for number, item in enumerate(value, 1)]


def _read_op(item: Any, number: int) -> dict[str, dict[str, Any]]:
    pair = {item: {}} if isinstance(item, str) else item
    if not isinstance(pair, Mapping) or len(pair) != 1:
        raise ValueError(f"operation {number}: expected NAME or {{NAME: {{PARAMETER: VALUE}}}}, received {item!r}")
    name, given = next(iter(pair.items()))
    given = {} if given is None else given
    if not isinstance(given, Mapping):
        raise ValueError(f"{name}: expected its parameters, {{PARAMETER: VALUE}}, received {given!r}")
    if name in OPERATIONS:
        return {name: operation(name, given).model_dump(mode="json")}
    if not name[:1].isupper():
        raise ValueError(
            f"there is no operation {name!r}.{nearest(name, OPERATIONS)} Known: {some(OPERATIONS, 20)}; "
            "or a class of the backend, such as RandomAffine"
        )
    return {name: {key: as_it_looks(found) for key, found in given.items()}}


def operation(name: str, given: Mapping[str, Any]) -> Operation:
    """Return one of our operations with its parameters.

    Raises:
        ValueError: as `read_ops`.
    """
    kind = OPERATIONS[name]
    for key in given:
        if key not in kind.model_fields:
            near = nearest(key, kind.model_fields)
            raise ValueError(f"{name} has no parameter {key!r}.{near} It takes: {some(kind.model_fields, 12)}")
    try:
        return kind.model_validate(dict(given))
    except ValidationError as error:
        from bunryu.settings.messages import explain

        raise ValueError(f"{name}: {' '.join(explain(kind, error.errors(), [])).rstrip('.')}") from None


def cuts(ops: Ops) -> bool:
    """Return whether an operation cuts the picture, and so wants the margin that validation's crop cuts away."""
    return any("crop" in name.lower() for item in ops for name in item)
