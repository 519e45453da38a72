"""Text in terminal cells: Hangul takes two, marks none, and what is cut short still fits."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bunryu.core.text_width import clean, pad, shorten, width


@pytest.mark.parametrize(
    ("text", "cells"),
    [
        ("", 0),
        ("cat", 3),
        ("고양이", 6),
        (unicodedata.normalize("NFD", "고양이"), 6),
        ("漢字ｶﾅ", 6),
        ("caf\u00e9", 4),
        ("cafe\u0301", 4),
        ("x\u0327\u0301y", 2),  # composed letters do not exist for these
        ("👩\u200d🚀", 2),
        ("①·…", 3),
        ("🐶 dog", 6),
    ],
)
def test_width(text: str, cells: int) -> None:
    assert width(text) == cells
    assert width(pad(text, 9)) == 9


@given(st.text(max_size=60) | st.text("가漢a\u0301\u200d\ufe0f❤👩🚀", max_size=60), st.integers(3, 30))
@example("👩\u200d🚀" * 20, 10)
@example("\u0301" * 40 + "가" * 20, 8)
def test_what_is_shortened_fits_and_keeps_both_ends(text: str, cells: int) -> None:
    whole, short = clean(text), shorten(text, cells)
    assert width(short) <= cells
    if width(whole) <= cells:
        assert short == whole
    else:
        assert any(
            whole.startswith(short[:at]) and whole.endswith(short[at + 1 :])
            for at, char in enumerate(short)
            if char == "…"
        )


def test_the_longer_end_is_the_first() -> None:
    assert shorten("abcdefghij", 6) == "abc…ij"
    assert shorten("abcdefghij", 7) == "abc…hij"
    assert shorten("가나다라마바", 6) == "가…바"
    assert shorten("one\ntwo", 8) == r"one\ntwo"
