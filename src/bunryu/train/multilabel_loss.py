"""The loss of labels that can hold together: a sigmoid each, their mean a row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bunryu.settings.train import LossSettings
from bunryu.train.losses import Loss, class_weights, least_focal


@dataclass(frozen=True)
class LabelLoss(Loss):
    """Binary cross-entropy (or focal loss) of each label, the mean over the labels.

    A row's target stays one index, here of a set of labels; where two rows were mixed, it is how much each label holds.

    Attributes:
        held_JL: which labels each set has, 0 or 1, float32 (J, L).
        weights_2L: of each label's absence and presence; None where all are equal.
    """

    held_JL: torch.Tensor
    weights_2L: torch.Tensor | None

    @classmethod
    def of_sets(
        cls,
        settings: LossSettings,
        counts: Sequence[float],
        held_JL: NDArray[np.bool_],
        labels: Sequence[str],
        device: torch.device | str = "cpu",
    ) -> LabelLoss:
        """Prepare the loss for training rows with so many of each set of labels.

        Class weights are those of two classes, each label's absence and presence: balanced is n / (2 n_k).
        """
        counts_J = torch.tensor(counts, dtype=torch.float32, device=device)
        held = torch.tensor(held_JL, dtype=torch.float32, device=device)
        weights = None
        if settings.class_weights is not None:
            present = (counts_J @ held).round().long().tolist()
            rows = int(counts_J.sum())
            pairs = zip(labels, present, strict=True)
            found = [class_weights(settings, [rows - n, n], [f"not {name}", name]) for name, n in pairs]
            weights = torch.tensor(found, dtype=torch.float32, device=device).T
        return cls(settings, None, counts_J, held, weights)

    @property
    def size(self) -> int:
        """How many outputs it takes: one a label."""
        return self.held_JL.shape[1]

    @property
    def parts(self) -> int:
        """One of each label."""
        return self.size

    def uninformed(self) -> torch.Tensor:
        """Return the probability of each label that a model answers to a picture that says nothing, float64 (L,).

        That is the share of its presence in the loss of an epoch, weights and smoothing counted: one half under
        balanced weights.
        """
        share_L = (self.counts_K @ self.held_JL / self.counts_K.sum()).double()
        sides_2L = torch.stack([1 - share_L, share_L])
        if self.weights_2L is not None:
            sides_2L = sides_2L * self.weights_2L
        smoothing = self.settings.label_smoothing
        sides_2L = (1 - smoothing) * sides_2L / sides_2L.sum(dim=0) + smoothing / 2
        if self.settings.name == "focal":  # of two classes, as the softmax of z and 0 is the sigmoid of z
            sides_2L = torch.stack([least_focal(side_2, self.settings.gamma) for side_2 in sides_2L.T], dim=1)
        return sides_2L[1]

    def rows(self, logits_BL: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, shape (B,), float32.

        Args:
            logits_BL: shape (B, L), any float dtype; computed in float32.
            target: indices of sets (B,), or how much each label holds (B, L), 0 to 1.
        """
        share_BL = self.held_JL[target] if target.ndim == 1 else target.float()
        gamma = self.settings.gamma if self.settings.name == "focal" else 0.0
        losses_BL = label_losses(logits_BL.float(), share_BL, self.weights_2L, gamma, self.settings.label_smoothing)
        return losses_BL.mean(dim=1)

    def right(self, logits_BL: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return whether every label is answered right at 0.5, bool (B,): of a mixed row those with half or more."""
        held_BL = self.held_JL[target] if target.ndim == 1 else target
        return ((logits_BL >= 0) == (held_BL >= 0.5)).all(dim=1)


def label_losses(
    logits_BL: torch.Tensor,
    share_BL: torch.Tensor,
    weights_2L: torch.Tensor | None = None,
    gamma: float = 0.0,
    label_smoothing: float = 0.0,
) -> torch.Tensor:
    """Return the loss of each label, shape (B, L).

    Binary cross-entropy, and with gamma the focal loss of Lin et al. 2017 ("Focal loss for dense object detection",
    equation 4), -(1 - p_t)^gamma log p_t, p the sigmoid. A share between 0 and 1 counts for both sides by its parts.

    Args:
        logits_BL: float32.
        share_BL: how much each label holds, 0 to 1.
        weights_2L: of absence and presence.
        gamma: of the focal loss; 0 is cross-entropy.
        label_smoothing: share of each label's target, as it weighs, that is spread evenly over its two sides: so that
            smoothing does not undo what weights have made even.
    """
    yes_BL, no_BL = F.softplus(-logits_BL), F.softplus(logits_BL)
    if gamma:
        least = torch.finfo(logits_BL.dtype).eps  # at 0 a root has no gradient
        yes_BL = yes_BL * torch.sigmoid(-logits_BL).clamp_min(least) ** gamma
        no_BL = no_BL * torch.sigmoid(logits_BL).clamp_min(least) ** gamma
    held_BL, absent_BL = share_BL, 1 - share_BL
    if weights_2L is not None:
        held_BL, absent_BL = weights_2L[1] * held_BL, weights_2L[0] * absent_BL
    if label_smoothing:
        even_BL = label_smoothing / 2 * (held_BL + absent_BL)
        held_BL, absent_BL = (1 - label_smoothing) * held_BL + even_BL, (1 - label_smoothing) * absent_BL + even_BL
    return held_BL * yes_BL + absent_BL * no_BL
