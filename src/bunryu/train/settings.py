"""Settings of the train room: the loop, its stages, optimiser, schedule, loss and augmentation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, field_serializer, model_validator

from bunryu.config import Settings, Size, parse_size
from bunryu.errors import count

Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
Range = tuple[float, float]
S = TypeVar("S", bound=Settings)
_SOME_KEYS = Field(json_schema_extra={"type": "{key: value} | null"})

Monitor = Literal[
    "macro_f1",
    "accuracy",
    "weighted_f1",
    "macro_precision",
    "macro_recall",
    "loss",
    "roc_auc",
    "positive_precision",
    "positive_recall",
    "positive_f1",
    "train_loss",
    "train_accuracy",
    "train_epochs",
]
LOWER_IS_BETTER = ("loss", "train_loss")


class OptimSettings(Settings):
    """The optimiser, from timm's factory."""

    name: Literal[
        "adamw", "adam", "sgd", "rmsprop", "nadam", "nadamw", "radam", "adamp", "adabelief", "adan",
        "lamb", "lars", "lion", "novograd", "sgdp", "madgrad", "adafactor",
    ] = "adamw"  # fmt: skip
    """The optimisers of timm's factory: adamw, adam, sgd (Nesterov momentum), rmsprop, nadam, lamb (for large batches),
    lion, adan and so on."""
    lr: Positive = 1e-3
    """Learning rate of everything but the head, at its peak."""
    head_lr: Positive | None = None
    """Learning rate of the head; optim.lr when null."""
    weight_decay: NotNegative = 0.01
    """Weight decay; never on biases, norms and other one-dimensional parameters."""
    layer_decay: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """The rate of each block of the backbone is this times that of the block after it (Clark et al. 2020; Bao et al.
    2022); 1: one rate for all."""
    momentum: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.9
    """Momentum of sgd and rmsprop (used by those two alone)."""


class ScheduleSettings(Settings):
    """How the learning rate moves within a stage."""

    name: Literal["cosine", "step", "multistep", "exponential", "one_cycle", "plateau", "constant"] = "cosine"
    """cosine to nearly 0; step: times gamma every step_epochs; multistep: times gamma at milestones; exponential: times
    gamma every epoch; one_cycle: from 1/25 up over 30 % of the stage and down to nearly 0, with no other warm-up;
    plateau: times gamma after plateau_patience epochs without improvement of train.monitor; constant."""
    warmup_epochs: NotNegative = 0.0
    """Epochs (or a part of one) of linear warm-up at the start of each stage: 4 updates at least, half of the stage
    at most; none when 0."""
    gamma: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.1
    """Factor of step, multistep, exponential and plateau."""
    step_epochs: Count = 10
    """Epochs between two drops of step."""
    milestones: list[Count] = []
    """Epochs of the stage at which multistep drops."""
    plateau_patience: Count = 3
    """Epochs without improvement before plateau drops."""

    @model_validator(mode="after")
    def _milestones_given(self) -> ScheduleSettings:
        if self.name == "multistep" and not self.milestones:
            raise ValueError("schedule.name=multistep needs schedule.milestones, such as [10, 20]")
        return self


class Stage(Settings):
    """One stretch of training. A run is a list of them."""

    name: str
    """What the history, the curves and the stage's checkpoint call it; without / and \\."""
    freeze: Literal["none", "statistics", "backbone"] = "none"
    """What does not learn. backbone: all of it, wholly in eval mode (BatchNorm, dropout, drop path). statistics: the
    running mean and variance of BatchNorm alone, which then trains with those it validates with."""
    train_blocks: Count | None = None
    """Train the last so many blocks of the backbone and the head, and freeze all before them, wholly in eval mode; with
    freeze none or statistics. A block is a residual block, an encoder layer, ...: the units of optim.layer_decay. The
    whole backbone when null."""
    epochs: Annotated[float, Field(gt=0)] | None = None
    """Epochs; below 1, a share of train.epochs. When null, what the other stages leave of train.epochs."""
    views: Annotated[int, Field(ge=0)] | None = None
    """With freeze=backbone: run the backbone once over so many augmented views of each picture, and train the head
    on those features, which is many times faster. 0: the pictures as validation sees them. When null the backbone
    runs anew in each epoch, on new augmentation."""

    solve: bool = False
    """With views: solve the head on the features to its optimum (L-BFGS) instead of training it: one epoch, in
    addition to train.epochs."""
    sizes: list[Annotated[Size, BeforeValidator(parse_size)]] | None = None
    """Train at these sizes in turn, from small to full, over equal shares of the stage's epochs: fewer pixels while
    much is still to be learned (Tan & Le 2021). With fewer epochs than sizes the first are left out. Validation is
    always at input.size. When null, input.size."""
    optim: Annotated[OptimSettings | None, _SOME_KEYS] = None
    """What differs from the run's optim in this stage, such as {name: adam, lr: 1e-4}."""
    schedule: Annotated[ScheduleSettings | None, _SOME_KEYS] = None
    """What differs from the run's schedule in this stage, such as {name: constant}."""
    patience: Count | None = None
    """In place of train.patience."""
    rows: Literal["train", "val", "all"] = "train"
    """What a last stage learns from. val: from the validation rows, and validates on the training rows (roles swapped);
    all: from both, and validates on the validation rows. Figures of validation are not clean from there on: the best
    epoch is one before it, and the sealed model has the last epoch's weights."""

    @field_serializer("optim", "schedule")
    def _only_what_differs(self, given: Settings | None) -> dict[str, Any] | None:
        return None if given is None else given.model_dump(exclude_unset=True)

    @model_validator(mode="after")
    def _used(self) -> Stage:
        if not self.name.strip(". ") or set(self.name) & set("/\\\0"):
            raise ValueError(f"expected a name that a file can have, without / and \\, received {self.name!r}")
        if self.solve and (self.optim or self.schedule or self.patience):
            raise ValueError(f"stage '{self.name}': a solved head needs no optim, schedule or patience; leave them out")
        if self.rows != "train" and self.patience:
            raise ValueError(f"stage '{self.name}': rows: {self.rows} leaves patience no clean figure; leave it out")
        if self.freeze == "backbone" and self.optim and "layer_decay" in self.optim.model_fields_set:
            raise ValueError(f"stage '{self.name}': the backbone is frozen; leave out optim.layer_decay")
        return self

    @model_validator(mode="after")
    def _views_of_a_frozen_backbone(self) -> Stage:
        if self.views is not None and self.freeze != "backbone":
            raise ValueError(f"stage '{self.name}': views needs freeze: backbone; features of a net that learns change")
        if self.train_blocks is not None and self.freeze == "backbone":
            raise ValueError(f"stage '{self.name}': freeze: backbone trains no block; leave out one of the two")
        if self.solve and (self.views is None or self.epochs not in (None, 1)):
            raise ValueError(f"stage '{self.name}': solve needs views: 0 (or more) and epochs: 1")
        if self.views is not None and self.sizes is not None:
            raise ValueError(f"stage '{self.name}': views are of one size, input.size; leave sizes out")
        return self

    @model_validator(mode="after")
    def _whole_epochs(self) -> Stage:
        if self.epochs is not None and self.epochs >= 1 and self.epochs != int(self.epochs):
            raise ValueError(f"stage '{self.name}': epochs is a whole number or a share below 1, not {self.epochs}")
        return self


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
    monitor: Monitor = "macro_f1"
    """The validation figure (or train_loss, train_accuracy) that chooses the best epoch and stops early;
    roc_auc and positive_* for two classes; train_epochs: nothing is chosen, the last epoch counts. Of epochs with the
    same figure the one with the lower loss is best."""
    sampler: Literal["shuffle", "class_aware"] = "shuffle"
    """shuffle: each row once an epoch. class_aware: as many rows, but each class in proportion to (its rows) to the
    power of sampler_power, spread evenly over the batches (Shen et al. 2016); what comes again is augmented anew."""
    sampler_power: Annotated[float, Field(ge=0.0, le=1.0)] = 0.0
    """Of class_aware: 0 for classes equally often, 1 for as often as they are, 0.5 between (Mahajan et al. 2018)."""
    patience: Count | None = None
    """Stop a stage after so many epochs without improvement, counted from where it is at its full size; never when
    null. A stage may say its own."""
    min_improvement: NotNegative = 0.0
    """An epoch is better only if the monitored figure improves by more than this."""
    ema: Annotated[float, Field(gt=0.0, lt=1.0)] | None = None
    """Keep an exponential moving average of the weights with this decay, such as 0.999, warmed up over the first
    updates; it is what is validated and sealed. None is kept when null."""
    clip_norm: Positive | None = 5.0
    """Largest norm of the gradient; not clipped when null."""
    device: Literal["auto", "cuda", "mps", "cpu"] = "auto"
    """Where to train. auto: cuda, else mps, else cpu; said at the start."""
    precision: Literal["auto", "fp32", "bf16", "fp16"] = "auto"
    """Arithmetic of the forward pass. auto, a fixed rule: see docs/training.md. Sealed in the model."""
    compile: bool = False
    """Have torch.compile write kernels for the forward and backward pass of pictures. The first step then takes a
    minute or more, once for each size; it pays on a GPU in a long run. Needs a C++ compiler."""
    threads: Count | None = None
    """Threads of each operation on the CPU; torch's choice when null. Recorded, and obeyed on resume."""
    checkpoint_minutes: Positive = 5.0
    """A checkpoint is saved at each epoch's end, and after so many minutes within one."""

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


def with_given(whole: S, given: S | None) -> S:
    """Return settings with what a stage says of them, which may be a few keys."""
    if given is None:
        return whole
    return whole.model_copy(update={name: getattr(given, name) for name in given.model_fields_set})


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


def size_at(sizes: list[Size], epoch: int, epochs: int) -> Size:
    """Return the size of an epoch (from 0) of a stage: equal shares, and the last epoch always has the last size."""
    return sizes[-1 - (epochs - 1 - epoch) * len(sizes) // epochs]


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
    row's share is below tau, and likewise the other way round."""
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
    """Share of the target spread evenly over all classes (Szegedy et al. 2016). Not with soft_f1."""
    class_weights: Literal["balanced", "effective"] | dict[str, Positive] | None = None
    """balanced (by inverse counts in the training rows), effective (by the effective number of samples, Cui et al.
    2019; see beta), or {class: weight}; all equal when null. Scaled so that the mean weight of a training row is 1.
    Not with soft_f1."""
    gamma: NotNegative = 2.0
    """Of focal: how much less rows count that are answered well; 0 is cross-entropy."""
    beta: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.999
    """Of class_weights=effective: towards 1 the weights come near those of balanced, at 0 they are equal."""
    tau: NotNegative = 1.0
    """Of logit_adjusted: how much of log(prior) is added; 0 is cross-entropy."""

    @model_validator(mode="after")
    def _of_the_batch(self) -> LossSettings:
        if self.name == "soft_f1" and (self.label_smoothing or self.class_weights is not None):
            raise ValueError("loss.name=soft_f1 has no rows to weight or smooth; leave class_weights and smoothing out")
        return self
