"""Losses. Each returns one value a row, of class indices or of mixed (soft) targets; the loop reduces."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from bunryu.core.errors import ConfigError, nearest, some
from bunryu.settings.train import LossSettings


@dataclass(frozen=True)
class Loss:
    """A loss with what it knows of the training rows.

    Attributes:
        settings: which loss.
        weights_K: the weight of each class, or None where all are equal.
        counts_K: labels of each class in an epoch, those of mixed rows by their shares: see `stages.losses_of_epochs`.
    """

    settings: LossSettings
    weights_K: torch.Tensor | None
    counts_K: torch.Tensor

    @classmethod
    def of(
        cls,
        settings: LossSettings,
        counts: Sequence[float],
        classes: Sequence[str],
        device: torch.device | str = "cpu",
    ) -> Loss:
        """Prepare a loss for epochs that show so many labels of each class.

        Raises:
            ConfigError: see `class_weights`.
        """
        weights = class_weights(settings, counts, classes)
        weights_K = None if weights is None else torch.tensor(weights, device=device)
        return cls(settings, weights_K, torch.tensor(counts, dtype=torch.float32, device=device))

    @property
    def size(self) -> int:
        """How many outputs it takes."""
        return len(self.counts_K)

    @property
    def parts(self) -> int:
        """Of how many losses a row's is the mean; a weight decay that is right for one is too strong by so much."""
        return 1

    @property
    def prior_K(self) -> torch.Tensor:
        """The share of each class in the loss of an epoch, float32 (K,): of the labels, each with its class weight."""
        seen_K = self.counts_K if self.weights_K is None else self.counts_K * self.weights_K
        return seen_K / seen_K.sum()

    def uninformed(self) -> torch.Tensor:
        """Return what a model that minimises this loss answers to a picture that says nothing, float64 (K,).

        That is what logit adjustment after training divides by. Of soft_f1 it is the share of the rows, as the sum of
        2 p q / (p + q) is greatest with p = q, where a batch has the classes as an epoch has them; batches that lack
        some answer those less, and group DRO moves all answers with the training: `decision.tau` is refused for both.
        """
        prior_K, smoothing = self.prior_K.double(), self.settings.label_smoothing
        if self.settings.name == "logit_adjusted":
            margins_K = self.settings.tau * prior_K.log()
            shares_K = (1 - smoothing) * prior_K + smoothing * margins_K.softmax(0)
            return (shares_K.log() - margins_K).softmax(0)
        shares_K = (1 - smoothing) * prior_K + smoothing / self.size
        return least_focal(shares_K, self.settings.gamma) if self.settings.name == "focal" else shares_K

    def right(self, logits_BK: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return whether the answer is right, bool (B,): of a mixed row (B, K) that with the larger share."""
        return logits_BK.argmax(dim=1) == (target if target.ndim == 1 else target.argmax(dim=1))

    def rows(self, logits_BK: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        """Return the loss of each row, shape (B,), float32.

        Args:
            logits_BK: shape (B, K), any float dtype; computed in float32.
            target: class indices (B,), or the share of each class (B, K), rows that sum to 1.
        """
        z_BK = logits_BK.float()
        smoothing = self.settings.label_smoothing
        weight_B, target = self._weighted(target)
        match self.settings.name:
            case "cross_entropy":
                loss_B = cross_entropy(z_BK, target, smoothing)
            case "focal":
                loss_B = focal(z_BK, target, self.settings.gamma, smoothing)
            case "logit_adjusted":
                # Menon et al. 2021, "Long-tail learning via logit adjustment", equation 10. With class weights by their
                # theorem 1, which asks for the weighed prior; else rare classes would be lifted twice. Smoothing goes
                # evenly over what is answered, without the margins: with them that is a share by the margins.
                margins_K = self.settings.tau * self.prior_K.log()
                if smoothing:
                    target_BK = smoothed(target, self.size, smoothing, margins_K.softmax(0))
                    loss_B = cross_entropy(z_BK + margins_K, target_BK)
                else:
                    loss_B = cross_entropy(z_BK + margins_K, target)
            case "soft_f1":
                loss_B = soft_f1(z_BK, target)
        return loss_B if weight_B is None else loss_B * weight_B

    def _weighted(self, target: torch.Tensor) -> tuple[torch.Tensor | None, torch.Tensor]:
        """Return what each row weighs (B,), and the share of each class in that.

        A mixed row is the sum of the rows that it was mixed from, each with its share and the weight of its class: so
        the classes have in an epoch of mixed rows what they have in one of plain rows.
        """
        if self.weights_K is None or target.ndim == 1:
            return (None if self.weights_K is None else self.weights_K[target]), target
        mass_BK = target.float() * self.weights_K
        weight_B = mass_BK.sum(dim=1)
        return weight_B, mass_BK / weight_B[:, None]


def cross_entropy(logits_BK: torch.Tensor, target: torch.Tensor, label_smoothing: float = 0.0) -> torch.Tensor:
    """Cross-entropy, with label smoothing as Szegedy et al. 2016 ("Rethinking the Inception architecture")."""
    target = target if target.ndim == 1 else target.to(logits_BK.dtype)
    return F.cross_entropy(logits_BK, target, reduction="none", label_smoothing=label_smoothing)


def focal(logits_BK: torch.Tensor, target: torch.Tensor, gamma: float, label_smoothing: float = 0.0) -> torch.Tensor:
    """Focal loss, Lin et al. 2017 ("Focal loss for dense object detection", equation 4): -(1 - p)^gamma log p.

    Over softmax probabilities. Of a soft target each class counts with its share; `class_weights` is its alpha, and
    with class_weights=effective it is the class-balanced focal loss of Cui et al. 2019.
    """
    log_p_BK = F.log_softmax(logits_BK, dim=1)
    wrong_BK = (-torch.expm1(log_p_BK)).clamp_min(torch.finfo(log_p_BK.dtype).eps)  # at 0 a root has no gradient
    losses_BK = -(wrong_BK**gamma) * log_p_BK
    if target.ndim == 1 and not label_smoothing:
        return losses_BK.gather(1, target[:, None])[:, 0]
    share_BK = smoothed(target, logits_BK.shape[1], label_smoothing).to(logits_BK.dtype)
    return torch.where(share_BK > 0, share_BK * losses_BK, 0.0).sum(dim=1)


def soft_f1(logits_BK: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - macro-F1 of the batch with probabilities for counts: the same value for each row, shape (B,).

    F1 of class k is 2 sum(p_k y_k) / (sum(p_k) + sum(y_k)); see Bénédict et al. 2022, "sigmoidF1" (section 3), for
    such surrogates. The mean is over the classes that the batch has: the F1 of the others is 0 whatever is done, but
    their probability lowers that of those.
    """
    p_BK, y_BK = logits_BK.softmax(dim=1), smoothed(target, logits_BK.shape[1], 0.0).to(logits_BK.dtype)
    true_K = y_BK.sum(dim=0)
    f1_K = 2 * (p_BK * y_BK).sum(dim=0) / (p_BK.sum(dim=0) + true_K).clamp_min(torch.finfo(p_BK.dtype).tiny)
    there_K = true_K > 0
    loss = 1 - torch.where(there_K, f1_K, 0.0).sum() / there_K.sum().clamp_min(1)
    return loss.expand(len(logits_BK))


def smoothed(
    target: torch.Tensor, classes: int, label_smoothing: float, towards_K: torch.Tensor | None = None
) -> torch.Tensor:
    """Return the share of each class, float32 (B, K), of indices (B,) or shares (B, K), smoothed.

    Towards equal shares, or towards those given.
    """
    share_BK = F.one_hot(target, classes).float() if target.ndim == 1 else target.float()
    even: torch.Tensor | float = 1 / classes if towards_K is None else towards_K
    return share_BK * (1 - label_smoothing) + label_smoothing * even


def least_focal(shares_K: torch.Tensor, gamma: float) -> torch.Tensor:
    """Return the probabilities (K,) with the least focal loss for a target of these shares: not the shares themselves.

    The loss is convex in them (where gamma is 0 or at least 1), so what L-BFGS finds is the minimum.
    """
    logits_1K = shares_K.log()[None].clone().requires_grad_()
    solver = torch.optim.LBFGS(
        [logits_1K], max_iter=500, tolerance_grad=1e-10, tolerance_change=1e-14, line_search_fn="strong_wolfe"
    )

    def objective() -> torch.Tensor:
        solver.zero_grad()
        value = focal(logits_1K, shares_K[None], gamma).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    with torch.enable_grad():
        solver.step(objective)  # type: ignore[no-untyped-call]
    return logits_1K.detach()[0].softmax(0)


def class_weights(settings: LossSettings, counts: Sequence[float], classes: Sequence[str]) -> list[float] | None:
    """Return the weight of each class, scaled so that the mean weight of a row of an epoch is 1.

    Args:
        settings: balanced (n / (K n_k), as scikit-learn's); effective: (1 - beta) / (1 - beta^n_k), by the effective
            number of samples (Cui et al. 2019, "Class-balanced loss based on effective number of samples",
            equation 2); given numbers; or none.
        counts: labels of each class in an epoch.
        classes: class names.

    Raises:
        ConfigError: a weight for an unknown class, or a class without one.
    """
    given = settings.class_weights
    if given is None:
        return None
    if given == "balanced":
        weights = [1.0 / count for count in counts]
    elif given == "effective":
        weights = [(1 - settings.beta) / (1 - settings.beta**count) for count in counts]
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
