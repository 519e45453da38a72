"""The recipes that come with bunryu, and what they set."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from bunryu.core.errors import ConfigError, nearest, some
from bunryu.settings.config import Layer, load_yaml
from bunryu.settings.fields import REQUIRED, Key, value_text
from bunryu.settings.model import SCRATCH

_SUITABLE = ("default", "scratch")
"""The recipes that are chosen where none is named."""


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with bunryu."""
    return sorted(path.name.removesuffix(".yaml") for path in _recipes().iterdir() if path.name.endswith(".yaml"))


def recipe_text(name: str) -> str:
    """Return a recipe as it is written.

    Raises:
        ConfigError: there is none of that name.
    """
    return recipe_file(name).read_text(encoding="utf-8")


def defaults(key: Key) -> str:
    """Say what a key is where nobody sets it: ``3e-4 in recipe default, 2e-3 in scratch``, ``default null``."""
    found: dict[str, str] = {}
    for name in _SUITABLE:
        value: Any = load_yaml(recipe_file(name)).values
        for part in key.name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            found[name] = value_text(value)
    if not found:
        return key.default if key.default == REQUIRED else f"default {key.default}"
    rest = [] if len(found) == len(_SUITABLE) else [f"else {key.default}"]
    return ", ".join([*(f"{value} in recipe '{name}'" for name, value in found.items()), *rest])


def recipe_file(name: str) -> Path:
    """Return where a recipe that comes with bunryu lies.

    Raises:
        ConfigError: there is none of that name.
    """
    if name not in recipe_names():
        raise ConfigError(
            f"There is no recipe {name!r}.{nearest(name, recipe_names())} Recipes: {some(recipe_names(), 12)}."
        )
    return Path(str(_recipes().joinpath(f"{name}.yaml")))


def _recipes() -> Any:
    return files("bunryu").joinpath("recipes")


def suitable_recipe(layers: Sequence[Layer]) -> str:
    """Return the recipe for a model of which none is named: default, or scratch without pretrained weights."""
    model: dict[str, Any] = {}
    for layer in layers:
        section = layer.values.get("model")
        model |= section if isinstance(section, dict) else {}
    scratch = (model.get("name") in SCRATCH or model.get("file")) and model.get("weights") in (None, "none")
    return "scratch" if scratch or model.get("weights") == "none" else "default"
