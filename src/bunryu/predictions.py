"""A table of predictions: what evaluate measures and predict writes."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of N images over K classes.

    Attributes:
        paths: N names, as the user gave them or relative to the data's root.
        classes: K class names, in the model's order.
        probs_NK: probabilities, float32, shape (N, K), rows summing to 1.
        true_N: index of the true class in `classes`, shape (N,); None where it is not known.
        groups: N group names, or None.
    """

    paths: list[str]
    classes: list[str]
    probs_NK: NDArray[np.float32]
    true_N: NDArray[np.int64] | None = None
    groups: list[str] | None = None

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    @property
    def pred_N(self) -> NDArray[np.int64]:
        """Index of the most probable class of each image, shape (N,)."""
        return self.probs_NK.argmax(axis=1).astype(np.int64) if len(self) else np.zeros(0, np.int64)

    def header(self) -> list[str]:
        """Return the columns: path, true where known, pred, conf, one p_CLASS each."""
        true = [] if self.true_N is None else ["true"]
        return ["path", *true, "pred", "conf", *(f"p_{name}" for name in self.classes)]

    def rows(self) -> Iterator[list[Any]]:
        """Yield one list a row, in the order of `header`."""
        for i, (path, pred) in enumerate(zip(self.paths, self.pred_N, strict=True)):
            true = [] if self.true_N is None else [self.classes[self.true_N[i]]]
            probs = [float(f"{value:.6g}") for value in self.probs_NK[i].tolist()]
            yield [path, *true, self.classes[pred], probs[pred], *probs]

    def text(self, format: Literal["csv", "jsonl"] = "csv") -> str:
        """Return the whole table as CSV (with header) or JSON lines."""
        header = self.header()
        if format == "jsonl":
            return "".join(
                json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) + "\n" for row in self.rows()
            )
        buffer = io.StringIO()
        writer = csv.writer(buffer, lineterminator="\n")
        writer.writerow([guard(name) for name in header])
        writer.writerows([guard(cell) for cell in row] for row in self.rows())
        return buffer.getvalue()

    def frame(self) -> pd.DataFrame:
        """Return the table as a DataFrame with the columns of the CSV."""
        import pandas as pd

        data: dict[str, Any] = {"path": self.paths}
        names = np.array(self.classes, dtype=object)
        if self.true_N is not None:
            data["true"] = names[self.true_N]
        data["pred"] = names[self.pred_N]
        data["conf"] = self.probs_NK.max(axis=1) if len(self) else np.zeros(0, np.float32)
        return pd.concat(
            [pd.DataFrame(data), pd.DataFrame(self.probs_NK, columns=[f"p_{name}" for name in self.classes])],
            axis=1,
        )


def guard(cell: Any) -> Any:
    """Return `cell` so that a spreadsheet does not run it: text starting with = + - @ gets a quote in front."""
    if isinstance(cell, str) and cell[:1] in ("=", "+", "-", "@", "\t", "\r"):
        return "'" + cell
    return cell


def unguard(cell: str) -> str:
    """Take back what `guard` put in front."""
    return cell[1:] if len(cell) > 1 and cell[0] == "'" and cell[1] in "=+-@\t\r" else cell
