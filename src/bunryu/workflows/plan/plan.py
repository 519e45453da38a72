"""A run, decided."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from bunryu.data.checks.check import Checked
from bunryu.data.table import Table
from bunryu.models.classifier import Classifier
from bunryu.models.record import Sealed
from bunryu.settings.run import RunSettings
from bunryu.workflows.plan.decisions import Decisions


@dataclass(frozen=True)
class Plan:
    """A run, decided.

    Attributes:
        settings: as the user gave them, paths made absolute, the network's name with its library.
        checked: what the check of the images found.
        table: the usable rows, every split decided.
        classes: in their one fixed order.
        net: the network on the CPU, its head new (or as the weights of a run had it).
        sealed: the record that the model will carry.
        device: where to train.
        decisions: how all this is told.
    """

    settings: RunSettings
    checked: Checked
    table: Table
    classes: list[str]
    net: Classifier
    sealed: Sealed
    device: torch.device
    decisions: Decisions
