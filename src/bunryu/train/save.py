"""Saving what the loop needs to go on from, and stopping there."""

from __future__ import annotations

import time
from pathlib import Path

from bunryu.core import distributed
from bunryu.core.errors import Interrupted, typed
from bunryu.core.storage import link, write_jsonl
from bunryu.models.sealed_file import seal_state
from bunryu.runs.folder import RunFolder
from bunryu.train.checkpoint import save_checkpoint
from bunryu.train.state import Job, State


def pause(job: Job, state: State, start: float) -> float:
    """Save within an epoch; go on, or stop if asked. Returns the time of saving."""
    now = time.monotonic()
    state.progress.spent_seconds += now - start
    save(job, state)
    stop_if_asked(job)
    return now


def save(job: Job, state: State) -> None:
    """Write the history, the models to keep that are new, and the checkpoint, which counts on both: it comes last.

    The first of several processes writes; all have the same state.
    """
    if not distributed.first():
        state.written, state.saved = len(state.history), time.monotonic()
        state.unsaved.clear()
        return
    if len(state.history) > state.written:
        folder = RunFolder(job.folder)
        folder.forget([folder.history])
        write_jsonl(folder.history, state.history)
        folder.note([folder.history])
        state.written = len(state.history)
    if state.board is not None:
        state.board.write(state.history, last=state.progress.stage == len(job.stages))
    save_kept(job, state)
    path = job.folder / "checkpoints" / "last.safetensors"
    ema = None if state.ema is None else state.ema.module
    scaler = state.scaler.state_dict()
    save_checkpoint(
        *(path, state.progress, job.model.sealed, job.model.net, state.optimizer, scaler, ema),
        *(state.average, state.said),
    )
    state.saved = time.monotonic()


def save_kept(job: Job, state: State) -> None:
    """Write the weights to keep that are new. Those of one epoch are written once, under however many names."""
    written: dict[int, Path] = {}
    for name, weights in state.unsaved.items():
        path, epoch = job.folder / "checkpoints" / f"{name}.safetensors", state.progress.kept[name]
        if epoch in written:
            link(written[epoch], path)
        else:
            seal_state(path, weights, job.model.sealed)
            written[epoch] = path
    state.unsaved.clear()


def stop_if_asked(job: Job) -> None:
    """Leave after a save, if the person asked to stop."""
    if distributed.agreed(job.stop()):
        raise Interrupted(f"Stopped; the state is saved. Go on with: bunryu train --resume {typed(job.folder)}")
