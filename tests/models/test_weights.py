"""Weights from a file: the whole backbone or nothing, and the features are those of the library's own model."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from families import SMALL, architecture, shaken, small
from safetensors.torch import load_file, save_file
from torch import nn
from torchvision import models

from bunryu.core.errors import ModelError
from bunryu.models import weights
from bunryu.models.build import build
from bunryu.models.record import Architecture
from bunryu.models.sealed_file import separate
from bunryu.models.weights import choose_library, load_file_into
from bunryu.models.weights_file import Held, read_state

State = dict[str, torch.Tensor]
OTHERS = [(name, size) for name, size in SMALL if "/" in name]


def own_model(name: str, size: tuple[int, int] = (64, 64), **arguments: Any) -> nn.Module:
    """Make the library's own model with its classifier, as its weights would make it."""
    library, bare = name.split("/")
    torch.manual_seed(5)
    if library == "timm":
        return shaken(timm.create_model(bare, num_classes=1000, **arguments), size)
    extra: dict[str, Any] = {}
    if bare in ("googlenet", "inception_v3"):
        extra = {"aux_logits": True, "init_weights": False, "transform_input": True}
    return shaken(models.get_model(bare, **extra, **arguments), size)


def own_features(net: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Return what goes into the library's own last linear layer."""
    with torch.no_grad():
        if hasattr(net, "forward_head"):
            found: torch.Tensor = net.forward_head(net.forward_features(x), pre_logits=True)
            return found
        if isinstance(net, models.SqueezeNet):
            return net.features(x).mean(dim=(2, 3))
        seen: list[torch.Tensor] = []
        last = [m for m in net.modules() if isinstance(m, nn.Linear)][-1]
        last.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
        net(x)
        return seen[0]


def close(features: torch.Tensor, expected: torch.Tensor) -> None:
    """Compare, and make sure that there is something to compare: features that differ from picture to picture."""
    spread = float(expected.std())
    assert expected.std(dim=0).mean() > 0.01 * spread > 0
    torch.testing.assert_close(features, expected, rtol=1e-3, atol=1e-3 * spread)


def write(path: Path, state: Mapping[str, Any]) -> Path:
    if path.suffix == ".safetensors":
        save_file(separate(state), path)
    else:
        torch.save(dict(state), path)
    return path


@pytest.mark.parametrize(("name", "size"), OTHERS)
def test_the_librarys_own_file_loads_in_full(name: str, size: tuple[int, int], tmp_path: Path) -> None:
    made = architecture(name, size)
    own = own_model(name, size, **made.arguments)
    path = write(tmp_path / "own.safetensors", own.state_dict())
    net = build(made, 3).eval()
    loaded = load_file_into(net, made, path)
    target = net.backbone.state_dict()
    assert loaded.loaded == len(target)
    assert set(loaded.left_out) == set(own.state_dict()) - set(target)
    assert loaded.left_out, "the classifier, at least"
    x = torch.rand(2, 3, *size)
    with torch.no_grad():
        features = net.features(x)
        close(features, own_features(own, x))
        assert torch.equal(net(x), net.head(features))


FORMATS: dict[str, Callable[[State], Mapping[str, Any]]] = {
    "plain": lambda state: state,
    "DataParallel": lambda state: {f"module.{key}": value for key, value in state.items()},
    "state_dict": lambda state: {"state_dict": state, "epoch": 3, "arch": "resnet18"},
    "model": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": [{"lr": 0.1}]}},
    "wrapped twice": lambda state: {"state_dict": {f"module.model.{key}": value for key, value in state.items()}},
    "compiled": lambda state: {f"_orig_mod.{key}": value for key, value in state.items()},
    "half": lambda state: {key: value.half() if value.is_floating_point() else value for key, value in state.items()},
    "no counters": lambda state: {key: value for key, value in state.items() if "num_batches" not in key},
    "no classifier": lambda state: {key: value for key, value in state.items() if not key.startswith("fc.")},
    "ours": lambda state: {
        **{f"backbone.{key}": value for key, value in state.items() if not key.startswith("fc.")},
        "head.1.weight": torch.zeros(7, 512),
        "head.1.bias": torch.zeros(7),
    },
}


@pytest.fixture(scope="module")
def resnet18() -> State:
    return {key: value.clone() for key, value in own_model("timm/resnet18").state_dict().items()}


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("form", FORMATS)
def test_usual_ways_to_save_it(form: str, suffix: str, resnet18: State, tmp_path: Path) -> None:
    content = FORMATS[form](resnet18)
    if suffix == ".safetensors" and not all(isinstance(value, torch.Tensor) for value in content.values()):
        pytest.skip("safetensors holds tensors alone")
    path = write(tmp_path / f"file{suffix}", content)
    made = Architecture(name="timm/resnet18")
    net = build(made, 3)
    loaded = load_file_into(net, made, path)
    wanted = {key: value for key, value in net.backbone.state_dict().items() if "num_batches" not in key}
    for key, value in wanted.items():
        expected = resnet18[key].half().float() if form == "half" else resnet18[key]
        assert torch.equal(value, expected), key
    counters = 0 if form == "no counters" else len(net.backbone.state_dict()) - len(wanted)
    assert loaded.loaded == len(wanted) + counters
    heads = {"no classifier": [], "ours": ["head.1.weight", "head.1.bias"]}.get(form, ["fc.weight", "fc.bias"])
    assert set(loaded.left_out) == set(heads)
    rest = "; left out, as the head is new: " + ", ".join(loaded.left_out) if heads else ""
    assert loaded.told() == f"{path}: all {loaded.loaded} tensors of the backbone loaded{rest}"


def test_a_file_for_colours_loads_into_a_grey_net(resnet18: State, tmp_path: Path) -> None:
    path = write(tmp_path / "colour.pth", resnet18)
    made = Architecture(name="timm/resnet18", channels=1)
    net = build(made, 3).eval()
    load_file_into(net, made, path)
    grey = torch.rand(2, 1, 64, 64)
    own = timm.create_model("resnet18").eval()
    own.load_state_dict(resnet18)
    with torch.no_grad():
        torch.testing.assert_close(net.features(grey), own_features(own, grey.repeat(1, 3, 1, 1)))


def test_a_file_of_our_own_naming_for_scratch_cnn(tmp_path: Path) -> None:
    net = small("scratch_cnn", (16, 16))
    made = Architecture(name="scratch_cnn")
    other = build(made, 9)
    loaded = load_file_into(other, made, write(tmp_path / "net.pth", net.state_dict()))
    assert loaded.loaded == 8
    assert all(torch.equal(value, net.backbone.state_dict()[key]) for key, value in other.backbone.state_dict().items())


# Files that do not fit


def refusal(name: str, path: Path) -> str:
    made = Architecture(name=name)
    net = build(made, 2)
    before = {key: value.clone() for key, value in net.state_dict().items()}
    with pytest.raises(ModelError) as error:
        load_file_into(net, made, path)
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items()), "nothing was loaded"
    message = str(error.value)
    assert str(path) in message
    return message


def test_a_file_of_a_larger_net_is_refused_and_recognised(tmp_path: Path) -> None:
    message = refusal("timm/resnet18", write(tmp_path / "x.pth", own_model("torchvision/resnet34").state_dict()))
    assert re.search(r"does not fit timm/resnet18: \d+ are not of this model \(layer1.2.conv1", message)
    assert "Nothing was loaded. The file fits torchvision/resnet34: model.name=torchvision/resnet34" in message


def test_a_file_of_a_smaller_net_is_refused_and_recognised(resnet18: State, tmp_path: Path) -> None:
    message = refusal("torchvision/resnet34", write(tmp_path / "x.pth", resnet18))
    assert re.search(r"\d+ of \d+ tensors are missing \(layer1.2.conv1.weight", message)
    assert "The file fits torchvision/resnet18" in message


def test_the_default_net_given_another_file_names_the_right_one(tmp_path: Path) -> None:
    path = write(tmp_path / "mobilenet_v2-b0353104.pth", own_model("torchvision/mobilenet_v2").state_dict())
    message = refusal("timm/tf_efficientnetv2_b0", path)
    assert message.endswith("The file fits torchvision/mobilenet_v2: model.name=torchvision/mobilenet_v2")


def test_the_other_librarys_naming_of_the_same_net_is_recognised(tmp_path: Path) -> None:
    torchvisions = write(tmp_path / "a.pth", own_model("torchvision/efficientnet_b0").state_dict())
    timms = write(tmp_path / "b.pth", own_model("timm/efficientnet_b0").state_dict())
    assert choose_library("efficientnet_b0", torchvisions) == "torchvision/efficientnet_b0"
    assert choose_library("efficientnet_b0", timms) == "timm/efficientnet_b0"
    assert choose_library("timm/efficientnet_b0", torchvisions) == "timm/efficientnet_b0"  # as was asked
    assert "The file fits torchvision/efficientnet_b0" in refusal("timm/efficientnet_b0", torchvisions)
    assert "The file fits timm/efficientnet_b0" in refusal("torchvision/efficientnet_b0", timms)


def test_a_file_of_no_known_net_is_refused(tmp_path: Path) -> None:
    message = refusal("scratch_cnn", write(tmp_path / "x.pth", {"weight": torch.zeros(3)}))
    assert message.endswith("Give the file that was made for this model.")


def test_another_shape_is_told(resnet18: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_recognise", lambda *_: None)
    changed = resnet18 | {"layer1.0.conv1.weight": torch.zeros(64, 32, 3, 3)}
    message = refusal("timm/resnet18", write(tmp_path / "x.pth", changed))
    assert "1 have another shape (layer1.0.conv1.weight: expected [64, 64, 3, 3], received [64, 32, 3, 3])" in message


def test_one_missing_tensor_is_enough(resnet18: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(weights, "_recognise", lambda *_: None)
    less = {key: value for key, value in resnet18.items() if key != "layer4.1.bn2.running_mean"}
    assert "1 of 120 tensors are missing (layer4.1.bn2.running_mean)" in refusal(
        "timm/resnet18", write(tmp_path / "x.pth", less)
    )
    more = resnet18 | {"layer4.1.conv3.weight": torch.zeros(2)}
    assert "1 are not of this model (layer4.1.conv3.weight)" in refusal(
        "timm/resnet18", write(tmp_path / "y.pth", more)
    )


# Files of an older naming, or of another input size


def test_densenets_older_naming(tmp_path: Path) -> None:
    own = own_model("torchvision/densenet121")
    dotted = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", key): v for key, v in own.state_dict().items()}
    assert set(dotted) != set(own.state_dict())
    path = write(tmp_path / "densenet121-a639ec97.pth", dotted)
    made = Architecture(name="torchvision/densenet121")
    net = build(made, 2).eval()
    load_file_into(net, made, path)
    x = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        close(net.features(x), own_features(own, x))


def test_vits_older_naming_is_recognised() -> None:
    with torch.device("meta"):
        state = models.get_model("vit_b_32").state_dict()
    older = {
        key.replace(".mlp.0.", ".mlp.linear_1.").replace(".mlp.3.", ".mlp.linear_2."): v for key, v in state.items()
    }
    assert set(older) != set(state)
    assert weights._matches("torchvision/vit_b_32", [Held("", older)])


def test_timms_vit_at_another_size_has_its_positions_resized(tmp_path: Path) -> None:
    own = own_model("timm/vit_tiny_patch16_224", (224, 224))
    path = write(tmp_path / "vit.safetensors", own.state_dict())
    made = architecture("timm/vit_tiny_patch16_224", (96, 160))
    net = build(made, 2).eval()
    loaded = load_file_into(net, made, path)
    assert loaded.loaded == len(net.backbone.state_dict())
    own.set_input_size((96, 160))  # timm's own way
    x = torch.rand(2, 3, 96, 160)
    with torch.no_grad():
        close(net.features(x), own_features(own, x))


# Files that are no state dict


class Evil:
    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.proof),)


def test_code_in_a_pickle_is_refused_and_not_run(tmp_path: Path) -> None:
    proof, first, second = tmp_path / "ran", tmp_path / "first.pth", tmp_path / "second.pth"
    torch.save({"weight": torch.zeros(1), "more": Evil(proof)}, first)
    second.write_bytes(pickle.dumps({"weight": Evil(proof)}, protocol=2))
    for path in (first, second):
        with pytest.raises(
            ModelError, match=r"more than tensors \(posix.mkdir\), which could run code\. Expected a plain"
        ):
            read_state(path)
    assert not proof.exists()


@pytest.mark.parametrize("suffix", [".pth", ".legacy.pth", ".safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.02, 0.3, 0.6, 0.99])
def test_a_truncated_file_is_refused(suffix: str, share: float, tmp_path: Path) -> None:
    state = {f"layer{i}.weight": torch.rand(4, 4) for i in range(6)}
    path = tmp_path / f"file{suffix}"
    if suffix == ".safetensors":
        save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=suffix == ".pth")
    whole = path.read_bytes()
    assert [set(held.tensors) for held in read_state(path)] == [set(state)]
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(
        ModelError,
        match=r"cannot read .*file.*: it is damaged \(.+\)\. (Expected a plain state dict|Download or copy it again)",
    ):
        read_state(path)


@pytest.mark.parametrize("content", [b"hello world\n" * 10, b"\x00" * 300])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_a_file_of_something_else_is_refused(content: bytes, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"file{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match="it is damaged"):
        read_state(path)


@pytest.mark.parametrize("content", [{}, [1, 2], torch.ones(2), {"epoch": 3}, {"state_dict": {}}])
def test_a_file_without_named_tensors_is_refused(content: Any, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    torch.save(content, path)
    with pytest.raises(ModelError, match="holds no tensors by name"):
        read_state(path)


# The real files


@pytest.mark.parametrize(
    ("file", "name", "size"),
    [
        ("mobilenet_v2.pth", "torchvision/mobilenet_v2", (96, 128)),
        ("tf_efficientnetv2_b0.safetensors", "timm/tf_efficientnetv2_b0", (96, 128)),
    ],
)
def test_real_weights_load_in_full(file: str, name: str, size: tuple[int, int], shared: Path) -> None:
    path = shared / "weights" / file
    if not path.exists():
        pytest.skip(f"needs the development weights {path}")
    made = Architecture(name=name)
    net = build(made, 3).eval()
    loaded = load_file_into(net, made, path)
    assert loaded.loaded == len(net.backbone.state_dict())
    assert choose_library(name.split("/")[1], path) in (name, name.split("/")[1])
    own = own_model(name)
    state = load_file(path) if path.suffix == ".safetensors" else torch.load(path, weights_only=True)
    assert own.load_state_dict(state, strict=False).unexpected_keys == []
    x = torch.randn(2, 3, *size)
    with torch.no_grad():
        close(net.features(x), own_features(own.eval(), x))
