"""What settings have no meaning for labels that can hold together (data.multi_label). Free of torch."""

from __future__ import annotations

from typing import Any

from bunryu.settings.fields import value_text

_INSTEAD = {
    "loss.name": " (cross_entropy and focal are there)",
    "loss.class_weights": " (balanced and effective weigh each label's yes against its no)",
    "train.sampler": " (loss.class_weights=balanced weighs rare labels)",
    "data.balance_to": " (loss.class_weights=balanced weighs rare labels)",
    "decision.tau": " (each label gets a threshold of its own)",
    "train.monitor": " (macro_f1, micro_f1, accuracy, loss and mean_average_precision are there)",
    "folds.k": " (cross-validation does not know them yet; split.test measures on unseen rows)",
}
"""What there is for labels that can hold together, instead of what has no meaning for them."""
_OF_CLASSES = ("mean_macro_f1", "roc_auc", "worst_group_accuracy")
OF_LABELS = ("micro_f1", "mean_average_precision")
"""What train.monitor can be for them alone."""


def why_not_labels(settings: dict[str, Any]) -> str:
    """Say why these settings of a run cannot be; "" where they can.

    Args:
        settings: section -> key -> value, all of them.
    """
    monitor, loss = settings["train"]["monitor"], settings["loss"]
    if settings["data"]["multi_label"] is None:
        if monitor not in OF_LABELS:
            return ""
        return f"train.monitor={monitor} is a figure of labels that can hold together; name them: data.multi_label"
    wrong = {
        "model.heads": settings["model"]["heads"] != "joint",
        "loss.name": loss["name"] not in ("cross_entropy", "focal"),
        "loss.group_dro": bool(loss["group_dro"]),
        "loss.class_weights": isinstance(loss["class_weights"], dict),
        "train.sampler": settings["train"]["sampler"] != "shuffle",
        "data.balance_to": settings["data"]["balance_to"] is not None,
        "mix.remix": settings["mix"]["remix"],
        "decision.tau": settings["decision"]["tau"] is not None,
        "evaluate.positive": settings["evaluate"]["positive"] is not None,
        "train.monitor": monitor in ("mean_macro_f1", "roc_auc", "worst_group_accuracy")
        or monitor.startswith("positive_"),
        "folds.k": settings["folds"]["k"] is not None,
    }
    name = next((name for name, given in wrong.items() if given), None)
    if name is None:
        return ""
    section, _, key = name.partition(".")
    return (
        f"{name}={value_text(settings[section][key])} is for classes that exclude each other, and data.multi_label has "
        f"labels that can hold together; leave it out{_INSTEAD.get(name, '')}"
    )
