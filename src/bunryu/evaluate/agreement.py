"""Whether answers agree with the truth at all: more often than the same answers dealt out blindly would."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from bunryu.evaluate.difference import BETTER
from bunryu.evaluate.figures import ClassMetrics, Metrics


@dataclass(frozen=True)
class Agreement:
    """How often the answers are right, how often the same answers dealt out blindly would be, and how surely more."""

    accuracy: float
    blind: float
    p: float
    """How often blind answers are right so often or oftener."""

    @property
    def better(self) -> bool:
        """Return whether chance alone does not explain it."""
        return self.p < BETTER


def agreement(metrics: Metrics) -> Agreement:
    """Compare the right answers with those of the same answers in another order.

    That is the test of Cohen's kappa being above 0 (Fleiss, Cohen & Everitt 1969, "Large sample standard errors of
    kappa and weighted kappa"), with the variance of a random order and a correction for continuity. Of rows in groups
    the variance is that of groups whose rows all agree, so that it is never too small.
    """
    right, blind, variance = _moments(metrics.per_class)
    n = metrics.n
    if metrics.groups is not None:
        variance *= n / metrics.groups
    if variance <= 0:  # one class alone is answered, or is the truth
        return Agreement(right / n, blind / n, 1.0)
    z = (right - 0.5 - blind) / math.sqrt(variance)
    return Agreement(right / n, blind / n, math.erfc(z / math.sqrt(2)) / 2)


def _moments(per_class: Mapping[str, ClassMetrics]) -> tuple[int, float, float]:
    """Return the right answers, and the mean and the variance of their number for answers in a random order."""
    rows = list(per_class.values())
    n = sum(row.support for row in rows)
    right = sum(round(row.recall * row.support) for row in rows)
    together = sum(row.support * row.predicted for row in rows)
    if n < 2:
        return right, together / max(n, 1), 0.0
    squares = sum(
        row.support * row.predicted * (n - row.support) * (n - row.predicted) - (row.support * row.predicted) ** 2
        for row in rows
    )
    return right, together / n, (squares + together**2) / (n * n * (n - 1))
