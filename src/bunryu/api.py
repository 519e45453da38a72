"""The public verbs and the objects they return; the commands do no more than call these."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bunryu.core import console
from bunryu.core.errors import ConfigError, ImageError, nearest
from bunryu.data.images.decode import Source
from bunryu.data.images.sources import as_sources
from bunryu.data.sources.read import require_there
from bunryu.evaluate.figures import read_metrics
from bunryu.evaluate.report.text import headline
from bunryu.inference.ensemble import Device, Ensemble, open_predictor
from bunryu.inference.model import BATCH, Model, Predictor
from bunryu.inference.predictions import Format
from bunryu.inference.trust import Trust, trust_model
from bunryu.inference.tta import parse_tta
from bunryu.runs.folder import RunFolder, open_folder, require_new
from bunryu.settings.fields import keys
from bunryu.settings.load import load_settings, require_of_splits
from bunryu.settings.run import RunSettings
from bunryu.ship import predict as ship
from bunryu.workflows import cross_validate
from bunryu.workflows import ensemble as uniting
from bunryu.workflows import evaluate as evaluation
from bunryu.workflows import split as splitting
from bunryu.workflows import train as experiment
from bunryu.workflows.augment import augment
from bunryu.workflows.evaluate import Evaluation
from bunryu.workflows.score import Scored, score

if TYPE_CHECKING:
    import pandas as pd

Images = Source | Sequence[Source]


class Run:
    """A run folder, and what can be done with it.

    Example:
        >>> run = bunryu.train("photos/", "model.name=resnet18")
        >>> run.predict("new/").head()
    """

    def __init__(self, folder: RunFolder) -> None:
        self.folder = folder
        self._model: Predictor | None = None

    @property
    def path(self) -> Path:
        """The run folder."""
        return self.folder.path

    @property
    def settings(self) -> RunSettings:
        """All settings of the run."""
        return self.folder.settings()

    @property
    def model(self) -> Predictor:
        """The sealed model, opened once; an `Ensemble` where several predict together."""
        if self._model is None:
            self._model = open_predictor(self.path)
        return self._model

    @property
    def folds(self) -> list[Run]:
        """The runs of a cross-validation, in their order; none of another run."""
        if not self.folder.folds.exists():
            return []
        return [open_run(self.folder.fold(number).path) for number in range(1, int(self.settings.folds.k or 0) + 1)]

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

    def predict(self, images: Images, **options: Any) -> pd.DataFrame:
        """Predict; see `bunryu.predict`."""
        return predict(self, images, **options)

    def evaluate(self, data: Any = None, **options: Any) -> Evaluation:
        """Measure; see `bunryu.evaluate`."""
        return evaluate(self, data, **options)

    def __repr__(self) -> str:
        """Return the run and its headline figures, for notebooks."""
        figures = (
            {name: headline(m) for name, m in read_metrics(self.folder).items()} if self.folder.metrics.exists() else {}
        )
        told = "".join(f"\n  {name}: {text}" for name, text in figures.items()) or "\n  not finished"
        return f"Run({self.path}){told}"


def train(
    data: str | os.PathLike[str] | pd.DataFrame | None = None,
    *overrides: str,
    recipe: str | None = None,
    out: str | os.PathLike[str] | None = None,
    minutes: float | None = None,
    folds: int | None = None,
    final: Literal["ensemble", "refit", "none"] | None = None,
    quiet: bool = False,
    **mistaken: object,
) -> Run:
    """Train, measure and seal a classifier.

    Args:
        data: a folder of class folders, one with train/val/test, a CSV or TSV, or a DataFrame.
        overrides: ``section.key=value`` pairs, as on the command line.
        recipe: a recipe's name or a settings file; chosen by the model when None.
        out: the run folder; the next free ``runs/NAME-N`` when None.
        minutes: decide epochs and sizes so that everything fits into this time.
        folds: cross-validate: one run for each of so many folds, and a final model of all of them.
        final: of the folds: their models predicting together (ensemble, unless the settings say otherwise), one more
            run on all their rows (refit), or none.
        quiet: print nothing.
        mistaken: none; a setting given as a keyword is answered with how to give it.

    Returns:
        The finished run.

    Raises:
        BunryuError: with one message that says what, where and how to mend.
    """
    if mistaken:
        name, value = next(iter(mistaken.items()))
        raise ConfigError(_as_a_pair(name, value))
    if wrong := [pair for pair in (*overrides,) if not isinstance(pair, str)]:
        raise ConfigError(f'Expected settings as "section.key=value", as "train.epochs=10"; received {wrong[0]!r}.')
    frame = None if data is None or isinstance(data, (str, os.PathLike)) else data
    values: dict[str, Any] = {"data": {"source": os.fspath(data)}} if isinstance(data, (str, os.PathLike)) else {}
    asked = {name: value for name, value in (("k", folds), ("final", final)) if value is not None}
    values |= {"folds": asked} if asked else {}
    settings = load_settings(overrides, recipe=recipe, values=values, minutes=minutes)
    require_there(settings.data, frame)
    require_new(Path(out) if out else None)
    train_all = cross_validate.cross_validate if settings.folds.k else experiment.train
    with console.quietly(quiet):
        folder = train_all(settings, frame=frame, out=Path(out) if out else None, minutes=minutes)
        experiment.say_results(folder)
    return Run(folder)


def _as_a_pair(name: str, value: object) -> str:
    """Say how to give a setting that was given as a keyword: ``epochs=3``, ``train_epochs=3``."""
    whole = [key.name for key in keys(RunSettings)]
    known = [key for key in whole if name in (key.replace(".", "_"), key.split(".")[-1])]
    hint = f'train(data, "{known[0]}={value}")' if known else 'train(data, "train.epochs=3")'
    mean = "" if known else nearest(name.replace("_", "."), whole)
    return f"{name}={value!r}: settings are given by their whole names, as text: {hint}.{mean}"


def resume(run: str | os.PathLike[str], *, more_epochs: int = 0, trust_code: Trust = False, quiet: bool = False) -> Run:
    """Go on with a stopped training (of several folds, at the one it was in); with `more_epochs`, train a finished one
    further. `trust_code`: see `open_run`.
    """
    with console.quietly(quiet):
        folder = cross_validate.go_on(Path(run), more_epochs=more_epochs, trust=trust_code)
        experiment.say_results(folder)
    return Run(folder)


def split(
    data: str | os.PathLike[str] | pd.DataFrame,
    *overrides: str,
    out: str | os.PathLike[str],
    link: Literal["copy", "hard", "symlink"] = "copy",
    quiet: bool = False,
) -> pd.DataFrame:
    """Lay the split of the data out as folders, OUT/train/CLASS/FILE, without training anything.

    Args:
        data: as for `train`.
        overrides: ``data.key=value`` and ``split.key=value`` pairs.
        out: a new or empty folder; it also gets split.csv.
        link: copy the files, or link to them.
        quiet: print nothing.

    Returns:
        path, label, split (and group) of every row.

    Raises:
        BunryuError: with one message that says what, where and how to mend.
    """
    import pandas as pd

    frame = None if isinstance(data, (str, os.PathLike)) else data
    values = {"data": {"source": os.fspath(data)}} if isinstance(data, (str, os.PathLike)) else {}
    require_of_splits(overrides)
    settings = load_settings(overrides, values=values)
    require_there(settings.data, frame)
    with console.quietly(quiet):
        table = splitting.split(settings, Path(out), frame=frame, link=link)
    return pd.DataFrame(table.named_columns()).drop(columns="digest", errors="ignore")


def open_run(path: str | os.PathLike[str], *, trust_code: Trust = False) -> Run:
    """Open a run folder.

    Args:
        path: the folder.
        trust_code: of a run whose network is code (`model.file`): True lets the copy in the folder be run, a path
            that file, if it is the same. Without it such code is run only if this process trained the run.

    Raises:
        RunError: there is none at `path`.
        ModelError: code that is not what the run was trained as.
    """
    folder = open_folder(Path(path))
    trust_model(folder.path, trust_code)
    return Run(folder)


def predict(
    run: Run | str | os.PathLike[str],
    images: Images,
    *,
    out: str | os.PathLike[str] | None = None,
    format: Format | None = None,
    submission: str | os.PathLike[str] | None = None,
    batch_size: int = BATCH,
    image_root: str | os.PathLike[str] | None = None,
    device: Device = "auto",
    tta: str | Sequence[str] = (),
    trust_code: Trust = False,
    quiet: bool = False,
) -> pd.DataFrame:
    """Predict pictures.

    Args:
        run: a run, its folder, or a model file.
        images: paths of images, folders, globs or tables; or bytes or uint8 arrays of pictures, which are called
            ``image 0`` and so on.
        out: also write the table there, and the names of what cannot be read beside it, as FILE.skipped.csv.
        format: csv, csv-excel (with a byte-order mark, so that Excel shows Hangul), tsv or jsonl; by the ending of
            `out` when None.
        submission: a competition's sample file; `out` gets its rows and columns, the answers filled in.
        batch_size: pictures in one forward pass.
        image_root: what the paths in a table are relative to; its own folder when None.
        device: where to compute.
        tta: test-time augmentation: ``"hflip,crops,scales"`` or some of them. The probabilities are then the mean over
            the views, and a column tta says so.
        trust_code: as in `open_run`.
        quiet: print nothing.

    Returns:
        path, pred, conf and p_CLASS, a row each picture that can be read, in the order of the input; the others
        are in ``frame.attrs["skipped"]``, a list of (name, reason). Of labels that can hold together
        (``data.multi_label``) path, pred (those that hold, joined by ``|``) and p_LABEL.

    Raises:
        DataError: an input that is not there, or that is no picture.
        ImageError: not one of the pictures can be read.
        ConfigError: an `out` that cannot be written.
        RunError: there is no run, or its training was stopped.
        DeviceError: the device is not there, or memory ran out.
    """
    trust_model(run.path if isinstance(run, Run) else Path(run), trust_code)
    with console.quietly(quiet):
        opened = Path(run) if not isinstance(run, Run) else run.model if device == "auto" else run.path
        found = ship.predict(
            opened,
            as_sources(images),
            batch_size=batch_size,
            image_root=None if image_root is None else os.fspath(image_root),
            out=None if out is None else Path(out),
            format=format,
            submission=None if submission is None else Path(submission),
            device=device,
            tta=parse_tta(tta),
        )
        if found.unreadable:
            console.say(found.unreadable_note(), style="yellow")
    if found.unreadable and not len(found.predictions):
        raise ImageError(found.unreadable_note())
    frame = found.predictions.frame()
    frame.attrs["skipped"] = found.unreadable
    return frame


def ensemble(
    runs: Sequence[Run | str | os.PathLike[str]],
    *,
    out: str | os.PathLike[str],
    weights: Literal["equal", "fit"] = "equal",
    mean: Literal["probabilities", "logits"] = "probabilities",
    quiet: bool = False,
) -> Run:
    """Let several runs predict together: copy their sealed models into a folder that `predict` and `evaluate` take.

    Args:
        runs: two or more runs or cross-validations. They know the same classes, in any order; each keeps its own
            preprocessing.
        out: a new folder.
        weights: equal, or fit: those with the least log loss on the rows that all were validated on.
        mean: of the probabilities, or of the logits.
        quiet: print nothing.

    Returns:
        The ensemble, as a run.

    Raises:
        ConfigError: other classes, or other validation rows with ``weights="fit"``.
        RunError: no run, or `out` is not empty.
    """
    paths = [run.path if isinstance(run, Run) else Path(run) for run in runs]
    with console.quietly(quiet):
        return Run(uniting.unite(paths, out=Path(out), weights=weights, mean=mean))


def evaluate(
    run: Run | str | os.PathLike[str],
    data: str | os.PathLike[str] | pd.DataFrame | None = None,
    *,
    out: str | os.PathLike[str] | None = None,
    name: str | None = None,
    overrides: Sequence[str] = (),
    device: Device = "auto",
    tta: str | Sequence[str] = (),
    checkpoint: str | None = None,
    trust_code: Trust = False,
    quiet: bool = False,
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
        tta: measure a second time with this test-time augmentation (see `bunryu.predict`), and say what it changes.
        checkpoint: one of ``RUN/checkpoints/`` instead of the sealed model, such as best, final or stage-1-head.
        trust_code: as in `open_run`.
        quiet: print nothing.

    Raises:
        LabelError: a label that the model does not know.
        RunError: `out` is not empty.
    """
    folder = run.folder if isinstance(run, Run) else open_folder(Path(run))
    trust_model(folder.path, trust_code)
    with console.quietly(quiet):
        found = evaluation.evaluate(
            folder,
            data,
            out=Path(out) if out else None,
            name=name,
            overrides=overrides,
            device=device,
            tta=parse_tta(tta),
            checkpoint=checkpoint,
        )
        console.say(repr(found), style="bold")
    return found


__all__: list[str] = [
    "Ensemble",
    "Evaluation",
    "Model",
    "Run",
    "Scored",
    "augment",
    "ensemble",
    "evaluate",
    "open_run",
    "predict",
    "resume",
    "score",
    "split",
    "train",
]
