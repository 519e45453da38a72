"""MixUp, CutMix and ReMix: two rows of a batch become one, and so do their labels."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bunryu.core.randomness import generator
from bunryu.settings.train import MixSettings

_Values = float | NDArray[np.float64]
_NODES, _PLACES = 128, 32
"""Over how many shares, and places along each side of the picture, the labels that ReMix moves are averaged."""


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
        counts_K: rows of each class that an epoch shows, for ReMix.
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
    (top, bottom), (left, right) = _side(cut, height, at_y), _side(cut, width, at_x)
    box = int(top), int(bottom), int(left), int(right)
    return box, float(1 - (bottom - top) * (right - left) / (height * width))


def _side(cut: _Values, length: int, at: _Values) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return where a side of a box begins and ends, which is that share of the length, around a place of it."""
    half, middle = (np.asarray(value * length).astype(np.int64) for value in (cut, at))
    half = half // 2
    return np.maximum(middle - half, 0), np.minimum(middle + half, length)


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


def label_counts(shown: Sequence[float], settings: MixSettings, size: tuple[int, int], apart: float) -> Sequence[float]:
    """Return how many labels of each class an epoch of mixed rows has, on average.

    MixUp and CutMix leave them as they are, since each row is as often the second of a pair as the first. ReMix gives
    the label of pairs to the rarer class: of pairs of class i and a class j that is kappa times rarer the share that
    `moved` says goes from i to j.

    Args:
        shown: rows of each class in an epoch.
        settings: how rows are mixed.
        size: height and width of the pictures, in pixels.
        apart: see `sampling.apart_in_batches`.
    """
    if not settings.remix:
        return shown
    count_K = np.asarray(shown, np.float64)
    share_K = count_K / count_K.sum()
    compared_K = count_K.astype(np.float32)  # as `mix` compares them, so that a ratio of just kappa is one in both
    order = np.argsort(compared_K, kind="stable")
    below_K = np.concatenate([[0.0], np.cumsum(share_K[order])])  # the share of the rarest 0, 1, ... classes
    rarer_K = below_K[np.searchsorted(settings.kappa * compared_K[order], compared_K, side="right")]
    oftener_K = 1 - below_K[np.searchsorted(compared_K[order], settings.kappa * compared_K, side="left")]
    change_K = settings.probability * apart * moved(settings, size) * (oftener_K - rarer_K)
    found: list[float] = (count_K * (1 + change_K)).tolist()
    return found


@cache
def moved(settings: MixSettings, size: tuple[int, int]) -> float:
    """Return how much of a label ReMix moves from the first to the second class of a pair that is so much rarer.

    The mean over the shares that are drawn, summed over the two orders of the pair.

    Args:
        settings: how rows are mixed.
        size: height and width of the pictures, in pixels.
    """
    cut = {"cutmix": 1.0, "both": settings.cutmix_share}.get(settings.name, 0.0)
    mixup = _beta_shares(settings.alpha, _NODES * _PLACES)
    found = 0.0
    for chance, shares in ((1 - cut, mixup), (cut, _cutmix_shares(settings, size))):
        share = torch.from_numpy(shares)
        often, rare = torch.full_like(share, 2 * settings.kappa), torch.ones_like(share)
        first = (share - remix_share(share, often, rare, settings.kappa, settings.tau)).mean()
        second = (remix_share(share, rare, often, settings.kappa, settings.tau) - share).mean()
        found += chance * float(first + second)
    return found


def _cutmix_shares(settings: MixSettings, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return shares of CutMix, each as likely as any other: what boxes, cut off at the border, leave."""
    cut_N11 = np.sqrt(1 - _beta_shares(settings.cutmix_alpha, _NODES))[:, None, None]
    at_P = (np.arange(_PLACES) + 0.5) / _PLACES
    top, bottom = _side(cut_N11, size[0], at_P[:, None])
    left, right = _side(cut_N11, size[1], at_P)
    return (1 - (bottom - top) * (right - left) / (size[0] * size[1])).reshape(-1)


def _beta_shares(alpha: float, n: int) -> NDArray[np.float64]:
    """Return the middles of n parts of Beta(alpha, alpha) that are equally likely."""
    from scipy.special import betaincinv

    shares: NDArray[np.float64] = betaincinv(alpha, alpha, (np.arange(n) + 0.5) / n)
    return shares
