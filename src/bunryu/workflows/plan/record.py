"""What a run writes down before its first step: what was decided, from which data."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bunryu.core import console
from bunryu.core.csv_text import csv_lines
from bunryu.core.environment import write_environment
from bunryu.core.storage import write_atomic
from bunryu.data.checks.check import Skipped
from bunryu.data.sources.read import with_absolute_paths
from bunryu.data.splits.split_csv import write_split
from bunryu.models.allowed_code import source_of
from bunryu.runs.folder import RunFolder
from bunryu.settings.config import dump_yaml
from bunryu.settings.run import RunSettings
from bunryu.settings.validate import replaced
from bunryu.workflows.plan.plan import Plan


def write_setup(folder: RunFolder, plan: Plan, frame: Any) -> None:
    """Write what was decided; config.yaml comes last, so that a folder that has it is whole."""
    settings = plan.settings
    if frame is not None:
        write_atomic(folder.frame, with_absolute_paths(frame, settings.data).to_csv(index=False))
        settings = replaced(settings, {"data.source": str(folder.frame.absolute())})
    write_split(folder.split, plan.table)
    if own := plan.sealed.architecture.own:
        folder.code.mkdir(exist_ok=True)  # a fold that was stopped before its first checkpoint begins again
        write_atomic(folder.code / Path(own.file).name, source_of(own))
    write_skipped(folder.skipped, plan.checked.skipped)
    if plan.checked.copies:
        table = plan.table
        rows = (
            [number, copies.kind, table.paths[row], table.target_labels[row], table.splits[row]]
            for number, copies in enumerate(plan.checked.copies, 1)
            for row in copies.rows
        )
        write_atomic(folder.duplicates, csv_lines(["picture", "kind", "path", "label", "split"], rows))
    listings = [
        file
        for file, some in ((folder.skipped, plan.checked.skipped), (folder.duplicates, plan.checked.copies))
        if some
    ]
    if listings:
        console.say(f"listed in: {', '.join(map(str, listings))}")
    write_environment(
        folder.environment,
        device=str(plan.device),
        precision=plan.sealed.precision,
        threads=int(settings.train.threads or 0),
        data_root=str(plan.table.root),
        facts=plan.decisions.told(),
    )
    folder.note([folder.split, folder.folds, folder.frame])
    write_config(folder, settings)
    folder.set_up()


def write_config(folder: RunFolder, settings: RunSettings) -> None:
    """Write every setting of the run."""
    folder.forget([folder.config])
    write_atomic(folder.config, "# every setting of this run\n" + dump_yaml(settings))
    folder.note([folder.config])


def write_skipped(file: Path, skipped: Sequence[Skipped]) -> None:
    """Write the images that cannot be used, and why, as CSV."""
    rows = ([row.path, row.label, row.split, row.reason] for row in skipped)
    write_atomic(file, csv_lines(["path", "label", "split", "reason"], rows))
