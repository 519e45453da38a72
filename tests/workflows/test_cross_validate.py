"""Cross-validation: one run a fold, every image answered by the run that has not seen it, and a final model of all."""

from __future__ import annotations

import csv
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.torch import load_file

import bunryu as product
import killing
from bunryu.core import distributed
from bunryu.core.errors import ConfigError, DataError, RunError
from bunryu.core.storage import read_json
from bunryu.data.splits.folds import assign_folds, fold_table
from bunryu.data.table import Table, texts
from bunryu.evaluate.decision.logit_adjustment import TAUS, adjusted_out_of_fold, choose_tau
from bunryu.inference.predictions import read_predictions
from bunryu.runs.folder import RunFolder
from bunryu.settings.data import SplitSettings
from bunryu.settings.load import load_settings
from bunryu.settings.stages import Stage
from bunryu.settings.validate import replaced
from bunryu.workflows import resume
from bunryu.workflows.plan import folds
from bunryu.workflows.plan.plan import Plan
from killing import Nursery, draw_nothing

SMALL = (
    *("model.name=scratch_cnn", "train.device=cpu", "input.size=16", "train.batch_size=8", "train.threads=1"),
    *("train.precision=fp32", "evaluate.bootstrap=20", "train.epochs=2", "schedule.warmup_epochs=0", "optim.lr=4e-3"),
)


@pytest.fixture(scope="module")
def photos(make_images: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("photos") / "photos", {"=1": 12, "b": 13, "강아지": 11})


@pytest.fixture(scope="module")
def trained(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> product.Run:
    """Three folds with a test split and an ensemble, which tests only read."""
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch.setattr)
        patch.setenv("BUNRYU_CACHE", str(tmp_path_factory.mktemp("cache")))
        out = tmp_path_factory.mktemp("cv") / "run"
        return product.train(photos, *SMALL, "split.test=0.2", folds=3, out=out, quiet=True)


def rows_of(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_every_image_that_is_no_test_image_is_answered_by_the_run_that_has_not_seen_it(trained: product.Run) -> None:
    everything = {row["path"]: row["split"] for row in rows_of(trained.folder.split)}
    found = {row["path"]: row for row in rows_of(trained.path / "predictions_oof.csv")}
    assert len(everything) == 36
    assert {product_path(path) for path in found} == {path for path, split in everything.items() if split == "train"}
    assert len(trained.folds) == 3
    validated: list[str] = []
    for number, run in enumerate(trained.folds, 1):
        splits = {row["path"]: row["split"] for row in rows_of(run.folder.split)}
        assert {p for p, s in splits.items() if s == "test"} == {p for p, s in everything.items() if s == "test"}
        own = [path for path, split in splits.items() if split == "val"]
        validated += own
        answers = {row["path"]: row for row in rows_of(run.path / "predictions_val.csv")}
        for path, row in answers.items():
            assert {**row, "fold": str(number)} == found[path]
        assert len(answers) == len(own)
    assert sorted(validated) == sorted(path for path, split in everything.items() if split == "train")
    header = (trained.path / "predictions_oof.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "path,true,pred,conf,p_=1,p_b,p_강아지,fold"


def product_path(cell: str) -> str:
    return cell[1:] if cell.startswith("'=") else cell


def test_the_parent_says_the_pooled_figures_and_the_spread_of_the_folds(trained: product.Run) -> None:
    oof = trained.metrics["oof"]
    pooled = read_predictions(trained.path / "predictions_oof.csv", trained.classes)
    assert oof["n"] == len(pooled)
    assert oof["accuracy"] == pytest.approx((pooled.pred_N == pooled.true_N).mean())
    assert "accuracy_ci" in oof
    own = [run.metrics["val"]["macro_f1"] for run in trained.folds]
    assert [fold["macro_f1"] for fold in oof["folds"]["each"]] == pytest.approx(own)
    assert oof["folds"]["mean"]["macro_f1"] == pytest.approx(np.mean(own))
    assert oof["folds"]["std"]["macro_f1"] == pytest.approx(np.std(own, ddof=1))
    report = (trained.path / "report.txt").read_text(encoding="utf-8")
    assert "standard deviation" in report
    assert "best epochs" in report


def test_each_fold_is_an_ordinary_run(trained: product.Run, photos: Path, tmp_path: Path) -> None:
    first = trained.folds[0]
    assert first.predict(photos / "b", quiet=True).shape[0] == 13
    found = first.evaluate(out=tmp_path / "again", name="val", quiet=True)
    assert found.metrics["val"]["loss"] == pytest.approx(first.metrics["val"]["loss"])
    copied = load_settings(recipe=str(first.folder.config))
    assert copied.folds.k is None
    assert copied.split.file == str(first.folder.split.absolute())


def test_the_ensemble_is_the_mean_of_the_folds(trained: product.Run, photos: Path) -> None:
    pictures = sorted(str(path) for path in photos.glob("*/*.png"))
    together = trained.model.probabilities(pictures)
    alone = np.mean([run.model.probabilities(pictures).astype(np.float64) for run in trained.folds], axis=0)
    np.testing.assert_allclose(together, alone, atol=1e-7)
    assert isinstance(trained.model, product.Ensemble)
    shown = trained.predict(pictures, quiet=True)
    np.testing.assert_array_equal(shown[[f"p_{name}" for name in trained.classes]].to_numpy(), together)


def test_evaluate_measures_each_fold_by_its_own_run_again(trained: product.Run, tmp_path: Path) -> None:
    found = trained.evaluate(out=tmp_path / "again", quiet=True)
    assert set(found.metrics) == {"oof", "test"}
    for name in ("oof", "test"):
        assert found.metrics[name]["loss"] == pytest.approx(trained.metrics[name]["loss"], abs=1e-5)
        assert found.metrics[name]["per_class"] == trained.metrics[name]["per_class"]
    with pytest.raises(ConfigError, match="oof or test; received 'val'"):
        trained.evaluate(name="val", quiet=True)


def test_the_parent_warns_of_images_that_it_has_learned_from(trained: product.Run, photos: Path, tmp_path: Path):
    found = trained.evaluate(photos, out=tmp_path / "seen", quiet=True)
    assert "exact copies of images that this model has learned from" in found.metrics["test"]["notes"][0]


def test_images_are_checked_once(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bunryu.workflows.plan import data

    calls: list[int] = []
    check = data.check_images
    monkeypatch.setattr(data, "check_images", lambda *a, **o: calls.append(1) or check(*a, **o))
    run = product.train(photos, *SMALL, "train.epochs=1", "folds.final=none", folds=2, out=tmp_path / "cv", quiet=True)
    assert len(calls) == 1
    with pytest.raises(RunError, match=r"folds\.final=none.*bunryu ensemble"):
        run.model  # noqa: B018


# Folds.


def table_of(rows: list[tuple[str, str, str]], splits: str = "train") -> Table:
    paths, labels, groups = (texts(list(column)) for column in zip(*rows, strict=True))
    return Table(Path(), paths, {"label": labels}, texts([splits] * len(rows)), groups=groups)


def test_folds_are_stratified_and_grouped() -> None:
    rng = np.random.default_rng(0)
    rows = []
    for person in range(40):
        for picture in range(int(rng.integers(2, 8))):
            rows.append((f"{person}/{picture}.png", "rare" if person % 5 == 0 else "often", f"p{person}"))
    table = table_of(rows)
    fold_N = assign_folds(table, 5, SplitSettings())
    for person in set(table.groups):
        assert len(set(fold_N[table.groups == person])) == 1
    shares = [np.mean(table.target_labels[fold_N == fold] == "rare") for fold in range(5)]
    everywhere = np.mean(table.target_labels == "rare")
    assert max(abs(share - everywhere) for share in shares) < 0.08
    again = np.array([3, 1, 2, 0])
    order = np.concatenate([again, np.arange(4, len(rows))])
    np.testing.assert_array_equal(assign_folds(table.take(order), 5, SplitSettings()), fold_N[order])


def test_a_fold_validates_and_the_others_train() -> None:
    table = table_of([(f"{i}", "ab"[i % 2], "") for i in range(8)])
    table.splits[7] = "test"
    fold_N = assign_folds(table, 3, SplitSettings())
    assert fold_N[7] == -1
    for fold in range(3):
        splits = fold_table(table, fold_N, fold).splits
        assert ((splits == "val") == (fold_N == fold)).all()
        assert splits[7] == "test"


def test_a_given_validation_split_joins_the_folds_and_a_test_split_stays(make_images, tmp_path: Path, capsys) -> None:
    for split, many in (("train", 6), ("val", 4), ("test", 3)):
        make_images(tmp_path / "data" / split, {"a": many, "b": many}, seed=many)
    run = product.train(tmp_path / "data", *SMALL, "train.epochs=1", folds=2, out=tmp_path / "cv")
    assert "the 8 given validation rows join the 2 folds" in capsys.readouterr().err
    assert run.metrics["oof"]["n"] == 20
    assert run.metrics["test"]["n"] == 6
    # A DataFrame, a split.csv of another run, and tau chosen out of fold.
    import pandas as pd

    rows = rows_of(run.folder.split)
    frame = pd.DataFrame({"path": [str(tmp_path / "data" / row["path"]) for row in rows]})
    frame["label"] = [row["label"] for row in rows]
    other = product.train(
        *(frame, *SMALL, "train.epochs=1", "decision.tau=auto", "loss.label_smoothing=0"),
        folds=2,
        out=tmp_path / "frame",
        quiet=True,
    )
    assert other.metrics["oof"]["n"] == 26
    assert other.settings.decision.tau == "auto"
    assert other.folds[0].settings.decision.tau is None
    parts = [read_predictions(run.path / "predictions_val.csv", ["a", "b"]) for run in other.folds]
    probs_NK, true_N = np.concatenate([p.probs_NK for p in parts]), np.concatenate([p.true_N for p in parts])
    fold_N = np.repeat([0, 1], [len(part) for part in parts])
    priors_FK = np.stack([np.bincount(true_N[fold_N != fold]) for fold in (0, 1)])  # of what each has learned from
    fair = adjusted_out_of_fold(probs_NK, true_N, fold_N, priors_FK[fold_N])
    oof = read_predictions(other.path / "predictions_oof.csv", ["a", "b"])
    order = [oof.paths.index(path) for part in parts for path in part.paths]
    np.testing.assert_allclose(oof.probs_NK[order], fair, atol=2e-6)
    offsets = other.model.sealed.decision.logit_offsets
    tau = choose_tau(probs_NK, true_N, priors_FK[fold_N])
    assert tau in TAUS
    added_FK = -tau * np.log(priors_FK / priors_FK.sum(axis=1, keepdims=True))
    assert offsets == pytest.approx(added_FK.mean(axis=0).tolist())


def test_each_fold_is_adjusted_by_what_its_run_has_learned(make_images, tmp_path: Path) -> None:
    """Copies are of each fold's own rows: 4 of a and 2 of b, to 3."""
    data = make_images(tmp_path / "data", {"a": 8, "b": 4})
    pairs = (*SMALL, "train.epochs=1", "data.balance_to=3", "loss.label_smoothing=0")
    for tau in ("1", "auto"):
        run = product.train(data, *pairs, f"decision.tau={tau}", folds=2, out=tmp_path / tau, quiet=True)
        found = np.array(run.model.sealed.decision.logit_offsets)
        chosen = 1.0 if tau == "1" else float(found[0] / -np.log(4 / 7))
        assert chosen in TAUS or min(abs(chosen - one) for one in TAUS) < 1e-6
        assert found == pytest.approx(-chosen * np.log([4 / 7, 3 / 7]), rel=1e-5)
    again = product.evaluate(tmp_path / "auto", quiet=True)
    assert again.metrics["oof"]["loss"] == pytest.approx(run.metrics["oof"]["loss"], rel=1e-4)


def test_what_does_not_go_together_is_refused(photos: Path, tmp_path: Path, bunryu) -> None:
    for pairs, message in (
        (("folds.final=refit",), "give folds.k too"),
        (("folds.k=3", "split.val=0.3"), "split.val=0.3 has no effect with folds.k=3"),
        (("folds.k=3", "folds.final=refit", "schedule.name=plateau"), "a refit has none"),
        (("folds.k=1",), "expected a whole number of at least 2"),
        (("folds.k=3", "train.stages=[{name: a, epochs: 1}, {name: b, epochs: 1, rows: all}]"), "stay unseen"),
    ):
        ended = bunryu("train", photos, *SMALL, *pairs, "--out", tmp_path / "no")
        assert ended.code == 2
        assert message in ended.err, ended.err
        assert not (tmp_path / "no").exists()
    with pytest.raises(ConfigError, match=r"refit of the cross-validation: data\.balance_to=11 adds"):
        product.train(photos, *SMALL, "data.balance_to=11", folds=3, final="refit", out=tmp_path / "no", quiet=True)
    with pytest.raises(DataError, match="Cannot make 50 folds"):
        product.train(photos, *SMALL, folds=50, out=tmp_path / "no", quiet=True)
    assert not (tmp_path / "no").exists()


def test_other_commands_refuse_folds(photos: Path, tmp_path: Path, bunryu) -> None:
    for command in (("probe", photos, "folds.k=3"), ("split", photos, "folds.k=3", "--out", tmp_path / "s")):
        ended = bunryu(*command)
        assert ended.code == 2
        assert "folds.k=3: only bunryu train" in ended.err


def test_several_processes_are_refused(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (("RANK", "0"), ("WORLD_SIZE", "2"), ("MASTER_ADDR", "localhost")):
        monkeypatch.setenv(name, value)
    with pytest.raises(ConfigError, match="2 processes were started"):
        product.train(photos, *SMALL, folds=3, out=tmp_path / "cv", quiet=True)


def test_a_dry_run_makes_nothing(photos: Path, tmp_path: Path, bunryu, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    ended = bunryu("train", photos, *SMALL, "--folds", 3, "--dry-run")
    assert ended.code == 0, ended.err
    assert "folds: 3, stratified by label: 12, 12, 12 rows; then an ensemble of their models" in ended.err
    assert not list(tmp_path.iterdir())


def test_minutes_are_shared_among_the_runs(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[float] = []
    pairs = [pair for pair in SMALL if not pair.startswith("train.epochs")]

    def paced(plan: Plan, minutes: float, _: float) -> Plan:
        asked.append(minutes)
        settings = replaced(plan.settings, {"train.epochs": 1, "train.stages": [Stage(name="all", epochs=1)]})
        decisions = dataclasses.replace(plan.decisions, plan="one epoch")
        return dataclasses.replace(plan, settings=settings, decisions=decisions)

    monkeypatch.setattr(folds, "paced", paced)
    run = product.train(photos, *pairs, minutes=6.0, folds=3, final="refit", out=tmp_path / "cv", quiet=True)
    assert asked == [pytest.approx(6.0 / 4.5, rel=0.1)]
    assert {fold.settings.train.epochs for fold in run.folds} == {1}


# The refit.


def test_a_refit_learns_from_all_rows_for_as_long_as_the_folds_say(photos: Path, tmp_path: Path) -> None:
    run = product.train(photos, *SMALL, "train.epochs=3", folds=3, final="refit", out=tmp_path / "cv", quiet=True)
    best = [max(row["epoch"] for row in fold.folder.read_history() if row["best"]) for fold in run.folds]
    refit = RunFolder(run.path / "refit")
    history = refit.read_history()
    assert len(history) == int(np.median(best))
    assert history[-1]["best"]
    splits = {row["split"] for row in rows_of(refit.split)}
    assert splits == {"train"}
    assert (run.path / "model.safetensors").read_bytes() == refit.model.read_bytes()
    assert run.predict(photos / "b", quiet=True).shape[0] == 13
    assert run.evaluate(out=tmp_path / "again", quiet=True).metrics["oof"]["n"] == 36


def test_the_epochs_of_a_refit_are_the_median_of_each_stage() -> None:
    stages = "train.stages=[{name: head, freeze: backbone, views: 0, solve: true}, {name: all, sizes: [8, 16]}]"
    settings = load_settings(["model.name=scratch_cnn", "train.epochs=10", stages, "train.patience=3"])

    def best(*epochs: int) -> list[list[dict[str, str]]]:
        return [[{"stage": "head"}] + [{"stage": "all"}] * n for n in epochs]

    chosen = folds.refit_stages(settings, best(3, 9, 4))
    assert [(stage.name, stage.epochs) for stage in chosen["train.stages"]] == [("head", 1), ("all", 4)]
    assert chosen["train.epochs"] == 4
    head_alone = folds.refit_stages(settings, best(0, 0, 5))["train.stages"]
    assert [(stage.name, stage.epochs) for stage in head_alone] == [("head", 1)]
    assert folds.refit_stages(settings, best(4, 5))["train.epochs"] == 5


def test_a_refit_is_averaged_where_the_folds_are_best_with_their_average(photos: Path, tmp_path: Path) -> None:
    pairs = (*SMALL, "train.epochs=4", "train.swa=0.5", "train.monitor=train_epochs", "train.swa_lr=2e-3")
    run = product.train(photos, *pairs, folds=2, final="refit", out=tmp_path / "cv", quiet=True)
    refit = RunFolder(run.path / "refit")
    assert [row["stage"] for row in refit.read_history()] == ["all"] * 4 + ["swa"]
    assert refit.settings().train.swa == 0.5  # what is written can be read again
    assert "all 4 epochs, averaged" in (run.path / "report.txt").read_text(encoding="utf-8")
    best = [[{"stage": "all"}] * n for n in (2, 2, 3)]
    chosen = folds.refit_stages(run.settings, best)
    assert len(chosen.pop("train.stages")) == 1
    assert chosen == {"train.epochs": 2, "train.swa": None, "train.swa_lr": None}


# Stopping and going on.


def test_a_fold_of_an_own_network_begins_again(photos: Path, tmp_path: Path) -> None:
    net, run = tmp_path / "net.py", tmp_path / "cv"
    net.write_text(
        "from torch import nn\ndef make(num_classes):\n"
        "    return nn.Sequential(nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(12, num_classes))\n",
        encoding="utf-8",
    )
    pairs = [f"model.file={net}:make", *SMALL[1:], "train.epochs=1"]
    straight = product.train(photos, *pairs, folds=2, out=run, quiet=True).metrics["oof"]
    for lost in ("metrics.json", "ensemble.json", "fold-2/metrics.json", "fold-2/model.safetensors"):
        (run / lost).unlink()
    for lost in (run / "fold-2" / "checkpoints").iterdir():
        lost.unlink()
    assert product.resume(run, trust_code=True, quiet=True).metrics["oof"] == straight


@pytest.mark.parametrize(("point", "at"), [("SIGTERM", 11), ("update", 12), ("before the settings", 3), ("SIGINT", 26)])
def test_stopped_and_resumed_is_never_stopped(
    point: str, at: int, straight: Path, nursery: Nursery, photos: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    stopped = nursery.run("train", photos, "--out", run, *EVERYTHING, point=point, at=at)
    if point.startswith("SIG"):
        assert stopped.code == 130
        assert f"Go on with: bunryu train --resume {run}" in stopped.text
        where = "refit" if at > 20 else "fold 2 of 3"
        assert f"Stopped in {where}; the state is saved" in stopped.text
    else:
        assert stopped.killed, stopped.text
    assert not (run / "metrics.json").exists()
    nursery.finish("train", "--resume", run)
    assert_same(run, straight)
    again = nursery.run("train", "--resume", run)
    assert again.code == 2
    assert "has finished" in again.text


EVERYTHING = (
    *SMALL,
    "model.dropout=0.3",
    "augment.rotate=20",
    "train.monitor=loss",
    "decision.tau=auto",
    "--folds",
    "3",
    "--final",
    "refit",
)
"""24 training rows: 3 batches an epoch, 2 epochs: 6 updates a fold."""


@pytest.fixture(scope="module")
def nursery() -> Nursery:
    return killing.nursery()


@pytest.fixture(scope="module")
def straight(nursery: Nursery, photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("straight") / "run"
    nursery.finish("train", photos, "--out", run, *EVERYTHING)
    return run


def assert_same(found: Path, expected: Path) -> None:
    for name in ("fold-1", "fold-2", "fold-3", "refit"):
        have, want = killing.results(found / name), killing.results(expected / name)
        assert [key for key in want if have.get(key) != want[key]] == [], name
    for name in ("metrics.json", "predictions_oof.csv", "folds.csv", "split.csv", "confusion_oof.csv"):
        assert (found / name).read_bytes() == (expected / name).read_bytes(), name
    one, other = (load_file(run / "model.safetensors") for run in (found, expected))
    assert all(one[key].equal(other[key]) for key in other)


def test_data_that_changed_are_refused(make_images, tmp_path: Path, nursery: Nursery) -> None:
    photos = make_images(tmp_path / "photos", {"a": 8, "b": 8})
    run = tmp_path / "run"
    assert nursery.run("train", photos, "--out", run, *SMALL, "--folds", "2", point="update", at=1).killed
    (photos / "a" / "000.png").unlink()
    refused = nursery.run("train", "--resume", run)
    assert refused.code == 2
    assert "changed since it started" in refused.text
    assert read_json(run / "environment.json")["data_root"] == str(photos)


def test_a_resumed_cross_validation_knows_published_indices_and_all_label_columns(
    photos: Path, tmp_path: Path, nursery: Nursery
) -> None:
    """Of the order of the classes and the heads split.csv says nothing."""
    files = sorted(photos.glob("*/*.png"))
    with (tmp_path / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "target", "half"])
        names = ["강아지", "b", "=1"]
        writer.writerows([file, file.parent.name, names.index(file.parent.name), int(file.stem) % 2] for file in files)
    for run, pairs in (
        (tmp_path / "published", ()),
        (tmp_path / "heads", ("data.label_columns=[label, half]", "model.heads=separate", "decision.tau=auto")),
    ):
        command = ("train", tmp_path / "labels.csv", "--out", run, *SMALL, *pairs, "--folds", "2")
        assert nursery.run(*command, point="before the settings", at=3).killed
        nursery.finish("train", "--resume", run)
        heads = [product.open_run(run / name).model.sealed.heads for name in ("fold-1", "fold-2")]
        assert heads[0] == heads[1]
        if not pairs:
            assert heads[0][0].classes == names
            assert heads[0][0].published == [0, 1, 2]
        else:
            assert [head.column for head in heads[0]] == ["label", "half"]
            found = product.open_run(run)
            assert set(found.metrics["oof"]["attributes"]) == {"label", "half"}
            again = found.evaluate(out=tmp_path / "again", quiet=True)
            assert again.metrics["oof"]["loss"] == pytest.approx(found.metrics["oof"]["loss"], abs=1e-4)
            assert found.predict(files[0], quiet=True)["pred_label"].tolist() == ["=1"]


def test_soft_f1_is_not_resumed_by_several(trained: product.Run, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load_settings([*SMALL, "loss.name=soft_f1", "loss.label_smoothing=0"])
    monkeypatch.setattr(RunFolder, "settings", lambda _: settings)
    monkeypatch.setattr(distributed, "world", lambda: 2)
    with pytest.raises(ConfigError, match="figure of the whole batch"):
        resume.resume(trained.path / "fold-1")


def test_a_cross_validation_that_was_not_set_up_is_told(tmp_path: Path) -> None:
    (tmp_path / "folds.csv").write_text("path,fold\n", encoding="utf-8")
    with pytest.raises(RunError, match="was stopped before it was set up"):
        product.resume(tmp_path, quiet=True)


def test_more_epochs_belong_to_one_run(trained: product.Run) -> None:
    with pytest.raises(RunError, match="--more-epochs trains one run further"):
        product.resume(trained.path, more_epochs=1, quiet=True)
    with pytest.raises(RunError, match="is one of the runs of"):
        product.resume(trained.path / "fold-1", more_epochs=1, quiet=True)
    assert len(trained.folds[0].history) == 2


def test_the_users_own_folds(photos: Path, tmp_path: Path) -> None:
    files = sorted(photos.rglob("*.png"))
    rows = [f"{file},{file.parent.name},{at % 3}.0" for at, file in enumerate(files)]
    table = tmp_path / "t.csv"
    table.write_text("path,label,fold\n" + "\n".join(rows), encoding="utf-8")
    run = product.train(table, *SMALL, "folds.column=fold", folds=3, out=tmp_path / "run", final="none", quiet=True)
    expected = {str(file.relative_to(photos.parent)): str(at % 3 + 1) for at, file in enumerate(files)}
    assert {row["path"][-len("=1/000.png") :]: row["fold"] for row in rows_of(run.folder.folds)} == {
        path[-len("=1/000.png") :]: fold for path, fold in expected.items()
    }
    assert "3, as the column 'fold' says" in run.folder.report.read_text(encoding="utf-8")


def _folded(*cells: str, groups: list[str] | None = None) -> Table:
    labels = texts(["a", "b"] * 3)
    found = {"part": texts(list(cells))}
    return Table(
        root=Path("/d"), paths=texts([f"{at}.png" for at in range(6)]), labels={"label": labels},
        splits=texts(["train"] * 6), columns=found, groups=None if groups is None else texts(groups),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("table", "k", "message"),
    [
        (_folded(*"001122"), 2, r"has 3 different values \(0, 1, 2\), and folds.k is 2: give --folds 3"),
        (_folded("a", "a", "b", "b", "", ""), 2, "2 rows have no fold: 4.png, 5.png"),
        (_folded(*"010101"), 2, "all images of 'a', 'b' are in one fold"),
        (_folded(*"001122", groups=[*"xyxyxy"]), 3, "2 groups are in more than one fold"),
        (_folded(*"012345"), 3, "is it the column of folds"),
    ],
)
def test_a_column_that_is_none_of_folds(table: Table, k: int, message: str) -> None:
    with pytest.raises((ConfigError, DataError), match=message):
        assign_folds(table, k, SplitSettings(), "part")
    with pytest.raises(ConfigError, match=r"no column 'parts'\. Did you mean 'part'"):
        assign_folds(table, k, SplitSettings(), "parts")


def test_fold_numbers_stand_in_their_order() -> None:
    assert assign_folds(_folded("10", "10", "9", "9", "1.0", "1"), 3, SplitSettings(), "part").tolist() == [
        2, 2, 1, 1, 0, 0
    ]  # fmt: skip
