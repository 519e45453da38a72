"""Networks of our own, to be trained from scratch."""

from __future__ import annotations

from collections.abc import Callable

from torch import nn


def scratch_net(name: str, channels: int, **arguments: bool) -> tuple[nn.Sequential, int]:
    """Return the backbone of that name, and its number of features."""
    makers: dict[str, Callable[..., tuple[nn.Sequential, int]]] = {
        "scratch_cnn": scratch_cnn,
        "base_cnn": base_cnn,
        "mlp": mlp,
    }
    return makers[name](channels, **arguments)


def base_cnn(channels: int) -> tuple[nn.Sequential, int]:
    """7x7 convolution with 32 channels, ReLU; 3x3 with 64, ReLU, 2x2 max-pool; 3x3 with 128, ReLU, max-pool,
    dropout 0.25; global average pool. A well-known baseline of competitions; the head is linear.

    Returns:
        The backbone, (B, channels, H, W) -> (B, 128), and its number of features, 128.
    """
    return nn.Sequential(
        nn.Conv2d(channels, 32, 7, padding=3),
        nn.ReLU(inplace=True),
        nn.Conv2d(32, 64, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Conv2d(64, 128, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2, ceil_mode=True),
        nn.Dropout(0.25),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
    ), 128


def mlp(channels: int) -> tuple[nn.Sequential, int]:
    """The picture averaged to 32x32 pixels, whatever its size; linear 512, ReLU, linear 128, ReLU.

    Returns:
        The backbone, (B, channels, H, W) -> (B, 128), and its number of features, 128.
    """
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(32),
        nn.Flatten(),
        nn.Linear(channels * 32 * 32, 512),
        nn.ReLU(inplace=True),
        nn.Linear(512, 128),
        nn.ReLU(inplace=True),
    ), 128


def scratch_cnn(channels: int, *, batch_norm: bool = False) -> tuple[nn.Sequential, int]:
    """Three blocks of 3x3 convolution, (BatchNorm,) ReLU and 2x2 max-pool with 32, 64 and 128 channels;
    global average pool; linear 128; ReLU.

    Returns:
        The backbone, (B, channels, H, W) -> (B, 128), and its number of features, 128.
    """
    layers: list[nn.Module] = []
    for width in (32, 64, 128):
        layers.append(nn.Conv2d(channels, width, 3, padding=1, bias=not batch_norm))
        if batch_norm:
            layers.append(nn.BatchNorm2d(width))
        layers += [nn.ReLU(inplace=True), nn.MaxPool2d(2, ceil_mode=True)]
        channels = width
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(128, 128), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers), 128
