"""Go on with a stopped run, to the same bits as if it had never stopped; or train a finished one further."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import torch

from bunryu.core import console, distributed
from bunryu.core.environment import versions
from bunryu.core.errors import DeviceError, RunError, count, some, typed
from bunryu.core.storage import remove_leftovers, write_atomic
from bunryu.data.checks.check import Checked, check_images, find_copies
from bunryu.data.sources.read import read_source
from bunryu.data.splits.split_csv import read_run_rows
from bunryu.data.table import Table, Texts, texts
from bunryu.inference.device import choose_device
from bunryu.inference.model import Model
from bunryu.inference.trust import Trust, trust_run
from bunryu.models.sealed_file import empty
from bunryu.runs.folder import RunFolder, open_folder
from bunryu.runs.interrupt import resumable
from bunryu.settings.model import split_name
from bunryu.settings.run import RunSettings, decode_spec, whole_stages
from bunryu.settings.stages import Stage
from bunryu.settings.validate import replaced
from bunryu.train.checkpoint import Checkpoint, load_checkpoint
from bunryu.train.resumed import give
from bunryu.train.stages import stages_told
from bunryu.train.tensorboard import require_tensorboard
from bunryu.workflows.plan.decide import make_plan, require_shareable
from bunryu.workflows.plan.decisions import Decisions
from bunryu.workflows.plan.record import write_config
from bunryu.workflows.plan.session import Session
from bunryu.workflows.train import follow, run_to_end

_TOLD = ("label changed", "group changed", "changed")


def resume(run: str | Path, *, more_epochs: int = 0, trust: Trust = False, checked: Checked | None = None) -> RunFolder:
    """Go on with a run from its last checkpoint.

    Args:
        run: the run folder.
        more_epochs: train a finished run for so many epochs more, as a further stage.
        trust: of a run whose network is code of the user's own: whether, and which file, may be run.
        checked: the check of its data, where that was just made.

    Raises:
        RunError: no run, in use, nothing to resume, or data that changed since.
    """
    with distributed.together():
        if not distributed.first():
            return follow()
        folder = open_folder(run)
        if not folder.config.exists() or not folder.environment.exists():
            if folder.ensemble.exists():
                raise RunError(f"{folder.path} is an ensemble of finished runs: there is no training to go on with.")
            raise RunError(
                f"{folder.path} has a model, but not the settings it was trained with, so there is nothing to go on "
                f"with. Start a new run from it: bunryu train DATA model.weights={typed(folder.path)}"
            )
        with folder.lock(), resumable(folder):
            folder.set_up()
            run_to_end(_reopened(folder, more_epochs, trust, checked))
        return folder


def _reopened(folder: RunFolder, more_epochs: int, trust: Trust, checked: Checked | None) -> Session:
    """Read a run back, and make torch ready as it was; refuse what cannot go on to the same end."""
    settings, environment = folder.settings(), folder.read_environment()
    require_tensorboard(settings.train)
    require_shareable(settings)
    torch.set_num_threads(environment.threads)
    device = _same_device(settings, environment.device)
    distributed.require_devices(device.type)
    _say_other_processes(environment.processes)
    if folder.metrics.exists() and not more_epochs:
        raise RunError(
            f"{folder.path} has finished; there is nothing to resume. To train it further: "
            f"bunryu train --resume {typed(folder.path)} --more-epochs 5"
        )
    table, checked = unchanged_data(folder, settings, Path(environment.data_root), checked)
    for written in (folder.path, folder.best.parent, folder.plots):
        remove_leftovers(written)
    checkpoint = load_checkpoint(folder.last) if folder.last.exists() else None
    trust_run(folder, checkpoint.sealed.architecture.own if checkpoint else None, trust)
    decisions = Decisions.read(environment.facts)
    if checkpoint is None:
        return _from_the_start(folder, with_code(folder, settings), (table, checked), decisions, more_epochs)
    if len(folder.read_history()) < checkpoint.progress.history:
        raise RunError(f"{folder.history} lost rows since it was written. Put it back, or start a new run.")
    if more_epochs:
        settings = _extended(folder, settings, checkpoint, more_epochs)
    net = empty(folder.last, checkpoint.sealed)
    give(net, checkpoint.net, checkpoint)
    say_other_versions(environment.versions)
    stages = whole_stages(settings)
    console.say(f"resuming {folder.path} at {_place(checkpoint, stages)}, {environment.threads} threads")
    decisions = dataclasses.replace(decisions, stages=stages_told(stages, net))
    return Session(folder, settings, table, Model(net, checkpoint.sealed, device), decisions, checkpoint)


def _from_the_start(
    folder: RunFolder, settings: RunSettings, read: tuple[Table, Checked], decisions: Decisions, more_epochs: int
) -> Session:
    """Start over a run that was stopped before its first checkpoint; its draws are the same."""
    if more_epochs:
        raise RunError(f"{folder.path} has no checkpoint yet; resume it without --more-epochs first.")
    console.say("no checkpoint was saved before it stopped: starting from the beginning")
    plan = make_plan(settings, read=read_again(*read, separate=settings.model.heads == "separate"))
    return dataclasses.replace(Session.of(folder, plan), decisions=decisions)


def unchanged_data(
    folder: RunFolder, settings: RunSettings, root: Path, checked: Checked | None = None
) -> tuple[Table, Checked]:
    """Return the run's rows with their splits, and the check of its data; refuse data that changed since.

    Args:
        folder: of the run.
        settings: of the run.
        root: what the paths of its data are relative to.
        checked: the check, where that was just made.

    Raises:
        RunError: listing what was added, removed or changed.
    """
    spec, data = decode_spec(settings), settings.data
    folder.intact(folder.frame)
    if checked is None:
        checked = check_images(read_source(data, root=root), spec, level=data.check, workers=data.workers)
    before = read_run_rows(folder.intact(folder.split), checked.table.root, checked.table.target)
    changes = _changes(before, checked.table)
    if changes:
        listing = folder.path / "data_changes.txt"
        write_atomic(listing, "".join(f"{line}\n" for line in changes).encode("utf-8", "surrogateescape"))
        raise RunError(
            f"The data of {folder.path} changed since it started ({count(len(changes), 'difference')}): "
            f"{some(changes, 6)} (all in {listing}). Resuming would not give what the run promises. "
            "Put the data back, or start a new run."
        )
    return before, checked


def read_again(before: Table, checked: Checked, *, separate: bool) -> tuple[Table, Checked]:
    """Return the data as they were read again, in the order and with the splits that split.csv has, and their check.

    split.csv alone would not do: what was read knows of published indices and of several label columns.
    """
    now = checked.table
    place: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(now.paths.tolist(), now.target_labels.tolist(), strict=True)):
        place.setdefault(key, []).append(row)
    keys = zip(before.paths.tolist(), before.target_labels.tolist(), strict=True)
    rows = np.array([place[key].pop(0) for key in keys], np.int64)
    table = dataclasses.replace(now.take(rows), splits=before.splits, dro_groups=before.dro_groups, separate=separate)
    return table, dataclasses.replace(checked, table=table, copies=find_copies(table))


def _changes(before: Table, now: Table) -> list[str]:
    """Return what differs between the rows of a run and its data now, a sentence each, sorted.

    Splits are not compared: not all of them are in the data.
    """
    was, new = _identity(before), _identity(now)
    if all(np.array_equal(a, b) for a, b in zip(was, new, strict=True)):  # as nearly always, without copies
        return []
    rows_was, rows_new = Counter(zip(*was, strict=True)), Counter(zip(*new, strict=True))
    gone, come = _by_path(rows_was - rows_new), _by_path(rows_new - rows_was)
    changes = [f"removed or no longer readable: {path}" for path in gone.keys() - set(new[0])]
    changes += [f"added: {path}" for path in come.keys() - set(was[0])]
    for path in (gone.keys() | come.keys()) & set(was[0]) & set(new[0]):
        columns = zip(zip(*gone[path], strict=True), zip(*come[path], strict=True), strict=False)
        told = [_TOLD[i] for i, (a, b) in enumerate(columns) if sorted(a) != sorted(b)]
        changes += [f"{what}: {path}" for what in told or ["label changed"]]  # one label of several added or removed
    return sorted(changes)


def _identity(table: Table) -> list[Texts]:
    """Return the columns that may not change: path, label, group, digest."""
    nothing = texts([""] * len(table))
    return [table.paths, table.target_labels, *(nothing if c is None else c for c in (table.groups, table.digests))]


def _by_path(rows: Counter[tuple[str, ...]]) -> defaultdict[str, list[tuple[str, ...]]]:
    found: defaultdict[str, list[tuple[str, ...]]] = defaultdict(list)
    for path, *rest in rows.elements():
        found[path].append(tuple(rest))
    return found


def _same_device(settings: RunSettings, recorded: str) -> torch.device:
    """Return the device that the run was started on, where this machine has one of its kind."""
    kind = torch.device(recorded).type
    try:
        return choose_device(kind)  # type: ignore[arg-type]
    except DeviceError:
        device = choose_device(settings.train.device, mend="a machine that has it")
        console.say(f"there is no {kind} here: going on on {device}, to other bits than on {kind}", style="yellow")
        return device


def say_other_versions(before: dict[str, str]) -> None:
    """Say where the packages are not those that the run began with: the same bits are then not promised."""
    now = versions()
    other = [f"{name} {before[name]} then, {now[name]} now" for name in before if before[name] != now.get(name)]
    if other:
        console.say(
            f"other versions than the run began with, so the last bits may differ: {some(other)}", style="yellow"
        )


def _say_other_processes(before: int) -> None:
    """Say where other processes share the batches than the run began with: sums then round differently."""
    if before != distributed.world():
        told = f"{count(before, 'process', 'processes')} then, {distributed.world()} now"
        console.say(f"{told}: the same rows in every batch, but the last bits may differ", style="yellow")


def with_code(folder: RunFolder, settings: RunSettings) -> RunSettings:
    """Return the settings with the run's own copy of its network's code, which was allowed."""
    if settings.model.file is None:
        return settings
    file, name = split_name(settings.model.file)
    copy = (folder.code / file.name).absolute()
    if not copy.exists():
        raise RunError(f"{folder.path} has no copy of {file}, so it cannot start over. Start a new run.")
    return replaced(settings, {"model.file": f"{copy}:{name}"})


def _extended(folder: RunFolder, settings: RunSettings, checkpoint: Checkpoint, more_epochs: int) -> RunSettings:
    """Add a stage of `more_epochs` to a finished run, and let its state go on."""
    stages = whole_stages(settings)
    if checkpoint.progress.stage < len(stages):
        raise RunError(f"{folder.path} has not finished; resume it without --more-epochs first.")
    if settings.train.swa is not None:
        raise RunError(
            f"{folder.path} ends in an average of weights (train.swa), which is not trained further. "
            f"Start a new run from it: model.weights={typed(folder.path)}"
        )
    if (whole := folder.path.absolute().parent / folder.folds.name).exists():
        raise RunError(
            f"{folder.path} is one of the runs of {whole.parent}, whose figures and final model are of this model as it"
            f" is. Start a new run from it: model.weights={typed(folder.path)}"
        )
    number = 1 + sum(stage.name.startswith("more") for stage in stages)
    last = Stage(name="more", freeze="statistics") if stages[-1].solve else stages[-1]
    sizes = last.sizes and last.sizes[-1:]
    stages.append(replaced(last, {"name": f"more{number}", "epochs": more_epochs, "sizes": sizes}))
    epochs = sum(int(stage.epochs or 0) for stage in stages if not stage.solve)
    settings = replaced(settings, {"train.stages": stages, "train.epochs": epochs})
    folder.forget(folder.results)
    folder.metrics.unlink(missing_ok=True)
    write_config(folder, settings)  # the checkpoint stands before the new stage: a kill here loses nothing
    return settings


def _place(checkpoint: Checkpoint, stages: list[Stage]) -> str:
    progress = checkpoint.progress
    if progress.stage == len(stages):
        return "the results"
    return f"epoch {progress.total_epochs + 1}" + (f", batch {progress.step + 1}" if progress.step else "")
