"""Who goes on with a run reads its data, its split and its record once, and passes them on."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bunryu import api
from bunryu.runs.folder import RunFolder

SMALL = (
    *("model.name=scratch_cnn", "train.device=cpu", "input.size=16", "train.batch_size=8", "train.threads=1"),
    *("train.precision=fp32", "evaluate.bootstrap=0", "train.epochs=1"),
)


@pytest.fixture
def photos(make_images: Callable[..., Path], tmp_path: Path) -> Path:
    return make_images(tmp_path / "photos", {"b": 8, "강아지": 8})


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Count what is read from here on: the source, its images, the rows and the record of a run."""
    counted: Counter[str] = Counter()

    def counting(name: str, original: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **options: Any) -> Any:
            told = f"{args[0].parent.name}/{args[0].name}" if isinstance(args[0], Path) else name
            counted[told] += 1
            return original(*args, **options)

        return call

    for name in ("read_source", "check_images", "read_run_rows", "read_split", "read_json"):
        for module in [module for key, module in sys.modules.items() if key.startswith("bunryu.")]:
            if name in vars(module):
                monkeypatch.setattr(module, name, counting(name, vars(module)[name]))
    return counted


@pytest.mark.parametrize("checkpoint", [True, False])
def test_a_resumed_run_reads_once_and_reports_as_one_that_was_not(
    checkpoint: bool, photos: Path, tmp_path: Path, reads: Counter[str]
) -> None:
    run = api.train(photos, *SMALL, out=tmp_path / "run", quiet=True)
    folder = RunFolder(run.path)
    before, figures = folder.report.read_text("utf-8"), folder.metrics.read_bytes()
    for file in (folder.metrics, folder.report, *(() if checkpoint else (folder.last, folder.history))):
        file.unlink()
    reads.clear()
    api.resume(run.path, quiet=True)
    once = {"read_source", "check_images", "run/split.csv", "run/environment.json"}
    assert {name: times for name, times in reads.items() if name != "run/metrics.json"} == dict.fromkeys(once, 1)
    assert folder.metrics.read_bytes() == figures
    assert folder.report.read_text("utf-8") == before


def test_resumed_folds_read_their_data_once(photos: Path, tmp_path: Path, reads: Counter[str]) -> None:
    run = api.train(photos, *SMALL, folds=2, out=tmp_path / "cv", quiet=True)
    folder = RunFolder(run.path)
    figures = folder.metrics.read_bytes()
    for file in (folder.metrics, folder.fold(2).metrics):
        file.unlink()
    reads.clear()
    api.resume(run.path, quiet=True)
    assert (reads["read_source"], reads["check_images"]) == (1, 1)
    assert {name for name, times in reads.items() if times > 1} == set()
    assert folder.metrics.read_bytes() == figures
