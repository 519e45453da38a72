"""Group DRO: the loss of the group that does worst, Sagawa et al. 2020.

"Distributionally robust neural networks for group shifts", algorithm 1, with the group adjustment of its section 3.3;
as in the authors' code (LossComputer) a batch has the mean loss of each of its groups, and a group that it lacks has 0.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bunryu.data.table import Texts
from bunryu.settings.train import LossSettings


@dataclass(frozen=True)
class GroupDRO:
    """What group DRO knows of the rows; how the groups weigh is in `Progress.group_logs`.

    Attributes:
        of_N: row id -> index of its group, -1 of one without training rows.
        added_G: what is added to the loss of each group before it moves the weights, C / sqrt(n_g).
        eta: the step size of the weights.
    """

    of_N: NDArray[np.int64]
    added_G: list[float]
    eta: float

    @classmethod
    def of(cls, settings: LossSettings, groups_N: Texts | None, rows: NDArray[np.int64]) -> GroupDRO | None:
        """Return it for rows of such groups, of which `rows` are trained on; None where it is not wanted."""
        if groups_N is None:
            return None
        names, counts = np.unique(groups_N[rows].astype(str), return_counts=True)
        index = {str(name): g for g, name in enumerate(names)}
        of_N = np.array([index.get(str(name), -1) for name in groups_N], np.int64)
        added = [settings.group_dro_adjustment / math.sqrt(n) for n in counts.tolist()]
        return cls(of_N, added, settings.group_dro_eta)

    def robust(
        self, loss_B: torch.Tensor, rows: NDArray[np.int64], logs_G: list[float]
    ) -> tuple[torch.Tensor, list[float]]:
        """Return the loss of a batch, a number as its mean loss is, and the logarithms of the groups' weights after it.

        Args:
            loss_B: the loss of each row, shape (B,), finite.
            rows: their ids.
            logs_G: the logarithms of the weights before; empty at the start, where all are equal.
        """
        of_B = torch.from_numpy(self.of_N[rows]).to(loss_B.device)
        size = len(self.added_G)
        n_G = torch.bincount(of_B, minlength=size)
        mean_G = loss_B.new_zeros(size).index_add(0, of_B, loss_B) / n_G.clamp_min(1)
        before = logs_G or [0.0] * size
        means = mean_G.detach().tolist()
        grown = [log + self.eta * (m + a) for log, m, a in zip(before, means, self.added_G, strict=True)]
        logs_after = torch.tensor(grown, dtype=torch.float64).log_softmax(dim=0)
        weights_G = logs_after.exp().to(mean_G.dtype).to(mean_G.device)
        return (mean_G * weights_G).sum(), logs_after.tolist()
