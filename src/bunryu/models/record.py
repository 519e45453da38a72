"""What a sealed model says of itself, read without torch: predicting begins to decode while torch is imported."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from bunryu.core.errors import RunError, typed
from bunryu.settings.config import Settings
from bunryu.settings.data import DecodeSpec, InputSpec

SCHEMA = 1
LATER = ("joint", "attributes")
"""Fields that stand in the record only where they say something."""
Precision = Literal["fp32", "bf16", "fp16"]


class Own(Settings):
    """A network of the user's own: code, which is run only when they say so; see `trust`."""

    file: str
    """Where the file was when it was trained; a copy is in the run folder."""
    name: str
    """Of the class or function."""
    sha256: str
    """Of the file's bytes."""
    head: str | None = None
    """The linear layer whose output is the network's; null: there is none, and nothing can be frozen apart."""


class Architecture(Settings):
    """The sealed record of a network's shape; `build` makes it again."""

    name: str
    """With its library: scratch_cnn, timm/NAME or torchvision/NAME; own/NAME for code of the user's."""
    channels: int = 3
    """Input channels: 3 or 1."""
    dropout: float = 0.0
    """In front of the last linear layer."""
    arguments: dict[str, Any] = {}
    """Further arguments of the constructor; of a library's no others than `size_arguments` and scratch_cnn know."""
    own: Own | None = None
    """Of own/NAME: which code."""


class Head(Settings):
    """What one output of the network means."""

    column: str
    """The label column."""
    kind: Literal["softmax", "sigmoid"] = "softmax"
    """How logits become probabilities. sigmoid: each class is a label, which holds or not beside the others."""
    classes: list[str]
    """Class (or label) names; output k is classes[k]."""
    published: list[int] | None = None
    """The source's own whole number of each class, where it had one."""
    positive: str | None = None
    """The positive one of two classes, whose precision, recall and F1 are told; null where there are not two."""


class Attribute(Settings):
    """One of several label columns, and what each class that is answered means in it."""

    column: str
    """The label column."""
    classes: list[str]
    """Its class names."""
    of: list[int]
    """Of each class that is answered, its place in `classes`."""
    positive: str | None = None
    """The positive one of two classes, as in `Head`."""


class Member(Settings):
    """One network of an ensemble."""

    prefix: str = ""
    """How the keys of its tensors begin."""
    weight: float = 1.0
    """Its share of the mean."""


class Decision(Settings):
    """What happens between logits and the answer."""

    temperature: float | None = None
    """Logits are divided by it; not when null."""
    logit_offsets: list[float] | None = None
    """Added to the logits, a number a class: -tau log(prior) of logit adjustment; nothing when null."""
    thresholds: dict[str, float] = {}
    """Class -> least probability to answer with it."""


class Sealed(Settings):
    """Everything beside the weights. Every field but those of `LATER` is there from the first schema on."""

    architecture: Architecture
    heads: Annotated[list[Head], Field(min_length=1)]
    """What the outputs mean: the first K of the first head, and so on."""
    joint: Head | None = None
    """What several heads answer together: each combination of their classes, the last head's changing first."""
    attributes: list[Attribute] = []
    """The label columns that a joint class is made of; none where there is one label column."""
    members: list[Member] = [Member()]
    decode: DecodeSpec
    input: InputSpec
    precision: Precision = "fp32"
    decision: Decision = Decision()
    provenance: dict[str, Any] = {}

    @property
    def multi_label(self) -> bool:
        """Whether the classes are labels that can hold together; `decision.thresholds` then has one of each."""
        return self.heads[0].kind == "sigmoid"

    @property
    def answer(self) -> Head:
        """What is answered: the one head, or the joint one of several."""
        return self.joint or self.heads[0]

    @property
    def classes(self) -> list[str]:
        """Names of the classes that are answered, in the order of the probabilities."""
        return self.answer.classes

    @property
    def answer_offsets(self) -> list[float] | None:
        """What is added to the logit of each class that is answered: of a joint one, what its parts get together."""
        given = self.decision.logit_offsets
        if given is None or self.joint is None:
            return given
        found, start = [0.0] * len(self.classes), 0
        for head, part in zip(self.heads, self.attributes, strict=True):
            found = [value + given[start + place] for value, place in zip(found, part.of, strict=True)]
            start += len(head.classes)
        return found

    @property
    def outputs(self) -> int:
        """How many outputs the network has: a class of a head each."""
        return sum(len(head.classes) for head in self.heads)


def read_sealed(path: Path) -> Sealed:
    """Read the record of a model file, without its weights.

    Raises:
        RunError: missing, damaged, not a bunryu model, or of a later schema.
    """
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        raise RunError(f"There is no model file {path}. A finished run has model.safetensors in its folder.")
    try:
        with safe_open(path, "numpy") as file:
            metadata = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise RunError(f"{path} is not a model that bunryu sealed, or it is damaged ({error}).") from None
    if "schema" not in metadata or "architecture" not in metadata:
        raise RunError(f"{path} has weights but no bunryu record. To start from it: model.weights={typed(path)}")
    try:
        if int(metadata["schema"]) > SCHEMA:
            raise RunError(
                f"{path} was sealed by a later bunryu (schema {metadata['schema']}; this one knows {SCHEMA}). "
                "Update: pip install --upgrade bunryu"
            )
        names = [name for name in Sealed.model_fields if name in metadata or name not in LATER]
        return Sealed.model_validate({name: json.loads(metadata[name]) for name in names})
    except KeyError as error:
        raise RunError(f"{path} has a damaged bunryu record: {error.args[0]} is missing.") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"]))
        raise RunError(f"{path} has a damaged bunryu record: {where}: {first['msg']}") from None
    except ValueError as error:
        raise RunError(f"{path} has a damaged bunryu record: {error}") from None
