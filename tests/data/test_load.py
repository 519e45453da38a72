"""Loading: the order asked for, every failure listed, little memory, no threads left behind."""

from __future__ import annotations

import gc
import os
import threading
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bunryu.core.errors import ImageError
from bunryu.data.images import load as loading
from bunryu.data.images.decode import load
from bunryu.data.images.load import cores, load_batches
from bunryu.settings.data import DecodeSpec, InputSpec

DECODE = DecodeSpec()
INPUT = InputSpec(height=6, width=8, fit="stretch", mean=[0.0] * 3, std=[1.0] * 3)
GREY = InputSpec(height=6, width=8, channels="grey", mean=[0.0], std=[1.0])


def picture(row: int) -> np.ndarray:
    return np.full((6, 8, 3), row % 256, np.uint8)


def chunks(rows: Any, size: int) -> list[np.ndarray]:
    rows = np.asarray(rows, np.int64)
    return [rows[start : start + size] for start in range(0, len(rows), size)]


def ours() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("bunryu-decode")]


@pytest.fixture(autouse=True)
def no_threads_left() -> Iterator[None]:
    assert not ours()
    yield
    gc.collect()
    assert not ours()


@pytest.mark.parametrize("workers", [1, 3, None])
def test_the_order_is_kept_whatever_finishes_first(workers: int | None) -> None:
    order = np.random.default_rng(0).permutation(60)

    def slow(row: int) -> np.ndarray:
        time.sleep(0.002 * (row % 3 == 0))
        return picture(row)

    batches = list(load_batches(slow, chunks(order, 7), DECODE, INPUT, workers=workers))
    assert [len(batch) for batch in batches] == [7] * 8 + [4]
    assert np.array_equal(np.concatenate([batch.rows for batch in batches]), order)
    for batch in batches:
        assert batch.pixels_BHWC.shape == (len(batch.rows), 6, 8, 3)
        assert batch.pixels_BHWC.dtype == np.uint8
        assert batch.failed == {}
        assert np.array_equal(batch.pixels_BHWC[:, 2, 3, 1], batch.rows)


def test_pixels_are_those_of_decode(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for row in range(5):
        Image.fromarray(rng.integers(0, 255, (20 + row, 30, 3), np.uint8)).save(tmp_path / f"{row}.png")

    def file(row: int) -> str:
        return str(tmp_path / f"{row}.png")

    (batch,) = load_batches(file, [np.array([3, 1, 4])], DECODE, INPUT)
    assert np.array_equal(batch.pixels_BHWC, np.stack([load(file(row), DECODE, INPUT) for row in (3, 1, 4)]))


def test_grey_pictures_have_one_channel() -> None:
    (batch,) = load_batches(picture, [np.arange(3)], DECODE, GREY)
    assert batch.pixels_BHWC.shape == (3, 6, 8, 1)


def test_failures_are_listed_and_never_replaced(tmp_path: Path) -> None:
    buffer = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (20, 20, 3), np.uint8)).save(buffer, "PNG")
    (tmp_path / "cut.png").write_bytes(buffer.getvalue()[:600])
    sources: dict[int, Any] = {1: b"no image", 3: str(tmp_path / "missing.png"), 4: str(tmp_path / "cut.png"), 8: b""}
    batches = list(load_batches(lambda row: sources.get(row, picture(row)), chunks(range(10), 4), DECODE, INPUT))
    assert [batch.rows.tolist() for batch in batches] == [[0, 2], [5, 6, 7], [9]]
    assert [sorted(batch.failed) for batch in batches] == [[1, 3], [4], [8]]
    assert [len(batch) for batch in batches] == [4, 4, 2]
    assert all(reason for batch in batches for reason in batch.failed.values())
    for batch in batches:
        assert batch.rows.dtype == np.int64
        assert np.array_equal(batch.pixels_BHWC[:, 0, 0, 0], batch.rows)


def test_a_batch_of_nothing_but_failures_has_no_pixels() -> None:
    (batch,) = load_batches(lambda _: b"no image", [np.arange(3)], DECODE, GREY)
    assert batch.pixels_BHWC.shape == (0, 6, 8, 1)
    assert batch.pixels_BHWC.dtype == np.uint8
    assert (len(batch.rows), len(batch), sorted(batch.failed)) == (0, 3, [0, 1, 2])


def test_nothing_asked_for_gives_nothing() -> None:
    assert list(load_batches(picture, [], DECODE, INPUT)) == []
    (batch,) = load_batches(picture, [np.zeros(0, np.int64)], DECODE, INPUT)
    assert len(batch) == 0


def test_only_a_few_batches_are_read_ahead() -> None:
    asked: list[int] = []

    def batches() -> Iterator[np.ndarray]:
        for number in range(1000):
            asked.append(number)
            yield np.array([number])

    started: list[int] = []

    def source(row: int) -> np.ndarray:
        started.append(row)
        return picture(row)

    for taken, _ in enumerate(load_batches(source, batches(), DECODE, INPUT, workers=2)):
        assert len(asked) <= taken + 1 + 3
        if taken == 10:
            time.sleep(0.05)  # time enough for threads to run ahead, if they could
            assert max(started) <= taken + 3
            assert len(started) >= taken + 3
            break


def test_reading_goes_on_while_the_consumer_works() -> None:
    started = threading.Event()

    def source(row: int) -> np.ndarray:
        if row == 3:
            started.set()
        return picture(row)

    batches = load_batches(source, chunks(range(8), 1), DECODE, INPUT, workers=1)
    next(batches)
    assert started.wait(5)
    batches.close()


def test_threads_end_when_the_consumer_stops_early() -> None:
    batches = load_batches(picture, chunks(range(100), 2), DECODE, INPUT, workers=3)
    next(batches)
    assert ours()
    batches.close()
    assert not ours()


def test_threads_end_when_the_consumer_fails() -> None:
    def consume() -> None:
        for batch in load_batches(picture, chunks(range(100), 2), DECODE, INPUT, workers=3):
            raise KeyError(int(batch.rows[0]))

    with pytest.raises(KeyError):
        consume()


def test_what_waits_is_not_read_once_the_consumer_stopped() -> None:
    read: list[int] = []

    def source(row: int) -> np.ndarray:
        read.append(row)
        time.sleep(0.005)
        return picture(row)

    batches = load_batches(source, chunks(range(400), 100), DECODE, INPUT, workers=1)
    next(batches)
    batches.close()
    assert len(read) < 110


class Broken(Exception):
    pass


def test_any_other_error_of_a_source_reaches_the_consumer() -> None:
    def source(row: int) -> np.ndarray:
        if row == 5:
            raise Broken("row 5")
        return picture(row)

    batches = load_batches(source, chunks(range(12), 2), DECODE, INPUT)
    assert [next(batches).rows.tolist() for _ in range(2)] == [[0, 1], [2, 3]]
    with pytest.raises(Broken, match="row 5"):
        next(batches)


def test_an_error_of_the_batches_reaches_the_consumer() -> None:
    def batches() -> Iterator[np.ndarray]:
        yield np.array([1])
        raise Broken("no more")

    with pytest.raises(Broken, match="no more"):
        list(load_batches(picture, batches(), DECODE, INPUT))


def test_an_image_error_of_the_source_itself_is_a_failure_too() -> None:
    def source(row: int) -> np.ndarray:
        raise ImageError(f"not today, {row}")

    (batch,) = load_batches(source, [np.array([7])], DECODE, INPUT)
    assert batch.failed == {7: "not today, 7"}


def test_batches_can_be_taken_in_another_thread() -> None:
    found: list[int] = []
    thread = threading.Thread(
        target=lambda: found.extend(int(b.rows[0]) for b in load_batches(picture, chunks(range(9), 1), DECODE, INPUT))
    )
    thread.start()
    thread.join(10)
    assert found == list(range(9))


def test_cores_are_those_this_process_may_use(monkeypatch: pytest.MonkeyPatch) -> None:
    assert 1 <= cores() <= (os.cpu_count() or 1)
    monkeypatch.delattr(loading.os, "sched_getaffinity", raising=False)
    assert cores() == os.cpu_count()
