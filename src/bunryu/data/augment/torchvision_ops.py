"""augment.ops by torchvision's transforms.v2, each picture with draws of its own.

These transforms draw from torch's one global generator, which threads (and dropout, in the main thread) share. So
every draw is caught below Python's surface, where each operation of torch says whether it is random
(``Tag.nondeterministic_seeded``), and is given the picture's own generator instead. Nothing global is read or set;
the result is the one that ``torch.manual_seed(seed)`` before the transforms would give, in whatever thread they run.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.transforms import InterpolationMode, v2

from bunryu.core.errors import ConfigError, nearest, some
from bunryu.settings import augment_ops as ops
from bunryu.settings.augment_ops import Operation
from bunryu.settings.data import InputSpec

_LINEAR = InterpolationMode.BILINEAR


class own_draws(TorchDispatchMode):  # type: ignore[no-untyped-call]  # noqa: N801 - a context, used as one
    """Within the ``with``, every random operation of this thread draws from a generator of this seed."""

    def __init__(self, seed: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generator = torch.Generator().manual_seed(seed)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Carry out one operation of torch."""
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags or kwargs.get("generator") is not None:
            return func(*args, **kwargs)
        if all(argument.name != "generator" for argument in func._schema.arguments):
            name = func._overloadname
            overload = "generator" if name == "default" else f"{name}_generator"
            if overload not in func.overloadpacket.overloads():
                raise ConfigError(f"it draws by {func}, which takes no generator, so its draws would not repeat")
            func = getattr(func.overloadpacket, overload)
        return func(*args, **kwargs, generator=self._generator)


def transform(name: str, given: dict[str, Any], input: InputSpec, fill: list[int], mean: list[int]) -> Any:
    """Return one operation of augment.ops as a transform of (C, H, W) tensors.

    Args:
        name: one of ours, or a class of torchvision.transforms.v2.
        given: its parameters.
        input: the net's input; ours give its size where they cut.
        fill: the colour of what comes in from outside, a number a channel.
        mean: the mean colour, likewise.

    Raises:
        ConfigError: no such class, or parameters that it does not take.
    """
    if name not in ops.OPERATIONS:
        return _of_class(name, given)
    wanted = ops.operation(name, given)
    made = _ours(wanted, input, fill, mean)
    native = isinstance(wanted, (ops.HFlip, ops.VFlip, ops.Perspective, ops.RandomErasing, ops.Grayscale))
    return made if native or wanted.p == 1 else v2.RandomApply([made], p=wanted.p)


def _ours(wanted: Operation, input: InputSpec, fill: list[int], mean: list[int]) -> Any:
    size = (input.height, input.width)
    match wanted:
        case ops.HFlip(p=p):
            return v2.RandomHorizontalFlip(p)
        case ops.VFlip(p=p):
            return v2.RandomVerticalFlip(p)
        case ops.Rotate(degrees=degrees):
            return v2.RandomRotation(degrees, _LINEAR, fill=fill)
        case ops.Affine(degrees=degrees, translate=move, scale=scale, shear=shear):
            return v2.RandomAffine(degrees, (move, move), scale, shear or None, _LINEAR, fill)
        case ops.Perspective(p=p, distortion=distortion):
            return v2.RandomPerspective(distortion, p, _LINEAR, fill)
        case ops.RandomResizedCrop(scale=scale, ratio=ratio):
            return v2.RandomResizedCrop(size, scale, ratio, _LINEAR, antialias=True)
        case ops.RandomCrop(padding=padding):
            return v2.RandomCrop(size, padding or None, pad_if_needed=True, fill=fill)
        case ops.CenterCrop(size=middle):
            return v2.CenterCrop(middle)
        case ops.ColourJitter(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue):
            return v2.ColorJitter(brightness, contrast, saturation, hue)
        case ops.BrightnessContrast(brightness=brightness, contrast=contrast):
            return v2.ColorJitter(brightness, contrast)
        case ops.HSV(hue=hue, saturation=saturation, value=value):
            return ShiftHSV(hue, saturation, value)
        case ops.GaussianNoise(std=std):
            return v2.GaussianNoise(sigma=std)
        case ops.GaussianBlur(sigma=sigma):
            side = (min(size) - 1) // 2 * 2 + 1
            return v2.GaussianBlur(min(2 * round(3 * sigma[1]) + 1, side), sigma)
        case ops.RandomErasing(p=p, scale=scale, ratio=ratio):
            return v2.RandomErasing(p, scale, ratio, value=mean)
        case ops.Grayscale(p=p):
            return v2.RandomGrayscale(p)
        case ops.TrivialAugment():
            return v2.TrivialAugmentWide(interpolation=_LINEAR, fill=fill)
        case ops.RandAugment(operations=number, magnitude=magnitude):
            return v2.RandAugment(number, magnitude, interpolation=_LINEAR, fill=fill)
    raise AssertionError(f"{type(wanted).__name__} is not written for torchvision")


class ShiftHSV(v2.Transform):  # type: ignore[misc]
    """Shift hue (share of a turn), saturation and value (of 1), each drawn from -x to x."""

    def __init__(self, hue: float, saturation: float, value: float) -> None:
        super().__init__()
        self.most = torch.tensor([hue, saturation, value])

    def make_params(self, flat_inputs: list[Any]) -> dict[str, Any]:  # noqa: ARG002 - as v2 calls it
        """Draw the shifts."""
        return {"shift": (torch.rand(3) * 2 - 1) * self.most}

    def transform(self, inpt: torch.Tensor, params: dict[str, Any]) -> torch.Tensor:
        """Change a uint8 tensor (3, H, W)."""
        return shift_hsv(inpt, *params["shift"].tolist())


def shift_hsv(x_CHW: torch.Tensor, hue: float, saturation: float, value: float) -> torch.Tensor:
    """Return uint8 colours with hue, saturation and value shifted, in the HSV of Smith 1978."""
    x = x_CHW.float() / 255
    top, chroma = x.amax(0), x.amax(0) - x.amin(0)
    safe = chroma.clamp_min(1e-6)
    r, g, b = x
    sector = torch.where(top == r, (g - b) / safe, torch.where(top == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    s = (chroma / top.clamp_min(1e-6) + saturation).clamp(0, 1)
    v = (top + value).clamp(0, 1)
    k = (torch.tensor([5.0, 3.0, 1.0]).view(3, 1, 1) + sector + 6 * hue) % 6
    return ((v - v * s * torch.minimum(k, 4 - k).clamp(0, 1)) * 255).round().to(torch.uint8)


def _of_class(name: str, given: dict[str, Any]) -> Any:
    kinds = {key: kind for key, kind in vars(v2).items() if inspect.isclass(kind) and issubclass(kind, v2.Transform)}
    if name not in kinds:
        raise ConfigError(f"augment.ops: torchvision.transforms.v2 has no class {name!r}.{nearest(name, kinds)}")
    if isinstance(text := given.get("interpolation"), str):
        modes = [mode.value for mode in InterpolationMode]
        if text not in modes:
            raise ConfigError(f"augment.ops: {name}: interpolation is one of {some(modes, 9)}, received {text!r}")
        given = {**given, "interpolation": InterpolationMode(text)}
    return made_of(kinds[name], given)


def made_of(kind: Any, given: dict[str, Any]) -> Any:
    """Return a backend's class with its parameters.

    Raises:
        ConfigError: an unknown parameter (with the nearest), a missing one, or a wrong value.
    """
    takes = inspect.signature(kind.__init__).parameters
    known = [key for key in takes if key not in ("self", "args", "kwargs")]
    needed = [key for key in known if takes[key].default is inspect.Parameter.empty and key not in given]
    for key in given:
        if key not in known:
            told = some(known, 20) or "no parameters"
            raise ConfigError(
                f"augment.ops: {kind.__name__} has no parameter {key!r}.{nearest(key, known)} It takes: {told}."
            )
    if needed:
        raise ConfigError(
            f"augment.ops: {kind.__name__} needs {some(needed)}: {{{kind.__name__}: {{{needed[0]}: ...}}}}. "
            f"It takes: {some(known, 20)}."
        )
    try:
        return kind(**given)
    except Exception as error:  # whatever the library thinks of the values
        told = " ".join(str(error).split())[:300]
        raise ConfigError(f"augment.ops: {kind.__name__} does not take {given}: {told}") from None
