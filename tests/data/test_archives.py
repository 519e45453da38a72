"""A zip or tar is read as the folder it holds; what is wrong with one is told, and nothing is written outside."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shlex
import struct
import tarfile
import unicodedata
import zipfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sourcing import one_message, read, rows, touch, write_csv

from bunryu.core.errors import BunryuError
from bunryu.data.sources import unpack
from bunryu.data.sources.archives import as_written, is_archive
from bunryu.data.sources.read import with_absolute_paths
from bunryu.data.splits.split_csv import read_run_rows, write_split
from bunryu.settings.data import DataSettings
from bunryu.ship.inputs import gather

NAMES = ("cat/1.png", "cat/2.png", "dog/3.png", "dog/4.png")


def packed(file: Path, folder: Path) -> Path:
    """Pack everything in a folder."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    if file.suffix == ".zip":
        with zipfile.ZipFile(file, "w") as archive:
            for path in paths:
                archive.write(path, path.relative_to(folder))
    else:
        with tarfile.open(file, "w" if file.suffix == ".tar" else f"w:{file.suffix[1:]}") as archive:
            archive.add(folder, ".")
    return file


def zipped(file: Path, names: dict[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in (names or dict.fromkeys(NAMES, b"x" * 100)).items():
            archive.writestr(name, content)
    return file


def unmarked(file: Path, names: list[bytes]) -> Path:
    """Make a zip whose names are bytes without the mark of UTF-8, as Windows' own zips have them."""
    marks = [f"{at:0{len(name)}d}" for at, name in enumerate(names)]
    zipped(file, dict.fromkeys(marks, b"x"))
    content = file.read_bytes()
    for mark, name in zip(marks, names, strict=True):
        content = content.replace(mark.encode(), name)
    file.write_bytes(content)
    return file


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz", "ZIP"])
def test_an_archive_is_read_as_its_folder(ending: str, tmp_path: Path) -> None:
    folder = touch(tmp_path / "photos", *(f"train/{name}" for name in NAMES), *(f"Validation/{name}" for name in NAMES))
    touch(folder, "__MACOSX/train/cat/._1.png", "train/.DS_Store")
    archive = packed(tmp_path / f"photos.{ending.lower()}", folder).rename(tmp_path / f"photos.{ending}")
    before = archive.read_bytes()
    found = read(archive)
    assert rows(found) == rows(read(folder))
    assert found.root == archive
    assert all(Path(found.file(row)).is_file() for row in range(len(found)))
    notes = "\n".join(found.notes)
    assert f"8 files unpacked in {os.environ['BUNRYU_CACHE']}" in notes
    assert "2 hidden or system files in it ignored" in notes
    assert f"read as: split folders train/, Validation/; 8 images in {archive}" in notes
    assert archive.read_bytes() == before
    assert set(tmp_path.iterdir()) == {archive, folder}


@pytest.mark.parametrize("name", ["model_best.pth.tar", "last.PT.tar", "last.ckpt.tar"])
def test_a_checkpoint_is_no_archive(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(b"weights")
    assert not is_archive(tmp_path / name)
    assert "archive" not in one_message(tmp_path)
    assert "unpacked" not in one_message(tmp_path / name)


def test_splits_in_several_archives_and_in_an_archive_of_archives(tmp_path: Path) -> None:
    for split in ("train", "val"):
        zipped(tmp_path / f"{split}.zip")
    apart = read(train=str(tmp_path / "train.zip"), val=str(tmp_path / "val.zip"))
    assert rows(apart)[0] == ("train.zip/cat/1.png", "cat", "train")
    assert {split for _, _, split in rows(apart)} == {"train", "val"}
    outer = zipped(tmp_path / "all.zip", {f"{s}.zip": (tmp_path / f"{s}.zip").read_bytes() for s in ("train", "val")})
    advised = re.findall(r"--(\w+)-dir (\S+)", one_message(outer))
    assert advised == [("train", f"{outer}/train.zip"), ("val", f"{outer}/val.zip")]
    assert rows(read(advised[0][1]))[0] == ("cat/1.png", "cat", "")
    both = read(**dict(advised))
    alone = zipped(tmp_path / "alone.zip", {"photos.zip": (tmp_path / "train.zip").read_bytes()})
    assert f"bunryu train {alone}/photos.zip" in one_message(alone)
    for table, root in ((apart, tmp_path), (both, outer)):
        write_split(tmp_path / "split.csv", table)
        again = read_run_rows(tmp_path / "split.csv", root, "label")
        assert table.root == root
        assert [again.file(row) for row in range(8)] == [table.file(row) for row in range(8)]
        assert Path(again.file(7)).is_file()


def test_a_swept_cache_is_unpacked_again(tmp_path: Path) -> None:
    archive = zipped(tmp_path / "photos.zip")
    table = read(train=str(archive))
    write_split(tmp_path / "split.csv", table)
    Path(table.file(2)).unlink()
    assert Path(read(archive).file(2)).is_file()
    for path in sorted(Path(os.environ["BUNRYU_CACHE"]).rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    again = read_run_rows(tmp_path / "split.csv", table.root, "label")
    assert Path(again.file(2)).is_file()
    moved = archive.rename(tmp_path / "elsewhere.zip")
    assert read(moved).file(2).endswith("dog/3.png")
    assert read_run_rows(tmp_path / "split.csv", table.root, "label").file(2) == f"{archive}/dog/3.png"


KOREAN = ("고양이/가.png", "강아지/나.png")


def test_spaces_of_all_kinds_in_names(tmp_path: Path) -> None:
    names = ("고양이\u3000사진/가\u00a0나.png", "강아지 사진/\u200bx.png")
    table = read(zipped(tmp_path / "photos.zip", dict.fromkeys(names, b"x")))
    assert all(Path(table.file(row)).is_file() for row in range(2))


def test_a_dataframe_of_pictures_in_an_archive(tmp_path: Path) -> None:
    pd = pytest.importorskip("pandas")
    frame = pd.DataFrame({"path": list(NAMES), "label": ["a", "b"] * 2})
    root = DataSettings(image_root=str(zipped(tmp_path / "photos.zip")))
    assert with_absolute_paths(frame, root) is frame
    table = read(frame, image_root=root.image_root)
    assert rows(table)[0] == ("cat/1.png", "a", "")
    assert table.root == tmp_path / "photos.zip"


@pytest.mark.parametrize(
    ("encoding", "told"), [("cp949", "2 names in it read as cp949 (Korean Windows)"), ("utf-8", None)]
)
def test_names_of_korean_windows_and_of_unmarked_utf8(encoding: str, told: str | None, tmp_path: Path) -> None:
    table = read(unmarked(tmp_path / "photos.zip", [name.encode(encoding) for name in KOREAN]))
    assert {label for _, label, _ in rows(table)} == {"고양이", "강아지"}
    assert [Path(table.file(row)).is_file() for row in range(2)] == [True, True]
    assert bool(told) == any(
        "read as" in note and "unpacked" not in note and "tree" not in note for note in table.notes
    )
    assert told is None or any(told in note for note in table.notes)


def test_names_of_dos_and_of_macos(tmp_path: Path) -> None:
    dos = read(unmarked(tmp_path / "dos.zip", ["caf\u00e9./1.png".encode("cp437"), b"the./2.png"]))
    assert {label for _, label, _ in rows(dos)} == {"café.", "the."}
    mac = {unicodedata.normalize("NFD", name): b"x" for name in KOREAN}
    write_csv(tmp_path / "labels.csv", "path,label\n" + "".join(f"{name},{name[0]}\n" for name in KOREAN))
    zipped(tmp_path / "mac.zip", mac)
    assert {label for _, label, _ in rows(read(tmp_path / "mac.zip"))} == {"고양이", "강아지"}
    table = read(tmp_path / "labels.csv", image_root=str(tmp_path / "mac.zip"))
    assert all(Path(table.file(row)).is_file() for row in range(2))


@pytest.mark.parametrize("system", [0, 3])
def test_backslashes_of_windows_are_folders(system: int, tmp_path: Path) -> None:
    file = zipped(tmp_path / "photos.zip", {"cat|1.png": b"", "dog|2.png": b""})
    content = bytearray(file.read_bytes().replace(b"|", b"\\"))
    at = -1
    while (at := content.find(b"PK\x01\x02", at + 1)) >= 0:
        content[at + 5] = system  # 0: made on DOS; some packers there write 3 all the same
    file.write_bytes(content)
    assert {label for _, label, _ in rows(read(file))} == {"cat", "dog"}


def evil_tar(file: Path, name: str) -> Path:
    with tarfile.open(file, "w") as archive:
        for own in (*NAMES, name):
            info = tarfile.TarInfo(own)
            info.size = 1
            archive.addfile(info, io.BytesIO(b"x"))
    return file


@pytest.mark.parametrize("name", ["../evil.png", "/tmp/evil.png", "C:/evil.png", "cat/../../evil.png", "C:evil.png"])
@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_nothing_is_written_outside(ending: str, name: str, tmp_path: Path) -> None:
    file = tmp_path / f"photos.{ending}"
    evil_tar(file, name) if ending == "tar" else zipped(file, dict.fromkeys((*NAMES, name), b"x"))
    assert "would be written outside the folder" in one_message(file)
    assert not list(Path(os.environ["BUNRYU_CACHE"]).rglob("*.png"))
    assert not list(tmp_path.rglob("evil.png"))


@given(st.lists(st.text("ab./\\C:~ ", min_size=1, max_size=12), min_size=1, max_size=4))
@settings(max_examples=60, deadline=None)
def test_whatever_members_are_called_they_stay_within(names: list[str]) -> None:
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        (folder := Path(made, "a", "b", "c")).mkdir(parents=True)
        file = zipped(Path(made, "photos.zip"), dict.fromkeys(names, b"x"))
        with contextlib.suppress(BunryuError):
            unpack.unpack(file, folder)
        outside = [path for path in Path(made).rglob("*") if path.is_file() and folder not in path.parents]
        assert outside == [file]


def test_links_and_devices_are_passed_over(tmp_path: Path) -> None:
    file = tmp_path / "photos.tar"
    with tarfile.open(file, "w") as archive:
        for name in NAMES:
            archive.addfile(tarfile.TarInfo(name), io.BytesIO())
        for name, kind in (
            ("dog/link.png", tarfile.SYMTYPE),
            ("dog/hard.png", tarfile.LNKTYPE),
            ("p.png", tarfile.FIFOTYPE),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "cat/1.png"
            archive.addfile(info)
    table = read(file)
    assert [path for path, _, _ in rows(table)] == [*NAMES, "dog/hard.png"]
    assert any("2 links or devices in it passed over" in note for note in table.notes)
    zip_file = tmp_path / "photos.zip"
    with zipfile.ZipFile(zip_file, "w") as archive:
        for name in NAMES:
            archive.writestr(name, b"x")
        link = zipfile.ZipInfo("dog/link.png")
        link.external_attr = 0o120777 << 16
        archive.writestr(link, "/etc/passwd")
    assert len(read(zip_file)) == len(NAMES)


def test_damaged_members_are_told_and_the_rest_is_read(tmp_path: Path) -> None:
    file = tmp_path / "photos.zip"
    with zipfile.ZipFile(file, "w") as archive:
        for at, name in enumerate(NAMES):
            archive.writestr(name, f"content number {at}")
    file.write_bytes(file.read_bytes().replace(b"content number 1", b"CONTENT number 1"))
    table = read(file)
    assert [path for path, _, _ in rows(table)] == ["cat/1.png", "dog/3.png", "dog/4.png"]
    assert any("1 file in it damaged: not used (cat/2.png)" in note for note in table.notes)
    assert read(file).notes == table.notes, "told by later runs too"


def encrypted(file: Path) -> None:
    content = bytearray(zipped(file).read_bytes())
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        start = content.find(magic)
        content[start + at] |= 1
    file.write_bytes(content)


def of_method_9(file: Path) -> None:
    content = bytearray(zipped(file).read_bytes())
    for magic, at in ((b"PK\x03\x04", 8), (b"PK\x01\x02", 10)):
        start = content.find(magic)
        content[start + at : start + at + 2] = struct.pack("<H", 9)
    file.write_bytes(content)


def cut_off(file: Path) -> None:
    file.write_bytes(zipped(file).read_bytes()[:-40])


WRONG = {
    "encrypted": (encrypted, "1 of 4 members are encrypted, such as cat/1.png", "7z x "),
    "another method": (of_method_9, "cannot unpack (Deflate64, as Windows packs large files)", "7z x "),
    "cut off": (cut_off, "its end is missing, as where a download was cut off", "Fetch it again"),
    "a page": (lambda file: file.write_text("<!DOCTYPE html>"), "it is a page of the web", "Fetch it again"),
    "empty": (lambda file: file.write_bytes(b""), "not a zip file", "Fetch it again"),
    "no pictures": (
        lambda file: zipped(file, {"a.txt": b""}),
        "There are no class folders and no images in",
        "cat/1.jpg",
    ),
    "a file and a folder": (lambda file: zipped(file, {"cat": b"", "cat/1.png": b""}), "cannot stand beside", "7z x "),
}


@pytest.mark.parametrize("kind", WRONG)
def test_what_is_wrong_with_an_archive_is_told(kind: str, tmp_path: Path) -> None:
    make, what, mend = WRONG[kind]
    make(file := tmp_path / "photos.zip")
    text = one_message(file)
    assert what in text
    assert mend in text
    assert str(file) in text
    assert os.environ["BUNRYU_CACHE"] not in text
    assert not list(Path(os.environ["BUNRYU_CACHE"]).rglob("*.png")), "nothing half unpacked is left"


def test_a_tar_that_is_cut_off_is_told(tmp_path: Path) -> None:
    for at, name in enumerate(NAMES):
        write_csv(tmp_path / "photos" / name, "".join(str(hash((at, n))) for n in range(500)))
    file = packed(tmp_path / "photos.tar.gz", tmp_path / "photos")
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])
    assert "cannot be unpacked" in one_message(file)


def test_bombs_and_full_disks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    zeros = dict.fromkeys(NAMES, bytes(1_000_000))
    file, gz = zipped(tmp_path / "photos.zip", zeros), tmp_path / "photos.tar.gz"
    with tarfile.open(gz, "w:gz") as archive:
        for name, content in zeros.items():
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    for archive_file in (file, gz):
        monkeypatch.setattr(unpack, "_SMALL", 1_000_000)
        assert "may be a zip bomb" in one_message(archive_file)
        monkeypatch.setattr(unpack, "_SMALL", 10**10)
        monkeypatch.setattr(unpack, "_SPARED", 10**18)
        assert "BUNRYU_CACHE=FOLDER" in one_message(archive_file)
        monkeypatch.setattr(unpack, "_SPARED", 0)
        assert len(read(archive_file)) == len(NAMES)


def test_the_advice_of_a_message_leads_into_the_archive(tmp_path: Path) -> None:
    """Also where the archive's name needs quotes."""
    for name in ("photos.zip", "my photos.zip"):
        zipped(tmp_path / name, {"labels.csv": b"path,label\n1.png,a\n2.png,b\n", "1.png": b"", "2.png": b""})
        text = one_message(tmp_path / name)
        _, _, data = shlex.split(text[text.index("bunryu train ") :])[:3]
        assert data == f"{tmp_path / name}/labels.csv"
        assert rows(read(data)) == [("1.png", "a", ""), ("2.png", "b", "")]
    assert f"Did you mean '{tmp_path}/photos.zip/labels.csv'?" in one_message(f"{tmp_path}/photos.zip/label.csv")
    assert "data.label_column belongs to a CSV" in one_message(zipped(tmp_path / "z.zip"), label_column="x")


def test_a_table_beside_the_zip_of_its_pictures(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    zipped(tmp_path / "d/train.zip", {"train/1.png": b"", "train/2.png": b""})
    for name, cells in (("full", ("1.png", "2.png")), ("ids", ("1", "2"))):
        table = write_csv(tmp_path / f"d/{name}.csv", f"id,label\n{cells[0]},a\n{cells[1]},b\n")
        advised = re.findall(r"data.image_root=([^\s?]+)", one_message(table))
        assert advised == [f"{tmp_path}/d/train.zip/train"]
        found = read(table, image_root=advised[0])
        assert rows(found) == [("1.png", "a", ""), ("2.png", "b", "")]
        assert Path(found.file(0)).is_file()


def test_inputs_of_predict(tmp_path: Path) -> None:
    given_as = str(zipped(tmp_path / "new.zip"))
    found = gather([given_as])
    assert found.names == [f"{given_as}/{name}" for name in NAMES]
    assert all(Path(str(file)).is_file() for file in found.files)
    assert gather([f"{given_as}/dog"]).names == [f"{given_as}/{name}" for name in NAMES[2:]]
    assert gather([f"{given_as}/dog/3.png"]).names == [f"{given_as}/dog/3.png"]
    assert gather([f"{tmp_path}/*.zip"]).names == found.names
    with pytest.raises(BunryuError, match=re.escape(f"{given_as}/dog/5.png")):
        gather([f"{given_as}/dog/5.png"])


@given(st.text("a ('\"é", max_size=8), st.text("b .", max_size=6))
@settings(max_examples=50, deadline=None)
def test_messages_name_the_archive_alone(name: str, inner: str) -> None:
    opened = {f"/data/{name}.zip": "/cache/unpacked/k/n"}
    shown: Any = as_written(f"There is no file /cache/unpacked/k/n/{inner} in /cache/unpacked/k/n.", opened)
    assert "/cache" not in shown
