"""The sealed model: opened again it gives the same bits, its record is whole, and what is damaged is one RunError."""

from __future__ import annotations

import json
import random
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from families import SMALL, architecture, record, small
from safetensors import safe_open
from safetensors.torch import load_file, save, save_file
from torch import nn

from bunryu.core.errors import RunError
from bunryu.models import digest
from bunryu.models.build import build
from bunryu.models.classifier import Classifier
from bunryu.models.record import LATER, SCHEMA, Architecture, Decision, Member, Sealed, read_sealed
from bunryu.models.sealed_file import open_sealed, seal

SIZE = (48, 80)


def metadata(path: Path) -> dict[str, str]:
    with safe_open(path, "pt") as file:
        found: dict[str, str] = file.metadata()
        return found


def rewrite(path: Path, changes: dict[str, str | None], tensors: dict[str, torch.Tensor] | None = None) -> None:
    """Seal the file again with other metadata (None: without that field) or other tensors."""
    blank = {"digest": digest.BLANK}
    kept = {key: value for key, value in (metadata(path) | blank | changes).items() if value is not None}
    path.write_bytes(b"".join(digest.with_digest(save(load_file(path) if tensors is None else tensors, kept))))


@pytest.fixture
def sealed_file(tmp_path: Path) -> Path:
    path = tmp_path / "model.safetensors"
    made = architecture("timm/test_resnet", SIZE)
    seal(path, small(), record(made))
    return path


@pytest.mark.parametrize(("name", "size"), SMALL)
def test_opened_again_it_gives_the_same_bits(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    net = small(name, size)
    path = tmp_path / "model.safetensors"
    seal(path, net, record(architecture(name, size), size))
    again, sealed = open_sealed(path)
    assert not any(module.training for module in again.modules())
    assert sealed.architecture.name == name
    x = torch.rand(2, 3, *size)
    with torch.no_grad():
        logits = net(x)
        assert torch.equal(logits, again(x))
    assert logits.std() > 0


@pytest.mark.parametrize("name", ["scratch_cnn", "timm/test_convnext", "torchvision/googlenet"])
def test_grey_nets_too(name: str, tmp_path: Path) -> None:
    net = small(name, (64, 64), channels=1)
    path = tmp_path / "model.safetensors"
    seal(path, net, record(architecture(name, (64, 64), channels=1)))
    x = torch.rand(2, 1, 64, 64)
    with torch.no_grad():
        assert torch.equal(net(x), open_sealed(path)[0](x))


def test_another_process_gets_the_same_bits(sealed_file: Path) -> None:
    code = (
        "import sys, torch; torch.set_num_threads(1); from pathlib import Path\n"
        "from bunryu.models.sealed_file import open_sealed\n"
        "net, _ = open_sealed(Path(sys.argv[1]))\n"
        "torch.manual_seed(3); torch.save(net(torch.rand(2, 3, 48, 80)).detach(), sys.argv[2])\n"
    )
    out = sealed_file.with_name("logits.pth")
    subprocess.run([sys.executable, "-c", code, str(sealed_file), str(out)], check=True)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(3)
    with torch.no_grad():
        expected = open_sealed(sealed_file)[0](torch.rand(2, 3, 48, 80))
    torch.set_num_threads(before)
    assert torch.equal(torch.load(out, weights_only=True), expected)


def test_channels_last_and_frozen_weights_are_sealed_alike(tmp_path: Path) -> None:
    net = small()
    x = torch.rand(2, 3, *SIZE)
    with torch.no_grad():
        expected = net(x)
    net.requires_grad_(False).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    seal(tmp_path / "m.safetensors", net, record(architecture("timm/test_resnet", SIZE)))
    with torch.no_grad():
        assert torch.equal(open_sealed(tmp_path / "m.safetensors")[0](x), expected)


def test_opening_leaves_the_random_state_alone(sealed_file: Path) -> None:
    state = torch.get_rng_state()
    open_sealed(sealed_file)
    assert torch.equal(torch.get_rng_state(), state)


# The record


def test_the_record_has_every_field(sealed_file: Path) -> None:
    found = metadata(sealed_file)
    assert set(found) == {
        *("format", "schema", "architecture", "heads", "members", "decode", "input", "precision"),
        *("decision", "provenance", "digest"),
    }
    assert found["schema"] == str(SCHEMA) == "2"
    values = {key: json.loads(value) for key, value in found.items() if key not in ("format", "digest")}
    assert set(values["architecture"]) == {"name", "channels", "dropout", "arguments", "own"}
    classes = ["class 0", "class 1", "class 2"]
    assert values["heads"] == [
        {"column": "label", "kind": "softmax", "classes": classes, "published": None, "positive": None}
    ]
    assert values["members"] == [{"prefix": "", "weight": 1.0}]
    assert set(values["decode"]) == {"exif", "background", "scaling", "max_pixels"}
    assert set(values["input"]) == {
        *("height", "width", "channels", "fit", "crop_pct", "pad_colour", "interpolation", "mean", "std"),
        "center_crop",
    }
    assert values["decision"] == {"temperature": None, "logit_offsets": None, "thresholds": {}}


def test_the_record_comes_back_as_it_was(tmp_path: Path) -> None:
    made = architecture("timm/vit_tiny_patch16_224", (96, 160))
    sealed = record(made, (96, 160)).model_copy(
        update={
            "heads": [
                record(made).heads[0].model_copy(update={"classes": ["개미", "벌", 'a "b", c'], "published": [2, 0, 7]})
            ],
            "members": [Member(weight=0.5)],
            "precision": "bf16",
            "decision": Decision(temperature=1.7, thresholds={"개미": 0.9}),
            "provenance": {"versions": {"torch": torch.__version__}, "weights": "none", "nested": [1, {"a": None}]},
        }
    )
    path = tmp_path / "model.safetensors"
    seal(path, small("timm/vit_tiny_patch16_224", (96, 160)), sealed)
    assert read_sealed(path) == sealed
    assert read_sealed(path).classes == ["개미", "벌", 'a "b", c']
    assert "개미" in path.read_bytes().decode("utf-8", "ignore")  # readable with any tool


def test_a_sealed_file_is_one_plain_safetensors_file(sealed_file: Path) -> None:
    tensors = load_file(sealed_file)
    assert set(tensors) == set(small().state_dict())
    assert [path.name for path in sealed_file.parent.iterdir()] == ["model.safetensors"]


# What is refused


def refused(path: Path) -> str:
    messages = set()
    for opening in (read_sealed, open_sealed):
        with pytest.raises(RunError) as error:
            opening(path)
        messages.add(str(error.value))
    assert len(messages) == 1
    message = messages.pop()
    assert str(path) in message
    return message


def test_a_missing_file(tmp_path: Path) -> None:
    assert "There is no model file" in refused(tmp_path / "model.safetensors")


def test_a_folder(tmp_path: Path) -> None:
    assert "not a model that bunryu sealed, or it is damaged" in refused(tmp_path)


@pytest.mark.parametrize("schema", ["3", "10"])
def test_a_file_of_a_later_schema(schema: str, sealed_file: Path) -> None:
    rewrite(sealed_file, {"schema": schema, "architecture": "something new"})
    message = refused(sealed_file)
    assert f"sealed by a later bunryu (schema {schema}; this one knows 2)" in message
    assert "pip install --upgrade" in message


def test_a_file_without_a_record(tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_file({"weight": torch.zeros(2)}, path)
    assert f"has weights but no bunryu record. To start from it: model.weights={path}" in refused(path)


@pytest.mark.parametrize("field", [field for field in Sealed.model_fields if field not in ("architecture", *LATER)])
def test_a_record_with_a_field_missing(field: str, sealed_file: Path) -> None:
    rewrite(sealed_file, {field: None})
    assert f"damaged bunryu record: {field} is missing" in refused(sealed_file)


@pytest.mark.parametrize(
    ("changes", "word"),
    [
        ({"schema": "one"}, "damaged bunryu record"),
        ({"architecture": "{"}, "damaged bunryu record"),
        ({"heads": "[]"}, "heads"),
        ({"heads": '[{"column": "label"}]'}, "heads.0.classes"),
        ({"precision": '"fp8"'}, "precision"),
        ({"input": '{"height": 48}'}, "input"),
        ({"decode": '{"exif": true, "unheard": 1}'}, "decode.unheard"),
        ({"decision": "null"}, "decision"),
    ],
)
def test_a_damaged_record(changes: dict[str, Any], word: str, sealed_file: Path) -> None:
    rewrite(sealed_file, changes)
    assert word in refused(sealed_file)


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_a_truncated_file(share: float, sealed_file: Path) -> None:
    whole = sealed_file.read_bytes()
    sealed_file.write_bytes(whole[: int(share * len(whole))])
    assert "not a model that bunryu sealed, or it is damaged" in refused(sealed_file)


@pytest.mark.parametrize(
    "content", [b"not a model at all", struct.pack("<Q", 2**60) + b"{}", struct.pack("<Q", 2) + b"{]"]
)
def test_a_file_of_something_else(content: bytes, sealed_file: Path) -> None:
    sealed_file.write_bytes(content)
    assert "not a model that bunryu sealed, or it is damaged" in refused(sealed_file)


@pytest.mark.parametrize("change", ["missing", "extra", "shape", "classes"])
def test_weights_that_do_not_fit_the_record(change: str, sealed_file: Path) -> None:
    tensors = load_file(sealed_file)
    changes: dict[str, str | None] = {}
    if change == "missing":
        del tensors["head.1.bias"]
    elif change == "extra":
        tensors["unheard"] = torch.zeros(2)
    elif change == "shape":
        tensors["head.1.bias"] = torch.zeros(5)
    else:
        heads = json.loads(metadata(sealed_file)["heads"])
        changes["heads"] = json.dumps([heads[0] | {"classes": ["only one"]}])
    rewrite(sealed_file, changes, tensors)
    read_sealed(sealed_file)
    with pytest.raises(RunError, match=r"its weights do not fit its own record: .*(head.1|unheard)"):
        open_sealed(sealed_file)


# Damage


def test_any_flipped_bit_is_refused_by_the_name_of_the_file(sealed_file: Path) -> None:
    whole = sealed_file.read_bytes()
    header = 8 + struct.unpack("<Q", whole[:8])[0]
    draw = random.Random(0)
    places = [*range(0, header, 97), *(draw.randrange(header, len(whole)) for _ in range(12)), len(whole) - 1]
    for place in places:
        flipped = bytearray(whole)
        flipped[place] ^= 1 << draw.randrange(8)
        sealed_file.write_bytes(flipped)
        with pytest.raises(RunError) as error:
            open_sealed(sealed_file)
        assert str(sealed_file) in str(error.value), place
    sealed_file.write_bytes(whole)
    open_sealed(sealed_file)


def test_a_damaged_tensor_or_a_digit_of_the_record_is_told_as_damage(sealed_file: Path) -> None:
    whole = sealed_file.read_bytes()
    for changed in (whole[:-1] + bytes([whole[-1] ^ 0x80]), whole.replace(b'"crop_pct\\": 1.0', b'"crop_pct\\": 0.9')):
        assert changed != whole
        sealed_file.write_bytes(changed)
        with pytest.raises(RunError, match=r"is damaged: its content is not what was sealed.* Copy it again"):
            open_sealed(sealed_file)


def test_files_of_the_first_schema_open_without_a_digest_and_later_ones_need_it(sealed_file: Path) -> None:
    rewrite(sealed_file, {"schema": "1", "digest": None})
    open_sealed(sealed_file)
    rewrite(sealed_file, {"schema": "2", "digest": None})
    assert "digest is missing" in refused(sealed_file)
    rewrite(sealed_file, {"digest": "0"})
    assert "damaged bunryu record" in refused(sealed_file)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_finite_numbers(value: float, sealed_file: Path) -> None:
    tensors = load_file(sealed_file)
    tensors["head.1.bias"][1] = value
    rewrite(sealed_file, {"schema": "1", "digest": None}, tensors)
    with pytest.raises(RunError, match=r"head\.1\.bias has 1 values that are no finite"):
        open_sealed(sealed_file)


def test_whole_numbers_where_the_network_has_fractions(sealed_file: Path) -> None:
    tensors = load_file(sealed_file)
    tensors["head.1.bias"] = tensors["head.1.bias"].to(torch.int8)
    rewrite(sealed_file, {}, tensors)
    with pytest.raises(RunError, match=r"head\.1\.bias is torch\.int8; expected torch\.float32"):
        open_sealed(sealed_file)


def test_a_giant_in_a_small_file_is_not_built(sealed_file: Path) -> None:
    made = json.loads(metadata(sealed_file)["architecture"]) | {"name": "timm/vit_giant_patch14_224", "arguments": {}}
    rewrite(sealed_file, {"architecture": json.dumps(made)})
    with pytest.raises(RunError, match=r"far larger than the .* MB that the file has"):
        open_sealed(sealed_file)


# Loading into a net


def test_a_plain_dict_counts_as_of_the_present_version() -> None:
    """MNASNet refuses a state that names no version; safetensors names none."""
    made = Architecture(name="torchvision/mnasnet0_5")
    net, other = build(made, 2), build(made, 2)
    other.load_state_dict(dict(net.state_dict()))
    assert all(torch.equal(value, net.state_dict()[key]) for key, value in other.state_dict().items())
    other.load_state_dict(net.state_dict())


def test_loading_stays_strict() -> None:
    class Flat(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x.flatten(1)

    net = Classifier(Flat(), 12, 2, 0.0, repeat=False)
    with pytest.raises(RuntimeError, match=r"head.1.bias"):
        net.load_state_dict({"head.1.weight": torch.zeros(2, 12)})
