"""A file of a run that was damaged or edited is noticed by whatever reads it back, and each way out works."""

from __future__ import annotations

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import bunryu as package
from bunryu.core.errors import BunryuError, RunError
from bunryu.runs import digests
from bunryu.runs.folder import RunFolder
from conftest import Command, Tiny, refused

READERS: dict[str, tuple[str, Callable[[Path], Any]]] = {
    "resume: split": ("split.csv", lambda run: resumed(run)),
    "resume: settings": ("config.yaml", lambda run: resumed(run)),
    "resume: history": ("history.jsonl", lambda run: resumed(run)),
    "further: history": ("history.jsonl", lambda run: package.resume(run, more_epochs=1, quiet=True)),
    "evaluate: split": ("split.csv", lambda run: package.open_run(run).evaluate()),
    "evaluate: settings": ("config.yaml", lambda run: package.open_run(run).evaluate()),
    "evaluate: history": ("history.jsonl", lambda run: package.open_run(run).evaluate()),
    "Run.settings": ("config.yaml", lambda run: package.open_run(run).settings),
    "Run.history": ("history.jsonl", lambda run: package.open_run(run).history),
    "Run.metrics": ("metrics.json", lambda run: package.open_run(run).metrics),
    "weights of a run: split": ("split.csv", lambda run: retrained(run)),
    "ensemble: split": ("split.csv", lambda run: united(run)),
    "ensemble: predictions": ("predictions_val.csv", lambda run: united(run)),
}


@pytest.fixture
def run(tiny_run: Tiny, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_run.run, tmp_path / "run"))


def resumed(run: Path) -> None:
    (run / "metrics.json").unlink()  # as if it had been stopped while measuring
    package.resume(run, quiet=True)


def united(run: Path) -> None:
    other = shutil.copytree(run, run.with_name("other"))
    for name in ("split.csv", "predictions_val.csv", digests.NAME):
        shutil.copyfile(run / name, other / name)
    package.ensemble([other, run], out=run.with_name("both"), weights="fit")


def retrained(run: Path) -> None:
    settings = RunFolder(run).settings()
    kept = ["model.name=scratch_cnn", f"model.weights={run}", "train.device=cpu", "train.epochs=1"]
    package.train(str(settings.data.source), *kept, "input.size=16", out=run.with_name("next"), quiet=True)


def flipped(file: Path, place: float) -> None:
    content = bytearray(file.read_bytes())
    content[int(place * (len(content) - 1))] ^= 1
    file.write_bytes(content)


@pytest.mark.parametrize("reader", READERS)
def test_every_reader_notices_a_flipped_bit(reader: str, run: Path) -> None:
    name, read = READERS[reader]
    flipped(run / name, 0.5)
    with pytest.raises(RunError) as caught:
        read(run)
    told = str(caught.value)
    assert re.search(rf"{name} is not as the run wrote it: it was damaged, or edited", told), told
    assert f"remove the line of {name} from" in told


def test_every_file_that_is_read_back_is_listed_and_the_list_is_that_of_sha256sum(run: Path) -> None:
    listed = digests.read(run)
    there = {name for name, _ in READERS.values()} | {"predictions_test.csv"}
    assert listed.keys() == there
    if tool := shutil.which("sha256sum"):
        checked = subprocess.run([tool, "--check", digests.NAME], cwd=run, capture_output=True, text=True)
        assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.parametrize("place", [0.0, 0.3, 0.62, 1.0])
def test_a_flipped_bit_of_the_list_itself_touches_one_file_or_is_told(place: float, run: Path) -> None:
    """In a digest that file is told; in a name it is no longer checked; elsewhere the list is."""
    before = digests.read(run)
    flipped(run / digests.NAME, place)
    try:
        changed = digests.read(run).items() ^ before.items()
    except RunError as error:
        changed = set()
        told = str(error)
    assert len(changed) == 2 or f"{run / digests.NAME} is damaged" in told


def test_edited_settings_the_way_out_is_a_new_run(run: Path, bunryu: Command, here: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("epochs: 2", "epochs: 1"), encoding="utf-8")
    told = refused(bunryu("evaluate", run))
    command = re.search(r"of a new run: (bunryu train --recipe .+? --out NEW_RUN)", told)
    assert command, told
    ended = bunryu(*shlex.split(command[1])[1:])
    assert ended.code == 0, ended.err
    assert len(RunFolder(here / "NEW_RUN").read_history()) == 1


def test_an_edited_split_the_ways_out_are_a_new_run_or_the_line_removed(run: Path, bunryu: Command, here: Path) -> None:
    """Excel writes the same rows with other ends of lines."""
    split = run / "split.csv"
    split.write_bytes(b"\xef\xbb\xbf" + split.read_bytes().replace(b"\r\n", b"\n"))
    told = refused(bunryu("evaluate", run))
    assert "(Excel may have changed it when saving.)" in told
    pair = re.search(r"split\.file=(\S+)", told)
    assert pair, told
    source = RunFolder(run).settings().data.source
    again = ["model.name=scratch_cnn", "train.epochs=1", "train.device=cpu", "input.size=16", "--out", "new"]
    assert bunryu("train", source, pair[0], *again).code == 0
    lines = (run / digests.NAME).read_text(encoding="utf-8").splitlines()
    left = "".join(f"{line}\n" for line in lines if not line.endswith("split.csv"))
    (run / digests.NAME).write_text(left, encoding="utf-8")
    assert bunryu("evaluate", run).code == 0


def test_a_run_without_a_list_is_read_as_before(run: Path, bunryu: Command) -> None:
    (run / digests.NAME).unlink()
    assert bunryu("evaluate", run).code == 0
    assert bunryu("train", "--resume", run, "--more-epochs", 1).code == 0
    assert {"history.jsonl", "config.yaml", "metrics.json"} <= digests.read(run).keys()


def test_further_training_lists_what_it_wrote_anew(run: Path) -> None:
    before = digests.read(run)
    package.resume(run, more_epochs=1, quiet=True)
    now = digests.read(run)
    assert now.keys() == before.keys()
    assert {name for name in now if now[name] != before[name]} >= {"config.yaml", "history.jsonl"}
    package.open_run(run).evaluate()


@pytest.mark.parametrize("killed_before", ["write", "note"])
def test_a_kill_between_two_writes_accuses_no_one(
    killed_before: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Forgotten, written, noted: wherever it stops, the file passes as it then is."""
    file = tmp_path / "history.jsonl"
    file.write_text("old")
    digests.note(tmp_path, [file])
    digests.forget(tmp_path, [file])
    if killed_before == "note":
        file.write_text("new")
    digests.require_same(tmp_path, file, "")
    file.write_text("newer")
    digests.note(tmp_path, [file])
    digests.require_same(tmp_path, file, "")
    file.write_text("edited")
    with pytest.raises(RunError):
        digests.require_same(tmp_path, file, "")


def test_a_frame_that_a_run_was_started_from(tiny_run: Tiny, tmp_path: Path) -> None:
    paths = sorted(map(str, tiny_run.data.glob("*/0*.png")))
    frame = pd.DataFrame({"path": paths, "label": [Path(path).parent.name for path in paths]})
    small = ["model.name=scratch_cnn", "train.device=cpu", "train.epochs=1", "input.size=16", "evaluate.bootstrap=0"]
    package.train(frame, *small, out=tmp_path / "run", quiet=True)
    assert "data.csv" in digests.read(tmp_path / "run")
    flipped(tmp_path / "run/data.csv", 0.9)
    with pytest.raises(BunryuError, match=r"data\.csv is not as the run wrote it"):
        resumed(tmp_path / "run")


def test_folds_and_their_predictions(tiny_run: Tiny, tmp_path: Path) -> None:
    small = ["model.name=scratch_cnn", "train.device=cpu", "train.epochs=1", "input.size=16", "evaluate.bootstrap=0"]
    run = tmp_path / "run"
    package.train(tiny_run.data, *small, "folds.k=2", out=run, quiet=True)
    assert {"folds.csv", "split.csv", "config.yaml", "metrics.json"} <= digests.read(run).keys()
    readers: dict[str, Callable[[], Any]] = {
        "folds.csv": lambda: package.open_run(run).evaluate(),
        "split.csv": lambda: package.open_run(run).evaluate(),
        "ensemble.json": lambda: package.open_run(run).model,
    }
    for name, read in readers.items():
        whole = (run / name).read_bytes()
        flipped(run / name, 0.5)
        with pytest.raises(RunError, match=f"{name} is not as the run wrote it"):
            read()
        (run / name).write_bytes(whole)
    (run / "metrics.json").unlink()
    flipped(run / "fold-2/predictions_val.csv", 0.5)
    with pytest.raises(RunError, match=r"fold-2.predictions_val\.csv is not as the run wrote it"):
        package.resume(run, quiet=True)
