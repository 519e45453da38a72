"""A picture is opened no more often than needed: to check it once, and then once an epoch that learns or validates."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from bunryu import api
from bunryu.data.checks import verdict
from bunryu.data.splits.split_csv import read_run_rows
from bunryu.workflows.probe import probe

_opened: Counter[str] | None = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str):
        _opened[arguments[0]] += 1


sys.addaudithook(_watch)  # for good, and of every way to open a file: it counts within `opened` alone


@contextmanager
def opened(folder: Path) -> Iterator[Counter[str]]:
    """Give, at the end, how often each picture below a folder was opened, by its name within it."""
    global _opened
    found: Counter[str] = Counter()
    _opened = Counter()
    try:
        yield found
    finally:
        for file, times in _opened.items():
            if Path(file).is_relative_to(folder) and file.endswith(".png"):
                found[Path(file).relative_to(folder).as_posix()] += times
        _opened = None


@pytest.fixture
def pictures(tmp_path: Path, make_images: Callable[..., Path]) -> Path:
    """Two classes of 15 pictures."""
    return make_images(tmp_path / "photos", {"a": 15, "b": 15})


@pytest.fixture
def settings(tiny_settings: list[str]) -> list[str]:
    """Two epochs on pictures that are augmented, so that there is a preview, and whose mean and std are measured."""
    return [*tiny_settings, "augment.hflip=0.5"]


def by_split(run: Path, pictures: Path) -> dict[str, set[str]]:
    table = read_run_rows(run / "split.csv", pictures, "label")
    return {name: set(table.paths[table.split(name)]) for name in ("train", "val", "test") if len(table.split(name))}


def times(found: Counter[str], names: set[str]) -> set[int]:
    """Return the different numbers of times that some pictures were opened."""
    return {found[name] for name in names}


@pytest.mark.pictures
def test_training_with_validation(pictures: Path, settings: list[str], tmp_path: Path) -> None:
    with opened(pictures) as found:
        api.train(pictures, *settings, out=tmp_path / "run", quiet=True)
    rows = by_split(tmp_path / "run", pictures)
    assert times(found, rows["train"]) == {1 + 2}  # the check, and two epochs; not for mean and std, nor the preview
    assert times(found, rows["val"]) == {1 + 2}  # the check, and two epochs; not for the results, nor the examples
    assert found.total() == 30 * 3
    with opened(pictures) as again:
        api.train(pictures, *settings, out=tmp_path / "again", quiet=True)
    # Remembered are the check, and mean and std; the preview has a batch of 8 to open.
    assert again.total() == 30 * 2 + 8
    assert times(again, rows["val"]) == {2}


def test_training_with_a_test_split(pictures: Path, settings: list[str], tmp_path: Path) -> None:
    with opened(pictures) as found:
        api.train(pictures, *settings, "split.test=0.3", out=tmp_path / "run", quiet=True)
    rows = by_split(tmp_path / "run", pictures)
    assert times(found, rows["train"] | rows["val"]) == {1 + 2}
    assert times(found, rows["test"]) == {1 + 1}  # the check, and the results with their examples
    with opened(pictures) as own:
        api.open_run(tmp_path / "run").evaluate(out=tmp_path / "own", quiet=True)
    assert own == dict.fromkeys(rows["val"] | rows["test"], 1)


def test_what_is_decided_on_validation_rows_opens_the_examples_that_it_changes(
    pictures: Path, settings: list[str], tmp_path: Path
) -> None:
    with opened(pictures) as found:
        api.train(pictures, *settings, "decision.tau=auto", out=tmp_path / "run", quiet=True)
    rows = by_split(tmp_path / "run", pictures)
    assert times(found, rows["train"]) == {1 + 2}
    assert times(found, rows["val"]) <= {1 + 2, 1 + 2 + 1}


def test_a_best_epoch_on_features_is_asked_once_more(pictures: Path, settings: list[str], tmp_path: Path) -> None:
    api.train(pictures, *settings, out=tmp_path / "donor", quiet=True)
    stage = "train.stages=[{name: head, freeze: backbone, views: 0, epochs: 2}]"
    weights = (f"model.weights={tmp_path / 'donor'}", "augment.hflip=0", "split.seed=3")
    with opened(pictures) as found:
        api.train(pictures, *settings, *weights, stage, out=tmp_path / "run", quiet=True)
    rows = by_split(tmp_path / "run", pictures)
    assert times(found, rows["train"]) == {1}  # features, for all epochs; the check is remembered
    assert times(found, rows["val"]) == {1 + 1}  # features, and the results: in other batches, to other last bits


def test_folds(pictures: Path, settings: list[str], tmp_path: Path) -> None:
    with opened(pictures) as found:
        api.train(pictures, *settings, "split.test=0.2", folds=3, out=tmp_path / "run", quiet=True)
    rows = by_split(tmp_path / "run", pictures)
    learned = times(found, rows["train"])
    # The check; 3 runs of two epochs each, in which a picture is learned from or validated; and those examples (of 18)
    # that are shown of all folds together, whose runs have ended and may have been other processes.
    assert learned <= {1 + 3 * 2, 1 + 3 * 2 + 1}
    assert sum(found[name] - 7 for name in rows["train"]) <= 18
    assert times(found, rows["test"]) == {1 + 3 + 1}  # the check, each run's results, and those of all three at once
    with opened(pictures) as again:
        api.open_run(tmp_path / "run").evaluate(out=tmp_path / "again", quiet=True)
    assert times(again, rows["test"]) == {1}
    assert again.total() <= 30 + 18


def test_other_data(tiny_run: Any, pictures: Path, tmp_path: Path, make_images: Callable[..., Path]) -> None:
    other = make_images(tmp_path / "other", {"cat": 5, "강아지": 30})
    with opened(other) as found:
        api.open_run(tiny_run.run).evaluate(other, out=tmp_path / "results", quiet=True)
    assert set(found.values()) == {1}  # one read to hash it (is it a copy of a training picture?), answer and show it
    assert len(found) == 35


def test_other_views_of_a_picture_are_decoded_from_one_read(
    tiny_run: Any, tmp_path: Path, make_images: Callable[..., Path]
) -> None:
    other = make_images(tmp_path / "other", {"cat": 5, "강아지": 30})
    with opened(other) as found:
        api.open_run(tiny_run.run).predict(other, tta="hflip,crops")
    assert set(found.values()) == {1}
    with opened(other) as found:
        api.open_run(tiny_run.run).evaluate(other, out=tmp_path / "results", tta="hflip,crops", quiet=True)
    assert set(found.values()) == {2}  # the plain view, and all views: two results
    assert len(found) == 35


def test_prediction(tiny_run: Any, tmp_path: Path, make_images: Callable[..., Path]) -> None:
    other = make_images(tmp_path / "other", {"new": 7})
    with opened(other) as found:
        api.open_run(tiny_run.run).predict(other, out=tmp_path / "predictions.csv")
    assert set(found.values()) == {1}
    assert len(found) == 7


def test_probe(pictures: Path, settings: list[str], tmp_path: Path) -> None:
    api.train(pictures, *settings, out=tmp_path / "donor", quiet=True)
    of_data = [f"data.source={pictures}", f"model.weights={tmp_path / 'donor'}"]
    with pytest.MonkeyPatch.context() as patch, opened(pictures) as found:
        patch.setenv("BUNRYU_CACHE", str(tmp_path / "cache"))  # nothing is remembered
        probe([*settings[:1], "input.size=16", *of_data], [], {}, out=tmp_path / "probe")
    assert found == dict.fromkeys(found, 1)  # the check; features and what is shown come from what it read
    assert len(found) == 30


def test_large_files_are_not_held(
    pictures: Path, settings: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verdict, "MAX_BYTES_HELD", 0)
    with opened(pictures) as found:
        api.train(pictures, *settings, out=tmp_path / "run", quiet=True)
    rows = by_split(tmp_path / "run", pictures)
    assert times(found, rows["val"]) == {3 + 2}  # the check hashes them in pieces, and opens them for head and pixels
