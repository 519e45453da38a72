"""Settings of the data room: where images come from, how they are split, decoded and fitted."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

from bunryu.settings.bounds import MOST_MIDDLE, MOST_SIDE, Colour, Fraction, Mean, Middle, Side, Std
from bunryu.settings.config import Range, Settings, Size, parse_size
from bunryu.settings.label_pattern import label_pattern


def _as_list(value: Any) -> Any:
    """Take one name for a list of it."""
    return [value] if isinstance(value, str) else value


class DataSettings(Settings):
    """Where the images and labels come from."""

    source: str | None = None
    """A folder of class folders, a folder with train/val/test, or a CSV or TSV file. The DATA argument."""
    train: str | None = None
    """A tree of class folders or a CSV to train on, where train, val and test lie apart (--train-dir)."""
    val: str | None = None
    """A tree of class folders or a CSV to validate on (--val-dir)."""
    test: str | None = None
    """A tree of class folders or a CSV to test on (--test-dir)."""
    image_root: str | None = None
    """The folder that paths in a CSV are relative to; the CSV's own folder when null."""
    path_column: str | None = None
    """The CSV column with image paths; found by its name when null."""
    label_column: str | None = None
    """The CSV column with class labels; found by its name when null."""
    label_columns: list[str] | None = None
    """Several label columns, such as [mask, gender, age]: their values together make the class (worn+male+under30),
    and every column is measured for itself. See model.heads. Of person folders: all three when null."""
    multi_label: Annotated[list[str], BeforeValidator(_as_list), Field(min_length=1)] | None = None
    """Labels that can hold together: several columns of yes and no (1 and 0, true and false), such as [smiling,
    glasses, hat], each learned by a sigmoid with a threshold of its own; or one column whose cells list labels
    (smiling|glasses; an empty cell: none)."""
    label_separator: Annotated[str, Field(min_length=1)] | None = None
    """What stands between the labels in a cell, where data.multi_label is one column; | when null."""
    rename_labels: dict[str, str] | None = None
    """Labels under another name, such as {cats: cat}: two spellings become one class. Labels that there are not are
    refused, and so is a new name that is itself renamed. Labels that may be one are named before training; none are
    made one unless it is said here."""
    group_column: str | None = None
    """The CSV column whose equal values must never be on two sides of a split, such as a person; found by its name
    when null (group, person, subject, patient, also with _id); none: no groups."""
    split_column: str | None = None
    """The CSV column that says train, val or test; found by its name when null."""
    layout: Literal["auto", "classes", "nested", "persons"] = "auto"
    """What folders are (below train, val and test, if there are such). classes: one a class, with all folders in it.
    nested: the innermost folder of each image is its class. persons: ID_GENDER_RACE_AGE/ with mask1 to mask5,
    incorrect_mask and normal, as mask competitions have them. auto: persons where most of them are named so, else
    classes; where nested may be meant as well, it is asked."""
    label_pattern: str | None = None
    """Where the label stands in the names of files: {label}.* for cat.1.jpg. A template with {label} and, if wanted,
    {split} and {group}; * is any text, # a number, ** any folders too; it is held against the name without its
    ending, or with a / in it against the whole path: {label}/{group}/**. Without {label} a regular expression with
    one group, which is searched in the path."""
    check: Literal["full", "header", "none"] = "full"
    """How images are checked once before training: decode all of each, read its header, or not at all."""
    on_leak: Literal["stop", "continue"] = "stop"
    """What to do when the same picture is in two given splits."""
    max_megapixels: Annotated[float, Field(gt=0)] = 50.0
    """Images with more pixels (in millions) are refused before any memory is taken for them."""
    workers: Annotated[int, Field(ge=1)] | None = None
    """Threads that decode images; the number of cores when null."""
    cache_gb: Annotated[float, Field(ge=0.0)] = 10.0
    """Disk space in GB, in the user's cache folder, for features of frozen backbones and for decoded pictures, so
    that the next run starts at once; the longest unused are removed. Nothing is kept when 0."""
    balance_to: Annotated[int, Field(ge=1)] | None = None
    """Augmented copies of training rows are added in each epoch until every class has so many rows; the originals stay,
    and so do classes with more. Nothing is written to disk. Not with train.sampler=class_aware."""
    pixel_cache: Literal["auto", "on", "off"] = "auto"
    """Decode each picture once and keep its fitted pixels for later epochs and runs. Training is the same, bit for
    bit. auto: where the originals have 1 MP or more on average and are read in more than one epoch."""

    @model_validator(mode="after")
    def _readable_pattern(self) -> DataSettings:
        if self.label_pattern is not None:
            label_pattern(self.label_pattern)
        return self

    @model_validator(mode="after")
    def _renamed_once(self) -> DataSettings:
        names = self.rename_labels or {}
        if empty := next((old for old, new in names.items() if not new.strip()), None):
            raise ValueError(f"data.rename_labels gives {empty!r} an empty name; remove its rows instead")
        if chain := next(((old, new) for old, new in names.items() if names.get(new, new) != new), None):
            old, new = chain
            raise ValueError(
                f"data.rename_labels makes {new!r} of {old!r}, and {names[new]!r} of {new!r}; give each label the name "
                f"that it is to have in the end, such as {{{old}: {names[new]}, {new}: {names[new]}}} (two names that "
                "change places: rename them in the data)"
            )
        return self

    @model_validator(mode="after")
    def _labels_once(self) -> DataSettings:
        if self.label_column is not None and self.label_columns is not None:
            raise ValueError("give data.label_column (one) or data.label_columns (several), not both")
        if self.label_columns is not None and len(self.label_columns) < 2:
            raise ValueError(
                f"data.label_columns joins two columns or more, received {self.label_columns}; one is data.label_column"
            )
        if self.label_columns is not None and len(set(self.label_columns)) < len(self.label_columns):
            raise ValueError(f"data.label_columns names a column twice: {self.label_columns}")
        return self

    @model_validator(mode="after")
    def _labels_together(self) -> DataSettings:
        several = self.multi_label or []
        if several and (self.label_column is not None or self.label_columns is not None):
            given = "label_column" if self.label_column is not None else "label_columns"
            raise ValueError(
                f"data.multi_label (labels that can hold together) and data.{given} (classes that exclude each other) "
                "came both; give one"
            )
        if len(set(several)) < len(several):
            raise ValueError(f"data.multi_label names a column twice: {several}")
        if self.label_separator is not None and len(several) != 1:
            raise ValueError("data.label_separator is of one column that lists labels; give data.multi_label=COLUMN")
        return self


class SplitSettings(Settings):
    """How rows without a given split are divided."""

    val: Fraction = 0.2
    """Share of the rows for validation, where none is given."""
    test: Fraction = 0.0
    """Share of the rows for a held-out test, where none is given."""
    stratify: str | None = None
    """The CSV column to stratify by; the label when null."""
    seed: int = 0
    """Seed of the split alone, so that the same split can be trained with several train.seed."""
    file: str | None = None
    """A split.csv of an earlier run to use again, row by row."""

    @model_validator(mode="after")
    def _leave_rows_to_train(self) -> SplitSettings:
        if self.val + self.test >= 1.0:
            raise ValueError(f"split.val + split.test must be below 1, received {self.val} + {self.test}")
        return self


class DecodeSettings(Settings):
    """How a file becomes pixels. Sealed in the model; the same in training and in use."""

    exif: bool = True
    """Turn the picture as its EXIF orientation says."""
    background: Colour = (255, 255, 255)
    """The colour (R, G, B) that shows through transparent pixels."""
    scaling: Literal["jpeg", "full"] = "jpeg"
    """Decode a JPEG at 1/2, 1/4 or 1/8 of its size where that is still no smaller than the input, or in full."""
    range: Literal["auto"] | Range = Field("auto", json_schema_extra={"type": "auto | [low, high]"})
    """The values that become black and white, of pictures with more than 8 bits (16-bit, float, DICOM, arrays): one
    range for all of them; values beyond are cut. auto: from the training rows. 8-bit pictures stay as they are."""


class InputSettings(Settings):
    """How pixels become the network's input. Sealed in the model."""

    size: Annotated[Size, BeforeValidator(parse_size)] | None = Field(
        None, json_schema_extra={"type": "integer or HEIGHTxWIDTH | null"}
    )
    """Height and width in pixels: one number, or HEIGHTxWIDTH. What the weights expect when null."""
    channels: Literal["rgb", "grey"] = "rgb"
    """Three colour channels or one grey channel."""
    center_crop: Annotated[Size, BeforeValidator(parse_size)] | None = Field(
        None, json_schema_extra={"type": "integer or HEIGHTxWIDTH | null"}
    )
    """First take the middle of each picture, so many of its own pixels high and wide (all of it where it has fewer);
    in training and in use. Not when null."""
    fit: Literal["crop", "stretch", "pad"] = "crop"
    """Keep the aspect and cut the edges, stretch to fit, or keep all of it and pad."""
    crop_pct: Annotated[float, Field(gt=0.0, le=1.0)] | None = None
    """Share of the fitted picture's side that the centre crop keeps (fit=crop). From the weights when null."""
    pad_colour: Colour = (0, 0, 0)
    """The colour (R, G, B) of the padding (fit=pad)."""
    interpolation: Literal["bilinear", "bicubic", "lanczos", "nearest"] | None = None
    """The resampling filter, antialiased. From the weights when null."""
    normalize: Literal["auto", "weights", "imagenet", "train"] = "auto"
    """Where mean and std come from: the weights, ImageNet, or the training rows (auto: weights, else train)."""
    mean: list[float] | None = None
    """Mean of each channel in 0 to 1, instead of input.normalize. Give input.std too."""
    std: list[float] | None = None
    """Standard deviation of each channel in 0 to 1, instead of input.normalize. Give input.mean too."""

    @model_validator(mode="after")
    def _whole(self) -> InputSettings:
        channels = 3 if self.channels == "rgb" else 1
        if (self.mean is None) != (self.std is None):
            raise ValueError("input.mean and input.std belong together; give both or neither")
        for name, numbers in (("mean", self.mean), ("std", self.std)):
            if numbers is not None and len(numbers) != channels:
                raise ValueError(
                    f"input.{name} needs {channels} numbers for channels={self.channels}, received {numbers}"
                )
        if self.std is not None and min(self.std) <= 0:
            raise ValueError(f"input.std must be above 0, received {self.std}")
        if max(map(abs, [*(self.mean or []), *(self.std or [])]), default=0.0) > 1000 or min(self.std or [1.0]) < 1e-6:
            raise ValueError(f"input.mean and input.std are of values in 0 to 1, received {self.mean} and {self.std}")
        for name, sides, most in (("size", self.size, MOST_SIDE), ("center_crop", self.center_crop, MOST_MIDDLE)):
            if sides is not None and not 1 <= min(sides) <= max(sides) <= most:
                told = f"{sides[0]}x{sides[1]}"
                raise ValueError(f"input.{name} must be at least 1 pixel and at most {most:,}, received {told}")
        if self.fit != "crop" and self.crop_pct is not None:
            raise ValueError(f"input.crop_pct is used with input.fit=crop only, received fit={self.fit}")
        return self


class DecodeSpec(Settings):
    """The sealed, complete decode record: see `DecodeSettings`."""

    exif: bool = True
    background: Colour = (255, 255, 255)
    scaling: Literal["jpeg", "full"] = "full"
    max_pixels: Annotated[int, Field(ge=0, le=10**15)] = 50_000_000
    range: Range | None = None
    """Of deep pictures; None: each file by its own kind, as before there was one, or none was trained on."""

    @model_serializer(mode="wrap")
    def _only_if_any(self, serialize: SerializerFunctionWrapHandler) -> dict[str, Any]:
        """Leave the range out where there is none: such records stay what they were."""
        return {name: value for name, value in serialize(self).items() if name != "range" or value is not None}


class InputSpec(Settings):
    """The sealed, complete input record: every choice of `InputSettings` made."""

    height: Side
    width: Side
    channels: Literal["rgb", "grey"] = "rgb"
    center_crop: tuple[Middle, Middle] | None = None
    fit: Literal["crop", "stretch", "pad"] = "crop"
    crop_pct: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    pad_colour: Colour = (0, 0, 0)
    interpolation: Literal["bilinear", "bicubic", "lanczos", "nearest"] = "bilinear"
    mean: list[Mean]
    std: list[Std]

    @property
    def depth(self) -> int:
        """Number of channels: 3 or 1."""
        return 3 if self.channels == "rgb" else 1
