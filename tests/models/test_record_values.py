"""The values of a record: each has bounds, and those that go together are looked at together."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from families import architecture, record
from safetensors.torch import save_file

from bunryu.core.errors import RunError
from bunryu.inference.ensemble_record import EnsembleMember, EnsembleRecord, read_ensemble
from bunryu.models.record import Architecture, Own, read_sealed

NAN, INF = float("nan"), float("inf")
HEAD = {"column": "label", "kind": "softmax", "classes": ["a", "b", "c"], "published": None}
WRONG: list[tuple[str, Any]] = [
    ("decision.temperature", -1),
    ("decision.temperature", 0),
    ("decision.temperature", 1e-300),
    ("decision.temperature", NAN),
    ("decision.logit_offsets", [0.0, 1.0]),
    ("decision.logit_offsets", [0.0, 1.0, 2.0, 3.0]),
    ("decision.logit_offsets", [0.0, INF, 0.0]),
    ("decision.thresholds", {"class 0": 1.5}),
    ("decision.thresholds", {"unheard": 0.5}),
    ("input.crop_pct", 0),
    ("input.crop_pct", 1.5),
    ("input.height", 0),
    ("input.height", -5),
    ("input.width", 10**6),
    ("input.center_crop", [0, 5]),
    ("input.mean", [0.5] * 7),
    ("input.mean", [0.5, NAN, 0.5]),
    ("input.mean", []),
    ("input.std", [0.0, 1.0, 1.0]),
    ("input.std", [-1.0, 1.0, 1.0]),
    ("input.std", [1e-300, 1.0, 1.0]),
    ("input.std", [1.0, 1.0]),
    ("input.channels", "grey"),
    ("decode.max_pixels", -1),
    ("decode.background", [0, 0, 256]),
    ("architecture.channels", 10**9),
    ("architecture.channels", -1),
    ("architecture.channels", 1),
    ("architecture.dropout", 7),
    ("architecture.dropout", 1),
    ("architecture.dropout", -0.5),
    ("architecture.name", "own/Net"),
    ("architecture.name", ""),
    ("architecture.arguments", {"img_size": [40_000, 40_000]}),
    ("architecture.arguments", {"img_size": "big"}),
    ("architecture.arguments", {"unheard": 1}),
    ("heads", [HEAD | {"classes": ["a", "a", "b"]}]),
    ("heads", [HEAD | {"classes": ["a", "", "b"]}]),
    ("heads", [HEAD | {"classes": ["a", "\ud800", "b"]}]),
    ("heads", [HEAD | {"classes": []}]),
    ("heads", [HEAD | {"published": [1, 2]}]),
    ("heads", [HEAD | {"published": [1, 2, 1]}]),
    ("heads", [HEAD | {"published": [1, 2, 2**70]}]),
    ("heads", [HEAD | {"positive": "unheard"}]),
    ("heads", [HEAD, HEAD | {"kind": "sigmoid"}]),
    ("joint", HEAD | {"classes": ["a", "b"]}),
    ("attributes", [{"column": "x", "classes": ["p", "q"], "of": [0, 1]}]),
    ("attributes", [{"column": "x", "classes": ["p", "q"], "of": [0, 1, 2]}]),
    ("attributes", [{"column": "x", "classes": ["p", "q"], "of": [0, 1, -1]}]),
    ("members", []),
    ("members", [{"prefix": "", "weight": -1.0}]),
]


def values() -> dict[str, Any]:
    found: dict[str, Any] = record(architecture("timm/test_resnet", (48, 80))).model_dump(mode="json")
    return found


def written(path: Path, changed: dict[str, Any], schema: str = "1") -> Path:
    """Write the values as a model file, whatever they are."""
    record_ = {name: json.dumps(value) for name, value in changed.items() if value is not None}
    save_file({"x": torch.zeros(1)}, path, {"format": "pt", "schema": schema, **record_})
    return path


def with_value(key: str, value: Any) -> dict[str, Any]:
    changed = copy.deepcopy(values())
    section, _, name = key.partition(".")
    if name:
        changed[section][name] = value
    else:
        changed[section] = value
    return changed


def test_the_values_it_starts_from_are_right(tmp_path: Path) -> None:
    assert read_sealed(written(tmp_path / "m.safetensors", values())).model_dump(mode="json") == values()


@pytest.mark.parametrize(("key", "value"), WRONG, ids=[f"{key}={value!a}"[:60] for key, value in WRONG])
def test_a_wrong_value_is_refused_by_its_name(key: str, value: Any, tmp_path: Path) -> None:
    path = written(tmp_path / "m.safetensors", with_value(key, value))
    with pytest.raises(RunError, match="damaged bunryu record") as error:
        read_sealed(path)
    assert key.split(".")[0] in str(error.value) or key.split(".")[-1] in str(error.value)
    assert len(str(error.value)) < 400
    str(error.value).encode()


@pytest.mark.parametrize("schema", ["-1", "0", "", "1.5", "\u0661", "9" * 5000, "one"])
def test_a_schema_that_is_none(schema: str, tmp_path: Path) -> None:
    with pytest.raises(RunError, match="schema"):
        read_sealed(written(tmp_path / "m.safetensors", values(), schema))


def test_labels_that_hold_together_need_all_their_thresholds(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    changed = with_value("heads", [HEAD | {"kind": "sigmoid"}])
    for given, right in (({}, False), ({"a": 0.5}, False), ({"a": 0.5, "b": 0.1, "c": 1.0}, True)):
        changed["decision"]["thresholds"] = given
        written(path, changed)
        if right:
            assert read_sealed(path).multi_label
        else:
            with pytest.raises(RunError, match=r"decision\.thresholds"):
                read_sealed(path)


def test_own_code_is_named_by_a_digest() -> None:
    for digest in ("", "0" * 63, "../" + "0" * 61, "G" * 64):
        with pytest.raises(ValueError, match="sha256"):
            Architecture(name="own/Net", own=Own(file="net.py", name="Net", sha256=digest))
    with pytest.raises(ValueError, match="go together"):
        Architecture(name="scratch_cnn", own=Own(file="net.py", name="Net", sha256="0" * 64))


@pytest.mark.parametrize(
    "changes",
    [
        {"members": []},
        {"members": [{"file": "m", "weight": -1.0}]},
        {"members": [{"file": "m", "weight": 0.0}]},
        {"members": [{"file": "m", "weight": NAN}]},
        {"members": [{"file": "", "weight": 1.0}]},
        {"members": [{"file": "\ud800", "weight": 1.0}]},
        {"schema_version": -1},
        {"schema_version": 99},
        {"schema_version": "one"},
        {"mean": "median"},
        {"decision": {"temperature": 0}},
        {"decision": {"logit_offsets": [INF]}},
        {"unheard": 1},
    ],
    ids=ascii,
)
def test_an_ensemble_with_wrong_values(changes: dict[str, Any], tmp_path: Path) -> None:
    right = EnsembleRecord(members=[EnsembleMember(file="m", weight=1.0)]).model_dump(mode="json")
    path = tmp_path / "ensemble.json"
    path.write_text(json.dumps(right))
    assert read_ensemble(path).members[0].file == "m"
    path.write_text(json.dumps(right | changes))
    with pytest.raises(RunError, match=r"ensemble\.json"):
        read_ensemble(path)
