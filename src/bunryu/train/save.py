"""Saving what the loop needs to go on from, and stopping there."""

from __future__ import annotations

import time

from bunryu.core import distributed
from bunryu.core.errors import Interrupted, typed
from bunryu.core.storage import write_jsonl
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
    for name, weights in state.unsaved.items():
        seal_state(job.folder / "checkpoints" / f"{name}.safetensors", weights, job.model.sealed)
    state.unsaved.clear()
    path = job.folder / "checkpoints" / "last.safetensors"
    ema = None if state.ema is None else state.ema.module
    scaler = state.scaler.state_dict()
    save_checkpoint(path, state.progress, job.model.sealed, job.model.net, state.optimizer, scaler, ema, state.average)
    state.saved = time.monotonic()


def stop_if_asked(job: Job) -> None:
    """Leave after a save, if the person asked to stop."""
    if distributed.agreed(job.stop()):
        raise Interrupted(f"Stopped; the state is saved. Go on with: bunryu train --resume {typed(job.folder)}")
