"""Environment variables name what no argument names: data, runs, what to predict, the model, answers, the truth."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conftest import Command, Tiny, refused, table

VARIABLES = (
    "SM_CHANNEL_TRAIN", "SM_MODEL_DIR", "SM_CHANNEL_EVAL", "SM_CHANNEL_MODEL", "SM_OUTPUT_DATA_DIR",
    "SM_GROUND_TRUTH_DIR",
)  # fmt: skip


@pytest.fixture(autouse=True)
def _unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_the_data_and_the_place_of_runs(
    bunryu: Command, here: Path, make_images: Any, tiny_settings: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(here / "채널/훈련", {"a": 6, "b": 6})
    make_images(here / "other", {"c": 6, "d": 6})
    monkeypatch.setenv("SM_CHANNEL_TRAIN", str(here / "채널/훈련"))
    monkeypatch.setenv("SM_MODEL_DIR", str(here / "모델"))
    ended = bunryu("train", *tiny_settings, "train.epochs=1")
    assert ended.code == 0, ended.err
    assert f"data: {here / '채널/훈련'} (from SM_CHANNEL_TRAIN)" in ended.err
    assert f"runs: {here / '모델'} (from SM_MODEL_DIR)" in ended.err
    assert (here / "모델/훈련-1/model.safetensors").exists()
    assert not (here / "runs").exists()
    for given in (["other"], ["data.source=other"], ["--train-dir", "other"]):
        ended = bunryu("train", *given, *tiny_settings, "--dry-run")
        assert "classes: 2: c, d" in ended.err, (given, ended)
        assert f"data: other (as given; SM_CHANNEL_TRAIN={here / '채널/훈련'} is not used)" in ended.err
    (here / "mine.yaml").write_text("data: {source: other}\n", encoding="utf-8")
    own = bunryu("train", "--recipe", "mine.yaml", *tiny_settings, "--dry-run").err
    assert "classes: 2: c, d" in own
    assert "settings: mine.yaml, and what it leaves out from the recipe 'scratch'" in own
    for option in ("--val-dir", "--test-dir"):  # these name no data to train on
        assert "classes: 2: a, b" in bunryu("train", option, here / "채널/훈련", *tiny_settings, "--dry-run",
                                            "data.on_leak=continue").err  # fmt: skip
    assert bunryu("split", "--out", "halves").code == 0
    assert (here / "halves/train/a").is_dir()
    assert bunryu("train", "other", *tiny_settings, "train.epochs=1", "--out", "mine").code == 0
    assert (here / "mine/model.safetensors").exists()


def test_the_other_commands_take_the_data_too(
    bunryu: Command, here: Path, make_images: Any, tiny_run: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_images(here / "photos", {"a": 6, "b": 6})
    monkeypatch.setenv("SM_CHANNEL_TRAIN", "photos")
    monkeypatch.setenv("SM_MODEL_DIR", "tries")
    settings = (f"model.weights={tiny_run.run}", "input.size=16", "train.precision=fp32")
    ended = bunryu("probe", *settings)
    assert ended.code == 0, ended.err
    assert (here / "tries/photos-probe-1/recipe.yaml").exists()
    settings = ("model.name=scratch_cnn", *settings[1:])
    ended = bunryu("bench", *settings, "train.threads=1", "train.batch_size=4")
    assert ended.code == 0, ended.err
    assert "data: photos (from SM_CHANNEL_TRAIN)" in ended.err


def test_an_empty_variable_is_none_and_a_missing_path_is_an_error(
    bunryu: Command, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SM_CHANNEL_TRAIN", "")
    assert "No data was named" in refused(bunryu("train"))
    monkeypatch.setenv("SM_CHANNEL_TRAIN", "/nowhere")
    assert "SM_CHANNEL_TRAIN=/nowhere: there is no such file or folder" in refused(bunryu("train"))
    monkeypatch.setenv("SM_CHANNEL_MODEL", "/nowhere")
    assert "SM_CHANNEL_MODEL=/nowhere: there is no such" in refused(bunryu("predict", "x.png"))
    assert "SM_CHANNEL_MODEL=/nowhere: there is no such" in refused(bunryu("evaluate"))
    monkeypatch.setenv("SM_CHANNEL_MODEL", "")
    assert "Which run, and which images?" in refused(bunryu("predict"))
    assert "Which run?" in refused(bunryu("evaluate"))
    assert "Which predictions?" in refused(bunryu("score"))
    assert list(here.iterdir()) == []


def test_predict_evaluate_and_score(
    bunryu: Command, here: Path, tiny_run: Tiny, monkeypatch: pytest.MonkeyPatch
) -> None:
    cats = tiny_run.data / "cat"
    monkeypatch.setenv("SM_CHANNEL_MODEL", str(tiny_run.run))
    monkeypatch.setenv("SM_CHANNEL_EVAL", str(tiny_run.data / "강아지"))
    monkeypatch.setenv("SM_OUTPUT_DATA_DIR", str(here / "out"))
    monkeypatch.setenv("SM_GROUND_TRUTH_DIR", str(here / "truth"))
    ended = bunryu("predict")
    assert ended.code == 0, ended.err
    for told in (f"run: {tiny_run.run} (from SM_CHANNEL_MODEL)", f"{here / 'out'} (from SM_OUTPUT_DATA_DIR)",
                 f"images: {tiny_run.data / '강아지'} (from SM_CHANNEL_EVAL)"):  # fmt: skip
        assert told in ended.err
    written = table((here / "out/predictions.csv").read_text(encoding="utf-8"))
    assert len(written) == 14
    # the truth, and the score of what was predicted
    (here / "truth").mkdir()
    answers = ["강아지"] * 10 + ["cat"] * 4
    lines = "".join(f"{Path(row['path']).name},{answer}\n" for row, answer in zip(written, answers, strict=True))
    (here / "truth/gt.csv").write_text("ImageID,ans\n" + lines, encoding="utf-8")
    (here / "truth/notes.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    ended = bunryu("score")
    assert ended.code == 0, ended.err
    right = sum(row["pred"] == answer for row, answer in zip(written, answers, strict=True))
    assert f"accuracy {right / 14:.3f}" in ended.out, ended.out
    (here / "truth/gt.csv").rename(here / "truth/other.csv")
    assert "SM_GROUND_TRUTH_DIR" in (told := refused(bunryu("score")))
    assert "has several tables (notes.csv, other.csv)" in told
    # arguments win
    first = sorted(cats.glob("0*.png"))[0]
    ended = bunryu("predict", tiny_run.run, first, "--out", "-")
    assert ended.code == 0, ended.err
    assert [row["path"] for row in table(ended.out)] == [str(first)]
    assert f"images: {first} (as given; SM_CHANNEL_EVAL=" in ended.err
    ended = bunryu("predict", first, "--out", "one.jsonl")  # no run: what the variable names
    assert ended.code == 0, ended.err
    assert len((here / "one.jsonl").read_text(encoding="utf-8").splitlines()) == 1
    ended = bunryu("predict", tiny_run.run / "model.safetensors", "--format", "tsv")
    assert ended.code == 0, ended.err
    assert (here / "out/predictions.tsv").exists()
    ended = bunryu("evaluate", "evaluate.bootstrap=20", "--name", "val", "--out", "figures")
    assert ended.code == 0, ended.err
    assert f"run: {tiny_run.run} (from SM_CHANNEL_MODEL)" in ended.err
    assert (here / "figures/metrics.json").exists()


def test_the_variables_are_in_the_help(bunryu: Command) -> None:
    asked = {"train": VARIABLES[:2], "probe": VARIABLES[:2], "predict": VARIABLES[2:5], "evaluate": VARIABLES[3:4],
             "score": VARIABLES[4:], **dict.fromkeys(("bench", "split", "augment"), VARIABLES[:1])}  # fmt: skip
    for command, names in asked.items():
        said = " ".join(bunryu(command, "--help").out.split())
        assert not [name for name in names if f"${name}" not in said], command
