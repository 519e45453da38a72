"""What is written of measured predictions: figures, tables, pictures and the report."""

from __future__ import annotations

from pathlib import Path

from bunryu.core.storage import write_atomic, write_json
from bunryu.evaluate.measured import Measured, MeasuredClasses, MeasuredLabels
from bunryu.evaluate.report import class_files, label_files
from bunryu.evaluate.report.fonts import font_note
from bunryu.evaluate.report.mistakes import mistakes_csv, mistakes_file
from bunryu.evaluate.report.style import SEPARATOR
from bunryu.evaluate.report.text import text_report
from bunryu.settings.run import RunSettings


def write_results(
    folder: Path,
    results: list[Measured],
    run: str,
    title: str,
    facts: dict[str, str],
    steps: list[str],
    again: str,
    settings: RunSettings | None = None,
) -> None:
    """Write everything about `results` into `folder`; metrics.json comes last.

    Args:
        folder: a folder that exists.
        results: what was measured, an item a split.
        run: what was measured in few words, the run's name first: it begins the title of every picture.
        title: first line of the report.
        facts: name -> sentence, at the head of the report.
        steps: commands to type next, at its end.
        again: the command that measures the same again, for who lacks a font for the pictures.
        settings: of the run, for what to try; None where they are not known.
    """
    (folder / "plots").mkdir(parents=True, exist_ok=True)
    classes = results[0].predictions.classes if results else []
    if note := font_note(classes, run, again, listed=len(classes)):
        facts = facts | {"plots": note}
    for result in results:
        write_atomic(folder / f"predictions_{result.name}.csv", result.predictions.lines())
        write_atomic(folder / mistakes_file(result.name), mistakes_csv(result.predictions))
        _write_tables(folder, result)
        _write_plots(folder / "plots", result, SEPARATOR.join([run, result.name]))
    by_name = {result.name: result.metrics for result in results}
    report = text_report(title, facts, by_name, next_steps=steps, settings=settings, listed=True)
    write_atomic(folder / "report.txt", report)
    write_json(folder / "metrics.json", {name: metrics.as_json() for name, metrics in by_name.items()})


def written(results: list[Measured]) -> list[str]:
    """Return every file that `write_results` may write of these, and the folder of the pictures."""
    of = [result.name for result in results]
    tables = [f"{kind}_{name}.csv" for name in of for kind in ("predictions", "confusion", "labels")]
    tables += [mistakes_file(name) for name in of] + [f"confusion_{name}.npy" for name in of]
    return ["plots/", "report.txt", "metrics.json", *tables]


def _write_tables(folder: Path, result: Measured) -> None:
    """Write the tables that there are for answers of this kind."""
    match result:
        case MeasuredClasses():
            class_files.write_tables(folder, result)
        case MeasuredLabels():
            label_files.write_tables(folder, result)


def _write_plots(folder: Path, result: Measured, of: str) -> None:
    """Draw the pictures that there are for answers of this kind."""
    match result:
        case MeasuredClasses():
            class_files.draw(folder, result, of)
        case MeasuredLabels():
            label_files.draw(folder, result, of)
