"""What to look at first, in sentences: what averages hide, what takes from the figures, and what to try."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable, Iterator, Sequence

from bunryu.core.errors import count, some
from bunryu.core.text_width import shorten
from bunryu.evaluate.difference import BETTER
from bunryu.evaluate.figures import NAME_WIDTH, AttributeMetrics, ClassMetrics, Figure, Figures, Metrics
from bunryu.evaluate.remedies import remedy
from bunryu.settings.run import RunSettings

_FAR_BELOW = 0.2
"""A class this much F1 under the median class, or under the other one of two, is pointed out."""
_LISTED = 10


def warnings_of(metrics: Figures, settings: RunSettings | None = None, mistakes: str = "") -> list[str]:
    """Say in sentences what the averages hide: a model or attributes at chance, dead and weak classes, the caveats.

    What is called worse, or not better than chance, was tested; where nothing was (no resamples), nothing is called so.

    Args:
        metrics: what was measured.
        settings: of the run, for what to try; None where they are not known.
        mistakes: the file that lists the mistakes; "" where there is none.
    """
    noun, nouns = metrics.noun
    found = [_at_chance(name, own) for name, own in metrics.attributes.items() if is_at_chance(own)]
    found += _blind(metrics)
    sentences, weak = _of_classes(metrics)
    found += sentences
    if weak:
        found.append(remedy(weak, metrics, settings, mistakes))
    for column, own in metrics.attributes.items():
        found += [] if is_at_chance(own) else list(_of_attribute(column, own, settings, mistakes))
    for name, row in metrics.by_group.items():
        if row.worse:
            told = f"accuracy {Figure(row.accuracy, row.accuracy_ci)}, all {metrics.accuracy:.3f}"
            found.append(f"group '{shorten(name, NAME_WIDTH)}' fares worse: {told}.")
    if metrics.absent:
        many = count(len(metrics.absent), f"{noun} has", f"{nouns} have")
        known = f"(the model knows {len(metrics.per_class)})"
        found.append(f"{many} no image in the truth {known}: {named(metrics.absent, 5)}.")
    return [*found, *metrics.notes]


def _blind(metrics: Figures) -> list[str]:
    """Say it of a model that is not seen to know anything."""
    if not isinstance(metrics, Metrics) or metrics.attributes:
        return []
    blind = metrics.shuffled
    if blind is None or blind.p < BETTER:
        return []
    mend = (
        "It takes more pictures to measure."
        if metrics.accuracy == 1
        else "It takes more pictures to measure, or a better model: pretrained weights, more pictures to train on "
        "(`bunryu probe` shows what is in them)."
    )
    return [
        f"Not seen to be better than chance: accuracy {metrics.accuracy:.3f}; the same answers dealt out blindly give "
        f"{blind.accuracy:.3f}, and as many right or more in {blind.p:.0%} of the cases. {mend}"
    ]


def _of_attribute(column: str, own: AttributeMetrics, settings: RunSettings | None, mistakes: str) -> Iterator[str]:
    """Yield what is to be said of the classes of one of several label columns."""
    sentences, weak = _of_classes(own)
    sentences += [remedy(weak, own, settings, mistakes)] if weak else []
    yield from (f"{shorten(column, NAME_WIDTH)}: {one}" for one in sentences)


def _of_classes(metrics: Figures) -> tuple[list[str], list[str]]:
    """Return sentences of the classes that are guessed, dead or far below the others; and those to do something for."""
    noun, _ = metrics.noun
    present = {name: row for name, row in metrics.per_class.items() if row.support}
    dead = [name for name, row in present.items() if row.recall == 0]
    guessed = {name: figure for name, figure in metrics.guessed().items() if name not in dead}
    found = _listed(guessed, lambda name: _guessed(noun, name, guessed[name]), "are not seen to be better than chance")
    found += _listed(dead, lambda name: _dead(noun, name, present[name]), "are never predicted right")
    mend = [*(name for name in dead if present[name].worse is not False), *guessed]
    rest = {name: row for name, row in present.items() if row.worse and name not in {*dead, *guessed}}
    if len(present) == 2:
        worse, better = sorted(present, key=lambda name: present[name].f1)
        low = worse in rest and rest[worse].f1 < present[better].f1 - _FAR_BELOW
        found += [_weaker(noun, worse, present[worse], better, present[better])] if low else []
        return found, [*mend, *([worse] if low else [])]
    middle = statistics.median(row.f1 for row in present.values())
    weak = [name for name, row in rest.items() if row.f1 < middle - _FAR_BELOW]
    weak.sort(key=lambda name: present[name].f1)
    found += _listed(weak, lambda name: _weak(noun, name, present[name], middle), "are far below the median")
    return found, [*mend, *weak]


def _listed(names: Iterable[str], told: Callable[[str], str], what: str) -> list[str]:
    """Return a sentence for each of the first names, and one for the rest."""
    first, rest = list(names)[:_LISTED], list(names)[_LISTED:]
    return [told(name) for name in first] + ([f"{len(rest)} more {what}: {named(rest, 5)}."] if rest else [])


def is_at_chance(metrics: AttributeMetrics) -> bool:
    """Return whether an attribute was tested and not seen to be answered better than by guessing."""
    return metrics.better_than_chance is False


def _at_chance(name: str, metrics: AttributeMetrics) -> str:
    told = f"macro recall {metrics.figures()['macro recall']}; guessing gives {metrics.chance:.3f}"
    return f"{shorten(name, NAME_WIDTH)}: not seen to be better than chance ({told})."


def _guessed(noun: str, name: str, auc: Figure) -> str:
    told = f"ROC AUC {auc}; guessing gives 0.500"
    return f"{noun} '{shorten(name, NAME_WIDTH)}': not seen to be better than chance ({told})."


def _dead(noun: str, name: str, row: ClassMetrics) -> str:
    given = (
        f"all {row.predicted} answers of this {noun} are wrong" if row.predicted else "it is the answer for no image"
    )
    few = " Of so few images that may be chance." if row.worse is False else ""
    return f"{noun} '{shorten(name, NAME_WIDTH)}' is never predicted right (0 of {row.support}): {given}.{few}"


def _weaker(noun: str, name: str, row: ClassMetrics, other: str, rival: ClassMetrics) -> str:
    """Say it of one of two."""
    found = f"{round(row.recall * row.support)} of {row.support} found"
    return (
        f"{noun} '{shorten(name, NAME_WIDTH)}' is far below '{shorten(other, NAME_WIDTH)}': F1 {row.f1:.3f} ({found}) "
        f"against {rival.f1:.3f}."
    )


def _weak(noun: str, name: str, row: ClassMetrics, middle: float) -> str:
    found = f"{round(row.recall * row.support)} of {row.support} found"
    return (
        f"{noun} '{shorten(name, NAME_WIDTH)}' is far below the others: F1 {row.f1:.3f}, median {middle:.3f} ({found})."
    )


def named(names: Sequence[str], limit: int) -> str:
    """Return names joined by commas, each shortened; cut after `limit`."""
    return some([shorten(name, NAME_WIDTH) for name in names], limit)
