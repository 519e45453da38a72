"""Random augmentation of uint8 batches, on any device, from a table of per-row parameters.

`draw` makes the table (named randomness: a row's parameters depend on seed, epoch and row id alone);
`apply` is one definition of each operation for a whole batch. Order: geometry (crop, flip, rotation in
one resampling), brightness, contrast, saturation, hue, erasing.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bunryu.core.randomness import uniforms
from bunryu.settings.augment import AugmentSettings
from bunryu.settings.augment_ops import cuts
from bunryu.settings.data import InputSpec
from bunryu.settings.validate import replaced

Parameters = dict[str, NDArray[np.float32]]
_DRAWS = 16  # fixed, so that switching one operation on does not move another's draws


def canvas(input: InputSpec, augment: AugmentSettings) -> InputSpec:
    """Return how training pictures are fitted before augmentation.

    With a random resized crop (or an operation that cuts) they keep the margin that the centre crop of validation
    cuts away; without one they are exactly what validation sees.
    """
    if (augment.crop_scale is None and not cuts(augment.ops or [])) or input.fit != "crop":
        return input
    height, width = round(input.height / input.crop_pct), round(input.width / input.crop_pct)
    return replaced(input, {"height": height, "width": width, "crop_pct": 1.0})


def draw(augment: AugmentSettings, seed: int, epoch: int, rows: NDArray[np.int64]) -> Parameters:
    """Return the parameters of each row, arrays of shape (B,).

    Random resized crop as Szegedy et al. 2015 ("Going deeper with convolutions"): the area share is uniform,
    the aspect log-uniform; a side that would be longer than the picture is cut to it.
    """
    u = uniforms(seed, "augment", epoch, rows, _DRAWS)
    width = height = np.ones(len(rows))
    if augment.crop_scale is not None:
        area = _between(u[:, 0], *augment.crop_scale)
        ratio = np.exp(_between(u[:, 1], *(math.log(value) for value in augment.crop_ratio)))
        width, height = np.minimum(np.sqrt(area * ratio), 1), np.minimum(np.sqrt(area / ratio), 1)
    erased_area = _between(u[:, 12], *augment.erase_scale)
    erased_ratio = np.exp(_between(u[:, 13], math.log(0.3), math.log(3.3)))
    parameters = {
        "width": width,
        "height": height,
        "x": (1 - width) * u[:, 2] + width / 2,
        "y": (1 - height) * u[:, 3] + height / 2,
        "hflip": np.where(u[:, 4] < augment.hflip, -1, 1),
        "vflip": np.where(u[:, 5] < augment.vflip, -1, 1),
        "angle": np.radians(_between(u[:, 6], -augment.rotate, augment.rotate)),
        "brightness": _between(u[:, 7], 1 - augment.brightness, 1 + augment.brightness),
        "contrast": _between(u[:, 8], 1 - augment.contrast, 1 + augment.contrast),
        "saturation": _between(u[:, 9], 1 - augment.saturation, 1 + augment.saturation),
        "hue": _between(u[:, 10], -augment.hue, augment.hue),
        "erase": u[:, 11] < augment.erase,
        "erase_width": np.minimum(np.sqrt(erased_area * erased_ratio), 1),
        "erase_height": np.minimum(np.sqrt(erased_area / erased_ratio), 1),
        "erase_x": u[:, 14],
        "erase_y": u[:, 15],
    }
    return {name: values.astype(np.float32) for name, values in parameters.items()}


def apply(
    x_BHWC: torch.Tensor,
    parameters: Parameters,
    augment: AugmentSettings,
    input: InputSpec,
) -> torch.Tensor:
    """Augment a batch.

    Args:
        x_BHWC: uint8 pictures of the size of `canvas`.
        parameters: what `draw` gave for these rows.
        augment: which operations are on.
        input: the net's input, for the size, the padding colour and the mean colour.

    Returns:
        uint8, (B, input.height, input.width, C), on the same device.
    """
    p = {name: torch.from_numpy(values).to(x_BHWC.device) for name, values in parameters.items()}
    resamples = augment.crop_scale is not None or augment.rotate > 0
    if not resamples and not _colours(augment):
        return _flip(x_BHWC, p)
    x = x_BHWC.permute(0, 3, 1, 2).float()
    x = _geometry(x, p, augment, input) if resamples else _flip(x_BHWC, p).permute(0, 3, 1, 2).float()
    x = _colour(x, p, augment)
    if augment.erase:
        mean = torch.tensor(input.mean, device=x.device).view(1, -1, 1, 1) * 255
        x = torch.where(_erased(x, p), mean, x)
    return x.round_().clamp_(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()


def _between(u: NDArray[np.float64], low: float, high: float) -> NDArray[np.float64]:
    return low + (high - low) * u


def _colours(augment: AugmentSettings) -> bool:
    return bool(augment.brightness or augment.contrast or augment.saturation or augment.hue or augment.erase)


def _flip(x_BHWC: torch.Tensor, p: dict[str, torch.Tensor]) -> torch.Tensor:
    x = torch.where(p["hflip"].view(-1, 1, 1, 1) < 0, x_BHWC.flip(2), x_BHWC)
    return torch.where(p["vflip"].view(-1, 1, 1, 1) < 0, x.flip(1), x)


def _geometry(
    x_BCHW: torch.Tensor,
    p: dict[str, torch.Tensor],
    augment: AugmentSettings,
    input: InputSpec,
) -> torch.Tensor:
    """Crop, flip and rotate in one bilinear resampling."""
    aspect = input.width / input.height
    cos, sin = torch.cos(p["angle"]), torch.sin(p["angle"])
    across, down = p["width"] * p["hflip"], p["height"] * p["vflip"]
    theta = torch.stack(
        [
            torch.stack([across * cos, -across * sin / aspect, 2 * p["x"] - 1], dim=1),
            torch.stack([down * sin * aspect, down * cos, 2 * p["y"] - 1], dim=1),
        ],
        dim=1,
    )
    shape = [x_BCHW.shape[0], x_BCHW.shape[1], input.height, input.width]
    grid = F.affine_grid(theta, shape, align_corners=False)
    if augment.rotate == 0:
        return F.grid_sample(x_BCHW, grid, mode="bilinear", padding_mode="border", align_corners=False)
    fill = torch.tensor(_fill(input), device=x_BCHW.device, dtype=torch.float32).view(1, -1, 1, 1)
    return F.grid_sample(x_BCHW - fill, grid, mode="bilinear", padding_mode="zeros", align_corners=False) + fill


def _fill(input: InputSpec) -> list[float]:
    r, g, b = input.pad_colour
    return [r, g, b] if input.depth == 3 else [0.299 * r + 0.587 * g + 0.114 * b]


def _colour(x: torch.Tensor, p: dict[str, torch.Tensor], augment: AugmentSettings) -> torch.Tensor:
    """Brightness, contrast and saturation as torchvision defines them (blending), then hue."""

    def factor(name: str) -> torch.Tensor:
        return p[name].view(-1, 1, 1, 1)

    if augment.brightness:
        x = (x * factor("brightness")).clamp(0, 255)
    if augment.contrast:
        mean = _luma(x).mean(dim=(1, 2, 3), keepdim=True)
        x = torch.lerp(mean.expand_as(x), x, factor("contrast")).clamp(0, 255)
    if augment.saturation:
        x = torch.lerp(_luma(x).expand_as(x), x, factor("saturation")).clamp(0, 255)
    return _shift_hue(x, factor("hue")) if augment.hue else x


def _luma(x_BCHW: torch.Tensor) -> torch.Tensor:
    if x_BCHW.shape[1] == 1:
        return x_BCHW
    weights = torch.tensor([0.2989, 0.587, 0.114], device=x_BCHW.device).view(1, 3, 1, 1)
    return (x_BCHW * weights).sum(dim=1, keepdim=True)


def _shift_hue(x_BCHW: torch.Tensor, shift: torch.Tensor) -> torch.Tensor:
    """Turn the hue by `shift` of a full circle, through HSV; grey stays grey."""
    top, low = x_BCHW.amax(1, keepdim=True), x_BCHW.amin(1, keepdim=True)
    chroma = top - low
    r, g, b = x_BCHW[:, :1], x_BCHW[:, 1:2], x_BCHW[:, 2:]
    safe = chroma.clamp_min(1e-6)
    hue = torch.where(top == r, (g - b) / safe, torch.where(top == g, 2 + (b - r) / safe, 4 + (r - g) / safe))
    hue6 = (hue + 6 * shift) % 6
    offsets = torch.tensor([5.0, 3.0, 1.0], device=x_BCHW.device).view(1, 3, 1, 1)
    k = (offsets + hue6) % 6  # f(n) = V - V S max(0, min(k, 4 - k, 1))
    return top - chroma * torch.minimum(k, 4 - k).clamp(0, 1)


def _erased(x_BCHW: torch.Tensor, p: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return the mask, (B, 1, H, W), of each row's erased rectangle."""
    height, width = x_BCHW.shape[2:]
    rows = (torch.arange(height, device=x_BCHW.device) + 0.5).view(1, 1, -1, 1) / height
    columns = (torch.arange(width, device=x_BCHW.device) + 0.5).view(1, 1, 1, -1) / width

    def inside(at: torch.Tensor, start: torch.Tensor, length: torch.Tensor) -> torch.Tensor:
        begin = (start * (1 - length)).view(-1, 1, 1, 1)
        return (at >= begin) & (at < begin + length.view(-1, 1, 1, 1))

    chosen = p["erase"].view(-1, 1, 1, 1) > 0
    return chosen & inside(rows, p["erase_y"], p["erase_height"]) & inside(columns, p["erase_x"], p["erase_width"])
