"""How far two classifiers are apart on the same rows, and whether noise alone explains it: see `compare`."""

from __future__ import annotations

from dataclasses import dataclass, field

LEVEL = 0.05
"""Two-sided: a difference with a p below it is beyond noise."""
BETTER = LEVEL / 2
"""One-sided: what is better than chance, or worse than the rest, has a p below it (one in forty by chance)."""


@dataclass(frozen=True)
class Difference:
    """How much better one is than the other: `value`, and the ends of its 95 % interval, where that was measured."""

    value: float
    low: float | None
    high: float | None
    p: float | None = field(default=None, compare=False)
    """How often noise alone gives as much: of the paired test, adjusted (Holm) where it is one of several."""

    @property
    def clear(self) -> bool:
        """Return whether noise alone does not explain it: p is below 0.05, and the interval leaves zero out."""
        within = self.low is not None and self.high is not None and self.low <= 0 <= self.high
        return not within and (self.p is None or self.p < LEVEL)

    @property
    def noise(self) -> str:
        """Return that in words, with p."""
        words = "beyond noise" if self.clear else "within noise"
        return words if self.p is None else f"{words} (p {self.p:.2g})"

    def __str__(self) -> str:
        """Return ``+0.012 [-0.003, +0.027], within noise (p 0.12)``."""
        ends = "" if self.low is None or self.high is None else f" [{self.low:+.3f}, {self.high:+.3f}]"
        return f"{self.value:+.3f}{ends}, {self.noise}"
