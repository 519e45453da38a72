"""What the loop learns from: pictures, decoded and augmented anew each epoch, or features that a frozen
backbone made of them once.

Both name their draws by (seed, epoch, row), so a cached stage repeats what the uncached one sees: view v of a
picture is the picture as epoch v of the run augments it.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bunryu.core import console, distributed
from bunryu.core.cache import kept, key_of_facts
from bunryu.core.environment import versions
from bunryu.core.randomness import comings, key_of, plain
from bunryu.data.augment.batch import apply, canvas, draw
from bunryu.data.augment.per_image import pipeline
from bunryu.data.images.contents import Contents
from bunryu.data.images.decode import Source
from bunryu.data.images.load import load_batches, require_read
from bunryu.data.images.pixel_cache import PixelCache
from bunryu.data.table import Table
from bunryu.inference.device import autocast, to_device
from bunryu.inference.examples import Examples
from bunryu.inference.model import Model, normalize, probabilities
from bunryu.inference.reading import BATCH, Answers, Reading, in_chunks
from bunryu.settings.augment import NO_AUGMENT, AugmentSettings
from bunryu.settings.data import InputSpec
from bunryu.settings.run import RunSettings
from bunryu.settings.stages import Stage, size_at
from bunryu.settings.validate import replaced
from bunryu.train.compile import compiled
from bunryu.train.data_parallel import block
from bunryu.train.prefetch import prefetched

Rows = NDArray[np.int64]
Batches = list[Rows]


class Feed(Protocol):
    """Where batches come from, and how the network answers to them."""

    seconds_between_saves: ClassVar[float]
    """0: after every epoch. Epochs on features are sooner done again than written down."""

    def batches(self, batches: Batches, epoch: int) -> Iterator[tuple[torch.Tensor, Rows]]:
        """Yield each batch on the device, ready for `logits`, and its rows; `epoch` names the draws."""
        ...

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Return logits (B, K), with gradients for what is not frozen."""
        ...

    def validate(self, model: Model) -> Answers:
        """Return what `model` answers to the validation rows, all of them."""
        ...


@dataclass(frozen=True)
class Pictures:
    """Pictures from their files, augmented on the device."""

    seconds_between_saves: ClassVar[float] = 0.0

    model: Model
    forward: Callable[[torch.Tensor], torch.Tensor]
    """The model's network, or what torch.compile made of it."""
    input: InputSpec
    """The size that this stage trains at; validation is always at the sealed one."""
    augment: AugmentSettings
    seed: int
    table: Table
    val_rows: Rows
    workers: int | None
    cache_gb: float
    cache: PixelCache | None
    """Where the table's pictures are kept once they are decoded."""
    contents: Contents | None = None
    """What the check has read of the files, for a first look before training; None to open them."""

    def source(self, row: int) -> Source:
        """Return the row's file, or what was read of it."""
        file = self.table.file(row)
        return file if self.contents is None else self.contents.of(file)

    def batches(self, batches: Batches, epoch: int) -> Iterator[tuple[torch.Tensor, Rows]]:
        """Yield uint8 pictures (B, H, W, C)."""
        return prefetched(self._made(batches, epoch), self.model.device)

    def _made(self, batches: Batches, epoch: int) -> Iterator[tuple[torch.Tensor, Rows]]:
        spec, decode = canvas(self.input, self.augment), self.model.sealed.decode
        change = None
        if self.augment.ops is not None:
            operations = pipeline(self.augment, self.input)
            change = lambda pixels, key: operations(pixels, key_of(self.seed, "augment", epoch, key))  # noqa: E731
        read = load_batches(self.source, batches, decode, spec, workers=self.workers, cache=self.cache, change=change)
        for keys, batch in zip(batches, read, strict=True):
            require_read(batch.failed, self.table.file)
            pixels = to_device(batch.pixels_BHWC, self.model.device)
            if change is not None or not len(batch.rows):  # a process without a part of a short batch has none
                yield pixels, batch.rows
                continue
            parameters = draw(self.augment, self.seed, epoch, keys)
            yield apply(pixels, parameters, self.augment, self.input), batch.rows

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Run the whole network."""
        with autocast(self.model.device, self.model.sealed.precision):
            return self.forward(normalize(x, self.input))

    def validate(self, model: Model) -> Answers:
        """Run the one inference path."""
        examples = Examples(model.sealed, self.table)
        reading = Reading(workers=self.workers, told="validating", cache=self.cache, logits=True, examples=examples)
        mine = model.infer(self.table.file, block(self.val_rows, BATCH), reading)
        require_read(mine.failed, self.table.file)
        parts = distributed.gathered((mine.rows, mine.probs_NK, mine.logits_NC))
        rows, probs, logits = (np.concatenate(column) for column in zip(*parts, strict=True))
        return Answers(rows, probs, logits_NC=logits, pictures=mine.pictures)


@dataclass(frozen=True)
class Features:
    """Features of a frozen backbone, held in memory: training costs a head, not a network.

    A cached stage equals the uncached one where nothing random comes before the head; with augmentation it
    sees `views` of each picture in turn instead of a new one each epoch.
    """

    seconds_between_saves: ClassVar[float] = 10.0
    model: Model
    views_VNF: torch.Tensor
    place: NDArray[np.int64]
    """Row id -> place among the training rows, -1 elsewhere."""
    val_rows: Rows
    val_NF: torch.Tensor

    def batches(self, batches: Batches, epoch: int) -> Iterator[tuple[torch.Tensor, Rows]]:
        """Yield features (B, F) of the epoch's view; a row that comes again, of the next."""
        device = self.views_VNF.device
        for keys in batches:
            rows = plain(keys)
            views = (epoch + comings(keys)) % len(self.views_VNF)
            yield (
                self.views_VNF[torch.from_numpy(views).to(device), torch.from_numpy(self.place[rows]).to(device)],
                rows,
            )

    def logits(self, x: torch.Tensor) -> torch.Tensor:
        """Run the head."""
        with autocast(self.model.device, self.model.sealed.precision):
            logits: torch.Tensor = self.model.net.head(x)
        return logits

    @torch.no_grad()
    def validate(self, model: Model) -> Answers:
        """Run the head on the validation features; `model` has the same backbone, since that is frozen.

        Without logits to keep: features fell into other batches than pictures, which may round them otherwise.
        """
        model.net.eval()
        with autocast(model.device, model.sealed.precision):
            parts = [model.net.head(x_BF).float() for x_BF in torch.split(self.val_NF, BATCH)]
        sealed = model.sealed
        probs = probabilities(torch.cat(parts), sealed.decision, sealed.heads)
        return Answers(self.val_rows, probs.cpu().numpy())


def pictures(
    model: Model,
    settings: RunSettings,
    table: Table,
    val_rows: Rows,
    cache: PixelCache | None = None,
    contents: Contents | None = None,
) -> Pictures:
    """Return the feed of pictures from their files (or `contents`), as the settings say; kept in `cache` if given."""
    return Pictures(
        model=model,
        forward=compiled(model.net) if settings.train.compile else model.net,
        input=model.sealed.input,
        augment=settings.augment.settled(model.sealed.input.channels),
        seed=settings.train.seed,
        table=table,
        val_rows=val_rows,
        workers=settings.data.workers,
        cache_gb=settings.data.cache_gb,
        cache=cache,
        contents=contents,
    )


def choose_feed(pictures: Pictures, stage: Stage, rows: Rows) -> Feed:
    """Return what a stage learns from: features where it caches them, else pictures."""
    if stage.views is None:
        return pictures
    plain = dataclasses.replace(pictures, augment=NO_AUGMENT)
    place = np.full(int(rows.max()) + 1, -1, np.int64)
    place[rows] = np.arange(len(rows))
    if stage.views == 0:  # of training and validation rows together: every fold of the same rows finds them kept
        every = np.union1d(rows, pictures.val_rows)
        made_NF = features(plain, every, 0, "features")
        own_NF, val_NF = (made_NF[np.searchsorted(every, some)] for some in (rows, pictures.val_rows))
        return Features(pictures.model, own_NF[None], place, pictures.val_rows, val_NF)
    views = [features(pictures, rows, view, f"features {view + 1}/{stage.views}") for view in range(stage.views)]
    val_NF = features(plain, pictures.val_rows, 0, "features of validation")
    return Features(pictures.model, torch.stack(views), place, pictures.val_rows, val_NF)


def at_epoch(feed: Feed, stage: Stage, epoch: int) -> Feed:
    """Return the feed for an epoch of the stage: at the size whose turn it is, where the stage has several."""
    if not stage.sizes or not isinstance(feed, Pictures):
        return feed
    height, width = size_at(stage.sizes, epoch, int(stage.epochs or 1))
    return dataclasses.replace(feed, input=replaced(feed.input, {"height": height, "width": width}))


def plain_features(
    model: Model, settings: RunSettings, table: Table, rows: Rows, contents: Contents | None = None
) -> torch.Tensor:
    """Return what the backbone makes of rows as validation sees them, float32 (N, F)."""
    plain = dataclasses.replace(pictures(model, settings, table, rows, contents=contents), augment=NO_AUGMENT)
    return features(plain, rows, 0, "features")


def features(pictures: Pictures, rows: Rows, epoch: int, label: str) -> torch.Tensor:
    """Return what the backbone makes of the pictures as `epoch` augments them, float32 (N, F), in their order.

    Of several processes each makes a part, and all get the whole.
    """
    mine = _kept_features(pictures, block(rows, BATCH), epoch, label)
    if distributed.world() == 1:
        return mine
    return torch.cat([torch.from_numpy(part) for part in distributed.gathered(mine.cpu().numpy())]).to(mine.device)


def _kept_features(pictures: Pictures, rows: Rows, epoch: int, label: str) -> torch.Tensor:
    """Return the features, kept between runs under everything they follow from.

    That is the pictures' content, the backbone and its weights, how pictures become its input, the augmentation's
    draws, and what decides the last bits.
    """
    model, digests = pictures.model, pictures.table.digests
    if digests is None:
        return _features(pictures, rows, epoch, label)
    random = pictures.augment != NO_AUGMENT
    key = key_of_facts(
        backbone=[model.sealed.architecture.model_dump(exclude={"dropout"}), _digest(model.net.backbone)],
        images=digests[rows].tolist(),
        decode=model.sealed.decode.model_dump(),
        input=pictures.input.model_dump(),
        precision=model.sealed.precision,
        draws=[pictures.augment.model_dump(), pictures.seed, epoch, rows.tolist()] if random else None,
        bits=[model.device.type, torch.get_num_threads(), versions(), BATCH],
    )
    made = kept("features", key, lambda: _features(pictures, rows, epoch, label).cpu().numpy(), pictures.cache_gb)
    return torch.from_numpy(made).to(model.device)


def _digest(net: nn.Module) -> str:
    found = hashlib.sha256()
    for name, value in net.state_dict().items():
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().numpy().tobytes())
    return found.hexdigest()


@torch.no_grad()
def _features(pictures: Pictures, rows: Rows, epoch: int, label: str) -> torch.Tensor:
    model = pictures.model
    model.net.eval()
    batches = list(in_chunks(rows, BATCH))
    found: list[torch.Tensor] = [torch.zeros(0, model.net.width, device=model.device)]
    with console.working(label, len(rows)) as task:
        for x_BHWC, batch in pictures.batches(batches, epoch):
            with autocast(model.device, model.sealed.precision):
                found.append(model.net.features(normalize(x_BHWC, pictures.input)).float())
            task.advance(len(batch))
    return torch.cat(found)
