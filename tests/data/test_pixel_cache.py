"""Pictures kept between epochs and runs: the same pixels as decoding gives, or decoded again; never others."""

from __future__ import annotations

import errno
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from bunryu import api
from bunryu.core.cache import cache_folder, kept, key_of_facts
from bunryu.core.storage import read_jsonl
from bunryu.data.checks.verdict import content_digest
from bunryu.data.images import pixel_cache
from bunryu.data.images.decode import load
from bunryu.data.images.load import load_batches
from bunryu.data.images.pixel_cache import PixelCache, worth_keeping
from bunryu.data.table import texts
from bunryu.runs.folder import open_folder
from bunryu.settings.data import DataSettings, DecodeSpec, InputSpec
from killing import draw_nothing

INPUT = InputSpec(height=24, width=32, mean=[0.0] * 3, std=[1.0] * 3)
DECODE = DecodeSpec(scaling="jpeg")
GB = 1e-9
"""One byte, as data.cache_gb counts."""
ROW = 24 * 32 * 3 + 4


class Photos(NamedTuple):
    """Files, and a cache made for what they held then."""

    files: list[str]
    cache: PixelCache


def cache_of(files: list[str], limit_gb: float = 1.0) -> PixelCache:
    return PixelCache(texts([content_digest(Path(file).read_bytes()).hex() for file in files]), limit_gb)


def write_photos(folder: Path, count: int = 9) -> list[str]:
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = [folder / f"{i}.jpg" for i in range(count)]
    for file in files:
        Image.fromarray(rng.integers(0, 256, (60, 90, 3), np.uint8)).save(file)
    return list(map(str, files))


@pytest.fixture
def photos(tmp_path: Path) -> Photos:
    files = write_photos(tmp_path / "photos")
    return Photos(files, cache_of(files))


@pytest.fixture
def decoded(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Collect what the cache decodes."""
    calls: list[object] = []

    def counted(source: Any, decode: DecodeSpec, input: InputSpec) -> Any:
        calls.append(source)
        return load(source, decode, input)

    monkeypatch.setattr(pixel_cache, "load", counted)
    return calls


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    lines: list[str] = []
    monkeypatch.setattr(pixel_cache.console, "say", lambda text, **_: lines.append(text))
    return lines


def read(files: list[str], cache: PixelCache | None, decode: DecodeSpec = DECODE, input: InputSpec = INPUT) -> Any:
    chunks = np.array_split(np.arange(len(files)), 3)
    batches = load_batches(files.__getitem__, chunks, decode, input, workers=2, cache=cache)
    return np.concatenate([batch.pixels_BHWC for batch in batches])


def kept_file() -> Path:
    (path,) = (cache_folder() / "pixels").iterdir()
    return path


@pytest.mark.parametrize(
    "changes",
    [{}, {"fit": "pad", "height": 40}, {"channels": "grey", "mean": [0.0], "std": [1.0]}, {"fit": "stretch"}],
    ids=["crop", "pad", "grey", "stretch"],
)
def test_the_same_pixels_without_decoding(changes: dict[str, Any], photos: Photos, decoded: list[object]) -> None:
    spec = InputSpec(**INPUT.model_dump() | changes)
    expected = np.stack([load(file, DECODE, spec) for file in photos.files])
    np.testing.assert_array_equal(read(photos.files, photos.cache, input=spec), expected)
    assert len(decoded) == len(photos.files)
    np.testing.assert_array_equal(read(photos.files, photos.cache, input=spec), expected)
    np.testing.assert_array_equal(read(photos.files, cache_of(photos.files), input=spec), expected)
    assert len(decoded) == len(photos.files)


def test_the_file_is_a_numpy_array(photos: Photos) -> None:
    expected = read(photos.files, photos.cache)
    rows = np.load(kept_file(), mmap_mode="r")
    np.testing.assert_array_equal(rows["pixels"][photos.cache.slots], expected)


def test_a_copied_and_renamed_folder_is_the_same_data(photos: Photos, decoded: list[object], tmp_path: Path) -> None:
    expected = read(photos.files, photos.cache)
    moved = tmp_path / "moved"
    moved.mkdir()
    others = [shutil.copy(file, moved / f"x{99 - i}.jpg") for i, file in enumerate(photos.files)][::-1]
    decoded.clear()
    np.testing.assert_array_equal(read(others, cache_of(others)), expected[::-1])
    assert not decoded


def test_copies_share_a_row(photos: Photos, decoded: list[object]) -> None:
    files = [photos.files[0], photos.files[1], photos.files[0]]
    cache = cache_of(files)
    one, _, other = (
        read([file], PixelCache(cache.digests[cache.slots[i : i + 1]], 1.0)) for i, file in enumerate(files)
    )
    np.testing.assert_array_equal(one, other)
    assert len(cache.digests) == 2


def test_changed_data_are_read_anew(photos: Photos, decoded: list[object]) -> None:
    read(photos.files, photos.cache)
    shutil.copy(photos.files[0], photos.files[1])
    decoded.clear()
    expected = np.stack([load(file, DECODE, INPUT) for file in photos.files])
    np.testing.assert_array_equal(read(photos.files, cache_of(photos.files)), expected)
    assert decoded


def test_a_file_that_changed_since_the_check_is_never_kept(photos: Photos) -> None:
    before = Path(photos.files[0]).read_bytes()
    expected = read(photos.files, None)
    shutil.copy(photos.files[1], photos.files[0])
    np.testing.assert_array_equal(read(photos.files, photos.cache)[0], expected[1])
    Path(photos.files[0]).write_bytes(before)
    np.testing.assert_array_equal(read(photos.files, photos.cache), expected)


@pytest.mark.parametrize(
    ("decode", "input", "hit"),
    [
        ({}, {"height": 25}, False),
        ({}, {"fit": "pad"}, False),
        ({}, {"crop_pct": 0.9}, False),
        ({}, {"interpolation": "bicubic"}, False),
        ({"scaling": "full"}, {}, False),
        ({"exif": False}, {}, False),
        ({}, {"mean": [0.5] * 3, "std": [0.2] * 3}, True),
    ],
)
def test_what_decides_the_pixels(
    decode: dict[str, Any], input: dict[str, Any], hit: bool, photos: Photos, decoded: list[object]
) -> None:
    read(photos.files, photos.cache)
    decoded.clear()
    one, other = DecodeSpec(**DECODE.model_dump() | decode), InputSpec(**INPUT.model_dump() | input)
    expected = np.stack([load(file, one, other) for file in photos.files])
    np.testing.assert_array_equal(read(photos.files, photos.cache, one, other), expected)
    assert (not decoded) == hit


def test_another_pillow_decodes_anew(photos: Photos, decoded: list[object], monkeypatch: pytest.MonkeyPatch) -> None:
    read(photos.files, photos.cache)
    decoded.clear()
    monkeypatch.setattr(pixel_cache.PIL, "__version__", "0.1")
    read(photos.files, cache_of(photos.files))
    assert len(decoded) == len(photos.files)


def _flip(content: bytearray, start: int) -> bytes:
    content[start + 1000] ^= 1
    return content


def _no_checksum(content: bytearray, start: int) -> bytes:
    content[start : start + 4] = bytes(4)
    return content


def _hole(content: bytearray, start: int) -> bytes:
    content[start : start + ROW] = bytes(ROW)
    return content


def _half(content: bytearray, start: int) -> bytes:
    content[start + ROW // 2 : start + ROW] = bytes(ROW - ROW // 2)
    return content


def _another_row(content: bytearray, start: int) -> bytes:
    content[start : start + ROW] = content[start - ROW : start]
    return content


def _cut(content: bytearray, start: int) -> bytes:
    return content[: start + 500]


@pytest.mark.parametrize(
    ("damage", "lost"), [(_flip, 1), (_no_checksum, 1), (_hole, 1), (_half, 1), (_another_row, 1), (_cut, 5)]
)
def test_damaged_rows_are_decoded_again(
    damage: Callable[[bytearray, int], bytes], lost: int, photos: Photos, decoded: list[object]
) -> None:
    expected = read(photos.files, photos.cache)
    path = kept_file()
    size = path.stat().st_size
    path.write_bytes(damage(bytearray(path.read_bytes()), size - 5 * ROW))
    for again in (lost, 0):
        decoded.clear()
        np.testing.assert_array_equal(read(photos.files, cache_of(photos.files)), expected)
        assert len(decoded) == again


def test_a_damaged_head_begins_the_file_anew(photos: Photos, decoded: list[object]) -> None:
    expected = read(photos.files, photos.cache)
    kept_file().write_bytes(b"no array")
    np.testing.assert_array_equal(read(photos.files, cache_of(photos.files)), expected)
    decoded.clear()
    np.testing.assert_array_equal(read(photos.files, cache_of(photos.files)), expected)
    assert not decoded


def test_what_cannot_be_read_is_told_each_time_and_not_kept(photos: Photos, decoded: list[object]) -> None:
    Path(photos.files[2]).write_bytes(Path(photos.files[2]).read_bytes()[:400])
    Path(photos.files[4]).unlink()
    cache = PixelCache(texts([str(i) for i in range(9)]), 1.0)
    (plain,) = load_batches(photos.files.__getitem__, [np.arange(9)], DECODE, INPUT)
    for _ in range(2):
        (batch,) = load_batches(photos.files.__getitem__, [np.arange(9)], DECODE, INPUT, cache=cache)
        assert batch.failed == plain.failed
        assert set(batch.failed) == {2, 4}


# Several runs, and kills.

FILL = """
import sys
import numpy as np
from pathlib import Path
from bunryu.data.checks.verdict import content_digest
from bunryu.data.images.load import load_batches
from bunryu.data.images.pixel_cache import PixelCache
from bunryu.data.table import texts
from bunryu.settings.data import DecodeSpec, InputSpec
files, times = sys.argv[2:], int(sys.argv[1])
digests = texts([content_digest(Path(file).read_bytes()).hex() for file in files])
decode, spec = DecodeSpec(scaling="jpeg"), InputSpec(height=24, width=32, mean=[0.0] * 3, std=[1.0] * 3)
print("ready", flush=True)
for time in range(times):
    cache = PixelCache(digests, 1.0)
    for batch in load_batches(files.__getitem__, [np.arange(len(files))], decode, spec, cache=cache):
        sys.stdout.buffer.write(batch.pixels_BHWC.tobytes() if times == 1 else b"")
    if times > 1:
        path = cache.opened(decode, spec).path
        path.write_bytes(path.read_bytes()[: -len(files) * 2308])  # all rows are to be written again
"""


def start_filling(files: list[str], times: int) -> subprocess.Popen[bytes]:
    child = subprocess.Popen([sys.executable, "-c", FILL, str(times), *files], stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"ready\n"
    return child


def test_two_runs_at_once(photos: Photos, decoded: list[object]) -> None:
    expected = read(photos.files, None)
    children = [start_filling(photos.files, 1) for _ in range(2)]
    for child in children:
        found, _ = child.communicate()
        assert child.returncode == 0
        np.testing.assert_array_equal(np.frombuffer(found, np.uint8).reshape(expected.shape), expected)
    np.testing.assert_array_equal(read(photos.files, photos.cache), expected)


@pytest.mark.skipif(os.name != "posix", reason="needs SIGKILL")
def test_a_kill_while_rows_are_written(photos: Photos) -> None:
    expected = read(photos.files, None)
    for wait in (0.0, 0.013, 0.031, 0.07):
        child = start_filling(photos.files, 10**6)
        time.sleep(wait)
        child.kill()
        assert child.wait() == -signal.SIGKILL
        np.testing.assert_array_equal(read(photos.files, cache_of(photos.files)), expected)


# The limit, and disks that do not do as they are told.


def test_a_set_that_is_too_large_is_not_kept_and_that_is_said_once(photos: Photos, said: list[str]) -> None:
    expected = read(photos.files, None)
    cache = cache_of(photos.files, limit_gb=8 * ROW * GB)
    for _ in range(2):
        np.testing.assert_array_equal(read(photos.files, cache), expected)
    assert not (cache_folder() / "pixels").exists()
    (line,) = said
    assert "24x32" in line
    assert "data.cache_gb" in line


@pytest.fixture
def filled(photos: Photos) -> Path:
    """An earlier run's file, the longest unused."""
    read(photos.files, photos.cache)
    os.utime(kept_file(), (1, 1))
    return kept_file()


def sized(height: int) -> InputSpec:
    return INPUT.model_copy(update={"height": height})


def test_the_longest_unused_make_room(filled: Path, photos: Photos, said: list[str]) -> None:
    kept("features", key_of_facts(name="f"), lambda: np.zeros(1000), 1.0)
    limit = filled.stat().st_size * 1.1 * GB
    cache = cache_of(photos.files, limit)
    assert cache.opened(DECODE, sized(23)) is not None
    assert not filled.exists()
    assert not list((cache_folder() / "features").iterdir())  # all kinds share the space
    assert cache.opened(DECODE, sized(22)) is None  # a run's own files do not push each other out
    assert kept_file().exists()
    assert len(said) == 1
    assert "data.cache_gb" in said[0]


def test_features_make_room_too(filled: Path) -> None:
    kept("features", key_of_facts(name="f"), lambda: np.zeros(1000), 8500 * GB)
    assert not filled.exists()


def test_a_file_that_is_used_is_not_the_longest_unused(filled: Path, photos: Photos) -> None:
    cache_of(photos.files).opened(DECODE, INPUT)
    assert filled.stat().st_mtime > time.time() - 60


def test_a_file_that_another_run_removed(filled: Path, photos: Photos, said: list[str]) -> None:
    cache = cache_of(photos.files)
    expected = read(photos.files, cache)
    filled.unlink()
    for _ in range(2):
        np.testing.assert_array_equal(read(photos.files, cache), expected)
    assert len(said) == 1
    assert not filled.exists()


def test_a_disk_that_fills_up(photos: Photos, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = read(photos.files, None)
    opening, tries = Path.open, []

    def full(self: Path, mode: str = "r", *args: Any, **options: Any) -> Any:
        if mode == "r+b":
            tries.append(self)
            raise OSError(errno.ENOSPC, "No space left on device", str(self))
        return opening(self, mode, *args, **options)

    monkeypatch.setattr(Path, "open", full)
    for _ in range(2):
        np.testing.assert_array_equal(read(photos.files, photos.cache), expected)
    assert len(said) == 1
    assert "No space left" in said[0]
    assert len(tries) <= 2  # a thread each


def test_the_disk_is_never_filled_to_the_brim(photos: Photos, said: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage("/")._replace(free=10**9)
    monkeypatch.setattr(pixel_cache.shutil, "disk_usage", lambda _: usage)
    np.testing.assert_array_equal(read(photos.files, photos.cache), read(photos.files, None))
    assert "disk" in said[0]
    assert not list((cache_folder() / "pixels").iterdir())


def test_a_cache_folder_that_is_none(
    photos: Photos, said: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BUNRYU_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        np.testing.assert_array_equal(read(photos.files, photos.cache), read(photos.files, None))
    assert len(said) == 1


# When, and in a training.


@pytest.mark.parametrize(
    ("wanted", "gb", "megapixels", "epochs", "worth"),
    [
        ("auto", 10, 12.0, 2, True),
        ("auto", 10, 1.0, 2, True),
        ("auto", 10, 0.99, 2, False),
        ("auto", 10, 0.0, 2, False),
        ("auto", 10, 12.0, 1, False),
        ("auto", 0, 12.0, 2, False),
        ("on", 10, 0.1, 1, True),
        ("off", 10, 12.0, 9, False),
    ],
)
def test_when_pictures_are_kept(wanted: Any, gb: float, megapixels: float, epochs: int, worth: bool) -> None:
    assert worth_keeping(DataSettings(pixel_cache=wanted, cache_gb=gb), megapixels, epochs) == worth


SMALL = (
    *("model.name=scratch_cnn", "train.device=cpu", "input.size=32", "train.threads=1", "train.precision=fp32"),
    *("train.batch_size=8", "evaluate.bootstrap=0", "train.epochs=4", "split.val=0.25", "input.crop_pct=0.8"),
)
SIZES = "train.stages=[{name: all, sizes: [24, 32]}]"
VIEWS = "train.stages=[{name: head, freeze: backbone, views: 2}]"


@pytest.fixture
def folder(make_images: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    draw_nothing(monkeypatch.setattr)
    return make_images(tmp_path / "pictures", {"a": 16, "b": 16}, size=60, suffix=".jpg")


def trained(data: Path, out: Path, *pairs: str) -> tuple[dict[str, torch.Tensor], list[dict[str, Any]]]:
    run = api.train(data, *SMALL, *pairs, out=out, quiet=True).path
    timing = {"seconds", "images_per_second"}
    rows = [{k: v for k, v in row.items() if k not in timing} for row in read_jsonl(run / "history.jsonl")]
    return load_file(run / "model.safetensors"), rows


@pytest.mark.parametrize(("pairs", "ways"), [((), 2), ((SIZES,), 3)], ids=["one size", "sizes"])
def test_a_training_ends_with_the_same_bits(
    pairs: tuple[str, ...], ways: int, folder: Path, tmp_path: Path, decoded: list[object]
) -> None:
    """`ways` of fitting: training pictures with their margin, at each size, and validation without."""
    plain, plain_rows = trained(folder, tmp_path / "plain", "data.pixel_cache=off", *pairs)
    assert not decoded
    for name in ("first", "second"):
        weights, rows = trained(folder, tmp_path / name, "data.pixel_cache=on", *pairs)
        assert rows == plain_rows
        for key, value in plain.items():
            assert torch.equal(weights[key], value)
        assert len(decoded) == 24 * (ways - 1) + 8  # all of it by the first run


def test_views_of_features_are_decoded_once(folder: Path, tmp_path: Path, decoded: list[object]) -> None:
    trained(folder, tmp_path / "run", "data.pixel_cache=on", VIEWS)
    assert len(decoded) == 24 + 8


def test_the_choice_is_recorded(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trained(folder, tmp_path / "small")
    monkeypatch.setattr(pixel_cache, "WORTH_MEGAPIXELS", 0.0036)
    trained(folder, tmp_path / "large")
    chosen = {name: open_folder(tmp_path / name).settings().data.pixel_cache for name in ("small", "large")}
    assert chosen == {"small": "off", "large": "on"}
    assert "decoded once and kept" in (tmp_path / "large" / "report.txt").read_text(encoding="utf-8")
    assert "decoded once" not in (tmp_path / "small" / "report.txt").read_text(encoding="utf-8")


def test_a_resumed_run_reads_what_it_kept(folder: Path, tmp_path: Path, decoded: list[object]) -> None:
    trained(folder, tmp_path / "run", "data.pixel_cache=on")
    decoded.clear()
    api.resume(tmp_path / "run", more_epochs=1, quiet=True)
    assert len(read_jsonl(tmp_path / "run" / "history.jsonl")) == 5
    assert not decoded
