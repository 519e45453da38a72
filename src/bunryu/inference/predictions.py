"""A table of predictions: what evaluate measures and predict writes. Labels that can hold together have a sibling."""

from __future__ import annotations

import csv
import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from bunryu.core.csv_text import BYTE_ORDER_MARK, csv_lines, unguard
from bunryu.core.errors import DataError, some
from bunryu.core.storage import json_text

if TYPE_CHECKING:
    import pandas as pd

    from bunryu.models.record import Attribute

Format = Literal["csv", "csv-excel", "tsv", "jsonl"]
"""How predictions are written. csv-excel is csv behind a byte-order mark, without which Excel garbles Hangul."""


@dataclass(frozen=True)
class PredictionTable(ABC):
    """What a model says of N images, a row each: what every kind of answers can do.

    Attributes:
        paths: N names, as the user gave them or relative to the data's root.
        classes: K class (or label) names, in the model's order.
        probs_NK: the probability of each, float32, shape (N, K).
        groups: N group names, or None.
        more: further columns, at the end of the table: name -> N cells.
    """

    paths: list[str]
    classes: list[str]
    probs_NK: NDArray[np.float32]
    groups: list[str] | None = field(default=None, kw_only=True)
    more: dict[str, list[Any]] = field(default_factory=dict, kw_only=True)

    def __len__(self) -> int:
        """Return the number of images."""
        return len(self.paths)

    @abstractmethod
    def answer_header(self) -> list[str]:
        """Return the columns between path and the probabilities: the truth where it is known, and the answers."""

    @abstractmethod
    def answer_rows(self) -> Iterator[list[Any]]:
        """Yield their cells, a list a row."""

    @abstractmethod
    def answer_columns(self) -> dict[str, Any]:
        """Return the same by column, numbers as they are."""

    @abstractmethod
    def marks(self, row: int) -> list[str]:
        """Return what to write beside each class of one image, for people: nothing, or whether it holds."""

    @abstractmethod
    def mistakes(self) -> tuple[NDArray[np.floating[Any]], Sequence[Hashable]]:
        """Return how wrong each answer is, shape (N,), 0 where it is right; and of what kind each is, None for none.

        What is shown are the worst mistakes, and right answers of each kind in turn. The truth is known.
        """

    def take(self, rows: NDArray[np.integer[Any]]) -> Self:
        """Return a table of the rows chosen by index, in that order."""
        chosen = rows.tolist()
        return dataclasses.replace(
            self,
            paths=[self.paths[row] for row in chosen],
            probs_NK=self.probs_NK[rows],
            groups=None if self.groups is None else [self.groups[row] for row in chosen],
            more={name: [cells[row] for row in chosen] for name, cells in self.more.items()},
        )

    def header(self) -> list[str]:
        """Return the columns: path, the truth where known, the answers, one p_CLASS each, `more`."""
        return ["path", *self.answer_header(), *(f"p_{name}" for name in self.classes), *self.more]

    def rows(self) -> Iterator[list[Any]]:
        """Yield one list a row, in the order of `header`."""
        for i, (path, answers) in enumerate(zip(self.paths, self.answer_rows(), strict=True)):
            probs = [float(f"{value:.6g}") for value in self.probs_NK[i].tolist()]
            yield [path, *answers, *probs, *(cells[i] for cells in self.more.values())]

    def lines(self, format: Format = "csv") -> Iterator[str]:
        """Yield the table line by line, ends of lines included: with a header, or as JSON lines."""
        header = self.header()
        if format == "jsonl":
            for row in self.rows():
                yield json_text(dict(zip(header, row, strict=True))) + "\n"
            return
        if format == "csv-excel":
            yield BYTE_ORDER_MARK
        yield from csv_lines(header, self.rows(), delimiter="\t" if format == "tsv" else ",")

    def frame(self) -> pd.DataFrame:
        """Return the table as a DataFrame with the columns of the CSV."""
        import pandas as pd

        answers = pd.DataFrame({"path": self.paths, **self.answer_columns()})
        probs = pd.DataFrame(self.probs_NK, columns=[f"p_{name}" for name in self.classes])
        return pd.concat([answers, probs, pd.DataFrame(self.more)], axis=1)


@dataclass(frozen=True)
class Predictions(PredictionTable):
    """Probabilities of classes that exclude each other: the rows of `probs_NK` sum to 1.

    Attributes:
        true_N: index of the true class in `classes`, shape (N,); None where it is not known.
        attributes: the label columns that a class is made of, where they are several.
        positive: the positive one of two classes, as the model has it; None where it says none.
    """

    true_N: NDArray[np.int64] | None = None
    attributes: Sequence[Attribute] = ()
    positive: str | None = None

    @property
    def pred_N(self) -> NDArray[np.int64]:
        """Index of the most probable class of each image, shape (N,)."""
        return self.probs_NK.argmax(axis=1).astype(np.int64) if len(self) else np.zeros(0, np.int64)

    def mistakes(self) -> tuple[NDArray[np.floating[Any]], Sequence[Hashable]]:
        """Return the probability of each wrong answer, and the true class."""
        assert self.true_N is not None
        conf_N = self.probs_NK.max(axis=1, initial=0)
        return np.where(self.pred_N != self.true_N, conf_N, 0), self.true_N.tolist()

    def of(self, attribute: Attribute) -> Predictions:
        """Return the predictions of one attribute: of each of its classes the sum over the classes that share it."""
        of_K = np.array(attribute.of)
        probs = [self.probs_NK[:, of_K == a].sum(axis=1, dtype=np.float64) for a in range(len(attribute.classes))]
        probs_NA = np.stack(probs, axis=1).astype(np.float32)
        true_N = None if self.true_N is None else of_K[self.true_N]
        positive = attribute.positive
        return Predictions(self.paths, list(attribute.classes), probs_NA, true_N, groups=self.groups, positive=positive)

    def take(self, rows: NDArray[np.integer[Any]]) -> Predictions:
        """See `PredictionTable.take`."""
        return dataclasses.replace(super().take(rows), true_N=None if self.true_N is None else self.true_N[rows])

    def answer_header(self) -> list[str]:
        """Return true where known, pred and conf; and those of each attribute."""
        words = ("pred", "conf") if self.true_N is None else ("true", "pred", "conf")
        return [*words, *(f"{word}_{attribute.column}" for attribute in self.attributes for word in words)]

    def answer_rows(self) -> Iterator[list[Any]]:
        """See `PredictionTable.answer_rows`."""
        parts = [self, *(self.of(attribute) for attribute in self.attributes)]
        for i in range(len(self)):
            yield [cell for part in parts for cell in part._answer(i)]

    def answer_columns(self) -> dict[str, Any]:
        """See `PredictionTable.answer_columns`."""
        data = self._columns("")
        for attribute in self.attributes:
            data |= self.of(attribute)._columns(f"_{attribute.column}")
        return data

    def marks(self, row: int) -> list[str]:  # noqa: ARG002
        """Return nothing: the order of the probabilities says it."""
        return [""] * len(self.classes)

    def _answer(self, row: int) -> list[Any]:
        """Return the truth where it is known, the answer, and its probability."""
        pred = int(self.probs_NK[row].argmax())
        true = [] if self.true_N is None else [self.classes[self.true_N[row]]]
        return [*true, self.classes[pred], float(f"{self.probs_NK[row, pred]:.6g}")]

    def _columns(self, ending: str) -> dict[str, Any]:
        """Return the truth where it is known, the answers and their probabilities, by the names of the columns."""
        names = np.array(self.classes, dtype=object)
        data: dict[str, Any] = {} if self.true_N is None else {f"true{ending}": names[self.true_N]}
        data[f"pred{ending}"] = names[self.pred_N]
        data[f"conf{ending}"] = self.probs_NK.max(axis=1) if len(self) else np.zeros(0, np.float32)
        return data


def one_answer(table: PredictionTable) -> Predictions:
    """Return the same table, whose classes exclude each other: for what has refused any other kind before."""
    assert isinstance(table, Predictions)
    return table


def read_predictions(file: Path, classes: list[str], attributes: Sequence[Attribute] = ()) -> Predictions:
    """Read predictions with a known truth, as `lines` wrote them.

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
