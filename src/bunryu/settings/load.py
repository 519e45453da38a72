"""Settings read: a recipe, a file and `key=value` pairs joined into those of a run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bunryu.core.errors import ConfigError, nearest, some, typed
from bunryu.settings.config import Layer, load_yaml, parse_overrides
from bunryu.settings.recipes import recipe_file, recipe_names, suitable_recipe
from bunryu.settings.run import RunSettings
from bunryu.settings.validate import build


def load_settings(
    overrides: Sequence[str] = (),
    *,
    recipe: str | None = None,
    values: dict[str, Any] | None = None,
    minutes: float | None = None,
    origin: str = "the settings given",
) -> RunSettings:
    """Join a recipe, a settings file and ``key=value`` pairs into the settings of a run.

    Args:
        overrides: ``section.key=value`` pairs; they win over everything.
        recipe: the name of a recipe, or a YAML file of settings on top of one. When None: default, or scratch
            for a model without pretrained weights.
        values: what the command's own options say, as nested settings; between the recipe and the overrides.
        minutes: the time that decides train.epochs and train.stages.
        origin: where `overrides` and `values` come from, for the messages.

    Raises:
        ConfigError: an unknown recipe, or wrong settings, each with the nearest right one.
    """
    top = [Layer(origin, values or {}), parse_overrides(overrides, origin)]
    _require_data_once(*top)
    if recipe in recipe_names():
        top.insert(0, Layer("--recipe", {"recipe": recipe}))
    elif recipe is not None:
        if not recipe.endswith((".yaml", ".yml")):
            raise ConfigError(
                f"There is no recipe {recipe!r}.{nearest(recipe, recipe_names())} "
                f"Recipes: {some(recipe_names(), 12)}; or give a settings file, FILE.yaml."
            )
        top.insert(0, load_yaml(Path(recipe)))
    if minutes is not None:
        _require_undecided(top)
    asked = [layer.values["recipe"] for layer in top if layer.values.get("recipe") is not None]
    named = str(asked[-1]) if asked else suitable_recipe(top)
    if named not in recipe_names():
        raise ConfigError(
            f"recipe: there is no recipe {named!r}.{nearest(named, recipe_names())} "
            f"Recipes: {some(recipe_names(), 12)}."
        )
    base = load_yaml(recipe_file(named))
    if any(_says_all(layer.values.get("augment")) for layer in top):
        base.values.pop("augment", None)
    return build(RunSettings, [base, *top, Layer("the recipe", {"recipe": named})])


def _says_all(augment: Any) -> bool:
    """Return whether augment.* of a layer stand in place of the recipe's: with a preset or operations they do."""
    return isinstance(augment, dict) and any(augment.get(name) is not None for name in ("preset", "ops"))


def _require_undecided(layers: Sequence[Layer]) -> None:
    """Refuse what --minutes decides where the user has decided it."""
    for layer in layers:
        train = layer.values.get("train")
        decided = {"epochs", "stages"} & set(train if isinstance(train, dict) else ())
        if decided:
            raise ConfigError(
                f"{layer.where(('train', min(decided)))}: --minutes decides train.epochs and train.stages. "
                f"Leave out train.{min(decided)}, or --minutes."
            )


def _require_data_once(options: Layer, pairs: Layer) -> None:
    """Refuse data named both as an argument and as a setting: one would win unseen."""
    data, asked = (layer.values.get("data") for layer in (options, pairs))
    if not (isinstance(data, dict) and isinstance(asked, dict)):
        return
    for name in data.keys() & asked.keys():
        argument = "DATA" if name == "source" else f"--{name}-dir"
        raise ConfigError(f"Data came twice: {argument} {data[name]} and data.{name}={asked[name]}. Give one.")


def evaluation_settings(
    of_run: Callable[[], RunSettings] | None,
    overrides: Sequence[str],
    origin: str = "the settings given",
    *,
    own_rows: bool = False,
) -> RunSettings:
    """Join a run's own evaluate.* settings and ``key=value`` pairs; of its data settings data.rename_labels alone.

    Args:
        of_run: reads the settings of the run; None for a model without them.
        overrides: ``data.key=value`` and ``evaluate.key=value`` pairs.
        origin: where they come from, for the messages.
        own_rows: whether the run is measured on its own rows, which data settings do not change.

    Raises:
        ConfigError: a wrong pair, one of another section, or one that would have no effect.
    """
    wrong = [pair for pair in overrides if not pair.startswith(("data.", "evaluate."))]
    if wrong and "=" not in wrong[0]:
        raise ConfigError(f"Expected key=value, received {wrong[0]!r}. Did you mean: --data {typed(wrong[0])}")
    if wrong:
        raise ConfigError(f"evaluate takes data.KEY=VALUE and evaluate.KEY=VALUE only, received {wrong[0]!r}.")
    base: dict[str, dict[str, Any]] = {}
    if of_run:
        own = of_run()
        base = {"evaluate": own.evaluate.model_dump(), "data": {"rename_labels": own.data.rename_labels}}
    settings = load_settings(overrides, recipe="default", values=base, origin=origin)
    idle = [pair for pair in overrides if pair.startswith("data.") and pair.split("=")[0] != "data.workers"]
    if own_rows and idle:
        raise ConfigError(
            f"{idle[0]}: without --data the run's own split.csv is measured, which data settings do not change. Give "
            "the data that they are for: --data PATH"
        )
    return settings


_OF_SPLITS = ("data.", "split.", "decode.", "model.heads=", "folds.")


def require_of_splits(overrides: Sequence[str]) -> None:
    """Refuse pairs that change nothing about a split.

    Raises:
        ConfigError: naming the first.
    """
    if idle := next((pair for pair in overrides if "=" in pair and not pair.startswith(_OF_SPLITS)), None):
        raise ConfigError(f"split takes data.*, split.* and decode.* (and model.heads); {idle!r} changes nothing.")


_OF_COPIES = ("data.", "decode.", "augment.", "train.seed=", "input.pad_colour=")


def augment_settings(
    overrides: Sequence[str],
    *,
    file: str | None,
    values: dict[str, Any],
    balances: bool,
    origin: str = "the settings given",
) -> RunSettings:
    """Join the settings of `bunryu augment`.

    Args:
        overrides: pairs of data.*, decode.*, augment.*, train.seed and input.pad_colour.
        file: a settings file with the augment.* of random copies.
        values: as for `load_settings`.
        balances: whether random copies are made without a file.
        origin: where the pairs come from, for the messages.

    Raises:
        ConfigError: wrong settings, or some that would have no effect.
    """
    for pair in overrides:
        if not pair.startswith(_OF_COPIES):
            raise ConfigError(f"augment takes data.*, decode.* and augment.* (and train.seed), received {pair!r}.")
        if pair.startswith("augment.") and not balances and file is None:
            raise ConfigError(f"{pair}: augment.* decide random copies; ask for some with --balance-to N.")
    if file is not None and not isinstance(load_yaml(Path(file)).values.get("augment"), dict):
        raise ConfigError(f"--ops {file}: expected settings with augment in them, such as augment: {{ops: [hflip]}}.")
    return load_settings(overrides, recipe=file, values=values, origin=origin)
