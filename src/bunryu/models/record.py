"""What a sealed model says of itself, read without torch: predicting begins to decode while torch is imported."""

from __future__ import annotations

import math
from collections.abc import Sized
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, TypeAdapter, ValidationError, model_validator

from bunryu.core.errors import RunError, typed
from bunryu.core.same_text import plain
from bunryu.core.small_json import MOST_CHARACTERS, parsed, require_few_values
from bunryu.core.storage import require_regular
from bunryu.settings.bounds import Side
from bunryu.settings.config import Settings
from bunryu.settings.data import DecodeSpec, InputSpec
from bunryu.settings.validate import first_fault

SCHEMA = 2
"""1: without the digest that 2 has."""
Digest = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
LATER = ("joint", "attributes")
"""Fields that stand in the record only where they say something."""
Precision = Literal["fp32", "bf16", "fp16"]


def _unique(names: list[str]) -> list[str]:
    seen: set[str] = set()
    for name in names:
        if plain(name) in seen:
            raise ValueError(f"{name!r} stands twice")
        seen.add(plain(name))
    return names


Name = Annotated[str, Field(min_length=1)]
Names = Annotated[list[Name], Field(min_length=1), AfterValidator(_unique)]
Whole = Annotated[int, Field(ge=-(2**63), lt=2**63)]
Place = Annotated[int, Field(ge=0)]


class Own(Settings):
    """A network of the user's own: code, which is run only when they say so; see `trust`."""

    file: str
    """Where the file was when it was trained; a copy is in the run folder."""
    name: Name
    """Of the class or function."""
    sha256: Digest
    """Of the file's bytes."""
    head: str | None = None
    """The linear layer whose output is the network's; null: there is none, and nothing can be frozen apart."""


class Architecture(Settings):
    """The sealed record of a network's shape; `build` makes it again."""

    name: Name
    """With its library: scratch_cnn, timm/NAME or torchvision/NAME; own/NAME for code of the user's."""
    channels: Literal[1, 3] = 3
    """Input channels: 3 or 1."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """In front of the last linear layer."""
    arguments: dict[str, Any] = {}
    """Further arguments of the constructor; of a library's no others than `size_arguments` and scratch_cnn know."""
    own: Own | None = None
    """Of own/NAME: which code."""

    @model_validator(mode="after")
    def _whole(self) -> Architecture:
        if self.name.startswith("own/") != (self.own is not None):
            raise ValueError("own/NAME and `own`, which says what code it is, go together")
        if self.own is None:
            Arguments.model_validate(self.arguments)
        return self


class Arguments(Settings):
    """What a library's constructor may be given; see `size_arguments` of `bunryu.models.build`."""

    batch_norm: bool = False
    """Of scratch_cnn."""
    img_size: tuple[Side, Side] | None = None
    """Height and width, of timm's nets for one size."""
    image_size: Side | None = None
    """Of torchvision's ViTs."""


class Head(Settings):
    """What one output of the network means."""

    column: str
    """The label column."""
    kind: Literal["softmax", "sigmoid"] = "softmax"
    """How logits become probabilities. sigmoid: each class is a label, which holds or not beside the others."""
    classes: Names
    """Class (or label) names; output k is classes[k]."""
    published: list[Whole] | None = None
    """The source's own whole number of each class, where it had one."""
    positive: str | None = None
    """The positive one of two classes, whose precision, recall and F1 are told; null where there are not two."""

    @model_validator(mode="after")
    def _whole(self) -> Head:
        _same_length("published", self.published, len(self.classes))
        if self.published is not None and len(set(self.published)) < len(self.published):
            raise ValueError("published: a number stands twice")
        _is_class(self.positive, self.classes)
        return self


class Attribute(Settings):
    """One of several label columns, and what each class that is answered means in it."""

    column: str
    """The label column."""
    classes: Names
    """Its class names."""
    of: list[Place]
    """Of each class that is answered, its place in `classes`."""
    positive: str | None = None
    """The positive one of two classes, as in `Head`."""

    @model_validator(mode="after")
    def _whole(self) -> Attribute:
        if wrong := [place for place in self.of if place >= len(self.classes)]:
            raise ValueError(f"of: there is no class {wrong[0]} among {len(self.classes)}")
        _is_class(self.positive, self.classes)
        return self


class Member(Settings):
    """One network of an ensemble."""

    prefix: str = ""
    """How the keys of its tensors begin."""
    weight: Annotated[float, Field(ge=0.0, le=1e6)] = 1.0
    """Its share of the mean."""


class Decision(Settings):
    """What happens between logits and the answer."""

    temperature: Annotated[float, Field(ge=1e-4, le=1e4)] | None = None
    """Logits are divided by it; not when null."""
    logit_offsets: list[Annotated[float, Field(ge=-1e30, le=1e30)]] | None = None
    """Added to the logits, a number a class: -tau log(prior) of logit adjustment; nothing when null."""
    thresholds: dict[str, Annotated[float, Field(ge=0.0, le=1.0)]] = {}
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
    members: Annotated[list[Member], Field(min_length=1)] = [Member()]
    decode: DecodeSpec
    input: InputSpec
    precision: Precision = "fp32"
    decision: Decision = Decision()
    provenance: dict[str, Any] = {}

    @model_validator(mode="after")
    def _whole(self) -> Sealed:
        if self.architecture.channels != self.input.depth:
            raise ValueError(f"architecture.channels={self.architecture.channels}, and input is {self.input.channels}")
        for name in ("mean", "std"):
            _same_length(f"input.{name}", getattr(self.input, name), self.input.depth)
        if any(head.kind != self.heads[0].kind for head in self.heads) or (
            self.multi_label and (self.heads[1:] or self.joint)
        ):
            raise ValueError("heads: labels that can hold together are one head, without others")
        if self.joint is not None:
            _same_length("joint.classes", self.joint.classes, math.prod(len(head.classes) for head in self.heads))
            _same_length("attributes", self.attributes, len(self.heads))
        for part in self.attributes:
            _same_length(f"attributes: {part.column}", part.of, len(self.classes))
        if unknown := set(self.decision.thresholds) - set(self.classes):
            raise ValueError(f"decision.thresholds: there is no class {min(unknown)!r}")
        if self.multi_label and self.decision.thresholds and len(self.decision.thresholds) < len(self.classes):
            raise ValueError("decision.thresholds: some classes have one and others none")
        if self.decision.logit_offsets is not None and len(self.decision.logit_offsets) != self.outputs:
            _same_length("decision.logit_offsets", self.decision.logit_offsets, len(self.classes))
        return self

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


def _same_length(name: str, values: Sized | None, length: int) -> None:
    if values is not None and len(values) != length:
        raise ValueError(f"{name}: expected {length}, received {len(values)}")


def _is_class(name: str | None, classes: list[str]) -> None:
    if name is not None and name not in classes:
        raise ValueError(f"positive: there is no class {name!r}")


def read_sealed(path: Path) -> Sealed:
    """Read the record of a model file, without its weights.

    Raises:
        RunError: missing, damaged, not a bunryu model, or of a later schema.
    """
    metadata = read_metadata(path)
    if "schema" not in metadata or "architecture" not in metadata:
        raise RunError(f"{path} has weights but no bunryu record. To start from it: model.weights={typed(path)}")
    try:
        if (schema := schema_number(metadata["schema"])) > SCHEMA:
            raise RunError(
                f"{path} was sealed by a later bunryu (schema {schema}; this one knows {SCHEMA}). "
                "Update: pip install --upgrade bunryu"
            )
        sealed_digest(metadata)
        names = [name for name in Sealed.model_fields if name in metadata or name not in LATER]
        sealed = Sealed.model_validate({name: _value(name, metadata[name]) for name in names})
        _require_whole(sealed)
    except KeyError as error:
        raise RunError(f"{path} has a damaged bunryu record: {error.args[0]} is missing.") from None
    except ValidationError as error:
        raise RunError(f"{path} has a damaged bunryu record: {first_fault(error)}") from None
    except ValueError as error:
        raise RunError(f"{path} has a damaged bunryu record: {error}") from None
    return sealed


def read_metadata(path: Path) -> dict[str, str]:
    """Read what a model file says beside its tensors.

    Raises:
        RunError: missing, damaged, or no file of that kind.
    """
    from safetensors import SafetensorError

    if not path.exists():
        raise RunError(f"There is no model file {path}. A finished run has model.safetensors in its folder.")
    try:
        return metadata_of(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise RunError(f"{path} is not a model that bunryu sealed, or it is damaged ({error}).") from None


def metadata_of(path: Path) -> dict[str, str]:
    """Read what a safetensors file says beside its tensors. Raise SafetensorError, OSError or ValueError."""
    from safetensors import safe_open

    require_regular(path)
    with path.open("rb") as start:
        size = int.from_bytes(start.read(8), "little")
    if size > MOST_CHARACTERS:
        raise ValueError(f"its header is said to have {size:,} bytes, more than {MOST_CHARACTERS:,}")
    with safe_open(path, "numpy") as file:
        found: dict[str, str] = file.metadata() or {}
    require_few_values(list(found.values()))
    return found


def sealed_digest(metadata: dict[str, str], schema: str = "schema") -> str | None:
    """Return the digest that was sealed; None in files of the first schema, by the key of that name, which had none.

    Raises:
        KeyError: it is missing.
        ValueError: it is none.
    """
    if "digest" not in metadata and metadata[schema] == "1":
        return None
    return TypeAdapter(Digest).validate_python(metadata["digest"])


def schema_number(text: str) -> int:
    """Return the number of a schema.

    Raises:
        ValueError: it is none.
    """
    if not (text.isascii() and text.isdigit() and int(text[:9]) > 0):
        raise ValueError(f"schema: expected a number from 1, received {text[:40]!r}")
    return int(text[:9])


def _value(name: str, text: str) -> Any:
    try:
        return parsed(text)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def _require_whole(sealed: Sealed) -> None:
    """Refuse what a record in memory may be, but not one of a file."""
    if sealed.multi_label and not sealed.decision.thresholds:
        raise ValueError("decision.thresholds: labels that can hold together need one each, and there are none")
    _same_length("decision.logit_offsets", sealed.decision.logit_offsets, sealed.outputs)
