"""Several processes of one training, as torchrun starts them: who they are, how they agree, how they end together.

The first process decides and writes; the others learn from it what to do. One process alone has no group, and
every function here then gives back what it was given. What is sent is pickled, but only between our own processes.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from bunryu.core import console
from bunryu.core.errors import DeviceError, TrainingError, count

if TYPE_CHECKING:
    from torch.distributed.distributed_c10d import Store

T = TypeVar("T")

_PATIENCE = timedelta(days=1)
"""The others wait while the first one checks a million images. One that died is noticed at once all the same."""
_GRACE = 10.0
_ENDED = "ended"
_groups: list[Store] = []
"""The store of each group that this process has joined; the last one is the present one while `_inside`."""
_inside = False


def asked() -> int:
    """Return how many processes were started for this work, by torchrun's environment; 1 without it."""
    return int(os.environ["WORLD_SIZE"]) if {"RANK", "WORLD_SIZE", "MASTER_ADDR"} <= os.environ.keys() else 1


def rank() -> int:
    """Return the number of this process, from 0."""
    return int(os.environ["RANK"]) if asked() > 1 else 0


def first() -> bool:
    """Return whether this process is the one that decides, writes and speaks."""
    return rank() == 0


def let_first_speak() -> None:
    """Wait a little before telling an error that came before all have joined: the first mostly has the same one.

    It tells it and ends, and then torchrun ends this process.
    """
    if not first() and not _groups:
        time.sleep(_GRACE)


def world() -> int:
    """Return how many processes work together now."""
    return asked() if _inside else 1


def neighbours() -> int:
    """Return how many of them are on this machine, this one included."""
    return int(os.environ.get("LOCAL_WORLD_SIZE", world())) if _inside else 1


def require_devices(kind: str) -> None:
    """Refuse more processes on this machine than it has devices of that kind; CPUs can be shared.

    Raises:
        DeviceError: with how many to start.
    """
    import torch

    have = {"cpu": neighbours(), "mps": 1, "cuda": torch.cuda.device_count()}[kind]
    if neighbours() > have:
        raise DeviceError(
            f"torchrun started {neighbours()} processes on this machine, which has {count(have, f'{kind} device')}. "
            f"Give --nproc-per-node {have}, or train.device=cpu."
        )


@contextmanager
def together() -> Iterator[None]:
    """Work as one of the processes that were started, within the ``with``; all leave it together.

    An error on one of them ends all: the process that has it raises it, the others leave without a word
    (SystemExit, with its exit code).
    """
    global _inside
    if asked() == 1 or _inside:
        yield
        return
    store = _join()
    _inside = True
    try:
        with console.quietly(not first()):
            yield
            gathered(None)
    except BaseException as error:
        code = getattr(error, "exit_code", 130 if isinstance(error, KeyboardInterrupt) else 1)
        if (others := _others_code(store, code)) is not None:
            raise SystemExit(others) from None
        raise  # the group is left as it is: closing one that lost a member may wait for it
    else:
        import torch.distributed as dist

        dist.destroy_process_group()
    finally:
        _inside = False


def _join() -> Store:
    import torch
    import torch.distributed as dist
    from torch.distributed.distributed_c10d import PrefixStore
    from torch.distributed.rendezvous import rendezvous

    if not _groups:
        _groups.append(next(iter(rendezvous("env://", timeout=_PATIENCE)))[0])
    store = PrefixStore(f"bunryu-{len(_groups)}", _groups[0])  # a script may train several times
    here, cuda = int(os.environ.get("LOCAL_RANK", 0)), torch.cuda.is_available()
    if cuda and here < torch.cuda.device_count():
        torch.cuda.set_device(here)
    backend = "cpu:gloo,cuda:nccl" if cuda and dist.is_nccl_available() else "gloo"
    dist.init_process_group(backend, store=store, rank=rank(), world_size=asked(), timeout=_PATIENCE)
    _groups.append(store)
    return store


def _others_code(store: Store, code: int) -> int | None:
    """Return the exit code of the process that ended before this one; None where this is the first that does."""
    mine = f"{rank()} {code}"
    try:
        found = store.compare_set(_ENDED, "", mine).decode()
    except RuntimeError:  # the process that kept the store is gone, and said why
        return code
    return None if found == mine else int(found.split()[1])


@contextmanager
def heard() -> Iterator[None]:
    """Tell of a process that is gone; where it said why, this is never shown (see `together`)."""
    import torch

    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except RuntimeError as error:
        raise TrainingError(
            "Another process of this training ended without a word: killed, or out of memory? Its machine's log may "
            f"tell. Go on with --resume RUN. ({str(error).splitlines()[0][:120]})"
        ) from error


def from_first(value: T | None) -> T:
    """Return what the first process gives; the others give None, and wait for it."""
    if world() == 1:
        assert value is not None
        return value
    import torch
    import torch.distributed as dist

    box: list[Any] = [value]
    with heard():
        dist.broadcast_object_list(box, device=torch.device("cpu"))
    found: T = box[0]
    return found


def gathered(value: T) -> list[T]:
    """Return what each process gives, in their order."""
    if world() == 1:
        return [value]
    import torch.distributed as dist

    boxes: list[Any] = [None] * world()
    with heard():
        dist.all_gather_object(boxes, value)
    return boxes


def total(*values: float) -> list[float]:
    """Return each value summed over the processes."""
    if world() == 1:
        return list(values)
    import torch
    import torch.distributed as dist

    sums = torch.tensor(values, dtype=torch.float64)
    with heard():
        dist.all_reduce(sums)
    found: list[float] = sums.tolist()
    return found


def agreed(wish: bool) -> bool:
    """Return whether any process wishes it."""
    return total(float(wish))[0] > 0
