"""A linear probe: a linear head on fixed features, solved to its optimum (Alain & Bengio 2016).

Convex, so there is no rate, no schedule and no seed: the answer depends on the features, the loss and the
weight decay alone. A few numbers of weight decay are tried on rows that are held out for that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bunryu.core import console
from bunryu.core.randomness import generator
from bunryu.data.splits.stratify import divide, number
from bunryu.models.classifier import Classifier
from bunryu.train.head_losses import HeadLosses
from bunryu.train.losses import Loss

WEIGHT_DECAYS = (3.0, 1.0, 0.3, 0.1, 0.01, 0.001)
"""Of one loss; see `Loss.parts`. Few rows of many features want the strong ones."""
_STEPS = 100
_JUDGE = 0.2
"""Share of the rows that chooses the weight decay."""


@dataclass(frozen=True)
class LinearHead:
    """logits = ((x - mean) / scale) weight^T + bias."""

    mean_F: torch.Tensor
    scale_F: torch.Tensor
    weight_KF: torch.Tensor
    bias_K: torch.Tensor
    decay: float = 0.0
    """The weight decay it was solved with, of one loss."""

    def linear(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Return weight (K, F) and bias (K,) of the same head on features that are not standardised."""
        weight_KF = self.weight_KF / self.scale_F
        return weight_KF, self.bias_K - weight_KF @ self.mean_F

    def logits(self, x_NF: torch.Tensor) -> torch.Tensor:
        """Return logits (N, K)."""
        return ((x_NF - self.mean_F) / self.scale_F) @ self.weight_KF.T + self.bias_K


def solve(
    x_NF: torch.Tensor,
    target_N: torch.Tensor,
    classes: int,
    loss: Loss,
    weight_decay: float,
    start: LinearHead | None = None,
    weights_N: torch.Tensor | None = None,
) -> LinearHead:
    """Return the head that minimises mean loss + weight_decay / 2 * |weight|^2 on standardised features.

    By L-BFGS with a strong-Wolfe line search (Nocedal & Wright, chapter 7). For cross-entropy this is the
    multinomial logistic regression of scikit-learn with C = 1 / (N weight_decay).

    Args:
        x_NF: features, float32 (N, F).
        target_N: class indices.
        classes: K.
        loss: which loss.
        weight_decay: of the weights, not of the bias.
        start: begin there (for a row of weight decays); at zero when None.
        weights_N: of the rows' losses; equal when None.
    """
    mean, scale = x_NF.mean(0), x_NF.std(0, correction=0)
    scale = torch.where(scale > 1e-5 * mean.abs(), scale, 1.0)  # a constant but for rounding says nothing
    z_NF = (x_NF - mean) / scale
    shape = (classes, x_NF.shape[1])
    weight = (torch.zeros(shape, device=x_NF.device) if start is None else start.weight_KF.clone()).requires_grad_()
    bias = (torch.zeros(classes, device=x_NF.device) if start is None else start.bias_K.clone()).requires_grad_()
    solver = torch.optim.LBFGS([weight, bias], max_iter=_STEPS, history_size=10, line_search_fn="strong_wolfe")

    def objective() -> torch.Tensor:
        solver.zero_grad()
        value = mean_loss(loss, z_NF @ weight.T + bias, target_N, weights_N) + weight_decay / 2 * weight.square().sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(objective)  # type: ignore[no-untyped-call]
    return LinearHead(mean, scale, weight.detach(), bias.detach())


def solve_best(
    x_NF: torch.Tensor,
    target_N: torch.Tensor,
    classes: int,
    loss: Loss,
    judge_N: torch.Tensor,
    weights_N: torch.Tensor | None = None,
) -> LinearHead:
    """Return the head on all rows, with the weight decay that does best on those of `judge_N` (a mask) unseen."""
    seen, judged = (None, None) if weights_N is None else (weights_N[~judge_N], weights_N[judge_N])
    scores: list[tuple[float, float]] = []
    head = None
    for decay in WEIGHT_DECAYS:
        head = solve(x_NF[~judge_N], target_N[~judge_N], classes, loss, decay / loss.parts, head, seen)
        score = mean_loss(loss, head.logits(x_NF[judge_N]), target_N[judge_N], judged)
        scores.append((float(score), decay))
    best = min(scores)[1]
    return replace(solve(x_NF, target_N, classes, loss, best / loss.parts, head, weights_N), decay=best)


def mean_loss(
    loss: Loss, logits_NK: torch.Tensor, target_N: torch.Tensor, weights_N: torch.Tensor | None
) -> torch.Tensor:
    """Return the mean of the rows' losses, each times its weight."""
    rows_N = loss.rows(logits_NK, target_N)
    return (rows_N if weights_N is None else rows_N * weights_N).mean()


def solve_into(
    net: Classifier,
    views_VNF: torch.Tensor,
    target_N: torch.Tensor,
    loss: HeadLosses,
    judge_N: torch.Tensor,
    weights_N: torch.Tensor | None = None,
) -> dict[str, float]:
    """Give the network the head (or heads) best on these features; return the sums of loss, correct and rows.

    Args:
        net: whose head is set.
        views_VNF: features of V views of N pictures.
        target_N: class indices.
        loss: which loss, for each head.
        judge_N: which rows choose the weight decay (`judges`), bool (N,).
        weights_N: of the rows' losses; equal when None.
    """
    views, n, _ = views_VNF.shape
    linear = cast(nn.Linear, net.head[-1])
    x_MF, judge_M = views_VNF.flatten(0, 1), judge_N.to(target_N.device).repeat(views)
    weights_M = None if weights_N is None else weights_N.repeat(views)
    heads = [
        solve_best(x_MF, part_M, size, own, judge_M, weights_M)
        for own, size, part_M in zip(loss.heads, loss.sizes(), loss.targets(target_N.repeat(views)), strict=True)
    ]
    with torch.no_grad():
        for parameter, values in zip(
            (linear.weight, linear.bias), zip(*(head.linear() for head in heads), strict=True), strict=True
        ):
            parameter.copy_(torch.cat(values))
        logits = torch.cat([head.logits(views_VNF[0]) for head in heads], dim=1)
        losses_N = loss.rows(logits, target_N) * (1.0 if weights_N is None else weights_N)
    correct = float(loss.right(logits, target_N).sum())
    for decay in sorted({head.decay for head in heads} & {max(WEIGHT_DECAYS), min(WEIGHT_DECAYS)}):
        end = "strongest" if decay == max(WEIGHT_DECAYS) else "weakest"
        console.say(f"the head was solved with weight decay {decay:g}, the {end} that was tried")
    return {"loss": float(losses_N.sum()), "correct": correct, "rows": float(n)}


def judges(kinds_N: NDArray[np.int64], seed: int, units_N: NDArray[np.int64] | None = None) -> torch.Tensor:
    """Return which rows choose the weight decay: about a fifth of each kind, and neither none nor all; bool (N,).

    Args:
        kinds_N: what is spread evenly: the class of each row, (N,), or its labels, (N, L).
        seed: names the draw.
        units_N: of each row; those of a unit (a person, copies of a picture) are all among them, or none is. Each row
            its own when None.
    """
    n = len(kinds_N)
    if units_N is None or len(np.unique(units_N)) < 2:  # one unit can only be divided
        units_N = np.arange(n)
    units_N = number(units_N)
    _, kinds_N = np.unique(kinds_N, axis=0, return_inverse=True)
    shares = np.array([1 - _JUDGE, _JUDGE])
    sides = divide(units_N, kinds_N.reshape(-1), shares, generator(seed, "judge"))
    missing = next((side for side in (0, 1) if not (sides.side == side).any()), None)
    if missing is not None:
        sides.put(int(np.argmin(sides.sizes)), missing)
    return torch.from_numpy(sides.side[units_N] == 1)


def out_of_fold(
    x_NF: torch.Tensor,
    target_N: NDArray[np.int64],
    fold_N: NDArray[np.int64],
    loss: HeadLosses,
) -> NDArray[np.float32]:
    """Return probabilities (N, K) of each row by a head that was solved without the row's fold.

    The weight decay of a fold is chosen by the loss on the next fold, after solving without both, so that no row
    has a say in what answers for it. Three folds at least. Of several heads: of each joint class, their product.
    """
    probs = np.ones((len(target_N), 1), np.float32)
    for own, truth_N in zip(loss.heads, loss.targets(torch.from_numpy(target_N).to(x_NF.device)), strict=True):
        part = _out_of_fold(x_NF, truth_N, fold_N, own)
        probs = (probs[:, :, None] * part[:, None, :]).reshape(len(probs), -1)
    return probs


def _out_of_fold(x_NF: torch.Tensor, truth: torch.Tensor, fold_N: NDArray[np.int64], loss: Loss) -> NDArray[np.float32]:
    classes = len(loss.counts_K)
    probs = np.zeros((len(truth), classes), np.float32)
    k = int(fold_N.max()) + 1
    for fold in range(k):
        rest = fold_N != fold
        judge = torch.from_numpy((fold_N == (fold + 1) % k)[rest])
        seen, unseen = torch.from_numpy(rest), torch.from_numpy(~rest)
        head = solve_best(x_NF[seen], truth[seen], classes, loss, judge)
        probs[~rest] = torch.softmax(head.logits(x_NF[unseen]), dim=1).cpu().numpy()
    return probs
