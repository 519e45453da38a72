"""All settings of a run: every section, joined. Free of torch, so that errors are quick."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import model_validator

from bunryu.core import storage
from bunryu.core.errors import ConfigError
from bunryu.settings.augment import AugmentSettings
from bunryu.settings.config import Settings
from bunryu.settings.data import DataSettings, DecodeSettings, DecodeSpec, InputSettings, SplitSettings
from bunryu.settings.evaluate import DecisionSettings, EvaluateSettings
from bunryu.settings.folds import FoldSettings
from bunryu.settings.model import ModelSettings, split_name, without_library
from bunryu.settings.multilabel_rules import why_not_labels
from bunryu.settings.stages import OptimSettings, ScheduleSettings, Stage, trains_on_own, with_given
from bunryu.settings.train import LossSettings, MixSettings, TrainSettings, stage_epochs, with_average
from bunryu.settings.validate import replaced


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
        if why := next(conflicts(self), None):
            raise ValueError(why)
        return self

    @property
    def label(self) -> str:
        """What the run's folder is called: `name`, or the name of the data."""
        source = self.data.source or self.data.train
        if self.name or not source:
            return self.name or "data"
        place = storage.absolute(source)  # a dot has no name
        return place.name if place.is_dir() else place.stem


def decode_spec(settings: RunSettings) -> DecodeSpec:
    """Return the sealed decode record of the settings; without a range where that is not found yet, or of nothing."""
    values = settings.decode.model_dump()
    found = None if values["range"] == "auto" else values["range"]
    return DecodeSpec(**values | {"range": found}, max_pixels=round(settings.data.max_megapixels * 1e6))


def absolute(settings: RunSettings) -> RunSettings:
    """Return the settings with every path absolute, so that the run can be resumed from anywhere."""

    def there(path: str | None) -> str | None:
        return str(storage.absolute(path)) if path else path

    of_data = ("source", "train", "val", "test", "image_root")
    changes = {f"data.{name}": there(getattr(settings.data, name)) for name in of_data}
    changes["split.file"] = there(settings.split.file)
    if settings.model.weights not in (None, "none", "imagenet"):
        changes["model.weights"] = there(settings.model.weights)
    if settings.model.file:
        path, name = split_name(settings.model.file)
        changes["model.file"] = f"{there(str(path))}:{name}"
    return replaced(settings, changes)


def whole_stages(settings: RunSettings) -> list[Stage]:
    """Return the stages with whole numbers of epochs, and that of train.swa; those with none are left out."""
    pairs = zip(settings.train.stages, stage_epochs(settings.train), strict=True)
    stages = [replaced(stage, {"epochs": epochs}) for stage, epochs in pairs if epochs]
    return with_average(stages, settings.train)


def conflicts(run: RunSettings) -> Iterator[str]:
    """Yield what is wrong with settings that cannot be given together, in words that say how to mend it."""
    yield from _of_data(run)
    yield from _of_model(run)
    yield from _of_stages(run)
    yield from _of_balance(run)
    yield from _of_mixing(run)
    yield from _of_labels(run)
    yield from _of_folds(run)
    yield from _of_group_dro(run)
    yield from _of_decision(run)


def _of_data(run: RunSettings) -> Iterator[str]:
    data, monitor = run.data, run.train.monitor
    if data.source is not None and data.train is not None:
        yield f"data came twice: data.source={data.source} and data.train={data.train}; give one"
    if run.name is not None and (not run.name.strip(". ") or set(run.name) & set("/\\\0")):
        yield f"name: expected the name of a folder, without / and \\, received {run.name!r}"
    # a single source may have a val/ or a split column
    no_validation = data.train is not None and data.val is None and run.split.file is None
    if run.split.val == 0 and not monitor.startswith("train_") and no_validation:
        yield (
            f"split.val=0 leaves nothing to compute train.monitor={monitor} on; "
            "seal the last epoch (train.monitor=train_epochs), or set split.val above 0"
        )


def _of_model(run: RunSettings) -> Iterator[str]:
    if run.input.channels == "grey" and (run.augment.saturation or run.augment.hue):
        yield "augment.saturation and augment.hue change colours; with input.channels=grey set them to 0"
    if run.model.batch_norm and run.model.name != "scratch_cnn":
        yield f"model.batch_norm is an option of scratch_cnn, not of {run.model.name}"
    if without_library(run.model.name) and run.model.weights == "imagenet":
        yield f"{run.model.name} has no imagenet weights; leave them out, or name a run or a file"
    if run.loss.name == "soft_f1" and run.train.accumulate > 1:
        yield "loss.name=soft_f1 is a figure of the whole batch; set train.accumulate=1"


def _of_stages(run: RunSettings) -> Iterator[str]:
    stages = run.train.stages
    for stage in stages:
        optim, given = with_given(run.optim, stage.optim), stage.optim.model_fields_set if stage.optim else ()
        if optim.sam_rho and run.train.accumulate > 1:
            yield "optim.sam_rho climbs from the gradient of a whole batch; set train.accumulate=1"
        if optim.sam_adaptive and not optim.sam_rho:
            yield "optim.sam_adaptive is a kind of SAM; give optim.sam_rho, such as 0.5"
        if stage.freeze == "backbone" and "lr" in given and optim.head_lr:
            yield (
                f"stage '{stage.name}': the backbone is frozen and optim.head_lr is the head's rate, so that the "
                "stage's optim.lr is of nothing; give it as head_lr"
            )
        try:
            with_given(run.schedule, stage.schedule)
        except ConfigError as error:
            yield f"stage '{stage.name}': {str(error).removesuffix('.')}"
    averaged = [stage for stage in stages if trains_on_own(stage)][-1:] if run.train.swa else []
    if "plateau" in _schedules(run, averaged) and run.train.swa_lr is None:
        yield (
            "schedule.name=plateau would go on to lower the rate that train.swa holds constant; give "
            "train.swa_lr, or another schedule"
        )
    if run.train.compile and all(stage.views is not None for stage in stages):
        yield "train.compile is of pictures, and every stage learns from features (views); leave it out"


def _of_balance(run: RunSettings) -> Iterator[str]:
    to = run.data.balance_to
    often = "train.sampler=class_aware" if run.train.sampler == "class_aware" else f"data.balance_to={to}"
    if (
        (to is not None or run.train.sampler == "class_aware")
        and run.loss.name == "soft_f1"
        and any(stage.solve for stage in run.train.stages)
    ):
        yield (
            f"{often} weights the rows of a solved head, and loss.name=soft_f1 has none to weight; leave "
            "out one of the two, or the stages with solve (train.stages=[{name: all}])"
        )
    if to is None:
        return
    if run.train.sampler == "class_aware":
        yield (f"data.balance_to={to} and train.sampler=class_aware both decide how often a class comes; leave one out")


def _of_mixing(run: RunSettings) -> Iterator[str]:
    cached = [stage.name for stage in run.train.stages if stage.views is not None and not stage.solve]
    if cached and run.mix.name in ("cutmix", "both"):
        yield (
            f"mix.name={run.mix.name}: the stage '{cached[0]}' learns from cached features, which CutMix cannot "
            "mix; leave its views out, or use mix.name=mixup"
        )


def _of_labels(run: RunSettings) -> Iterator[str]:
    if why := why_not_labels(run.model_dump()):
        yield why


def _of_folds(run: RunSettings) -> Iterator[str]:
    k, final = run.folds.k, run.folds.final
    if k is None:
        if final != "ensemble":
            yield f"folds.final={final} is the final model of several folds; give folds.k too (--folds 5)"
        if run.folds.column is not None:
            yield f"folds.column={run.folds.column} says the fold of each row; give their number too (--folds 5)"
        return
    if run.split.val != SplitSettings().val:
        yield (
            f"split.val={run.split.val:g} has no effect with folds.k={k}: each fold is the validation of one run; "
            "leave split.val out"
        )
    if run.folds.column is not None and run.split.stratify is not None:
        yield f"folds.column={run.folds.column} decides the folds, and split.stratify would have no effect; give one"
    if other := next((stage for stage in run.train.stages if stage.rows != "train"), None):
        yield (
            f"stage '{other.name}': rows: {other.rows} would let a run learn from its own fold (folds.k={k}), "
            "which is to stay unseen; leave rows out. A final run on all rows: folds.final=refit"
        )
    names = [stage.name for stage in run.train.stages]
    if final == "refit" and len(set(names)) < len(names):
        yield "folds.final=refit counts the epochs of each stage by its name; give each its own"
    if final == "refit" and "plateau" in _schedules(run, run.train.stages):
        yield (
            "schedule.name=plateau follows a validation figure, and a refit has none; use folds.final=ensemble, "
            "or another schedule"
        )


def _of_group_dro(run: RunSettings) -> Iterator[str]:
    stages, monitor = run.train.stages, run.train.monitor
    if not run.loss.group_dro:
        if monitor == "worst_group_accuracy":
            yield "train.monitor=worst_group_accuracy: there are no groups; name them in loss.group_dro"
        return
    if run.mix.name != "none":
        yield f"loss.group_dro: a row made of two (mix.name={run.mix.name}) has no group; leave one out"
    if any(with_given(run.optim, stage.optim).sam_rho for stage in stages):
        yield "loss.group_dro and optim.sam_rho both go twice their own way through a batch; choose one"
    if all(stage.solve for stage in stages):
        yield "loss.group_dro moves with each batch, and a solved head has none; add a stage without solve"
    if other := next((stage for stage in stages if stage.rows != "train"), None):
        yield f"loss.group_dro: stage '{other.name}' learns from other rows; leave rows out"


def _of_decision(run: RunSettings) -> Iterator[str]:
    if run.decision.tau is None:
        return
    without = "so that there is no prior to take from its answers; leave one of the two out"
    if run.loss.group_dro:
        yield f"decision.tau: under loss.group_dro the classes weigh as the groups' losses move them, {without}"
    if run.loss.name == "soft_f1":
        yield f"decision.tau: loss.name=soft_f1 learns figures of batches and no probabilities, {without}"


def _schedules(run: RunSettings, stages: list[Stage]) -> list[str]:
    return [with_given(run.schedule, stage.schedule).name for stage in stages]
