"""`bunryu ensemble`: several runs become one folder that predicts and measures with all of them together."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bunryu.core import caller, console
from bunryu.core.errors import ConfigError, count, some
from bunryu.core.storage import write_atomic, write_json
from bunryu.evaluate.caveats import Exposure
from bunryu.evaluate.decision.ensemble_weights import fit_weights, log_loss
from bunryu.evaluate.decision.logit_adjustment import adjusted_by
from bunryu.evaluate.figures import Metrics
from bunryu.evaluate.measured import measure_classes
from bunryu.evaluate.members import Verdict, judge
from bunryu.evaluate.report.mistakes import mistakes_csv, mistakes_file
from bunryu.evaluate.report.text import headline, text_report
from bunryu.evaluate.report.warnings import warnings_of
from bunryu.inference.ensemble import combined, require_same_classes
from bunryu.inference.ensemble_record import (
    EnsembleMember,
    EnsembleRecord,
    Mean,
    member_files,
    read_ensemble,
    write_ensemble,
)
from bunryu.inference.predictions import Predictions
from bunryu.inference.trust import keep_code
from bunryu.models.record import Decision, read_sealed
from bunryu.runs import digests
from bunryu.runs.claim import claimed, require_new
from bunryu.runs.folder import RunFolder, model_file, open_folder
from bunryu.settings.evaluate import EvaluateSettings
from bunryu.workflows.ensemble_rows import Joining, Shared, shared_rows


def unite(runs: Sequence[Path], *, out: Path, weights: Literal["equal", "fit"], mean: Mean) -> RunFolder:
    """Write an ensemble; see `bunryu.ensemble`.

    Raises:
        ConfigError: fewer than two runs, other classes, or nothing to fit weights on.
        RunError: no run, an unfinished one, or `out` is not empty.
    """
    if len(runs) < 2:
        raise ConfigError(f"An ensemble has two runs or more, received {count(len(runs), 'run')}: {some(runs)}.")
    require_new(out, "ensemble")
    members = [_joining(path, mean) for path in runs]
    require_same_classes([(str(path), member.sealed.classes) for path, member in zip(runs, members, strict=True)])
    shared, why = shared_rows(members)
    if weights == "fit" and shared is None:
        raise ConfigError(
            f"--weights fit needs rows that all runs were validated on: {why} Train them with the same data and "
            "split.seed (or split.file), or use --weights equal."
        )
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
    written = (
        "members/",
        "code/",
        "split.csv",
        "environment.json",
        "metrics.json",
        "mistakes_val.csv",
        "report.txt",
        "ensemble.json",
    )
    with claimed("", out, out.parent, "ensemble", (*written, digests.NAME)):
        folder = RunFolder(out)
        (out / "members").mkdir()
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
        leave = "Leave --mean out, or name" if record.mean != "logits" else "Name"
        raise ConfigError(
            f"{path} averages the {record.mean} of several models itself; within another ensemble that goes together "
            f"only where both average probabilities. {leave} its members instead."
        )
    files = member_files(file)
    shares = np.array([member.weight for member in record.members])
    return Joining(
        folder,
        files,
        (shares / shares.sum()).tolist(),
        read_sealed(files[0]),
        record.decision.logit_offsets,
        record.mean,
    )


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
        roots = {member.folder.read_environment().data_root for member in members}
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
        answers = dataclasses.replace(shared.rows, probs_NK=_decided(probs_NK, record.decision.logit_offsets))
        settings = EvaluateSettings(bootstrap=shared.bootstrap)
        found = measure_classes(answers, settings, Exposure(members=True))
        verdict = _verdict(members, weights_M, record, shared, answers, fitted)
        facts["best member"] = verdict.fact
        metrics["val"] = found = found.plus(notes=(*verdict.warnings, *found.notes))
        write_json(folder.metrics, {"val": found.as_json()})
        write_atomic(folder.path / mistakes_file("val"), mistakes_csv(answers))
    write_atomic(folder.report, text_report(f"bunryu ensemble {folder.path.name}", facts, metrics, next_steps=[]))
    for name, text in facts.items():
        console.say(f"{name}: {text}")
    for name, found in metrics.items():
        for warning in warnings_of(found, None, mistakes_file(name)):
            console.say(f"{name}: {warning}", style="yellow")
        caller.present().show(f"{name}: {headline(found)}")


def _decided(probs_NK: NDArray[np.float64], offsets_K: list[float] | None) -> NDArray[np.float32]:
    found = probs_NK if offsets_K is None else adjusted_by(probs_NK, offsets_K)
    return found.astype(np.float32)


def _verdict(
    members: Sequence[Joining],
    weights_M: NDArray[np.float64],
    record: EnsembleRecord,
    shared: Shared,
    together: Predictions,
    fitted: bool,
) -> Verdict:
    """Compare all together with each alone, and with those that are left without the ones that are worse."""

    def answers(of: list[int]) -> NDArray[np.int64]:
        chosen, probs_MNK = [members[m] for m in of], shared.probs_MNK[of]
        own_M = fit_weights(probs_MNK, shared.true_N, logits=record.mean == "logits") if fitted else weights_M[of]
        own_M = own_M / own_M.sum()
        probs_NK = _decided(combined(probs_MNK, own_M, record.mean), _offsets(chosen, own_M))
        return dataclasses.replace(together, probs_NK=probs_NK).pred_N

    paths = [member.folder.path for member in members]
    return judge(paths, answers, together, resamples=shared.bootstrap)
