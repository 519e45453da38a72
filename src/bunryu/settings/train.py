"""Settings of training: the loop, the loss and mixing; `stages` has those of a stage."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from bunryu.core.errors import count
from bunryu.settings.config import Settings
from bunryu.settings.stages import (
    AverageStage,
    Count,
    NotNegative,
    Positive,
    Stage,
    trains_on_own,
)

Range = tuple[float, float]

Monitor = Literal[
    "auto",
    "macro_f1",
    "mean_macro_f1",
    "accuracy",
    "weighted_f1",
    "macro_precision",
    "macro_recall",
    "loss",
    "roc_auc",
    "worst_group_accuracy",
    "positive_precision",
    "positive_recall",
    "positive_f1",
    "micro_f1",
    "mean_average_precision",
    "train_loss",
    "train_accuracy",
    "train_epochs",
]
LOWER_IS_BETTER = ("loss", "train_loss")


class TrainSettings(Settings):
    """The loop."""

    epochs: Count = 12
    """Passes over the training rows, in all stages together (a solved head comes in addition)."""
    batch_size: Count = 32
    """Rows in one forward pass. A last single row joins the batch before it. Of several processes (torchrun) each
    takes its part of these rows: the number is that of all of them together."""
    accumulate: Count = 1
    """Batches whose gradients are added up before each update; the effective batch is the product."""
    seed: int = 0
    """Seed of every draw in training: order, augmentation, dropout, new weights."""
    stages: list[Stage] = [Stage(name="all")]
    """The stages, in order; the keys of each are in the last table."""
    monitor: Monitor = "auto"
    """The validation figure that chooses the best epoch and stops early. auto: macro_f1, and of several label columns
    mean_macro_f1, the mean of the macro-F1 of each (macro_f1 is that of their combinations);
    roc_auc and positive_* for two classes; micro_f1 and mean_average_precision for data.multi_label;
    worst_group_accuracy with loss.group_dro; train_epochs: nothing is chosen, the last epoch counts; train_loss and
    train_accuracy compare the last epochs that learn alike (one stage, one size, mixed or not). Of epochs with the same
    figure the one with the lower loss is best."""
    sampler: Literal["shuffle", "class_aware"] = "shuffle"
    """shuffle: each row once an epoch. class_aware: as many rows, but each class in proportion to (its rows) to the
    power of sampler_power, spread evenly over the batches (Shen et al. 2016); what comes again is augmented anew. Class
    weights and priors count the rows as an epoch then shows them."""
    sampler_power: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Of class_aware: 0 for classes equally often, 1 for as often as they are, 0.5 between (Mahajan et al. 2018)."""
    patience: Count | None = None
    """Early stopping: a stage ends after so many epochs without improvement, counted from where it is at its full
    size; never when null. A stage may say its own."""
    min_improvement: NotNegative = 0.0
    """An epoch is better only if the monitored figure improves by more than this."""
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Keep an exponential moving average of the weights with this decay, such as 0.999, warmed up over the first
    updates; it is what is validated and sealed. None is kept when null."""
    swa: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Average the weights that the last epochs of the last stage end with, this share of its epochs, such as 0.25
    (SWA, Izmailov et al. 2018). One epoch more, in addition to train.epochs, computes BatchNorm's statistics for the
    average and validates it: one more candidate for the best. Not with train.ema or patience."""
    swa_lr: Positive | None = None
    """Of swa: what optim.lr is while weights are collected, constant; the other rates keep their proportion to it. When
    null, what the schedule has come to where that begins."""
    clip_norm: Positive | None = 5.0
    """Largest norm of the gradient; not clipped when null."""
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Where to train. auto: cuda, else mps, else cpu; said at the start."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass. auto, a fixed rule: see docs/training/precision-and-speed.md. Sealed in the
    model."""
    compile: bool = False
    """Have torch.compile write kernels for the forward and backward pass of pictures. The first step then takes a
    minute or more, once for each size; it pays on a GPU in a long run. Needs a C++ compiler."""
    threads: Count | None = None
    """Threads of each operation on the CPU; torch's choice when null. Recorded, and obeyed on resume."""
    checkpoint_minutes: Positive = 5.0
    """A checkpoint is saved at each epoch's end, and after so many minutes within one."""
    tensorboard: bool = False
    """Also write the figures of each epoch, and the first augmented batch, to RUN/tensorboard (pip install
    'bunryu[tensorboard]')."""

    @model_validator(mode="after")
    def _epochs_fit(self) -> TrainSettings:
        if not self.stages:
            raise ValueError("train.stages must name at least one stage")
        stage_epochs(self)
        return self

    @model_validator(mode="after")
    def _other_rows_last(self) -> TrainSettings:
        other = [stage for stage in self.stages if stage.rows != "train"]
        if other and (other == self.stages or other != self.stages[-len(other) :]):
            raise ValueError(
                f"stage '{other[0].name}': rows: {other[0].rows} is for the last stages, after one on training rows; "
                "no later figure of validation is clean, to choose the best epoch by"
            )
        return self

    @model_validator(mode="after")
    def _averaged(self) -> TrainSettings:
        if self.swa is None:
            if self.swa_lr is not None:
                raise ValueError("train.swa_lr is the rate of train.swa; give both, such as train.swa=0.25")
            return self
        if self.ema is not None:
            raise ValueError("train.swa and train.ema both average weights; set train.ema=null or leave out train.swa")
        if self.patience or any(stage.patience for stage in self.stages):
            raise ValueError("train.swa averages a stage's last epochs, which patience may cut off; leave out one")
        if any(stage.name == "swa" for stage in self.stages):
            raise ValueError("train.swa adds a stage that is called swa, and there is one; call yours otherwise")
        both = zip(self.stages, stage_epochs(self), strict=True)
        epochs = [epochs for stage, epochs in both if epochs and trains_on_own(stage)][-1:] or [0]
        if round(self.swa * epochs[0]) < 2:
            raise ValueError(
                f"train.swa={self.swa:g} of the last stage's {count(epochs[0], 'epoch')} is no average; two epochs at "
                "least are needed: more epochs, or a larger share"
            )
        return self

    @model_validator(mode="after")
    def _one_backbone(self) -> TrainSettings:
        learns = False
        for stage in self.stages:
            if self.ema and learns and stage.views is not None:
                raise ValueError(
                    f"stage '{stage.name}': views are features of the backbone as trained, but train.ema validates and "
                    "seals its average. Leave out one of the two, or put the stage before those that train the backbone"
                )
            learns |= stage.freeze != "backbone"
        return self


def averaged_epochs(settings: TrainSettings, stage: Stage) -> int:
    """Return how many of the stage's last epochs `train.swa` averages."""
    return round((settings.swa or 0.0) * int(stage.epochs or 0))


def with_average(stages: list[Stage], settings: TrainSettings) -> list[Stage]:
    """Return the stages, after the last one that trains on the training rows also the average where it is wanted."""
    if settings.swa is None:
        return stages
    last = max(i for i, stage in enumerate(stages) if trains_on_own(stage))
    given = {"name": "swa", "epochs": 1, "sizes": None, "optim": None, "schedule": None}
    average = AverageStage(**stages[last].model_dump() | given)
    return [*stages[: last + 1], average, *stages[last + 1 :]]


def stage_epochs(settings: TrainSettings) -> list[int]:
    """Return the epochs of each stage: whole numbers as given, shares rounded, the rest to the stage without.

    A solved head is one epoch in addition to train.epochs: nothing is trained in it.

    Raises:
        ValueError: the stages do not fit train.epochs.
    """
    total = settings.epochs
    trained = [stage for stage in settings.stages if not stage.solve]
    epochs = [
        None if stage.epochs is None else round(stage.epochs * total) if stage.epochs < 1 else int(stage.epochs)
        for stage in trained
    ]
    open_stages = [stage.name for stage, number in zip(trained, epochs, strict=True) if number is None]
    given = sum(number for number in epochs if number is not None)
    if len(open_stages) > 1:
        raise ValueError(f"only one stage may leave epochs open; received {' and '.join(open_stages)}")
    if trained and ((open_stages and given >= total) or (not open_stages and given != total)):
        told = f"leaving none for {open_stages[0]}" if open_stages else "all of them together"
        raise ValueError(
            f"the stages take {count(given, 'epoch')}, {told}; train.epochs is {total}. Change one of them"
        )
    whole = iter(total - given if number is None else number for number in epochs)
    return [1 if stage.solve else next(whole) for stage in settings.stages]


class MixSettings(Settings):
    """Two training rows of a batch made into one."""

    name: Literal["none", "mixup", "cutmix", "both"] = "none"
    """mixup (Zhang et al. 2018), cutmix (Yun et al. 2019), both: one or the other, batch by batch. On cached features
    (a stage with views) mixup is manifold mixup (Verma et al. 2019), cutmix is refused. A solved head is not mixed."""
    probability: Annotated[float, Field(ge=0.0, le=1.0)] = 1.0
    """Chance that a batch is mixed."""
    alpha: Positive = 0.2
    """The share of the first row is drawn from Beta(alpha, alpha); this one of mixup."""
    cutmix_alpha: Positive = 1.0
    """The same of cutmix."""
    cutmix_share: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Of both: the chance that it is cutmix."""
    end_epoch: Count | None = None
    """The last epoch of the run that is mixed; all are when null."""
    remix: bool = False
    """ReMix (Chou et al. 2020): the whole label goes to the second class where it is kappa times rarer and the first
    row's share is below tau, and likewise the other way round. Class weights and priors count the labels as they then
    are."""
    kappa: Annotated[float, Field(ge=1.0)] = 3.0
    """Of remix: how many times rarer a class must be to get the whole label."""
    tau: Annotated[float, Field(ge=0.0, le=1.0)] = 0.5
    """Of remix: the share below which the more frequent class loses its part of the label."""

    @model_validator(mode="after")
    def _used(self) -> MixSettings:
        if self.remix and self.name == "none":
            raise ValueError("mix.remix corrects the labels of mixed rows; give mix.name=mixup, cutmix or both")
        return self


class LossSettings(Settings):
    """What is minimised."""

    name: Literal["cross_entropy", "focal", "logit_adjusted", "soft_f1"] = "cross_entropy"
    """cross_entropy; focal (Lin et al. 2017; with class_weights=effective the class-balanced focal loss);
    logit_adjusted: cross-entropy after adding tau log(prior) to the logits in training alone (Menon et al. 2021);
    soft_f1: 1 - macro-F1 of the whole batch, with probabilities for counts."""
    label_smoothing: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Share of the target, as the row weighs, spread evenly over all classes (Szegedy et al. 2016); of logit_adjusted
    over what is answered, so that a picture that says nothing gets equal probabilities with tau 1. Not with soft_f1."""
    class_weights: Literal["balanced", "effective"] | dict[str, Positive] | None = None
    """balanced (by inverse counts of an epoch's labels), effective (by the effective number of samples, Cui
    et al. 2019; see beta), or {class: weight}; all equal when null. Scaled so that the mean weight of a row is 1. Not
    with soft_f1."""
    gamma: NotNegative = 2.0
    """Of focal: how much less rows count that are answered well; 0 is cross-entropy."""
    beta: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """Of class_weights=effective: towards 1 the weights come near those of balanced, at 0 they are equal."""
    group_dro: list[str] = []
    """Group DRO (Sagawa et al. 2020): the columns whose values, together, make the groups, such as [background, label].
    The loss of a batch is then a weighted mean of its groups' losses, the weights moving to the groups that do worst.
    Figures by group are reported; train.monitor=worst_group_accuracy chooses by them."""
    group_dro_eta: Positive = 0.01
    """Of group_dro: the step size of the groups' weights."""
    group_dro_adjustment: NotNegative = 0.0
    """Of group_dro: this over the root of its training rows is added to a group's loss before it moves the weights (C
    of the paper), since small groups are fitted more closely than others like them."""
    tau: NotNegative = 1.0
    """Of logit_adjusted: how much of log(prior) is added; 0 is cross-entropy. The prior is the share of each class in
    an epoch's labels, sampler, copies, ReMix and class weights counted."""

    @model_validator(mode="after")
    def _of_the_batch(self) -> LossSettings:
        if self.name == "soft_f1" and (self.label_smoothing or self.class_weights is not None):
            raise ValueError("loss.name=soft_f1 has no rows to weight or smooth; leave class_weights and smoothing out")
        if self.name == "soft_f1" and self.group_dro:
            raise ValueError("loss.group_dro weighs the losses of groups of rows, and loss.name=soft_f1 has none a row")
        for name in ("group_dro_eta", "group_dro_adjustment"):
            if not self.group_dro and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"loss.{name} is of group DRO; give loss.group_dro=[COLUMN, ...] too")
        return self
