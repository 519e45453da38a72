"""What is shown acts on no terminal, whatever it was; what a program reads back is what was."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import unicodedata

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from bunryu.core.errors import BunryuError, typed
from bunryu.core.shown import acts, shown, shown_lines
from bunryu.core.storage import json_text

ANY = st.text(max_size=40) | st.binary(max_size=40).map(os.fsdecode)


@given(ANY)
@example("a\x1b[2J\x85\u202e\udcff\ud800\u2028")
def test_nothing_acts(text: str) -> None:
    found = shown(text)
    assert not acts(found)
    assert found.splitlines() in ([found], [])
    assert not {unicodedata.category(char) for char in found} & {"Cc", "Zl", "Zp", "Cs"}
    assert shown(found) == found
    found.encode("utf-8")
    assert str(BunryuError(text)) == found
    assert shown_lines([text, text]).count("\n") == 1


@given(ANY)
def test_json_holds_the_same(text: str) -> None:
    written = json_text({text: [text]}, indent=2)
    assert not acts(written.replace("\n", ""))
    assert json.loads(written) == {text: [text]}


@pytest.mark.parametrize(
    "text", ["강아지", unicodedata.normalize("NFD", "강아지"), "👩\u200d🚀", "cafe\u0301", "a\\b", "עברית"]
)
def test_scripts_and_emoji_stay(text: str) -> None:
    assert shown(text) == text


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
@pytest.mark.parametrize("name", [b"a\x1b[2J'\\b", "가\n나".encode(), b"caf\xe9 x\n", "\u202eabc".encode()])
def test_what_is_typed_names_the_file(name: bytes) -> None:
    told = typed(os.fsdecode(name))
    assert not acts(told)
    assert subprocess.run(["bash", "-c", f"printf %s {told}"], capture_output=True, check=True).stdout == name
