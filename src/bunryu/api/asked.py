"""What a verb that takes data was asked for: its settings, decided once for programs and the command line."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bunryu.core import caller
from bunryu.core.errors import ConfigError, typed
from bunryu.data.sources.read import require_there
from bunryu.settings.load import load_settings
from bunryu.settings.run import RunSettings

if TYPE_CHECKING:
    import pandas as pd

    Data = str | os.PathLike[str] | Mapping[str, str | os.PathLike[str]] | pd.DataFrame
    """A path, paths by their splits (and ``source``), or a table in memory."""


def settings_of(
    data: Data | None,
    overrides: Sequence[str],
    own: dict[str, dict[str, Any]] | None = None,
    *,
    load: Callable[..., RunSettings] = load_settings,
    **options: Any,
) -> tuple[RunSettings, Any, dict[str, dict[str, Any]]]:
    """Return the settings of a verb that takes data, which are there; the DataFrame if they are one; and the values.

    Args:
        data: as the verb got them.
        overrides: ``section.key=value`` pairs.
        own: what the verb's other options say, as nested settings.
        load: makes the settings.
        options: further ones of `load`.

    Raises:
        BunryuError: wrong settings, or data that are not there.
    """
    if wrong := [pair for pair in overrides if not isinstance(pair, str)]:
        raise ConfigError(f'Expected settings as "section.key=value", as "train.epochs=10"; received {wrong[0]!r}.')
    who, frame = caller.present(), None if _by_path(data) else data
    values: dict[str, dict[str, Any]] = {"data": _paths(data), **(own or {})}
    settings = load(overrides, values=values, origin=who.origin, **options)
    given = settings.data.source or settings.data.train
    if frame is None and (named := who.source(given)) != given:
        values["data"]["source"] = named
        settings = load(overrides, values=values, origin=who.origin, **options)
    require_there(settings.data, frame)
    return settings, frame, values


def _by_path(data: Data | None) -> bool:
    """Return whether data are named, not given."""
    return data is None or isinstance(data, (str, os.PathLike, Mapping))


def _paths(data: Data | None) -> dict[str, Any]:
    """Return data as settings: the names of the data.* that are paths, and the paths."""
    if isinstance(data, Mapping):
        return {name: os.fspath(path) for name, path in data.items()}
    return {"source": os.fspath(data)} if isinstance(data, (str, os.PathLike)) else {}


def as_typed(data: Data | None) -> list[str]:
    """Return data as they are named on the command line."""
    if not _by_path(data):
        return ["DATA"]
    return [
        *(typed(path) if name == "source" else f"--{name}-dir {typed(path)}" for name, path in _paths(data).items())
    ]


def root_of(out: str | os.PathLike[str] | None) -> Path:
    """Return where new folders of results are made."""
    return caller.present().root(Path(out) if out else None) or Path("runs")
