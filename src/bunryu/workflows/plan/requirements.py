"""What the data must have for the settings given, asked before any time is spent on them."""

from __future__ import annotations

from collections import Counter

from bunryu.core.errors import ConfigError, count, some
from bunryu.data.dro_groups import require_dro_groups
from bunryu.data.multi_label import held_labels
from bunryu.data.table import Table
from bunryu.models.record import Precision
from bunryu.settings.run import RunSettings
from bunryu.settings.stages import with_given
from bunryu.train.head_losses import HeadLosses
from bunryu.train.stages import require_other_rows
from bunryu.workflows.plan.heads import Heads


def require_measurable(settings: RunSettings, table: Table, heads: Heads) -> None:
    """Refuse settings that name a class, or need two, before any time is spent on them."""
    if table.label_names:
        _require_label_rows(settings, table)
        return
    classes = heads.answer.classes
    counts = Counter(table.target_labels[table.split("train")])
    HeadLosses.prepare(settings.loss, [counts[name] for name in classes], heads.heads, heads.attributes)
    of_val = {head.column: Counter(table.labels[head.column][table.split("val")]) for head in heads.heads}
    rows = {name: of_val[head.column][name] for head in heads.heads for name in head.classes}
    require_other_rows(settings, settings.train.stages, rows)
    require_dro_groups(table)
    _require_copies(settings, {name: counts[name] for name in classes if counts[name]})
    monitor = settings.train.monitor
    if monitor == "mean_macro_f1" and not heads.attributes:
        raise ConfigError(
            "train.monitor=mean_macro_f1 is the mean over several label columns, and there is one. Use "
            "train.monitor=macro_f1, or name the columns: data.label_columns=[...]"
        )
    if monitor.startswith(("roc_auc", "positive_")) and (
        len(classes) != 2 or len(set(table.target_labels[table.split("val")])) != 2
    ):
        raise ConfigError(f"train.monitor={monitor} needs two classes, both of them among the validation rows.")


def _require_label_rows(settings: RunSettings, table: Table) -> None:
    """Refuse validation rows for which no label holds, and stages that learn from such as lack some."""
    rows = table.split("val")
    held_NL = held_labels(table.target_labels[rows], table.label_names)
    if len(rows) and not held_NL.any():
        raise ConfigError(
            f"None of the labels holds for any of the {count(len(rows), 'validation row')}, so nothing can be measured "
            "on them. Give others, or a larger split.val."
        )
    yes = dict(zip(table.label_names, held_NL.sum(axis=0).tolist(), strict=True))
    no = {f"the absence of {name}": len(rows) - n for name, n in yes.items()}
    require_other_rows(settings, settings.train.stages, {**yes, **no})


def _require_copies(settings: RunSettings, counts: dict[str, int]) -> None:
    """Refuse a balance that adds nothing."""
    to, least = settings.data.balance_to, min(counts, key=lambda name: counts[name])
    if to is not None and counts[least] >= to:
        raise ConfigError(
            f"data.balance_to={to} adds nothing: every class has so many training rows (the fewest has {least}: "
            f"{counts[least]:,}). Give a larger number, or leave it out."
        )


def balanced_told(to: int, labels: list[str]) -> str:
    """Say what copies are added to training rows of these classes."""
    counts = Counter(labels)
    short = sorted((name for name in counts if counts[name] < to), key=lambda name: (counts[name], name))
    told = some([f"{name} {counts[name]:,}" for name in short], 8)
    copies = sum(to - counts[name] for name in short)
    return f"{count(copies, 'copy', 'copies')} added in each epoch, to {to:,} rows a class ({told})"


def require_validation(settings: RunSettings, table: Table) -> None:
    """Refuse a figure of validation rows to choose the best epoch by, where there are none."""
    if len(table.split("val")) == 0 and not settings.train.monitor.startswith("train_"):
        raise ConfigError(
            f"There are no validation rows to compute train.monitor={settings.train.monitor} on. "
            "Set split.val above 0, give --val-dir, or seal the last epoch: train.monitor=train_epochs."
        )


def require_unscaled(settings: RunSettings, precision: Precision) -> None:
    """Refuse sharpness-aware minimisation where gradients are scaled."""
    if precision == "fp16" and any(with_given(settings.optim, s.optim).sam_rho for s in settings.train.stages):
        raise ConfigError("optim.sam_rho does not go with train.precision=fp16, whose gradients are scaled. Use bf16.")
