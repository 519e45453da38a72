"""Whatever a kill leaves in a folder: the advice of the command that meets it, followed, ends in something whole."""

from __future__ import annotations

import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import bunryu as product
from bunryu.core.errors import RunError
from bunryu.runs.claim import MARKER, claim, hold
from conftest import Command, Ended, Tiny, refused


class Killed(BaseException):
    """What no code of the product catches: as after a kill, nothing more is written."""


@pytest.fixture
def killed_at(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[int], None]]:
    """Let the n-th file that is written whole never come (0: none dies), its half left beside it."""
    left, replace, unlink = [0], Path.replace, Path.unlink

    def watched(self: Path, target: Path) -> Path:
        left[0] -= 1
        if left[0] == 0:
            raise Killed
        return replace(self, target)

    def untidy(self: Path, missing_ok: bool = False) -> None:
        if not isinstance(sys.exc_info()[1], Killed):  # a killed process leaves what it was writing
            unlink(self, missing_ok)

    def armed(at: int) -> None:
        left[0] = at

    monkeypatch.setattr(Path, "replace", watched)
    monkeypatch.setattr(Path, "unlink", untidy)
    yield armed
    left[0] = 0


def contents(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.name != ".lock")


def photos_of(tiny_run: Tiny, here: Path) -> Path:
    """Return labelled pictures for a run, one of which cannot be read."""
    return Path(shutil.copytree(tiny_run.data, here / "labelled"))


@pytest.mark.parametrize("verb", ["split", "augment", "ensemble", "probe", "evaluate"])
def test_a_command_that_was_killed_begins_again_in_its_folder(
    verb: str,
    tiny_run: Tiny,
    make_images: Any,
    here: Path,
    bunryu: Command,
    killed_at: Callable[[int], None],
) -> None:
    photos = make_images(here / "photos", {"a": 8, "b": 8})
    rest: dict[str, tuple[Any, ...]] = {
        "split": (photos,),
        "augment": (photos, "--flip", "horizontal"),
        "ensemble": (tiny_run.run, tiny_run.run),
        "evaluate": (tiny_run.run, "--data", photos_of(tiny_run, here)),
        "probe": (photos, f"model.weights={tiny_run.run}", "train.threads=1", "evaluate.bootstrap=20"),
    }
    command = (verb, *rest[verb])
    assert bunryu(*command, "--out", "never").code == 0
    assert not (here / "never" / MARKER).exists()
    for at in range(1, 14, 4 if verb == "probe" else 1):
        out = here / f"killed-{at}"
        killed_at(at)
        try:
            ended: Ended | None = bunryu(*command, "--out", out)
        except Killed:
            ended = None
        killed_at(0)
        if ended is not None:
            break
        left = contents(out)
        if MARKER in left:
            told = refused(bunryu("train", "--resume", out))
            assert f"bunryu {verb} " in told, told
            assert str(out) in told
        assert bunryu(*command, "--out", out).code == 0, left
        assert contents(out) == contents(here / "never"), left
    else:
        pytest.fail("it never came to an end")
    assert at > 2, "nothing was killed"


@pytest.mark.parametrize("folds", [(), ("--folds", "2")], ids=["run", "folds"])
def test_a_training_that_was_killed_goes_on_or_begins_again(
    folds: tuple[str, ...],
    make_images: Any,
    here: Path,
    bunryu: Command,
    tiny_settings: list[str],
    killed_at: Callable[[int], None],
) -> None:
    """At each file up to the settings, and the first after them."""
    photos = make_images(here / "photos", {"a": 8, "b": 8})
    command = ("train", photos, *tiny_settings, *folds)
    seen = set()
    for at in range(1, 12):
        out = here / f"killed-{at}"
        killed_at(at)
        with pytest.raises(Killed):
            bunryu(*command, "--out", out)
        killed_at(0)
        set_up = (out / "config.yaml").exists()
        seen.add(set_up)
        if set_up:
            told = refused(bunryu(*command, "--out", out))
            advised = re.search(r"bunryu (train --resume .+)$", told)
            assert advised, told
            ended = bunryu(*shlex.split(advised[1].replace("\\", "/")))
        else:
            ended = bunryu(*command, "--out", out)
        assert ended.code == 0, ended.err
        assert (out / "metrics.json").exists()
        assert not (out / MARKER).exists()
        if set_up:
            break
    assert seen == {True, False}


def test_nothing_of_the_users_is_removed(tmp_path: Path) -> None:
    out = claim("x", tmp_path / "out", tmp_path, "split", ["train/a/1.png", "split.csv"])
    mine = [out / "notes.txt", out / "train/a/2.png", out / "split.csv.bak", out / "train/b"]
    for path in mine:
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("mine")
        else:
            path.mkdir(parents=True)
        with pytest.raises(RunError, match=re.escape(str(path.relative_to(out).as_posix()))):
            claim("x", out, tmp_path, "split", ["split.csv"])
        assert path.exists()
        path.unlink() if path.suffix else path.rmdir()
    (out / "train/a/1.png").write_text("half")
    claim("x", out, tmp_path, "split", ["split.csv"])
    assert contents(out) == [MARKER]


def test_names_alone_are_no_leave_to_remove(tmp_path: Path) -> None:
    for name in ("split.csv", "environment.json", "skipped.csv"):
        (tmp_path / name).write_text("mine")
    with pytest.raises(RunError, match=r"is not empty, and a run is never overwritten. Name a new folder\.$"):
        claim("x", tmp_path, tmp_path, "train", ["split.csv"])
    assert len(contents(tmp_path)) == 3


def test_who_is_at_work_is_not_disturbed(tmp_path: Path) -> None:
    out = claim("x", tmp_path / "out", tmp_path, "split", ["split.csv"])
    (out / "split.csv").write_text("half")
    with hold(out), pytest.raises(RunError, match="is running in"):
        claim("x", out, tmp_path, "split", ["split.csv"])
    assert (out / "split.csv").exists()


@pytest.mark.parametrize("verb", ["ensemble", "split", "augment", "probe", "evaluate"])
def test_only_a_training_is_told_to_resume(verb: Any, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text("")
    with pytest.raises(RunError) as told:
        claim("x", tmp_path, tmp_path, verb, [])
    assert "--resume" not in str(told.value)
    assert str(told.value).endswith("Name a new folder.")


def test_a_fold_that_was_not_set_up_is_gone_on_with_from_the_whole(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text("")
    (tmp_path / "config.yaml").write_text("")
    (tmp_path / "fold-1/checkpoints").mkdir(parents=True)
    with pytest.raises(RunError, match="Go on with the whole") as told:
        product.resume(tmp_path / "fold-1", quiet=True)
    assert str(told.value).endswith(str(tmp_path))
