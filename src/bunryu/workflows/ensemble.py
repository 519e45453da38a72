"""`bunryu ensemble`: several runs become one folder that predicts and measures with all of them together."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bunryu.core import caller, console
from bunryu.core.errors import ConfigError, DataError, count, some
from bunryu.core.storage import read_json, write_atomic, write_json
from bunryu.evaluate.attributes import measure_attributes
from bunryu.evaluate.caveats import Exposure
from bunryu.evaluate.decision.ensemble_weights import fit_weights, log_loss
from bunryu.evaluate.decision.logit_adjustment import adjusted_by
from bunryu.evaluate.figures import Metrics
from bunryu.evaluate.measure import LEARNED_FROM_VAL
from bunryu.evaluate.metrics import measure
from bunryu.evaluate.report.mistakes import mistakes_csv, mistakes_file
from bunryu.evaluate.report.text import headline, text_report
from bunryu.inference.ensemble import combined, require_same_classes
from bunryu.inference.ensemble_record import EnsembleMember, EnsembleRecord, Mean, read_ensemble, write_ensemble
from bunryu.inference.predictions import Predictions, read_predictions
from bunryu.inference.trust import keep_code
from bunryu.models.record import Decision, Sealed, read_sealed
from bunryu.runs.folder import RunFolder, model_file, open_folder, require_new


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


def unite(runs: Sequence[Path], *, out: Path, weights: Literal["equal", "fit"], mean: Mean) -> RunFolder:
    """Write an ensemble; see `bunryu.ensemble`.

    Raises:
        ConfigError: fewer than two runs, other classes, or nothing to fit weights on.
        RunError: no run, an unfinished one, or `out` is not empty.
    """
    if len(runs) < 2:
        raise ConfigError(f"An ensemble has two runs or more, received {count(len(runs), 'run')}: {some(runs)}.")
    require_new(out)
    members = [_joining(path, mean) for path in runs]
    require_same_classes([(str(path), member.sealed.classes) for path, member in zip(runs, members, strict=True)])
    shared, why = _shared(members)
    if weights == "fit" and shared is None:
        raise ConfigError(f"--weights fit needs rows that all runs were validated on: {why}")
    weights_M = np.full(len(members), 1.0 / len(members))
    if weights == "fit" and shared is not None:
        weights_M = fit_weights(shared.probs_MNK, shared.true_N, logits=mean == "logits")
    record = EnsembleRecord(
        members=[
            EnsembleMember(file=f"members/{i}-{j}.safetensors", weight=weight * share, run=member.folder.path.name)
            for i, (member, weight) in enumerate(zip(members, weights_M.tolist(), strict=True), 1)
            for j, share in enumerate(member.shares, 1)
        ],
        mean=mean,
        decision=Decision(logit_offsets=_offsets(members, weights_M)),
    )
    folder = RunFolder(out)
    (out / "members").mkdir(parents=True)
    for entry, file in zip(record.members, (file for member in members for file in member.files), strict=True):
        shutil.copyfile(file, out / entry.file)
    keep_code(folder, [file for member in members for file in member.files])
    _copy_rows(folder, members)
    _write_report(folder, members, weights_M, record, shared, weights == "fit", why)
    folder.note([*folder.splits, *folder.results])
    write_ensemble(folder, record)  # last: a folder that has it is whole
    folder.note([folder.ensemble])
    return folder


def _joining(path: Path, mean: Mean) -> Joining:
    file = model_file(path)
    folder = open_folder(path)
    if file.suffix != ".json":
        sealed = read_sealed(file)
        if sealed.multi_label:
            raise ConfigError(
                f"{path} has labels that can hold together (data.multi_label), which no ensemble unites yet."
            )
        return Joining(folder, [file], [1.0], sealed, sealed.answer_offsets, mean)
    record = read_ensemble(file)
    if mean == "logits" or record.mean == "logits":
        raise ConfigError(
            f"{path} averages the {record.mean} of several models itself; within another ensemble that goes together "
            "only where both average probabilities. Leave --mean out, or name its members instead."
        )
    files = [file.parent / member.file for member in record.members]
    shares = np.array([member.weight for member in record.members])
    return Joining(
        folder,
        files,
        (shares / shares.sum()).tolist(),
        read_sealed(files[0]),
        record.decision.logit_offsets,
        record.mean,
    )


@dataclass(frozen=True)
class Shared:
    """Rows that every member was validated on, and what each says of them, before any logit adjustment."""

    probs_MNK: NDArray[np.float64]
    true_N: NDArray[np.int64]
    paths: list[str]


def _shared(members: Sequence[Joining]) -> tuple[Shared | None, str]:
    """Return the rows that all members were validated on; None and why where those are not the same."""
    classes = members[0].sealed.classes
    found = []
    for member in members:
        try:
            predictions = _validated(member.folder, classes)
        except DataError as error:
            return None, str(error)
        order = sorted(range(len(predictions)), key=predictions.paths.__getitem__)
        found.append(predictions.take(np.array(order, np.int64)))
    for member, other in zip(members[1:], found[1:], strict=True):
        first = found[0]
        if other.paths != first.paths or not np.array_equal(_true(other), _true(first)):
            lone = sorted(set(other.paths) ^ set(first.paths))
            told = (
                f"{count(len(lone), 'row')} in one of them alone, such as {some(lone, 2)}" if lone else "other labels"
            )
            return None, (
                f"{members[0].folder.path} and {member.folder.path} were validated on different rows ({told}). Train "
                "them with the same data and split.seed (or split.file), or use --weights equal."
            )
    return Shared(np.stack([one.probs_NK for one in found]).astype(np.float64), _true(found[0]), found[0].paths), ""


def _true(predictions: Predictions) -> NDArray[np.int64]:
    assert predictions.true_N is not None
    return predictions.true_N


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
    if not file.exists():
        raise DataError(f"{folder.path} has no predictions_val.csv: it had no validation rows. Use --weights equal.")
    predictions, sealed = read_predictions(folder.intact(file), classes), read_sealed(folder.model)
    if LEARNED_FROM_VAL in sealed.provenance:
        raise DataError(f"{folder.path} learned from its validation rows in the end. Use --weights equal.")
    offsets_K = sealed.answer_offsets
    if offsets_K is None:
        return predictions
    given = dict(zip(sealed.classes, offsets_K, strict=True))
    taken = adjusted_by(predictions.probs_NK, [-given[name] for name in classes])
    return dataclasses.replace(predictions, probs_NK=taken)


def _offsets(members: Sequence[Joining], weights_M: NDArray[np.float64]) -> list[float] | None:
    """Return the weighted mean of what the members add to their logits, in the order of the first one's classes."""
    if all(member.offsets_K is None for member in members):
        return None
    classes = members[0].sealed.classes
    total_K = np.zeros(len(classes))
    for member, weight in zip(members, weights_M, strict=True):
        own = dict(zip(member.sealed.classes, member.offsets_K or [0.0] * len(classes), strict=True))
        total_K += weight * np.array([own[name] for name in classes])
    found: list[float] = total_K.tolist()
    return found


def _copy_rows(folder: RunFolder, members: Sequence[Joining]) -> None:
    """Keep the rows where all members have the same split, so that evaluate knows what to measure; else each one's,
    so that it knows which images they have seen.
    """
    splits = [member.folder.split for member in members]
    if all(split.exists() for split in splits) and not any(m.folder.folds.exists() for m in members):
        roots = {read_json(member.folder.environment)["data_root"] for member in members}
        if len({m.folder.intact(m.folder.split).read_bytes() for m in members}) == 1 and len(roots) == 1:
            write_atomic(folder.split, splits[0].read_bytes())
            write_json(folder.environment, {"data_root": roots.pop()})
            return
    for i, member in enumerate(members, 1):
        for j, split in enumerate(member.folder.splits, 1):
            write_atomic(folder.path / "members" / f"{i}-{j}.split.csv", member.folder.intact(split).read_bytes())


def _write_report(
    folder: RunFolder,
    members: Sequence[Joining],
    weights_M: NDArray[np.float64],
    record: EnsembleRecord,
    shared: Shared | None,
    fitted: bool,
    why: str,
) -> None:
    """Say who is in it, how much each counts, and what each and all reach on the rows that they share."""
    lines = []
    for m, (member, weight) in enumerate(zip(members, weights_M, strict=True)):
        alone = "" if shared is None else f", log loss {log_loss(shared.probs_MNK[m], shared.true_N):.4f} alone"
        lines.append(f"{member.folder.path}: weight {weight:.3f}{alone}")
    facts: dict[str, str | list[str]] = {
        "members": lines,
        "mean": f"of {record.mean}, {'fitted' if fitted else 'equal'} weights",
    }
    metrics: dict[str, Metrics] = {}
    if shared is None:
        facts["measured"] = f"not here: {why}"
    else:
        probs_NK = combined(shared.probs_MNK, weights_M, record.mean)
        facts["log loss"] = f"{log_loss(probs_NK, shared.true_N):.4f} together"
        if record.decision.logit_offsets is not None:
            probs_NK = adjusted_by(probs_NK, record.decision.logit_offsets).astype(np.float64)
        sealed = members[0].sealed
        positive = sealed.answer.positive
        found = measure(probs_NK, shared.true_N, sealed.classes, positive=positive, exposure=Exposure(members=True))
        answers = Predictions(
            shared.paths, sealed.classes, probs_NK.astype(np.float32), shared.true_N, attributes=sealed.attributes
        )
        if sealed.attributes:
            found = found.plus(attributes=measure_attributes(answers, bootstrap=2000))
        metrics["val"] = found
        write_json(folder.metrics, {"val": found.as_json()})
        write_atomic(folder.path / mistakes_file("val"), mistakes_csv(answers))
    write_atomic(folder.report, text_report(f"bunryu ensemble {folder.path.name}", facts, metrics, next_steps=[]))
    for name, text in facts.items():
        first, *more = [text] if isinstance(text, str) else text
        console.say(f"{name}: {first}", *more)
    for name, found in metrics.items():
        caller.present().show(f"{name}: {headline(found)}")
