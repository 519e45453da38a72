"""Losses. Each returns one value a row; the loop reduces."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from bunryu.errors import ConfigError, nearest, some
from bunryu.train.settings import LossSettings


def row_losses(
    settings: LossSettings, logits_BK: torch.Tensor, target_B: torch.Tensor, weights_K: torch.Tensor | None
) -> torch.Tensor:
    """Return the loss of each row, shape (B,), float32.

    Args:
        settings: which loss.
        logits_BK: shape (B, K), any float dtype; computed in float32.
        target_B: class indices, shape (B,).
        weights_K: class weights, shape (K,), or None.
    """
    match settings.name:
        case "cross_entropy":
            loss_B = cross_entropy(logits_BK.float(), target_B, settings.label_smoothing)
    return loss_B if weights_K is None else loss_B * weights_K[target_B]


def cross_entropy(logits_BK: torch.Tensor, target_B: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy, with label smoothing as Szegedy et al. 2016 ("Rethinking the Inception architecture")."""
    return F.cross_entropy(logits_BK, target_B, reduction="none", label_smoothing=label_smoothing)


def class_weights(settings: LossSettings, counts: list[int], classes: list[str]) -> list[float] | None:
    """Return the weight of each class, scaled so that the mean weight of a training row is 1.

    Args:
        settings: balanced (n / (K n_k), as scikit-learn's), given numbers, or none.
        counts: training rows of each class.
        classes: class names.

    Raises:
        ConfigError: a weight for an unknown class, or a class without one.
    """
    given = settings.class_weights
    if given is None:
        return None
    if given == "balanced":
        weights = [1.0 / count for count in counts]
    else:
        unknown = [name for name in given if name not in classes]
        missing = [name for name in classes if name not in given]
        if unknown:
            raise ConfigError(
                f"loss.class_weights: there is no class {unknown[0]!r}.{nearest(unknown[0], classes)} "
                f"Classes: {some(classes, 12)}."
            )
        if missing:
            raise ConfigError(f"loss.class_weights: no weight for class {some(missing)}. Give one for each class.")
        weights = [given[name] for name in classes]
    mean = sum(w * n for w, n in zip(weights, counts, strict=True)) / sum(counts)
    return [weight / mean for weight in weights]
