"""The demo: real handwritten digits that scikit-learn carries, from PNG files to a measured, sealed model."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
from PIL import Image

from bunryu.core import console
from bunryu.core.errors import DataError, typed
from bunryu.runs.folder import RunFolder
from bunryu.settings.load import load_settings
from bunryu.workflows import train

SETTINGS = (
    "name=digits",
    "model.name=scratch_cnn",
    "model.batch_norm=true",
    "input.size=32",
    "input.channels=grey",
    "split.val=0.15",
    "split.test=0.2",
    "train.epochs=20",
    "optim.lr=4e-3",
    "augment.hflip=0",
    "augment.crop_scale=[0.8, 1.0]",
    "augment.rotate=8",
)
_COUNT = 1_797


def run_demo(folder: Path) -> RunFolder:
    """Write the digits as class folders of PNG, train on them, and measure on held-out ones."""
    digits = folder / "digits"
    if not _whole(digits):
        count = write_digits(digits)
        console.say(f"wrote {count:,} handwritten digits (8x8, from scikit-learn) to {digits}/<digit>/")
    settings = load_settings(SETTINGS, values={"data": {"source": str(digits)}})
    console.say(f"the same as: bunryu train {' '.join(map(typed, [digits, *SETTINGS]))}")
    number = 1
    while (folder / f"run-{number}").exists():
        number += 1
    run = train.train(settings, out=folder / f"run-{number}")
    train.say_results(run)
    console.say(f"picture: {run.plots / 'examples_test.png'}")
    console.say(f"try: bunryu predict {typed(run.path)} {typed(digits / '7')}")
    return run


def write_digits(folder: Path) -> int:
    """Write scikit-learn's 1,797 digits (Alpaydin & Kaynak 1998) as folder/<digit>/<number>.png, all or none.

    What an earlier demo left unfinished in `folder` is replaced.

    Raises:
        DataError: `folder` holds something else.
    """
    from sklearn.datasets import load_digits

    data = load_digits()
    names = [f"{digit}/{number:04}.png" for number, digit in enumerate(data.target)]
    if folder.exists() and not (folder.is_dir() and _files(folder) <= set(names)):
        raise DataError(f"{folder} is there and is not the demo's. Name another folder: bunryu demo FOLDER")
    unfinished = folder.with_name(f".{folder.name}.tmp")
    for leftover in (unfinished, folder):
        if leftover.exists():
            shutil.rmtree(leftover)
    for name, pixels in zip(names, data.images, strict=True):
        path = unfinished / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.round(pixels * 255 / 16).astype(np.uint8)).save(path)
    unfinished.rename(folder)
    return len(names)


def _whole(digits: Path) -> bool:
    """Return whether all digits are there; a demo that was killed may have left some."""
    return digits.is_dir() and len(_files(digits)) >= _COUNT


def _files(folder: Path) -> set[str]:
    """Return the files below a folder, without hidden ones."""
    found = (path for path in folder.rglob("*") if not path.is_dir() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix() for path in found}
