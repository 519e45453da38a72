"""plots/augmented.png: the first augmented batch as training sees it, mixed where it is mixed, under its classes."""

from __future__ import annotations

import numpy as np
import torch

from bunryu import ranks
from bunryu.data.settings import NO_AUGMENT
from bunryu.evaluate.fonts import short_names
from bunryu.evaluate.plots import plot_examples
from bunryu.inference import Model
from bunryu.planning import Plan, whole_stages
from bunryu.randomness import plain
from bunryu.run import RunFolder
from bunryu.train.feeding import at_epoch, pictures
from bunryu.train.mixing import mix
from bunryu.train.parallel import part
from bunryu.train.sampling import epoch_counts, epoch_rows
from bunryu.train.settings import Stage
from bunryu.train.stages import in_batches
from bunryu.train.targets import targets_of

_MOST = 24
"""Pictures in the grid."""


def write_augmented(folder: RunFolder, plan: Plan, model: Model) -> None:
    """Draw the first batch of the first stage that augments, through the feed that training has; nothing without one.

    A stage of cached views is shown the view of its first epoch.
    """
    settings = plan.settings
    if settings.augment.settled() == NO_AUGMENT and settings.mix.name == "none":
        return
    epoch = 0
    for stage in whole_stages(settings):
        if stage.views != 0:
            _write(folder, plan, model, stage, epoch)
            return
        epoch += int(stage.epochs or 0)


def _write(folder: RunFolder, plan: Plan, model: Model, stage: Stage, epoch: int) -> None:
    settings, table = plan.settings, plan.table
    targets, rows, seed = targets_of(table, plan.sealed), table.split("train"), settings.train.seed
    target = targets.index_N
    order = epoch_rows(rows, target[rows], settings.train, epoch, settings.data.balance_to)
    keys = part(in_batches(order, settings.train.batch_size)[0])
    feed = at_epoch(pictures(model, settings, table, np.zeros(0, np.int64)), stage, 0)
    if stage.views is None:
        x_BHWC, ids = next(iter(feed.batches([keys], epoch)))
    else:
        x_BHWC, ids = next(iter(feed.batches([plain(keys)], epoch % stage.views)))
    target_B = torch.from_numpy(target[ids]).to(x_BHWC.device)
    if stage.views is None and settings.mix.name != "none" and epoch < (settings.mix.end_epoch or epoch + 1):
        counts_K = torch.tensor(epoch_counts(targets.counts(rows), settings.data.balance_to), dtype=torch.float32)
        process = (ranks.rank(),) if ranks.world() > 1 else ()
        x_BHWC, target_B = mix(x_BHWC, target_B, counts_K.to(x_BHWC.device), settings.mix, seed, epoch, 0, *process)
    shown = x_BHWC[:_MOST].cpu().numpy()
    names = [name or "(none)" for name in short_names(targets.names)]
    titles = [caption(one.cpu(), names) for one in target_B[:_MOST]]
    many = f"{len(shown)} of {len(ids)}" if len(shown) < len(ids) else str(len(ids))
    note = f"{many} pictures of the first batch, stage '{stage.name}', epoch {epoch + 1}"
    path, unknown = folder.plots / "augmented.png", [None] * len(shown)
    plot_examples(list(shown), titles, unknown, path, of=folder.path.name, what="as training sees it", note=note)


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
