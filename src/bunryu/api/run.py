"""A run, and the verbs that use one: predict, evaluate, ensemble."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from bunryu.core import caller, console
from bunryu.core.errors import BunryuError, ImageError
from bunryu.core.shown import shown_lines
from bunryu.data.images.sources import as_sources
from bunryu.data.sources.read import require_path
from bunryu.evaluate.figures import read_metrics
from bunryu.evaluate.report.text import headline
from bunryu.inference.ensemble_record import records_of
from bunryu.inference.predictions import Format
from bunryu.inference.reading import BATCH
from bunryu.inference.trust import Trust, trust_model
from bunryu.inference.tta import parse_tta
from bunryu.runs.claim import require_new
from bunryu.runs.folder import RunFolder, model_file, open_folder
from bunryu.settings.load import evaluation_settings
from bunryu.settings.run import RunSettings
from bunryu.ship import predict as ship
from bunryu.ship.predict import Predicted

if TYPE_CHECKING:
    import pandas as pd

    from bunryu.data.images.decode import Source
    from bunryu.inference.ensemble import Device
    from bunryu.inference.model import Predictor
    from bunryu.workflows.evaluate import Evaluation

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
            from bunryu.inference.ensemble import open_predictor

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
        told = ["  not finished"]
        if self.folder.metrics.exists():
            try:
                told = [f"  {name}: {headline(m)}" for name, m in read_metrics(self.folder).items()]
            except BunryuError as error:  # a notebook shows what it can
                told = [f"  {error}"]
        return shown_lines([f"Run({self.path})", *told])


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
    submission_as: str | None = None,
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
        images: paths, folders, globs or tables; or bytes or arrays (called ``image 0`` ...): uint8 (or what the model
            learned from), (H, W) or (H, W, 3 or 4), red first: of OpenCV ``cv2.imread(path)[:, :, ::-1]``.
        out: also write the table there, and the names of what cannot be read beside it, as FILE.skipped.csv.
        format: csv, csv-excel (in which Excel shows Hangul), tsv or jsonl; by the ending of `out` when None.
        submission: a competition's sample file; `out` gets its rows and columns, filled in as its header and cells say.
        submission_as: what it wants, where it does not say: probability, yes-no, name, number, index or p_CLASS.
        batch_size: pictures in one forward pass.
        image_root: what the paths in a table are relative to; its own folder when None.
        device: where to compute.
        tta: test-time augmentation, ``"hflip,crops,scales"`` or some: the mean over the views, told in a column tta.
        trust_code: as in `open_run`.
        quiet: print nothing.

    Returns:
        path, pred, conf and p_CLASS, a row each picture that can be read, in their order; ``attrs["skipped"]`` has
        (name, reason) of the others. With ``data.multi_label`` path, pred (labels joined by ``|``) and p_LABEL.

    Raises:
        DataError, ImageError: an input that is not there or no picture; not one of them can be read.
        ConfigError: an `out` that cannot be written.
        RunError, DeviceError: no run, or one that was stopped; no such device, or memory ran out.
    """
    with console.quietly(quiet):
        found = predicted(
            run,
            images,
            out=out,
            format=format,
            submission=submission,
            submission_as=submission_as,
            batch_size=batch_size,
            image_root=image_root,
            device=device,
            tta=tta,
            trust_code=trust_code,
        )
        if found.unreadable:
            console.say(found.unreadable_note(), style="yellow")
    if found.unreadable and not len(found.predictions):
        raise ImageError(found.unreadable_note())
    return found.frame()


def predicted(
    run: Run | str | os.PathLike[str],
    images: Images,
    *,
    out: str | os.PathLike[str] | None = None,
    format: Format | None = None,
    submission: str | os.PathLike[str] | None = None,
    submission_as: str | None = None,
    batch_size: int = BATCH,
    image_root: str | os.PathLike[str] | None = None,
    device: Device = "auto",
    tta: str | Sequence[str] = (),
    trust_code: Trust = False,
) -> Predicted:
    """Predict pictures, as `predict`, and return the answers before they are made a table of pandas.

    That none of the pictures can be read is no error here; `Predicted.unreadable` says which cannot.
    """
    views = parse_tta(tta)
    trust_model(run.path if isinstance(run, Run) else Path(run), trust_code)
    opened = Path(run) if not isinstance(run, Run) else run.model if device == "auto" else run.path
    return ship.predict(
        opened,
        as_sources(images, deep=lambda: _takes_deep(opened)),
        batch_size=batch_size,
        image_root=None if image_root is None else os.fspath(image_root),
        out=None if out is None else Path(out),
        format=format,
        submission=None if submission is None else Path(submission),
        submission_as=submission_as,
        device=device,
        tta=views,
    )


def _takes_deep(model: Predictor | Path) -> bool:
    """Return whether a model takes arrays of other numbers than uint8: all that predict together have a range."""
    if isinstance(model, Path):
        return all(sealed.decode.range is not None for sealed in records_of(model))
    return model.takes_deep()


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
    require_new(Path(out), "ensemble")
    for path in paths:
        model_file(path)
    from bunryu.workflows.ensemble import unite

    with console.quietly(quiet):
        folder, then = unite(paths, out=Path(out), weights=weights, mean=mean)
        console.say(f"next: {then}")
    return Run(folder)


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
    views = parse_tta(tta)
    folder = run.folder if isinstance(run, Run) else open_folder(Path(run))
    of_run = folder.settings if folder.config.exists() else None
    settings = evaluation_settings(of_run, overrides, caller.present().origin, own_rows=data is None)
    if isinstance(data, (str, os.PathLike)):
        require_path(os.fspath(data))
    trust_model(folder.path, trust_code)
    from bunryu.workflows.evaluate import evaluate as measure

    with console.quietly(quiet):
        found = measure(
            folder,
            data,
            settings=settings,
            out=Path(out) if out else None,
            name=name,
            device=device,
            tta=views,
            checkpoint=checkpoint,
        )
        caller.present().show(*repr(found).split("\n"), style="bold")
    return found
