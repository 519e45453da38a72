"""Group DRO against the authors' loss, on a background that misleads, and in the loop."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from bunryu import api
from bunryu.core.errors import BunryuError, ConfigError
from bunryu.core.storage import read_json, read_jsonl
from bunryu.data.table import texts
from bunryu.settings.load import load_settings
from bunryu.settings.train import LossSettings
from bunryu.train.group_dro import GroupDRO
from conftest import Command, table
from killing import nursery, results

SMALL = (
    *("model.name=scratch_cnn", "train.device=cpu", "input.size=16", "train.threads=1", "train.precision=fp32"),
    *("train.batch_size=8", "evaluate.bootstrap=0", "augment.preset=none"),
)
DRO = "loss.group_dro=[배경, label]"
ROBUST = ("loss.group_dro_eta=0.05", "evaluate.bootstrap=100")


class LossComputer:
    """The authors' (github.com/kohpangwei/group_DRO, loss.py), one batch after the other; written anew, in numpy."""

    def __init__(self, counts: np.ndarray, step_size: float, adjustment: float) -> None:
        self.adv_probs = np.ones(len(counts)) / len(counts)
        self.step_size, self.adj = step_size, adjustment / np.sqrt(counts)

    def __call__(self, losses: np.ndarray, group: np.ndarray) -> float:
        of_group = (group[None] == np.arange(len(self.adj))[:, None]).astype(float)
        counts = of_group.sum(1)
        group_loss = (of_group @ losses) / (counts + (counts == 0))
        self.adv_probs = self.adv_probs * np.exp(self.step_size * (group_loss + self.adj))
        self.adv_probs /= self.adv_probs.sum()
        return float(group_loss @ self.adv_probs)


@pytest.mark.parametrize(("eta", "adjustment"), [(0.01, 0.0), (0.5, 2.0), (1000.0, 0.0)])
def test_it_is_the_authors_loss(eta: float, adjustment: float) -> None:
    rng = np.random.default_rng(0)
    names = texts([str(g) for g in rng.choice(4, 200, p=[0.6, 0.3, 0.07, 0.03])])
    rows = np.arange(0, 200, 2)
    settings = LossSettings(group_dro=["a"], group_dro_eta=eta, group_dro_adjustment=adjustment)
    ours = GroupDRO.of(settings, names, rows)
    assert ours is not None
    code_N = names.astype(int)
    theirs = LossComputer(np.bincount(code_N[rows]), eta, adjustment)
    logs: list[float] = []
    lacking = 0
    for _ in range(30):
        batch = rng.choice(rows, 12)
        lacking += len(set(code_N[batch])) < 4
        losses = rng.exponential(size=12)
        z_B = torch.tensor(losses, requires_grad=True)
        loss, logs = ours.robust(z_B, batch, logs)
        weights = np.exp(logs)
        with np.errstate(over="ignore", invalid="ignore"):
            expected = theirs(losses, code_N[batch])
        assert weights.sum() == pytest.approx(1)
        if np.isfinite(expected):  # theirs overflows where the step is huge
            assert loss.item() == pytest.approx(expected)
            assert weights == pytest.approx(theirs.adv_probs.tolist(), abs=1e-12)
        loss.backward()
        n_G = np.bincount(code_N[batch], minlength=4)
        assert z_B.grad.numpy() == pytest.approx(weights[code_N[batch]] / n_G[code_N[batch]])
    assert lacking


def write_misleading(folder: Path) -> Path:
    """Write bars, upright or level, of which nearly all training pictures have the background that goes with them."""
    rng = np.random.default_rng(0)
    folder.mkdir()
    rows = []
    for split, count in (("train", 160), ("val", 80), ("test", 40)):
        for i in range(count):
            upright = i % 2
            red = upright if rng.random() < (0.95 if split == "train" else 0.5) else 1 - upright
            pixels = np.tile(np.array([200, 60, 60] if red else [60, 60, 200]), (16, 16, 1))
            pixels += rng.integers(-25, 25, pixels.shape)
            y, x = rng.integers(2, 8, 2)
            pixels[y : y + (7 if upright else 2), x : x + (2 if upright else 7)] = rng.integers(120, 160)
            Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(folder / f"{split}{i}.png")
            rows.append([f"{split}{i}.png", "세로" if upright else "가로", split, "red" if red else "blue"])
    with (folder / "table.csv").open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([["path", "label", "split", "배경"], *rows])
    return folder / "table.csv"


@pytest.fixture(scope="module")
def misleading(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_misleading(tmp_path_factory.mktemp("misleading") / "data")


def test_the_group_that_fares_worst_fares_better(misleading: Path, bunryu: Command, tmp_path: Path) -> None:
    pairs = (*SMALL, "train.epochs=8", "train.monitor=worst_group_accuracy")
    robust = api.train(
        misleading,
        *pairs,
        DRO,
        *ROBUST,
        out=tmp_path / "robust",
        quiet=True,
    )
    plain = api.train(misleading, *SMALL, "train.epochs=8", out=tmp_path / "plain", quiet=True)
    assert "by_group" not in plain.metrics["val"]

    val = robust.metrics["val"]
    assert set(val["by_group"]) == {"red+세로", "red+가로", "blue+세로", "blue+가로"}
    answers = table((robust.path / "predictions_val.csv").read_text(encoding="utf-8"))
    for group, row in val["by_group"].items():
        own = [answer["true"] == answer["pred"] for answer in answers if answer["dro_group"] == group]
        assert (row["n"], row["accuracy"]) == (len(own), sum(own) / len(own))
        assert 0 <= row["accuracy_ci"][0] <= row["accuracy"] <= row["accuracy_ci"][1] <= 1
    assert val["worst_group_accuracy"] == min(row["accuracy"] for row in val["by_group"].values())
    history = read_jsonl(robust.path / "history.jsonl")
    assert max(row["val_worst_group_accuracy"] for row in history) == val["worst_group_accuracy"]

    groups = {answer["path"]: answer["dro_group"] for answer in answers}
    right = {g: [] for g in val["by_group"]}
    for answer in table((plain.path / "predictions_val.csv").read_text(encoding="utf-8")):
        right[groups[answer["path"]]].append(answer["true"] == answer["pred"])
    worst = min(sum(own) / len(own) for own in right.values())
    assert val["worst_group_accuracy"] > worst + 0.2, "without group DRO the background decides"

    report = (robust.path / "report.txt").read_text(encoding="utf-8")
    assert "red+가로" in report
    assert "group DRO" in report
    assert "worst group" in repr(robust)
    ended = bunryu("evaluate", robust.path, "--data", misleading, "--out", tmp_path / "again")
    assert ended.code == 0
    again = json.loads((tmp_path / "again/metrics.json").read_text(encoding="utf-8"))["test"]
    assert again["by_group"] == robust.metrics["test"]["by_group"]
    cells = misleading.read_text(encoding="utf-8").replace("배경", "other")
    (misleading.parent / "other.csv").write_text(cells, encoding="utf-8")
    ended = bunryu("evaluate", robust.path, "--data", misleading.parent / "other.csv", "--out", tmp_path / "other")
    assert (ended.code, "not measured by group: loss.group_dro: there is no column '배경'" in ended.err) == (0, True)


def test_resumed_is_never_stopped(misleading: Path, tmp_path: Path) -> None:
    pairs = (
        *SMALL,
        DRO,
        "loss.group_dro_eta=0.5",
        "loss.group_dro_adjustment=1",
        "train.epochs=2",
        "train.accumulate=2",
    )
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    nursery().finish("train", misleading, "--out", straight, *pairs)
    assert nursery().run("train", misleading, "--out", stopped, *pairs, point="SIGTERM", at=9).code == 130
    nursery().finish("train", "--resume", stopped)
    assert results(stopped) == results(straight)


def test_out_of_fold_by_group_also_when_stopped(misleading: Path, tmp_path: Path) -> None:
    pairs = (*SMALL, DRO, "loss.group_dro_eta=0.5", "train.epochs=1", "folds.k=2", "folds.final=none")
    straight, stopped = tmp_path / "straight", tmp_path / "stopped"
    nursery().finish("train", misleading, "--out", straight, *pairs)
    assert nursery().run("train", misleading, "--out", stopped, *pairs, point="SIGTERM", at=9).code == 130
    nursery().finish("train", "--resume", stopped)
    found = read_json(straight / "metrics.json")["oof"]["by_group"]
    assert sum(row["n"] for row in found.values()) == 240
    assert len(found) == 4
    assert read_json(stopped / "metrics.json")["oof"]["by_group"] == found
    for fold in ("fold-1", "fold-2"):
        assert results(stopped / fold) == results(straight / fold)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (["train.monitor=worst_group_accuracy"], r"name them in loss\.group_dro"),
        (["loss.group_dro_eta=0.1"], r"give loss\.group_dro"),
        ([DRO, "mix.name=mixup"], "has no group"),
        ([DRO, "optim.sam_rho=0.1"], "choose one"),
        ([DRO, "decision.tau=auto"], r"under loss\.group_dro the classes weigh as the groups' losses move them"),
        (
            ["decision.tau=1", "loss.name=soft_f1", "loss.label_smoothing=0"],
            "no probabilities, so that there is no prior",
        ),
        ([DRO, "loss.name=soft_f1", "loss.label_smoothing=0", "loss.class_weights=null"], "has none a row"),
        ([DRO, "train.stages=[{name: head, freeze: backbone, views: 0, solve: true}]"], "without solve"),
        ([DRO, "train.stages=[{name: a, epochs: 1}, {name: b, rows: val, epochs: 1}]", "train.epochs=2"], "rows out"),
    ],
)
def test_what_cannot_be_is_refused(pairs: list[str], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        load_settings(pairs)


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        ("[배겨]", r"no column '배겨'\. Did you mean '배경'\?"),
        ("[split_of]", "Columns: "),
        ("[half]", r"one group \(same 160\)"),
        ("[path_too]", "160 groups of training rows, more than 100"),
    ],
)
def test_columns_that_make_no_groups_are_refused(columns: str, told: str, misleading: Path, tmp_path: Path) -> None:
    rows = [row | {"half": "same", "path_too": row["path"]} for row in table(misleading.read_text(encoding="utf-8"))]
    file = misleading.parent / "more.csv"
    with file.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    with pytest.raises(BunryuError, match=told):
        api.train(file, *SMALL, f"loss.group_dro={columns}", out=tmp_path / "run", quiet=True)


def test_several_processes_are_refused(misleading: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bunryu.core import distributed
    from bunryu.workflows.plan.decide import planned

    monkeypatch.setattr(distributed, "world", lambda: 2)
    settings = load_settings([*SMALL, DRO, f"data.source={misleading}"])
    with pytest.raises(ConfigError, match=r"loss\.group_dro is a figure of the whole batch"):
        planned(settings, None, None, None)
