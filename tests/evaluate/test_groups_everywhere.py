"""Whatever has an interval of rows in groups resamples the groups, as often as evaluate.bootstrap says."""

from __future__ import annotations

import ast
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import bunryu
from bunryu.evaluate.measured import measure_classes, measured
from bunryu.evaluate.slices import measure_groups
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Attribute
from bunryu.settings.evaluate import EvaluateSettings
from bunryu.workflows.score import score

GROUPS = [f"g{i // 10}" for i in range(80)]
RNG = np.random.default_rng(0)
TRUE_N = np.arange(80) % 2
RIGHT_N = RNG.random(8)[np.arange(80) // 10] > 0.4  # whole groups are right or wrong
PRED_N = np.where(RIGHT_N, TRUE_N, 1 - TRUE_N)
SETTINGS = EvaluateSettings(bootstrap=321)
PATHS = [f"{i}.jpg" for i in range(80)]


def of_classes(more: dict[str, Any]) -> Predictions:
    return Predictions(PATHS, ["a", "b"], np.eye(2, dtype=np.float32)[PRED_N], TRUE_N, groups=GROUPS, **more)


def classes(_: Path) -> dict[str, Any]:
    return measure_classes(of_classes({}), SETTINGS).as_json()


def attribute(_: Path) -> dict[str, Any]:
    own = Attribute(column="x", classes=["a", "b"], of=[0, 1])
    return measure_classes(of_classes({"attributes": [own]}), SETTINGS).as_json()["attributes"]["x"]


def labels(_: Path) -> dict[str, Any]:
    held_NL = np.stack([TRUE_N == 0, TRUE_N == 1], axis=1)
    probs_NL = np.where(np.stack([PRED_N == 0, PRED_N == 1], axis=1), 0.9, 0.1).astype(np.float32)
    given = LabelPredictions(PATHS, ["a", "b"], probs_NL, groups=GROUPS, thresholds=[0.5, 0.5], held_NL=held_NL)
    return measured("val", given, SETTINGS, lambda _: np.zeros((2, 2, 3), np.uint8), {}).metrics.as_json()


def scored(folder: Path) -> dict[str, Any]:
    said, true = folder / "said.csv", folder / "true.csv"
    said.write_text("path,pred\n" + "".join(f"{p},{'ab'[k]}\n" for p, k in zip(PATHS, PRED_N, strict=True)))
    rows = zip(PATHS, TRUE_N, GROUPS, strict=True)
    true.write_text("path,label,person\n" + "".join(f"{p},{'ab'[k]},{g}\n" for p, k, g in rows))
    return score(said, true, bootstrap=321, group_column="person").metrics


@pytest.mark.parametrize("producer", [classes, attribute, labels, scored])
def test_who_makes_an_interval_resamples_groups(producer: Callable[[Path], dict[str, Any]], tmp_path: Path) -> None:
    found = producer(tmp_path)
    assert found["groups"] == 8
    assert found["bootstrap"] == {"resamples": 321, "of": "groups", "units": 8}
    low, high = found["accuracy_ci"]
    assert high - low > 0.4, "eight groups that are right or wrong as one show little"


def test_slices_of_rows_in_groups_have_the_width_of_groups() -> None:
    probs_NK, slices = np.eye(2)[PRED_N], ["day", "night"] * 40
    rows = measure_groups(probs_NK, TRUE_N, slices)
    groups = measure_groups(probs_NK, TRUE_N, slices, units=GROUPS, bootstrap=321)
    for name in ("day", "night"):
        (low, high), (least, most) = rows[name].accuracy_ci or (), groups[name].accuracy_ci or ()
        assert most - least > 1.5 * (high - low)
    assert measure_groups(probs_NK, TRUE_N, slices, bootstrap=0)["day"].accuracy_ci is None


def test_a_slice_of_one_group_has_no_interval() -> None:
    found = measure_groups(np.eye(2)[PRED_N], TRUE_N, ["one"] * 10 + ["rest"] * 70, units=GROUPS, bootstrap=100)
    assert found["one"].accuracy_ci is None
    assert found["one"].worse is False


def test_slices_at_random_seldom_fare_worse() -> None:
    """The null: answers of whole groups that know nothing of the slice; at level 0.025 over 100 data sets."""
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(100):
        right_N = np.repeat(rng.random(30) < 0.7, 6)
        slices = np.repeat(rng.choice(["a", "b", "c"], 30), 6).tolist()
        true_N = np.zeros(180, np.int64)
        units = [str(i // 6) for i in range(180)]
        found = measure_groups(np.eye(2)[(~right_N).astype(int)], true_N, slices, units=units, bootstrap=20)
        alarms += any(row.worse for row in found.values())
    assert alarms <= 9, "binomial(100, 0.025) exceeds 9 less than once in a thousand"


def test_the_truth_of_a_score_names_its_groups_or_not(tmp_path: Path) -> None:
    scored(tmp_path)
    assert "groups" not in score(tmp_path / "said.csv", tmp_path / "true.csv").metrics
    with pytest.raises(bunryu.BunryuError, match=r"no column 'persn'\. Did you mean 'person'"):
        score(tmp_path / "said.csv", tmp_path / "true.csv", group_column="persn")


def test_nobody_takes_the_usual_number_of_resamples() -> None:
    """Each call within the package says how many: what the settings say."""
    keys = {"measure": "bootstrap", "measure_labels": "bootstrap", "measure_attributes": "bootstrap"}
    keys |= {"measure_groups": "bootstrap", "macro_f1_difference": "resamples"}
    root, lacking, seen = Path(bunryu.__file__).parent, [], 0
    for file in (path for room in ("evaluate", "workflows") for path in sorted((root / room).rglob("*.py"))):
        text = file.read_text(encoding="utf-8")
        if not any(name in text for name in keys):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in keys:
                if node.func.id == "measure" and "from bunryu.evaluate.metrics import" not in text:
                    continue  # another function of that name
                seen += 1
                if keys[node.func.id] not in {k.arg for k in node.keywords}:
                    lacking.append(f"{file.name}:{node.lineno}")
    assert seen > 6
    assert lacking == []
