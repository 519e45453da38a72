"""What the folder of several models that predict together says of them (ensemble.json), without torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, ValidationError, model_validator

from bunryu.core.errors import RunError
from bunryu.core.small_json import MOST_CHARACTERS, parsed
from bunryu.core.storage import read_text, write_json
from bunryu.models.record import Decision, Name, Sealed, read_sealed
from bunryu.runs.folder import RunFolder, model_file
from bunryu.settings.config import Settings

SCHEMA = 1
Mean = Literal["probabilities", "logits"]


class EnsembleMember(Settings):
    """One model of an ensemble."""

    file: Name
    """Its sealed model file, relative to the folder."""
    weight: Annotated[float, Field(ge=0.0, le=1e6)]
    """Its share of the mean."""
    run: str = ""
    """The run it came from."""


class EnsembleRecord(Settings):
    """What ensemble.json holds."""

    schema_version: Annotated[int, Field(ge=1)] = SCHEMA
    """Of this record."""
    members: Annotated[list[EnsembleMember], Field(min_length=1)]
    """In the order they were given; the first decides the order of the classes."""
    mean: Mean = "probabilities"
    """What is averaged. logits: the logarithms of the probabilities, which are then made to sum to 1 again."""
    decision: Decision = Decision()
    """Applied once, to the mean; what the members have of their own is not."""

    @model_validator(mode="after")
    def _whole(self) -> EnsembleRecord:
        if not any(member.weight for member in self.members):
            raise ValueError("members: all weights are 0")
        return self


def write_ensemble(folder: RunFolder, record: EnsembleRecord) -> None:
    """Write ensemble.json."""
    write_json(folder.ensemble, record.model_dump(mode="json"))


def read_ensemble(path: Path) -> EnsembleRecord:
    """Read ensemble.json.

    Raises:
        RunError: damaged, or of a later schema.
    """
    try:
        values = parsed(read_text(path, MOST_CHARACTERS))
        version = values.get("schema_version") if isinstance(values, dict) else None
        if isinstance(version, int) and version > SCHEMA:
            raise RunError(f"{path} was written by a later bunryu. Update: pip install --upgrade bunryu")
        return EnsembleRecord.model_validate(values)
    except ValidationError as error:
        first = error.errors(include_input=False, include_context=False)[0]
        raise RunError(f"{path} is damaged: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None
    except (OSError, ValueError, RecursionError) as error:
        raise RunError(f"{path} is damaged: {error}") from None


def records_of(path: Path) -> list[Sealed]:
    """Return what each model of a run (or of several together) says of itself; the first decides the classes' order.

    Raises:
        RunError: it is missing or damaged, or the run's training was stopped.
    """
    file = model_file(path)
    if file.suffix != ".json":
        return [read_sealed(file)]
    return [read_sealed(file.parent / member.file) for member in read_ensemble(file).members]
