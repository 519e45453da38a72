"""Person folders, as mask competitions have them: the names of folders and files hold the labels.

``<id>_<gender>_<race>_<age>/`` with ``mask1`` to ``mask5``, ``incorrect_mask`` and ``normal`` in any image format
becomes a table with a row an image: path, person, mask, gender, age (in three groups), race and years.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bunryu.core.errors import DataError, count, some
from bunryu.data.sources.class_folders import Listing, class_folders, entries
from bunryu.data.sources.csv_files import Columns, ends_like_an_image

PUBLISHED = {
    "mask": {"worn": 0, "incorrect": 1, "none": 2},
    "gender": {"male": 0, "female": 1},
    "age": {"under30": 0, "30to59": 1, "60up": 2},
}
"""The labels, in the order of the joint one, and the number of each class: mask * 6 + gender * 3 + age."""
_STEMS = {**{f"mask{i}": "worn" for i in range(1, 6)}, "incorrect_mask": "incorrect", "normal": "none"}
_FORM = re.compile(r"(?P<id>[^_]+)_(?P<gender>male|female)_(?P<race>[^_]+)_(?P<age>[0-9]{1,3})", re.IGNORECASE)
_OWN = ("id", "gender", "age")
_EXPECTED = "ID_GENDER_RACE_AGE, such as 000001_female_Asian_45 (gender male or female, age a whole number)"


@dataclass
class _Found:
    """The rows so far, and what else a walk through person folders found."""

    rows: list[dict[str, str]] = field(default_factory=list)
    places: list[int] = field(default_factory=list)
    """The line of the source that each row comes from."""
    people: int = 0
    strangers: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    lacking: list[str] = field(default_factory=list)
    listing: Listing = field(default_factory=Listing)

    def notes(self, where: str, kind: str) -> list[str]:
        """Say what was found, in sentences."""
        told = [f"{count(len(self.rows), 'image')} of {count(self.people, 'person', 'people')} in {where} ({kind})"]
        if self.strangers:
            many = count(len(self.strangers), "image is", "images are")
            told.append(
                f"{many} called neither mask1 to mask5, incorrect_mask nor normal: not used ({some(self.strangers, 3)})"
            )
        if self.twice:
            told.append(
                f"{count(len(self.twice), 'picture lies', 'pictures lie')} there in several formats, all of which are "
                f"used: {some(self.twice, 3)}"
            )
        if self.lacking:
            people = count(len(self.lacking), "person has", "people have")
            told.append(f"{people} not all of the {len(_STEMS)} pictures: {some(self.lacking, 3)}")
        return told + self.listing.all_notes()


def are_person_folders(root: Path) -> bool:
    """Return whether most folders in `root` are named as a person's, and one of them holds such pictures."""
    folders = class_folders(root)
    named = [folder for folder in folders if _FORM.fullmatch(folder.name)]
    if 2 * len(named) <= len(folders):
        return False
    return any(_stem(entry.name) in _STEMS for folder in named for entry in entries(folder, Listing()))


def are_person_paths(cells: Sequence[str]) -> bool:
    """Return whether most cells of a path column name person folders."""
    named = [cell for cell in cells if not ends_like_an_image(cell) and _FORM.fullmatch(_name(cell))]
    return 2 * len(named) > len(cells)


def from_folders(trees: Mapping[str, Path]) -> tuple[Columns, list[str]]:
    """Read trees of person folders: {split, or "" where it is not decided: tree}. Return the table, and notes.

    Raises:
        DataError: a folder with another name, or no pictures.
    """
    found = _Found()
    splits: list[str] = []
    for split, root in trees.items():
        folders = class_folders(root)
        _require_form([folder.name for folder in folders], str(root))
        for folder in folders:
            _add(found, folder, *_labels_of(folder.name), place=len(found.rows))
        splits += [split] * (len(found.rows) - len(splits))
    where = some(map(str, trees.values()))
    columns = _columns(found, where, {"split": splits} if set(splits) != {""} else {})
    kind = "person folders" if "" in trees else f"{', '.join(trees)}: person folders"
    return columns, found.notes(where, kind)


def from_table(table: Columns, path_column: str, root: Path) -> tuple[Columns, list[str]]:
    """Read a table whose `path_column` names person folders, below `root` or its ``images``. Return table and notes.

    Columns gender, age (in years) and id win over the folders' names; all further columns are kept.

    Raises:
        DataError: a folder with another name, none of them there, or a gender or age that is none.
    """
    cells = table.values[path_column]
    _require_form([_name(cell) for cell in cells], table.where)
    root = next((place for place in (root, root / "images") if any((place / cell).is_dir() for cell in cells)), root)
    found, missing, other = _Found(), [], 0
    own = {name.lower(): name for name in table.values}
    for row, cell in enumerate(cells):
        person, gender, race, years = _labels_of(_name(cell))
        if not (root / cell).is_dir():
            missing.append(cell)
            continue
        said: dict[str, str] = {name: table.values[own[name]][row].strip() for name in _OWN if name in own}
        _require_words(said, f"{table.where}, {table.unit} {table.lines[row]}")
        labels = said.get("id", person), said.get("gender", gender).lower(), race, said.get("age", years)
        other += (labels[1], int(labels[3])) != (gender, int(years))
        _add(found, root / cell, *labels, place=row)
    if len(missing) == len(cells):
        raise DataError(
            f"None of the folders that {table.where} names is there, e.g. {root / cells[0]}. "
            "Name the folder they lie in: data.image_root=FOLDER"
        )
    kept = {
        name: [values[place] for place in found.places]
        for name, values in table.values.items()
        if name != path_column and name.lower() not in {*_OWN, "race", "mask", "person", "years"}
    }
    notes = found.notes(str(root), f"person folders of {table.where}")
    if missing:
        notes.append(f"{count(len(missing), 'folder')} of {len(cells):,} not there: {some(missing, 3)}")
    if other:
        notes.append(f"{count(other, 'row')} of the table say another gender or age than the folder's name: used")
    return _columns(found, table.where, kept), notes


def _add(found: _Found, folder: Path, person: str, gender: str, race: str, years: str, *, place: int) -> None:
    """Add the pictures of one person."""
    age = "under30" if int(years) < 30 else "30to59" if int(years) < 60 else "60up"
    seen: Counter[str] = Counter()
    for entry in entries(folder, found.listing):
        if not entry.is_file() or not ends_like_an_image(entry.name):
            found.listing.pass_over(entry)
            continue
        stem = _stem(entry.name)
        if stem not in _STEMS:
            found.strangers.append(f"{folder.name}/{entry.name}")
            continue
        seen[stem] += 1
        found.places.append(place)
        found.rows.append(
            {"path": entry.path, "person": person, "mask": _STEMS[stem], "gender": gender, "age": age}
            | {"race": race, "years": str(int(years))}
        )
    found.people += 1
    found.twice += [f"{folder.name}/{stem}" for stem, times in seen.items() if times > 1]
    if len(seen) < len(_STEMS):
        found.lacking.append(f"{folder.name} ({len(seen)})")


def _columns(found: _Found, where: str, further: dict[str, list[str]]) -> Columns:
    if not found.rows:
        told = f" Its images are called otherwise: {some(found.strangers, 3)}." if found.strangers else ""
        raise DataError(
            f"The person folders in {where} hold no pictures called mask1 to mask5, incorrect_mask or normal.{told}"
        )
    values = {name: [row[name] for row in found.rows] for name in found.rows[0]}
    return Columns(where, values | further, range(len(found.rows)), "row", published=PUBLISHED)


def _require_form(names: Iterable[str], where: str) -> None:
    wrong = sorted({name for name in names if not _FORM.fullmatch(name)})
    if wrong:
        raise DataError(
            f"{count(len(wrong), 'person folder')} in {where} not named as expected: {some(map(repr, wrong), 5)}. "
            f"Expected {_EXPECTED}. Rename or remove what is not; or, if each folder is a class, data.layout=classes."
        )


def _require_words(said: Mapping[str, str], where: str) -> None:
    if "gender" in said and said["gender"].lower() not in PUBLISHED["gender"]:
        raise DataError(f"{where}: gender is {said['gender']!r}; expected male or female.")
    if "age" in said and not (said["age"].isascii() and said["age"].isdigit()):
        raise DataError(f"{where}: age is {said['age']!r}; expected a whole number of years.")


def _labels_of(name: str) -> tuple[str, str, str, str]:
    """Return id, gender, race and years."""
    found = _FORM.fullmatch(name)
    assert found
    return found["id"], found["gender"].lower(), found["race"], found["age"]


def _name(cell: str) -> str:
    return cell.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def _stem(name: str) -> str:
    return os.path.splitext(name)[0].lower()  # noqa: PTH122
