"""A table of predictions of labels that can hold together; `answers_of` makes the right table for a model."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from bunryu.data.multi_label import held_labels, joined_set
from bunryu.data.table import Texts
from bunryu.inference.predictions import Predictions

if TYPE_CHECKING:
    import pandas as pd

    from bunryu.models.record import Sealed

USUAL = 0.5
"""The threshold of a label that has none of its own."""


@dataclass(frozen=True)
class LabelPredictions(Predictions):
    """Probabilities of N images for L labels, each of which holds or not.

    Attributes:
        probs_NK: shape (N, L), each between 0 and 1.
        thresholds: of each label the least probability to hold with.
        held_NL: which labels do hold, bool (N, L); None where it is not known.
    """

    thresholds: Sequence[float] = ()
    held_NL: NDArray[np.bool_] | None = None

    @property
    def said_NL(self) -> NDArray[np.bool_]:
        """Which labels the model says hold, bool (N, L)."""
        return said(self.probs_NK, self.thresholds)

    @property
    def pred_N(self) -> NDArray[np.int64]:
        """Not defined: no image has one answer."""
        raise TypeError("labels that can hold together have no single answer: see said_NL")

    def header(self) -> list[str]:
        """Return the columns: path, true where known, pred (the labels that hold, joined by |), one p_LABEL each."""
        words = ["pred"] if self.held_NL is None else ["true", "pred"]
        return ["path", *words, *(f"p_{name}" for name in self.classes), *self.more]

    def rows(self) -> Iterator[list[Any]]:
        """Yield one list a row, in the order of `header`."""
        said_NL = self.said_NL
        for i, path in enumerate(self.paths):
            probs = [float(f"{value:.6g}") for value in self.probs_NK[i].tolist()]
            sets = [said_NL[i]] if self.held_NL is None else [self.held_NL[i], said_NL[i]]
            texts = [joined_set(self.classes, held) for held in sets]
            yield [path, *texts, *probs, *(cells[i] for cells in self.more.values())]

    def frame(self) -> pd.DataFrame:
        """Return the table as a DataFrame with the columns of the CSV."""
        import pandas as pd

        sets = {"pred": self.said_NL} if self.held_NL is None else {"true": self.held_NL, "pred": self.said_NL}
        texts = {word: [joined_set(self.classes, held) for held in rows] for word, rows in sets.items()}
        probs = pd.DataFrame(self.probs_NK, columns=[f"p_{name}" for name in self.classes])
        return pd.concat([pd.DataFrame({"path": self.paths, **texts}), probs, pd.DataFrame(self.more)], axis=1)


def said(probs_NL: NDArray[np.floating[Any]], thresholds: Sequence[float]) -> NDArray[np.bool_]:
    """Return which labels have their threshold's probability or more, bool (N, L)."""
    found: NDArray[np.bool_] = probs_NL.astype(np.float64) >= np.asarray(thresholds, np.float64)
    return found


def answers_of(
    sealed: Sealed,
    paths: list[str],
    probs: NDArray[np.float32],
    *,
    true: Texts | None = None,
    groups: list[str] | None = None,
    more: dict[str, list[Any]] | None = None,
) -> Predictions:
    """Return a model's probabilities as a table of predictions.

    Args:
        sealed: its record.
        paths: N names.
        probs: (N, K).
        true: the text of each row's target, where it is known.
        groups: N group names, or None.
        more: further columns.
    """
    classes, more = sealed.classes, more or {}
    if sealed.multi_label:
        thresholds = [sealed.decision.thresholds.get(name, USUAL) for name in classes]
        held_NL = None if true is None else held_labels(true, classes)
        return LabelPredictions(paths, classes, probs, groups=groups, more=more, thresholds=thresholds, held_NL=held_NL)
    index = {name: k for k, name in enumerate(classes)}
    true_N = None if true is None else np.array([index[name] for name in true], np.int64)
    return Predictions(paths, classes, probs, true_N, groups, more, sealed.attributes)
