"""The public verbs and the objects they return; the commands do no more than call these."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bunryu import console, experiment, resuming
from bunryu.data.decode import Source
from bunryu.data.settings import DataSettings
from bunryu.data.sources import read_run_rows, read_source, require_there
from bunryu.data.table import Table
from bunryu.errors import ConfigError, DataError, LabelError, RunError, nearest, some
from bunryu.evaluate.report import headline
from bunryu.evaluate.results import Measured, write_results
from bunryu.inference import BATCH, Model, as_sources
from bunryu.measuring import measure_rows
from bunryu.run import RunFolder, open_folder, require_new
from bunryu.settings import RunSettings, evaluation_settings, load_settings
from bunryu.ship import predict as ship
from bunryu.storage import read_json, write_atomic

if TYPE_CHECKING:
    import pandas as pd

Device = Literal["auto", "cuda", "mps", "cpu"]
Images = Source | Sequence[Source]


@dataclass(frozen=True)
class Evaluation:
    """What `evaluate` found.

    Attributes:
        metrics: name of the split or data -> n, accuracy, macro_f1, ..., per_class.
        predictions: name -> DataFrame with path, true, pred, conf, p_CLASS.
        confusion: name -> counts (K, K) as a DataFrame; rows are the truth.
        skipped: name -> {path: reason} of the images that could not be read.
        path: the folder that everything was written to.
    """

    metrics: dict[str, dict[str, Any]]
    predictions: dict[str, pd.DataFrame]
    confusion: dict[str, pd.DataFrame]
    skipped: dict[str, dict[str, str]]
    path: Path

    def __repr__(self) -> str:
        """Return the headline of each split."""
        return "\n".join(f"{name}: {headline(metrics)}" for name, metrics in self.metrics.items())


class Run:
    """A run folder, and what can be done with it.

    Example:
        >>> run = bunryu.train("photos/", "model.name=resnet18")
        >>> run.predict("new/").head()
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._model: Model | None = None

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def settings(self) -> RunSettings:
        """All settings of the run."""
        return self.folder.settings()

    @property
    def model(self) -> Model:
        """The sealed model, opened once."""
        if self._model is None:
            self._model = Model.open(self.folder.model)
        return self._model

    @property
    def classes(self) -> list[str]:
        """Class names, in the model's order."""
        return self.model.classes

    @property
    def metrics(self) -> dict[str, dict[str, Any]]:
        """The measures of each split, as in metrics.json."""
        return self.folder.read_metrics()

    @property
    def history(self) -> pd.DataFrame:
        """One row an epoch."""
        import pandas as pd

        return pd.DataFrame(self.folder.read_history())

    def predict(self, images: Images, *, batch_size: int = BATCH) -> pd.DataFrame:
        """Predict; see `bunryu.predict`."""
        return predict(self, images, batch_size=batch_size)

    def evaluate(self, data: Any = None, **options: Any) -> Evaluation:
        """Measure; see `bunryu.evaluate`."""
        return evaluate(self, data, **options)

    def __repr__(self) -> str:
        """Return the run and its headline figures, for notebooks."""
        figures = {name: headline(m) for name, m in self.metrics.items()} if self.folder.metrics.exists() else {}
        told = "".join(f"\n  {name}: {text}" for name, text in figures.items()) or "\n  not finished"
        return f"Run({self.path}){told}"


def train(
    data: str | os.PathLike[str] | pd.DataFrame | None = None,
    *overrides: str,
    recipe: str | None = None,
    out: str | os.PathLike[str] | None = None,
    quiet: bool = False,
) -> Run:
    """Train, measure and seal a classifier.

    Args:
        data: a folder of class folders, one with train/val/test, a CSV or TSV, or a DataFrame.
        overrides: ``section.key=value`` pairs, as on the command line.
        recipe: a recipe's name or a settings file; chosen by the model when None.
        out: the run folder; the next free ``runs/NAME-N`` when None.
        quiet: print nothing.

    Returns:
        The finished run.

    Raises:
        BunryuError: with one message that says what, where and how to mend.
    """
    frame = None if data is None or isinstance(data, (str, os.PathLike)) else data
    values = {"data": {"source": os.fspath(data)}} if isinstance(data, (str, os.PathLike)) else {}
    settings = load_settings(overrides, recipe=recipe, values=values)
    require_there(settings.data, frame)
    require_new(Path(out) if out else None)
    console.set_quiet(quiet)
    try:
        folder = experiment.train(settings, frame=frame, out=Path(out) if out else None)
    finally:
        console.set_quiet(False)
    assert folder is not None
    return Run(folder)


def resume(run: str | os.PathLike[str], *, more_epochs: int = 0, quiet: bool = False) -> Run:
    """Go on with a stopped training; with `more_epochs`, train a finished one further."""
    console.set_quiet(quiet)
    try:
        return Run(resuming.resume(Path(run), more_epochs=more_epochs))
    finally:
        console.set_quiet(False)


def open_run(path: str | os.PathLike[str]) -> Run:
    """Open a run folder.

    Raises:
        RunError: there is none at `path`.
    """
    return Run(open_folder(Path(path)))


def predict(
    run: Run | str | os.PathLike[str],
    images: Images,
    *,
    out: str | os.PathLike[str] | None = None,
    format: Literal["csv", "jsonl"] = "csv",
    batch_size: int = BATCH,
    device: Device = "auto",
) -> pd.DataFrame:
    """Predict pictures.

    Args:
        run: a run, its folder, or a model file.
        images: paths of images, folders, globs or tables; or bytes or uint8 arrays of pictures, which are called
            ``image 0`` and so on.
        out: also write the table there.
        format: csv or jsonl, of `out`.
        batch_size: pictures in one forward pass.
        device: where to compute.

    Returns:
        path, pred, conf and p_CLASS, a row each picture that can be read, in the order of the input; the others
        are in ``frame.attrs["skipped"]`` with their reasons.

    Raises:
        DataError: an input that is not there.
    """
    inputs = ship.gather(as_sources(images))
    model = run.model if isinstance(run, Run) else Model.open(Path(run), device=device)
    predictions, skipped = ship.predict(model, inputs, batch_size=batch_size)
    if skipped:
        console.say(ship.unreadable_note(skipped, len(inputs.files)), style="yellow")
    if out is not None:
        ship.write_predictions(Path(out), predictions, skipped, format)
    frame = predictions.frame()
    frame.attrs["skipped"] = skipped
    return frame


def evaluate(
    run: Run | str | os.PathLike[str],
    data: str | os.PathLike[str] | pd.DataFrame | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    name: str | None = None,
    overrides: Sequence[str] = (),
    device: Device = "auto",
) -> Evaluation:
    """Measure a run on its own validation and test rows, or on other labelled data.

    Labels are mapped by name: a class that the data lack shifts nothing and is named; one that the model does not
    know is an error.

    Args:
        run: a run, or its folder.
        data: labelled data in any form that training takes; the run's own splits when None.
        out: where results are written; the next free ``RUN/evaluate-N`` when None.
        name: what the data are called in the results; "test" when None. Without `data`: val or test only.
        overrides: ``data.key=value`` and ``evaluate.key=value`` pairs.
        device: where to compute.

    Raises:
        LabelError: a label that the model does not know.
        RunError: `out` is not empty.
    """
    folder = run.folder if isinstance(run, Run) else open_folder(Path(run))
    model = Model.open(folder.model, device=device)
    settings = evaluation_settings(folder.settings if folder.config.exists() else None, overrides)
    if data is not None:
        tables = {_file_name(name or "test"): _labelled(data, model, settings)}
    else:
        tables = _own_splits(folder, model, name)
    _require_empty(Path(out) if out else None)
    results = [
        measure_rows(key, table, np.arange(len(table)), model, settings.evaluate, workers=settings.data.workers)
        for key, table in tables.items()
    ]
    target = _results_folder(folder, Path(out) if out else None)
    for result in results:
        console.say(f"{result.name}: {headline(result.metrics)}", style="bold")
        if result.metrics["absent"]:
            console.say(f"{result.name}: no image of class {some(result.metrics['absent'], 8)} in this data")
        if result.skipped:
            told = some((f"{path} ({reason})" for path, reason in result.skipped.items()), 5)
            console.say(f"{result.name}: {len(result.skipped)} images skipped: {told}", style="yellow")
            write_atomic(target / f"skipped_{result.name}.csv", ship.reasons_csv(result.skipped))
    told = "the run's own splits" if data is None else str(data) if isinstance(data, (str, os.PathLike)) else "a table"
    facts = {"model": str(folder.model), "data": told}
    write_results(target, results, f"bunryu evaluation of {folder.path.name}", facts, [])
    console.say(f"results: {target} (report.txt, metrics.json, plots/)")
    return _evaluation(results, target)


def _evaluation(results: list[Measured], path: Path) -> Evaluation:
    import pandas as pd

    return Evaluation(
        metrics={r.name: r.metrics for r in results},
        predictions={r.name: r.predictions.frame() for r in results},
        confusion={
            r.name: pd.DataFrame(r.confusion, index=r.predictions.classes, columns=r.predictions.classes)
            for r in results
        },
        skipped={r.name: r.skipped for r in results},
        path=path,
    )


def _file_name(name: str) -> str:
    """Return a name of results, which begins the names of their files."""
    if not name.strip(". ") or set(name) & set("/\\\0"):
        raise ConfigError(f"--name: expected a plain word, without / and \\, received {name!r}.")
    return name


def _require_empty(out: Path | None) -> None:
    if out is not None and out.exists() and (not out.is_dir() or any(out.iterdir())):
        told = "is a file" if out.is_file() else "is not empty"
        raise RunError(f"--out: {out} {told}, and results are never overwritten. Name a new folder.")


def _results_folder(folder: RunFolder, out: Path | None) -> Path:
    """Make the folder of the results: `out`, or the next free ``RUN/evaluate-N``."""
    _require_empty(out)
    if out is None:
        number = 1
        while (folder.path / f"evaluate-{number}").exists():
            number += 1
        out = folder.path / f"evaluate-{number}"
    out.mkdir(parents=True, exist_ok=True)
    return out


def _labelled(data: Any, model: Model, settings: RunSettings) -> Table:
    """Read labelled data, keep its test (or validation) rows where it has splits, and check its labels."""
    column = model.sealed.heads[0].column
    path = os.fspath(data) if isinstance(data, (str, os.PathLike)) else None
    chosen = DataSettings(**{**settings.data.model_dump(), "source": path})
    table = read_source(chosen, None if path is not None else data, label=column)
    for note in table.notes:
        console.say(f"data: {note}")
    for split in ("test", "val"):
        rows = table.split(split)
        if len(rows):
            console.say(f"data: has splits; measured on its {len(rows)} {split} rows")
            table = table.take(rows)
            break
    unknown = sorted(set(table.target_labels) - set(model.classes))
    if unknown:
        count = int(np.isin(table.target_labels.astype(str), unknown).sum())
        raise LabelError(
            f"{count} images have a label that the model does not know: {some([repr(u) for u in unknown])}."
            f"{nearest(unknown[0], model.classes)} The model's classes: {some(model.classes, 20)}. "
            "Rename the folder or the label, or leave those images out."
        )
    return table


def _own_splits(folder: RunFolder, model: Model, name: str | None) -> dict[str, Table]:
    """Return the run's validation and test rows, as its split.csv has them."""
    if name not in (None, "val", "test"):
        raise ConfigError(f"--name: without --data the run's own splits are measured, val or test; received {name!r}.")
    root = Path(read_json(folder.environment)["data_root"])
    table = read_run_rows(folder.split, root, model.sealed.heads[0].column)
    found = {split: table.take(table.split(split)) for split in ("val", "test") if len(table.split(split))}
    chosen = {split: rows for split, rows in found.items() if name in (None, split)}
    if not chosen:
        raise DataError(f"{folder.path} has no {name or 'validation or test'} rows. Give labelled data: --data PATH")
    return chosen


__all__: list[str] = ["Evaluation", "Model", "Run", "evaluate", "open_run", "predict", "resume", "train"]
