"""The public verbs and the objects they return; the commands do no more than call these.

Importing it loads neither torch nor pandas: a verb checks what it was asked for, and only then loads what does it.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from bunryu.api.data import augment, bench, probe, split
from bunryu.api.new_run import demo, dry_run, resume, train
from bunryu.api.run import Run, ensemble, evaluate, open_run, predict, predicted
from bunryu.runs.claim import is_run
from bunryu.ship.predict import Predicted
from bunryu.workflows.score import Scored, score

if TYPE_CHECKING:
    from bunryu.inference.ensemble import Ensemble
    from bunryu.inference.model import Model
    from bunryu.workflows.bench import Benched
    from bunryu.workflows.evaluate import Evaluation
    from bunryu.workflows.probe_report import Probed

__all__ = [
    "Benched",
    "Ensemble",
    "Evaluation",
    "Model",
    "Predicted",
    "Probed",
    "Run",
    "Scored",
    "augment",
    "bench",
    "demo",
    "dry_run",
    "ensemble",
    "evaluate",
    "is_run",
    "open_run",
    "predict",
    "predicted",
    "probe",
    "resume",
    "score",
    "split",
    "train",
]

_HEAVY = {
    "Benched": "workflows.bench",
    "Ensemble": "inference.ensemble",
    "Evaluation": "workflows.evaluate",
    "Model": "inference.model",
    "Probed": "workflows.probe_report",
}
"""Where the objects are whose modules load torch."""


def __getattr__(name: str) -> Any:
    if name not in _HEAVY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"bunryu.{_HEAVY[name]}"), name)
