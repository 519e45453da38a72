"""What the folder of several models that predict together says of them (ensemble.json), without torch."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, ValidationError, model_validator

from bunryu.core.errors import RunError
from bunryu.core.small_json import MOST_CHARACTERS, parsed
from bunryu.core.storage import read_text, write_json
from bunryu.models.digest import KEY, require_intact
from bunryu.models.record import Decision, Digest, Name, Sealed, read_metadata, read_sealed, sealed_digest
from bunryu.runs.folder import RunFolder, model_file
from bunryu.settings.config import Settings
from bunryu.settings.validate import first_fault, replaced

SCHEMA = 2
"""1: without the digests of its members."""
Mean = Literal["probabilities", "logits"]


def _within(file: str) -> str:
    """Refuse a path that leads out of the folder, on whatever system it is read."""
    for path in (PurePosixPath(file), PureWindowsPath(file)):
        if path.anchor or ".." in path.parts:
            raise ValueError(f"{file!r} is not in the folder of the ensemble")
    return file


class EnsembleMember(Settings):
    """One model of an ensemble."""

    file: Annotated[Name, AfterValidator(_within)]
    """Its sealed model file, relative to the folder, and in it."""
    weight: Annotated[float, Field(ge=0.0, le=1e6)]
    """Its share of the mean."""
    run: str = ""
    """The run it came from."""
    digest: Digest | None = None
    """The digest that is sealed in the file: another model in its place is told. null: it was sealed without one."""


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
    """Write ensemble.json, with the digests of the members, which are in the folder.

    Raises:
        RunError: one of them is damaged.
    """
    members = []
    for member in record.members:
        path = folder.path / member.file
        found = sealed_digest(read_metadata(path))
        if found is not None:
            require_intact(path, found)
        members.append(replaced(member, {"digest": found}))
    write_json(folder.ensemble, replaced(record, {"members": members}).model_dump(mode="json"))


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
        raise RunError(f"{path} is damaged: {first_fault(error)}") from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} is damaged: {error}") from None


def member_files(path: Path) -> list[Path]:
    """Return the model files that the ensemble.json at `path` names.

    Raises:
        RunError: it is damaged, or one of them is missing or another model than it was.
    """
    files = []
    for member in read_ensemble(path).members:
        file = path.parent / member.file
        if member.digest is not None and read_metadata(file).get(KEY) != member.digest:
            raise RunError(
                f"{file} is not the model that {path} was made of (its SHA-256 differs). Put that one back, or unite "
                "the runs again: bunryu ensemble RUN RUN --out FOLDER"
            )
        files.append(file)
    return files


def records_of(path: Path) -> list[Sealed]:
    """Return what each model of a run (or of several together) says of itself; the first decides the classes' order.

    Raises:
        RunError: it is missing or damaged, or the run's training was stopped.
    """
    file = model_file(path)
    if file.suffix != ".json":
        return [read_sealed(file)]
    return [read_sealed(one) for one in member_files(file)]
