"""Too few pictures are said before the training, figures that are measured; and a hub out of reach names ways on."""

from __future__ import annotations

import json
import re
import statistics
from pathlib import Path
from typing import Any

import pytest
import torch

from bunryu.core.errors import ConfigError, ModelError
from bunryu.models import hub
from bunryu.settings.load import load_settings
from bunryu.workflows.plan.decide import make_plan
from bunryu.workflows.plan.few import MEASURED as SAID
from bunryu.workflows.score import score

MEASURED = Path(__file__).parents[2] / "benchmarks" / "small_data.json"


def plan_of(data: Path, *pairs: str) -> Any:
    return make_plan(load_settings([f"data.source={data}", *pairs]))


def test_the_figures_that_are_said_are_those_of_the_benchmark() -> None:
    rows = json.loads(MEASURED.read_text(encoding="utf-8"))
    for job, said in zip(("ants_bees", "sketch"), SAID.values(), strict=True):
        for n, values in said.items():
            for way, value in zip(("from scratch", "frozen"), values, strict=True):
                key = (job, way, n)
                found = [row["macro_recall"] for row in rows if (row["job"], row["way"], row["pictures"]) == key]
                assert round(statistics.mean(found), 2) == value


@pytest.mark.parametrize(("each", "said"), [(6, True), (260, False)])
def test_few_pictures_from_scratch_are_said_with_figures(
    tmp_path: Path, make_images: Any, each: int, said: bool
) -> None:
    make_images(
        tmp_path,
        {"a": each, "b": each},
    )
    told = plan_of(tmp_path, "model.name=scratch_cnn", "input.size=16").decisions.told().get("pictures", "")
    assert bool(told) == said
    if said:
        assert f"{each * 0.8:.0f} training pictures a class are few to learn from scratch" in told
        assert all(f"{value:.2f}" in told for value in SAID[2][10])


def test_the_positive_class_is_the_rarer_one_said_and_sealed(tmp_path: Path, make_images: Any) -> None:
    make_images(tmp_path, {"a": 6, "b": 12})
    base = ("model.name=scratch_cnn", "input.size=16")
    plan = plan_of(tmp_path, *base)
    assert plan.sealed.answer.positive == plan.settings.evaluate.positive == "a"
    told = plan.decisions.told()["positive class"]
    assert told.startswith("a (the rarer of the two: ")
    other = plan_of(tmp_path, *base, re.findall(r"evaluate\.\S+=\w+", told)[0])
    assert other.sealed.answer.positive == "b"
    assert other.decisions.told()["positive class"] == "b (as set)"


def test_a_hub_out_of_reach_names_files_at_hand_that_work(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import timm

    torch.save(timm.create_model("test_resnet").state_dict(), tmp_path / "test_resnet.pth")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "unknown_net.pth").write_bytes(b"x")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(hub, "reachable", lambda _: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    with pytest.raises(ModelError) as error:
        plan_of(photos)
    lines = [line for line in str(error.value).splitlines() if "at hand" in line]
    assert len(lines) == 1
    pairs = re.findall(r"model\.\w+=\S+", lines[0])
    assert plan_of(photos, *pairs, "input.size=32").settings.model.weights.endswith("test_resnet.pth")
    scratch = re.findall(r"model\.name=scratch_cnn", str(error.value))
    assert plan_of(photos, *scratch, "input.size=16").settings.model.weights == "none"


def columns(folder: Path, make_images: Any) -> Path:
    """Two label columns: sex, of which f is rarer, and size, of three values."""
    make_images(folder, {"x": 24})
    lines = [f"x/{i:03}.png,{'fm'[i % 3 > 0]},{'abc'[i // 8]}\n" for i in range(24)]
    (folder / "t.csv").write_text("path,sex,size\n" + "".join(lines), encoding="utf-8")
    return folder / "t.csv"


@pytest.mark.parametrize("heads", ["joint", "separate"])
def test_each_of_several_label_columns_has_its_positive_class(tmp_path: Path, make_images: Any, heads: str) -> None:
    data = columns(tmp_path, make_images)
    base = ("model.name=scratch_cnn", "input.size=16", "data.label_columns=[sex, size]", f"model.heads={heads}")
    plan = plan_of(data, *base)
    assert [one.positive for one in plan.sealed.attributes] == ["f", None]
    assert plan.settings.evaluate.positive == {"sex": "f"}
    told = plan.decisions.told()["positive class"]
    assert told.startswith("sex: f (the rarer of the two")
    asked = re.findall(r"evaluate\.positive=\{[^}]*\}", told)[0]
    other = plan_of(data, *base, asked)
    assert [one.positive for one in other.sealed.attributes] == ["m", None]
    for wrong, message in (
        ("{gender: f}", "no label column 'gender'.*The label columns: sex, size"),
        ("{sex: male}", "one of the two classes 'f' and 'm'"),
        ("{size: a}", "two-class"),
        ("f", "two-class"),
    ):
        with pytest.raises(ConfigError, match=message):
            plan_of(data, *base, f"evaluate.positive={wrong}")


def test_one_label_column_has_a_class_and_no_columns(tmp_path: Path, make_images: Any) -> None:
    make_images(tmp_path, {"a": 6, "b": 12})
    with pytest.raises(ConfigError, match=r"Give the class alone: evaluate\.positive=a"):
        plan_of(tmp_path, "model.name=scratch_cnn", "input.size=16", "evaluate.positive={label: a}")


def test_score_takes_the_rarer_or_what_is_asked(tmp_path: Path) -> None:
    truth, said = tmp_path / "truth.csv", tmp_path / "said.csv"
    truth.write_text("path,label\n1.png,a\n2.png,b\n3.png,b\n", encoding="utf-8")
    said.write_text("path,pred\n1.png,a\n2.png,a\n3.png,b\n", encoding="utf-8")
    found = score(said, truth).metrics
    assert (found["positive"], found["positive_precision"], found["positive_recall"]) == ("a", 0.5, 1.0)
    assert found["positive_recall_ci"] == found["per_class"]["a"]["recall_ci"]
    assert not {"roc_auc", "roc_auc_ci"} & {*found, *found["per_class"]["a"]}
    assert score(said, truth, positive="b").metrics["positive"] == "b"
