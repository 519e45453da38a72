"""What is said at the terminal."""

from __future__ import annotations

import pytest

from bunryu.core import console


def test_a_note_is_said_once_and_all_else_always(capsys: pytest.CaptureFixture[str]) -> None:
    for fold in (1, 2):
        console.say("outside", style="yellow")
        with console.each_note_once("there"):
            for _ in range(2):
                console.say(f"fold {fold}")
                console.say("a note", style="yellow")
                console.say(f"a note of '{fold}'", style="yellow")
    said = capsys.readouterr().err.splitlines()
    assert [said.count(line) for line in ("outside", "fold 1", "a note", "a note of '1'", "a note of '2'")] == [
        2
    ] * 2 + [2, 1, 1]
    assert len(said) == 2 + 4 + 4


@pytest.mark.parametrize(
    ("note", "others", "again"),
    [
        ("accuracy 0.317, 15% of 1,204", ["accuracy 0.4, 100% of 2"], True),
        ("accuracy 0.317", ["accuracy 0.317"], False),
        ("class '3' is weak", ["class '4' is weak"], None),
        ("skipped n003/1.jpg", ["skipped n004/1.jpg", "skipped n003/2.jpg"], None),
        ("read fold-1/a", ["read fold-2/a"], None),
    ],
)
def test_notes_that_differ_by_a_number_alone_are_one(
    note: str, others: list[str], again: bool | None, capsys: pytest.CaptureFixture[str]
) -> None:
    """The first is said in full; names with numbers in them are other names."""
    with console.each_note_once("there"):
        for line in (note, *others):
            console.say(line, style="yellow")
    told = "Notes above that came again with other numbers: 1; see there."
    assert capsys.readouterr().err.splitlines() == [note, *(others if again is None else [told] if again else [])]


def test_of_an_error_nothing_more_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    def fails() -> None:
        with console.each_note_once("there"):
            console.say("1", style="yellow")
            console.say("2", style="yellow")
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert capsys.readouterr().err.splitlines() == ["1"]
