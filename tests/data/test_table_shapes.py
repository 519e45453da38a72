"""Tables in the shapes that they are published in: each reads to the rows that path,label would give."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sourcing import one_message, read, rows, touch, write_csv

CLASSES = ("NV", "MEL", "BCC")
FILES = [f"images/{label}_{i}.jpg" for i in range(3) for label in CLASSES]
LABELS = [label for _ in range(3) for label in CLASSES]
EXPECTED = sorted(zip((f"{name}" for name in FILES), LABELS, strict=True))


def one_hot(yes: str = "1", no: str = "0", names: list[str] | None = None, beside: str = "") -> str:
    lines = [f"image,{','.join(CLASSES)}" + (",id" if beside else "")]
    for number, (file, label) in enumerate(zip(names or FILES, LABELS, strict=True)):
        cells = [yes if label == one else no for one in CLASSES]
        lines.append(",".join([file, *cells, *([str(number % 2)] if beside else [])]))
    return "\n".join(lines) + "\n"


STEMS = [file.removesuffix(".jpg") for file in FILES]
SHAPES: dict[str, tuple[str, str]] = {
    "path,label": ("t.csv", "path,label\n" + "".join(f"{f},{c}\n" for f, c in zip(FILES, LABELS, strict=True))),
    "one-hot": ("t.csv", one_hot()),
    "one-hot, as pandas writes it": ("t.csv", one_hot("1.0", "0.0")),
    "one-hot, an id of 0 and 1 beside": ("t.csv", one_hot(beside="id")),
    "one-hot, ids without an ending": ("t.csv", one_hot(names=STEMS)),
    "a list with spaces": ("train.txt", "".join(f"{f} {c}\n" for f, c in zip(FILES, LABELS, strict=True))),
    "a list with tabs": ("train.txt", "".join(f"{f}\t{c}\n" for f, c in zip(FILES, LABELS, strict=True))),
    "a CSV without a header": ("t.csv", "".join(f"{f},{c}\n" for f, c in zip(FILES, LABELS, strict=True))),
    "ids by their column's name": (
        "t.csv",
        "id_code,diagnosis\n" + "".join(f"{f},{c}\n" for f, c in zip(STEMS, LABELS, strict=True)),
    ),
    "JSON lines": (
        "metadata.jsonl",
        "\n".join(json.dumps({"file_name": f, "label": c}) for f, c in zip(FILES, LABELS, strict=True)),
    ),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_reads_to_the_same_rows(shape: str, tmp_path: Path) -> None:
    name, text = SHAPES[shape]
    touch(tmp_path, *FILES)
    table = read(write_csv(tmp_path / name, text))
    assert sorted((path.removeprefix("/"), label) for path, label, _ in rows(table)) == sorted(
        (Path(path).as_posix() if table.root == tmp_path else Path(path).name, label) for path, label in EXPECTED
    )


def test_a_folder_of_hugging_face_with_json_lines(tmp_path: Path) -> None:
    for split, number in (("train", 3), ("test", 1)):
        names = {f"{label}{i}.jpg": label for label in CLASSES for i in range(number)}
        touch(tmp_path / split, *names)
        lines = "\n".join(json.dumps({"file_name": name, "label": label}) for name, label in names.items())
        (tmp_path / split / "metadata.jsonl").write_text(lines)
    found = rows(read(tmp_path))
    assert len(found) == 12
    assert all(Path(path).name.startswith(label) for path, label, _ in found)
    assert {split for _, _, split in found} == {"train", "test"}


def test_rows_with_several_or_no_1_are_no_classes(tmp_path: Path) -> None:
    touch(tmp_path, *FILES)
    for first in ("images/NV_0.jpg,1,1,0", "images/NV_0.jpg,0,0,0"):
        text = one_hot().replace("images/NV_0.jpg,1,0,0", first)
        assert "Cannot tell which column" in one_message(write_csv(tmp_path / "t.csv", text))
        labels = read(tmp_path / "t.csv", multi_label=list(CLASSES)).label_names
        assert labels == CLASSES


@settings(max_examples=40, deadline=None)
@given(labels=st.lists(st.integers(0, 3), min_size=6, max_size=12).filter(lambda found: len(set(found)) > 1))
def test_one_hot_columns_say_what_the_labels_say(labels: list[int], tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("t")
    names = [f"{i:02d}.jpg" for i in range(len(labels))]
    touch(folder, *names)
    kinds = [f"kind {k}" for k in range(4)]
    text = "image," + ",".join(kinds) + "\n"
    text += "".join(
        f"{n},{','.join('01'[k == label] for k in range(4))}\n" for n, label in zip(names, labels, strict=True)
    )
    found = rows(read(write_csv(folder / "t.csv", text)))
    assert [label for _, label, _ in found] == [kinds[label] for label in labels]


def test_a_measurement_or_a_split_of_0_and_1_is_no_class(tmp_path: Path) -> None:
    touch(tmp_path, *FILES)
    text = "path,is_valid,y1,y2\n" + "".join(f"{f},{int(i > 5)},{i % 2},{1 - i % 2}\n" for i, f in enumerate(FILES))
    table = read(write_csv(tmp_path / "t.csv", text))
    assert set(table.splits.tolist()) == {"train", "val"}
    assert set(table.target_labels.tolist()) == {"y1", "y2"}


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "line 2: this is no JSON"),
        ("[1]", "line 2: expected a JSON object"),
        ("[" * 100_000, "line 2: this is no JSON"),
        ('{"file_name": "a.jpg", "label": {"a": 1}}', "line 2: 'label' is dict"),
    ],
)
def test_json_lines_that_are_none(line: str, told: str, tmp_path: Path) -> None:
    path = tmp_path / "t.jsonl"
    path.write_text(f'{{"file_name": "b.jpg", "label": "x"}}\n{line}\n')
    assert told in one_message(path)


def test_an_archive_is_told_how_to_unpack(tmp_path: Path) -> None:
    path = tmp_path / "my photos.7z"
    path.write_bytes(b"7z")
    command = one_message(path).partition("give the folder: ")[2]
    assert shlex.split(command) == ["7z", "x", str(path)]


@pytest.mark.parametrize("column", ["video_id", "hospital", "slide", "session"])
def test_a_column_like_a_group_is_named_and_its_advice_keeps_groups_whole(column: str, tmp_path: Path) -> None:
    touch(tmp_path, *FILES)
    text = f"path,label,{column}\n" + "".join(
        f"{f},{c},{i // 3}\n" for i, (f, c) in enumerate(zip(FILES, LABELS, strict=True))
    )
    path = write_csv(tmp_path / "t.csv", text)
    note = next(note for note in read(path).notes if column in note and "data.group_column=" in note)
    advised = note.partition("data.group_column=")[2].split()[0]
    assert read(path, group_column=advised).groups is not None


def test_a_list_of_json_objects_is_a_table(tmp_path: Path) -> None:
    touch(tmp_path, "a.jpg", "b.jpg")
    path = tmp_path / "labels.json"
    path.write_text('[{"file_name": "a.jpg", "label": "x"},\n {"file_name": "b.jpg", "label": 3}]', encoding="utf-8")
    assert rows(read(path)) == [("a.jpg", "x", ""), ("b.jpg", "3", "")]
    path.write_text('{"images": [], "annotations": []}', encoding="utf-8")
    assert "expected a list of objects" in one_message(path)
    assert "received 'images', 'annotations'" in one_message(path)
    path.write_text('[{"file_name": "a.jpg", "label": ["x"]}]', encoding="utf-8")
    assert "row 1: 'label' is list" in one_message(path)
