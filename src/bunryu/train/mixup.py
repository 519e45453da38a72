"""MixUp, CutMix and ReMix: two rows of a batch become one, and so do their labels."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F

from bunryu.core.randomness import generator
from bunryu.settings.train import MixSettings


def mix(
    x: torch.Tensor,
    target_B: torch.Tensor,
    counts_K: torch.Tensor,
    settings: MixSettings,
    seed: int,
    *key: int,
    held_KL: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Mix a batch with itself in another order, with the chance that the settings give.

    Args:
        x: uint8 pictures (B, H, W, C), or features (B, F).
        target_B: class indices.
        counts_K: training rows of each class, for ReMix.
        settings: what to mix, and how often.
        seed: the run's seed.
        key: names this batch, so that resuming draws the same.
        held_KL: of labels that can hold together, which of them (0 or 1) each index means.

    Returns:
        The batch, and its target: indices (B,) as they were where it is not mixed, else shares of the classes (B, K)
        (or of the labels, (B, L)).
    """
    draw = generator(seed, "mix", *key)
    chance, switch, uniform = draw.random(3)
    alone = settings.name == "none" or chance >= settings.probability
    if alone:
        return x, target_B
    cut = settings.name == "cutmix" or (settings.name == "both" and switch < settings.cutmix_share)
    alpha = settings.cutmix_alpha if cut else settings.alpha
    share = float(draw.beta(alpha, alpha))
    other_B = torch.from_numpy(draw.permutation(len(target_B))).to(x.device)
    if cut:
        box, share = cutmix_box(share, x.shape[1], x.shape[2], uniform, draw.random())
        x = paste(x, x[other_B], box)
    else:
        x = blend(x, x[other_B], share)
    share_B = torch.full((len(target_B),), share, device=x.device)
    if settings.remix:
        own, others = counts_K[target_B], counts_K[target_B[other_B]]
        share_B = remix_share(share_B, own, others, settings.kappa, settings.tau)
    one_hot = F.one_hot(target_B, len(counts_K)).float() if held_KL is None else held_KL[target_B]
    return x, share_B[:, None] * one_hot + (1 - share_B)[:, None] * one_hot[other_B]


def blend(x: torch.Tensor, other: torch.Tensor, share: float) -> torch.Tensor:
    """MixUp, Zhang et al. 2018 ("mixup: Beyond empirical risk minimization", equation 1): share x + (1 - share) other.

    Of features it is manifold mixup (Verma et al. 2019) at the last layer.
    """
    mixed = torch.lerp(other.float(), x.float(), share)
    return mixed.round_().to(x.dtype) if x.dtype == torch.uint8 else mixed


def cutmix_box(
    share: float, height: int, width: int, at_y: float, at_x: float
) -> tuple[tuple[int, int, int, int], float]:
    """Return the box (top, bottom, left, right) of CutMix, and the share of the picture that is left.

    Yun et al. 2019 ("CutMix: Regularization strategy to train strong classifiers", equation 2): its area is
    (1 - share) of the picture's, its centre uniform; where it is cut off by the border the share is computed anew.
    """
    cut = np.sqrt(1 - share)
    half_y, half_x = int(height * cut) // 2, int(width * cut) // 2
    y, x = int(at_y * height), int(at_x * width)
    top, bottom = max(y - half_y, 0), min(y + half_y, height)
    left, right = max(x - half_x, 0), min(x + half_x, width)
    return (top, bottom, left, right), 1 - (bottom - top) * (right - left) / (height * width)


def paste(x_BHWC: torch.Tensor, other_BHWC: torch.Tensor, box: tuple[int, int, int, int]) -> torch.Tensor:
    """Return the pictures with the box of the others in them."""
    top, bottom, left, right = box
    mixed = x_BHWC.clone()
    mixed[:, top:bottom, left:right] = other_BHWC[:, top:bottom, left:right]
    return mixed


def remix_share(
    share_B: torch.Tensor, own_B: torch.Tensor, other_B: torch.Tensor, kappa: float, tau: float
) -> torch.Tensor:
    """ReMix, Chou et al. 2020 ("Remix: Rebalanced mixup", equation 5): the label goes to the far rarer class.

    Args:
        share_B: the first picture's share.
        own_B: training rows of its class.
        other_B: training rows of the second picture's class.
        kappa: how many times rarer a class must be.
        tau: the least share, of the frequent picture's label, that survives.
    """
    share_B = torch.where((own_B >= kappa * other_B) & (share_B < tau), 0.0, share_B)
    return torch.where((own_B * kappa <= other_B) & (1 - share_B < tau), 1.0, share_B)
