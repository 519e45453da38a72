"""What --help says on a screen of 80 columns."""

from __future__ import annotations

import re

import pytest

from bunryu.cli.app import app
from bunryu.cli.arguments import MOST_USED
from bunryu.settings.fields import keys
from bunryu.settings.run import RunSettings
from conftest import Command

COMMANDS = sorted(command.name or command.callback.__name__ for command in app.registered_commands if command.callback)


@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_and_nothing_is_cut(command: str | None, bunryu: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    said = bunryu(*([command] if command else []), "--help").out
    assert max(map(len, said.splitlines())) <= 80
    assert not re.search(r"(\w\.\.\.|…)$", said, re.MULTILINE)
    assert len(said.splitlines()) <= 80, "one or two screens"
    assert command or all(f"  {name} " in said for name in COMMANDS)


def test_train_shows_the_settings_used_most_and_where_the_others_are(bunryu: Command) -> None:
    said = bunryu("train", "--help").out
    assert len(MOST_USED) == 10
    assert set(MOST_USED) <= {key.name for key in keys(RunSettings)}
    assert all(f"  {name} " in said for name in MOST_USED)
    assert "bunryu settings WORD" in said
