"""The positive class and the table of mistakes are the same wherever a model is measured."""

from __future__ import annotations

import csv
import shutil
from pathlib import Path
from typing import Any

import bunryu
from bunryu.models.record import read_sealed


def mistakes(file: Path) -> list[dict[str, str]]:
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def wrong(file: Path) -> int:
    return sum(row["true"] != row["pred"] for row in mistakes(file))


def test_it_is_one_and_the_same_everywhere(tmp_path: Path, make_images: Any, tiny_settings: list[str]) -> None:
    make_images(tmp_path / "data", {"few": 12, "many": 20})
    data = tmp_path / "data"
    one, two = (
        bunryu.train(data, *tiny_settings, f"train.seed={seed}", out=tmp_path / f"run-{seed}", quiet=True)
        for seed in (0, 1)
    )
    folds = bunryu.train(data, *tiny_settings, "folds.k=2", out=tmp_path / "folds", quiet=True)
    both = bunryu.ensemble([one, two], out=tmp_path / "both")
    assert one.settings.evaluate.positive == read_sealed(one.path / "model.safetensors").answer.positive == "few"
    found = [one.metrics["val"], folds.metrics["oof"], both.metrics["val"]]
    alone = tmp_path / "alone"  # the sealed model and nothing else
    alone.mkdir()
    shutil.copyfile(one.path / "model.safetensors", alone / "model.safetensors")
    again = bunryu.evaluate(alone, data, out=tmp_path / "again", quiet=True)
    found.append(again.metrics["test"])
    found.append(bunryu.evaluate(both, data, out=tmp_path / "again-both", quiet=True).metrics["test"])
    assert {figures["positive"] for figures in found} == {"few"}
    for figures in found:
        assert figures["positive_recall"] == figures["per_class"]["few"]["recall"]
        assert figures["positive_recall_ci"] == figures["per_class"]["few"]["recall_ci"]
        assert figures["roc_auc_ci"] == figures["per_class"]["few"]["roc_auc_ci"]
    for place, name in ((one.path, "val"), (folds.path, "oof"), (tmp_path / "again", "test")):
        assert len(mistakes(place / f"mistakes_{name}.csv")) == wrong(place / f"predictions_{name}.csv")
    assert (both.path / "mistakes_val.csv").exists()
    header = (folds.path / "mistakes_oof.csv").read_text(encoding="utf-8").splitlines()[0]
    assert header == "path,true,pred,p_pred,p_true,fold"
