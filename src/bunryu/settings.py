"""All settings of a run: each room's own `settings.py`, joined. Free of torch, so that errors are quick."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

from pydantic import model_validator

from bunryu.config import Key, Layer, Settings, build, load_yaml, parse_overrides, value_text
from bunryu.data.settings import (
    AugmentSettings,
    DataSettings,
    DecodeSettings,
    FoldSettings,
    InputSettings,
    SplitSettings,
)
from bunryu.errors import ConfigError, nearest, some, typed
from bunryu.evaluate.settings import DecisionSettings, EvaluateSettings
from bunryu.models.settings import SCRATCH, ModelSettings, without_library
from bunryu.train.settings import LossSettings, MixSettings, OptimSettings, ScheduleSettings, TrainSettings
from bunryu.train.stage_settings import trains_on_own, with_given


class RunSettings(Settings):
    """Everything that decides a run; `config.yaml` in the run folder holds it whole."""

    name: str | None = None
    """The run folder is runs/NAME-N; the name of the data when null."""
    recipe: str = "default"
    """The recipe these settings started from."""
    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    folds: FoldSettings = FoldSettings()
    decode: DecodeSettings = DecodeSettings()
    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    optim: OptimSettings = OptimSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    loss: LossSettings = LossSettings()
    mix: MixSettings = MixSettings()
    augment: AugmentSettings = AugmentSettings()
    decision: DecisionSettings = DecisionSettings()
    evaluate: EvaluateSettings = EvaluateSettings()

    @model_validator(mode="after")
    def _combinations(self) -> RunSettings:
        if self.input.channels == "grey" and (self.augment.saturation or self.augment.hue):
            raise ValueError(
                "augment.saturation and augment.hue change colours; with input.channels=grey set them to 0"
            )
        scratch = without_library(self.model.name)
        if self.model.batch_norm and self.model.name != "scratch_cnn":
            raise ValueError(f"model.batch_norm is an option of scratch_cnn, not of {self.model.name}")
        if scratch and self.model.weights == "imagenet":
            raise ValueError(f"{self.model.name} has no imagenet weights; leave them out, or name a run or a file")
        if self.loss.name == "soft_f1" and self.train.accumulate > 1:
            raise ValueError("loss.name=soft_f1 is a figure of the whole batch; set train.accumulate=1")
        for stage in self.train.stages:
            self._sharpness(with_given(self.optim, stage.optim))
            given = stage.optim.model_fields_set if stage.optim else ()
            if stage.freeze == "backbone" and "lr" in given and with_given(self.optim, stage.optim).head_lr:
                raise ValueError(
                    f"stage '{stage.name}': the backbone is frozen and optim.head_lr is the head's rate, so that the "
                    "stage's optim.lr is of nothing; give it as head_lr"
                )
        averaged = [stage for stage in self.train.stages if trains_on_own(stage)][-1:] if self.train.swa else []
        schedules = [with_given(self.schedule, stage.schedule).name for stage in averaged]
        if "plateau" in schedules and self.train.swa_lr is None:
            raise ValueError(
                "schedule.name=plateau would go on to lower the rate that train.swa holds constant; give "
                "train.swa_lr, or another schedule"
            )
        if self.data.balance_to is not None and self.train.sampler == "class_aware":
            raise ValueError(
                f"data.balance_to={self.data.balance_to} and train.sampler=class_aware both decide how often a class "
                "comes; leave one out"
            )
        if self.data.balance_to is not None and self.folds.k and self.decision.tau is not None:
            raise ValueError(
                "decision.tau adjusts all folds by the counts of one table, and data.balance_to gives each fold counts "
                "of its own; leave out one of the two"
            )
        solved = any(stage.solve for stage in self.train.stages)
        if self.data.balance_to is not None and self.loss.name == "soft_f1" and solved:
            raise ValueError(
                "data.balance_to weights the rows of a solved head, and loss.name=soft_f1 has none to weight; leave "
                "out one of the two, or the stages with solve (train.stages=[{name: all}])"
            )
        if self.train.compile and all(stage.views is not None for stage in self.train.stages):
            raise ValueError("train.compile is of pictures, and every stage learns from features (views); leave it out")
        cached = [stage.name for stage in self.train.stages if stage.views is not None and not stage.solve]
        if cached and self.mix.name in ("cutmix", "both"):
            raise ValueError(
                f"mix.name={self.mix.name}: the stage '{cached[0]}' learns from cached features, which CutMix cannot "
                "mix; leave its views out, or use mix.name=mixup"
            )
        if self.data.source is not None and self.data.train is not None:
            raise ValueError(
                f"data came twice: data.source={self.data.source} and data.train={self.data.train}; give one"
            )
        if self.name is not None and (not self.name.strip(". ") or set(self.name) & set("/\\\0")):
            raise ValueError(f"name: expected the name of a folder, without / and \\, received {self.name!r}")
        if self.split.val == 0 and not self.train.monitor.startswith("train_") and self._no_validation():
            raise ValueError(
                f"split.val=0 leaves nothing to compute train.monitor={self.train.monitor} on; "
                "set train.monitor=train_loss, or split.val above 0"
            )
        return self

    @model_validator(mode="after")
    def _folds(self) -> RunSettings:
        k, final, usual = self.folds.k, self.folds.final, SplitSettings().val
        if k is None and final != "ensemble":
            raise ValueError(f"folds.final={final} is the final model of several folds; give folds.k too (--folds 5)")
        if k is None:
            return self
        if self.split.val != usual:
            raise ValueError(
                f"split.val={self.split.val:g} has no effect with folds.k={k}: each fold is the validation of one run; "
                "leave split.val out"
            )
        if other := next((stage for stage in self.train.stages if stage.rows != "train"), None):
            raise ValueError(
                f"stage '{other.name}': rows: {other.rows} would let a run learn from its own fold (folds.k={k}), "
                "which is to stay unseen; leave rows out. A final run on all rows: folds.final=refit"
            )
        names = [stage.name for stage in self.train.stages]
        if final == "refit" and len(set(names)) < len(names):
            raise ValueError("folds.final=refit counts the epochs of each stage by its name; give each its own")
        schedules = [with_given(self.schedule, stage.schedule).name for stage in self.train.stages]
        if final == "refit" and "plateau" in schedules:
            raise ValueError(
                "schedule.name=plateau follows a validation figure, and a refit has none; use folds.final=ensemble, "
                "or another schedule"
            )
        return self

    @model_validator(mode="after")
    def _group_dro(self) -> RunSettings:
        stages, monitor = self.train.stages, self.train.monitor
        if not self.loss.group_dro:
            if monitor == "worst_group_accuracy":
                raise ValueError("train.monitor=worst_group_accuracy: there are no groups; name them in loss.group_dro")
            return self
        if self.mix.name != "none":
            raise ValueError(
                f"loss.group_dro: a row made of two (mix.name={self.mix.name}) has no group; leave one out"
            )
        if any(with_given(self.optim, stage.optim).sam_rho for stage in stages):
            raise ValueError("loss.group_dro and optim.sam_rho both go twice their own way through a batch; choose one")
        if all(stage.solve for stage in stages):
            raise ValueError(
                "loss.group_dro moves with each batch, and a solved head has none; add a stage without solve"
            )
        if other := next((stage for stage in stages if stage.rows != "train"), None):
            raise ValueError(f"loss.group_dro: stage '{other.name}' learns from other rows; leave rows out")
        return self

    @property
    def label(self) -> str:
        """What the run's folder is called: `name`, or the name of the data."""
        source = self.data.source or self.data.train
        if self.name or not source:
            return self.name or "data"
        return Path(source).name if Path(source).is_dir() else Path(source).stem

    def _sharpness(self, optim: OptimSettings) -> None:
        if optim.sam_rho and self.train.accumulate > 1:
            raise ValueError("optim.sam_rho climbs from the gradient of a whole batch; set train.accumulate=1")
        if optim.sam_adaptive and not optim.sam_rho:
            raise ValueError("optim.sam_adaptive is a kind of SAM; give optim.sam_rho, such as 0.5")

    def _no_validation(self) -> bool:
        """Return whether no data can hold validation rows. (A single source may have a val/ or a split column.)"""
        return self.data.train is not None and self.data.val is None and self.split.file is None


_SUITABLE = ("default", "scratch")
"""The recipes that are chosen where none is named."""


def recipe_names() -> list[str]:
    """Return the names of the recipes that come with bunryu."""
    return sorted(path.name.removesuffix(".yaml") for path in _recipes().iterdir() if path.name.endswith(".yaml"))


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
    named = str(asked[-1]) if asked else _suitable_recipe(top)
    if named not in recipe_names():
        raise ConfigError(
            f"recipe: there is no recipe {named!r}.{nearest(named, recipe_names())} "
            f"Recipes: {some(recipe_names(), 12)}."
        )
    base = load_yaml(_recipe_file(named))
    if any(_says_all(layer.values.get("augment")) for layer in top):
        base.values.pop("augment", None)
    return build(RunSettings, [base, *top, Layer("the recipe", {"recipe": named})])


def require_whole(settings: RunSettings, origin: str) -> None:
    """Refuse settings that were decided after the user's were read, where the two do not go together.

    Args:
        settings: with what was decided.
        origin: what decided, for the message.

    Raises:
        ConfigError: as `load_settings`.
    """
    build(RunSettings, [Layer(origin, settings.model_dump(mode="json"))])


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
    of_run: Callable[[], RunSettings] | None, overrides: Sequence[str], origin: str = "the settings given"
) -> RunSettings:
    """Join a run's own evaluate.* settings and ``key=value`` pairs; its data settings are not taken over.

    Args:
        of_run: reads the settings of the run; None for a model without them.
        overrides: ``data.key=value`` and ``evaluate.key=value`` pairs.
        origin: where they come from, for the messages.

    Raises:
        ConfigError: a wrong pair, or one of another section.
    """
    wrong = [pair for pair in overrides if not pair.startswith(("data.", "evaluate."))]
    if wrong and "=" not in wrong[0]:
        raise ConfigError(f"Expected key=value, received {wrong[0]!r}. Did you mean: --data {typed(wrong[0])}")
    if wrong:
        raise ConfigError(f"evaluate takes data.KEY=VALUE and evaluate.KEY=VALUE only, received {wrong[0]!r}.")
    base = {"evaluate": of_run().evaluate.model_dump()} if of_run else {}
    return load_settings(overrides, recipe="default", values=base, origin=origin)


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


def recipe_text(name: str) -> str:
    """Return a recipe as it is written.

    Raises:
        ConfigError: there is none of that name.
    """
    return _recipe_file(name).read_text(encoding="utf-8")


def defaults(key: Key) -> str:
    """Say what a key is where nobody sets it: ``3e-4 in recipe default, 2e-3 in scratch``, ``default null``."""
    found: dict[str, str] = {}
    for name in _SUITABLE:
        value: Any = load_yaml(_recipe_file(name)).values
        for part in key.name.split("."):
            value = value.get(part) if isinstance(value, dict) else None
        if value is not None:
            found[name] = value_text(value)
    if not found:
        return f"default {key.default}"
    rest = [] if len(found) == len(_SUITABLE) else [f"else {key.default}"]
    return ", ".join([*(f"{value} in recipe '{name}'" for name, value in found.items()), *rest])


def _recipe_file(name: str) -> Path:
    if name not in recipe_names():
        raise ConfigError(
            f"There is no recipe {name!r}.{nearest(name, recipe_names())} Recipes: {some(recipe_names(), 12)}."
        )
    return Path(str(_recipes().joinpath(f"{name}.yaml")))


def _recipes() -> Any:
    return files("bunryu").joinpath("recipes")


def _suitable_recipe(layers: Sequence[Layer]) -> str:
    model: dict[str, Any] = {}
    for layer in layers:
        section = layer.values.get("model")
        model |= section if isinstance(section, dict) else {}
    scratch = (model.get("name") in SCRATCH or model.get("file")) and model.get("weights") in (None, "none")
    return "scratch" if scratch or model.get("weights") == "none" else "default"
