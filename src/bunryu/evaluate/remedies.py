"""What to try for classes that fare badly: exact settings to type, of those that are not set already."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from bunryu.core.errors import ConfigError, some
from bunryu.core.text_width import shorten
from bunryu.evaluate.figures import NAME_WIDTH, Figures, MultilabelMetrics
from bunryu.settings.fields import value_text
from bunryu.settings.run import RunSettings
from bunryu.settings.validate import replaced

_EVEN = 0.7
"""A class is about as frequent as the others where it has this share of the most frequent one's images, or more."""
_FOR_RARE = ({"loss.class_weights": "balanced"}, {"decision.tau": "auto"}, {"train.sampler": "class_aware"})
"""Each corrects for how often classes come; two of them together would correct twice."""
_NEUTRAL = {"loss.class_weights": None, "decision.tau": None, "train.sampler": "shuffle", "loss.name": "cross_entropy"}
_FOR_LABELS = (
    {"loss.class_weights": "balanced"},
    {"loss.name": "focal"},
    {"train.monitor": "mean_average_precision"},
)
"""Of a label's yes against its no; the last chooses the epoch by a figure that knows no threshold."""


def remedy(weak: Sequence[str], metrics: Figures, settings: RunSettings | None, mistakes: str) -> str:
    """Say in a sentence what to try for classes (or labels) that are found badly.

    Args:
        weak: their names, one at least.
        metrics: what was measured.
        settings: of the run; None where they are not known.
        mistakes: the file that lists the mistakes; "" where there is none.
    """
    if len(weak) > 1 and set(weak) == {name for name, row in metrics.per_class.items() if row.support}:
        return (
            f"All {metrics.noun[1]} fare badly, so it is no matter of one of them: pretrained weights, more epochs or "
            "more pictures."
        )
    names = some((f"'{shorten(name, NAME_WIDTH)}'" for name in weak), 3)
    them = "it" if len(weak) == 1 else "them"
    parts = [f"more pictures of {them} help most"]
    if mistakes:
        parts.append(f"{mistakes} shows what {'it is' if len(weak) == 1 else 'they are'} taken for")
    if settings is not None:
        labels = isinstance(metrics, MultilabelMetrics)
        pairs = " | ".join(_settings(settings, labels=labels))
        if labels or _rare(weak, metrics):
            parts += [f"or {pairs}"] if pairs else []
        elif pairs:  # what is measured may be even where what is learned from is not
            parts.append(f"only if {'it is' if len(weak) == 1 else 'they are'} rare among the training rows: {pairs}")
        if not labels and (_rare(weak, metrics) or pairs):
            parts.append("`bunryu probe` on the same data compares the losses for rare classes in about a minute")
    return f"For {names}: {'; '.join(parts)}."


def _rare(weak: Sequence[str], metrics: Figures) -> bool:
    most = max(row.support for row in metrics.per_class.values())
    return any(metrics.per_class[name].support < _EVEN * most for name in weak)


def _settings(settings: RunSettings, *, labels: bool) -> Iterator[str]:
    """Yield what can be typed: each with what takes back another correction that is set."""
    if labels:
        for changes in _FOR_LABELS:
            if "train.monitor" in changes and settings.train.monitor.startswith("train_"):
                continue  # without validation rows
            if text := _typed(settings, changes):
                yield text
        return
    for changes in _FOR_RARE:
        if "decision.tau" in changes and (settings.split.val == 0 or settings.train.monitor.startswith("train_")):
            continue  # auto is chosen on validation rows
        back = {
            name: value
            for name, value in _NEUTRAL.items()
            if name not in changes and _value(settings, name) != value and _corrects(settings, name)
        }
        if text := _typed(settings, {**changes, **back}):
            yield text


def _corrects(settings: RunSettings, name: str) -> bool:
    """Return whether a setting that is not neutral corrects for the counts of classes."""
    return name != "loss.name" or settings.loss.name == "logit_adjusted"


def _typed(settings: RunSettings, changes: dict[str, Any]) -> str:
    """Return changes as they are typed; "" where the first is set already, or they do not go with the others."""
    first = next(iter(changes))
    if _value(settings, first) == changes[first]:
        return ""
    try:
        replaced(settings, changes)
    except ConfigError:
        return ""
    return " ".join(f"{name}={value_text(value)}" for name, value in changes.items())


def _value(settings: RunSettings, name: str) -> Any:
    section, _, key = name.partition(".")
    return getattr(getattr(settings, section), key)
