"""The rows that every member of an ensemble was validated on, and what each says of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import DataError, count, some
from bunryu.data.splits.split_csv import read_run_rows
from bunryu.evaluate.decision.logit_adjustment import adjusted_by
from bunryu.evaluate.measure import LEARNED_FROM_VAL, dro_column, groups_of
from bunryu.inference.ensemble_record import Mean
from bunryu.inference.predictions import Predictions, read_predictions
from bunryu.models.record import Sealed, read_sealed
from bunryu.runs.folder import RunFolder


@dataclass(frozen=True)
class Joining:
    """A run that is to predict with others: one model, or the models of its folds.

    Attributes:
        folder: of the run.
        files: its sealed models.
        shares: of its own mean.
        sealed: the record of the first.
        offsets_K: what is added to its logits after that mean, in the order of its own classes.
        mean: what it averages.
    """

    folder: RunFolder
    files: list[Path]
    shares: list[float]
    sealed: Sealed
    offsets_K: list[float] | None
    mean: Mean


@dataclass(frozen=True)
class Shared:
    """Rows that every member was validated on, and what each says of them, before any logit adjustment.

    Attributes:
        probs_MNK: what each member says, its classes in the order of the first one's.
        rows: the same rows with their truth and groups; the probabilities are the first member's.
        bootstrap: evaluate.bootstrap of the members, the largest.
    """

    probs_MNK: NDArray[np.float64]
    rows: Predictions
    bootstrap: int

    @property
    def true_N(self) -> NDArray[np.int64]:
        """Index of the true class of each row."""
        return _true(self.rows)


def shared_rows(members: Sequence[Joining]) -> tuple[Shared | None, str]:
    """Return the rows that all members were validated on; None and why where those are not the same."""
    sealed = members[0].sealed
    found = []
    for member in members:
        try:
            predictions = _with_groups(_validated(member.folder, sealed.classes), member)
        except DataError as error:
            return None, str(error)
        order = sorted(range(len(predictions)), key=predictions.paths.__getitem__)
        found.append(predictions.take(np.array(order, np.int64)))
    first = found[0]
    for member, other in zip(members[1:], found[1:], strict=True):
        if other.paths != first.paths or not np.array_equal(_true(other), _true(first)):
            lone = sorted(set(other.paths) ^ set(first.paths))
            told = (
                f"{count(len(lone), 'row')} in one of them alone, such as {some(lone, 2)}" if lone else "other labels"
            )
            return None, f"{members[0].folder.path} and {member.folder.path} were validated on different rows ({told})."
    # what one member knows to be one person is so for all of them
    told_groups = [own.groups for own in found if own.groups is not None]
    grouped = min(told_groups, key=lambda names: len(set(names)), default=None)
    more = next((own.more for own in found if own.more), {})
    attributes, positive = sealed.attributes, sealed.answer.positive
    rows = dataclasses.replace(first, groups=grouped, more=more, attributes=attributes, positive=positive)
    bootstrap = max(member.folder.settings().evaluate.bootstrap for member in members)
    return Shared(np.stack([one.probs_NK for one in found]).astype(np.float64), rows, bootstrap), ""


def _true(predictions: Predictions) -> NDArray[np.int64]:
    assert predictions.true_N is not None
    return predictions.true_N


def _with_groups(predictions: Predictions, member: Joining) -> Predictions:
    """Return what a run said of its rows with the groups that its split.csv has of them.

    Raises:
        DataError: it lacks one of the rows.
    """
    split = member.folder.intact(member.folder.split)
    table = read_run_rows(split, member.folder.path, member.sealed.answer.column)
    row_of = {str(path): row for row, path in enumerate(table.paths)}
    lost = [path for path in predictions.paths if path not in row_of]
    if lost:
        raise DataError(f"{member.folder.path} is damaged: {split.name} lacks {some(lost, 3)} of its predictions.")
    rows = np.array([row_of[path] for path in predictions.paths], np.int64)
    return dataclasses.replace(predictions, groups=groups_of(table, rows), more=dro_column(table, rows))


def _validated(folder: RunFolder, classes: list[str]) -> Predictions:
    """Return what a run said of its validation rows, or its folds of theirs, before any logit adjustment.

    Raises:
        DataError: it was not validated.
    """
    if folder.folds.exists():
        k = int(folder.settings().folds.k or 0)
        parts = [_validated(folder.fold(number), classes) for number in range(1, k + 1)]
        return Predictions(
            [path for part in parts for path in part.paths],
            classes,
            np.concatenate([part.probs_NK for part in parts]),
            np.concatenate([_true(part) for part in parts]),
        )
    file = folder.path / "predictions_val.csv"
    if not file.exists() and folder.ensemble.exists():
        raise DataError(f"{folder.path} is an ensemble, which keeps no answers of its own: name its runs instead.")
    if not file.exists():
        raise DataError(f"{folder.path} has no predictions_val.csv: it had no validation rows.")
    predictions, sealed = read_predictions(folder.intact(file), classes), read_sealed(folder.model)
    if LEARNED_FROM_VAL in sealed.provenance:
        raise DataError(f"{folder.path} learned from its validation rows in the end.")
    offsets_K = sealed.answer_offsets
    if offsets_K is None:
        return predictions
    given = dict(zip(sealed.classes, offsets_K, strict=True))
    taken = adjusted_by(predictions.probs_NK, [-given[name] for name in classes])
    return dataclasses.replace(predictions, probs_NK=taken)
