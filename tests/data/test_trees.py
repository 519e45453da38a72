"""Whole trees drawn at random: read as they were made, or asked; never a class made of a split or of a parent."""

from __future__ import annotations

import shutil
import tempfile
import unicodedata
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from sourcing import read, touch

from bunryu.core.errors import BunryuError

SPELLED = {
    "train": [
        "train",
        "Train",
        "TRAINING",
        "training_set",
        "train_data",
        "01_train",
        "train2017",
        "학습",
        "훈련데이터",
    ],
    "val": ["val", "Valid", "validation", "VAL_set", "dev", "02.valid", "검증"],
    "test": ["test", "Testing", "TEST_data", "03-test", "holdout", "시험", "테스트셋"],
}
CLASSES = [
    "cat",
    "dog",
    "고양이",
    "강아지",
    "Great Dane",
    "0",
    "1",
    "10",
    "trainer",
    "contest",
    "n02085620",
    "a.b",
    "test tube",
]
WRAPPERS = ["data", "dataset", "photos", "images", "archive (1)", "내 사진"]
INNER = ["images", "img", "left", "2021", "a"]


@st.composite
def trees(draw: st.DrawFn) -> tuple[list[str], set[tuple[str, str, str]], set[str] | None]:
    """Return the files of a tree, (name, class, split) of each, and what may be asked: names of parents, or None."""
    classes = draw(st.lists(st.sampled_from(CLASSES), min_size=2, max_size=4, unique=True))
    splits = draw(
        st.sampled_from([(), ("train", "val"), ("train", "test"), ("train", "val", "test"), ("val", "train")])
    )
    folders = {split: draw(st.sampled_from(SPELLED[split])) for split in splits}
    shape = draw(st.sampled_from(["splits first", "classes first"])) if splits else "classes"
    wrappers = draw(st.lists(st.sampled_from(WRAPPERS), max_size=2, unique=True))
    doubled = draw(st.booleans())  # train/train/, as Kaggle's zips unpack
    nested = draw(st.lists(st.sampled_from(INNER), max_size=2, unique=True))
    composed = draw(st.sampled_from(["NFC", "NFD"]))
    files, expected, number = [], set(), 0
    for split in splits or ("",):
        for label in classes:
            inner = nested or [""]
            for part in inner:
                number += 1
                own = [folders[split]] * (2 if doubled else 1) if split else []
                middle = [*own, label] if shape != "classes first" else [label, *own[:1]]
                names = [*wrappers, *middle, *([part] if part else []), f"{number}.jpg"]
                files.append(unicodedata.normalize(composed, "/".join(names)))
                expected.add((f"{number}.jpg", label, split))
    return files, expected, {*folders.values(), *wrappers, *nested} if nested or shape == "classes first" else None


def read_of(root: Path, **options: str) -> set[tuple[str, str, str]]:
    table = read(root, **options)
    rows = zip(table.paths.tolist(), table.target_labels.tolist(), table.splits.tolist(), strict=True)
    return {(Path(path).name, label, split) for path, label, split in rows}


@given(trees(), st.booleans())
@settings(max_examples=150, deadline=None)
def test_a_tree_is_read_rightly_or_asked(
    tree: tuple[list[str], set[tuple[str, str, str]], set[str] | None], packed: bool
) -> None:
    files, expected, doubtful = tree
    with tempfile.TemporaryDirectory() as made:
        root = touch(Path(made, "root"), *files)
        if packed:
            root = Path(shutil.make_archive(str(Path(made, "root")), "zip", root))
        try:
            found = read_of(root)
        except BunryuError as error:
            text = str(error)
            assert doubtful, text
            assert "data.layout=" in text or "data.label_pattern=" in text or "--train-dir" in text, text
            return
    assert found == expected
