"""The wish to run the code of a run: its own copy of the file, or the file given again."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from bunryu.core.errors import ModelError, typed
from bunryu.core.storage import write_atomic
from bunryu.inference.ensemble_record import records_of
from bunryu.models.allowed_code import read, require_same, sha256, source_of
from bunryu.models.record import Own
from bunryu.runs.folder import RunFolder, model_file

Trust = bool | str | os.PathLike[str]
"""False: run no code. True: that in the run folder. A path: that file, if it is the same."""


def trust_model(path: Path, trust: Trust) -> None:
    """Allow the code of the models in a run folder, or of a model file.

    Raises:
        ModelError: there is none to allow, or the file is another than the record says.
        RunError: there is no model at `path`.
    """
    if trust is not False:
        _trust([sealed.architecture.own for sealed in records_of(path)], code_near(model_file(path)), trust, str(path))


def trust_run(folder: RunFolder, own: Own | None, trust: Trust) -> None:
    """Allow the code of a run that is to go on, or refuse to go on.

    Args:
        folder: the run.
        own: the record in its checkpoint; None before the first.
        trust: the wish.

    Raises:
        ModelError: as `trust_model`; or code that was not allowed.
    """
    copies = sorted(folder.code.glob("*.py"))
    if own is None and copies:
        own = Own(file=str(copies[0]), name="the network", sha256=sha256(read(copies[0])))
    if trust is not False:
        _trust([own], copies, trust, str(folder.path))
    elif own is not None:
        source_of(own)


def code_near(model: Path) -> list[Path]:
    """Return the copies of code in the run folder of a model file."""
    return sorted(copy for folder in (model.parent, model.parent.parent) for copy in (folder / "code").glob("*.py"))


def keep_code(folder: RunFolder, models: Sequence[Path]) -> None:
    """Copy the code beside each of several models into the folder that they are brought together in."""
    copies = {read(copy): copy for model in models for copy in code_near(model)}
    for number, (source, copy) in enumerate(copies.items(), 1):
        folder.code.mkdir(exist_ok=True)
        target = folder.code / copy.name
        write_atomic(target if not target.exists() else target.with_stem(f"{target.stem}-{number}"), source)


def _trust(owns: Sequence[Own | None], copies: Sequence[Path], trust: Trust, where: str) -> None:
    if not any(owns):
        raise ModelError(f"{where} has no code of its own to trust. Leave --trust-code and --model-file out.")
    for own in filter(None, owns):
        if not isinstance(trust, bool):
            require_same(own, Path(trust))
            continue
        name = Path(own.file).name
        same = [copy for copy in copies if sha256(read(copy)) == own.sha256]
        found = same or [copy for copy in copies if copy.name == name]
        if not found:
            raise ModelError(f"{where} has no copy of its code, code/{name}. Give the file: --model-file {typed(name)}")
        require_same(own, found[0])
