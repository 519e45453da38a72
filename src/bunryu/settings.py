"""All settings of a run: each room's own `settings.py`, joined. Free of torch, so that errors are quick."""

from __future__ import annotations

from pydantic import model_validator

from bunryu.config import Settings
from bunryu.data.settings import DataSettings, DecodeSettings, InputSettings, SplitSettings
from bunryu.evaluate.settings import EvaluateSettings
from bunryu.models.settings import ModelSettings
from bunryu.train.settings import (
    AugmentSettings,
    LossSettings,
    OptimSettings,
    ScheduleSettings,
    TrainSettings,
)


class RunSettings(Settings):
    """Everything that decides a run; `config.yaml` in the run folder holds it whole."""

    name: str | None = None
    """The run folder is runs/NAME-N; the name of the data when null."""
    recipe: str = "default"
    """The recipe these settings started from."""
    data: DataSettings = DataSettings()
    split: SplitSettings = SplitSettings()
    decode: DecodeSettings = DecodeSettings()
    input: InputSettings = InputSettings()
    model: ModelSettings = ModelSettings()
    train: TrainSettings = TrainSettings()
    optim: OptimSettings = OptimSettings()
    schedule: ScheduleSettings = ScheduleSettings()
    loss: LossSettings = LossSettings()
    augment: AugmentSettings = AugmentSettings()
    evaluate: EvaluateSettings = EvaluateSettings()

    @model_validator(mode="after")
    def _combinations(self) -> RunSettings:
        if self.input.channels == "grey" and (self.augment.saturation or self.augment.hue):
            raise ValueError("augment.saturation and augment.hue change colours; with input.channels=grey set them to 0")
        scratch = self.model.name == "scratch_cnn"
        if self.model.batch_norm and not scratch:
            raise ValueError(f"model.batch_norm is an option of scratch_cnn, not of {self.model.name}")
        if scratch and self.model.weights == "imagenet":
            raise ValueError("scratch_cnn has no imagenet weights; leave model.weights out, or name a run or a file")
        if self.split.val == 0 and not self.train.monitor.startswith("train_") and self._no_validation():
            raise ValueError(
                f"split.val=0 leaves nothing to compute train.monitor={self.train.monitor} on; "
                "set train.monitor=train_loss, or split.val above 0"
            )
        return self

    def _no_validation(self) -> bool:
        return self.data.val_dir is None and self.split.file is None and self.data.split_column is None
