"""The verbs of Python are what the commands call: the same words, the same refusals, the same results."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import bunryu as package
from bunryu.core.caller import Caller, called_by, present
from bunryu.core.errors import BunryuError
from conftest import Command, Tiny, refused

SMALL = ("model.name=scratch_cnn", "input.size=16", "train.precision=fp32", "train.device=cpu", "train.batch_size=4")


@pytest.fixture
def place(here: Path, make_images: Any) -> Path:
    make_images(here / "photos", {"a": 6, "b": 6})
    (here / "full").mkdir()
    (here / "full/x").touch()
    (here / "there.yaml").touch()
    return here


REFUSED: list[tuple[list[str], Callable[[], object]]] = [
    (["train", "photos", "--out", "full"], lambda: package.train("photos", out="full")),
    (["train", "photos", "--dry-run", "--out", "full"], lambda: package.dry_run("photos", out="full")),
    (["train", "--val-dir", "photos"], lambda: package.train({"val": "photos"})),
    (["train", "--train-dir", "photos", "--test-dir", "x"], lambda: package.train({"train": "photos", "test": "x"})),
    (["train", "photos", "--recipe", "fast"], lambda: package.train("photos", recipe="fast")),
    (["train", "--resume", "full"], lambda: package.resume("full")),
    (["probe", "photos", "--out", "full"], lambda: package.probe("photos", out="full")),
    (["bench", "photos", "--tune", "--out", "there.yaml"],
     lambda: package.bench("photos", tune=True, out="there.yaml")),
    (["split", "photos", "train.epochs=3", "--out", "new"],
     lambda: package.split("photos", "train.epochs=3", out="new")),
    (["augment", "photos", "--out", "new"], lambda: package.augment("photos", out="new")),
    (["ensemble", "full", "full", "--out", "new"], lambda: package.ensemble(["full", "full"], out="new")),
    (["ensemble", "gone", "gone", "--out", "full"], lambda: package.ensemble(["gone", "gone"], out="full")),
    (["evaluate", "full"], lambda: package.evaluate("full")),
    (["predict", "full", "photos"], lambda: package.predict("full", "photos")),
    (["demo", "there.yaml/demo"], lambda: package.demo("there.yaml/demo")),
]  # fmt: skip


@pytest.mark.parametrize(("arguments", "call"), REFUSED, ids=[" ".join(case[0]) for case in REFUSED])
def test_python_and_the_command_refuse_in_the_same_words(
    bunryu: Command, place: Path, arguments: list[str], call: Callable[[], object]
) -> None:
    before = sorted(map(str, place.rglob("*")))
    with pytest.raises((BunryuError, OSError)) as error:
        call()
    why = error.value
    expected = f"{why.filename}: {why.strerror}." if isinstance(why, OSError) else str(why)
    assert refused(bunryu(*arguments)) == expected
    assert sorted(map(str, place.rglob("*"))) == before


def test_a_wrong_setting_is_told_with_where_it_came_from(bunryu: Command, place: Path) -> None:
    with pytest.raises(BunryuError, match=r"no setting 'train\.epoch' \(the settings given\)") as error:
        package.probe("photos", "train.epoch=3")
    told = refused(bunryu("probe", "photos", "train.epoch=3"))
    assert told == str(error.value).replace("the settings given", "the command line")


def test_quiet_verbs_print_nothing(
    place: Path, tiny_run: Tiny, capsys: pytest.CaptureFixture[str], tiny_settings: list[str]
) -> None:
    run = package.train({"source": "photos"}, *tiny_settings, "train.epochs=1", out="run", quiet=True)
    package.ensemble([run, run.path], out="both", quiet=True)
    package.dry_run("photos", *SMALL, quiet=True)
    found = package.bench("photos", *SMALL, "train.threads=1", quiet=True)
    assert found.fastest is found.ways[0]
    probed = package.probe("photos", *SMALL, f"model.weights={tiny_run.run}", out="probe", quiet=True)
    assert probed.path == Path("probe")
    assert probed.best is probed.tried[0]
    assert capsys.readouterr() == ("", "")


def test_a_verb_shows_its_results_and_says_what_comes_next(
    bunryu: Command, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Python on standard error, the command on standard output."""
    package.split("photos", out="laid")
    assert "next: bunryu train laid\n" in capsys.readouterr().err
    found = package.bench("photos", *SMALL, "train.threads=1")
    out, err = capsys.readouterr()
    assert out == ""
    assert repr(found) in err
    assert bunryu("bench", "photos", *SMALL, "train.threads=1").out.startswith("precision  threads")


def test_a_dry_run_of_a_data_frame_and_of_folds(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = pd.DataFrame({"path": [str(path) for path in sorted(place.glob("photos/*/*.png"))]})
    rows["label"] = [Path(path).parent.name for path in rows["path"]]
    before = sorted(map(str, place.rglob("*")))
    package.dry_run(rows, *SMALL)
    assert "rows: train 10, val 2" in capsys.readouterr().err
    package.dry_run(rows, *SMALL, folds=2)
    assert "folds" in capsys.readouterr().err
    assert sorted(map(str, place.rglob("*"))) == before


def test_who_calls_is_known_within_the_call_alone() -> None:
    class Other(Caller):
        origin = "elsewhere"

    before = present()
    assert before.origin == "the settings given"
    with called_by(Other()):
        assert present().origin == "elsewhere"
    assert present() is before


def test_a_run_with_figures_that_cannot_be_read_is_shown_all_the_same(tiny_run: Tiny, tmp_path: Path) -> None:
    shutil.copytree(tiny_run.run, tmp_path / "run")
    (tmp_path / "run/metrics.json").write_text('{"val": {"n": 1, "of the future": 2}}', encoding="utf-8")
    assert "metrics.json" in repr(package.open_run(tmp_path / "run"))
