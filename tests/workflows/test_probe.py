"""bunryu probe, end to end: the table, the files, and the recipe that trains next."""

from __future__ import annotations

import csv
import json
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from bunryu import api
from bunryu.core.storage import read_json
from bunryu.data.splits.assign import folds
from bunryu.models.build import build
from bunryu.models.record import Architecture
from bunryu.settings.train import LossSettings
from bunryu.workflows import probe
from bunryu.workflows.probe_report import ADJUSTED, Probed, Tried, advice, loss_of, recipe, table_lines
from conftest import Command, Tiny, refused, table, write_class_folders

pytestmark = pytest.mark.usefixtures("here")
SMALL = ("train.device=cpu", "train.threads=1", "train.precision=fp32", "evaluate.bootstrap=20", "split.val=0.25")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_class_folders(tmp_path_factory.mktemp("data") / "photos", {"a": 20, "b": 16, "가": 10})


@pytest.fixture(scope="module")
def resnet(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return a backbone with weights from a file, as --backbone takes it."""
    path = tmp_path_factory.mktemp("weights") / "resnet.pth"
    torch.manual_seed(3)
    torch.save(build(Architecture(name="timm/test_resnet"), 2).backbone.state_dict(), path)
    return f"timm/test_resnet={path}"


@pytest.fixture(scope="module")
def found_once(photos: Path, resnet: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the results of one probe, which tests only read."""
    from bunryu import probe

    name, weights = resnet.split("=")
    out = tmp_path_factory.mktemp("probed") / "found"
    given = (*SMALL, "input.size=32", f"model.name={name}", f"model.weights={weights}")
    probe(photos, *given, out=out, quiet=True)
    return out


def test_a_run_as_weights(bunryu: Command, photos: Path, tiny_run: Tiny) -> None:
    ended = bunryu("probe", photos, *SMALL, f"model.weights={tiny_run.run}", "split.test=0.2", "--out", "found")
    assert ended.code == 0, ended.err
    lines = ended.out.splitlines()
    assert lines[0].split() == ["backbone", "loss", "macro-F1", "accuracy", "rare", "recall"]
    assert sorted(line.split()[:2] for line in lines[1:-2]) == [
        ["scratch_cnn", first] for first in ("balanced", "class-balanced", "logit-adjusted", "plain", "plain,")
    ]
    assert lines[1].endswith("best")
    assert sorted(path.name for path in Path("found").iterdir()) == [
        *("predictions_oof.csv", "probe.json", "recipe.yaml", "report.txt", "review.csv", "review.png", "settings.yaml")
    ]
    look = table(Path("found/review.csv").read_text(encoding="utf-8"))
    assert {row["kind"] for row in look} <= {"near-duplicate", "alike", "outlier", "label"}
    pairs = [row for row in look if row["kind"] in ("near-duplicate", "alike")]
    assert pairs, "bars in nearly the same places"
    assert all((photos / row[name]).exists() for row in pairs for name in ("path", "other"))
    copies = sum(row["kind"] == "near-duplicate" for row in pairs)
    assert ("promise too much" in ended.err) <= (copies > 0)
    assert (copies < len(pairs)) == ("alike, but not seen to be copies by their pixels" in ended.err)
    found = read_json(Path("found/probe.json"))
    assert (found["folds"], found["rare"]) == (5, ["가"])
    rows = table(Path("found/predictions_oof.csv").read_text(encoding="utf-8"))
    assert len(rows) == found["tried"][0]["metrics"]["n"] == 37, "test rows are left alone"
    right = sum(row["true"] == row["pred"] for row in rows)
    assert right / len(rows) == pytest.approx(found["tried"][0]["metrics"]["accuracy"])
    assert right > 0.8 * len(rows), "bars in their own places are easily told"
    report = Path("found/report.txt").read_text(encoding="utf-8")
    assert all(line in report for line in lines)
    assert "37 images (training and validation rows), 3 classes" in report


def test_the_next_command_is_the_one_to_type(bunryu: Command, photos: Path, tiny_run: Tiny) -> None:
    """Also where settings were given: without them the recipe would begin from other features."""
    pairs = (*SMALL, "input.size=24", f"model.weights={tiny_run.run}")
    ended = bunryu("probe", f"data.source={photos}", *pairs, "--out", "found")
    assert ended.code == 0, ended.err
    (line,) = [line for line in ended.err.splitlines() if line.startswith("next: bunryu train ")]
    command = shlex.split(line.removeprefix("next: bunryu "))
    assert command[-2:] == ["--recipe", "found/recipe.yaml"]
    assert f"data.source={photos}" in command
    assert "input.size=24" in command
    trained = bunryu(*command, "train.epochs=2", "--out", "run")
    assert trained.code == 0, trained.err
    config = Path("run/config.yaml").read_text(encoding="utf-8")
    assert f"weights: {tiny_run.run}" in config
    assert "name: scratch_cnn" in config


def test_several_backbones_are_compared(bunryu: Command, photos: Path, tiny_run: Tiny, resnet: str) -> None:
    ended = bunryu(
        *("probe", photos, *SMALL, "input.size=32", "--backbone", resnet),
        *("--backbone", f"scratch_cnn={tiny_run.run}", "--out", "found"),
    )
    assert ended.code == 0, ended.err
    tried = read_json(Path("found/probe.json"))["tried"]
    assert [one["backbone"] for one in tried].count("timm/test_resnet") == 5
    scores = [one["metrics"]["macro_f1"] for one in tried]
    assert scores == sorted(scores, reverse=True)
    assert tried[0]["behind_best"] is None
    for one in tried[1:]:
        behind = one["behind_best"]
        assert behind["value"] == pytest.approx(one["metrics"]["macro_f1"] - scores[0])
        assert behind["low"] <= behind["value"] <= behind["high"]
    best = Path("found/recipe.yaml").read_text(encoding="utf-8")
    assert f"name: {tried[0]['backbone']}" in best
    assert f"weights: {tried[0]['weights']}" in best


def test_the_same_again_is_the_same(bunryu: Command, photos: Path, found_once: Path, resnet: str) -> None:
    """In the next free folder, where none is named."""
    Path("runs/photos-probe-1").mkdir(parents=True)
    assert bunryu("probe", photos, *SMALL, "input.size=32", "--backbone", resnet).code == 0
    texts = [
        [Path(folder, file).read_bytes() for file in ("probe.json", "predictions_oof.csv", "recipe.yaml")]
        for folder in (found_once, "runs/photos-probe-2")
    ]
    assert texts[0] == texts[1]


def test_results_are_never_overwritten(bunryu: Command, photos: Path, resnet: str) -> None:
    Path("mine").mkdir()
    Path("mine/thesis.txt").write_text("all of it")
    told = refused(bunryu("probe", photos, *SMALL, "--backbone", resnet, "--out", "mine"))
    assert told.startswith("--out: mine is not empty")
    assert [path.name for path in Path("mine").iterdir()] == ["thesis.txt"]


@pytest.mark.parametrize(
    "arguments",
    [
        ("model.name=scratch_cnn",),
        ("model.name=scratch_cnn", "model.weights=none"),
        ("model.name=timm/test_resnet", "model.weights=none"),
        ("--backbone", "scratch_cnn"),
        ("--backbone", "timm/test_resnet=none"),
    ],
)
def test_a_net_without_weights_is_refused(arguments: tuple[str, ...], bunryu: Command, photos: Path) -> None:
    told = refused(bunryu("probe", photos, *SMALL, *arguments, "--out", "found"))
    assert "probe shows what pretrained weights know" in told
    assert "give model.weights=" in told
    assert not Path("found").exists()
    assert not Path("runs").exists()


def test_groups_are_never_on_both_sides(
    bunryu: Command, photos: Path, resnet: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Six patients a class: each patient's pictures share one fold, and the interval resamples patients."""
    given: list[Any] = []

    def noted(labels: Any, k: int, seed: int, groups: Any = None, digests: Any = None, **more: Any) -> Any:
        found = folds(labels, k, seed, groups, digests, **more)
        given.append((groups, found))
        return found

    monkeypatch.setattr(probe, "folds", noted)
    with Path("labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "patient"])
        for i, path in enumerate(sorted(photos.glob("*/*.png"))):
            writer.writerow([path, path.parent.name, f"{path.parent.name}{i % 6}"])
    ended = bunryu(
        *(
            "probe",
            "labels.csv",
            *SMALL,
            "data.group_column=patient",
            "input.size=32",
            "--backbone",
            resnet,
            "--out",
            "found",
        )
    )
    assert ended.code == 0, ended.err
    ((groups, fold_N),) = given
    assert len(set(groups)) == 18
    assert all(len(set(fold_N[groups == group])) == 1 for group in set(groups))
    metrics = read_json(Path("found/probe.json"))["tried"][0]["metrics"]
    assert metrics["groups"] == 18
    assert metrics["bootstrap"]["of"] == "groups"


def test_too_few_images_are_told(bunryu: Command, make_images: Callable[..., Path], here: Path, resnet: str) -> None:
    data = make_images(here / "few", {"a": 2, "b": 2})
    told = refused(bunryu("probe", data, *SMALL, "--backbone", resnet, "--out", "found"))
    assert "5 folds" in told
    assert not Path("found").exists()


# The table, the sentences and the recipe


def tried(backbone: str, loss: str, macro_f1: float, behind: tuple[float, float] | None) -> Tried:
    from bunryu.evaluate.difference import Difference
    from bunryu.evaluate.figures import Metrics
    from bunryu.inference.predictions import Predictions

    shares = {"weighted_f1": 0.5, "macro_precision": 0.5, "macro_recall": 0.5}
    metrics = Metrics(n=10, accuracy=0.5, macro_f1=macro_f1, **shares, absent=(), per_class={})
    nothing = Predictions([], ["a", "b"], np.zeros((0, 2), np.float32), np.zeros(0, np.int64))
    difference = None if behind is None else Difference(sum(behind) / 2, *behind)
    return Tried(backbone, "imagenet", loss, metrics, nothing, 0.3, difference)


@pytest.fixture
def found() -> Iterator[Probed]:
    rows = [
        tried("A", "balanced", 0.9, None),
        tried("B", "plain", 0.89, (-0.05, 0.02)),
        tried("A", "plain", 0.8, (-0.2, -0.05)),
        tried("B", "balanced", 0.7, (-0.3, -0.1)),
    ]
    return Probed(rows, Path("found"), 10, ["a"])


def test_what_is_within_noise_is_said(found: Probed) -> None:
    told = [line.split("  ")[-1].strip() for line in table_lines(found)[1:-2]]
    assert told == ["best", "within noise of the best", "worse", "worse"]
    assert advice(found)[0] == "Noise does not tell these apart: A, B. Take the quickest."
    assert advice(found)[1] == (
        "Against plain, the loss balanced changes macro-F1 by +0.100 (beyond noise), the recall of the rare classes by "
        "+0.000."
    )
    assert repr(found) == "\n".join(table_lines(found))


def test_where_nothing_is_rare_nothing_is_said_of_it(found: Probed) -> None:
    found.tried[2] = tried("A", "plain", 0.9, (0.0, 0.0))
    even = Probed(found.tried, found.path, found.rows, [])
    assert not any("rare recall" in line or "rarest" in line for line in [*table_lines(even), *advice(even)])
    assert [line.split("  ")[-1].strip() for line in table_lines(even)[1:-1]][2] == "equal to the best"
    assert advice(even)[1] == "The classes are about the same size: losses for rare ones have nothing to mend."


def test_the_recipe_has_the_loss_whole_as_it_was_compared(found: Probed) -> None:
    """The recipe below it, or what train has as set, would train another smoothing, or another loss than plain."""
    given = LossSettings(name="soft_f1", gamma=1.5, beta=0.9, tau=0.5)
    for name, expected in (
        ("plain", {"name": "cross_entropy", "label_smoothing": 0.0, "class_weights": None}),
        ("class-balanced focal", {"name": "focal", "class_weights": "effective", "gamma": 1.5, "beta": 0.9}),
        ("logit-adjusted", {"name": "logit_adjusted", "class_weights": None, "tau": 0.5}),
        (ADJUSTED, {"name": "cross_entropy", "class_weights": None}),
    ):
        found.tried[0] = tried("A", name, 0.9, None)
        found.tried[2] = tried("A", "plain", 0.8, (-0.2, -0.05))
        text = yaml.safe_load(recipe(found, given))
        assert expected.items() <= text["loss"].items()
        assert ("decision" in text) is (name == ADJUSTED)
        assert loss_of("plain" if name == ADJUSTED else name, given).model_dump().items() >= text["loss"].items()
    smoothed = yaml.safe_load(recipe(found, LossSettings(label_smoothing=0.3)))
    assert smoothed["loss"]["label_smoothing"] == 0.3


def test_a_recipe_that_was_probed_trains_with_the_loss_that_was_compared(
    bunryu: Command, photos: Path, tiny_run: Tiny
) -> None:
    pairs = (*SMALL, f"model.weights={tiny_run.run}", "recipe=emotion", "train.epochs=1", "decision.tau=1")
    ended = bunryu("probe", photos, *pairs, "train.stages=[{name: all}]", "--out", "found")
    (line,) = [line for line in ended.err.splitlines() if line.startswith("next: bunryu train ")]
    command = shlex.split(line.removeprefix("next: bunryu "))
    assert "decision.tau=1" not in command, "the recipe decides"
    settings = api.train(*command[1:-2], "train.ema=null", recipe=command[-1], out="run", quiet=True).settings
    assert yaml.safe_load(Path("found/recipe.yaml").read_text())["loss"].items() <= settings.loss.model_dump().items()


@pytest.mark.parametrize(("behind", "weighted"), [((-0.2, -0.05), True), ((-0.2, 0.01), False)])
def test_class_weights_only_where_they_clearly_help(behind: tuple[float, float], weighted: bool, found: Probed) -> None:
    found.tried[2] = tried("A", "plain", 0.8, behind)
    assert ("class_weights: balanced" in recipe(found)) is weighted
    assert "name: A\n" in recipe(found)


def test_the_report_is_json(found_once: Path) -> None:
    json.loads((found_once / "probe.json").read_text(), parse_constant=lambda name: pytest.fail(name))


def test_losses_are_compared_with_the_smoothing_that_is_trained(
    bunryu: Command, photos: Path, found_once: Path, resnet: str
) -> None:
    probs = []
    given = (*SMALL, "input.size=32", "loss.label_smoothing=0.4")
    assert bunryu("probe", photos, *given, "--backbone", resnet, "--out", "found").code == 0
    for out in (found_once, Path("found")):
        rows = table((out / "predictions_oof.csv").read_text(encoding="utf-8"))
        probs.append(float(np.mean([float(row["conf"]) for row in rows])))
    assert probs[1] < probs[0] - 0.05, "smoothed answers are less sure"


@pytest.mark.parametrize("pairs", [("train.sampler=class_aware",), ("mix.remix=true", "mix.name=mixup")])
def test_what_probe_does_not_follow_is_refused(
    pairs: tuple[str, ...], bunryu: Command, photos: Path, resnet: str
) -> None:
    told = refused(bunryu("probe", photos, *SMALL, *pairs, "--backbone", resnet))
    assert f"{pairs[0]}: probe sees each picture once" in told


def test_label_columns_are_compared_by_the_mean_of_their_macro_f1(bunryu: Command, photos: Path, resnet: str) -> None:
    """By what trains a run too: train.monitor=auto."""
    with Path("labels.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "kind", "half"])
        for i, path in enumerate(sorted(photos.glob("*/*.png"))):
            writer.writerow([path, path.parent.name, "top" if i % 2 else "low"])
    columns = ("data.label_columns=[kind, half]", "input.size=32", "--backbone", resnet)
    ended = bunryu("probe", "labels.csv", *SMALL, *columns, "--out", "found")
    assert ended.code == 0, ended.err
    assert "mean macro-F1" in ended.out.splitlines()[0]
    found = read_json(Path("found/probe.json"))["tried"]
    means = [float(np.mean([one["macro_f1"] for one in row["metrics"]["attributes"].values()])) for row in found]
    assert means == sorted(means, reverse=True)
    for row, mean in zip(found[1:], means[1:], strict=True):
        assert row["behind_best"]["value"] == pytest.approx(mean - means[0])
