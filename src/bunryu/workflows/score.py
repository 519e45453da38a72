"""bunryu score: predictions against the truth, both tables, joined by the ends of their paths."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bunryu.core import console
from bunryu.core.csv_text import unguard
from bunryu.core.errors import ConfigError, DataError, nearest, some, typed
from bunryu.core.same_text import Words, changes_told, replaced_words
from bunryu.core.storage import write_json
from bunryu.data.sources.csv_files import Columns, read_csv
from bunryu.evaluate.figures import Metrics, parsed
from bunryu.evaluate.report.text import headline, text_report
from bunryu.inference.predictions import Predictions
from bunryu.settings.evaluate import BOOTSTRAP, EvaluateSettings
from bunryu.ship.joining import places
from bunryu.ship.sample import image_column_of

_GIVEN = ("pred", "ans", "answer", "target", "prediction", "label", "class", "category")
_GROUP = "group"
"""What split.csv calls the column of groups."""
_TRUE = ("true", "ans", "answer", "target", "label", "class", "category", "truth")


@dataclass(frozen=True)
class Scored:
    """What was found: the metrics, as in metrics.json, but for those that need probabilities."""

    metrics: dict[str, Any]
    report: str

    def __repr__(self) -> str:
        """Return the headline."""
        return headline(parsed(self.metrics))


def score(
    predictions: Path,
    truth: Path,
    *,
    out: Path | None = None,
    bootstrap: int = BOOTSTRAP,
    positive: str | None = None,
    group_column: str | None = None,
) -> Scored:
    """Score a table of answers against a table of truths.

    The image is the column whose cells are image names; the answer is called pred, ans, target, label ... (of the
    truth true, ans, target, label ...), else it is the last column. Rows are joined by the
    longest tail that two paths share.

    Args:
        predictions: a CSV or TSV.
        truth: a CSV or TSV.
        out: also write the metrics there, as JSON.
        bootstrap: resamples of the intervals; none when 0.
        positive: the positive one of two classes; the rarer in the truth when None.
        group_column: of the truth: persons, patients, videos. Images of one are not independent, so the intervals
            resample whole groups. When None the column called group is taken, if there is one, as in split.csv.

    Raises:
        ConfigError: the truth has no such column of groups.
        DataError: rows that are in one table alone, a file name twice, or answers that are no class of the truth.
    """
    (said, _), (true, groups) = _answers(predictions, _GIVEN), _answers(truth, _TRUE, group_column or "")
    said = _joined(said, true, predictions, truth)
    labels = [true[name] for name in true]
    answers = [said[name] for name in true]
    numbers = all(label.lstrip("-").isdigit() for label in (*labels, *answers))
    classes = sorted({*labels, *answers}, key=lambda label: (int(label), label) if numbers else (0, label))
    if not set(answers) & set(labels):
        raise DataError(
            f"{predictions} answers {some(sorted(set(answers)))}, {truth} has {some(sorted(set(labels)))}: not one in "
            f"common. Are those names and numbers of the same classes?{_as_numbers(answers, labels, truth)}"
        )
    index = {name: k for k, name in enumerate(classes)}
    true_N = np.array([index[label] for label in labels], np.int64)
    sure_NK = np.eye(len(classes), dtype=np.float32)[[index[answer] for answer in answers]]
    if len(classes) == 1:
        raise DataError(f"{truth} has one class alone, {classes[0]!r}: there is nothing to score.")
    from bunryu.evaluate.measured import measure_classes  # it takes scipy, which is slow to load

    settings = EvaluateSettings(bootstrap=bootstrap, positive=positive)
    given = Predictions(list(true), classes, sure_NK, true_N, groups=groups)
    measured = measure_classes(given, settings, ranked=False).as_fields()
    metrics = Metrics(**{name: value for name, value in measured.items() if name != "loss"})
    title = f"{predictions.name} against {truth.name}"
    report = text_report(title, {}, {"score": metrics}, next_steps=[])
    if out is not None:
        write_json(out, metrics.as_json())
    return Scored(metrics.as_json(), report)


def _as_numbers(answers: list[str], labels: list[str], truth: Path) -> str:
    """Say how to get numbers for answers, where names stand against numbers."""
    numbers = [all(text.lstrip("-").isdigit() for text in texts) for texts in (answers, labels)]
    if numbers != [False, True]:
        return ""
    return (
        f" Numbers, where the training data gave them: bunryu predict RUN IMAGES --submission {typed(truth)} "
        "--out submission.csv"
    )


def _answers(
    path: Path, names: tuple[str, ...], group_column: str | None = None
) -> tuple[dict[str, str], list[str] | None]:
    """Return the answer to each file name; and the group of each, where there are groups.

    Args:
        path: the table.
        names: what the column of the answers may be called.
        group_column: that of the groups; "" for `_GROUP` if it is there, None for none.
    """
    table = read_csv(path)
    image = image_column_of(table)
    groups = _group_column(table, group_column, path)
    column = _column(table, {image} if groups is None else {image, groups}, names, path)
    keys = [unguard(cell) for cell in table.values[image]]
    found = dict(zip(keys, map(unguard, table.values[column]), strict=True))
    if len(found) < len(keys):
        at = next(at for at, key in enumerate(keys) if key in keys[:at])
        key, line = keys[at], table.lines[at]
        raise DataError(f"{path}, line {line}: {key} stands there twice. Each image needs one answer.")
    empty = next((line for line, cell in zip(table.lines, table.values[column], strict=True) if not cell.strip()), None)
    if empty is not None:
        raise DataError(f"{path}, line {empty}: no answer in the column {column!r}.")
    if groups is None:
        return found, None
    cells = map(unguard, table.values[groups])
    return found, [cell.strip() or f"\0{at}" for at, cell in enumerate(cells)]  # without one: a group of its own


def _group_column(table: Columns, named: str | None, path: Path) -> str | None:
    if named and named not in table.values:
        raise ConfigError(
            f"--group-column: {path} has no column {named!r}.{nearest(named, table.values)} It has "
            f"{some(map(repr, table.values))}."
        )
    return named or (_GROUP if named == "" and _GROUP in table.values and len(table.values) > 2 else None)


def _column(table: Columns, passed: set[str], names: tuple[str, ...], path: Path) -> str:
    others = {name.lower(): name for name in table.values if name not in passed}
    if not others:
        told = "one column alone" if len(passed) == 1 else "no answers beside its columns"
        found = some(map(repr, sorted(passed)))
        raise DataError(f"{path} has {told}, {found}. Expected an image and an answer, such as path,label.")
    return next((others[name] for name in names if name in others), list(others.values())[-1])


def _joined(said: dict[str, str], true: dict[str, str], predictions: Path, truth: Path) -> dict[str, str]:
    """Return the answer to each image of the truth, found by the longest tail that two paths share."""
    wanted, known = list(true), list(said)
    place = places(wanted, str(truth), known, str(predictions))
    answers = [said[known[at]] for at in place]
    found, changed = replaced_words(answers, Words(true.values()).spellings(answers))
    if changed:
        console.say(f"{predictions}: taken as {truth} spells them: {changes_told(changed)}")
    return dict(zip(wanted, found, strict=True))
