"""A run whose images have been moved or removed since says where they were, and what to do."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

import bunryu
from bunryu.core.errors import BunryuError, DataError


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
