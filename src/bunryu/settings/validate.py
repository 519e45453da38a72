"""Values validated into settings, from layers or in place of some; every mistake told in one message."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from bunryu.core.errors import ConfigError
from bunryu.settings.config import Layer, S, Settings, merge

_MOST_TOLD = 1_000


def build(model: type[S], layers: Sequence[Layer]) -> S:
    """Merge `layers`, the later over the earlier, and validate them into `model`.

    Raises:
        ConfigError: one message with every wrong key and value, where it stands, and the nearest right one.
    """
    merged: dict[str, Any] = {}
    for layer in layers:
        merged = merge(merged, layer.values)
    return _validated(model, merged, layers)


def replaced(settings: S, changes: Mapping[str, Any], *, origin: str = "") -> S:
    """Return the settings (or a sealed record) with other values, validated together with all the others.

    Values that only go together are to be given together: what stands between them is never looked at.

    Args:
        settings: stay as they are.
        changes: dotted key -> value, such as ``{"train.epochs": 3, "train.stages": [...]}``.
        origin: what decided the values, for the messages.

    Raises:
        ConfigError: a wrong key, value or combination, as `build`.
    """
    layer = Layer(origin, _nested(changes))
    return _validated(type(settings), _laid_over(settings, layer.values), [layer] if origin else [])


def first_fault(error: ValidationError) -> str:
    """Return where the first wrong value stands, and what is wrong with it; of very many, how many there are."""
    if (faults := error.error_count()) > _MOST_TOLD:  # to list them takes a thousand times what it took to find them
        return f"{faults:,} wrong values"
    first = error.errors(include_input=False, include_context=False)[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"


def _validated(model: type[S], values: dict[str, Any], layers: Sequence[Layer]) -> S:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        from bunryu.settings.messages import explain

        if error.error_count() > _MOST_TOLD:
            raise ConfigError(f"{layers[-1].source if layers else 'The settings'}: {first_fault(error)}.") from None
        raise ConfigError(*explain(model, error.errors(), layers)) from None


def _nested(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return the values of dotted keys, section by section."""
    values: dict[str, Any] = {}
    for key, value in changes.items():
        section, dot, rest = key.partition(".")
        values = merge(values, {section: _nested({rest: value}) if dot else value})
    return values


def _laid_over(settings: Settings, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was set in `settings`, section by section, with `changes` in its place."""
    values = {name: getattr(settings, name) for name in settings.model_fields_set}
    for name, value in changes.items():
        section = getattr(settings, name, None)
        if isinstance(section, Settings) and isinstance(value, Mapping):
            value = _laid_over(section, value)
        values[name] = value
    return values
