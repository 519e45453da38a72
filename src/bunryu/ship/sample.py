"""What a competition's sample file asks for, as its own header and cells say: read, or refused with the readings."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bunryu.core.errors import ConfigError, DataError, nearest, some
from bunryu.core.same_paths import join_paths
from bunryu.core.same_text import Words
from bunryu.data.sources.csv_files import Columns, ends_like_an_image, read_csv
from bunryu.models.record import Head, Sealed
from bunryu.ship.sample_cells import Asked, is_number, labels, one_answer, yes_no_words

ANSWERS = (
    "ans", "answer", "target", "label", "class", "pred", "prediction", "category", "predicted", "labels", "tags",
    "probability", "prob", "score",
)  # fmt: skip
"""What a column to fill in is called; else it is the only one that is left."""
_IDS = ("id", "image_id", "imageid", "image", "image_name", "filename", "file_name", "file", "path", "image_path")
WAYS = ("probability", "yes-no", "name", "number", "index")
"""What --submission-as takes, beside p_CLASS."""
_BEFORE = re.compile(r"(?:p|prob|probability|proba|is|class|label|target|pred)[_ .:-]+", re.IGNORECASE)


@dataclass(frozen=True)
class Sample:
    """A sample file and what it asks for."""

    table: Columns
    image_column: str
    images: Sequence[str]
    """The image that each row means."""
    asked: Mapping[str, Asked] = field(default_factory=dict)
    """Column -> what it wants."""
    notes: Sequence[str] = ()


def read_sample(path: Path, paths: Sequence[str], sealed: Sealed, given: str | None = None) -> Sample:
    """Find out what a sample file asks for.

    A column called by a class wants its probability (or yes and no); rows that name a class (``id_class``, or a column
    of classes beside repeated images) want that class's; else one column wants an answer, of the kind its cells show.

    Args:
        path: the sample.
        paths: the images that are predicted.
        sealed: the record of the model.
        given: what the user says that the sample wants: one of `WAYS`, or p_CLASS.

    Raises:
        DataError: it cannot be told; the message has the possible readings.
        ConfigError: `given` is none of them.
    """
    table, known = read_csv(path), Known(sealed.answer, indices=given == "index")
    one = _given_class(given, known)
    image = image_column_of(table, paths, known)
    images = table.values[image]
    of_columns = {} if one is not None else _class_columns(table, image, known)
    if of_columns:
        return _by_columns(table, image, of_columns, sealed, given)
    rows = None if one is not None else _by_class_column(table, image, known)
    rows = rows or (None if one is not None else _by_ends(table, image, paths, known))
    if rows is not None:
        images, of, filled = rows
        how = yes_no_words(table, [filled], sealed, given, one_hot=False)
        return Sample(table, image, images, {filled: Asked("yes-no" if how else "probability", of, how)})
    target = answer_column(table, image)
    if target is None:
        return Sample(table, image, images)
    if one is not None:
        return Sample(table, image, images, {target: Asked("probability", [one] * len(images))})
    asked, notes = labels(table, target, sealed) if sealed.multi_label else one_answer(table, target, sealed, given)
    left = [name for name in table.values if name not in (image, target)]
    kept = [f"left as they are in the sample: {some(map(repr, left), 8)}"] if left else []
    return Sample(table, image, images, {target: asked}, [*notes, *kept])


class Known:
    """The classes of a model as words: by name, by published number, and by index where that is asked for."""

    def __init__(self, head: Head, *, indices: bool = False) -> None:
        self.names = head.classes
        numbers = range(len(head.classes)) if indices else head.published or []
        self._words = [
            (Words(words), {word: k for k, word in enumerate(words)})
            for words in (list(head.classes), [str(number) for number in numbers])
        ]
        if indices:
            self._words.reverse()

    def find(self, text: str) -> int | None:
        """Return the class that a text means."""
        for words, place in self._words:
            if (found := words.find(text)) is not None:
                return place[found]
        return None


def image_column_of(table: Columns, paths: Sequence[str] = (), known: Known | None = None) -> str:
    """Return the column that names the images: by its cells, by its name, by the `paths`; else the first of all."""
    named = (name for name, cells in table.values.items() if all(map(ends_like_an_image, cells)))
    if (found := next(named, None)) is not None or not paths or known is None:
        return found or next(iter(table.values))
    by_lower = {name.lower(): name for name in table.values}
    rest = [name for name in table.values if known.find(name) is None and name.lower() not in ANSWERS]
    if by_name := [by_lower[name] for name in _IDS if by_lower.get(name) in rest]:
        return by_name[0]
    joined = (name for name in rest if all(place >= 0 for place in join_paths(table.values[name], paths).place))
    return next(joined, rest[0] if rest else next(iter(table.values)))


def answer_column(table: Columns, images: str) -> str | None:
    """Return the column that wants one answer an image.

    Raises:
        DataError: it may be one of several.
    """
    others = [name for name in table.values if name != images]
    if found := next((name for name in others if name.lower() in ANSWERS), None):
        return found
    likely = [name for name in others if len(set(table.values[name])) < len(table) or len(table) < 3]
    if len(likely) > 1:
        raise DataError(
            f"{table.where}: cannot tell which column is to be filled in: {some(map(repr, likely), 8)}. None is called "
            "by a class of the model. If each is a class, call it by the class's name (or by its number, with "
            "--submission-as index); if one alone wants an answer, call it label."
        )
    return likely[0] if likely else others[-1] if others else None


def _given_class(given: str | None, known: Known) -> int | None:
    """Return the class whose probability the user asks for; None where that is not asked.

    Raises:
        ConfigError: `given` is no way to fill a sample.
    """
    if given is None or given in WAYS:
        return None
    place = known.find(given[2:]) if given.startswith("p_") else None
    if place is None:
        choices = [*WAYS, *(f"p_{name}" for name in known.names)]
        raise ConfigError(
            f"--submission-as: expected one of {some(choices, 12)}; received {given!r}.{nearest(given, choices)}"
        )
    return place


def _class_columns(table: Columns, images: str, known: Known) -> dict[str, int]:
    """Return column -> class of those that are called by one."""
    others = [name for name in table.values if name != images]
    found = {name: place for name in others if (place := known.find(name)) is not None}
    if not found:
        bare = {name: known.find(_BEFORE.sub("", name, count=1)) for name in others if _BEFORE.match(name)}
        found = {name: place for name, place in bare.items() if place is not None}
    if len(found) == 1 and next(iter(found)).lower() in ANSWERS:
        return {}
    twice = [place for place, times in Counter(found.values()).items() if times > 1]
    if twice:
        names = [name for name, place in found.items() if place == twice[0]]
        raise DataError(
            f"{table.where}: the columns {some(map(repr, names))} are all the class {known.names[twice[0]]!r}. "
            "Remove all but one."
        )
    return found


def _by_columns(table: Columns, image: str, of_columns: Mapping[str, int], sealed: Sealed, given: str | None) -> Sample:
    """Return a sample with a column of its own for each class."""
    strange = [name for name in table.values if name != image and name not in of_columns]
    strange = [name for name in strange if name.lower() in ANSWERS or _are_shares(table.values[name])]
    if strange:
        raise DataError(
            f"{table.where} has columns called by classes ({some(map(repr, of_columns), 3)}), and also "
            f"{some(map(repr, strange))}, which no class of the model is called."
            f"{nearest(strange[0], sealed.classes)} Call it by the class it is, or remove it."
        )
    how = yes_no_words(table, list(of_columns), sealed, given, one_hot=True)
    n, what = len(table), "yes-no" if how else "probability"
    asked = {name: Asked("yes-no" if how else "probability", [place] * n, how) for name, place in of_columns.items()}
    absent = [name for place, name in enumerate(sealed.classes) if place not in of_columns.values()]
    notes = [f"no column for {some(map(repr, absent))}, whose {what} is left out"] if absent else []
    return Sample(table, image, table.values[image], asked, [] if len(sealed.classes) == 2 else notes)


def _by_class_column(table: Columns, image: str, known: Known) -> tuple[list[str], list[int], str] | None:
    """Return images, classes and the column to fill, where a column names the class of each row of an image."""
    images = table.values[image]
    if len(set(images)) == len(images):
        return None
    for name, cells in table.values.items():
        of = [known.find(cell) for cell in cells] if name != image else [None]
        rest = [other for other in table.values if other not in (image, name)]
        if rest and None not in of and len(set(zip(images, of, strict=True))) == len(images):
            target = next((other for other in rest if other.lower() in ANSWERS), rest[-1])
            return images, [place for place in of if place is not None], target
    return None


def _by_ends(table: Columns, image: str, paths: Sequence[str], known: Known) -> tuple[list[str], list[int], str] | None:
    """Return images, classes and the column to fill, where each row is called image_CLASS."""
    cells = table.values[image]
    target = answer_column(table, image)
    if target is None or all(place >= 0 for place in join_paths(cells, paths).place):
        return None
    stems: list[str] = []
    of: list[int] = []
    for cell in cells:
        cuts = (found.start() for found in re.finditer(r"[_\-/: ]", cell) if found.start())
        ends = ((cell[:cut], known.find(cell[cut + 1 :])) for cut in cuts)
        stem, place = next((end for end in ends if end[1] is not None), ("", None))  # the longest class first
        if place is None:
            return None
        stems.append(stem)
        of.append(place)
    known_stems = all(place >= 0 for place in join_paths(stems, paths).place)
    return (stems, of, target) if known_stems else None


def _are_shares(cells: Sequence[str]) -> bool:
    """Return whether a column may hold probabilities: numbers from 0 to 1, or nothing."""
    return all(not cell.strip() or (is_number(cell) and 0 <= float(cell) <= 1) for cell in cells)
