"""What kind of answer the cells of a sample file show: probabilities, yes and no, names, numbers or lists of labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from bunryu.core.errors import DataError, some, typed
from bunryu.core.same_text import Words, as_number, changes_told, plain
from bunryu.data.sources.csv_files import Columns
from bunryu.models.record import Head, Sealed

_YES_NO = (("0", "1"), ("false", "true"), ("no", "yes"), ("n", "y"))
_SEPARATORS = ("|", ";", ",", " ")


@dataclass(frozen=True)
class Asked:
    """What one column of the sample wants."""

    what: Literal["probability", "yes-no", "word", "labels"]
    of: Sequence[int] = ()
    """Of probability and yes-no: the class of each row."""
    words: Sequence[str] = ()
    """What is written for each class; of yes-no: for no, for yes."""
    separator: str = ""
    """Of labels: what stands between two."""


def yes_no_words(
    table: Columns, columns: Sequence[str], sealed: Sealed, given: str | None, *, one_hot: bool
) -> tuple[str, ...]:
    """Return what is written for no and for yes; nothing where probabilities are wanted.

    Raises:
        DataError: the cells may mean both, or are neither.
    """
    cells = {cell.strip() for name in columns for cell in table.values[name]} - {""}
    words = next((pair for pair in _YES_NO if {cell.lower() for cell in cells} <= set(pair)), None)
    if given == "probability" or (given != "yes-no" and all(map(_is_fraction, cells))):
        return ()
    if given == "yes-no" or (words and (sealed.multi_label or words[0] != "0")):
        cased = str.title if any(cell.istitle() for cell in cells) else str
        return tuple(map(cased, words or _YES_NO[0]))
    rows = zip(*([cell.strip() for cell in table.values[name]] for name in columns), strict=True)
    if words and one_hot and len(columns) > 1 and all(row.count("1") == 1 for row in rows):
        return words
    if cells and not words and all(is_number(cell) for cell in cells):
        return ()
    raise DataError(
        f"{table.where}: the columns of classes have {some(sorted(map(repr, cells)), 3)}, which may stand for a "
        "probability of each class or for 1 (the answer) and 0. Say which: --submission-as probability, or "
        "--submission-as yes-no"
    )


def one_answer(table: Columns, target: str, sealed: Sealed, given: str | None) -> tuple[Asked, list[str]]:
    """Return what a column with one answer an image wants: a name, a number, or one probability."""
    head = sealed.answer
    there = [plain(cell) for cell in table.values[target] if cell.strip()]
    cells = set(there)
    numbers = [str(number) for number in head.published or []]
    names = Words(head.classes)
    if given in ("probability", "yes-no"):
        return _positive(table, target, sealed, given)
    if given == "index":
        return Asked("word", words=[str(place) for place in range(len(head.classes))]), []
    if given == "number" and not numbers:
        raise DataError(
            f"--submission-as number: the model knows no numbers for its classes. They come from a table with a column "
            f"of them; the places among its classes ({_indices(head)}): --submission-as index"
        )
    if given == "name" or (given is None and any(names.find(cell) is not None for cell in cells)):
        return _names(target, head, there)
    if given == "number" or (numbers and all(map(_is_whole, cells))):
        return Asked("word", words=numbers), []
    if any(map(_is_fraction, cells)):
        return _positive(table, target, sealed, None)
    if not cells or not all(map(is_number, cells)):
        _require_one_name(table, target, cells, names)
        strange = f"column {target!r}: {some(sorted(map(repr, cells)), 3)} in the sample, no class of the model"
        return Asked("word", words=head.classes), [f"{strange}: filled with the names of its classes"] if cells else []
    raise DataError(
        f"{table.where} has whole numbers in {target!r} ({some(sorted(cells), 3)}), and the model knows no numbers for "
        f"its classes. Say what they are: --submission-as index (the places among its classes: {_indices(head)}) or "
        "--submission-as name. A table that has the numbers beside the labels teaches them to the model."
    )


def _require_one_name(table: Columns, target: str, cells: set[str], names: Words) -> None:
    """Refuse cells that list several classes, as where the best five are wanted."""
    for cell in sorted(cells):
        for separator in _SEPARATORS:
            parts = [part for part in cell.split(separator) if part.strip()]
            if len(parts) > 1 and all(names.find(part) is not None for part in parts):
                raise DataError(
                    f"{table.where} lists several classes in a cell of {target!r} ({cell!r}), and the model answers "
                    "one a picture. If one is wanted: --submission-as name. The probabilities of all tell their order: "
                    "bunryu predict RUN IMAGES --out predictions.csv"
                )


def _names(target: str, head: Head, there: Sequence[str]) -> tuple[Asked, list[str]]:
    """Return names, spelled as the sample spells them where it does."""
    words, place = list(head.classes), {name: k for k, name in enumerate(head.classes)}
    own, changed = Words(head.classes), Counter[tuple[str, str]]()
    for cell, times in Counter(there).most_common():
        name = own.find(cell)
        if name is not None and cell not in place and words[place[name]] == name:
            words[place[name]] = cell
            changed[(cell, name)] = times
    told = [f"column {target!r}: written as the sample spells them: {changes_told(changed)}"] if changed else []
    return Asked("word", words=words), told


def _positive(table: Columns, target: str, sealed: Sealed, given: str | None) -> tuple[Asked, list[str]]:
    """Return the probability (or yes and no) of the positive one of two classes.

    Raises:
        DataError: there are more classes, or which of two is meant cannot be told.
    """
    head, n = sealed.answer, len(table)
    by_number = _numbered_one(head)
    meant = {name for name in (by_number, head.positive) if name is not None}
    cells = some(sorted(set(table.values[target])), 3)
    if len(head.classes) != 2 or len(meant) != 1:
        why = "there are two classes, " if len(head.classes) == 2 else f"the model has {len(head.classes)} classes, "
        if len(meant) == 2:
            why += f"{by_number!r} has the number 1, and the positive class of the model is {head.positive!r}, "
        raise DataError(
            f"{table.where} has fractions in {target!r} ({cells}), so it wants one probability; {why}and it does not "
            f"say of which. Say it: --submission-as {typed('p_' + head.classes[-1])} (the probability of "
            f"{head.classes[-1]!r}), or --submission-as name for the names of classes."
        )
    name = meant.pop()
    other = next(one for one in head.classes if one != name)
    words = _YES_NO[0] if given == "yes-no" else ()
    told = f"column {target!r}: {'yes (1) is' if words else 'the probability of'} {name!r}, the positive class"
    other_way = f" (for the other: --submission-as {typed('p_' + other)})"
    place = head.classes.index(name)
    return Asked("yes-no" if words else "probability", [place] * n, words), [told + ("" if words else other_way)]


def _numbered_one(head: Head) -> str | None:
    """Return the class that has the number 1 where the other has 0."""
    for numbers in (head.classes, [str(number) for number in head.published or []]):
        spelled = [as_number(number) for number in numbers]
        if sorted(map(str, spelled)) == ["0", "1"]:
            return head.classes[spelled.index("1")]
    return None


def labels(table: Columns, target: str, sealed: Sealed) -> tuple[Asked, list[str]]:
    """Return the labels that hold, between what stands between them in the sample's cells.

    Raises:
        DataError: the cells are no labels.
    """
    names, own = sealed.classes, Words(sealed.classes)
    cells = {cell.strip() for cell in table.values[target]} - {""}
    split = [
        separator
        for separator in _SEPARATORS
        if not any(separator in name for name in names)
        and all(own.find(part) is not None for cell in cells for part in cell.split(separator) if part.strip())
    ]
    shown = [separator for separator in split if any(separator in cell for cell in cells)]
    if cells and (shown or split):
        separator = shown[0] if shown else split[-1]
        note = "" if shown else f"column {target!r}: labels that hold together are separated by {separator!r}"
        return Asked("labels", words=names, separator=separator), [note] if note else []
    raise DataError(
        f"{table.where}: the model answers labels that can hold together ({some(map(repr, names))}), and column "
        f"{target!r} has {some(sorted(map(repr, cells)), 3) if cells else 'nothing'}. Write labels into a cell as they "
        f"are wanted, such as {' '.join(names[:2])}; or give each label a column of its own; or ask for the "
        f"probability of one: --submission-as {typed('p_' + names[0])}"
    )


def _indices(head: Head) -> str:
    """Show the place of each class."""
    return some((f"{name} {place}" for place, name in enumerate(head.classes)), 4)


def is_number(cell: str) -> bool:
    """Return whether a cell is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _is_whole(cell: str) -> bool:
    number = as_number(cell)
    return number is not None and "." not in number


def _is_fraction(cell: str) -> bool:
    """Return whether a cell is written as a fraction: with a point or an exponent."""
    return is_number(cell) and not cell.strip().lstrip("+-").isdigit()
