"""The command as people use it: what it prints where, what it writes, its exit codes and its errors."""

from __future__ import annotations

import csv
import difflib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from bunryu.cli import app
from bunryu.core.csv_text import unguard
from bunryu.core.errors import nearest
from conftest import Command, refused, table


def files_below(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


# Train.


def test_train_writes_exactly_the_folder_named(
    bunryu: Command, here: Path, make_images: Any, tiny_settings: list[str]
) -> None:
    make_images(here / "photos", {"a": 6, "b": 6})
    ended = bunryu("train", "photos", *tiny_settings, "--out", "deep/my run")
    assert ended.code == 0, ended.err
    assert [line.split(":")[0] for line in ended.out.splitlines()] == ["val", "run"], "results go to standard output"
    assert (here / "deep/my run/model.safetensors").exists()
    assert {path.name for path in here.iterdir()} == {"photos", "deep"}
    for told in ("12 images in", "classes: 2: a, b", "images: 12 used", "next: bunryu predict"):
        assert told in ended.err
    assert "val: macro-F1" in ended.out
    assert "run: deep/my run" in ended.out
    assert max(map(len, re.findall(r"^[* ] +\d+/\d+ .*", ended.err, re.MULTILINE))) <= 80
    before = {path: path.stat().st_mtime_ns for path in (here / "deep").rglob("*")}
    ended = bunryu("train", "photos", *tiny_settings, "--out", "deep/my run")
    text = refused(ended)
    assert len(ended.err.splitlines()) == 1, "told before anything else is done"
    assert "--out: deep/my run is not empty, and a run is never overwritten" in text
    assert {path: path.stat().st_mtime_ns for path in (here / "deep").rglob("*")} == before


def test_runs_are_numbered_and_dry_runs_write_nothing(
    bunryu: Command, here: Path, make_images: Any, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(here / "photos", {"a": 6, "b": 6})
    everything = files_below(here)
    ended = bunryu("train", "photos", *tiny_settings, "train.stages=[{name: all}]", "--dry-run")
    assert ended.code == 0, ended.err
    assert files_below(here) == everything
    assert {path.name for path in here.iterdir()} == {"photos"}
    for told in (
        "rows: train 10, val 2", "model: scratch_cnn", "input: 16x16 rgb", "stages: all (2 epochs)",
        "device: cpu, fp32",
        "first batch: (8, 16, 16, 3) uint8 -> (8, 2)", "no run was made", "recipe: scratch",
    ):  # fmt: skip
        assert told in ended.err, ended.err
    from bunryu.workflows import train

    def no_training(session: Any, *_: object) -> None:
        (session.folder.path / "trained").touch()

    monkeypatch.setattr(train, "run_to_end", no_training)
    monkeypatch.setattr(train, "say_results", lambda *_: None)
    for expected in ("photos-1", "photos-2"):
        assert bunryu("train", "photos/", *tiny_settings).code == 0
        assert (here / "runs" / expected / "trained").exists()
    assert bunryu("train", "photos", *tiny_settings, "name=내 실험", "--quiet") == (0, "", "")
    assert (here / "runs/내 실험-1/config.yaml").exists()


def test_few_groups_are_told_before_training(
    bunryu: Command, here: Path, make_images: Any, tiny_settings: list[str]
) -> None:
    make_images(here / "photos", {"a": 6, "b": 6})
    body = "".join(f"photos/{name}/{i:03}.png,{name},p{i // 2}\n" for name in "ab" for i in range(6))
    (here / "t.csv").write_text("path,label,person\n" + body, encoding="utf-8")
    told = "data: val has 1 group only ("
    ended = bunryu("train", "t.csv", *tiny_settings, "--dry-run")
    assert told in ended.err, ended
    assert told not in bunryu("train", "t.csv", *tiny_settings, "data.group_column=none", "--dry-run").err


@pytest.mark.pictures
def test_fonts_are_told_of_only_where_plots_are_drawn(
    bunryu: Command, here: Path, make_images: Any, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from bunryu.evaluate.report import fonts

    monkeypatch.setattr(fonts, "_installed", list)
    monkeypatch.setattr(fonts, "_installed_now", list)
    make_images(here / "photos", {"개미": 6, "벌": 6})
    planned = bunryu("train", "photos", *tiny_settings, "--dry-run")
    trained = bunryu("train", "photos", *tiny_settings)
    fonts.fonts_for.cache_clear()
    assert (planned.code, trained.code) == (0, 0), trained.err
    assert "No installed font" not in planned.err
    for told in ("#0 = 개미, #1 = 벌 (the order of the classes)", "then: bunryu evaluate runs/photos-1"):
        assert told in trained.err
        assert told in (here / "runs/photos-1/report.txt").read_text(encoding="utf-8")


def test_a_folder_with_an_equals_sign_is_data(
    bunryu: Command, here: Path, make_images: Any, tiny_settings: list[str]
) -> None:
    make_images(here / "photos=1", {"a": 6, "b": 6})
    ended = bunryu("train", "photos=1", *tiny_settings, "--dry-run")
    assert ended.code == 0, ended.err


def test_a_very_long_setting_is_a_setting(
    bunryu: Command, here: Path, make_images: Any, tiny_settings: list[str]
) -> None:
    make_images(here / "photos", {"a": 6, "b": 6})
    weights = ", ".join(f"class{i}: 1" for i in range(500))
    text = refused(bunryu("train", "photos", *tiny_settings, f"loss.class_weights={{{weights}}}", "--out", "r"))
    assert text.startswith("loss.class_weights: there is no class 'class0'")
    assert "There is no file or folder" in refused(bunryu("train", "x" * 5000))
    assert "There is no file or folder" in refused(bunryu("train", "photos", "--val-dir", "x" * 300))


ERRORS = [
    (["train", "photos", "model.weights=gone.pth"], ["model.weights: there is no file", "gone.pth"]),
    (["train", "photos", "model.name=resnet19", "model.weights=none"], ["no model 'resnet19'", "Did you mean"]),
    (["train", "photos", "model.name=keras/vgg"], ["torchvision/NAME or scratch_cnn, base_cnn, mlp"]),
    (["train", "one", "model.name=scratch_cnn"], ["only one class, 'a'"]),
    (["train", "fin.csv", "model.name=scratch_cnn"], ["There is no file or folder fin.csv", "mean 'fine.csv'"]),
    (["train", "away.csv", "model.name=scratch_cnn"], ["2 folders below have such names", "data.image_root="]),
    (["train", "ragged.csv", "model.name=scratch_cnn"], ["ragged.csv, line 3: expected 2 columns"]),
    (["train", "vague.csv", "model.name=scratch_cnn"], ["Name it: data.label_column=kind"]),
    (["train", "pathless.csv", "model.name=scratch_cnn"], ["Name it: data.path_column=COLUMN"]),
    (["train", "unlabelled.csv", "model.name=scratch_cnn"], ["empty in 1 of 2 rows, at line 3"]),
    (["train", "odd.csv", "model.name=scratch_cnn"], ["line 3", "'elsewhere'"]),
    (["train", "photos", "model.name=scratch_cnn", "split.file=gone.csv"], ["gone.csv"]),
    (["train", "fine.csv", "data.image_root=~no-one-here/x"], ["data.image_root: there is no", "~no-one-here/x."]),
    (["train", "photos", "data.label_column=x"], ["data.label_column belongs to a CSV; photos is a folder"]),
    (["train", "photos", "train.device=cuda"], ["not available here", "Use train.device=auto."]),
    (["train", "photos", "--device", "cuda"], ["Settings are given as KEY=VALUE: train.device=cuda"]),
    (["train", "photos", "--lr=1e-3"], ["KEY=VALUE: optim.lr=1e-3"]),
    (["bench", "photos", "--batch-size", "8"], ["KEY=VALUE: train.batch_size=8"]),
    (["probe", "photos", "--val"], ["KEY=VALUE: data.val=VALUE, or split.val=VALUE"]),
    (["evaluate", "photos", "--bootstrap", "9"], ["KEY=VALUE: evaluate.bootstrap=9"]),
    (["predict", "r", "photos", "--format", "excel"], ["--format: expected one of csv, ", "mean 'csv-excel'?"]),
    (["predict", "r", "photos", "--device", "gpu"], ["received 'gpu'. Did you mean 'cuda'?"]),
    (["train", "photos", "train.epoch=3"], ["no setting 'train.epoch' (the command line)"]),
    (["train", "--resume", "gone"], ["There is no run folder gone"]),
    (["train", "--resume", "photos"], ["photos is not a run folder"]),
]  # fmt: skip


@pytest.fixture
def workplace(here: Path, make_images: Any) -> Path:
    make_images(here / "photos", {"a": 6, "b": 6})
    make_images(here / "one", {"a": 3})
    tables = {
        "fine": "path,label\nphotos/a/000.png,x\nphotos/b/000.png,y\n",
        "away": "path,label\na/000.png,x\na/001.png,y\n",
        "ragged": "path,label\na.png,x\nb.png,y,z\n",
        "vague": "path,kind,size\nphotos/a/000.png,x,1\nphotos/b/000.png,y,2\nphotos/b/001.png,y,2\n",
        "pathless": "kind,size\nx,1\n",
        "unlabelled": "path,label\nphotos/a/000.png,x\nphotos/b/000.png,\n",
        "odd": "path,label,split\nphotos/a/000.png,x,train\nphotos/b/000.png,y,elsewhere\n",
    }
    for name, text in tables.items():
        (here / f"{name}.csv").write_text(text, encoding="utf-8")
    return here


@pytest.mark.parametrize(("arguments", "expected"), ERRORS, ids=[" ".join(case[0])[:60] for case in ERRORS])
def test_errors_of_commands(bunryu: Command, workplace: Path, arguments: list[str], expected: list[str]) -> None:
    before = files_below(workplace)
    text = refused(bunryu(*arguments))
    for part in expected:
        assert part in text
    assert files_below(workplace) == before, "an error leaves nothing behind"
    assert not (workplace / "runs").exists()


def test_an_option_of_no_setting_is_told_by_the_parser(bunryu: Command, here: Path) -> None:
    for typed in (["train", "photos", "--wat", "3"], ["predict", "r", "photos", "--lr", "3"]):
        ended = bunryu(*typed)
        assert ended.code == 2
        assert f"No such option: {typed[-2]}" in ended.err


def test_system_errors_are_one_message_too(
    bunryu: Command, here: Path, make_images: Any, tiny_settings: list[str]
) -> None:
    make_images(here / "photos", {"a": 6, "b": 6})
    (here / "file").touch()
    text = refused(bunryu("train", "photos", *tiny_settings, "--quiet", "--out", "file/run"))
    assert "file" in text
    assert "Not a directory" in text


# Evaluate.


@pytest.mark.pictures
def test_evaluate_the_own_splits(bunryu: Command, tiny_run: Any, tmp_path: Path) -> None:
    ended = bunryu("evaluate", tiny_run.run, "--out", tmp_path / "results", "--device", "cpu")
    assert ended.code == 0, ended.err
    assert [line.partition(" ")[0] for line in ended.out.splitlines()] == ["val:", "test:"]
    assert "macro-F1" in ended.out
    assert "macro-F1" not in ended.err
    assert f"results: {tmp_path / 'results'}" in ended.err
    quiet = bunryu("evaluate", tiny_run.run, "--out", tmp_path / "quiet", "--device", "cpu", "--quiet")
    assert (quiet.code, quiet.out, quiet.err) == (0, ended.out, "")
    found = files_below(tmp_path / "results")
    for name in ("val", "test"):
        assert {f"confusion_{name}.csv", f"confusion_{name}.npy", f"predictions_{name}.csv"} <= set(found)
        assert f"plots/confusion_{name}.png" in found
    assert {"metrics.json", "report.txt", "plots/curves.png"} <= set(found)
    again = refused(bunryu("evaluate", tiny_run.run, "--out", tmp_path / "results"))
    assert "is not empty, and results are never overwritten" in again


def test_evaluate_other_data(bunryu: Command, tiny_run: Any, tmp_path: Path, make_images: Any) -> None:
    make_images(tmp_path / "new", {"cat": 3, "강아지": 3})
    (tmp_path / "new/=1+1").mkdir()
    (tmp_path / "new/cat/bad.png").write_bytes(b"")
    ended = bunryu(
        "evaluate", tiny_run.run, "--data", tmp_path / "new", "--out", tmp_path / "r", "--name", "새 자료",
        "evaluate.bootstrap=0",
    )  # fmt: skip
    assert ended.code == 0, ended.err
    assert "새 자료: 1 class has no image in the truth (the model knows 3): =1+1." in ended.err
    assert "새 자료: 1 image skipped" in ended.err
    metrics = json.loads((tmp_path / "r/metrics.json").read_text(encoding="utf-8"))["새 자료"]
    assert metrics["n"] == 6
    assert metrics["absent"] == ["=1+1"]
    assert "accuracy_ci" not in metrics
    skipped = table((tmp_path / "r/skipped_새 자료.csv").read_text(encoding="utf-8"))
    assert [row["path"] for row in skipped] == ["cat/bad.png"]
    with (tmp_path / "r/confusion_새 자료.csv").open(encoding="utf-8", newline="") as file:
        assert next(csv.reader(file)) == ["true", "'=1+1", "cat", "강아지"]


def test_evaluate_on_the_training_pictures_says_so(
    bunryu: Command, tiny_run: Any, tmp_path: Path, make_images: Any
) -> None:
    rows = table((tiny_run.run / "split.csv").read_text(encoding="utf-8"))
    for row in rows:
        if row["split"] != "val":
            target = tmp_path / "again" / row["path"]
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes((tiny_run.data / row["path"]).read_bytes())
    known = sum(row["split"] == "train" for row in rows)
    every = sum(row["split"] != "val" for row in rows)
    ended = bunryu("evaluate", tiny_run.run, "--data", tmp_path / "again", "--out", tmp_path / "r")
    assert ended.code == 0, ended.err
    told = f"{known} of {every} images are exact copies of images that this model has learned from"
    assert told in ended.err
    assert told in (tmp_path / "r/report.txt").read_text(encoding="utf-8").split("Look at this first")[1]
    make_images(tmp_path / "new", {"cat": 3, "강아지": 3}, seed=99)
    assert (
        "exact copies" not in bunryu("evaluate", tiny_run.run, "--data", tmp_path / "new", "--out", tmp_path / "n").err
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--data", "{tmp}/strange"], ["2 images have a label that the model does not know", "'caat'", "mean 'cat'"]),
        (["--data", "{tmp}/no"], ["There is no file or folder"]),
        (["--data", "{tmp}/t.csv"], ["'caat'"]),
        (["--data", "{tmp}/empty"], ["no class folders and no images"]),
        (["--name", "train"], ["--name", "val or test"]),
        (["--data", "{tmp}/fine", "--name", "a/b"], ["--name: expected a plain word"]),
        (["--data", "{tmp}/fine", "evaluate.positive=cat"], ["evaluate.positive is for two-class runs"]),
        (["--data", "{tmp}/unreadable"], ["None of the 2 images to measure could be read"]),
    ],
)
def test_errors_of_evaluate(
    bunryu: Command, tiny_run: Any, tmp_path: Path, make_images: Any, arguments: list[str], expected: list[str]
) -> None:
    make_images(tmp_path / "strange", {"caat": 2, "강아지": 1})
    make_images(tmp_path / "fine", {"cat": 1})
    (tmp_path / "unreadable/cat").mkdir(parents=True)
    for name in "ab":
        (tmp_path / f"unreadable/cat/{name}.jpg").touch()
    (tmp_path / "empty").mkdir()
    (tmp_path / "t.csv").write_text("path,label\nstrange/caat/000.png,caat\n", encoding="utf-8")
    before = files_below(tiny_run.run)
    text = refused(bunryu("evaluate", tiny_run.run, *(part.format(tmp=tmp_path) for part in arguments)))
    for part in expected:
        assert part in text
    assert files_below(tiny_run.run) == before
    assert not list(tiny_run.run.glob("evaluate-*")), "an error leaves no empty folder"


# Predict.


def test_predict_one_image_prints_a_list_to_read(bunryu: Command, tiny_run: Any) -> None:
    image = tiny_run.data / "강아지/003.png"
    ended = bunryu("predict", tiny_run.run, image)
    assert (ended.code, ended.err) == (0, "")
    lines = ended.out.splitlines()
    assert lines[0] == str(image)
    assert len(lines) == 4
    probabilities = [float(line.split()[1]) for line in lines[1:]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert {line.split()[0] for line in lines[1:]} == set(tiny_run.classes)


def test_predict_many_kinds_of_input_in_order(bunryu: Command, tiny_run: Any, here: Path) -> None:
    photos = tiny_run.data
    shutil.copytree(photos / "cat", here / "folder/sub")
    (here / "folder/sub/broken.png").unlink()
    (here / "folder/notes.txt").touch()
    (here / "folder/._x.png").touch()
    (here / "list.csv").write_text(f"id,image\n1,folder\\sub\\003.png\n2,{photos}/cat/002.png\n", encoding="utf-8-sig")
    single = photos / "강아지/005.png"
    ended = bunryu("predict", tiny_run.run, single, "folder", "list.csv", "folder/**/00[12].png", single)
    assert ended.code == 0, ended.err
    assert "1 file that is not an image ignored (1 .txt)" in ended.err
    assert "1 hidden or system file ignored" in ended.err
    found = table(ended.out)
    names = [row["path"] for row in found]
    assert names == [
        str(single),
        *(f"folder/sub/{i:03}.png" for i in range(14)),
        "folder\\sub\\003.png",
        f"{photos}/cat/002.png",
        "folder/sub/001.png",
        "folder/sub/002.png",
        str(single),
    ]
    assert list(found[0]) == ["path", "pred", "conf", "p_=1+1", "p_cat", "p_강아지"]
    for row in found:
        probabilities = {name: float(row[f"p_{name}"]) for name in tiny_run.classes}
        assert sum(probabilities.values()) == pytest.approx(1, abs=1e-4)
        assert float(row["conf"]) == max(probabilities.values())
        assert probabilities[row["pred"].removeprefix("'")] == float(row["conf"])


def test_predict_writes_files_and_lists_what_cannot_be_read(bunryu: Command, tiny_run: Any, tmp_path: Path) -> None:
    out = tmp_path / "deep/predictions.csv"
    ended = bunryu("predict", tiny_run.run, tiny_run.data / "cat", "--out", out)
    assert ended.code == 2
    assert ended.out == ""
    assert "1 of 15 files could not be read and has no row" in ended.err
    assert f"14 predictions: {out}; unreadable files: {out.parent / 'predictions.skipped.csv'}" in ended.err
    assert len(table(out.read_text(encoding="utf-8"))) == 14
    skipped = table((out.parent / "predictions.skipped.csv").read_text(encoding="utf-8"))
    assert [row["reason"] for row in skipped] == ["not an image (text)"]
    assert skipped[0]["path"].endswith("broken.png")


def test_a_broken_file_given_twice_counts_twice(bunryu: Command, tiny_run: Any, tmp_path: Path) -> None:
    bad, out = tiny_run.data / "cat/broken.png", tmp_path / "p.csv"
    ended = bunryu("predict", tiny_run.run, bad, tiny_run.data / "cat/001.png", bad, "--out", out)
    assert ended.code == 2
    assert "2 of 3 files could not be read" in ended.err
    assert len(table(out.read_text(encoding="utf-8"))) == 1
    assert [row["path"] for row in table((tmp_path / "p.skipped.csv").read_text(encoding="utf-8"))] == [str(bad)] * 2


def test_results_are_utf8_on_any_console(tiny_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = {name: io.TextIOWrapper(io.BytesIO(), encoding="cp1252") for name in ("stdout", "stderr")}
    images = [tiny_run.data / "강아지/001.png", tiny_run.data / "cat/broken.png"]
    monkeypatch.setattr(sys, "argv", ["bunryu", "predict", *map(str, [tiny_run.run, *images])])
    with monkeypatch.context() as patch:
        for name, stream in streams.items():
            patch.setattr(sys, name, stream)
        with pytest.raises(SystemExit) as end:
            app.main()
        print("\N{HANGUL SYLLABLE GA}", file=sys.stderr, flush=True)
        sys.stdout.flush()
    assert end.value.code == 2
    out, err = (stream.buffer.getvalue() for stream in streams.values())  # type: ignore[attr-defined]
    assert "강아지" in out.decode("utf-8").splitlines()[0]
    assert b"could not be read" in err
    assert b"\\uac00" in err


@pytest.mark.parametrize("by_name", [True, False])
def test_predict_json_lines(bunryu: Command, tiny_run: Any, tmp_path: Path, by_name: bool) -> None:
    out = tmp_path / ("p.jsonl" if by_name else "p")
    images = [tiny_run.data / "cat/001.png", tiny_run.data / "=1+1/002.png"]
    assert bunryu("predict", tiny_run.run, *images, "--out", out, *([] if by_name else ["--format", "jsonl"])).code == 0
    found = [json.loads(line) for line in out.read_text(encoding="utf-8").splitlines()]
    assert [row["path"] for row in found] == list(map(str, images))
    assert set(found[0]) == {"path", "pred", "conf", *(f"p_{name}" for name in tiny_run.classes)}
    assert isinstance(found[0]["conf"], float)
    ended = bunryu("predict", tiny_run.run, images[0], "--format", "jsonl")
    assert json.loads(ended.out) == found[0]
    assert bunryu("predict", tiny_run.run, images[0], "--format", "csv").out.startswith("path,pred,conf,")


def test_predict_only_unreadable_files(bunryu: Command, tiny_run: Any, tmp_path: Path) -> None:
    ended = bunryu("predict", tiny_run.run, tiny_run.data / "cat/broken.png")
    assert ended.code == 2
    assert ended.out == ""
    assert "1 of 1 file could not be read and has no row" in ended.err


def test_a_checkpoint_is_not_measured_in_the_runs_name(bunryu: Command, tiny_run: Any, tmp_path: Path) -> None:
    run = tmp_path / "run"
    shutil.copytree(tiny_run.run, run)
    shutil.copy(run / "checkpoints/best.safetensors", run / "mine.safetensors")
    for file in (run / "checkpoints/best.safetensors", run / "mine.safetensors"):
        for command in (["evaluate", file], ["train", "--resume", file]):
            text = refused(bunryu(*command))
            assert f"{file} is a file, not a run folder. Did you mean {run}?" in text
            measured = f"bunryu evaluate {run} --checkpoint best" in text
            assert measured == (file.parent.name == "checkpoints")
            assert f"`bunryu predict {file} IMAGES`" in text
    text = refused(bunryu("evaluate", run / "report.txt"))
    assert f"Did you mean {run}?" in text
    assert "bunryu predict" not in text


def test_predict_takes_a_model_file(bunryu: Command, tiny_run: Any, tmp_path: Path) -> None:
    model = tmp_path / "mine.safetensors"
    shutil.copy(tiny_run.run / "model.safetensors", model)
    image = tiny_run.data / "cat/001.png"
    assert bunryu("predict", model, image).out == bunryu("predict", tiny_run.run, image).out
    assert "checkpoints" in str(tiny_run.run / "checkpoints/best.safetensors")
    assert bunryu("predict", tiny_run.run / "checkpoints/best.safetensors", image).code == 0


def test_cells_cannot_run_as_formulas(bunryu: Command, tiny_run: Any, here: Path) -> None:
    names = ["=1+1.png", "+1.png", "-1.png", "@x.png", "'=q.png", "\tt.png", "fine.png"]
    for name in names:
        shutil.copy(tiny_run.data / "=1+1/000.png", here / name)
    (here / "list.csv").write_text("path\n" + "".join(f'"{name}"\n' for name in names), encoding="utf-8")
    ended = bunryu("predict", tiny_run.run, "list.csv")
    assert ended.code == 0, ended.err
    cells = [cell for row in csv.reader(io.StringIO(ended.out)) for cell in row]
    assert not [cell for cell in cells if cell[:1] in ("=", "+", "-", "@", "\t", "\r")]
    assert [row["path"] for row in table(ended.out)] == [
        "'=1+1.png", "'+1.png", "'-1.png", "'@x.png", "'=q.png", "'\tt.png", "fine.png"
    ]  # fmt: skip
    assert table(ended.out)[0]["pred"] in ("'=1+1", "cat", "강아지")
    (here / "=bad.png").touch()
    bunryu("predict", tiny_run.run, "./=bad.png", "fine.png", "--out", "p.csv")
    assert table((here / "p.skipped.csv").read_text(encoding="utf-8"))[0]["path"] == "./=bad.png"
    for split in ("val", "test"):
        text = (tiny_run.run / f"predictions_{split}.csv").read_text(encoding="utf-8")
        assert not [cell for row in csv.reader(io.StringIO(text)) for cell in row if cell[:1] in ("=", "+", "@")]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["{run}", "gone.png"], ["There is no file or folder gone.png", "Did you mean 'one.png'?"]),
        (["{run}", "*.gif"], ["No file matches *.gif"]),
        (["{run}", "empty"], ["There are no images in empty"]),
        (["{run}", "one.png", "--out", "empty"], ["--out: empty is a folder", "empty/predictions.csv"]),
        (
            ["{run}", "t.csv", "--image-root", "emty"],
            ["--image-root: there is no folder emty. Did you mean 'empty'"],
        ),
        (["{run}", "one.png", "--out", "one.png/p.csv"], ["--out: nothing can be written into", "one.png"]),
        (["{run}", "headless.csv"], ["headless.csv, line 1", "Put a header line above it"]),
        (["gone", "one.png"], ["There is no run folder gone"]),
        (["empty", "one.png"], ["empty is not a run folder"]),
        (["started", "one.png"], ["started has no sealed model yet", "Go on with: bunryu train --resume started"]),
        (["torn.safetensors", "one.png"], ["is not a model that bunryu sealed, or it is damaged"]),
    ],
)
def test_errors_of_predict(
    bunryu: Command, tiny_run: Any, here: Path, arguments: list[str], expected: list[str]
) -> None:
    shutil.copy(tiny_run.data / "cat/000.png", here / "one.png")
    (here / "empty").mkdir()
    (here / "started").mkdir()
    shutil.copy(tiny_run.run / "config.yaml", here / "started")
    (here / "torn.safetensors").write_bytes((tiny_run.run / "model.safetensors").read_bytes()[:100])
    (here / "t.csv").write_text("path\none.png\n", encoding="utf-8")
    (here / "headless.csv").write_text("one.png\none.png\n", encoding="utf-8")
    text = refused(bunryu("predict", *(part.format(run=tiny_run.run) for part in arguments)))
    for part in expected:
        assert part in text


def test_the_nearest_of_many_names_is_found_among_few(monkeypatch: pytest.MonkeyPatch) -> None:
    names = [f"IMG_{i:05}.jpeg" for i in range(50_000)]
    looked, close = [], difflib.get_close_matches

    def counted(word: str, choices: list[str], **options: Any) -> list[str]:
        looked.append(len(choices))
        return close(word, choices, **options)

    monkeypatch.setattr(difflib, "get_close_matches", counted)
    assert nearest("IMG_49999.jpg", names) == " Did you mean 'IMG_49999.jpeg'?"
    assert looked == [2000]


# Names of every kind, all the way through.

ODD_CLASSES = ["고양이", "강아지 (개)", 'it\'s "q", ok', "🐶 dog", "01", "-x"]


def test_odd_names_from_training_to_the_predictions(
    bunryu: Command, here: Path, make_images: Any, tiny_settings: list[str]
) -> None:
    """NFD on the disk, NFC in the results; spaces, quotes, commas and emoji in folders, files and classes."""
    data = here / "내 사진 'n' 🐾"
    make_images(data, dict.fromkeys(ODD_CLASSES, 6))
    decomposed = unicodedata.normalize("NFD", "고양이")
    (data / "고양이").rename(data / decomposed)
    picture = unicodedata.normalize("NFD", '새 사진, "하나" 🐈.png')
    (data / decomposed / "000.png").rename(data / decomposed / picture)
    ended = bunryu("train", data, *tiny_settings, "split.test=0.2", "--out", "결과 1")
    assert ended.code == 0, ended.err
    out = here / "예측.csv"
    ended = bunryu("predict", "결과 1", data, data / decomposed / picture, "--out", out)
    assert ended.code == 0, ended.err
    found = table(out.read_text(encoding="utf-8"))
    assert list(found[0])[3:] == [f"p_{name}" for name in sorted(ODD_CLASSES)]
    assert len(found) == 37
    assert found[-1]["path"] == str(data / decomposed / picture)
    assert all(Path(row["path"]).exists() for row in found), "a path in the results opens the file"
    assert {row["pred"] for row in found} <= {*ODD_CLASSES, "'-x"}
    split = table((here / "결과 1/split.csv").read_text(encoding="utf-8"))
    assert {row["label"] for row in split} == set(ODD_CLASSES)
    assert bunryu("evaluate", "결과 1", "--data", data, "--out", "측정").code == 0
    again = table(out.read_text(encoding="utf-8"))
    measured = table((here / "측정/predictions_test.csv").read_text(encoding="utf-8"))
    by_path = {str(data / unguard(row["path"])): row for row in measured}
    for row in again[:-1]:
        for name in ODD_CLASSES:
            assert float(by_path[row["path"]][f"p_{name}"]) == pytest.approx(float(row[f"p_{name}"]), abs=1e-5)


def test_a_table_of_odd_names(bunryu: Command, here: Path, make_images: Any, tiny_settings: list[str]) -> None:
    make_images(here / "그림 모음", {"a": 6, "b": 6})
    lines = [f'"그림 모음/{c}/{i:03}.png","라벨 {c}, ""{c}"""\r\n' for c in "ab" for i in range(6)]
    (here / "표.csv").write_bytes(("이미지,정답\r\n" + "".join(lines)).encode("cp949"))
    ended = bunryu("train", "표.csv", *tiny_settings, "data.path_column=이미지", "--dry-run")
    assert ended.code == 0, ended.err
    assert "columns: path='이미지', label='정답'" in ended.err
    assert 'classes: 2: 라벨 a, "a", 라벨 b, "b"' in ended.err


# The real thing, once.


def test_as_a_program(tiny_run: Any, tmp_path: Path) -> None:
    program = Path(sys.executable).with_name("bunryu")
    if not program.exists():
        pytest.skip(f"bunryu is not installed beside {sys.executable}")
    Image.fromarray(np.zeros((9, 9, 3), np.uint8)).save(tmp_path / "검정.png")
    (tmp_path / "bad.png").write_bytes(b"x")
    ended = subprocess.run(
        [program, "predict", tiny_run.run, "검정.png", "bad.png", "--device", "cpu"],
        cwd=tmp_path, capture_output=True, text=True, encoding="utf-8", timeout=120, check=False,
        env=dict(os.environ, PYTHONUTF8="0", LC_ALL="C.UTF-8"),
    )  # fmt: skip
    assert ended.returncode == 2
    assert [row["path"] for row in table(ended.stdout)] == ["검정.png"]
    assert "1 of 2 files could not be read and has no row: bad.png (not an image (text))" in ended.stderr
    assert "Traceback" not in ended.stderr
