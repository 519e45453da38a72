from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bunryu.core.errors import DataError, ImageError
from bunryu.data.checks import check as checks
from bunryu.data.checks import memory, verdict
from bunryu.data.checks.check import Checked, cache_file, check_images, require_no_leaks, require_usable
from bunryu.data.table import Table, texts
from bunryu.settings.data import DataSettings, DecodeSpec

SPEC = DecodeSpec()
SHARED = Path(__file__).parents[3] / "shared" / "data"


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BUNRYU_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


def picture(colour: int = 0, size: tuple[int, int] = (12, 8), kind: str = "PNG", frames: int = 1) -> bytes:
    stream = BytesIO()
    ims = [Image.new("RGB", size, (colour, (3 * colour + 90 * i) % 256, 7)) for i in range(frames)]
    ims[0].save(stream, kind, **({"save_all": True, "append_images": ims[1:]} if frames > 1 else {}))
    return stream.getvalue()


def noise(kind: str = "JPEG") -> bytes:
    stream = BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3)).astype(np.uint8)).save(stream, kind)
    return stream.getvalue()


def make(root: Path, files: dict[str, bytes | None], labels: Sequence[str] = (), splits: Sequence[str] = ()) -> Table:
    for name, content in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        if content is not None:
            (root / name).write_bytes(content)
    n = len(files)
    return Table(
        root=root,
        paths=texts(list(files)),
        labels={"label": texts(list(labels) or ["a"] * n)},
        splits=texts(list(splits) or [""] * n),
    )


def check(table: Table, level: verdict.Level = "full", cap: int = SPEC.max_pixels) -> Checked:
    checked = check_images(table, DecodeSpec(max_pixels=cap), level=level, workers=2)
    assert len(checked.table) + len(checked.skipped) == len(table)
    assert all(row.reason for row in checked.skipped)
    return checked


def photos(root: Path, n: int = 10) -> Table:
    return make(root, {f"사진 {i}.png": picture(i) for i in range(n)})


def test_bad_files_are_skipped_with_their_reasons_and_the_order_is_kept(tmp_path: Path) -> None:
    files = {
        "good.png": picture(1),
        "empty.jpg": b"",
        "cut.jpg": noise()[:2000],
        "text.jpg": b"not an image at all",
        "gone.jpg": None,
        "large.png": picture(2, (200, 200)),
        "moving.gif": picture(3, (30, 20), "GIF", frames=3),
        "folder.png": None,
        "nul\0.png": None,
        "lone \ud83d.png": None,
    }
    (tmp_path / "data" / "folder.png").mkdir(parents=True)
    table = make(tmp_path / "data", files, splits=["train"] * len(files))
    checked = check(table, cap=10_000)
    assert checked.table.paths.tolist() == ["good.png", "moving.gif"]
    assert [row.path for row in checked.skipped] == [p for p in files if p not in ("good.png", "moving.gif")]
    reasons = {row.path: row.reason for row in checked.skipped}
    assert "truncated" in reasons["cut.jpg"]
    assert "10,000" in reasons["large.png"]
    assert reasons["gone.jpg"] == "no such file"
    assert reasons["folder.png"] == "a folder, not a file"
    assert checked.skipped[0] == checks.Skipped("empty.jpg", "a", "train", reasons["empty.jpg"])
    assert (checked.frames > 1).sum() == 1
    assert checked.widths.tolist() == [12, 30]
    assert checked.heights.tolist() == [8, 20]
    assert checked.table.digests is not None
    assert [len(digest) for digest in checked.table.digests] == [32, 32]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    table = make(tmp_path, {"pipe.jpg": None})
    os.mkfifo(tmp_path / "pipe.jpg")
    assert check(table).skipped[0].reason == "not a regular file"


def test_nothing_of_the_users_is_changed(tmp_path: Path) -> None:
    table = photos(tmp_path / "data")
    before = {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in (tmp_path / "data").rglob("*")}
    check(table)
    assert {f: (f.read_bytes(), f.stat().st_mtime_ns) for f in (tmp_path / "data").rglob("*")} == before


def test_levels(tmp_path: Path) -> None:
    table = make(tmp_path, {"cut.jpg": noise()[:2000], "text.jpg": b"text", "gone.jpg": None})
    assert [row.path for row in check(table, "none").skipped] == ["gone.jpg"]
    assert [row.path for row in check(table, "header").skipped] == ["text.jpg", "gone.jpg"]
    assert len(check(table, "full").skipped) == 3
    # What is known does not change what is asked.
    assert check(table, "header").widths.tolist() == [64]
    assert check(table, "none").widths.tolist() == [0, 0]
    assert len(check(table, "full").skipped) == 3


@pytest.mark.parametrize("caps", [(50, 5000, 50), (5000, 50, 5000)])
@pytest.mark.parametrize("level", ["full", "header"])
def test_another_pixel_cap_gets_its_own_verdict(tmp_path: Path, caps: tuple[int, ...], level: verdict.Level) -> None:
    table = make(tmp_path, {"small.png": picture(1, (5, 5)), "large.png": picture(2, (30, 30))})
    for cap in caps:
        assert len(check(table, level, cap).table) == (2 if cap == 5000 else 1)


def forbid_reading(monkeypatch: pytest.MonkeyPatch, *, hashing: bool = False) -> None:
    def no(*args: Any) -> Any:
        raise AssertionError("read again")

    monkeypatch.setattr(verdict, "read_header", no)
    monkeypatch.setattr(verdict, "examine", no)
    if hashing:
        monkeypatch.setattr(checks, "look", no)


def same(one: Checked, other: Checked) -> bool:
    return (
        one.skipped == other.skipped
        and (one.table.digests == other.table.digests).all()
        and (one.widths == other.widths).all()
        and np.array_equal(one.frames, other.frames)
        and one.facts == other.facts
    )


@pytest.mark.parametrize("second", ["full", "header"])
def test_a_second_check_reads_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, second: verdict.Level) -> None:
    table = make(
        tmp_path,
        {f"{i}.png": picture(i) for i in range(9)} | {"x.png": b"x", "y.gif": picture(1, kind="GIF")},
    )
    first = check(table)
    assert first.remembered == 0
    forbid_reading(monkeypatch, hashing=True)
    again = check(table, second)
    assert again.remembered == len(table)
    assert same(first, again)


def test_a_header_check_does_not_stand_for_a_full_one(tmp_path: Path) -> None:
    table = make(tmp_path, {"cut.jpg": noise()[:2000]})
    assert len(check(table, "header").table) == 1
    assert len(check(table, "full").skipped) == 1


def test_a_copied_folder_is_the_same_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = photos(tmp_path / "one")
    first = check(table)
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    forbid_reading(monkeypatch)
    again = check(make(tmp_path / "two", dict.fromkeys(table.paths)))
    assert again.remembered == len(table)
    assert same(first, again)


@pytest.mark.skipif(os.name != "posix", reason="a change of size or time is needed elsewhere")
def test_a_changed_file_is_read_again_even_with_its_old_size_and_time(tmp_path: Path) -> None:
    table = make(tmp_path, {"one.bmp": picture(1, kind="BMP")})
    first = check(table)
    times = (tmp_path / "one.bmp").stat().st_mtime_ns
    (tmp_path / "one.bmp").write_bytes(picture(2, kind="BMP"))
    os.utime(tmp_path / "one.bmp", ns=(times, times))
    again = check(table)
    assert again.remembered == 0
    assert first.table.digests is not None
    assert again.table.digests is not None
    assert first.table.digests[0] != again.table.digests[0]


def test_a_new_version_of_the_check_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = photos(tmp_path)
    check(table)
    monkeypatch.setattr(memory, "CHECK_VERSION", memory.CHECK_VERSION + 1)
    assert check(table).remembered == 0
    assert check(table).remembered == len(table)


def test_a_disk_error_is_not_taken_for_a_bad_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = photos(tmp_path, 3)
    monkeypatch.setattr(verdict, "MAX_BYTES_HELD", 0)  # smaller files are decoded from memory at once
    examine = verdict.examine

    def flaky(source: Any, spec: DecodeSpec) -> Any:
        if not isinstance(source, bytes):
            raise ImageError("cannot be read: Input/output error")
        return examine(source, spec)

    monkeypatch.setattr(verdict, "examine", flaky)
    assert len(check(table).table) == 3


@pytest.mark.parametrize("held", [0, 1 << 20])
@pytest.mark.parametrize("reason", ["damaged", None])
@pytest.mark.parametrize("then", ["deleted", "changed"])
def test_a_file_that_changes_meanwhile_is_skipped_and_not_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, then: str, reason: str | None, held: int
) -> None:
    table = make(tmp_path, {"one.png": picture(1)})

    def meanwhile(source: Any, spec: DecodeSpec) -> Any:
        if then == "changed":
            (tmp_path / "one.png").write_bytes(b"something else")
        else:
            (tmp_path / "one.png").unlink()
        if reason:
            raise ImageError(reason)

    with monkeypatch.context() as patch:
        patch.setattr(verdict, "MAX_BYTES_HELD", held)
        patch.setattr(verdict, "examine", meanwhile)
        assert check(table).skipped[0].reason in ("no such file", "changed while it was being checked")
    (tmp_path / "one.png").write_bytes(picture(1))
    assert len(check(table).table) == 1


def test_lack_of_memory_is_not_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = photos(tmp_path, 2)

    def tight(source: Any, spec: DecodeSpec) -> Any:
        raise ImageError("needs more memory than there is") from MemoryError()

    with monkeypatch.context() as patch:
        patch.setattr(verdict, "examine", tight)
        assert len(check(table).skipped) == 2
    assert len(check(table).table) == 2


def test_what_was_learned_before_ctrl_c_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = photos(tmp_path, 20)
    monkeypatch.setattr(checks, "_ROWS_AT_ONCE", 8)
    examine, last = verdict.examine, (tmp_path / "사진 17.png").read_bytes()

    def interrupted(source: Any, spec: DecodeSpec) -> Any:
        if source == last:
            raise KeyboardInterrupt
        return examine(source, spec)

    with monkeypatch.context() as patch:
        patch.setattr(verdict, "examine", interrupted)
        with pytest.raises(KeyboardInterrupt):
            check(table)
    assert check(table).remembered >= 16


# The cache is never a reason to fail.


def test_the_cache_lies_where_the_variable_says(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert cache_file() == cache / "checks.sqlite"
    monkeypatch.delenv("BUNRYU_CACHE")
    assert cache_file().name == "checks.sqlite"
    assert "bunryu" in cache_file().parts


@pytest.mark.parametrize("damage", ["garbage", "middle"])
def test_a_damaged_cache_is_begun_anew(
    tmp_path: Path, cache: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    table = photos(tmp_path / "data", 200)
    check(table)
    content = bytearray(cache_file().read_bytes())
    content[slice(0, None) if damage == "garbage" else slice(4096, None)] = b"garbage " * 500
    cache_file().write_bytes(content)
    capsys.readouterr()
    assert len(check(table).table) == 200
    assert capsys.readouterr().err.count("it is begun anew") == 1
    assert check(table).remembered == 200
    assert capsys.readouterr().err == ""


def test_without_a_place_for_the_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BUNRYU_CACHE", str(tmp_path / "file" / "below"))
    assert len(check(photos(tmp_path)).table) == 10
    assert capsys.readouterr().err.count("\n") == 1


def test_a_read_only_cache_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    check(photos(tmp_path))
    connect = sqlite3.connect

    def read_only(file: Path, **options: Any) -> sqlite3.Connection:
        return connect(f"{file.as_uri()}?mode=ro", uri=True, **options)

    monkeypatch.setattr(memory.sqlite3, "connect", read_only)
    more = make(tmp_path, {f"사진 {i}.png": None if i < 10 else picture(i) for i in range(11)})
    assert check(make(tmp_path, dict.fromkeys(more.paths[:9]))).remembered == 9
    assert capsys.readouterr().err == ""
    (tmp_path / "사진 3.png").write_bytes(picture(33))
    assert len(check(more).table) == 11
    assert capsys.readouterr().err.count("\n") == 1


def test_a_locked_cache_is_not_waited_for_long(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    table = photos(tmp_path)
    check(table)
    monkeypatch.setattr(memory, "_LOCK_SECONDS", 0.05)
    with contextlib.closing(sqlite3.connect(cache_file())) as other:
        other.execute("BEGIN EXCLUSIVE")
        assert len(check(table).table) == 10
    assert capsys.readouterr().err.count("\n") == 1
    assert check(table).remembered == 10


def test_a_large_cache_is_emptied(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = photos(tmp_path)
    check(table)
    with monkeypatch.context() as patch:
        patch.setattr(memory, "_MAX_BYTES", 1)
        assert check(table).remembered == 0
    assert check(table).remembered == 10


def test_an_emptied_cache_stays_in_use(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file does not shrink when it is emptied: what counts is what it holds."""
    table = photos(tmp_path)
    check(table)
    with contextlib.closing(sqlite3.connect(cache_file())) as db, db:
        db.execute("CREATE TABLE large (content BLOB)")
        db.execute("INSERT INTO large VALUES (zeroblob(1000000))")
        db.execute("DELETE FROM large")
    assert cache_file().stat().st_size > 1_000_000
    monkeypatch.setattr(memory, "_MAX_BYTES", 1_000_000)
    assert check(table).remembered == 10


CHILD = """
import sys
from pathlib import Path
from bunryu.data.checks.check import check_images
from bunryu.settings.data import DecodeSpec
from bunryu.data.table import Table, texts
root = Path(sys.argv[1])
{before}
paths = sorted(file.name for file in root.iterdir())
table = Table(root, texts(paths), {{"label": texts(paths)}}, texts([""] * len(paths)))
print(len(check_images(table, DecodeSpec(), level="full", workers=1).table))
"""


def child(root: Path, before: str = "") -> subprocess.Popen[str]:
    code = CHILD.format(before=before)
    options: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    source = str(Path(checks.__file__).parents[3])
    environment = os.environ | {"PYTHONPATH": source}
    return subprocess.Popen([sys.executable, "-c", code, str(root)], env=environment, **options)


def test_two_processes_share_the_cache(tmp_path: Path) -> None:
    table = photos(tmp_path / "data", 60)
    both = [child(tmp_path / "data") for _ in range(2)]
    for process in both:
        assert process.communicate(timeout=60) == ("60\n", "")
    assert check(table).remembered == 60


@pytest.mark.skipif(sys.platform != "linux", reason="the limit on file sizes stands in for a full disk")
def test_a_full_disk_is_no_error(tmp_path: Path) -> None:
    photos(tmp_path / "data", 200)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (16384, 16384))"
    out, err = child(tmp_path / "data", limit).communicate(timeout=60)
    assert out == "200\n"
    assert err.count("\n") == 1
    assert "not remembered" in err


# Verdicts on the whole.


def test_copies_are_found_by_content(tmp_path: Path) -> None:
    files = {f"{i}.png": picture(colour) for i, colour in enumerate([1, 1, 2, 2, 3, 3, 4, 4, 5])}
    table = make(
        tmp_path,
        {"bad.png": b"", **files},
        labels=["a", *"aaababaab"],
        splits=["", "train", "val", "train", "train", "train", "val", "", "train", "train"],
    )
    found = [(group.rows, group.kind) for group in check(table).copies]
    assert found == [
        ([0, 1], "across splits"),
        ([2, 3], "two labels"),
        ([4, 5], "across splits"),
        ([4, 5], "two labels"),
        ([6, 7], "copies"),
    ]


def test_a_leak_stops_unless_told_otherwise(tmp_path: Path) -> None:
    files = {f"{split}/{i}.png": picture(i) for split in ("train", "val") for i in range(5)}
    checked = check(make(tmp_path, files, splits=["train"] * 5 + ["val"] * 5))
    with pytest.raises(DataError) as caught:
        require_no_leaks(checked, DataSettings())
    message = str(caught.value)
    assert "5 pictures are in two splits" in message
    assert "train/0.png (train) ↔ val/0.png (val)" in message
    assert "2 more" in message
    assert "data.on_leak=continue" in message
    require_no_leaks(checked, DataSettings(on_leak="continue"))
    require_no_leaks(check(photos(tmp_path / "clean")), DataSettings())


def test_no_image_at_all_is_one_clear_error(tmp_path: Path) -> None:
    checked = check(make(tmp_path, {f"{i}.jpg": b"" for i in range(12)}))
    with pytest.raises(DataError, match=r"All 12 images are unreadable: 12 such as 0\.jpg \(not an image "):
        require_usable(checked, total=12)


def test_a_class_that_lost_every_training_image_is_an_error(tmp_path: Path) -> None:
    files = {"a.png": picture(1), "x1.png": b"", "x2.png": b"", "x3.png": picture(2), "y.png": b""}
    splits = ["train", "train", "", "val", "val"]
    checked = check(make(tmp_path, files, labels=["a", "x", "x", "x", "y"], splits=splits))
    with pytest.raises(DataError, match=r"class 'x' has no readable image left: all 2 were .* x1\.png: ") as caught:
        require_usable(checked, total=5)
    assert "'y'" not in str(caught.value)
    require_usable(check(photos(tmp_path / "good")), total=10)


@pytest.mark.shared
@pytest.mark.skipif(not (SHARED / "ants_bees").is_dir(), reason=f"no development images in {SHARED}")
def test_real_photos(monkeypatch: pytest.MonkeyPatch) -> None:
    root = SHARED / "ants_bees"
    paths = sorted(str(file.relative_to(root)) for file in root.rglob("*.jpg"))
    parts = [path.split("/") for path in paths]
    splits, labels = texts([part[0] for part in parts]), texts([part[1] for part in parts])
    table = Table(root, texts(paths), {"label": labels}, splits)
    first = check(table)
    assert (len(first.table), first.copies) == (397, [])
    assert first.widths.max() <= 1024
    forbid_reading(monkeypatch, hashing=True)
    assert same(first, check(table))
