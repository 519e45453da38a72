"""`bunryu probe`: what a linear head on frozen backbones reaches on the data, cross-validated, in about a minute.

It tells what to train next: which backbone, whether the rare classes need weights, and the figure to beat.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core import console
from bunryu.core.errors import ConfigError
from bunryu.core.storage import write_atomic
from bunryu.data.images.decode import load
from bunryu.data.splits.assign import folds
from bunryu.evaluate.attributes import figure_difference
from bunryu.evaluate.compare import adjusted
from bunryu.evaluate.decision.logit_adjustment import adjusted_out_of_fold, prior
from bunryu.evaluate.figures import ClassMetrics
from bunryu.evaluate.measure import dro_column, groups_of
from bunryu.evaluate.measured import measure_classes
from bunryu.evaluate.report.plots import plot_examples
from bunryu.evaluate.review import confirmed, review, review_examples, review_lines, review_told
from bunryu.inference.model import Model
from bunryu.inference.predictions import Predictions
from bunryu.runs.claim import claimed
from bunryu.settings.load import load_settings
from bunryu.settings.model import without_library
from bunryu.settings.run import RunSettings, absolute
from bunryu.settings.validate import replaced
from bunryu.train.feed import plain_features
from bunryu.train.linear_probe import out_of_fold
from bunryu.train.stages import losses_of_epochs
from bunryu.workflows.plan.data import require_exclusive
from bunryu.workflows.plan.decide import make_plan
from bunryu.workflows.plan.plan import Plan
from bunryu.workflows.probe_report import ADJUSTED, FOLDS, LOSSES, WRITTEN, Probed, Tried, loss_of, write_probe

_EVEN = 0.7
"""Classes are about the same size where the smallest has this share of the largest, or more."""


@dataclass(frozen=True)
class Attempt:
    """One backbone with every loss, and what else was found on the way."""

    tried: list[Tried]
    plan: Plan
    rows: NDArray[np.int64]
    """Of the plan's table."""
    fold_N: NDArray[np.int64]
    x_NF: NDArray[np.float32]

    @property
    def best(self) -> Tried:
        """The loss with the highest figure."""
        return max(self.tried, key=lambda one: one.figure)


def probe(
    overrides: Sequence[str],
    backbones: Sequence[str],
    values: dict[str, Any],
    *,
    frame: Any = None,
    out: Path | None,
    root: Path = Path("runs"),
) -> Probed:
    """Probe the data with one or several backbones.

    Args:
        overrides: ``section.key=value`` pairs, as for train.
        backbones: NAME or NAME=WEIGHTS; model.name and model.weights of the settings when empty.
        values: nested settings of the command's own options.
        frame: a DataFrame instead of `data.source`.
        out: the folder of the results; the next free ``root/NAME-probe-N`` when None.
        root: where runs get their folders.

    Raises:
        BunryuError: with one message.
    """
    tried: list[Tried] = []
    best: Attempt | None = None
    for number, pairs in enumerate([_pairs(text) for text in backbones] or [()]):
        plan = _plan(load_settings([*overrides, *pairs], values=values), frame, quiet=number > 0)
        attempt = _try(plan)
        tried += attempt.tried
        best = max(filter(None, (best, attempt)), key=lambda one: one.best.figure)
    assert best is not None
    tried.sort(key=lambda one: -one.figure)
    per_class = tried[0].metrics.per_class
    sizes = [row.support for row in per_class.values() if row.support]
    rare = _rare(per_class) if min(sizes) < _EVEN * max(sizes) else []
    compared = [tried[0], *_compared(tried, plan)]
    with claimed(f"{plan.settings.label}-probe", out, root, "probe", WRITTEN) as folder:
        found = Probed(compared, folder, tried[0].metrics.n, rare, _review(best, folder))
        write_probe(found, plan)
    return found


def _pairs(backbone: str) -> tuple[str, ...]:
    """Return the settings that ``NAME`` or ``NAME=WEIGHTS`` means."""
    name, _, weights = backbone.partition("=")
    return (f"model.name={name}", f"model.weights={weights}") if weights else (f"model.name={name}",)


def _plan(settings: RunSettings, frame: Any, *, quiet: bool) -> Plan:
    """Decide everything for one backbone; what there is to say of the data is said once."""
    if settings.model.weights == "none":
        raise ConfigError(
            "model.weights=none: probe shows what pretrained weights know, so it needs some: leave the setting out, or "
            "give model.weights=FILE or a run."
        )
    if without_library(settings.model.name) and settings.model.weights is None:
        raise ConfigError(
            f"probe shows what pretrained weights know, and {settings.model.name} has none. Leave model.name out, or "
            "give model.weights=RUN, a run of yours."
        )
    often = f"data.balance_to={settings.data.balance_to}" if settings.data.balance_to is not None else ""
    often = "train.sampler=class_aware" if settings.train.sampler == "class_aware" else often
    often = "mix.remix=true" if settings.mix.remix else often
    if often:
        raise ConfigError(
            f"{often}: probe sees each picture once, as it is; it compares class weights instead. Leave it out."
        )
    require_exclusive(settings, "probe")
    with console.quietly(quiet):
        plan = make_plan(absolute(settings), frame)
    told = plan.decisions.told()
    for name in ("heads", "model", "weights", "input", "device"):
        if name in told:
            console.say(f"{name}: {told[name]}")
    return plan


def _try(plan: Plan) -> Attempt:
    """Compute the features of one backbone, and solve a head on them with each loss, fold by fold."""
    table, classes = plan.table, plan.classes
    rows = np.sort(np.concatenate([table.split("train"), table.split("val")]))
    own = table.take(rows)
    index = {name: k for k, name in enumerate(classes)}
    target = np.array([index[name] for name in own.target_labels], np.int64)
    learned = list(own.learned.values())
    fold_N = folds(own.target_labels, FOLDS, plan.settings.split.seed, own.groups, own.digests, learned=learned)
    model = Model(plan.net, plan.sealed, plan.device)
    x_NF = plain_features(model, plan.settings, table, rows, plan.checked.contents)
    counts = np.bincount(target, minlength=len(classes)) * (FOLDS - 1.0) / FOLDS  # of the rows that a head is solved on
    every = np.arange(len(own))
    paths = list(map(str, own.paths))
    known: dict[str, Any] = {
        "groups": groups_of(own, every),
        "more": dro_column(own, every),
        "attributes": plan.sealed.attributes,
        "positive": plan.sealed.answer.positive,
    }
    found = []
    with console.working("solving heads", len(LOSSES)) as task:
        for name in LOSSES:
            losses = losses_of_epochs(_with_loss(plan, name), counts, plan.sealed, x_NF.device)
            probs = out_of_fold(x_NF, target, fold_N, losses)
            answers = Predictions(paths, classes, probs, target, **known)
            found.append(_measured(name, answers, plan))
            task.advance()
    found.append(_adjusted(found[0], fold_N, plan, counts))
    return Attempt(found, plan, rows, fold_N, x_NF.cpu().numpy())


def _with_loss(plan: Plan, name: str) -> RunSettings:
    """Return the settings with a loss of the table, its smoothing and parameters as the recipe then has them."""
    chosen = loss_of(name, plan.settings.loss)
    return replaced(plan.settings, {f"loss.{key}": getattr(chosen, key) for key in ("name", "class_weights")})


def _measured(loss: str, predictions: Predictions, plan: Plan) -> Tried:
    metrics = measure_classes(predictions, plan.settings.evaluate)
    recalls = [metrics.per_class[rare].recall for rare in _rare(metrics.per_class)]
    weights = str(plan.settings.model.weights)
    return Tried(plan.sealed.architecture.name, weights, loss, metrics, predictions, float(np.mean(recalls)))


def _adjusted(plain: Tried, fold_N: NDArray[np.int64], plan: Plan, counts_K: NDArray[Any]) -> Tried:
    """Return the plain answers after logit adjustment, each fold's tau chosen on the others."""
    before = plain.predictions
    assert before.true_N is not None
    prior_NK = np.tile(prior(_with_loss(plan, "plain"), counts_K, plan.sealed), (len(fold_N), 1))
    probs = adjusted_out_of_fold(before.probs_NK, before.true_N, fold_N, prior_NK, before.attributes)
    return _measured(ADJUSTED, dataclasses.replace(before, probs_NK=probs), plan)


def _review(best: Attempt, folder: Path) -> list[str]:
    """Write what deserves a look, as a table and as a picture; say it in sentences."""
    predictions, table, sealed = best.best.predictions, best.plan.table, best.plan.sealed
    true_N = predictions.true_N
    assert true_N is not None

    def picture(row: int) -> NDArray[np.uint8]:
        return load(best.plan.checked.contents.of(table.file(int(best.rows[row]))), sealed.decode, sealed.input)

    found = confirmed(review(best.x_NF, predictions.probs_NK, true_N), picture)
    told = review_told(found, true_N, best.fold_N)
    if told:
        write_atomic(folder / "review.csv", review_lines(found, predictions))
        rows, titles = review_examples(found, predictions)
        images = [picture(row) for row in rows]
        note = "a likelier label, copies and images alike, images unlike all others"
        plot_examples(images, titles, [None] * len(rows), folder / "review.png", of=folder.name, note=note)
    return told


def _rare(per_class: dict[str, ClassMetrics]) -> list[str]:
    """Return the rarest third of the classes, one at least."""
    names = sorted((name for name, row in per_class.items() if row.support), key=lambda name: per_class[name].support)
    return names[: max(1, len(names) // 3)]


def _compared(tried: Sequence[Tried], plan: Plan) -> list[Tried]:
    """Return all but the first, which is the best, with how far they are behind it.

    Which is the best was found on these rows, so p is adjusted for all pairs that could have been compared.
    """
    best, pairs = tried[0].predictions, len(tried) * (len(tried) - 1) // 2
    resamples = plan.settings.evaluate.bootstrap
    behind = [figure_difference(one.predictions, best, resamples=resamples, of=pairs) for one in tried[1:]]
    found = zip(tried[1:], adjusted(behind, pairs), strict=True)
    return [dataclasses.replace(one, behind=difference) for one, difference in found]
