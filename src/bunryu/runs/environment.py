"""environment.json of a run, as what reads it back needs it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bunryu.core.errors import RunError
from bunryu.core.storage import read_json
from bunryu.settings.validate import first_fault


class Environment(BaseModel):
    """What a run was made with; there is more in the file, for people."""

    model_config = ConfigDict(frozen=True)

    data_root: str
    """What the paths of its data are relative to."""
    threads: Annotated[int, Field(ge=1, le=100_000)] = 1
    processes: Annotated[int, Field(ge=1, le=100_000)] = 1
    device: Annotated[str, Field(pattern="^(cpu|cuda|mps)(:[0-9]{1,3})?$")] = "cpu"
    facts: dict[str, str] = {}
    """What was decided, as it is told."""
    versions: dict[str, str] = {}
    """Of the packages that decide results."""


def read_environment(path: Path) -> Environment:
    """Read environment.json.

    Raises:
        RunError: it is missing or damaged.
    """
    try:
        return Environment.model_validate(read_json(path))
    except ValidationError as error:
        raise RunError(f"{path} is damaged: {first_fault(error)}. Put it back as it was.") from None
