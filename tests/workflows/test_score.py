"""bunryu score, and submissions in the shape of a sample file."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.metrics import f1_score, precision_recall_fscore_support

import bunryu as package
from bunryu.core.errors import DataError
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Architecture, Head, Sealed
from bunryu.settings.data import DecodeSpec, InputSpec
from bunryu.ship.submission import fill
from bunryu.workflows.score import score
from conftest import Command, refused


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def tables(folder: Path, n: int = 60, k: int = 12) -> tuple[Path, Path, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    true_N, said_N = rng.integers(0, k, n), rng.integers(0, k, n)
    truth = write(folder / "gt.csv", "ImageID,ans\n" + "".join(f"{i}.jpg,{t}\n" for i, t in enumerate(true_N)))
    order = rng.permutation(n)
    lines = "".join(f"images/{i}.jpg,{said_N[i]},0.5\n" for i in order)
    return write(folder / "p.csv", "path,pred,conf\n" + lines), truth, true_N, said_N


def test_it_is_scikit_learns(tmp_path: Path) -> None:
    predictions, truth, true_N, said_N = tables(tmp_path)
    found = score(predictions, truth, out=tmp_path / "s.json").metrics
    labels = sorted(set(true_N.tolist()))
    assert found["n"] == 60
    assert found["accuracy"] == pytest.approx((true_N == said_N).mean())
    assert found["macro_f1"] == pytest.approx(f1_score(true_N, said_N, average="macro", labels=labels, zero_division=0))
    each = precision_recall_fscore_support(true_N, said_N, labels=labels, zero_division=0)
    assert [found["per_class"][str(label)]["recall"] for label in labels] == pytest.approx(list(each[1]))
    assert list(found["per_class"]) == sorted(found["per_class"], key=int), "whole numbers in their order"
    assert not {"loss", "roc_auc"} & set(found), "what needs probabilities is left out"
    assert json.loads((tmp_path / "s.json").read_text(encoding="utf-8")) == found


def test_the_command(bunryu: Command, tmp_path: Path) -> None:
    predictions, truth, *_ = tables(tmp_path)
    ended = bunryu("score", predictions, truth)
    assert ended.code == 0, ended.err
    assert ended.out.startswith("macro-F1 0.")
    assert "p.csv against gt.csv" in ended.err
    assert "images  predicted" in ended.err


def test_what_bunryu_itself_predicts_is_scored(bunryu: Command, tiny_run: Any, here: Path) -> None:
    """Class names that a spreadsheet would run have a quote in front in both tables."""
    assert bunryu("predict", tiny_run.run, tiny_run.data, "--out", "p.csv", "-q").code == 2, "one is broken"
    rows = list(csv.DictReader(io.StringIO(Path("p.csv").read_text(encoding="utf-8"))))
    truth = "".join(f"{Path(row['path']).parent.name}_{Path(row['path']).name},{row['pred']}\n" for row in rows)
    write(Path("t.csv"), "file,label\n" + truth)
    named = "".join(f"{Path(row['path']).parent.name}_{Path(row['path']).name},{row['pred']}\n" for row in rows)
    write(Path("q.csv"), "file,pred\n" + named)
    ended = bunryu("score", "q.csv", "t.csv")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("macro-F1 1.000")
    assert refused(bunryu("score", "p.csv", "t.csv")), "one file name in several folders"


@pytest.mark.parametrize(
    ("said", "true", "message"),
    [
        ("f,ans\na.jpg,1\n", "f,ans\na.jpg,1\nb.jpg,0\n", "1 image of .* without an answer: b.jpg"),
        ("f,ans\na.jpg,1\nb.jpg,0\n", "f,ans\na.jpg,1\n", "1 answer to images that .* does not have: b.jpg"),
        ("f,ans\na.jpg,1\na.jpg,0\n", "f,ans\na.jpg,1\n", "line 3: a.jpg stands there twice"),
        ("f,ans\na.jpg,1\nx/a.jpg,0\n", "f,ans\na.jpg,1\n", "1 answer to images that .* does not have: x/a.jpg"),
        ("f,ans\na.jpg,\n", "f,ans\na.jpg,1\n", "line 2: no answer in the column 'ans'"),
        ("f\na.jpg\n", "f,ans\na.jpg,1\n", "has one column alone"),
        ("f,ans\na.jpg,cat\nb.jpg,dog\n", "f,ans\na.jpg,1\nb.jpg,0\n", "not one in common"),
        (
            "f,ans\na.jpg,cat\nb.jpg,dog\n",
            "f,ans\na.jpg,1\nb.jpg,0\n",
            "RUN IMAGES --submission .*t.csv",
        ),
        ("f,ans\na.jpg,2\nb.jpg,3\n", "f,ans\na.jpg,1\nb.jpg,0\n", r"the same classes\?$"),
        ("f,ans\na.jpg,1\n", "f,ans\na.jpg,1\n", "one class alone"),
    ],
)
def test_tables_that_do_not_fit_are_told(said: str, true: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        score(write(tmp_path / "p.csv", said), write(tmp_path / "t.csv", true))


# Submissions

PREDICTIONS = Predictions(
    ["new/b.png", "new/a.png", "new/c.png"],
    ["cat", "dog"],
    np.array([[0.9, 0.1], [0.2, 0.8], [0.4, 0.6]], np.float32),
)


def sealed(published: list[int] | None) -> Sealed:
    return Sealed(
        architecture=Architecture(name="scratch_cnn"),
        heads=[Head(column="label", classes=["cat", "dog"], published=published)],
        decode=DecodeSpec(max_pixels=1000),
        input=InputSpec(
            height=8, width=8, channels="rgb", fit="crop", crop_pct=1.0, pad_colour=(0, 0, 0),
            interpolation="bilinear", mean=[0.5] * 3, std=[0.5] * 3,
        ),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("sample", "published", "expected"),
    [
        ("ImageID,ans\na.png,0\nb.png,0\nc.png,0\n", [7, 5], "ImageID,ans\na.png,5\nb.png,7\nc.png,5\n"),
        ("no,f,label\n9,c.png,\n8,b.png,\n7,a.png,\n", None, "no,f,label\n9,c.png,dog\n8,b.png,cat\n7,a.png,dog\n"),
        ("f,ans\na.png,x\nb.png,x\nc.png,x\n", [7, 5], "f,ans\na.png,dog\nb.png,cat\nc.png,dog\n"),
        ("image_path\nb.png\na.png\nc.png\n", [7, 5], "ID,image_path,target\n0,b.png,7\n1,a.png,5\n2,c.png,5\n"),
    ],
)
def test_a_submission_has_the_samples_rows_and_columns(
    sample: str, published: list[int] | None, expected: str, tmp_path: Path
) -> None:
    assert fill(write(tmp_path / "s.csv", sample), PREDICTIONS, sealed(published)) == expected


def test_names_in_a_list_of_images_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images = write(tmp_path / "i.csv", "image_path\na.png\nb.png\nc.png\n")
    fill(images, PREDICTIONS, sealed([7, 5]))
    assert capsys.readouterr().err == ""
    fill(images, PREDICTIONS, sealed(None))
    assert "i.csv has no column of answers, and the model knows" in " ".join(capsys.readouterr().err.split())


@pytest.mark.parametrize(
    ("sample", "message"),
    [
        ("f,ans\na.png,\nb.png,\nc.png,\nd.png,\n", "1 image of .* without an answer: d.png"),
        ("f,ans\na.png,\nb.png,\n", "1 answer to images that .* does not have: new/c.png"),
    ],
)
def test_a_missing_or_extra_row_is_an_error(sample: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=message):
        fill(write(tmp_path / "s.csv", sample), PREDICTIONS, sealed(None))


def test_predict_writes_a_submission(bunryu: Command, tiny_run: Any, here: Path) -> None:
    names = [f"{i:03}.png" for i in range(5)]
    sample = write(here / "sample.csv", "ImageID,ans\n" + "".join(f"{name},\n" for name in reversed(names)))
    images = [tiny_run.data / "cat" / name for name in names]
    ended = bunryu("predict", tiny_run.run, *images, "--submission", sample, "--out", "s.csv")
    assert ended.code == 0, ended.err
    assert ended.out == ""
    rows = list(csv.DictReader(io.StringIO(Path("s.csv").read_text(encoding="utf-8"))))
    frame = package.predict(tiny_run.run, images, quiet=True)
    assert [row["ImageID"] for row in rows] == names[::-1]
    assert [row["ans"] for row in rows] == frame["pred"].tolist()[::-1]
    assert "is there already" in refused(
        bunryu("predict", tiny_run.run, *images, "--submission", sample, "--out", "s.csv")
    )
    assert "name the file to write" in refused(bunryu("predict", tiny_run.run, *images, "--submission", sample))
    assert "there is no file" in refused(
        bunryu("predict", tiny_run.run, *images, "--submission", "no.csv", "--out", "t.csv")
    )
    assert "1 image of" in refused(
        bunryu("predict", tiny_run.run, *images[1:], "--submission", sample, "--out", "t.csv")
    )
    assert not Path("t.csv").exists()


def test_a_recipe_is_copied(bunryu: Command, here: Path) -> None:
    assert bunryu("recipes", "default", "--out", "mine.yaml").code == 0
    assert Path("mine.yaml").read_text(encoding="utf-8") == bunryu("recipes", "default").out
    assert "not overwritten" in refused(bunryu("recipes", "default", "--out", "mine.yaml"))
    assert "which recipe" in refused(bunryu("recipes", "--out", "other.yaml"))
