"""Predict, from the command and from Python: inputs, formats, what is replaced, what is refused, and Ctrl-C."""

from __future__ import annotations

import ast
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import bunryu as package
from bunryu.cli import app
from bunryu.core import storage
from bunryu.core.errors import BunryuError, ConfigError, DataError, Interrupted, RunError
from bunryu.core.text_width import width
from bunryu.data.images.sources import as_sources
from bunryu.inference.predictions import Predictions
from bunryu.ship import predict as ship
from bunryu.workflows import train
from bunryu.workflows.plan import decide
from conftest import Command, refused, table

# One orchestration.


def test_the_command_and_python_find_the_same(bunryu: Command, tiny_run: Any, here: Path) -> None:
    (here / "tables").mkdir()
    (here / "tables/list.csv").write_text("path\ncat/001.png\n강아지/002.png\ncat/broken.png\n", encoding="utf-8")
    ended = bunryu("predict", tiny_run.run, "tables/list.csv", "--image-root", tiny_run.data, "--out", "p.csv")
    assert ended.code == 2
    frame = package.predict(tiny_run.run, "tables/list.csv", image_root=tiny_run.data, out="q.csv", quiet=True)
    assert (here / "p.csv").read_bytes() == (here / "q.csv").read_bytes()
    assert (here / "p.skipped.csv").read_bytes() == (here / "q.skipped.csv").read_bytes()
    assert frame["path"].tolist() == ["cat/001.png", "강아지/002.png"]
    assert frame.attrs["skipped"] == [("cat/broken.png", "not an image (text)")]
    again = package.open_run(tiny_run.run).predict("tables/list.csv", image_root=tiny_run.data, quiet=True)
    assert again.equals(frame)


def test_python_says_what_it_ignores_and_can_be_quiet(
    tiny_run: Any, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tiny_run.data / "강아지", here / "new")
    (here / "new/notes.txt").touch()
    package.predict(tiny_run.run, "new", quiet=True)
    assert capsys.readouterr() == ("", "")
    package.predict(tiny_run.run, "new")
    assert "not an image ignored (1 .txt)" in capsys.readouterr().err


# Where it goes, and how it is written.


def test_only_known_endings_are_written(bunryu: Command, tiny_run: Any, here: Path) -> None:
    image = tiny_run.data / "cat/001.png"
    for name in ("p.xlsx", "p.txt", "p.json"):
        text = refused(bunryu("predict", tiny_run.run, image, "--out", name))
        assert text.startswith(f"--out: expected FILE.csv, FILE.tsv or FILE.jsonl, received {name}.")
        assert ("For Excel: --out p.csv --format csv-excel" in text) is (name == "p.xlsx")
    text = refused(bunryu("predict", tiny_run.run, image, "--out", "p.jsonl", "--format", "csv"))
    assert "p.jsonl is named as jsonl, but the format is to be csv" in text
    assert list(here.iterdir()) == []
    for name, begins in {"p": "path,", "P.CSV": "path,", "p.tsv": "path\t", "p.json-lines": '{"path"'}.items():
        assert bunryu("predict", tiny_run.run, image, "--out", name).code == 0
        assert (here / name).read_text(encoding="utf-8").startswith(begins)


_EARLY = """
import sys
from pathlib import Path
from bunryu.ship.predict import predict
from bunryu.core.errors import BunryuError
try:
    predict(Path(sys.argv[1]), [sys.argv[2]], batch_size=1, out=Path(sys.argv[3]))
except BunryuError as error:
    print(["torch" in sys.modules, str(error)])
"""


@pytest.mark.parametrize(("image", "out"), [("cat/001.png", "p.xlsx"), ("cat/none.png", "p.csv")])
def test_refused_before_torch_is_imported(tiny_run: Any, tmp_path: Path, image: str, out: str) -> None:
    arguments = [tiny_run.run, tiny_run.data / image, tmp_path / out]
    ended = subprocess.run([sys.executable, "-c", _EARLY, *arguments], capture_output=True, text=True, check=True)
    early, message = ast.literal_eval(ended.stdout)
    assert not early
    assert message


def test_a_dash_is_standard_output(bunryu: Command, tiny_run: Any, here: Path) -> None:
    image = tiny_run.data / "cat/001.png"
    ended = bunryu("predict", tiny_run.run, image, "--out", "-")
    assert (ended.code, ended.err) == (0, "")
    assert [row["path"] for row in table(ended.out)] == [str(image)]
    assert json.loads(bunryu("predict", tiny_run.run, image, "--out", "-", "--format", "jsonl").out)["path"]
    assert list(here.iterdir()) == []


def test_excel_sees_a_byte_order_mark(bunryu: Command, tiny_run: Any, here: Path) -> None:
    images = [tiny_run.data / "강아지/001.png", tiny_run.data / "cat/broken.png"]
    ended = bunryu("predict", tiny_run.run, *images, "--out", "엑셀.csv", "--format", "csv-excel")
    assert ended.code == 2
    assert bunryu("predict", tiny_run.run, *images, "--out", "plain.csv").code == 2
    for name, plain in (("엑셀.csv", "plain.csv"), ("엑셀.skipped.csv", "plain.skipped.csv")):
        assert (here / name).read_bytes() == b"\xef\xbb\xbf" + (here / plain).read_bytes()
    again = bunryu("predict", tiny_run.run, "엑셀.csv")  # one row, but a table: no list to read
    assert [row["path"] for row in table(again.out)] == [str(images[0])], "and is read back as a table"


def test_predictions_are_replaced_and_nothing_else(bunryu: Command, tiny_run: Any, here: Path) -> None:
    good, bad = tiny_run.data / "cat/001.png", tiny_run.data / "cat/broken.png"
    first = bunryu("predict", tiny_run.run, good, bad, "--out", "p.csv")
    assert "1 prediction: p.csv; unreadable files: p.skipped.csv" in first.err
    assert "replaced" not in first.err
    second = bunryu("predict", tiny_run.run, good, good, "--out", "p.csv")
    assert second.code == 0
    assert second.err.splitlines() == ["2 predictions: p.csv", "replaced p.csv"]
    assert len(table((here / "p.csv").read_text(encoding="utf-8"))) == 2
    assert not (here / "p.skipped.csv").exists(), "it belonged to what was replaced"
    (here / "list.csv").write_text(f"path\n{good}\n", encoding="utf-8")
    shutil.copy(tiny_run.run / "split.csv", here)
    shutil.copy(tiny_run.run / "predictions_val.csv", here)
    for name in ("list.csv", "split.csv", "predictions_val.csv"):
        before = (here / name).read_bytes()
        text = refused(bunryu("predict", tiny_run.run, "list.csv", "--out", name))
        assert f"--out: {name} is there and holds no predictions; only predictions are replaced." in text
        assert (here / name).read_bytes() == before
    if hasattr(os, "mkfifo"):
        os.mkfifo(here / "pipe")
        assert "pipe is not a regular file" in refused(bunryu("predict", tiny_run.run, good, "--out", "pipe"))


def test_rows_are_written_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No whole file in memory: the first row is on its way before the last is made."""
    predictions = Predictions(["a", "b"], ["x", "y"], np.full((2, 2), 0.5, np.float32))
    made: list[str] = []
    rows = predictions.rows

    def counted(_: Predictions) -> Any:
        for row in rows():
            made.append(row[0])
            yield row

    monkeypatch.setattr(Predictions, "rows", counted)
    for form in ("csv", "csv-excel", "tsv", "jsonl"):
        made.clear()
        next(line for line in predictions.lines(form) if '"a"' in line or line.startswith("a"))  # type: ignore[arg-type]
        assert made == ["a"]
    monkeypatch.setattr(sys, "stdout", seen := Watched(made))
    ship.Predicted(predictions, [], len(predictions)).show()
    storage.write_atomic(tmp_path / "p.csv", predictions.lines())
    assert seen.getvalue() == (tmp_path / "p.csv").read_text(encoding="utf-8")
    assert seen.rows_at_first_data == 1


class Watched(io.StringIO):
    """Standard output that remembers how many rows were made when the first came."""

    def __init__(self, made: list[str]) -> None:
        super().__init__()
        self.made, self.rows_at_first_data = made, 0
        made.clear()

    def write(self, text: str) -> int:
        if text.startswith("a") and not self.rows_at_first_data:
            self.rows_at_first_data = len(self.made)
        return super().write(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "p.csv"
    path.write_text("old", encoding="utf-8")

    def broken() -> Any:
        yield "new"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        storage.write_atomic(path, broken())
    assert path.read_text(encoding="utf-8") == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_list_of_one_image_is_aligned_in_cells() -> None:
    classes = ["cat", "아주 긴 이름의 강아지", "고양이", "x" * 60]
    predictions = Predictions(["사진.png"], classes, np.array([[0.1, 0.2, 0.3, 0.4]], np.float32))
    lines = ship.Predicted(predictions, [], 1).top_k().splitlines()
    assert lines[0] == "사진.png"
    assert {width(line[: line.index("  0.")]) for line in lines[1:]} == {2 + 40}
    assert [line.split()[-2] for line in lines[1:]] == ["0.400", "0.300", "0.200", "0.100"]
    eight = Predictions(["a.png"], list("abcdefgh"), np.full((1, 8), 0.125, np.float32))
    assert len(ship.Predicted(eight, [], 1).top_k().splitlines()) == 9, "the whole distribution over a few classes"


@pytest.mark.parametrize("folder", ["images", "시험"])
def test_a_competitions_table_finds_the_images_beside_it(
    bunryu: Command, tiny_run: Any, here: Path, folder: str
) -> None:
    shutil.copytree(tiny_run.data / "cat", here / "eval" / folder)
    (here / "eval/시험.csv").write_text("ImageID,ans\n001.png,\n000.png,\n", encoding="utf-8")
    ended = bunryu("predict", tiny_run.run, "eval/시험.csv", "--submission", "eval/시험.csv", "--out", "out.csv")
    assert ended.code == 0, ended.err
    assert f"its images are in {here / 'eval' / folder}" in ended.err
    assert [row["ImageID"] for row in table((here / "out.csv").read_text(encoding="utf-8"))] == ["001.png", "000.png"]


# What is refused.


def test_a_table_whose_images_lie_elsewhere(bunryu: Command, tiny_run: Any, here: Path) -> None:
    (here / "t").mkdir()
    (here / "t/list.csv").write_text("path\nphotos/cat/001.png\nphotos/cat/002.png\n", encoding="utf-8")
    text = refused(bunryu("predict", tiny_run.run, "t/list.csv"))
    assert "None of the images in t/list.csv is where its path points" in text
    assert str(here / "t/photos/cat/001.png") in text
    assert "--image-root FOLDER (in Python: image_root=)" in text
    shutil.copytree(tiny_run.data, here / "photos")
    assert f"Did you mean --image-root {here} (in Python" in refused(bunryu("predict", tiny_run.run, "t/list.csv"))
    assert bunryu("predict", tiny_run.run, "t/list.csv", "--image-root", ".").code == 0
    (here / "t/list.csv").write_text("path\nphotos/cat/001.png\n" + "gone.png\n" * 99, encoding="utf-8")
    ended = bunryu("predict", tiny_run.run, "t/list.csv", "--image-root", ".")
    assert ended.code == 2
    assert "99 of 100 files could not be read" in ended.err, "some that are missing are skipped and told"
    assert "no CSV was given" in refused(bunryu("predict", tiny_run.run, "photos/cat/001.png", "--image-root", "."))
    assert "received an empty name" in refused(bunryu("predict", tiny_run.run, ""))


def test_an_unfinished_run_says_how_to_go_on(bunryu: Command, tiny_run: Any, here: Path) -> None:
    for name in ("config.yaml", "environment.json", "split.csv"):
        (here / "run").mkdir(exist_ok=True)
        shutil.copy(tiny_run.run / name, here / "run")
    image = tiny_run.data / "cat/001.png"
    for arguments in (["predict", "run", image], ["evaluate", "run"]):
        text = refused(bunryu(*arguments))
        assert "run has no sealed model yet: its training was stopped" in text
        assert text.endswith("Go on with: bunryu train --resume run")
    for act in (lambda: package.Model.open("run"), lambda: package.open_run("run").predict(image)):
        with pytest.raises(RunError, match="train --resume run"):
            act()
    (here / "run/checkpoints").mkdir()
    shutil.copy(tiny_run.run / "checkpoints/best.safetensors", here / "run/checkpoints")
    assert "run/checkpoints/best.safetensors" in refused(bunryu("predict", "run", image))
    text = refused(bunryu("predict", "run/checkpoints/bset.safetensors", image))
    assert "There is no model file" in text
    assert "Did you mean 'run/checkpoints/best.safetensors'?" in text


def test_a_device_that_is_not_there(bunryu: Command, tiny_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for arguments in (["predict", tiny_run.run, tiny_run.data / "cat/001.png"], ["evaluate", tiny_run.run]):
        assert "Use --device auto" in refused(bunryu(*arguments, "--device", "cuda"))


def _file() -> Any:
    return io.BytesIO(b"x")


PICTURE = np.zeros((8, 9, 3), np.uint8)
NO_PICTURES: list[tuple[Callable[[], Any], str, str]] = [
    (lambda: Image.fromarray(PICTURE), "a value of type Image", "np.asarray(image.convert('RGB'))"),
    (lambda: [PICTURE, Image.fromarray(PICTURE)], "type Image as image 1", "np.asarray(image.convert('RGB'))"),
    (lambda: pd.DataFrame({"path": ["a.png"]}), "type DataFrame", 'frame["path"].tolist()'),
    (lambda: pd.Series([1.5, 2.5]), "type float as image 0", ""),
    (lambda: np.array(["a.png", "b.png"], dtype=object), "a object array of shape (2,)", "array.tolist()"),
    (lambda: np.zeros((8, 9, 3), np.float32), "a float32 array of shape (8, 9, 3)", "uint8 from 0 to 255"),
    (lambda: np.zeros((2, 8, 9, 3), np.float32), "(8, 9, 3) as image 0", "uint8 from 0 to 255"),
    (lambda: np.zeros((3, 8, 9), np.uint8), "a uint8 array of shape (3, 8, 9)", "array.transpose(1, 2, 0)"),
    (lambda: np.zeros((2, 3, 8, 9), np.uint8), "(3, 8, 9) as image 0", "array.transpose(1, 2, 0)"),
    (lambda: np.zeros(9, np.uint8), "a uint8 array of shape (9,)", ""),
    (lambda: None, "received None.", ""),
    (lambda: 5, "type int", ""),
    (lambda: ["a.png", 5], "type int as image 1", ""),
    (lambda: {"a": PICTURE}, "type dict", "list(images.values())"),
    (lambda: bytearray(b"x"), "type bytearray", "bytes("),
    (_file, "type BytesIO", "file.read()"),
]


@pytest.mark.parametrize(("made", "received", "mend"), NO_PICTURES)
def test_no_pictures(tiny_run: Any, made: Callable[[], Any], received: str, mend: str) -> None:
    run = package.open_run(tiny_run.run)
    for verb in (run.predict, run.model.predict, lambda given: package.predict(tiny_run.run, given)):
        with pytest.raises(DataError) as caught:
            verb(made())
        text = str(caught.value)
        assert text.startswith("Expected a path, the bytes of an image file, a uint8 array of shape (H, W), ")
        assert received in text
        assert mend in text
        assert text == text.rstrip()


def test_a_tensor_is_no_picture() -> None:
    import torch

    with pytest.raises(DataError, match=r"type Tensor\. Give an array: tensor\.numpy\(\)"):
        as_sources(torch.zeros(3, 4, 4))  # type: ignore[arg-type]


def test_all_kinds_of_several(tiny_run: Any) -> None:
    paths = [str(tiny_run.data / f"cat/00{i}.png") for i in range(3)]
    for given in (paths, tuple(paths), iter(paths), pd.Series(paths), map(Path, paths)):
        assert list(map(str, as_sources(given))) == paths
    for one in (PICTURE, PICTURE[:, :, 0], PICTURE[:, :, :1], b"x", Path("a"), "a"):
        assert len(as_sources(one)) == 1
    frame = package.predict(tiny_run.run, [PICTURE, paths[0]], quiet=True)
    assert frame["path"].tolist() == ["image 0", paths[0]]


# Ctrl-C.


def _interrupt(*_: Any, **__: Any) -> Any:
    raise KeyboardInterrupt


def test_ctrl_c_during_predict(bunryu: Command, tiny_run: Any, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package.Model, "infer_batches", _interrupt)
    ended = bunryu("predict", tiny_run.run, tiny_run.data / "cat", "--out", "p.csv", "--quiet")
    assert ended == (130, "", "Stopped; nothing was written.\n")
    assert list(here.iterdir()) == []
    with pytest.raises(KeyboardInterrupt):
        package.predict(tiny_run.run, tiny_run.data / "cat")


def test_ctrl_c_of_other_commands(bunryu: Command, tiny_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package.Model, "infer_batches", _interrupt)
    ended = bunryu("evaluate", tiny_run.run)
    assert (ended.code, ended.out, ended.err) == (130, "", "Stopped.\n")


def test_ctrl_c_of_train(
    bunryu: Command, here: Path, make_images: Any, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(here / "photos", {"a": 6, "b": 6})
    with monkeypatch.context() as patch:
        patch.setattr(decide, "make_plan", _interrupt)
        ended = bunryu("train", "photos", *tiny_settings, "--out", "run")
    assert (ended.code, ended.err) == (130, "Stopped; nothing was written.\n")
    assert [path.name for path in here.iterdir()] == ["photos"]
    with monkeypatch.context() as patch:
        patch.setattr(train, "write_setup", _interrupt)
        ended = bunryu("train", "photos", *tiny_settings, "--out", "unset")
    assert ended.code == 130
    assert ended.err.endswith(
        "Stopped at once. unset was not set up yet: the same command with --out unset begins again.\n"
    )
    with monkeypatch.context() as patch:
        patch.setattr(train, "fit", _interrupt)
        told = "Stopped at once. Go on from its last checkpoint with: bunryu train --resume run\n"
        for arguments in (["photos", *tiny_settings, "--out", "run"], ["--resume", "run"]):
            ended = bunryu("train", *arguments)
            assert (ended.code, ended.err.endswith(told)) == (130, True), ended.err
    assert bunryu("train", "--resume", "run").code == 0


@pytest.mark.skipif(os.name != "posix", reason="sends SIGINT")
def test_a_real_ctrl_c_stops_soon(tiny_run: Any, tmp_path: Path) -> None:
    """Even with much left to do: the threads that decode are let go."""
    images = tmp_path / "many"
    images.mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (1500, 1500, 3), np.uint8)).save(images / "0.png")
    for i in range(1, 600):
        os.link(images / "0.png", images / f"{i}.png")
    command = [sys.executable, "-c", _SIGNALLED, "predict", tiny_run.run, images, "--out", tmp_path / "p.csv"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    killer = threading.Timer(60, process.kill)
    killer.start()
    try:
        assert process.stderr.readline() == "predicting\n"
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        out, err = process.communicate()
    finally:
        killer.cancel()
    assert (process.returncode, out, err) == (130, "", "Stopped; nothing was written.\n")
    assert time.monotonic() - started < 20
    assert not (tmp_path / "p.csv").exists()


_SIGNALLED = """
import signal, sys
import bunryu.inference.model as inference
from bunryu.cli.app import main
from bunryu.inference.model import forward
def told(*arguments):
    inference.forward = forward
    print("predicting", file=sys.stderr, flush=True)
    return forward(*arguments)
inference.forward = told
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""


def test_interrupted_is_no_error(bunryu: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    def stopped() -> None:
        raise Interrupted("Stopped; the state is saved.")

    monkeypatch.setattr(app, "app", stopped)
    assert bunryu() == (130, "", "Stopped; the state is saved.\n")


def test_errors_of_python_are_ours(tiny_run: Any, tmp_path: Path) -> None:
    image = tiny_run.data / "cat/001.png"
    with pytest.raises(ConfigError, match=r"expected FILE\.csv, FILE\.tsv or FILE\.jsonl"):
        package.predict(tiny_run.run, image, out=tmp_path / "p.xlsx")
    with pytest.raises(BunryuError, match="There is no file or folder"):
        package.predict(tiny_run.run, tmp_path / "gone.png")
