"""Images, folders, globs and tables in; a table of predictions out, row by row in the order of the input."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bunryu.core import console
from bunryu.core.csv_text import BYTE_ORDER_MARK, csv_lines
from bunryu.core.errors import ConfigError, DataError, count, some
from bunryu.core.shown import shown, shown_lines
from bunryu.core.storage import write_atomic
from bunryu.core.text_width import pad, shorten, width
from bunryu.data.images.decode import Source
from bunryu.data.images.load import Batch, load_batches
from bunryu.inference.multilabel_predictions import answers_of
from bunryu.inference.predictions import Format, PredictionTable
from bunryu.inference.reading import Answers, Reading, in_chunks, say_strange
from bunryu.models.record import Sealed, read_sealed
from bunryu.runs.folder import model_file
from bunryu.ship.inputs import gather
from bunryu.ship.sample import read_sample
from bunryu.ship.submission import fill

if TYPE_CHECKING:  # so that a file that is not there is told before torch is imported
    import pandas as pd

    from bunryu.inference.model import Predictor

Reason = tuple[str, str]
"""A name that could not be read, and why; a name given twice has two."""
_ENDINGS: dict[str, Format] = {".csv": "csv", ".tsv": "tsv", ".jsonl": "jsonl", ".json-lines": "jsonl"}
_BEGINNINGS = tuple(
    start.encode()
    for start in (
        *("path,pred,conf,", "path\tpred\tconf\t", BYTE_ORDER_MARK + "path,pred,conf,", '{"path": '),
        *("path,pred,p_", "path\tpred\tp_", BYTE_ORDER_MARK + "path,pred,p_"),  # of labels that can hold together
    )
)
_NAME_WIDTH = 40
_READ_AHEAD = 2**26
"""Bytes of pixels that wait for the model, at most."""


@dataclass(frozen=True)
class Predicted:
    """What `predict` found.

    Attributes:
        predictions: of every input that could be read, in the order of the inputs.
        unreadable: (name, reason) of the others, in their order.
        total: the number of inputs.
    """

    predictions: PredictionTable
    unreadable: list[Reason]
    total: int

    def frame(self) -> pd.DataFrame:
        """Return the predictions as a DataFrame, with the others in ``attrs["skipped"]``."""
        frame = self.predictions.frame()
        frame.attrs["skipped"] = self.unreadable
        return frame

    def show(self, format: Format = "csv") -> None:
        """Write the predictions on standard output; nothing where there are none."""
        if len(self.predictions):
            lines: Iterable[str] = self.predictions.lines(format)
            if sys.stdout.isatty():  # for eyes, so a line feed within a name begins no line
                lines = ("\t".join(map(shown, line.removesuffix("\n").split("\t"))) + "\n" for line in lines)
            sys.stdout.writelines(lines)
            sys.stdout.flush()

    def top_k(self, k: int = 10) -> str:
        """Return the most probable classes of the first image, for people to read.

        They are aligned also where Hangul takes two cells.
        """
        predictions = self.predictions
        probs = predictions.probs_NK[0]
        order = np.argsort(-probs, kind="stable")[:k]
        names = [shorten(predictions.classes[i], _NAME_WIDTH) for i in order]
        column = max(map(width, names))
        marks = predictions.marks(0)
        lines = [
            f"  {pad(name, column)}  {marks[i]}{probs[i]:.3f}  {'█' * round(24 * float(probs[i]))}".rstrip()
            for name, i in zip(names, order, strict=True)
        ]
        return shown_lines([predictions.paths[0], *lines])

    def unreadable_note(self) -> str:
        """Say how many of the inputs could not be read, and which."""
        told = some((f"{name} ({reason})" for name, reason in self.unreadable), 5)
        have = "has" if len(self.unreadable) == 1 else "have"
        return f"{len(self.unreadable)} of {count(self.total, 'file')} could not be read and {have} no row: {told}"


def predict(
    model: Predictor | Path,
    inputs: Sequence[Source],
    *,
    batch_size: int,
    image_root: str | None = None,
    out: Path | None = None,
    format: Format | None = None,
    submission: Path | None = None,
    submission_as: str | None = None,
    device: Any = "auto",
    tta: Sequence[str] = (),
) -> Predicted:
    """Predict every input that can be read; everything that can be refused is, before the model is opened.

    Args:
        model: an open model; or a run folder or model file, to be opened on `device`.
        inputs: images, folders, globs and tables; see `gather`.
        batch_size: pictures in one forward pass.
        image_root: what a table's paths are relative to; its own folder when None.
        out: also write the predictions there, and beside them FILE.skipped.csv where some inputs cannot be read.
        format: of `out`; by its ending, else csv, when None.
        submission: a competition's sample file, whose rows and columns `out` gets instead.
        submission_as: what it wants, where its header and cells do not say (`bunryu.ship.sample.read_sample`).
        device: where to compute, for a model that is not open yet.
        tta: the views of each picture whose answers are averaged (`bunryu.inference.tta`), told in a last column.

    Raises:
        RunError: no run, or a run without its final model.
        DataError: an input that is not there.
        ConfigError: an `out` that cannot be written.
        DeviceError: the device is not there, or memory ran out.
    """
    if isinstance(model, Path):
        model = model_file(model)
    if submission is not None:
        require_submission(submission, out, format)
    require_a_sample(submission, submission_as)
    written_as: Format = "csv" if out is None else format_of(out, format)
    if out is not None:
        require_writable(out)
    gathered = gather(inputs, image_root)
    if submission is not None:
        _require_fillable(model, submission, gathered.names, submission_as)
    for note in gathered.notes:
        console.say(note)
    sealed, answers = _answers(model, gathered.files, batch_size, device, tta)
    say_strange(answers, sealed)
    more = {"tta": [",".join(tta)] * len(answers.rows)} if tta else {}
    found = Predicted(
        answers_of(sealed, [gathered.names[row] for row in answers.rows], answers.probs_NK, more=more),
        [(gathered.names[row], answers.failed[row]) for row in sorted(answers.failed)],
        len(gathered.files),
    )
    if submission is not None and out is not None:
        _submit(found, submission, out, sealed, submission_as)
    elif out is not None:
        _write(found, out, written_as)
    return found


def _submit(found: Predicted, sample: Path, out: Path, sealed: Sealed, given: str | None) -> None:
    """Write the sample file, filled in."""
    if found.unreadable:
        raise DataError(f"{found.unreadable_note()}. A submission needs an answer to every row.")
    write_atomic(out, fill(sample, found.predictions, sealed, given))
    console.say(f"{count(len(found.predictions), 'answer')} in the shape of {sample.name}: {out}")


def _answers(
    model: Predictor | Path, files: Sequence[Source], batch_size: int, device: Any, tta: Sequence[str]
) -> tuple[Sealed, Answers]:
    """Return the record of the model, and its answers."""
    reading = Reading(batch_size, told="Predicting")
    if isinstance(model, Path) and model.suffix != ".json" and not tta:
        with _reading(files, read_sealed(model), batch_size) as batches:
            from bunryu.inference.model import Model

            one = Model.open(model, device=device)
            return one.sealed, one.infer_batches(batches, len(files), reading)
    from bunryu.inference.ensemble import open_predictor, with_tta

    opened = open_predictor(model, device=device, tta=tta) if isinstance(model, Path) else with_tta(model, tta)
    return opened.sealed, opened.infer(files.__getitem__, np.arange(len(files)), reading)


@contextmanager
def _reading(files: Sequence[Source], sealed: Sealed, batch_size: int) -> Iterator[Iterator[Batch]]:
    """Begin to read the pictures at once: to import torch and to open the model takes seconds."""
    chunks = in_chunks(np.arange(len(files)), batch_size)
    size = batch_size * sealed.input.height * sealed.input.width * sealed.input.depth
    ahead = max(_READ_AHEAD // size, 3)
    batches = load_batches(files.__getitem__, chunks, sealed.decode, sealed.input, ahead=ahead)
    with closing(batches):
        first = list(islice(batches, 1))
        yield chain(first, batches)


def require_submission(sample: Path, out: Path | None, format: Format | None) -> None:
    """Refuse a sample that is not there, and a submission without a file or in another format.

    Raises:
        ConfigError: saying what is missing.
    """
    if not sample.is_file():
        raise ConfigError(f"--submission: there is no file {sample}.")
    if out is None or format is not None or out.suffix.lower() != ".csv":
        raise ConfigError("--submission: name the file to write, a CSV, and no --format: --out submission.csv")
    if out.exists():
        raise ConfigError(f"--out: {out} is there already, and a submission replaces nothing. Name another file.")


def require_a_sample(sample: Path | None, given: str | None) -> None:
    """Refuse to be told what a sample file wants where there is none."""
    if sample is None and given is not None:
        raise ConfigError("--submission-as says how to fill a sample file: --submission SAMPLE is missing.")


def _require_fillable(model: Predictor | Path, sample: Path, names: Sequence[str], given: str | None) -> None:
    """Refuse a sample file that asks for what cannot be told, where the model's record can be read before it."""
    sealed = model.sealed if not isinstance(model, Path) else None if model.suffix == ".json" else read_sealed(model)
    if sealed is not None:
        read_sample(sample, names, sealed, given)


def format_of(out: Path, format: Format | None) -> Format:
    """Return the format that a file is written in: the one asked for, else by its ending, else csv.

    Raises:
        ConfigError: an ending of none of the formats, or of another than the one asked for.
    """
    ending = out.suffix.lower()
    by_ending = _ENDINGS.get(ending)
    if ending and by_ending is None:
        mend = f" For Excel: --out {out.with_suffix('.csv')} --format csv-excel" if ending.startswith(".xls") else ""
        raise ConfigError(f"--out: expected FILE.csv, FILE.tsv or FILE.jsonl, received {out}.{mend}")
    if by_ending and format and by_ending != format.removesuffix("-excel"):
        raise ConfigError(f"--out: {out} is named as {by_ending}, but the format is to be {format}. Make them agree.")
    return format or by_ending or "csv"


def require_writable(path: Path) -> None:
    """Refuse a file that cannot be written, or that would replace something else than predictions.

    Raises:
        ConfigError: `path` is a folder or another file's, or nothing can be written into its folder.
    """
    if path.is_dir():
        raise ConfigError(f"--out: {path} is a folder. Name a file, such as {path / 'predictions.csv'}.")
    if path.exists() and not path.is_file():
        raise ConfigError(f"--out: {path} is not a regular file. For standard output: --out -")
    there = next(parent for parent in path.absolute().parents if parent.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        raise ConfigError(f"--out: nothing can be written into {there}. Name a file in another folder.")
    if path.exists():
        with path.open("rb") as file:
            beginning = file.read(32)
        if beginning and not beginning.startswith(_BEGINNINGS):
            raise ConfigError(
                f"--out: {path} is there and holds no predictions; only predictions are replaced. Name another file."
            )


def _write(found: Predicted, out: Path, format: Format) -> None:
    """Write the predictions and, beside them, the list of the unreadable; say so."""
    replaced = out.exists()
    out.parent.mkdir(parents=True, exist_ok=True)
    write_atomic(out, found.predictions.lines(format))
    told = f"{count(len(found.predictions), 'prediction')}: {out}"
    listing = out.with_name(f"{out.stem}.skipped.csv")
    if found.unreadable:
        mark = BYTE_ORDER_MARK if format == "csv-excel" else ""
        write_atomic(listing, mark + reasons_csv(found.unreadable))
        told += f"; unreadable files: {listing}"
    elif replaced:
        listing.unlink(missing_ok=True)  # of the predictions that were replaced
    console.say(told)
    if replaced:
        console.say(f"replaced {out}")


def reasons_csv(reasons: Iterable[Reason]) -> str:
    """Return (path, reason) pairs as CSV."""
    return "".join(csv_lines(["path", "reason"], reasons))
