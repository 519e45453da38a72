"""What every test has: a check cache of its own, one thread, and small pictures made on the spot."""

from __future__ import annotations

import csv
import io
import os
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

from killing import draw_nothing

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch is imported: the suite runs several processes
os.environ["BUNRYU_LANG"] = "en"  # whatever the locale of who runs the tests
os.environ.setdefault("OMP_WAIT_POLICY", "passive")  # and where a test has two threads, none shall spin
TRAINING_ROOMS = {"api", "cli", "inference", "models", "ship", "train", "workflows"}
"""Where tests train and measure; the others shall not wait for torch."""
SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BUNRYU_CACHE", str(tmp_path_factory.mktemp("cache")))


@pytest.fixture
def shared() -> Path:
    """The folder of real images and weights; skips, with the reason, where it is missing."""
    if not (SHARED / "data").is_dir():
        pytest.skip(f"needs the development images in {SHARED}")
    return SHARED


@pytest.fixture(autouse=True)
def no_pictures(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let runs draw nothing, but in tests that are marked `pictures`, and in fixtures of more than one test."""
    if request.path.parent.name in TRAINING_ROOMS and not request.node.get_closest_marker("pictures"):
        draw_nothing(monkeypatch.setattr)


MakeImages = Callable[..., Path]


@pytest.fixture(scope="session")
def make_images() -> MakeImages:
    return write_class_folders


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 16 pictures, which tests only read; many files have their own."""
    return write_class_folders(tmp_path_factory.mktemp("photos") / "photos", {"가": 16, "b": 16})


def write_class_folders(
    folder: Path, classes: dict[str, int], *, size: int = 16, seed: int = 0, suffix: str = ".png"
) -> Path:
    """Write pictures that a tiny net can tell apart: class k has a bright bar in its own place, under noise."""
    rng = np.random.default_rng(seed)
    for k, (name, count) in enumerate(sorted(classes.items())):
        (folder / name).mkdir(parents=True, exist_ok=True)
        for i in range(count):
            pixels = rng.integers(0, 96, (size, size, 3), dtype=np.uint8)
            at = (k * size) // max(len(classes), 1)
            pixels[at : at + max(size // len(classes), 1), :, k % 3] |= 0x80
            Image.fromarray(pixels).save(folder / name / f"{i:03}{suffix}")
    return folder


TINY = (
    "model.name=scratch_cnn",
    "train.precision=fp32",
    "train.device=cpu",
    "train.epochs=2",
    "train.batch_size=8",
    "optim.lr=4e-3",
    "schedule.warmup_epochs=0",
    "input.size=16",
    "augment.crop_scale=null",
    "augment.hflip=0",
    "evaluate.bootstrap=20",
)
"""Settings that train within a second, on class folders from `write_class_folders`."""


@pytest.fixture(scope="session")
def tiny_settings() -> list[str]:
    return list(TINY)


class Tiny(NamedTuple):
    """A finished run that many tests read, and none may change."""

    run: Path
    data: Path
    classes: list[str]


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory: pytest.TempPathFactory) -> Tiny:
    import bunryu

    folder = tmp_path_factory.mktemp("tiny")
    names = ["=1+1", "cat", "강아지"]
    write_class_folders(folder / "photos", dict.fromkeys(names, 14))
    (folder / "photos/cat/broken.png").write_bytes(b"no image")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUNRYU_CACHE", str(folder / "cache"))
        bunryu.train(folder / "photos", *TINY, "split.val=0.25", "split.test=0.25", out=folder / "run", quiet=True)
    return Tiny(folder / "run", folder / "photos", names)


class Ended(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


Command = Callable[..., Ended]


@pytest.fixture
def bunryu(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """Run a command in this process, as the console script does."""

    def run(*arguments: object) -> Ended:
        from bunryu.cli import app
        from bunryu.core import console

        monkeypatch.setattr(sys, "argv", ["bunryu", *map(str, arguments)])
        capsys.readouterr()
        try:
            app.main()
            code: Any = 0
        except SystemExit as end:
            code = end.code or 0
        finally:
            console.set_quiet(False)
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def rounding(terms: int) -> float:
    """Return how far float32 results may be apart, relative to their size, where only the order of sums differs.

    Each of so many additions rounds by half an eps at most, up or down, so together about eps times the root of
    their number. Eight times that leaves room for the kernels of any processor, and none for another meaning.
    It bounds what is smooth in the sums, such as SGD; Adam's first steps follow the sign of a gradient, and so
    the last bits of one that is nearly nothing: compare trainings by SGD.
    """
    return 8 * 2**-23 * terms**0.5


def assert_same_sums(found: Mapping[str, Any], expected: Mapping[str, Any], terms: int) -> None:
    """Compare tensors by name, each relative to its own largest value."""
    assert found.keys() == expected.keys()
    for name, want in expected.items():
        allowed = rounding(terms) * float(want.abs().max())
        assert float((found[name] - want).abs().max()) <= allowed, name


def refused(ended: Ended) -> str:
    """Return the one message of a command that ended with an error of ours: the last line, and no other."""
    assert ended.code == 2, ended
    assert ended.out == ""
    assert "Traceback" not in ended.err
    lines = ended.err.splitlines()
    assert [line.startswith("error: ") for line in lines] == [False] * (len(lines) - 1) + [True], ended.err
    return lines[-1].removeprefix("error: ")


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))
