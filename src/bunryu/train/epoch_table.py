"""The table of epochs on the terminal: one header, one line an epoch, within 80 columns."""

from __future__ import annotations

from typing import Any

from bunryu.core.console import duration
from bunryu.settings.augment import NO_AUGMENT
from bunryu.settings.run import RunSettings
from bunryu.settings.stages import Stage
from bunryu.train.checkpoint import Progress


def loss_note(settings: RunSettings) -> str:
    """Say what makes the training loss and accuracy another figure than those of validation."""
    plain = [stage.name for stage in settings.train.stages if stage.views == 0]
    augmented = "augmentation" + (f" (not in {' and '.join(plain)})" if plain else "")
    used = [augmented] if settings.augment.settled() != NO_AUGMENT else []
    used += [] if settings.loss.name == "cross_entropy" else [f"{settings.loss.name.replace('_', '-')} loss"]
    used += [] if settings.mix.name == "none" else ["mixing"]
    used += ["label smoothing"] if settings.loss.label_smoothing else []
    used += ["group DRO"] if settings.loss.group_dro else []
    used += ["class weights"] if settings.loss.class_weights else []
    return "with " + " and ".join([", ".join(used[:-1])] * bool(used[1:]) + used[-1:]) if used else "on plain pictures"


def learning_told(settings: RunSettings) -> str:
    """Say what is minimised, and how; a stage may have its own optimiser and schedule."""
    loss, optim = settings.loss, settings.optim
    weights = "given" if isinstance(loss.class_weights, dict) else loss.class_weights
    parts = [f"{loss.name.replace('_', '-')} loss"]
    parts += [f"class weights {weights}"] if weights else []
    parts += [f"label smoothing {loss.label_smoothing:g}"] if loss.label_smoothing else []
    parts += [f"group DRO over {', '.join(loss.group_dro)}"] if loss.group_dro else []
    parts += [] if settings.mix.name == "none" else [settings.mix.name]
    rate = f"{optim.lr:g}" + (f", of the head {optim.head_lr:g}" if optim.head_lr else "")
    parts += [f"{optim.name} at {rate}, {settings.schedule.name}", f"weight decay {optim.weight_decay:g}"]
    parts += [f"average (EMA) {settings.train.ema:g}"] if settings.train.ema else []
    return "; ".join(parts)


def header_lines(note: str) -> tuple[str, str]:
    """Return what to know of the table of `epoch_line` (see `loss_note`), and the names of its columns."""
    return (
        f"* best so far; train loss {note}, val loss plain",
        "   epoch stage     train loss  val loss  accuracy  macro-F1  images/s  time left",
    )


def epoch_line(row: dict[str, Any], stages: list[Stage], progress: Progress, seconds: float) -> str:
    """Return one line for one epoch.

    Args:
        row: of the history.
        stages: all of the run, with whole numbers of epochs.
        progress: after the epoch.
        seconds: what the epoch took with its validation; the estimate holds for epochs of the same stage.
    """
    planned = sum(int(stage.epochs or 0) for stage in stages)
    in_stage = int(stages[progress.stage].epochs or 0) - progress.epoch
    later = planned - progress.total_epochs - in_stage
    left = "" if not in_stage + later else duration(in_stage * seconds) if in_stage else "next stage"
    more = " + next" if in_stage and later > 0 else ""
    star = "*" if row["best"] else " "
    figures = [("train_loss", 11, 4), ("val_loss", 9, 4), ("val_accuracy", 9, 3), ("val_macro_f1", 9, 3)]
    cells = [f"{star}{row['epoch']:>3}/{planned:<3}", f"{row['stage'][:8]:<8}"]
    cells += [f"{row[key]:>{width}.{digits}f}" if key in row else " " * width for key, width, digits in figures]
    cells += [f"{row['images_per_second']:>9.0f}", f" {left}{more}"]
    return " ".join(cells).rstrip()
