"""Whether there are too few pictures for the way that was chosen; said before the training, with measured figures."""

from __future__ import annotations

from bunryu.data.table import Table
from bunryu.settings.run import RunSettings

FEW_FROM_SCRATCH = 200
"""Training pictures a class below which a network from scratch stays far below frozen pretrained weights."""
FEW_TO_FINE_TUNE = 20
"""Below so many, fine-tuning everything came within 0.02 of a head on the frozen weights."""
SCRATCH = {10: 0.38, 20: 0.48, 50: 0.53, 200: 0.66}
"""Pictures a class -> what a network from scratch reached of two and of five classes, on average: macro recall on other
pictures. Of 200, the 100 that the two classes have. See benchmarks/small_data.py and docs/training/few.md."""
FROZEN = {10: 0.79, 20: 0.83, 50: 0.86, 200: 0.91}
"""A head on frozen pretrained weights, on the same pictures."""


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
        size = max((n for n in SCRATCH if n <= max(each, min(SCRATCH))), default=min(SCRATCH))
        return (
            f"{each:.0f} training pictures a {noun} are few to learn from scratch. Measured with {size} a class: macro "
            f"recall {SCRATCH[size]:.2f}, a head on frozen pretrained weights {FROZEN[size]:.2f} "
            "(docs/training/few.md). What those reach here: bunryu probe DATA (or with model.weights=FILE)"
        )
    trains_all = any(stage.freeze != "backbone" for stage in settings.train.stages)
    if settings.model.weights != "none" and trains_all and each < FEW_TO_FINE_TUNE:
        return (
            f"{each:.0f} training pictures a {noun} are few to fine-tune everything: measured on so few it came within "
            "0.02 of a head on the frozen weights (docs/training/few.md), which takes seconds: bunryu probe DATA"
        )
    return None
