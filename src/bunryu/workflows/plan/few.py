"""Whether there are too few pictures for the way that was chosen; said before the training, with measured figures."""

from __future__ import annotations

from bunryu.data.table import Table
from bunryu.settings.run import RunSettings

FEW_FROM_SCRATCH = 200
"""Training pictures a class below which a network from scratch stays far below frozen pretrained weights."""
FEW_TO_FINE_TUNE = 20
"""Below so many, fine-tuning everything came within 0.02 of a head on the frozen weights."""
MEASURED = {
    2: {10: (0.51, 0.91), 20: (0.64, 0.90), 50: (0.64, 0.93), 100: (0.69, 0.94)},
    5: {10: (0.25, 0.68), 20: (0.32, 0.75), 50: (0.42, 0.80), 200: (0.63, 0.89)},
}
"""Classes -> pictures a class, of which a fifth validates -> macro recall on other pictures from scratch, and of a head
on frozen pretrained weights: benchmarks/small_data.py, docs/training/few.md."""


def few_told(settings: RunSettings, table: Table) -> str | None:
    """Say that there are too few training pictures for what is trained; None where there are enough.

    Args:
        settings: settled: with the weights that are used.
        table: divided into its splits.
    """
    rows = table.split("train")
    classes = len(table.label_names) or len(set(table.target_labels[rows]))
    each = len(rows) / max(classes, 1)
    noun = "label" if table.label_names else "class"
    if settings.model.weights == "none" and each < FEW_FROM_SCRATCH:
        of = 2 if classes == 2 else 5
        size = max((n for n in MEASURED[of] if 0.8 * n <= each), default=min(MEASURED[of]))
        scratch, frozen = MEASURED[of][size]
        return (
            f"{each:.0f} training pictures a {noun} are few to learn from scratch. Measured with {size} each of "
            f"{of} classes: macro recall {scratch:.2f} (chance {1 / of:.2f}); a head on frozen pretrained weights "
            f"{frozen:.2f} (docs/training/few.md). What those reach here: bunryu probe DATA model.weights=FILE"
        )
    trains_all = any(stage.freeze != "backbone" for stage in settings.train.stages)
    if settings.model.weights != "none" and trains_all and each < FEW_TO_FINE_TUNE:
        return (
            f"{each:.0f} training pictures a {noun} are few to fine-tune everything: measured on so few it came within "
            "0.02 of a head on the frozen weights (docs/training/few.md), which takes seconds: bunryu probe DATA"
        )
    return None
