"""Files of weights as other frameworks and people's own code save them: read as they are, or the advice works."""

from __future__ import annotations

import argparse
import gzip
import os
import re
import shlex
import shutil
import subprocess
import sys
import tarfile
import zipfile
from collections import OrderedDict, defaultdict, deque
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import nn
from torchvision.models import mobilenet_v2, resnet18

from bunryu.core.errors import ConfigError, ModelError
from bunryu.models.build import build
from bunryu.models.initial import require_weights
from bunryu.models.record import Architecture
from bunryu.models.weights import Loaded, load_file_into
from bunryu.models.weights_file import is_averaged, read_state
from bunryu.settings.load import load_settings

NAME = "torchvision/mobilenet_v2"
HEAD = ("classifier.1.weight", "classifier.1.bias")
State = dict[str, torch.Tensor]


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(1)
    return mobilenet_v2(num_classes=7)


@pytest.fixture(scope="module")
def own(net: nn.Module) -> State:
    return {key: value.detach().clone() for key, value in net.state_dict().items()}


def load(path: Path, **arguments: Any) -> tuple[State, Loaded]:
    made = Architecture(name=NAME)
    into = build(made, 2)
    loaded = load_file_into(into, made, path, **arguments)
    return into.backbone.state_dict(), loaded


def assert_loaded(path: Path, expected: State, **arguments: Any) -> Loaded:
    found, loaded = load(path, **arguments)
    assert all(torch.equal(value, expected[key].float() if value.is_floating_point() else expected[key])
               for key, value in found.items())  # fmt: skip
    assert loaded.loaded == len(found) == len(expected) - len(HEAD)
    return loaded


def under(prefix: str, state: State) -> State:
    return {prefix + key: value for key, value in state.items()}


class Config(dict[str, Any]):
    """As omegaconf's and mmengine's, of a library that need not be installed here."""


class History(list[float]):
    """As a framework's list of losses."""


FORMS: dict[str, Callable[[State], Any]] = {
    "plain": lambda s: s,
    "ordered": OrderedDict,
    "DataParallel": lambda s: under("module.", s),
    "Lightning": lambda s: {"state_dict": under("model.", s), "epoch": 3, "optimizer_states": [{"state": {}}]},
    "Lightning, class weights": lambda s: {"state_dict": {**under("model.", s), "criterion.weight": torch.ones(7)}},
    "loss beside": lambda s: {**s, "loss_fn.pos_weight": torch.ones(7)},
    "metrics": lambda s: {**under("net.", s), "train_acc.tp": torch.ones(1), "val_f1.fn": torch.ones(1)},
    "Lightning, hyperparameters": lambda s: {"state_dict": s, "hyper_parameters": argparse.Namespace(lr=1.0)},
    "compiled": lambda s: {"state_dict": under("model._orig_mod.", s)},
    "own key": lambda s: {"model_state": s},
    "own keys": lambda s: {"checkpoint": {"the_net": {"weights": s}}},
    "own prefix": lambda s: under("cnn.", s),
    "own prefix, own head": lambda s: {**under("cnn.", {k: v for k, v in s.items() if k not in HEAD}),
                                       "last.weight": torch.ones(7, 1280)},
    "nested prefixes": lambda s: under("student.encoder.cnn.", s),
    "args": lambda s: {"state_dict": s, "args": argparse.Namespace(lr=1, parts=[1, 2]), "arch": "mobilenet_v2"},
    "optimizer": lambda s: {"model": s, "optimizer": {"state": {0: {"exp_avg": torch.ones(3)}}, "param_groups": []}},
    "optimizer by name": lambda s: {"model": s, "optim": {"state": {"features.0.0.weight": torch.ones(3)}}},
    "numpy": lambda s: {"model": s, "rng": np.random.default_rng(0), "best": np.float64(0.9), "mean": np.ones(3)},
    "dict and list of its own": lambda s: {"model": s, "cfg": Config(a=1), "log": History([1.0, 2.0])},
    "collections": lambda s: {"model": s, "log": defaultdict(list, {"a": [1]}), "last": deque([1, 2])},
    "path": lambda s: {"model": s, "out": Path("runs/1")},
    "parameters": lambda s: {k: nn.Parameter(v) if v.is_floating_point() else v for k, v in s.items()},
    "half": lambda s: {k: v.half() if v.is_floating_point() else v for k, v in s.items()},
    "a second step of the average": lambda s: {"model": s, "ema_decay": torch.tensor(0.99)},
}  # fmt: skip


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
@pytest.mark.parametrize("form", FORMS)
def test_a_file_as_people_save_it_is_read(form: str, zipped: bool, own: State, tmp_path: Path) -> None:
    torch.save(FORMS[form](own), tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    expected = {k: v.half() if v.is_floating_point() else v for k, v in own.items()} if form == "half" else own
    loaded = assert_loaded(tmp_path / "w.pth", expected)
    if "loss" in form or "class weights" in form or form == "metrics":
        assert "passed over, as no part of the network: " in loaded.told()
    assert not any("criterion" in key or "acc" in key for key in loaded.left_out)


def test_a_whole_module_is_read_without_its_code(tmp_path: Path) -> None:
    """Written where a package defines the class; here that package is not, and nothing of it runs."""
    package = tmp_path / "theirs.py"
    package.write_text(
        "import torch\nfrom torchvision.models import mobilenet_v2\n"
        "class Theirs(torch.nn.Module):\n"
        "    def __init__(self):\n        super().__init__()\n        self.cnn = mobilenet_v2(num_classes=7)\n"
        "        self.register_buffer('scale', torch.ones(1), persistent=False)\n"
        "    def __setstate__(self, state):\n        open('ran', 'w').close(); super().__setstate__(state)\n"
    )
    script = (
        "import torch, theirs; torch.manual_seed(3); net = theirs.Theirs()\n"
        "torch.save(net, 'whole.pth'); torch.save(net, 'old.pth', _use_new_zipfile_serialization=False)\n"
        "torch.save({'model': net, 'epoch': 3}, 'within.pth')\n"
        "torch.save(net.cnn.state_dict(), 'state.pth')\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True)
    expected = torch.load(tmp_path / "state.pth", weights_only=True)
    assert "theirs" not in sys.modules
    for name in ("whole.pth", "within.pth"):
        assert_loaded(tmp_path / name, expected)
    with pytest.raises(
        ModelError, match=r"cannot read .*old\.pth without the code it was saved with .* save its tensors"
    ):
        read_state(tmp_path / "old.pth")  # of a torch before 1.6
    assert not (tmp_path / "ran").exists()


class Evil:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return subprocess.getoutput, (f"touch {self.path}",)


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "legacy"])
def test_code_in_a_file_is_never_run(zipped: bool, own: State, tmp_path: Path) -> None:
    content = {"model": own, "extra": Evil(tmp_path / "ran")}
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=zipped)
    assert_loaded(tmp_path / "w.pth", own)
    assert not (tmp_path / "ran").exists()


# The weights and their average in one file


def shifted(state: State, by: float) -> State:
    return {key: value + by if value.is_floating_point() else value for key, value in state.items()}


TWICE: dict[str, Callable[[State, State], Any]] = {
    "timm": lambda raw, ema: {"state_dict": raw, "state_dict_ema": ema},
    "the average first": lambda raw, ema: {"model_ema": under("module.", ema), "model": raw},
    "one dict": lambda raw, ema: under("model.", raw) | under("ema_model.module.", ema),
    "one dict, raw at its top": lambda raw, ema: raw | under("ema.", ema),
    "SWA": lambda raw, ema: {"state_dict": raw, "swa": ema | {"n_averaged": torch.tensor(3)}},
    "nested": lambda raw, ema: {"model": raw, "ema": {"shadow": ema, "decay": 0.99}},
    "Ultralytics": lambda raw, ema: {"model": under("net.", raw), "ema": under("net.", ema)},
}


@pytest.mark.parametrize("form", TWICE)
def test_of_weights_and_their_average_it_is_said_which_is_taken(form: str, own: State, tmp_path: Path) -> None:
    average = shifted(own, 1.0)
    torch.save(TWICE[form](own, average), tmp_path / "w.pth")
    told = assert_loaded(tmp_path / "w.pth", own).told()
    assert re.search(r"; taken from .+, not from .*(ema|swa).*: model\.ema=true for that$", told)
    told = assert_loaded(tmp_path / "w.pth", average, averaged=True).told()
    assert told.endswith(": model.ema=false for that")


def test_an_average_alone_is_taken_and_told(own: State, tmp_path: Path) -> None:
    torch.save({"model_ema": own}, tmp_path / "w.pth")
    for averaged in (False, True):
        told = assert_loaded(tmp_path / "w.pth", own, averaged=averaged).told()
        assert told.endswith("; from model_ema: averaged weights, the only ones in it")


def test_an_average_that_is_not_there_is_not_made_up(own: State, tmp_path: Path) -> None:
    torch.save({"model": own}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"model\.ema=true: .* holds no averaged weights .*It has: model\. Leave"):
        load(tmp_path / "w.pth", averaged=True)
    for weights in ("imagenet", "none", None):
        with pytest.raises(ConfigError, match=r"model\.ema=true .* needs model\.weights=FILE"):
            load_settings(overrides=["model.ema=true", f"model.weights={'null' if weights is None else weights}"])


@pytest.mark.parametrize("name", ["mean.weight", "schema.0", "emanuel.weight", "theme.bias", "avgpool.x", "averse"])
def test_what_only_sounds_like_an_average_is_none(name: str) -> None:
    assert not is_averaged(name)


def test_two_networks_that_both_fit_are_not_guessed(own: State, tmp_path: Path) -> None:
    other = shifted(own, 1.0)
    torch.save(under("encoder_q.", own) | under("encoder_k.", other), tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"holds 2 different networks that fit: encoder_[qk], encoder_[qk]\. Save"):
        load(tmp_path / "w.pth")
    torch.save({"last": own, "best": own}, tmp_path / "same.pth")
    assert_loaded(tmp_path / "same.pth", own)


# Wrappers nobody thought of

WORDS = st.text("abcxyz_", min_size=1, max_size=6).filter(lambda word: not is_averaged(word) and word[0] != "_")


@settings(max_examples=25, deadline=None)
@given(
    prefix=st.lists(WORDS, max_size=3),
    place=st.lists(WORDS.filter(lambda word: not word.startswith("optim")), max_size=3),
    beside=st.dictionaries(WORDS, st.sampled_from([1, "text", [1, 2], None, {"lr": 0.1}]), max_size=3),
    lost=st.lists(st.sampled_from(["criterion.weight", "loss.pos_weight", "metrics.tp"]), unique=True),
)
def test_any_prefix_and_any_place(
    prefix: list[str], place: list[str], beside: dict[str, Any], lost: list[str],
    tmp_path_factory: pytest.TempPathFactory
) -> None:  # fmt: skip
    torch.manual_seed(1)
    made = Architecture(name="scratch_cnn")
    expected = build(made, 3).backbone.state_dict()
    content: Any = under("".join(f"{word}." for word in prefix), expected)
    content |= {name: torch.ones(2) for name in lost}
    for word in reversed(place):
        content = {**beside, word: content}
    path = tmp_path_factory.mktemp("any") / "w.pth"
    torch.save(content, path)
    into = build(made, 2)
    loaded = load_file_into(into, made, path)
    assert all(torch.equal(value, expected[key]) for key, value in into.backbone.state_dict().items())
    assert loaded.left_out == []


# Values that are none


def test_quantised_and_diverged_weights_are_refused(own: State, tmp_path: Path) -> None:
    first = next(iter(own))
    torch.save(own | {first: own[first].mul(100).to(torch.int8)}, tmp_path / "int8.pth")
    with pytest.raises(ModelError, match=r"holds whole numbers \(torch\.int8\) for 1 tensors .* was quantised"):
        load(tmp_path / "int8.pth")
    for value in (torch.nan, torch.inf):
        broken = own[first].clone()
        broken[0, 0, 0, 0] = value
        torch.save(own | {first: broken}, tmp_path / "nan.pth")
        with pytest.raises(ModelError, match=r"no numbers \(nan or infinite\) in 1 tensors \(features\.0\.0\.weight\)"):
            load(tmp_path / "nan.pth")


def test_a_net_with_more_in_it_is_still_another_net(own: State, tmp_path: Path) -> None:
    """What is passed over is what its name says to be of training; a layer more is not."""
    torch.save(own | {"features.19.weight": torch.ones(2)}, tmp_path / "w.pth")
    with pytest.raises(ModelError, match=r"1 are not of this model \(features\.19\.weight\)"):
        load(tmp_path / "w.pth")
    torch.save(under("model.", resnet18(num_classes=7).state_dict()), tmp_path / "other.pth")
    with pytest.raises(ModelError, match=r"The file fits torchvision/resnet18: model\.name=torchvision/resnet18"):
        load(tmp_path / "other.pth")


# Files that are no weights: what they are, and the advice followed


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"<!DOCTYPE html><html>Google Drive - Virus scan warning</html>", "a web page"),
        (b"\n<html><body>404</body></html>", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:abc\nsize 14\n", "git lfs pull"),
        (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "a server's error"),
        (b"\x89HDF\r\n\x1a\n" + bytes(100), "a model of Keras"),
        (gzip.compress(b"weights", mtime=0), "gzip"),
        (b"", "empty"),
    ],
)
def test_what_is_found_in_place_of_weights_is_named(content: bytes, told: str, suffix: str, tmp_path: Path) -> None:
    path = tmp_path / f"w{suffix}"
    path.write_bytes(content)
    with pytest.raises(ModelError, match=told):
        read_state(path)


def test_the_ending_does_not_matter(own: State, tmp_path: Path) -> None:
    save_file(own, tmp_path / "a.pth")
    torch.save(own, tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        assert_loaded(tmp_path / name, own)


def test_archives_are_named(own: State, tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "w.zip", "w") as archive:
        archive.writestr("best.pth", b"x")
    with pytest.raises(ModelError, match=r"is an archive, with best\.pth in it\. Unpack it"):
        read_state(tmp_path / "w.zip")
    with tarfile.open(tmp_path / "w.tar", "w") as archive:
        archive.add(tmp_path / "w.zip", "w.zip")
    with pytest.raises(ModelError, match=r"cannot read .*w\.tar: it is damaged"):
        read_state(tmp_path / "w.tar")


def test_torchscript_is_converted_as_the_message_says(net: nn.Module, own: State, tmp_path: Path) -> None:
    script = torch.jit.trace(net.eval(), torch.zeros(1, 3, 32, 32))
    script.save(str(tmp_path / "scripted model.pt"))
    with pytest.raises(ModelError, match="TorchScript") as error:
        load(tmp_path / "scripted model.pt")
    command = str(error.value).partition("give that file: ")[2]
    words = shlex.split(command)
    assert words[0] == "python"
    subprocess.run([sys.executable, *words[1:]], cwd=tmp_path, check=True)
    assert_loaded(tmp_path / "weights.pth", own)


def settings_with(weights: str) -> Any:
    return load_settings(overrides=[f"model.name={NAME}", f"model.weights={weights}"])


def test_a_folder_that_is_no_run_names_the_file_in_it(own: State, tmp_path: Path) -> None:
    folder = tmp_path / "hub"
    folder.mkdir()
    with pytest.raises(ModelError, match=r"hub is not a run folder\. Expected imagenet, none"):
        require_weights(settings_with(str(folder)))
    torch.save(own, folder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"To take the file in it: model\.weights=(.+)$") as error:
        require_weights(settings_with(str(folder)))
    advised = str(error.value).partition("model.weights=")[2]
    require_weights(settings_with(advised))
    assert_loaded(Path(advised), own)


def test_a_name_of_the_hub_and_a_mistyped_file(own: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save(own, "mobilenet_v2.pth")
    with pytest.raises(ModelError, match=r"Did you mean mobilenet_v2\.pth\?"):
        require_weights(settings_with("mobilnet_v2.pth"))
    with pytest.raises(ModelError, match=r"model\.name=timm/resnet18\.a1_in1k$"):
        require_weights(settings_with("hf-hub:timm/resnet18.a1_in1k"))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes on this system")
def test_a_pipe_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "w.pth")
    with pytest.raises(ModelError, match="is not a file"):
        read_state(tmp_path / "w.pth")
    shutil.rmtree(tmp_path)
