"""Networks of our own, to be trained from scratch."""

from __future__ import annotations

from torch import nn


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
