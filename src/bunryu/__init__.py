"""bunryu (분류): from a folder or a table of images to a classifier its owner can trust, explain and ship.

    import bunryu
    run = bunryu.train("photos/", "model.name=resnet18")
    run.predict("new/").head()

Importing bunryu does not import torch; the first use of a verb does.
"""

from __future__ import annotations

import sys
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

from bunryu.core.errors import (
    BunryuError,
    ConfigError,
    DataError,
    DeviceError,
    ImageError,
    Interrupted,
    LabelError,
    ModelError,
    RunError,
    TrainingError,
)
from bunryu.core.process import wait_patiently

if TYPE_CHECKING:
    from bunryu.api import (
        Benched,
        Ensemble,
        Evaluation,
        Model,
        Probed,
        Run,
        Scored,
        augment,
        bench,
        demo,
        dry_run,
        ensemble,
        evaluate,
        open_run,
        predict,
        probe,
        resume,
        score,
        split,
        train,
    )

__version__ = "0.1.0"

__all__ = [
    "Benched",
    "BunryuError",
    "ConfigError",
    "DataError",
    "DeviceError",
    "Ensemble",
    "Evaluation",
    "ImageError",
    "Interrupted",
    "LabelError",
    "Model",
    "ModelError",
    "Probed",
    "Run",
    "RunError",
    "Scored",
    "TrainingError",
    "augment",
    "bench",
    "demo",
    "dry_run",
    "ensemble",
    "evaluate",
    "open_run",
    "predict",
    "probe",
    "resume",
    "score",
    "split",
    "train",
]

_LATE = tuple(name for name in __all__ if not (name.endswith("Error") or name == "Interrupted"))


class _Face(ModuleType):
    """The type of this module: `bunryu.train` stays the verb when Python wants to bind the room of that name."""


def _late(name: str) -> property:
    def get(_: _Face) -> Any:
        wait_patiently()
        return getattr(import_module("bunryu.api"), name)

    return property(get, lambda *_: None)


for _name in _LATE:
    setattr(_Face, _name, _late(_name))
sys.modules[__name__].__class__ = _Face


def __dir__() -> list[str]:
    return sorted([*__all__, "__version__"])
