"""Labels of several columns, as one joint head or a head each: trained, measured, sealed, and used the same way."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import bunryu
from bunryu.core.errors import ConfigError, DataError
from bunryu.evaluate.attributes import mean_macro_f1, measure_attributes
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Attribute, read_sealed
from bunryu.runs.folder import RunFolder
from conftest import TINY, refused

SHAPES, COLOURS, DAYS = ("가로", "세로"), ("빨강", "초록", "파랑"), ("낮", "밤")
PRODUCT = sorted(product(SHAPES, COLOURS, DAYS))
LABELS = "data.label_columns=[모양, 색, 시간]"
SETTINGS = (
    *(pair for pair in TINY if not pair.startswith(("train.epochs", "evaluate.bootstrap"))),
    *(LABELS, "train.epochs=1", "evaluate.bootstrap=200", "split.val=0.3", "data.group_column=none"),
    "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true}, {name: all, freeze: statistics}]",
    "optim.lr=1e-5",
)


@pytest.fixture(scope="module")
def listed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Write a table of pictures with a line of some direction and colour; the time of day is not to be seen."""
    folder, rng = tmp_path_factory.mktemp("attributes"), np.random.default_rng(0)
    rows = []
    for i in range(120):
        shape, colour, day = i % 2, i // 2 % 3, int(rng.integers(2))
        pixels = rng.integers(0, 60, (16, 16, 3), dtype=np.uint8)
        at = int(rng.integers(4, 9))
        line = pixels[at : at + 4] if shape == 0 else pixels[:, at : at + 4]
        line[..., colour] = 250
        Image.fromarray(pixels).save(folder / f"{i:03}.png")
        labels = (SHAPES[shape], COLOURS[colour], DAYS[day])
        rows.append([f"{i:03}.png", *labels, 100 + PRODUCT.index(labels)])
    with (folder / "표.csv").open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "모양", "색", "시간", "번호"], *rows])
    return folder / "표.csv"


@pytest.fixture(scope="module", params=["joint", "separate"])
def run(request: pytest.FixtureRequest, listed: Path, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUNRYU_CACHE", str(folder / "cache"))
        return bunryu.train(listed, *SETTINGS, f"model.heads={request.param}", out=folder / request.param, quiet=True)


def test_the_record(run: Any) -> None:
    sealed = read_sealed(run.path / "model.safetensors")
    assert [part.column for part in sealed.attributes] == ["모양", "색", "시간"]
    assert [part.classes for part in sealed.attributes] == [list(SHAPES), list(COLOURS), list(DAYS)]
    assert sealed.answer.column == "모양+색+시간"
    assert sealed.classes[0] == "가로+빨강+낮"
    assert sealed.answer.published == list(range(100, 112))
    for part in sealed.attributes:
        place = sealed.answer.column.split("+").index(part.column)
        assert [name.split("+")[place] for name in sealed.classes] == [part.classes[k] for k in part.of]
    if run.path.name == "joint":
        assert (len(sealed.heads), sealed.outputs, sealed.joint) == (1, 12, None)
    else:
        assert ([head.column for head in sealed.heads], sealed.outputs) == (["모양", "색", "시간"], 7)


def test_both_ways_are_measured_and_reported_in_the_same_form(run: Any) -> None:
    metrics = json.loads((run.path / "metrics.json").read_text(encoding="utf-8"))["val"]
    parts = metrics["attributes"]
    assert list(parts) == ["모양", "색", "시간"]
    assert parts["모양"]["accuracy"] > 0.9
    assert parts["색"]["accuracy"] > 0.9
    assert parts["색"]["better_than_chance"] is True
    assert parts["색"]["chance"] == pytest.approx(1 / 3)
    assert parts["시간"]["better_than_chance"] is False
    assert parts["시간"]["macro_recall_ci"][0] <= 0.5
    assert metrics["accuracy"] <= min(part["accuracy"] for part in parts.values())
    report = (run.path / "report.txt").read_text(encoding="utf-8")
    assert "! 시간: not seen to be better than chance (macro recall" in report
    assert "! 색: no better" not in report
    for name in ("attributes_val.png", "confusion_val_attribute3_normalized.png"):
        assert (run.path / "plots" / name).stat().st_size > 5000
    assert ", 모양 " in repr(run)


def test_the_mean_of_the_columns_chooses_the_epoch(run: Any) -> None:
    folder = RunFolder(run.path)
    assert folder.settings().train.monitor == "mean_macro_f1"
    history = folder.read_history()
    highest = max(history, key=lambda row: row["val_mean_macro_f1"])
    sealed = read_sealed(run.path / "model.safetensors").provenance["best"]
    metrics = run.metrics["val"]["attributes"]
    mean = np.mean([part["macro_f1"] for part in metrics.values()])
    assert sealed["val_mean_macro_f1"] == pytest.approx(mean, abs=1e-6)
    report = (run.path / "report.txt").read_text("utf-8")
    assert f"the best by mean_macro_f1 is epoch {sealed['epoch']}" in report
    if sealed["val_mean_macro_f1"] < highest["val_mean_macro_f1"]:
        assert f"{highest['val_mean_macro_f1']:.3f} against {mean:.3f}, which is within the noise of 36 " in report
        assert sealed["val_calibrated_loss"] < highest["val_calibrated_loss"]


def test_one_column_is_chosen_by_its_macro_f1(photos: Path, tmp_path: Path) -> None:
    assert RunFolder(bunryu.train(photos, *TINY, out=tmp_path / "run", quiet=True).path).settings().train.monitor == (
        "macro_f1"
    )
    with pytest.raises(ConfigError, match="is the mean over several label columns, and there is one"):
        bunryu.train(photos, *TINY, "train.monitor=mean_macro_f1", out=tmp_path / "no", quiet=True)


@given(st.lists(st.integers(2, 4), min_size=2, max_size=3), st.integers(0, 2**31 - 1))
def test_the_mean_is_that_of_what_is_reported_of_each(sizes: list[int], seed: int) -> None:
    draw = np.random.default_rng(seed)
    combined = list(product(*(range(size) for size in sizes)))
    attributes = [
        Attribute(column=f"c{i}", classes=[f"{k}" for k in range(size)], of=[one[i] for one in combined])
        for i, size in enumerate(sizes)
    ]
    probs = draw.dirichlet(np.ones(len(combined)), 30).astype(np.float32)
    true = draw.integers(len(combined), size=30)
    names = ["+".join(map(str, one)) for one in combined]
    answers = Predictions([f"{i}" for i in range(30)], names, probs, true, attributes=attributes)
    each = measure_attributes(answers, bootstrap=0)
    expected = np.mean([own.macro_f1 for own in each.values()])
    assert mean_macro_f1(probs, true, attributes) == pytest.approx(expected)


def test_the_predictions_hold_every_attribute(run: Any) -> None:
    with (run.path / "predictions_val.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    names = list(rows[0])
    assert names[:7] == ["path", "true", "pred", "conf", "true_모양", "pred_모양", "conf_모양"]
    assert names[13] == "p_가로+빨강+낮"
    metrics = json.loads((run.path / "metrics.json").read_text(encoding="utf-8"))["val"]
    for place, column in enumerate(("모양", "색", "시간")):
        right = [row[f"true_{column}"] == row[f"pred_{column}"] for row in rows]
        assert np.mean(right) == pytest.approx(metrics["attributes"][column]["accuracy"])
        for row in rows:
            assert row["true"].split("+")[place] == row[f"true_{column}"]
            sums: dict[str, float] = {}
            for name, value in row.items():
                if name.startswith("p_"):
                    sums[name[2:].split("+")[place]] = sums.get(name[2:].split("+")[place], 0.0) + float(value)
            assert sums[row[f"pred_{column}"]] == pytest.approx(max(sums.values()), abs=1e-4)
            assert float(row[f"conf_{column}"]) == pytest.approx(max(sums.values()), abs=1e-4)


def test_the_sealed_model_predicts_and_evaluates(
    run: Any, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    frame = run.predict(sorted(map(str, listed.parent.glob("00*.png"))))
    assert {"pred_모양", "pred_색", "pred_시간", "conf_시간"} <= set(frame.columns)
    assert (frame["pred"].str.split("+").str[1] == frame["pred_색"]).mean() > 0.8
    found = run.evaluate(listed, out=tmp_path / "out", quiet=True)
    assert found.metrics["test"]["n"] == 120
    assert found.metrics["test"]["attributes"]["색"]["accuracy"] > 0.9


def test_a_joint_head_is_that_of_the_joint_label_to_the_bit(
    run: Any, listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if run.path.name == "separate":
        return
    with listed.open(encoding="utf-8", newline="") as file:
        table = [[row["path"], f"{row['모양']}+{row['색']}+{row['시간']}"] for row in csv.DictReader(file)]
    single = listed.parent / "single.csv"
    with single.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([["path", "label"], *table])
    pairs = [pair for pair in SETTINGS if not pair.startswith(("data.label", "data.group"))]
    other = bunryu.train(single, *pairs, out=tmp_path / "alone", quiet=True)
    both = [  # of the last epoch, since they choose the best by other figures
        bunryu.evaluate(one.path, checkpoint="final", out=tmp_path / str(i), quiet=True).metrics["val"]
        for i, one in enumerate((run, other))
    ]
    assert "attributes" not in both[1]
    assert {key: both[0][key] for key in both[1]} == both[1]


def test_mixing_sampling_and_logit_adjustment_know_the_heads(
    listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    more = ("mix.name=both", "mix.remix=true", "train.sampler=class_aware", "loss.class_weights=balanced")
    more = (*more, "train.stages=[{name: all}]", "model.heads=separate", "decision.tau=1")
    run = bunryu.train(listed, *SETTINGS, *more, out=tmp_path / "run", quiet=True)
    offsets = read_sealed(run.path / "model.safetensors").decision.logit_offsets
    assert offsets is not None
    assert len(offsets) == 7
    for own in (offsets[:2], offsets[2:5], offsets[5:]):  # -log of each head's own priors
        assert np.exp(-np.array(own)).sum() == pytest.approx(1)


def test_folds_and_views_know_the_heads(listed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bunryu.core.errors import Interrupted
    from bunryu.workflows import cross_validate

    stages = "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true}]"
    pairs = [pair for pair in SETTINGS if not pair.startswith(("split.val", "train.stages"))]
    pairs += [stages, "model.heads=separate", "decision.tau=auto", "folds.k=3"]
    carried_out, runs = cross_validate.carry_out, []

    def stop_at_the_second(run: Any, plan: Any) -> None:
        runs.append(run.path.name)
        if len(runs) == 2:
            raise Interrupted("now")
        carried_out(run, plan)

    with monkeypatch.context() as patch:
        patch.setattr(cross_validate, "carry_out", stop_at_the_second)
        with pytest.raises(Interrupted):
            bunryu.train(listed, *pairs, out=tmp_path / "folds", quiet=True)
    run = bunryu.resume(tmp_path / "folds", quiet=True)
    assert run.metrics["oof"]["attributes"]["색"]["accuracy"] > 0.9
    assert run.metrics["oof"]["attributes"]["시간"]["better_than_chance"] is False
    records = [read_sealed(tmp_path / f"folds/fold-{k}/model.safetensors") for k in (1, 2, 3)]
    assert [len(sealed.heads) for sealed in records] == [3, 3, 3]
    assert [sealed.answer.published for sealed in records] == [list(range(100, 112))] * 3
    files = sorted(map(str, listed.parent.glob("00*.png")))
    assert {"pred_모양", "pred_색"} <= set(run.predict(files).columns)
    assert (run.predict(files, tta=["hflip"])["pred_색"] == run.predict(files)["pred_색"]).mean() > 0.8


def test_what_cannot_be(listed: Path, tmp_path: Path, make_images: Callable[..., Path], bunryu: Any) -> None:
    photos = make_images(tmp_path / "photos", {"a": 4, "b": 4})
    told = refused(bunryu("train", photos, "model.heads=separate", *TINY))
    assert "data.label_columns=[mask, gender]" in told
    told = refused(bunryu("train", photos, LABELS, *TINY))
    assert "data.label_columns belongs to a CSV" in told
    told = refused(bunryu("train", listed, "data.label_columns=[모양, 색깔]", *TINY))
    assert "no column '색깔'" in told
    told = refused(bunryu("train", listed, "data.label_columns=[모양]", *TINY))
    assert "joins two columns or more, received ['모양']; one is data.label_column" in told
    told = refused(bunryu("train", listed, LABELS, "data.layout=persons", *TINY))
    assert "names images, not person folders" in told
    told = refused(bunryu("train", listed, "data.label_columns=[모양, 모양]", *TINY))
    assert "twice" in told
    told = refused(bunryu("train", listed, LABELS, "data.label_column=색", *TINY))
    assert "not both" in told
    told = refused(bunryu("train", listed, LABELS, "loss.class_weights={가로: 1}", "model.heads=separate", *TINY))
    assert "balanced or effective" in told
    rows = (listed.parent / "표.csv").read_text(encoding="utf-8")
    empty = listed.parent / "empty.csv"
    empty.write_text(rows.replace("초록,낮,", "초록,,", 1), encoding="utf-8")
    told = refused(bunryu("train", empty, LABELS, *TINY))
    assert "column '시간'" in told
    assert "is empty in 1 of 120 rows" in told


def test_labels_that_would_run_together(tmp_path: Path) -> None:
    from bunryu.data.sources.read import read_source
    from bunryu.settings.data import DataSettings

    (tmp_path / "a.csv").write_text("path,x,y\n1.png,a+b,c\n2.png,a,b+c\n", encoding="utf-8")
    (tmp_path / "1.png").touch()
    with pytest.raises(DataError, match=r"would both be 'a\+b\+c'"):
        read_source(DataSettings(source=str(tmp_path / "a.csv"), label_columns=["x", "y"]))


def test_too_many_combinations_are_refused() -> None:
    from bunryu.data.table import Table, joined, texts
    from bunryu.workflows.plan.heads import choose_heads

    columns = {name: texts([f"{name}{i % 11}" for i in range(11)]) for name in "abc"}
    labels = {"a+b+c": texts([joined(values) for values in zip(*columns.values(), strict=True)]), **columns}
    table = Table(Path(), texts(["x"] * 11), labels, texts(["train"] * 11), separate=True)
    with pytest.raises(ConfigError, match="1,331 combinations"):
        choose_heads(table)


def test_the_intervals_of_an_attribute_resample_whole_groups() -> None:
    """Nine pictures of a person, all answered alike, tell no more than one: the interval is three times as wide."""
    rng, copies = np.random.default_rng(0), 9
    true = rng.integers(0, 4, 60)
    said = np.where(rng.random(60) < 0.7, true, rng.integers(0, 4, 60)).repeat(copies)
    attributes = [Attribute(column="x", classes=["a", "b"], of=[0, 0, 1, 1])]

    def measured(groups: list[str] | None) -> dict[str, Any]:
        paths, probs_NK = [""] * len(said), np.eye(4, dtype=np.float32)[said]
        answers = Predictions(paths, list("1234"), probs_NK, true.repeat(copies), attributes, groups=groups)
        return measure_attributes(answers, bootstrap=2000)["x"].as_json()

    alone, grouped = measured(None), measured([f"person {row // copies}" for row in range(len(said))])
    assert grouped["bootstrap"] == {"resamples": 2000, "of": "groups", "units": 60}
    for name in ("accuracy", "macro_f1", "weighted_f1", "macro_recall"):
        assert grouped[name] == alone[name]
        assert np.ptp(grouped[f"{name}_ci"]) / np.ptp(alone[f"{name}_ci"]) == pytest.approx(3, rel=0.15)
