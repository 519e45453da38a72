"""What is measured, as frozen types whose fields are the keys of metrics.json: written to it, and read from it.

A figure that was not measured is not set, and then its key is not there; null is a figure that is not defined.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, SerializerFunctionWrapHandler, ValidationError, model_serializer

from bunryu.core.errors import RunError
from bunryu.core.text_width import shorten
from bunryu.evaluate.difference import Difference
from bunryu.runs.folder import RunFolder
from bunryu.settings.validate import first_fault

_MOST_CLASSES = 50_000
"""That metrics.json can have: to tell what is wrong with each takes memory."""
NAME_WIDTH = 40
"""Cells of a class name within a sentence."""


class Interval(NamedTuple):
    """The ends of a 95 % interval; ``[low, high]`` in JSON."""

    low: float
    high: float


class Figure(NamedTuple):
    """A figure with its interval: ``0.952 [0.921, 0.981]``. None where it is not defined."""

    value: float | None
    interval: Interval | None = None

    def __str__(self) -> str:
        """Return it with three decimals, the interval only where it was measured."""
        value = "-" if self.value is None else f"{self.value:.3f}"
        return value if self.interval is None else f"{value} [{self.interval.low:.3f}, {self.interval.high:.3f}]"


class Record(BaseModel):
    """Base of all that metrics.json holds: frozen, unknown keys forbidden."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    KEYS: ClassVar[Sequence[str]] = ()
    """The keys in the order that JSON has them, where that is not the order of the fields."""

    @model_serializer(mode="wrap")
    def _in_order(self, handler: SerializerFunctionWrapHandler) -> dict[str, Any]:
        found: dict[str, Any] = handler(self)
        return {key: found[key] for key in self.KEYS or found if key in found}

    def as_json(self) -> dict[str, Any]:
        """Return what was measured as JSON has it."""
        return self.model_dump(mode="json", exclude_unset=True)

    def plus(self, **more: Any) -> Self:
        """Return a copy with further figures, validated."""
        return type(self)(**self.as_fields() | more)

    def as_fields(self) -> dict[str, Any]:
        """Return what was measured by field, the parts as they are."""
        return {name: getattr(self, name) for name in self.model_fields_set}


class Bootstrap(Record):
    """What the intervals come from."""

    resamples: int
    """0 where every answer is right: the intervals are then exact ones of the accuracy (Clopper-Pearson)."""
    of: Literal["rows", "groups"]
    units: int
    """How many of them there are."""
    rank_resamples: int | None = None
    """Resamples for mAP and ROC AUC, where rows times classes are so many that they are fewer."""


class ClassMetrics(Record):
    """One class, in the rows measured."""

    precision: float
    recall: float
    f1: float
    support: int
    """Rows of the truth."""
    predicted: int
    """Answers given."""
    precision_ci: Interval | None = None
    recall_ci: Interval | None = None
    f1_ci: Interval | None = None
    roc_auc: float | None = None
    """Of the class against all others; null unless there are rows of both."""
    roc_auc_ci: Interval | None = None

    def with_intervals(self) -> dict[str, Figure]:
        """Return the figures that have an interval, by the heads of their columns; without a row in the truth none."""
        if not self.support:
            return {}
        return {
            "precision": Figure(self.precision, self.precision_ci),
            "recall": Figure(self.recall, self.recall_ci),
            "F1": Figure(self.f1, self.f1_ci),
            "ROC AUC": Figure(self.roc_auc, self.roc_auc_ci),
        }

    def further(self) -> dict[str, float | None]:
        """Return further columns of the table of classes, by their heads."""
        return {}


class LabelMetrics(ClassMetrics):
    """One of the labels that can hold together, in the rows measured."""

    KEYS: ClassVar[Sequence[str]] = (
        *("precision", "recall", "f1", "average_precision", "support", "predicted"),
        *("threshold", "roc_auc", "roc_auc_ci", "better_than_chance", "precision_ci", "recall_ci", "f1_ci"),
    )
    average_precision: float | None
    """null where it holds for no row."""
    threshold: float
    better_than_chance: bool | None = None
    """Whether that interval lies above 1/2. An AUC knows no threshold, so choosing one here does not flatter it."""

    def further(self) -> dict[str, float | None]:
        """Return further columns of the table of labels, by their heads."""
        return {"AP": self.average_precision, "threshold": self.threshold}


class GroupMetrics(Record):
    """One group of rows."""

    n: int
    accuracy: float
    accuracy_ci: Interval | None = None
    worse: bool | None = None
    """Whether so many rows taken at random are hardly ever answered as badly (adjusted for all groups, Holm)."""


class FoldMetrics(Record):
    """One fold; or the mean or standard deviation of all, which have no `n`."""

    macro_f1: float
    accuracy: float
    weighted_f1: float
    loss: float
    n: int | None = None


class Folds(Record):
    """The folds of a cross-validation."""

    each: tuple[FoldMetrics, ...]
    mean: FoldMetrics
    std: FoldMetrics


class Tta(Record):
    """What test-time augmentation changes."""

    views: tuple[str, ...]
    macro_f1_change: Difference


class Figures(Record, ABC):
    """What is measured of every split, whatever its answers are. Ratios are 0 to 1; the loss is in nats."""

    noun: ClassVar[tuple[str, str]]
    """What the answers are called: one, and several."""

    n: int
    accuracy: float
    macro_f1: float
    weighted_f1: float
    macro_precision: float
    macro_recall: float
    loss: float | None = None
    absent: tuple[str, ...]
    """Classes without a row in the truth, which macro averages leave out."""
    per_class: Mapping[str, ClassMetrics]
    notes: tuple[str, ...] = ()
    """Sentences to show: see `caveats`."""
    groups: int | None = None
    """How many groups the rows come from."""
    accuracy_ci: Interval | None = None
    macro_f1_ci: Interval | None = None
    weighted_f1_ci: Interval | None = None
    bootstrap: Bootstrap | None = None
    attributes: dict[str, AttributeMetrics] = {}
    """Label column -> its own figures, where a class joins several."""
    by_group: dict[str, GroupMetrics] = {}
    """Of group DRO, the worst first."""
    worst_group_accuracy: float | None = None
    skipped: int | None = None
    """Images that could not be read."""
    folds: Folds | None = None
    tta: Tta | None = None

    @abstractmethod
    def headline(self) -> dict[str, Figure]:
        """Return the figures to know, by the names to show."""

    @abstractmethod
    def figures(self) -> dict[str, Figure]:
        """Return all figures of the whole split, by the names to show."""

    def guessed(self) -> dict[str, Figure]:
        """Return the classes that are answered no better than by chance, each with the figure that shows it."""
        return {}


class Metrics(Figures):
    """What is measured of classes that exclude each other."""

    KEYS: ClassVar[Sequence[str]] = (
        *("n", "accuracy", "macro_f1", "weighted_f1", "macro_precision", "macro_recall", "loss", "absent", "per_class"),
        *("notes", "positive", "positive_precision", "positive_recall", "positive_f1", "roc_auc", "groups"),
        *("accuracy_ci", "macro_f1_ci", "weighted_f1_ci", "macro_recall_ci", "positive_precision_ci"),
        *("positive_recall_ci", "positive_f1_ci", "roc_auc_ci", "bootstrap", "attributes", "by_group"),
        *("worst_group_accuracy", "skipped", "folds", "tta"),
    )
    noun = ("class", "classes")

    per_class: dict[str, ClassMetrics]
    positive: str | None = None
    """The positive one of two classes."""
    positive_precision: float | None = None
    positive_recall: float | None = None
    positive_f1: float | None = None
    roc_auc: float | None = None
    """Of two classes; null where the truth has one of them only."""
    macro_recall_ci: Interval | None = None
    positive_precision_ci: Interval | None = None
    positive_recall_ci: Interval | None = None
    positive_f1_ci: Interval | None = None
    roc_auc_ci: Interval | None = None

    def headline(self) -> dict[str, Figure]:
        """See `Figures.headline`."""
        found = self.figures()
        names = ("macro-F1", "accuracy", *(() if self.roc_auc is None else ("ROC AUC",)))
        return {name: found[name] for name in names}

    def figures(self) -> dict[str, Figure]:
        """See `Figures.figures`."""
        found = {
            "macro-F1": Figure(self.macro_f1, self.macro_f1_ci),
            "accuracy": Figure(self.accuracy, self.accuracy_ci),
            "weighted F1": Figure(self.weighted_f1, self.weighted_f1_ci),
            "macro precision": Figure(self.macro_precision),
            "macro recall": Figure(self.macro_recall, self.macro_recall_ci),
        }
        if self.loss is not None:
            found["loss"] = Figure(self.loss)
        if self.positive is not None:
            name = shorten(self.positive, NAME_WIDTH)
            found[f"precision of '{name}'"] = Figure(self.positive_precision, self.positive_precision_ci)
            found[f"recall of '{name}'"] = Figure(self.positive_recall, self.positive_recall_ci)
            found[f"F1 of '{name}'"] = Figure(self.positive_f1, self.positive_f1_ci)
            found["ROC AUC"] = Figure(self.roc_auc, self.roc_auc_ci)
        return found


class AttributeMetrics(Metrics):
    """What is measured of one of several label columns that are answered together."""

    KEYS: ClassVar[Sequence[str]] = (*Metrics.KEYS, "chance", "better_than_chance")

    chance: float
    """What macro recall (the balanced accuracy) comes to without a look at the picture: 1 / (classes in the truth)."""
    better_than_chance: bool | None
    """Whether the interval of macro recall lies above that; null without one."""


class MultilabelMetrics(Figures):
    """What is measured of labels that can hold together. `accuracy`: images of which every label is answered right."""

    KEYS: ClassVar[Sequence[str]] = (
        *("n", "accuracy", "macro_f1", "micro_f1", "weighted_f1", "macro_precision", "macro_recall"),
        *("mean_average_precision", "loss", "absent", "per_class", "notes", "groups", "bootstrap"),
        *("macro_f1_ci", "accuracy_ci", "micro_f1_ci", "weighted_f1_ci", "mean_average_precision_ci", "skipped"),
        *("attributes", "by_group", "worst_group_accuracy", "folds", "tta"),
    )
    noun = ("label", "labels")

    per_class: dict[str, LabelMetrics]
    micro_f1: float
    mean_average_precision: float
    micro_f1_ci: Interval | None = None
    mean_average_precision_ci: Interval | None = None

    def headline(self) -> dict[str, Figure]:
        """See `Figures.headline`."""
        found = self.figures()
        return {name: found[name] for name in ("macro-F1", "mAP", "all labels right")}

    def figures(self) -> dict[str, Figure]:
        """See `Figures.figures`."""
        return {
            "macro-F1": Figure(self.macro_f1, self.macro_f1_ci),
            "micro-F1": Figure(self.micro_f1, self.micro_f1_ci),
            "mAP": Figure(self.mean_average_precision, self.mean_average_precision_ci),
            "all labels right": Figure(self.accuracy, self.accuracy_ci),
            "weighted F1": Figure(self.weighted_f1, self.weighted_f1_ci),
            "macro precision": Figure(self.macro_precision),
            "macro recall": Figure(self.macro_recall),
            "loss": Figure(self.loss),
        }

    def guessed(self) -> dict[str, Figure]:
        """See `Figures.guessed`: by ROC AUC."""
        return {
            name: Figure(row.roc_auc, row.roc_auc_ci)
            for name, row in self.per_class.items()
            if row.better_than_chance is False
        }


def parsed(found: Mapping[str, Any]) -> Figures:
    """Return what metrics.json says of a split.

    Raises:
        pydantic.ValidationError: it is not what this version writes.
    """
    kind = MultilabelMetrics if "mean_average_precision" in found else Metrics
    return kind.model_validate(found)


def read_metrics(folder: RunFolder) -> dict[str, Figures]:
    """Read a run's metrics.json.

    Raises:
        RunError: its training has not finished; or the file is not what this version writes.
    """
    measured = folder.read_metrics()
    for found in measured.values():
        per_class = found.get("per_class")
        if isinstance(per_class, dict) and len(per_class) > _MOST_CLASSES:
            raise RunError(f"{folder.metrics} is damaged: it has {len(per_class):,} classes.")
    try:
        return {name: parsed(found) for name, found in measured.items()}
    except ValidationError as error:
        raise RunError(f"{folder.metrics} is damaged, or of another version: {first_fault(error)}.") from None
