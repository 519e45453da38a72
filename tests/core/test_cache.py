"""Arrays kept between runs: whole or not there, and never in the way."""

from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from bunryu.core.cache import cache_folder, kept, key_of_facts

ARRAY = np.arange(12, dtype=np.float32).reshape(3, 4)


class Maker:
    """Make an array, and count how often."""

    def __init__(self, array: NDArray[np.float32] = ARRAY) -> None:
        self.array, self.calls = array, 0

    def __call__(self) -> NDArray[np.float32]:
        self.calls += 1
        return self.array.copy()


def keep(make: Maker, name: str = "k", limit_gb: float = 1.0) -> NDArray[np.float32]:
    return kept("features", key_of_facts(name=name), make, limit_gb)


def file_of(name: str) -> Path:
    return cache_folder() / "features" / key_of_facts(name=name)


def files() -> list[str]:
    return [name for name in ("small", "large", *"01234abcdek") if file_of(name).exists()]


def test_what_was_made_is_made_once() -> None:
    make = Maker()
    for _ in range(3):
        found = keep(make)
        assert found.dtype == ARRAY.dtype
        np.testing.assert_array_equal(found, ARRAY)
    found[0, 0] = 7  # a copy of one's own
    np.testing.assert_array_equal(keep(make), ARRAY)
    assert make.calls == 1
    keep(other := Maker(), "other")
    assert other.calls == 1


@pytest.mark.parametrize("shape", [(0, 4), (5,), (2, 3, 4)])
def test_every_shape_comes_back(shape: tuple[int, ...]) -> None:
    make = Maker(np.ones(shape, np.float32))
    assert keep(make).shape == keep(make).shape == shape
    assert make.calls == 1


def test_a_file_damaged_anywhere_is_made_anew() -> None:
    keep(Maker())
    path = file_of("k")
    whole = path.read_bytes()
    flipped = [whole[:i] + bytes([whole[i] ^ 1]) + whole[i + 1 :] for i in range(len(whole))]
    cut = [whole[:i] for i in range(0, len(whole), 7)]
    for number, damaged in enumerate([*flipped, *cut, b"PK\x03\x04" + whole, whole + b"\0"]):
        path.write_bytes(damaged)
        make = Maker()
        np.testing.assert_array_equal(keep(make), ARRAY)
        assert make.calls == 1, number
    assert path.read_bytes() == whole


def test_a_folder_that_cannot_be_written_costs_time_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BUNRYU_CACHE", str(tmp_path / "file"))
    make = Maker()
    for calls in (1, 2):
        np.testing.assert_array_equal(keep(make), ARRAY)
        assert make.calls == calls


def test_a_file_of_another_user_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise PermissionError

    make = Maker()
    keep(make)
    monkeypatch.setattr(Path, "touch", refuse)
    keep(make)
    assert make.calls == 1


def test_nothing_is_read_or_kept_with_a_limit_of_nought() -> None:
    make = Maker()
    for calls in (1, 2):
        keep(make, limit_gb=0)
        assert make.calls == calls
    assert files() == []
    keep(make)
    keep(make, limit_gb=0)
    assert make.calls == 4


def test_the_longest_unused_goes_first_and_others_files_stay() -> None:
    limit = 3.5 * 4000 / 1e9
    maker = Maker(np.zeros(1000, np.float32))
    (cache_folder() / "features").mkdir(parents=True)
    theirs, left = file_of("a").with_name("theirs.npy"), file_of("a").with_name(f".{file_of('x').name}.1.tmp")
    theirs.write_bytes(bytes(4000))
    os.utime(theirs, (1, 1))
    for age, name in enumerate("abc"):
        keep(maker, name, limit)
        os.utime(file_of(name), (1000 + age, 1000 + age))
    keep(maker, "a", limit)  # used again
    keep(maker, "d", limit)
    assert files() == ["a", "c", "d"]
    left.write_bytes(bytes(4000))
    os.utime(left, (1, 1))
    keep(maker, "e", limit)
    assert not left.exists(), "what a kill left is not counted for ever"
    assert theirs.exists()


def test_what_is_larger_than_the_limit_is_not_kept_and_sends_nothing_away() -> None:
    keep(Maker(), "small", 1e-6)
    keep(Maker(np.zeros(1000, np.float32)), "large", 1e-6)
    assert files() == ["small"]


def test_several_at_once() -> None:
    """Each finds a whole file, or makes its own; what is left is whole."""
    wrong: list[object] = []

    def work() -> None:
        for number in range(30):
            key = str(number % 5)
            found = keep(Maker(np.full(500, number % 5, np.float32)), key, 9e-6)
            if not (found == number % 5).all():
                wrong.append(key)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    for name in files():
        keep(make := Maker(), name)
        assert make.calls == 0


def test_a_key_follows_from_every_fact() -> None:
    keys = [key_of_facts(**facts) for facts in ({"a": 1}, {"a": 2}, {"b": 1}, {"a": "1"}, {"a": None}, {"a": [1]})]
    assert len(set(keys)) == len(keys)
    assert key_of_facts(a=1, b={"c": 2, "d": 3}) == key_of_facts(b={"d": 3, "c": 2}, a=1)
