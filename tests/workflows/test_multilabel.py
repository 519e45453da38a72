"""Labels that can hold together: trained, thresholds sealed, measured and used."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

import bunryu
from bunryu.core.errors import ConfigError, DataError, LabelError
from bunryu.evaluate.decision.thresholds import best_thresholds
from bunryu.evaluate.report import files as results
from bunryu.inference.model import Model
from bunryu.models.record import read_sealed
from conftest import TINY, refused

LABELS = ["빨강", "green", "blue"]
SETTINGS = (
    *(pair for pair in TINY if not pair.startswith(("train.epochs", "evaluate.bootstrap"))),
    *("data.multi_label=[빨강, green, blue]", "train.epochs=1", "evaluate.bootstrap=100", "split.test=0.2"),
    "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true}, {name: all, freeze: statistics}]",
    "optim.lr=1e-5",
)


def write_pictures(folder: Path, rows: int, *, seed: int = 0) -> list[list[Any]]:
    """Write pictures with a bright bar in each colour that holds; a row is its name and what holds."""
    rng, found = np.random.default_rng(seed), []
    for i in range(rows):
        held = rng.random(3) < [0.5, 0.4, 0.15]
        pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        for colour in np.flatnonzero(held ^ (rng.random(3) < 0.05)):  # some labels are wrong
            pixels[5 * colour : 5 * colour + 5, :, colour] = 250
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
        found.append([f"{i:03}.png", *map(int, held)])
    return found


def write_table(file: Path, header: list[str], rows: list[list[Any]]) -> Path:
    with file.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return file


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("labels")
    return write_table(folder / "표.csv", ["path", *LABELS], write_pictures(folder, 120))


@pytest.fixture(scope="module")
def run(listed: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUNRYU_CACHE", str(folder / "cache"))
        return bunryu.train(listed, *SETTINGS, out=folder / "run", quiet=True)


def read(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_the_record_has_a_threshold_a_label_the_best_on_validation(run: Any) -> None:
    sealed = read_sealed(run.path / "model.safetensors")
    (head,) = sealed.heads
    assert (head.kind, head.column, head.classes, sealed.outputs) == ("sigmoid", "labels", LABELS, 3)
    assert list(sealed.decision.thresholds) == LABELS
    rows = read(run.path / "predictions_val.csv")
    probs_NL = np.array([[float(row[f"p_{name}"]) for name in LABELS] for row in rows])
    held_NL = np.array([[name in row["true"].split("|") for name in LABELS] for row in rows])
    assert list(sealed.decision.thresholds.values()) == pytest.approx(best_thresholds(probs_NL, held_NL), abs=1e-5)
    for row, probs in zip(rows, probs_NL, strict=True):
        over = [name for name, p in zip(LABELS, probs, strict=True) if p >= sealed.decision.thresholds[name]]
        assert row["pred"] == "|".join(over)
    assert list(rows[0]) == ["path", "true", "pred", *(f"p_{name}" for name in LABELS)]


def test_it_learns_and_says_what_it_measured(run: Any) -> None:
    metrics = json.loads((run.path / "metrics.json").read_text(encoding="utf-8"))
    test = metrics["test"]
    assert min(row["average_precision"] for row in test["per_class"].values()) > 0.7
    assert test["macro_f1"] > 0.75
    assert {"micro_f1", "mean_average_precision", "accuracy", "macro_f1_ci"} <= test.keys()
    assert any("threshold of each label was chosen on these images" in note for note in metrics["val"]["notes"])
    assert not any("threshold of each label" in note for note in test["notes"])
    history = run.history
    assert {"val_micro_f1", "val_mean_average_precision", "val_macro_f1", "val_accuracy"} <= set(history.columns)
    assert re.search("decision +a threshold for each label", (run.path / "report.txt").read_text(encoding="utf-8"))
    counts = read(run.path / "labels_test.csv")
    assert [row["label"] for row in counts] == LABELS
    assert {
        sum(int(row[f"{a}_{b}"]) for a in ("true", "false") for b in ("positive", "negative")) for row in counts
    } == {test["n"]}
    for name in ("labels_test.png", "precision_recall_val.png", "examples_test.png", "curves.png"):
        assert (run.path / "plots" / name).stat().st_size > 5000


def test_predictions_are_the_sigmoids_at_the_sealed_thresholds(run: Any, listed: Path, tmp_path: Path) -> None:
    files = sorted(map(str, listed.parent.glob("00*.png")))
    frame = bunryu.predict(run, files, out=tmp_path / "p.csv", quiet=True)
    assert list(frame.columns) == ["path", "pred", *(f"p_{name}" for name in LABELS)]
    again = bunryu.predict(run.path, files, out=tmp_path / "p.csv", quiet=True)  # its own file is replaced
    assert (again["pred"] == frame["pred"]).all()
    assert [row["pred"] for row in read(tmp_path / "p.csv")] == frame["pred"].tolist()
    model = Model.open(run.path)
    model.sealed = model.sealed.model_copy(update={"decision": model.sealed.decision.model_copy(update={
        "thresholds": {"빨강": 0.0, "green": 1.1, "blue": 0.0}})})  # fmt: skip
    assert set(model.predict(files)["pred"]) == {"빨강|blue"}
    viewed = run.predict(files, tta="hflip", quiet=True)
    assert (viewed["pred"] == frame["pred"]).mean() > 0.8


def test_other_data_are_measured_by_column_names_or_a_listing(
    run: Any, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    new = tmp_path / "new"
    new.mkdir()
    rows = write_pictures(new, 30, seed=1)
    Image.fromarray(np.full((16, 16, 3), 250, np.uint8)).save(new / "all.png")
    rows.append(["all.png", 1, 1, 1])
    columns = write_table(new / "a.csv", ["path", "blue", "빨강", "green"], [[r[0], r[3], r[1], r[2]] for r in rows])
    found = run.evaluate(columns, out=tmp_path / "a", quiet=True)
    assert found.metrics["test"]["n"] == 31
    assert found.metrics["test"]["macro_f1"] > 0.6
    assert found.confusion["test"].loc["blue"].sum() == 31
    told = ["|".join(name for name, yes in zip(LABELS, row[1:], strict=True) if yes) for row in rows]
    listing = write_table(
        new / "b.csv", ["path", "labels"], [[row[0], text] for row, text in zip(rows, told, strict=True)]
    )
    again = run.evaluate(listing, out=tmp_path / "b", quiet=True)
    assert again.metrics["test"]["macro_f1"] == found.metrics["test"]["macro_f1"]
    frame = run.evaluate(name="test", out=tmp_path / "c", tta="hflip", quiet=True).predictions["test_tta"]
    assert {"true", "pred", "p_빨강"} <= set(frame.columns)
    wrong = write_table(new / "d.csv", ["path", "labels"], [["000.png", "빨강|gren"], ["001.png", ""]])
    with pytest.raises(LabelError, match=r"'gren'.*Did you mean 'green'"):
        run.evaluate(wrong, quiet=True)
    with pytest.raises(LabelError, match="lacks 'blue'"):
        run.evaluate(columns, overrides=["data.multi_label=[빨강, green]"], quiet=True)
    none = write_table(new / "e.csv", ["path", "labels"], [["000.png", ""]])
    with pytest.raises(DataError, match="none of the labels holds"):
        run.evaluate(none, quiet=True)


def test_forty_labels_and_combinations_that_training_has_not(tmp_path: Path) -> None:
    """2^40 combinations: nothing may list them, and nearly every row has one of its own."""
    monkey = pytest.MonkeyPatch()
    monkey.setattr(results, "_write_plots", lambda *_: None)
    rng = np.random.default_rng(0)
    names = [f"l{k:02}" for k in range(40)]
    pictures = write_pictures(tmp_path, 90)
    held_NL = rng.random((90, 40)) < 0.3
    held_NL[:, :3] = [row[1:] for row in pictures]
    rows = [[row[0], *held.astype(int)] for row, held in zip(pictures, held_NL, strict=True)]
    table = write_table(tmp_path / "t.csv", ["path", *names], rows)
    pairs = [pair for pair in SETTINGS if not pair.startswith("data.multi_label")]
    more = (f"data.multi_label=[{', '.join(names)}]", "mix.name=both", "loss.class_weights=balanced", "loss.name=focal")
    more = (*more, "train.stages=[{name: all}]", "train.monitor=mean_average_precision", "train.epochs=2")
    trained = bunryu.train(table, *pairs, *more, out=tmp_path / "run", quiet=True)
    monkey.undo()
    assert len(read_sealed(trained.path / "model.safetensors").decision.thresholds) == 40
    assert len(trained.metrics["val"]["per_class"]) == 40
    splits = read(trained.path / "split.csv")
    learned = {row["labels"] for row in splits if row["split"] == "train"}
    assert not learned & {row["labels"] for row in splits if row["split"] != "train"}


def test_without_validation_the_thresholds_are_one_half(listed: Path, tmp_path: Path) -> None:
    more = ("split.val=0", "split.test=0", "train.monitor=train_loss", "train.stages=[{name: all}]")
    trained = bunryu.train(listed, *SETTINGS, *more, out=tmp_path / "run", quiet=True)
    assert read_sealed(trained.path / "model.safetensors").decision.thresholds == dict.fromkeys(LABELS, 0.5)
    assert "a threshold of 0.5 for each label" in (trained.path / "report.txt").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("pair", "told"),
    [
        ("loss.name=soft_f1 loss.label_smoothing=0", "cross_entropy and focal are there"),
        ("loss.name=logit_adjusted", "cross_entropy and focal are there"),
        ("loss.class_weights={a: 1}", "balanced and effective"),
        ("train.sampler=class_aware", "loss.class_weights=balanced"),
        ("data.balance_to=50", "loss.class_weights=balanced"),
        ("mix.remix=true mix.name=mixup", "leave it out"),
        ("decision.tau=auto", "a threshold of its own"),
        ("evaluate.positive=a", "leave it out"),
        ("train.monitor=roc_auc", "mean_average_precision"),
        ("folds.k=3", "split.test"),
        ("model.heads=separate", "leave it out"),
    ],
)
def test_what_has_no_meaning_is_refused_before_anything_is_read(pair: str, told: str) -> None:
    from bunryu.settings.load import load_settings

    with pytest.raises(ConfigError, match="can hold together") as error:
        load_settings(
            ["data.source=missing.csv", "data.multi_label=[a, b]", *pair.split(" ", 1 if "{" not in pair else 0)]
        )
    assert told in str(error.value)
    assert pair.split("=")[0] in str(error.value)


def test_what_else_is_refused(
    run: Any, listed: Path, tmp_path: Path, make_images: Callable[..., Path], bunryu: Any
) -> None:
    labels = "data.multi_label=[빨강, green]"
    assert "split lays out a folder a class" in refused(bunryu("split", listed, labels, "--out", tmp_path / "s"))
    assert "probe knows classes that exclude" in refused(bunryu("probe", listed, labels))
    told = refused(bunryu("augment", listed, labels, "--flip", "horizontal", "--out", tmp_path / "a"))
    assert "augment knows classes that exclude" in told
    assert "no ensemble unites yet" in refused(bunryu("ensemble", run.path, run.path, "--out", tmp_path / "e"))
    sample = write_table(tmp_path / "sample.csv", ["path", "ans"], [["000.png", 0]])
    told = refused(bunryu("predict", run.path, listed.parent, "--submission", sample, "--out", tmp_path / "o.csv"))
    assert "the model answers labels that can hold together" in told
    photos = make_images(tmp_path / "photos", {"a": 4, "b": 4})
    assert "data.multi_label belongs to a CSV" in refused(bunryu("train", photos, labels, *TINY))
    told = refused(bunryu("train", photos, "train.monitor=mean_average_precision", *TINY))
    assert "data.multi_label" in told
    ended = bunryu("predict", run.path, listed.parent / "000.png")
    assert ended.code == 0
    assert "빨강" in ended.out
    assert "yes 0." in ended.out or "no  0." in ended.out
