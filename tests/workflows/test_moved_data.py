"""A run whose images have been moved or removed since says where they were, and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import bunryu
from bunryu.core.errors import BunryuError, ConfigError, DataError


@pytest.fixture
def moved(tmp_path: Path, make_images: Any, tiny_settings: list[str]) -> tuple[Path, Path]:
    """A finished run and where its images are now."""
    photos = make_images(tmp_path / "photos", {"cat": 8, "dog": 8})
    bunryu.train(photos, *tiny_settings, "train.epochs=1", out=tmp_path / "run", quiet=True)
    photos.rename(tmp_path / "elsewhere")
    return tmp_path / "run", tmp_path / "elsewhere"


def test_evaluate_names_the_old_folder_and_the_ways_out(moved: tuple[Path, Path]) -> None:
    run, images = moved
    with pytest.raises(DataError) as error:
        bunryu.evaluate(run)
    text = str(error.value)
    assert f"no longer in {images.with_name('photos')} (such as {images.with_name('photos')}/" in text
    assert f"bunryu evaluate {run} --data FOLDER" in text
    assert not list(run.glob("evaluate-*"))
    assert bunryu.evaluate(run, images).metrics["test"]["n"] == 16
    images.with_name("photos").symlink_to(images, target_is_directory=True)
    assert bunryu.evaluate(run).metrics["val"]["n"] == 3


def test_resume_names_the_old_folder(moved: tuple[Path, Path]) -> None:
    run, images = moved
    with pytest.raises(BunryuError, match=f"There is no file or folder {images.with_name('photos')}"):
        bunryu.resume(run, more_epochs=1)


def test_some_images_that_are_gone_are_skipped_and_listed(moved: tuple[Path, Path]) -> None:
    run, images = moved
    shutil.copytree(images, images.with_name("photos"))
    shutil.rmtree(images.with_name("photos") / "cat")
    found = bunryu.evaluate(run)
    assert len(found.skipped["val"]) == 1
    assert found.metrics["val"]["n"] == 2


def test_a_run_from_a_zip_outlives_the_cache(
    tmp_path: Path, make_images: Any, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = make_images(tmp_path / "photos", {"고양이": 8, "dog": 8})
    archive = shutil.make_archive(str(tmp_path / "photos"), "zip", photos)
    shutil.rmtree(photos)
    run = bunryu.train(archive, *tiny_settings, "train.epochs=1", out=tmp_path / "run", quiet=True)
    listed = (tmp_path / "run" / "split.csv").read_text(encoding="utf-8")
    assert listed.splitlines()[1].startswith("dog/000.png,dog,")
    for cache in ("second", "third", "fourth"):
        monkeypatch.setenv("BUNRYU_CACHE", str(tmp_path / cache))
        match cache:
            case "second":
                assert bunryu.evaluate(run.path).metrics["val"]["n"] == 3
            case "third":
                assert bunryu.resume(run.path, more_epochs=1).path == run.path
                assert (tmp_path / "run" / "split.csv").read_text(encoding="utf-8") == listed
            case _:
                assert bunryu.evaluate(run.path, archive).metrics["test"]["n"] == 16
                assert run.predict(archive)["path"].iloc[0] == f"{archive}/dog/000.png"
    with pytest.raises(ConfigError, match="Leave it out: the files are copied"):
        bunryu.split(archive, out=tmp_path / "split", link="symlink")
    Path(archive).unlink()
    with pytest.raises(DataError, match=f"no longer in {archive}"):
        bunryu.evaluate(run.path)
