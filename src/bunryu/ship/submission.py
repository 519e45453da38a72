"""Predictions in the shape of a competition's sample file: the same rows, order and columns."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath

from bunryu.core import console
from bunryu.core.csv_text import csv_lines
from bunryu.core.errors import DataError, count, nearest, some
from bunryu.core.same_paths import join_paths
from bunryu.core.same_text import Words, as_number
from bunryu.data.sources.csv_files import Columns, ends_like_an_image, read_csv
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Sealed

ANSWERS = ("ans", "answer", "target", "label", "class", "pred", "prediction", "category")
"""What a column to fill in is called; else it is the last one."""


def fill(sample: Path, predictions: Predictions, sealed: Sealed) -> str:
    """Return the sample file with its answers filled in, as CSV.

    Rows are joined by the longest tail that two paths share. An answer is the class's published index where the
    sample has whole numbers (or nothing) there and the model knows such indices, else the class's name. A table
    without a column to fill in, such as a list of images, becomes ``ID,image_path,target``, ID counting from 0. No cell
    is guarded against spreadsheets: a grader has to find the sample's names as they are.

    Raises:
        DataError: a row of the sample without a prediction, or a prediction without a row.
    """
    table = read_csv(sample)
    name = image_column_of(table)
    images = table.values[name]
    answers = answers_for(images, table, predictions, sealed)
    target = _answer_column(table, name)
    if target is None:
        filled: dict[str, Sequence[object]] = {"ID": range(len(images)), "image_path": images, "target": answers}
    else:
        filled = {**table.values, target: answers}
    return "".join(csv_lines(filled, zip(*filled.values(), strict=True), guarded=False))


def image_column_of(table: Columns) -> str:
    """Return the column that names the images: the first whose cells end like it, else the first of all."""
    found = (name for name, cells in table.values.items() if all(map(ends_like_an_image, cells)))
    return next(found, next(iter(table.values)))


def answers_for(images: Sequence[str], table: Columns, predictions: Predictions, sealed: Sealed) -> list[str]:
    """Return the answer to each image of the sample."""
    name = image_column_of(table)
    _require_one_answer_wanted(table, name, sealed)
    place = places(images, predictions.paths, table.where)
    target = _answer_column(table, name)
    head = sealed.answer
    there = [] if target is None else [cell for cell in table.values[target] if cell]
    numbers = all(cell.lstrip("-").isdigit() for cell in there)
    as_number = head.published is not None and numbers
    expected = f"has whole numbers in {target!r}" if there else "has no column of answers" if target is None else ""
    if expected and numbers and not as_number and not all(name.lstrip("-").isdigit() for name in head.classes):
        console.say(
            f"{table.where} {expected}, and the model knows no numbers for its classes: their names are written",
            style="yellow",
        )
    words = [str(number) for number in head.published or []] if as_number else head.classes
    return [words[predictions.pred_N[at]] for at in place]


def places(images: Sequence[str], paths: Sequence[str], where: str) -> list[int]:
    """Return where in `paths` each image is, by the longest tail that two paths share (`join_paths`).

    Raises:
        DataError: an image that is not among them or may be several, or one of them that is no image of the table.
    """
    join = join_paths(images, paths)
    for told in join.told:
        console.say(f"{where}: {told}")
    if join.unclear:
        one, others = join.unclear[0]
        raise DataError(
            f"{where}: {one} may be {some(others)}: file names alone do not tell them apart. Write more of the path."
        )
    if join.missing:
        missing = [images[at] for at in join.missing]
        raise DataError(
            f"{where}: {count(len(missing), 'row has', 'rows have')} no prediction: {some(missing)}."
            f"{nearest(PurePath(missing[0]).name, [PurePath(path).name for path in paths])} Every row needs one."
        )
    extra = [paths[at] for at in sorted(set(range(len(paths))) - set(join.place))]
    if extra:
        raise DataError(
            f"{where}: {count(len(extra), 'prediction has', 'predictions have')} no row there: "
            f"{some(PurePath(path).name for path in extra)}."
        )
    return join.place


def _require_one_answer_wanted(table: Columns, images: str, sealed: Sealed) -> None:
    """Refuse a sample whose columns or cells want something else than one class an image: nothing else is filled in.

    Raises:
        DataError: it wants a probability of each class, or one probability.
    """
    words, head = Words(table.values), sealed.answer
    wanted = [column for column in map(words.find, head.classes) if column is not None and column != images]
    instead = "Write them from --out FILE.csv, which has the probability of each class (p_CLASS)."
    if wanted:
        raise DataError(
            f"{table.where} has a column of its own for {some(map(repr, wanted))}, so it wants a probability or a yes "
            f"and no of each class, and --submission writes one class an image. {instead}"
        )
    target = _answer_column(table, images)
    cells = {cell.strip() for cell in table.values[target]} - {""} if target is not None else set()
    numbers = [as_number(cell) for cell in cells]
    if cells.isdisjoint(head.classes) and any(number and "." in number for number in numbers):
        raise DataError(
            f"{table.where} has fractions in {target!r} ({some(sorted(cells), 3)}), so it wants a probability, and "
            f"--submission writes one class an image. {instead} For names of classes, empty that column's cells."
        )


def _answer_column(table: Columns, images: str) -> str | None:
    others = [name for name in table.values if name != images]
    return next((name for name in others if name.lower() in ANSWERS), others[-1] if others else None)
