"""The run folder: created once, never overwritten; every later command opens it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bunryu.core.errors import RunError, nearest, typed
from bunryu.core.storage import read_json, read_jsonl
from bunryu.runs import digests
from bunryu.runs.claim import OF_THE_WHOLE, claim, hold, is_run, stopped_before_whole, whole
from bunryu.runs.environment import Environment, read_environment
from bunryu.settings.config import load_yaml
from bunryu.settings.run import RunSettings
from bunryu.settings.validate import build

_OF_SETTING_UP = (
    *("checkpoints/", "plots/", "code/"),
    *("data.csv", "split.csv", "folds.csv", "skipped.csv", "duplicates.csv", "environment.json"),
    *(digests.NAME, "config.yaml"),
)
"""What a training writes up to its settings, which come last."""


class RunFolder:
    """The names of everything in a run folder."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def config(self) -> Path:
        """All settings, resolved, as YAML. Written last when a run is created."""
        return self.path / "config.yaml"

    @property
    def environment(self) -> Path:
        """Versions, machine, threads and command, as JSON."""
        return self.path / "environment.json"

    @property
    def split(self) -> Path:
        """Path, label, group, split and content hash of every used image, as CSV."""
        return self.path / "split.csv"

    @property
    def splits(self) -> list[Path]:
        """What tells which images its models know: its own `split`, or of an ensemble those of its members."""
        files = [self.split, *sorted((self.path / "members").glob("*.split.csv"))]
        return [file for file in files if file.exists()]

    @property
    def skipped(self) -> Path:
        """Images that could not be read, with the reason, as CSV."""
        return self.path / "skipped.csv"

    @property
    def duplicates(self) -> Path:
        """Pictures that stand in several rows, as CSV; only where there are any."""
        return self.path / "duplicates.csv"

    @property
    def frame(self) -> Path:
        """The DataFrame that the run was started from, as CSV; only then."""
        return self.path / "data.csv"

    @property
    def history(self) -> Path:
        """One JSON line an epoch."""
        return self.path / "history.jsonl"

    @property
    def best(self) -> Path:
        """The best model so far, sealed."""
        return self.path / "checkpoints" / "best.safetensors"

    @property
    def final(self) -> Path:
        """The last epoch's weights, sealed; where several stages train, or the last learns from validation rows."""
        return self.path / "checkpoints" / "final.safetensors"

    @property
    def last(self) -> Path:
        """The whole state of training, to resume from."""
        return self.path / "checkpoints" / "last.safetensors"

    @property
    def model(self) -> Path:
        """The final sealed model."""
        return self.path / "model.safetensors"

    @property
    def ensemble(self) -> Path:
        """The record of models that predict together, as JSON: it is what `model` is elsewhere."""
        return self.path / "ensemble.json"

    @property
    def folds(self) -> Path:
        """The fold of every image, as CSV; only where the folder holds a cross-validation."""
        return self.path / "folds.csv"

    def fold(self, number: int) -> RunFolder:
        """Return the run of one fold of a cross-validation, counted from 1."""
        return RunFolder(self.path / f"fold-{number}")

    @property
    def refit(self) -> RunFolder:
        """The run on all rows of a cross-validation that ends with one."""
        return RunFolder(self.path / "refit")

    @property
    def code(self) -> Path:
        """The folder with a copy of the file that a network of the user's own is in; only then."""
        return self.path / "code"

    @property
    def metrics(self) -> Path:
        """Measures of each split, as JSON. Written last: a run that has it is finished."""
        return self.path / "metrics.json"

    @property
    def report(self) -> Path:
        """The report, as text."""
        return self.path / "report.txt"

    @property
    def plots(self) -> Path:
        """The folder of pictures."""
        return self.path / "plots"

    @property
    def results(self) -> list[Path]:
        """What is read back of its results."""
        return [self.metrics, *sorted(self.path.glob("predictions_*.csv"))]

    def intact(self, file: Path) -> Path:
        """Return a file of the run, to be read: as the run wrote it, where its list of digests has it.

        Raises:
            RunError: it was damaged or edited since.
        """
        digests.require_same(self.path, file, _meant(self, file))
        return file

    def note(self, files: Iterable[Path]) -> None:
        """List the digests of files that were just written."""
        digests.note(self.path, files)

    def forget(self, files: Iterable[Path]) -> None:
        """Take files that are about to be written anew out of the list of digests."""
        digests.forget(self.path, files)

    def read_environment(self) -> Environment:
        """Read what the run was made with.

        Raises:
            RunError: the file is missing or damaged.
        """
        return read_environment(self.environment)

    def settings(self) -> RunSettings:
        """Read the run's settings back.

        Raises:
            RunError: the file was damaged or edited since.
        """
        return build(RunSettings, [load_yaml(self.intact(self.config))])

    def read_history(self) -> list[dict[str, Any]]:
        """Read the history, one dict an epoch.

        Raises:
            RunError: the file was damaged or edited since.
        """
        return read_jsonl(self.intact(self.history))

    def read_metrics(self) -> dict[str, dict[str, Any]]:
        """Read the measures of each split.

        Raises:
            RunError: the run is not finished, or the file was damaged or edited since.
        """
        if not self.metrics.exists() and self.ensemble.exists() and not self.folds.exists():
            raise RunError(
                f"{self.path} has no metrics.json: its members were validated on different rows, so none measure all. "
                f"Measure it on images of your own: bunryu evaluate {typed(self.path)} DATA"
            )
        if not self.metrics.exists():
            raise RunError(f"{self.path} has no metrics.json: its training has not finished. {self._resume()}")
        metrics = read_json(self.intact(self.metrics))
        if not isinstance(metrics, dict) or not all(isinstance(found, dict) for found in metrics.values()):
            raise RunError(f"{self.metrics} is damaged: expected the measures of each split. Put it back as it was.")
        return metrics

    def require_model(self) -> Path:
        """Return the final sealed model, or the record of several.

        Raises:
            RunError: the run is not finished, or ended without a final model.
        """
        if self.ensemble.exists():
            return self.intact(self.ensemble)
        if not self.model.exists():
            if self.folds.exists() and self.metrics.exists():
                raise RunError(
                    f"{self.path} has no final model: it was trained with folds.final=none. Use one of its folds, "
                    f"{typed(self.fold(1).path)}, or several of them: bunryu ensemble {typed(self.fold(1).path)} "
                    f"{typed(self.fold(2).path)} --out DIR"
                )
            best = f" The best model so far, {self.best}, can be used meanwhile." if self.best.exists() else ""
            raise RunError(
                f"{self.path} has no sealed model yet: its training was stopped, or is still running.{best} "
                f"{self._resume()}"
            )
        return self.model

    @contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one training; the system lets go of it even after a kill.

        Raises:
            RunError: another training holds it.
        """
        with hold(self.path):
            yield

    def set_up(self) -> None:
        """Say that all is written that a resume needs: from now on the folder is gone on with, not taken over."""
        whole(self.path)

    def _resume(self) -> str:
        return f"Go on with: bunryu train --resume {typed(self.path)}"


def create_run(name: str, out: Path | None, root: Path = Path("runs")) -> RunFolder:
    """Claim the folder of a new run: `out`, or the next free ``root/NAME-N``; `RunFolder.set_up` ends the claim.

    Raises:
        RunError: `out` is there already and not empty, nor left by a training that was killed.
    """
    return RunFolder(claim(name, out, root, "train", _OF_SETTING_UP))


def model_file(path: Path) -> Path:
    """Return the model file that `path` means: itself, or the final one of the run at `path` (or ensemble.json).

    Raises:
        RunError: there is none, or not yet.
    """
    if path.is_file():
        return RunFolder(path.parent).intact(path)
    if path.suffix == ".safetensors":
        there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        raise RunError(f"There is no model file {path}.{nearest(path.name, there, folder=str(path.parent))}")
    return open_folder(path).require_model()


def open_folder(path: str | Path) -> RunFolder:
    """Return the run folder at `path` (or the one whose final model or settings are the file at `path`).

    Raises:
        RunError: there is none.
    """
    path = Path(path)
    _require_final(path)
    folder = path.parent if path.is_file() else path
    if not folder.is_dir():
        siblings = [str(p) for p in folder.parent.iterdir() if is_run(p)] if folder.parent.is_dir() else []
        raise RunError(f"There is no run folder {folder}.{nearest(str(folder), siblings)}")
    if unfinished := stopped_before_whole(folder):
        raise RunError(unfinished)
    if not is_run(folder):
        if (folder / "probe.json").exists():
            raise RunError(
                f"{folder} is a probe, not a run: it has no model. Train one with: "
                f"bunryu train DATA --recipe {typed(folder / 'recipe.yaml')}"
            )
        if (folder.parent / "folds.csv").exists() and is_run(folder.parent):
            raise RunError(
                f"{folder} was stopped before it was set up. Go on with the whole cross-validation: "
                f"bunryu train --resume {typed(folder.parent)}"
            )
        if (folder / "checkpoints").is_dir() or (folder / "folds.csv").exists():
            raise RunError(
                f"{folder} was stopped before it was set up, so there is nothing in it to go on with. Start the "
                "training anew, in another folder."
            )
        inside = sorted(str(p.parent) for p in folder.glob("*/config.yaml"))
        hint = f" Did you mean {inside[-1]}?" if inside else ""
        raise RunError(f"{folder} is not a run folder: it has neither config.yaml nor model.safetensors.{hint}")
    return RunFolder(folder)


def _require_final(path: Path) -> None:
    """Refuse a checkpoint, or another file, in place of the run."""
    if not path.is_file() or path.name in OF_THE_WHOLE:
        return
    run = next((folder for folder in path.parents[:2] if is_run(folder)), None)
    hint = f" Did you mean {typed(run)}?" if run else ""
    takes = f" `bunryu predict {typed(path)} IMAGES` takes a model file." if path.suffix == ".safetensors" else ""
    if run and path.parent.name == "checkpoints":
        takes += f" To measure it: bunryu evaluate {typed(run)} --checkpoint {typed(path.stem)}"
    raise RunError(f"{path} is a file, not a run folder.{hint}{takes}")


def _meant(folder: RunFolder, file: Path) -> str:
    """Say what to do where a file of a run was changed on purpose."""
    if file == folder.config:
        new = f"bunryu train --recipe {typed(file)} --out NEW_RUN"
        return f"Other settings are those of a new run: {new} "
    if file.name.endswith(folder.split.name):
        return f"Another split is that of a new run: split.file={typed(file)} (Excel may have changed it when saving.) "
    return ""
