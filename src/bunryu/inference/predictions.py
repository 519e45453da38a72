"""A table of predictions: what evaluate measures and predict writes."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from bunryu.core.csv_text import BYTE_ORDER_MARK, csv_lines, unguard
from bunryu.core.errors import DataError, some

if TYPE_CHECKING:
    import pandas as pd

    from bunryu.models.record import Attribute

BATCH = 32
"""Pictures in one forward pass, everywhere, so that the same files give the same bits."""
Format = Literal["csv", "csv-excel", "tsv", "jsonl"]
"""How predictions are written. csv-excel is csv behind a byte-order mark, without which Excel garbles Hangul."""


@dataclass(frozen=True)
class Predictions:
    """Class probabilities of N images over K classes.

    Attributes:
        paths: N names, as the user gave them or relative to the data's root.
        classes: K class names, in the model's order.
        probs_NK: probabilities, float32, shape (N, K), rows summing to 1.
        true_N: index of the true class in `classes`, shape (N,); None where it is not known.
        groups: N group names, or None.
        more: further columns, at the end of the table: name -> N cells.
        attributes: the label columns that a class is made of, where they are several.
    """

    paths: list[str]
    classes: list[str]
    probs_NK: NDArray[np.float32]
    true_N: NDArray[np.int64] | None = None
    groups: list[str] | None = None
    more: dict[str, list[Any]] = field(default_factory=dict)
    attributes: Sequence[Attribute] = ()

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    @property
    def pred_N(self) -> NDArray[np.int64]:
        """Index of the most probable class of each image, shape (N,)."""
        return self.probs_NK.argmax(axis=1).astype(np.int64) if len(self) else np.zeros(0, np.int64)

    def of(self, attribute: Attribute) -> Predictions:
        """Return the predictions of one attribute: of each of its classes the sum over the classes that share it."""
        of_K = np.array(attribute.of)
        probs = [self.probs_NK[:, of_K == a].sum(axis=1, dtype=np.float64) for a in range(len(attribute.classes))]
        true_N = None if self.true_N is None else of_K[self.true_N]
        return Predictions(
            self.paths, list(attribute.classes), np.stack(probs, axis=1).astype(np.float32), true_N, self.groups
        )

    def header(self) -> list[str]:
        """Return the columns: path, true where known, pred, conf, those of each attribute, one p_CLASS each, `more`."""
        words = ("pred", "conf") if self.true_N is None else ("true", "pred", "conf")
        of_each = [f"{word}_{attribute.column}" for attribute in self.attributes for word in words]
        return ["path", *words, *of_each, *(f"p_{name}" for name in self.classes), *self.more]

    def rows(self) -> Iterator[list[Any]]:
        """Yield one list a row, in the order of `header`."""
        parts = [self.of(attribute) for attribute in self.attributes]
        for i, path in enumerate(self.paths):
            probs = [float(f"{value:.6g}") for value in self.probs_NK[i].tolist()]
            of_each = [cell for part in parts for cell in part._answer(i)]
            yield [path, *self._answer(i), *of_each, *probs, *(cells[i] for cells in self.more.values())]

    def _answer(self, row: int) -> list[Any]:
        """Return the truth where it is known, the answer, and its probability."""
        pred = int(self.probs_NK[row].argmax())
        true = [] if self.true_N is None else [self.classes[self.true_N[row]]]
        return [*true, self.classes[pred], float(f"{self.probs_NK[row, pred]:.6g}")]

    def lines(self, format: Format = "csv") -> Iterator[str]:
        """Yield the table line by line, ends of lines included: with a header, or as JSON lines."""
        header = self.header()
        if format == "jsonl":
            for row in self.rows():
                yield json.dumps(dict(zip(header, row, strict=True)), ensure_ascii=False) + "\n"
            return
        if format == "csv-excel":
            yield BYTE_ORDER_MARK
        yield from csv_lines(header, self.rows(), delimiter="\t" if format == "tsv" else ",")

    def frame(self) -> pd.DataFrame:
        """Return the table as a DataFrame with the columns of the CSV."""
        import pandas as pd

        data: dict[str, Any] = {"path": self.paths, **self._columns("")}
        for attribute in self.attributes:
            data |= self.of(attribute)._columns(f"_{attribute.column}")
        return pd.concat(
            [
                pd.DataFrame(data),
                pd.DataFrame(self.probs_NK, columns=[f"p_{name}" for name in self.classes]),
                pd.DataFrame(self.more),
            ],
            axis=1,
        )

    def _columns(self, ending: str) -> dict[str, Any]:
        """Return the truth where it is known, the answers and their probabilities, by the names of the columns."""
        names = np.array(self.classes, dtype=object)
        data: dict[str, Any] = {} if self.true_N is None else {f"true{ending}": names[self.true_N]}
        data[f"pred{ending}"] = names[self.pred_N]
        data[f"conf{ending}"] = self.probs_NK.max(axis=1) if len(self) else np.zeros(0, np.float32)
        return data


def read_predictions(file: Path, classes: list[str], attributes: Sequence[Attribute] = ()) -> Predictions:
    """Read predictions with a known truth, as `Predictions.lines` wrote them.

    Args:
        file: a CSV.
        classes: in the order wanted; that of the file may be another.
        attributes: what these classes are made of.

    Raises:
        DataError: the file is missing or damaged, or its classes are others.
    """
    cells = _cells(file)
    lost = [name for name in ("path", "true", *(f"p_{name}" for name in classes)) if name not in cells]
    index = {name: k for k, name in enumerate(classes)}
    true = [unguard(cell) for cell in cells.get("true", [])]
    if lost or set(true) - set(classes):
        told = f"no column {some(map(repr, lost))}" if lost else f"the class {(set(true) - set(classes)).pop()!r}"
        raise DataError(f"{file} does not hold predictions of the classes {some(classes)}: it has {told}.")
    return Predictions(
        paths=[unguard(cell) for cell in cells["path"]],
        classes=classes,
        probs_NK=np.array([cells[f"p_{name}"] for name in classes]).T.astype(np.float32),
        true_N=np.array([index[name] for name in true], np.int64),
        attributes=attributes,
    )


def _cells(file: Path) -> dict[str, list[str]]:
    """Return the columns of our own CSV as they were written: nothing is guessed, as class names may hold anything."""
    try:
        with file.open(encoding="utf-8", newline="") as stream:
            header, *rows = csv.reader(stream)
            return {name: [row[at] for row in rows] for at, name in enumerate(header)}
    except OSError as error:
        raise DataError(f"Cannot open the predictions {file}: {error.strerror}.") from None
    except (ValueError, IndexError, csv.Error):
        raise DataError(f"{file} is damaged: its rows are not those of a table of predictions.") from None
