"""READ FIRST: one run from data to report. Plan, create the folder, train, measure, write."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bunryu.core import console, distributed
from bunryu.core.errors import Interrupted, count, typed
from bunryu.data.table import Table
from bunryu.evaluate.caveats import UNSEEN, learned_told, of_validation
from bunryu.evaluate.figures import read_metrics
from bunryu.evaluate.measure import LEARNED_FROM_VAL, answer_rows, decide, learned_from_val, measure_rows, scorer
from bunryu.evaluate.report.files import write_results
from bunryu.evaluate.report.fonts import font_note
from bunryu.evaluate.report.mistakes import mistakes_file
from bunryu.evaluate.report.text import headline
from bunryu.evaluate.report.training_curves import plot_curves
from bunryu.evaluate.report.warnings import warnings_of
from bunryu.inference.model import Model
from bunryu.inference.reading import Answers, Reading
from bunryu.models.sealed_file import seal
from bunryu.runs.folder import RunFolder, create_run
from bunryu.runs.interrupt import resumable, stop_signals
from bunryu.settings.run import RunSettings, whole_stages
from bunryu.settings.validate import replaced
from bunryu.train.data_parallel import same_as_first
from bunryu.train.epoch_table import loss_note
from bunryu.train.group_dro import GroupDRO
from bunryu.train.loop import fit
from bunryu.train.precision import memory_advice
from bunryu.train.stages import Learned, losses_for
from bunryu.train.state import Job, State
from bunryu.train.targets import targets_of
from bunryu.workflows.plan.decide import planned
from bunryu.workflows.plan.plan import Plan
from bunryu.workflows.plan.preview import try_first_batch, write_augmented
from bunryu.workflows.plan.record import write_setup
from bunryu.workflows.plan.session import Session, tell_others, told_by_first


def train(
    settings: RunSettings,
    *,
    frame: Any = None,
    out: Path | None = None,
    root: Path = Path("runs"),
    minutes: float | None = None,
    began: float | None = None,
) -> RunFolder:
    """Train, measure and seal a classifier. Who calls it shows the results: `say_results`.

    Args:
        settings: all settings.
        frame: a pandas DataFrame instead of `settings.data.source`.
        out: the run folder; the next free ``root/NAME-N`` when None.
        root: where runs get their folders.
        minutes: decide epochs and sizes so that everything fits into so much time; see `plan.time_budget`.
        began: when that time began, by `time.monotonic`; now when None.

    Raises:
        BunryuError: with one message; see `bunryu.core.errors`.
    """
    with distributed.together():
        if not distributed.first():
            return follow()
        plan = planned(settings, frame, minutes, began)
        folder = create_run(settings.label, out, root)
        carry_out(folder, plan, frame)
    return folder


def carry_out(folder: RunFolder, plan: Plan, frame: Any = None) -> None:
    """Do what was planned, in a folder that holds nothing yet."""
    with folder.lock(), resumable(folder):
        for path in (folder.best.parent, folder.plots):
            path.mkdir(parents=True, exist_ok=True)
        write_setup(folder, plan, frame)
        session = Session.of(folder, plan)
        write_augmented(folder, plan, session.model, session.cache)
        run_to_end(session)


def run_to_end(session: Session) -> None:
    """Train from the checkpoint (or the start), then seal the best model, measure it, and write the results."""
    where = typed(session.folder.path)
    if note := font_note(session.model.classes, session.folder.path.name, f"bunryu evaluate {where}"):
        console.say(note, style="yellow")
    tell_others(session)
    trained = learn(session)
    try:
        finish(session, trained)
    except KeyboardInterrupt:
        go_on = f"bunryu train --resume {where}"
        raise Interrupted(f"Stopped while measuring; the training is done and saved. Go on with: {go_on}") from None


def follow() -> RunFolder:
    """Be one of the other processes of a training: train along; the first one does all the rest."""
    session = told_by_first()
    learn(session)
    return session.folder


def learn(session: Session) -> State:
    """Train from the checkpoint or the start; of several processes, every one."""
    settings, table, model = session.settings, session.table, session.model
    same_as_first(model.net.state_dict().values())
    targets, rows = targets_of(table, model.sealed), table.split("train")
    with stop_signals() as stop, memory_advice(settings.train.batch_size, settings.train.accumulate):
        job = Job(
            model=model,
            settings=settings,
            stages=whole_stages(settings),
            loss=losses_for(settings, targets, rows, model),
            robust=GroupDRO.of(settings.loss, table.dro_groups, rows),
            table=table,
            cache=session.cache,
            targets=targets,
            rows=rows,
            val_rows=table.split("val"),
            score=scorer(
                targets, model.classes, model.sealed.answer.positive, table.dro_groups, model.sealed.attributes
            ),
            folder=session.folder.path,
            stop=stop,
        )
        return fit(job, session.checkpoint)


def finish(session: Session, trained: State) -> None:
    """Seal the best model as the final one, measure it on validation and test, and write the results."""
    folder, settings, table, progress = session.folder, session.settings, session.table, trained.progress
    device = session.model.device.type
    best = final = Model.open(folder.best, device=device)  # type: ignore[arg-type]
    history = folder.read_history()
    row = history[progress.best_epoch - 1]
    provenance = {**best.sealed.provenance, "run": folder.path.name, "best": row}
    epochs = (progress.best_epoch, progress.best_epoch)
    if learned := learned_from_val(history):
        final = Model.open(folder.final, device=device)  # type: ignore[arg-type]
        provenance |= {"last": history[-1], LEARNED_FROM_VAL: learned}
        epochs = (progress.best_epoch, len(history))
    reading = Reading(workers=settings.data.workers, cache=session.cache)
    val = validated(trained, best, table, reading)
    taught = [Learned.at(settings, history, epoch) for epoch in epochs]
    (decision, last), told = decide(settings, best, table, val, *taught)
    best.sealed = replaced(best.sealed, {"decision": decision})
    final.sealed = replaced(final.sealed, {"provenance": provenance, "decision": last})
    seal(folder.model, final.net, final.sealed)
    plot_curves(history, folder.plots / "curves.png", folder.path.name, loss_note(settings))
    known = of_validation(
        settings.train.monitor,
        settings.decision.tau,
        thresholds=bool(decision.thresholds),
        tested=len(table.split("test")) > 0,
        before=(learned, progress.best_epoch) if learned else None,
    )
    answers = {} if val is None else {"val": best.decided(val)}
    results = [
        measure_rows(name, table, rows, of, settings.evaluate, reading, answers.get(name), seen)
        for name, of, seen in (("val", best, known), ("test", final, UNSEEN))
        if len(rows := table.split(name))
    ]
    by = f"the best by {settings.train.monitor} is" if settings.train.monitor != "train_epochs" else "the last counts,"
    ended = f"{count(progress.total_epochs, 'epoch')} ({progress.ended_by}); {by} epoch {progress.best_epoch}"
    if learned:
        ended += learned_told(learned)
    steps = next_steps(folder)
    title = f"bunryu run {folder.path.name}"
    again = f"bunryu evaluate {typed(folder.path)}"
    decisions = dataclasses.replace(session.decisions, training=ended, decision=told or None)
    folder.forget(folder.results)
    write_results(folder.path, results, folder.path.name, title, decisions.told(), steps, again, settings)
    folder.note(folder.results)
    console.say(ended)
    if told:
        console.say(f"decision: {told}")
    for result in results:
        for warning in warnings_of(result.metrics, settings, mistakes_file(result.name)):
            console.say(f"{result.name}: {warning}", style="yellow")


def validated(trained: State, best: Model, table: Table, reading: Reading) -> Answers | None:
    """Return what the best model answers to the validation rows: as in its epoch, else asked once more.

    None without such rows. In its epoch it was asked with the same pictures in the same batches, so to the same bits;
    not where it learned on features, or in another process before a resume.
    """
    if trained.best is not None and trained.best.logits_NC is not None:
        return trained.best
    rows = table.split("val")
    asked = dataclasses.replace(reading, logits=True)
    return answer_rows("val", table, rows, best, asked) if len(rows) else None


def dry_run(
    settings: RunSettings, *, frame: Any = None, minutes: float | None = None, began: float | None = None
) -> None:
    """Plan a run and take its first batch through the network, without making a run folder; see `train`.

    Raises:
        BunryuError: whatever would not allow the run.
    """
    if not distributed.first():
        return
    try_first_batch(planned(settings, frame, minutes, began))


def say_results(folder: RunFolder, show: Callable[[str], None] = console.say) -> None:
    """Show a finished run's headlines and folder with `show`, and say what to type next."""
    if not distributed.first():
        return
    for name, metrics in read_metrics(folder).items():
        show(f"{name}: {headline(metrics)}")
    show(f"run: {folder.path} (report.txt, metrics.json, mistakes_*.csv, plots/)")
    first, *more = next_steps(folder)
    console.say(f"next: {first}", *(f"      {step}" for step in more))


def next_steps(folder: RunFolder) -> list[str]:
    """Return the commands to type next."""
    code = " --trust-code" if folder.code.is_dir() else ""
    return [
        f"bunryu predict {typed(folder.path)} NEW_IMAGES/ --out predictions.csv{code}",
        f"bunryu evaluate {typed(folder.path)} --data LABELLED_IMAGES/{code}",
    ]
