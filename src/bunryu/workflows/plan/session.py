"""A run under way: what was read and decided once is passed on whole, also to the other processes of a training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import cast

import torch

from bunryu.core import distributed
from bunryu.data.images.pixel_cache import PixelCache, pixel_cache
from bunryu.data.table import Table
from bunryu.inference.device import choose_device
from bunryu.inference.model import Model
from bunryu.models.allowed_code import allow_source, source_of
from bunryu.models.build import build
from bunryu.models.record import Sealed
from bunryu.runs.folder import RunFolder
from bunryu.settings.run import RunSettings
from bunryu.train.checkpoint import Checkpoint
from bunryu.workflows.plan.decisions import Decisions
from bunryu.workflows.plan.plan import Plan


@dataclass(frozen=True)
class Session:
    """A run under way; nothing in it changes but the network's weights.

    Attributes:
        folder: of the run.
        settings: with all that was chosen for the user.
        table: the rows, every split decided.
        model: to train.
        decisions: how all this is told.
        checkpoint: to go on from; None at the start.
    """

    folder: RunFolder
    settings: RunSettings
    table: Table
    model: Model
    decisions: Decisions
    checkpoint: Checkpoint | None = None

    @classmethod
    def of(cls, folder: RunFolder, plan: Plan) -> Session:
        """Return the session of a run that begins."""
        model = Model(plan.net, plan.sealed, plan.device)
        return cls(folder, plan.settings, plan.table, model, plan.decisions)

    @cached_property
    def cache(self) -> PixelCache | None:
        """Where the table's pictures are kept once they are decoded; None where they are not."""
        return pixel_cache(self.table, self.settings.data)


@dataclass(frozen=True)
class _Told:
    """What the first of several processes tells the others of its session: they build the network themselves."""

    folder: RunFolder
    settings: RunSettings
    table: Table
    sealed: Sealed
    device: torch.device
    decisions: Decisions
    checkpoint: Checkpoint | None
    threads: int
    code: bytes | None
    """Of a network of the user's own, which they allowed the first process."""


def tell_others(session: Session) -> None:
    """Tell the other processes of a training, if there are any, what this one has read and decided."""
    sealed, device, own = session.model.sealed, session.model.device, session.model.sealed.architecture.own
    told = _Told(
        folder=session.folder,
        settings=session.settings,
        table=session.table,
        sealed=sealed,
        device=device,
        decisions=session.decisions,
        checkpoint=session.checkpoint,
        threads=torch.get_num_threads(),
        code=None if own is None else source_of(own),
    )
    distributed.from_first(told)


def told_by_first() -> Session:
    """Wait, as one of the other processes, for what the first one tells."""
    told = distributed.from_first(cast(_Told | None, None))
    torch.set_num_threads(told.threads)
    if told.code is not None:
        allow_source(told.code)
    net = build(told.sealed.architecture, told.sealed.outputs)
    model = Model(net, told.sealed, choose_device(told.device.type))  # type: ignore[arg-type]
    return Session(told.folder, told.settings, told.table, model, told.decisions, told.checkpoint)
