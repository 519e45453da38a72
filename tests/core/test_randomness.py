"""Named randomness: uniform, independent, and the same for ever."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from bunryu.core.randomness import generator, key_of, uniforms

quick = settings(max_examples=40, deadline=None)
ROWS = np.arange(3000)
KEYS = [0x211A8B8AE22C892F, 0xDEB7FB7D2EFF3452, 0xFBB4AB214FC678C2, 0x6527E5068ADEC93A]
PERMUTATIONS = [[3, 8, 11, 1, 7, 4, 10, 6, 2, 9, 5, 0], [6, 5, 7, 2, 11, 10, 9, 8, 4, 0, 3, 1]]
UNIFORMS = [
    [0.3068287318991898, 0.7228173511034616, 0.3564274752589969],
    [0.4382285456812076, 0.6887222372182866, 0.0014290373844201287],
    [0.653296787046885, 0.4705241433195755, 0.9755344337029151],
]


def test_keys_are_golden() -> None:
    """Splits and orders of old runs hang on these: they must never change."""
    assert key_of(0, "order") == KEYS[0]
    assert key_of(0, "order", 1) == KEYS[1]
    assert key_of(42, "augment", 3) == KEYS[2]
    assert key_of(-1, "head") == KEYS[3]


def test_permutations_are_golden() -> None:
    assert generator(0, "order", 0).permutation(12).tolist() == PERMUTATIONS[0]
    assert generator(7, "split").permutation(12).tolist() == PERMUTATIONS[1]


def test_uniforms_are_golden() -> None:
    assert uniforms(0, "augment", 0, np.array([0, 1, 2**40]), 3).tolist() == UNIFORMS


def test_uniforms_are_splitmix64() -> None:
    """The finaliser of Steele, Lea & Flood 2014 in Python's whole numbers."""
    golden, mask = 0x9E3779B97F4A7C15, 2**64 - 1

    def mix(z: int) -> int:
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
        return z ^ (z >> 31)

    for row in (0, 1, 12345, 2**40):
        start = mix((row * golden & mask) ^ key_of(3, "p", 9))
        expected = [(mix((start + k * golden) & mask) >> 11) / 2**53 for k in range(1, 6)]
        assert uniforms(3, "p", 9, np.array([row]), 5)[0].tolist() == expected


def test_another_process_draws_the_same() -> None:
    code = (
        "import numpy as np; from bunryu.core.randomness import *\n"
        "permuted, drawn = generator(5, 'x').permutation(9), uniforms(5, 'x', 1, np.arange(2), 2)\n"
        "print(key_of(5, 'x', 2), permuted.tolist(), drawn.tolist())"
    )
    out = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.strip()
    draws = generator(5, "x").permutation(9).tolist(), uniforms(5, "x", 1, np.arange(2), 2).tolist()
    assert out == f"{key_of(5, 'x', 2)} {draws[0]} {draws[1]}"


def test_keys_name_their_parts_apart() -> None:
    names = [
        (s, p, *k) for s in (0, 1, 11, -1) for p in ("a", "b", "1") for k in ((), (0,), (1,), (11,), (1, 1), (0, 1))
    ]
    assert len({key_of(*name) for name in names}) == len(names)
    assert all(0 <= key_of(*name) < 2**64 for name in names)


@quick
@given(
    st.integers(-(2**62), 2**62),
    st.integers(0, 10**6),
    st.lists(st.integers(0, 2**62), max_size=20),
    st.integers(1, 20),
)
def test_they_lie_in_the_half_open_unit_interval(seed: int, epoch: int, rows: list[int], n: int) -> None:
    u = uniforms(seed, "p", epoch, np.array(rows, np.int64), n)
    assert u.shape == (len(rows), n)
    assert u.dtype == np.float64
    assert ((u >= 0) & (u < 1)).all()


@pytest.mark.parametrize("rows", [ROWS, ROWS * 1024, ROWS + 2**40], ids=["ids", "spread", "large"])
def test_they_are_uniform_in_each_column_and_each_row(rows: np.ndarray) -> None:
    u = uniforms(1, "augment", 2, rows, 16)
    assert all(stats.kstest(u[:, k], "uniform").pvalue > 0.001 for k in range(16))
    assert stats.kstest(u.ravel(), "uniform").pvalue > 0.01
    wide = uniforms(1, "augment", 2, rows[:4], 5000)
    assert all(stats.kstest(wide[k], "uniform").pvalue > 0.001 for k in range(4))
    counts = np.bincount((u[:, 0] * 64).astype(int), minlength=64)
    assert stats.chisquare(counts).pvalue > 0.001


def related(a: np.ndarray, b: np.ndarray) -> float:
    return abs(float(np.corrcoef(a.ravel(), b.ravel())[0, 1]))


def test_rows_columns_epochs_purposes_and_seeds_are_independent() -> None:
    u = uniforms(0, "augment", 0, ROWS, 8)
    limit = 4 / np.sqrt(u.size)
    assert related(u, uniforms(0, "augment", 1, ROWS, 8)) < limit
    assert related(u, uniforms(0, "mixing", 0, ROWS, 8)) < limit
    assert related(u, uniforms(1, "augment", 0, ROWS, 8)) < limit
    assert related(u[:-1], u[1:]) < limit
    assert related(u[:, :-1], u[:, 1:]) < limit
    columns = np.corrcoef(u.T) - np.eye(8)
    assert abs(columns).max() < 5 / np.sqrt(len(ROWS))
    together = np.histogram2d(u[:, 0], u[:, 1], bins=10, range=((0, 1), (0, 1)))[0]
    assert stats.chisquare(together.ravel()).pvalue > 0.001


def test_no_two_numbers_are_the_same() -> None:
    u = np.concatenate([uniforms(seed, "a", epoch, ROWS, 16).ravel() for seed in (0, 1) for epoch in (0, 1)])
    assert len(np.unique(u)) == len(u)


@quick
@given(st.permutations(range(30)), st.integers(1, 6))
def test_a_rows_numbers_are_its_own(order: list[int], n: int) -> None:
    whole = uniforms(3, "p", 1, np.arange(30), n)
    assert np.array_equal(uniforms(3, "p", 1, np.array(order), n), whole[order])
    assert np.array_equal(uniforms(3, "p", 1, np.array(order[:7]), n), whole[order[:7]])
    assert np.array_equal(uniforms(3, "p", 1, np.arange(30, dtype=np.int32), n), whole)
    assert np.array_equal(uniforms(3, "p", 1, np.arange(30), n + 4)[:, :n], whole)  # more numbers move none


def test_drawing_leaves_numpys_own_state_alone() -> None:
    np.random.seed(1)
    before = np.random.get_state()[1].copy()
    uniforms(0, "p", 0, ROWS, 2)
    generator(0, "p").permutation(5)
    assert np.array_equal(np.random.get_state()[1], before)


def test_permutations_are_fair() -> None:
    firsts = np.array([generator(0, "order", epoch).permutation(8)[0] for epoch in range(2000)])
    assert stats.chisquare(np.bincount(firsts, minlength=8)).pvalue > 0.001
