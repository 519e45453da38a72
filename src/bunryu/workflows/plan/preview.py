"""plots/augmented.png: the first augmented batch as training sees it, mixed where it is mixed, under its classes."""

from __future__ import annotations

import numpy as np
import torch

from bunryu.core import console, distributed
from bunryu.core.randomness import plain
from bunryu.data.images.pixel_cache import PixelCache
from bunryu.data.multi_label import JOIN
from bunryu.evaluate.report.fonts import short_names
from bunryu.evaluate.report.plots import plot_examples
from bunryu.inference.model import Model
from bunryu.runs.folder import RunFolder
from bunryu.settings.augment import NO_AUGMENT
from bunryu.settings.run import whole_stages
from bunryu.settings.stages import Stage
from bunryu.train.data_parallel import part
from bunryu.train.feed import Pictures, at_epoch, pictures
from bunryu.train.mixup import mix
from bunryu.train.precision import memory_advice
from bunryu.train.sampling import epoch_counts, epoch_rows
from bunryu.train.stages import epoch_batches, in_batches, mixes
from bunryu.train.targets import targets_of
from bunryu.workflows.plan.plan import Plan

_MOST = 24
"""Pictures in the grid."""


def write_augmented(folder: RunFolder, plan: Plan, model: Model, cache: PixelCache | None) -> None:
    """Draw the first batch of the first stage that augments, through the feed that training has; nothing without one.

    A stage of cached views is shown the view of its first epoch.
    """
    settings = plan.settings
    if settings.augment.settled() == NO_AUGMENT and settings.mix.name == "none":
        return
    epoch = 0
    for stage in whole_stages(settings):
        if stage.views != 0:
            _write(folder, plan, _first_look(plan, model, cache), stage, epoch)
            return
        epoch += int(stage.epochs or 0)


def _write(folder: RunFolder, plan: Plan, look: Pictures, stage: Stage, epoch: int) -> None:
    settings, table = plan.settings, plan.table
    targets, rows, seed = targets_of(table, plan.sealed), table.split("train"), settings.train.seed
    target = targets.index_N
    held_JL = None if targets.held_JL is None else torch.tensor(targets.held_JL, dtype=torch.float32)
    order = epoch_rows(rows, target[rows], settings.train, epoch, settings.data.balance_to)
    keys = part(in_batches(order, settings.train.batch_size)[0])
    feed = at_epoch(look, stage, 0)
    if stage.views is None:
        x_BHWC, ids = next(iter(feed.batches([keys], epoch)))
    else:
        x_BHWC, ids = next(iter(feed.batches([plain(keys)], epoch % stage.views)))
    target_B = torch.from_numpy(target[ids]).to(x_BHWC.device)
    if stage.views is None and mixes(settings, stage, epoch):
        counts_K = torch.tensor(
            epoch_counts(targets.counts(rows), settings.train, settings.data.balance_to), dtype=torch.float32
        )
        process = (distributed.rank(),) if distributed.world() > 1 else ()
        counts_K = counts_K.to(x_BHWC.device)
        held = None if held_JL is None else held_JL.to(x_BHWC.device)
        x_BHWC, target_B = mix(x_BHWC, target_B, counts_K, settings.mix, seed, epoch, 0, *process, held_KL=held)
    shown = x_BHWC[:_MOST].cpu().numpy()
    names, one_B = short_names(plan.classes), target_B[:_MOST].cpu()
    titles = [caption(one, names) if held_JL is None else labels_caption(one, held_JL, names) for one in one_B]
    many = f"{len(shown)} of {len(ids)}" if len(shown) < len(ids) else str(len(ids))
    note = f"{many} pictures of the first batch, stage '{stage.name}', epoch {epoch + 1}"
    path, unknown = folder.plots / "augmented.png", [None] * len(shown)
    plot_examples(list(shown), titles, unknown, path, of=folder.path.name, what="as training sees it", note=note)


def _first_look(plan: Plan, model: Model, cache: PixelCache | None = None) -> Pictures:
    """Return the feed that training has, but from what the check has read of the files."""
    return pictures(model, plan.settings, plan.table, np.zeros(0, np.int64), cache, plan.checked.contents)


def caption(target: torch.Tensor, names: list[str]) -> str:
    """Return the class of a row, or the shares of two mixed ones.

    Args:
        target: a class index, or the share of each class (K,).
        names: the classes.
    """
    if target.ndim == 0:
        return names[int(target)]
    shares, order = target.sort(descending=True, stable=True)
    parts = [(float(share), names[int(k)]) for share, k in zip(shares[:2], order[:2], strict=True) if share > 0]
    return parts[0][1] if len(parts) == 1 else "\n".join(f"{name} {share:.2f}" for share, name in parts)


def labels_caption(target: torch.Tensor, held_JL: torch.Tensor, names: list[str]) -> str:
    """Return the labels that hold for a row, and the shares of those that do in part.

    Args:
        target: an index of a set of labels, or how much each label holds (L,).
        held_JL: which labels each set has.
        names: the labels.
    """
    share_L = held_JL[int(target)] if target.ndim == 0 else target
    told = [(float(share), name) for share, name in zip(share_L, names, strict=True) if share > 0]
    lines = [JOIN.join(name for share, name in told if share > 0.995)]
    lines += [f"{name} {share:.2f}" for share, name in told if share <= 0.995]
    return "\n".join(line for line in lines[:3] if line) or "(none)"


def try_first_batch(plan: Plan) -> None:
    """Take the first batch of a run through its network, and say what came out."""
    settings = plan.settings
    rows = epoch_batches(plan.table.split("train"), settings.train.batch_size, settings.train.seed, 0)[0]
    model = Model(plan.net, plan.sealed, plan.device)
    model.net.train()
    feed = _first_look(plan, model)
    with memory_advice(len(rows)):
        x, _ = next(iter(feed.batches([rows], 0)))
        logits = feed.logits(x)
    console.say(f"first batch: {tuple(x.shape)} uint8 -> {tuple(logits.shape)} scores of classes (logits)")
    console.say("dry run: no run was made; leave out --dry-run to train", style="bold")
