"""What bunryu probe found, in words and files: the table, what it means, the recipe to train next."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

from bunryu.core.errors import count, some
from bunryu.core.shown import shown_lines
from bunryu.core.storage import write_atomic, write_json
from bunryu.core.text_width import pad, width
from bunryu.evaluate.difference import Difference
from bunryu.evaluate.figures import Metrics
from bunryu.evaluate.report.text import attributes_told
from bunryu.inference.predictions import Predictions
from bunryu.settings.config import dump_yaml
from bunryu.settings.fields import value_text
from bunryu.settings.train import LossSettings
from bunryu.settings.validate import replaced
from bunryu.workflows.plan.plan import Plan

FOLDS = 5
LOSSES = {
    "plain": LossSettings(),
    "balanced": LossSettings(class_weights="balanced"),
    "class-balanced focal": LossSettings(name="focal", class_weights="effective"),
    "logit-adjusted": LossSettings(name="logit_adjusted"),
}
"""What each probe tries; the names are those of the table."""
WRITTEN = (
    *("report.txt", "predictions_oof.csv", "recipe.yaml", "probe.json", "settings.yaml"),
    *("review.csv", "review.png"),
)
"""The files in the folder of a probe."""
ADJUSTED = "plain, adjusted"
"""The plain head with its logits adjusted after training."""


@dataclass(frozen=True)
class Tried:
    """One backbone with one loss."""

    backbone: str
    weights: str
    loss: str
    metrics: Metrics
    predictions: Predictions
    rare_recall: float
    """Mean recall of the rarest third of the classes."""
    behind: Difference | None = None
    """Its figure minus that of the best; None for the best itself."""

    @property
    def figure(self) -> float:
        """By which losses are compared: the macro-F1, of several label columns the mean of that of each."""
        parts = [one.macro_f1 for one in self.metrics.attributes.values()]
        return sum(parts) / len(parts) if parts else self.metrics.macro_f1

    @property
    def figure_name(self) -> str:
        """What it is called."""
        return "mean macro-F1" if self.metrics.attributes else "macro-F1"

    def figure_told(self) -> str:
        """Return it as text, with its interval where there is one."""
        return f"{self.figure:.3f}" if self.metrics.attributes else str(self.metrics.headline()["macro-F1"])


@dataclass(frozen=True)
class Probed:
    """What a probe found, the best first."""

    tried: list[Tried]
    path: Path
    rows: int
    rare: list[str] = field(default_factory=list)
    """The rarest third of the classes; empty where all are about the same size."""
    look: list[str] = field(default_factory=list)
    """What deserves a look, in sentences; the images are in review.csv."""

    @property
    def best(self) -> Tried:
        """The one with the highest figure."""
        return self.tried[0]

    def __repr__(self) -> str:
        """Return the table."""
        return shown_lines(table_lines(self))


def table_lines(found: Probed) -> list[str]:
    """Return the table of all that was tried, the best first."""
    head = ("backbone", "loss", found.best.figure_name, "accuracy", *(("rare recall",) if found.rare else ()), "")
    rows = [head]
    for one in found.tried:
        metrics = one.metrics
        rows.append(
            (
                one.backbone,
                one.loss,
                one.figure_told(),
                f"{metrics.accuracy:.3f}",
                *((f"{one.rare_recall:.3f}",) if found.rare else ()),
                _verdict(one.behind),
            )
        )
    columns = [max(width(row[i]) for row in rows) for i in range(len(head))]
    lines = ["  ".join(pad(cell, columns[i]) for i, cell in enumerate(row)).rstrip() for row in rows]
    if found.rare:
        lines.append(f"rare recall: mean recall of the rarest third of the classes ({some(found.rare, 5)})")
    return [*lines, "loss, as settings: " + "; ".join(f"{name} = {_pairs_of(name)}" for name in (*LOSSES, ADJUSTED))]


def _pairs_of(loss: str) -> str:
    """Return a row's loss as the settings that train takes."""
    if loss == ADJUSTED:
        return "decision.tau=auto, after training"
    chosen = LOSSES[loss].model_dump(exclude_defaults=True)
    return " ".join(f"loss.{key}={value}" for key, value in chosen.items()) or "loss.name=cross_entropy"


def _verdict(behind: Difference | None) -> str:
    if behind is None:
        return "best"
    if behind.value == 0:
        return "equal to the best"
    return "worse" if behind.clear else "within noise of the best"


def advice(found: Probed) -> list[str]:
    """Say in sentences what the table means."""
    plain = {one.backbone: one for one in found.tried if one.loss == "plain"}
    lines = [f"of the best, {line}" for line in attributes_told(found.best.metrics)]
    same = sorted({one.backbone for one in found.tried if one.behind is None or not one.behind.clear})
    if len(plain) > 1 and len(same) > 1:
        lines.append(f"Noise does not tell these apart: {', '.join(same)}. Take the quickest.")
    elif len(plain) > 1:
        lines.append(f"{same[0]} is the best, beyond noise.")
    lines.append(_of_the_losses(found))
    lines.append(
        f"Fine-tuning usually beats this. Mind the intervals: this figure is of all {found.rows:,} images, a run's of "
        "its validation rows alone."
    )
    return lines


def _of_the_losses(found: Probed) -> str:
    """Say what the best loss other than plain changes on the best backbone, and whether noise explains it."""
    if not found.rare:
        return "The classes are about the same size: losses for rare ones have nothing to mend."
    own = [one for one in found.tried if one.backbone == found.best.backbone]
    plain = next(one for one in own if one.loss == "plain")
    other = next(one for one in own if one.loss != "plain")
    behind = plain.behind if other.behind is None else other.behind  # one of the two is the best of all
    change = other.figure - plain.figure
    return (
        f"Against plain, the loss {other.loss} changes {plain.figure_name} by {change:+.3f} "
        f"({'beyond' if behind is not None and behind.clear else 'within'} noise), the recall of the rare classes by "
        f"{other.rare_recall - plain.rare_recall:+.3f}."
    )


def write_probe(found: Probed, plan: Plan) -> None:
    """Write the report, the tables and the recipe into the folder of the probe."""
    best, folder = found.best, found.path
    lines = [
        f"bunryu probe of {plan.settings.label}: {FOLDS}-fold cross-validation of linear heads on frozen features",
        "",
        f"{count(found.rows, 'image')} (training and validation rows), {count(len(plan.classes), 'class', 'classes')}",
        "",
        *table_lines(found),
        "",
        *advice(found),
        *found.look,
    ]
    write_atomic(folder / "report.txt", shown_lines(lines) + "\n")
    write_atomic(folder / "predictions_oof.csv", best.predictions.lines())
    write_atomic(folder / "recipe.yaml", recipe(found, plan.settings.loss))
    rows = [
        {
            "backbone": one.backbone,
            "weights": one.weights,
            "loss": one.loss,
            "rare_recall": one.rare_recall,
            "behind_best": None if one.behind is None else dataclasses.asdict(one.behind),
            "metrics": one.metrics.as_json(),
        }
        for one in found.tried
    ]
    write_json(folder / "probe.json", {"folds": FOLDS, "rare": found.rare, "tried": rows})
    write_atomic(folder / "settings.yaml", "# the settings of this probe\n" + dump_yaml(plan.settings))


def loss_of(name: str, given: LossSettings) -> LossSettings:
    """Return a loss of the table with the parameters that the settings give: what is compared, and trained then.

    Without group DRO, which a solved head cannot have.
    """
    own = LOSSES[name]
    parameters = {key: getattr(given, key) for key in ("label_smoothing", "gamma", "beta", "tau")}
    return replaced(own, parameters)


def recipe(found: Probed, given: LossSettings | None = None) -> str:
    """Return the recipe to train next: the best backbone, and the best loss where it is clearly better than plain.

    The loss is written whole, as it was compared, since the recipe below this one may have another.

    Args:
        found: the table.
        given: the loss of the settings.
    """
    best = found.best
    lines = [
        f"# Written by bunryu probe: {best.backbone}, {best.loss} loss, {best.figure_name} {best.figure_told()}",
        "model:",
        f"  name: {best.backbone}",
        f"  weights: {value_text(best.weights)}",
    ]
    plain = next((one for one in found.tried if one.backbone == best.backbone and one.loss == "plain"), None)
    clear = plain is not None and plain.behind is not None and plain.behind.clear
    loss = loss_of(best.loss if clear and best.loss != ADJUSTED else "plain", given or LossSettings())
    keys = ["name", "label_smoothing", "class_weights"]
    keys += [*(["gamma"] if loss.name == "focal" else []), *(["beta"] if loss.class_weights == "effective" else [])]
    keys += ["tau"] if loss.name == "logit_adjusted" else []
    lines += ["loss:", *(f"  {key}: {value_text(getattr(loss, key))}" for key in keys)]
    if clear and best.loss == ADJUSTED:
        lines += ["decision:", "  tau: auto"]
    return "\n".join(lines) + "\n"
