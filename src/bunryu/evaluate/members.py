"""Models that predict together: does one of them drag the others down, and are all together worth it?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import some, typed
from bunryu.evaluate.compare import adjusted, macro_f1_difference
from bunryu.evaluate.difference import Difference
from bunryu.evaluate.metrics import averages, counts_of
from bunryu.inference.predictions import Predictions

_Answers = NDArray[np.int64]


class Verdict(NamedTuple):
    """What to know of an ensemble before it is used."""

    fact: str
    """Which member is the best, and how far all together are from it."""
    warnings: tuple[str, ...]
    use: tuple[Path, ...]
    """The members to use: all, unless some are better left out."""


def judge(
    paths: Sequence[Path], answers: Callable[[list[int]], _Answers], together: Predictions, *, resamples: int
) -> Verdict:
    """Compare the members of an ensemble on the rows that all were validated on, by the paired test of `compare`.

    Args:
        paths: where each member lies.
        answers: what some of the members, named by their numbers, answer together to the rows of `together`.
        together: what all do, with the truth.
        resamples: of the intervals; none when 0.
    """
    true_N, k = together.true_N, len(together.classes)
    assert true_N is not None
    every = list(range(len(paths)))

    def f1(pred_N: _Answers) -> float:
        return float(averages(*counts_of(pred_N, true_N, k))["macro_f1"])

    def apart(pred_N: _Answers, other_N: _Answers, of: int = 1) -> Difference:
        return macro_f1_difference(pred_N, other_N, true_N, k, groups=together.groups, resamples=resamples, of=of)

    own = [answers([m]) for m in every]
    best = max(every, key=lambda m: f1(own[m]))
    others = [m for m in every if m != best]
    pairs = len(every) * len(others) // 2  # which is the best was found on these rows
    behind = adjusted([apart(own[m], own[best], pairs) for m in others], pairs)
    worse = {m: one for m, one in zip(others, behind, strict=True) if one.clear and one.value < 0}
    (gain,) = adjusted([apart(together.pred_N, own[best], len(every))], len(every))
    fact = f"{paths[best]}, macro-F1 {f1(own[best]):.3f} alone; all together {gain}"
    warnings = [
        f"{paths[m]} is clearly worse than {paths[best]}: macro-F1 {f1(own[m]):.3f} against {f1(own[best]):.3f} "
        f"(p {one.p:.2g})."
        for m, one in worse.items()
    ]
    rest, use = [m for m in every if m not in worse], every
    if worse:
        kept, now = f1(answers(rest)), f1(together.pred_N)
        it = "it" if len(worse) == 1 else "these"
        if kept >= now:
            use, change = rest, f"is {kept:.3f} instead of {now:.3f}" if kept > now else f"stays {now:.3f}"
            warnings[-1] += f" Without {it} macro-F1 {change}: {_leave(paths, use)}"
        else:
            warnings[-1] += f" {it.capitalize()} can stay: without {it} macro-F1 is {kept:.3f}, with {it} {now:.3f}."
    elif gain.value <= 0:
        least = min(others, key=lambda m: f1(own[m]))
        left = [m for m in every if m != least]
        told = "clearly worse" if gain.clear and gain.value < 0 else "not better"
        better = len(left) > 1 and f1(answers(left)) > f1(own[best])
        use = left if better else [best]
        warnings.append(f"All together are {told} than {paths[best]} alone (macro-F1 {gain}): {_leave(paths, use)}")
    return Verdict(fact, tuple(warnings), tuple(paths[m] for m in use))


def _leave(paths: Sequence[Path], kept: list[int]) -> str:
    """Say what to use instead."""
    out = [str(path) for m, path in enumerate(paths) if m not in kept]
    if len(kept) == 1:
        return f"use {paths[kept[0]]} alone."
    return f"leave out {some(out)} (bunryu ensemble {' '.join(typed(paths[m]) for m in kept)} --out NEW)."
