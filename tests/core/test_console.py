"""What is said at the terminal."""

from __future__ import annotations

import pytest

from bunryu.core import console


def test_a_note_is_said_once_and_all_else_always(capsys: pytest.CaptureFixture[str]) -> None:
    for fold in (1, 2):
        console.say("outside", style="yellow")
        with console.each_note_once():
            for _ in range(2):
                console.say(f"fold {fold}")
                console.say("a note", style="yellow")
                console.say(f"a note of {fold}", style="yellow")
    said = capsys.readouterr().err.splitlines()
    assert [said.count(line) for line in ("outside", "fold 1", "fold 2", "a note", "a note of 2")] == [2, 2, 2, 2, 1]
