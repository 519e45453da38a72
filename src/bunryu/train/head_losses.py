"""What each head learns: its own loss, on its own part of the outputs. One head is the usual case.

A row's target stays one class index (or the shares of the classes): that of the joint class where there are several
heads, each of which learns what it means in its own column. So sampling, mixing and resuming know no heads.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from bunryu.core.errors import ConfigError
from bunryu.models.record import Attribute, Head
from bunryu.settings.train import LossSettings
from bunryu.train.losses import Loss
from bunryu.train.multilabel_loss import LabelLoss


@dataclass(frozen=True)
class HeadLosses:
    """The loss of every head, in the order of the outputs.

    Attributes:
        heads: a loss each, which knows the counts (and so weights and priors) of its own classes.
        of: for each of several heads, the class that each joint class means in it, shape (J,).
        counts_K: rows of each class that is answered that an epoch shows; its labels, which the losses count, are
            others where ReMix moves them.
    """

    heads: Sequence[Loss]
    of: Sequence[torch.Tensor]
    counts_K: torch.Tensor

    @classmethod
    def prepare(
        cls,
        settings: LossSettings,
        counts: Sequence[float],
        heads: Sequence[Head],
        attributes: Sequence[Attribute],
        device: torch.device | str = "cpu",
        held_JL: NDArray[np.bool_] | None = None,
        labels: Sequence[float] | None = None,
    ) -> HeadLosses:
        """Prepare the losses for epochs that show so many rows of each class answered (or set of labels, held_JL).

        With so many labels of each, where those are others than the rows'; see `mixup.label_counts`.

        Raises:
            ConfigError: see `losses.class_weights`; or weights by name for several heads.
        """
        if held_JL is not None:
            return cls.one(LabelLoss.of_sets(settings, counts, held_JL, heads[0].classes, device))
        labels = counts if labels is None else labels
        counts_J = torch.tensor(counts, dtype=torch.float32, device=device)
        if len(heads) == 1:
            return cls([Loss.of(settings, labels, heads[0].classes, device)], [], counts_J)
        if isinstance(settings.class_weights, dict):
            raise ConfigError(
                "loss.class_weights: weights by name are for one head; with model.heads=separate use balanced or "
                "effective, which count the classes of each head."
            )
        labels_J = torch.tensor(labels, dtype=torch.float32, device=device)
        of = [torch.tensor(attribute.of, device=device) for attribute in attributes]
        losses = []
        for of_J, head in zip(of, heads, strict=True):
            own = torch.zeros(len(head.classes), device=device).index_add(0, of_J, labels_J)
            losses.append(Loss.of(settings, own.tolist(), head.classes, device))
        return cls(losses, of, counts_J)

    @classmethod
    def one(cls, loss: Loss) -> HeadLosses:
        """Return a loss as that of the only head."""
        return cls([loss], [], loss.counts_K)

    def row_weights(self, target_N: torch.Tensor) -> torch.Tensor | None:
        """Return what training rows that come once each weigh, where an epoch shows some more often: (N,), mean 1.

        How often follows the class that is answered, so a row weighs the same for every head. None where all come once.

        Args:
            target_N: their class indices.
        """
        own_J = torch.bincount(target_N, minlength=len(self.counts_K)).to(self.counts_K.dtype)
        if torch.allclose(own_J, self.counts_K):
            return None
        return (self.counts_K / own_J.clamp_min(1) * (own_J.sum() / self.counts_K.sum()))[target_N]

    @property
    def held_JL(self) -> torch.Tensor | None:
        """Of labels that can hold together, which of them (0 or 1) each index means; else None."""
        only = self.heads[0]
        return only.held_JL if isinstance(only, LabelLoss) else None

    def sizes(self) -> list[int]:
        """Return the number of outputs of each head."""
        return [loss.size for loss in self.heads]

    def targets(self, target: torch.Tensor) -> Iterator[torch.Tensor]:
        """Yield what each head learns of class indices (B,) or shares (B, J): indices (B,) or shares (B, K)."""
        if len(self.heads) == 1:
            yield target
            return
        for of_J, size in zip(self.of, self.sizes(), strict=True):
            yield of_J[target] if target.ndim == 1 else target @ F.one_hot(of_J, size).to(target.dtype)

    def rows(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, shape (B,): the mean of the heads'. See `Loss.rows`."""
        parts = zip(self.heads, torch.split(logits, self.sizes(), dim=1), self.targets(target), strict=True)
        found = [loss.rows(logits_BK, part) for loss, logits_BK, part in parts]
        return found[0] if len(found) == 1 else torch.stack(found).mean(dim=0)

    def right(self, logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return whether every head answers right, bool (B,). Of a mixed row the label with the larger share counts."""
        if len(self.heads) == 1:
            return self.heads[0].right(logits, target)
        answer_B = target if target.ndim == 1 else target.argmax(dim=1)
        parts = zip(self.heads, torch.split(logits, self.sizes(), dim=1), self.targets(answer_B), strict=True)
        found = [loss.right(logits_BK, part) for loss, logits_BK, part in parts]
        return torch.stack(found).all(dim=0)
