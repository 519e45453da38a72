"""Test-time augmentation: the views of a picture whose answers are averaged."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from bunryu.core.errors import ConfigError, nearest
from bunryu.settings.data import InputSpec
from bunryu.settings.validate import replaced

if TYPE_CHECKING:  # so that a wrong --tta is told before torch is imported
    import torch

TTA = ("hflip", "crops", "scales")
"""What can be asked for: mirror images, the four corners, and other sizes."""
SCALES = (0.9, 1.1)
_CROP = 0.875
"""The share of a side that a corner keeps, where the centre crop keeps all of it: 224 of 256."""


@dataclass(frozen=True)
class View:
    """One way to show a picture to the network.

    Attributes:
        input: how the picture is fitted.
        window: height and width of what is shown of it.
        top: where the window begins.
        left: likewise.
        mirrored: shown as its mirror image.
    """

    input: InputSpec
    window: tuple[int, int]
    top: int = 0
    left: int = 0
    mirrored: bool = False

    def of(self, x_BHWC: torch.Tensor) -> torch.Tensor:
        """Return what is shown of fitted pictures, uint8 (B, H, W, C)."""
        (height, width), top, left = self.window, self.top, self.left
        x_BHWC = x_BHWC[:, top : top + height, left : left + width]
        return x_BHWC.flip(2) if self.mirrored else x_BHWC


def views(input: InputSpec, tta: Sequence[str] = ()) -> list[View]:
    """Return the views that `tta` asks for; the first is the plain one.

    crops: the four corners besides the centre (Krizhevsky et al. 2012), from the picture with the margin that the
    centre crop cuts away, or where it cuts none away, from a larger one. scales: 0.9 and 1.1 times the input's size
    (Simonyan & Zisserman 2015). hflip: the mirror images of all of these.
    """
    size = (input.height, input.width)
    found = [View(input, size)]
    if "crops" in tta:
        keeps = input.crop_pct if input.crop_pct < 1 else _CROP
        wide = replaced(_sized(input, 1 / keeps), {"crop_pct": 1.0})
        down, right = wide.height - size[0], wide.width - size[1]
        found += [View(wide, size, top, left) for top in (0, down) for left in (0, right)]
    if "scales" in tta:
        found += [View(spec, (spec.height, spec.width)) for spec in (_sized(input, by) for by in SCALES)]
    if "hflip" in tta:
        found += [View(view.input, view.window, view.top, view.left, mirrored=True) for view in found]
    return found


def parse_tta(text: str | Sequence[str] | None) -> tuple[str, ...]:
    """Return what ``hflip,crops`` names, in the order of `TTA`.

    Raises:
        ConfigError: an unknown name.
    """
    names = text.split(",") if isinstance(text, str) else list(text or ())
    asked = [name.strip() for name in names]
    for name in asked:
        if name not in TTA:
            raise ConfigError(
                f"tta: expected one or several of {', '.join(TTA)}, as --tta hflip,crops; received {name!r}."
                f"{nearest(name, TTA)}"
            )
    return tuple(name for name in TTA if name in asked)


def _sized(input: InputSpec, by: float) -> InputSpec:
    return replaced(input, {"height": round(input.height * by), "width": round(input.width * by)})
