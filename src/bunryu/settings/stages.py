"""Settings of one stage: what it trains, on which rows, with which optimiser and schedule."""

from __future__ import annotations

from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, field_serializer, model_validator

from bunryu.settings.config import Settings, Size, parse_size
from bunryu.settings.validate import replaced

Positive = Annotated[float, Field(gt=0.0)]
NotNegative = Annotated[float, Field(ge=0.0)]
Count = Annotated[int, Field(ge=1)]
S = TypeVar("S", bound=Settings)
_SOME_KEYS = Field(json_schema_extra={"type": "{key: value} | null"})


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
    sam_rho: NotNegative = 0.0
    """Sharpness-aware minimisation (SAM, Foret et al. 2021): the gradient is taken at the worst weights within this
    distance, such as 0.05, in a second pass; a step takes twice as long. Off when 0."""
    sam_adaptive: bool = False
    """Of sam_rho: distance relative to the weights (ASAM, Kwon et al. 2021), with a rho such as 0.5."""


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


class AverageStage(Stage):
    """The stage that `train.swa` adds: no learning, but the average of the stage before made ready and validated."""


def trains_on_own(stage: Stage) -> bool:
    """Return whether it trains, and on the training rows."""
    return not stage.solve and stage.rows == "train"


def with_given(whole: S, given: S | None) -> S:
    """Return settings with what a stage says of them, which may be a few keys."""
    if given is None:
        return whole
    return replaced(whole, {name: getattr(given, name) for name in given.model_fields_set})


def size_at(sizes: list[Size], epoch: int, epochs: int) -> Size:
    """Return the size of an epoch (from 0) of a stage: equal shares, and the last epoch always has the last size."""
    return sizes[-1 - (epochs - 1 - epoch) * len(sizes) // epochs]
