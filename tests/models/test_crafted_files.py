"""Model and ensemble files made to upset their reader: one BunryuError comes out, soon, and nothing else."""

from __future__ import annotations

import contextlib
import json
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from families import record
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save

from bunryu.core.errors import BunryuError, RunError
from bunryu.core.small_json import MOST_DEPTH, parsed
from bunryu.inference.ensemble_record import EnsembleMember, EnsembleRecord, read_ensemble
from bunryu.models.build import build
from bunryu.models.digest import BLANK, with_digest
from bunryu.models.record import Architecture, read_sealed
from bunryu.models.sealed_file import open_sealed, seal

NET = Architecture(name="scratch_cnn")
VALUES: dict[str, Any] = record(NET).model_dump(mode="json")
TENSORS = build(NET, 3).state_dict()
ENSEMBLE: dict[str, Any] = EnsembleRecord(members=[EnsembleMember(file="m", weight=1.0)]).model_dump(mode="json")
DEEP = 100_000
ODD = st.one_of(
    st.none(),
    st.booleans(),
    st.sampled_from([0, 1, -1, 7, -5, 10**9, 2**63, 10**400, 0.0, 1e300, -1e-300, 40_000]),
    st.floats(),
    st.sampled_from(["", "a", "\ud800", "own/Net", "timm/vit_giant_patch14_224", "torchvision/../x", "\x00"]),
    st.lists(st.one_of(st.integers(), st.floats(), st.text(max_size=3)), max_size=4),
    st.dictionaries(st.text(max_size=5), st.integers(), max_size=2),
)


def places(value: Any, at: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """List where every value stands, sections and lists themselves too."""
    if at:
        yield at
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield from places(item, (*at, key))


def changed(values: dict[str, Any], at: tuple[Any, ...], new: Any) -> dict[str, Any]:
    copied: dict[str, Any] = json.loads(json.dumps(values))
    inside: Any = copied
    for key in at[:-1]:
        inside = inside[key]
    inside[at[-1]] = new
    return copied


def file_of(texts: dict[str, str]) -> bytes:
    """Return a sealed file with such a record; its digest is right, as whoever crafts one would make it."""
    return b"".join(with_digest(save(TENSORS, {"format": "pt", "schema": "2", "digest": BLANK, **texts})))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("crafted")


def opened(path: Path) -> None:
    """Open a model file; what comes out is a network or one of our errors."""
    with contextlib.suppress(BunryuError):
        open_sealed(path)


@given(at=st.sampled_from(list(places(VALUES))), new=ODD)
def test_any_value_of_the_record(at: tuple[Any, ...], new: Any, folder: Path) -> None:
    path = folder / "value.safetensors"
    path.write_bytes(file_of({name: json.dumps(value) for name, value in changed(VALUES, at, new).items()}))
    opened(path)


@given(name=st.sampled_from([*VALUES, "schema", "digest"]), text=st.text(max_size=40))
def test_any_text_in_place_of_a_field(name: str, text: str, folder: Path) -> None:
    path = folder / "text.safetensors"
    path.write_bytes(file_of({key: json.dumps(value) for key, value in VALUES.items()} | {name: text}))
    opened(path)


@given(place=st.floats(0, 1), inserted=st.binary(max_size=8), removed=st.integers(0, 8), header=st.booleans())
def test_any_bytes(place: float, inserted: bytes, removed: int, header: bool, folder: Path) -> None:
    path = folder / "bytes.safetensors"
    whole = file_of({key: json.dumps(value) for key, value in VALUES.items()})
    at = int(place * (8 + struct.unpack("<Q", whole[:8])[0] if header else len(whole)))
    path.write_bytes(whole[:at] + inserted + whole[at + removed :])
    opened(path)


@given(at=st.sampled_from(list(places(ENSEMBLE))), new=ODD)
def test_any_value_of_an_ensemble(at: tuple[Any, ...], new: Any, folder: Path) -> None:
    path = folder / "ensemble.json"
    path.write_text(json.dumps(changed(ENSEMBLE, at, new)))
    with contextlib.suppress(RunError):
        read_ensemble(path)


@pytest.mark.parametrize(
    "file", ["../a.safetensors", "m/../../a", "/etc/passwd", "C:\\a", "\\\\host\\a", "..\\a", "C:a"]
)
def test_a_member_is_in_the_folder_of_its_ensemble(file: str, tmp_path: Path) -> None:
    (tmp_path / "ensemble.json").write_text(json.dumps(changed(ENSEMBLE, ("members", 0, "file"), file)))
    with pytest.raises(RunError, match="is not in the folder of the ensemble"):
        read_ensemble(tmp_path / "ensemble.json")


@pytest.mark.parametrize("opening", ["[", '{"a":', '[[{"b":['])
def test_deep_json(opening: str, tmp_path: Path) -> None:
    deep = opening * DEEP
    for name in ("provenance", "architecture", "heads"):
        path = tmp_path / "m.safetensors"
        path.write_bytes(file_of({key: json.dumps(value) for key, value in VALUES.items()} | {name: deep}))
        with pytest.raises(RunError, match=f"{name}: it is more than 32 levels deep"):
            read_sealed(path)
    (tmp_path / "ensemble.json").write_text(deep)
    with pytest.raises(RunError, match="levels deep"):
        read_ensemble(tmp_path / "ensemble.json")


def test_depth_is_of_brackets_outside_texts() -> None:
    brackets = "[" * 99
    text = f'{{"a{brackets}": [1, "]]\\\\\\"{brackets}", {{"b": []}}]}}'
    assert parsed(text) == json.loads(text)
    nested = "[" * MOST_DEPTH + "]" * MOST_DEPTH
    assert parsed(nested)
    with pytest.raises(ValueError, match="deep"):
        parsed(f"[{nested}]")
    for text in ("NaN", "[Infinity]", '{"a": -Infinity}'):
        with pytest.raises(ValueError, match="is no number"):
            parsed(text)


@pytest.mark.parametrize("name", ["../../etc/passwd", "hf-hub:evil/net", "torchvision/__import__", "x\x1b[2J"])
def test_a_network_that_there_is_not_is_said_of_the_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    values = {**VALUES, "architecture": {**VALUES["architecture"], "name": name}}
    path.write_bytes(file_of({key: json.dumps(value) for key, value in values.items()}))
    with pytest.raises(RunError) as caught:
        open_sealed(path)
    assert str(caught.value).startswith(f"{path} ")
    assert "model.name" not in str(caught.value)  # a setting, which nobody gave


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no pipes with names on this system")
def test_a_pipe_is_not_waited_on(tmp_path: Path) -> None:
    for name, reading in (("m.safetensors", open_sealed), ("ensemble.json", read_ensemble)):
        os.mkfifo(tmp_path / name)
        with pytest.raises(RunError, match="not a regular file"):
            reading(tmp_path / name)


def test_more_tensors_than_the_record_says(tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    seal(path, build(NET, 3), record(NET))
    open_sealed(path)
    texts = {key: json.dumps(value) for key, value in VALUES.items()}
    for tensors in ({}, {"head.1.bias": torch.zeros(0)}, TENSORS | {"": torch.zeros(1)}):
        path.write_bytes(b"".join(with_digest(save(tensors, {"schema": "2", "digest": BLANK, **texts}))))
        with pytest.raises(RunError, match="do not fit its own record"):
            open_sealed(path)
