"""Networks of the user's own: how they fit, that their code is known by its hash, and run only when allowed."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

import bunryu as verbs
from bunryu.core.errors import ConfigError, ModelError
from bunryu.models import allowed_code
from bunryu.models.build import build
from bunryu.models.record import read_sealed
from bunryu.models.user_code import own_architecture
from bunryu.settings.load import load_settings
from conftest import Command, refused, table

NET = '''
import torch
from torch import nn


class MyModel(nn.Module):
    """Calls view on maps of 4x4, which channels_last memory would not allow."""

    def __init__(self, num_classes, width=4):
        super().__init__()
        self.conv = nn.Conv2d(3, width, 3, stride=4, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.drop = nn.Dropout(0.2)
        self.마지막 = nn.Linear(width * 16, num_classes)

    def forward(self, x):
        x = torch.relu(self.norm(self.conv(x)))
        return self.마지막(self.drop(x.view(x.size(0), -1)))


class Logs(MyModel):
    def forward(self, x):
        return torch.log_softmax(super().forward(x), 1)


def ten(num_classes=None):  # a function; num_classes is not obeyed
    return MyModel(10)


def fixed():
    return MyModel(3)
'''
SMALL = (
    "train.device=cpu", "train.precision=fp32", "train.threads=1", "train.epochs=3", "train.batch_size=8",
    "input.size=16", "evaluate.bootstrap=20", "split.val=0.3",
)  # fmt: skip
FROZEN = (
    "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true, epochs: 1}, "
    "{name: head, freeze: backbone, epochs: 1}, {name: all}]"
)


@pytest.fixture(autouse=True)
def strangers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Begin as a new process does, which has allowed nothing."""
    monkeypatch.setattr(allowed_code, "_allowed", {})
    for name in [name for name in sys.modules if name.startswith("bunryu_own_")]:
        monkeypatch.delitem(sys.modules, name)


@pytest.fixture
def net(tmp_path: Path) -> Path:
    (tmp_path / "net.py").write_text(NET, encoding="utf-8")
    return tmp_path / "net.py"


@pytest.fixture
def photos(make_images: Any, tmp_path: Path) -> Path:
    return make_images(tmp_path / "사진", {"가": 12, "b": 12, "c": 12})


def forget() -> None:
    allowed_code._allowed.clear()
    for name in [name for name in sys.modules if name.startswith("bunryu_own_")]:
        del sys.modules[name]


def test_from_training_to_prediction(bunryu: Command, here: Path, net: Path, photos: Path) -> None:
    ended = bunryu("train", photos, "model.file=net.py:MyModel", "model.arguments={width: 6}", FROZEN, *SMALL,
                   "--out", "run")  # fmt: skip
    assert ended.code == 0, ended.err
    assert f"model: MyModel of {net} (SHA-256 " in ended.err
    assert "its head is 마지막), " in ended.err
    assert "bunryu evaluate run --data LABELLED_IMAGES/ --trust-code" in ended.err
    own = read_sealed(here / "run/model.safetensors").architecture.own
    assert own is not None
    assert (own.file, own.name, own.sha256, own.head) == (
        str(net),
        "MyModel",
        allowed_code.sha256(net.read_bytes()),
        "마지막",
    )
    assert (here / "run/code/net.py").read_bytes() == net.read_bytes()
    history = [json.loads(line) for line in (here / "run/history.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["stage"] for row in history] == ["probe", "head", "all", "all"]
    tensors = load_file(here / "run/model.safetensors")
    assert tensors["backbone.conv.weight"].shape == (6, 3, 3, 3)
    assert tensors["head.1.weight"].shape == (3, 96)

    one = photos / "가/000.png"
    same = bunryu("predict", "run", one, "--out", "-")  # this process trained it
    assert same.code == 0, same.err
    forget()
    for command in (("predict", "run", one), ("evaluate", "run"), ("predict", "run/model.safetensors", one)):
        said = refused(bunryu(*command))
        assert "This network is code, net.py:MyModel with SHA-256 " + own.sha256 in said
        assert "--trust-code" in said
        assert "--model-file net.py" in said
    net.rename(here / "moved.py")
    assert bunryu("predict", "run", one, "--out", "-", "--trust-code")[:2] == same[:2]
    forget()
    assert bunryu("predict", "run/checkpoints/best.safetensors", one, "--out", "-", "--trust-code")[:2] == same[:2]
    forget()
    assert bunryu("predict", "run", one, "--out", "-", "--model-file", "moved.py")[:2] == same[:2]
    forget()
    frame = verbs.open_run("run", trust_code=True).predict([one], quiet=True)
    assert f"{frame['conf'][0]:.6g}" == table(same.out)[0]["conf"]
    forget()
    ended = bunryu("evaluate", "run", "--model-file", "moved.py", "-q")
    assert "macro-F1" in ended.out, ended.err
    # weights of that run, in a new one
    forget()
    again = ("train", photos, "model.weights=run", *SMALL, "--dry-run")
    assert "needs model.file=FILE.py:MyModel" in refused(bunryu(*again))
    ended = bunryu(*again, "model.file=moved.py:MyModel", "model.arguments={width: 6}")
    assert "tensors of the backbone loaded" in ended.err, ended
    assert "model.arguments" in refused(bunryu(*again, "model.file=moved.py:MyModel"))


def test_other_code_than_it_was_trained_as_is_refused(bunryu: Command, here: Path, net: Path, photos: Path) -> None:
    assert bunryu("train", photos, "model.file=net.py:MyModel", *SMALL, "train.epochs=1", "--out", "run").code == 0
    was = allowed_code.sha256(net.read_bytes())
    forget()
    changed = NET + "\nprint('never run')\n"
    (here / "run/code/net.py").write_text(changed, encoding="utf-8")
    net.write_text(changed, encoding="utf-8")
    for given in (["--trust-code"], ["--model-file", "net.py"]):
        ended = bunryu("predict", "run", photos / "b", *given)
        assert "never run" not in ended.out
        said = refused(ended)
        assert was in said
        assert allowed_code.sha256(changed.encode()) in said
    both = bunryu("predict", "run", photos / "b", "--trust-code", "--model-file", "net.py")
    assert "give one of them" in refused(both)
    assert "There is no file nat.py. Did you mean" in refused(
        bunryu("predict", "run", photos, "--model-file", "nat.py")
    )
    (here / "run/code/net.py").unlink()
    assert "has no copy of its code, code/net.py" in refused(bunryu("predict", "run", photos, "--trust-code"))


def test_nothing_to_trust(bunryu: Command, here: Path, tiny_run: Any) -> None:
    for command in (("predict", tiny_run.run, tiny_run.data), ("evaluate", tiny_run.run)):
        assert "has no code of its own to trust" in refused(bunryu(*command, "--trust-code"))
    assert "belong to --resume RUN" in refused(bunryu("train", tiny_run.data, "--trust-code"))


def test_the_parts_make_the_users_own_network(net: Path) -> None:
    made = own_architecture(f"{net}:MyModel", {}, 3, 0.0, (16, 16))
    torch.manual_seed(3)
    whole = build(made, 2).eval()
    torch.manual_seed(3)
    users = vars(sys.modules[f"bunryu_own_{made.own.sha256}"])["MyModel"](2).eval()  # type: ignore[union-attr]
    x = torch.randn(5, 3, 16, 16)
    assert torch.equal(whole(x), users(x)), "the head is the user's own layer, as they draw it"
    assert whole.features(x).shape == (5, whole.width) == (5, 64)
    assert torch.equal(whole(x.to(memory_format=torch.channels_last)), users(x))


@pytest.mark.parametrize(("name", "head"), [("ten", "마지막"), ("fixed", "마지막"), ("Logs", None)])
def test_where_the_head_is(net: Path, name: str, head: str | None) -> None:
    made = own_architecture(f"{net}:{name}", {}, 3, 0.0, (16, 16))
    assert made.own is not None
    assert made.own.head == head
    assert build(made, 5)(torch.zeros(2, 3, 16, 16)).shape == (2, 5)
    with pytest.raises(ModelError, match=r"If it takes pictures of one size alone, say which: input.size="):
        own_architecture(f"{net}:{name}", {}, 3, 0.0, None)


BODIES = {
    "dropout after": "return nn.functional.dropout(self.fc(x), 0.9, self.training)",
    "changed in place": "return self.fc(x).relu_()",
    "called twice": "return self.fc(self.fc(x) @ torch.zeros(2, 48) + x)",
}


@pytest.mark.parametrize("body", BODIES)
def test_a_linear_layer_that_is_not_the_last_step_is_no_head(tmp_path: Path, body: str) -> None:
    (tmp_path / "n.py").write_text(
        "import torch\nfrom torch import nn\nclass N(nn.Module):\n    def __init__(self, num_classes):\n"
        "        super().__init__()\n        self.fc = nn.Linear(48, num_classes)\n"
        f"    def forward(self, x):\n        x = x.flatten(1)\n        {BODIES[body]}\n",
        encoding="utf-8",
    )
    made = own_architecture(f"{tmp_path / 'n.py'}:N", {}, 3, 0.0, (4, 4))
    assert made.own is not None
    assert made.own.head is None


def test_a_network_without_a_head_trains_whole(bunryu: Command, here: Path, net: Path, photos: Path) -> None:
    given = ("train", photos, "model.file=net.py:Logs", *SMALL)
    ended = bunryu(*given, "--out", "run")
    assert ended.code == 0, ended.err
    assert "without a head that could be told apart" in ended.err
    assert load_file(here / "run/model.safetensors")["backbone.마지막.weight"].shape == (3, 64)
    assert "the stage 'probe' has freeze: backbone, which needs a head apart" in refused(bunryu(*given, FROZEN))
    assert "optim.head_lr needs a head apart" in refused(bunryu(*given, "optim.head_lr=1e-3"))
    assert "model.dropout=0.5 is for the last linear layer" in refused(bunryu(*given, "model.dropout=0.5"))
    assert "probe" in refused(bunryu("probe", photos, "model.file=net.py:Logs"))


def test_weights_of_a_file(bunryu: Command, here: Path, net: Path, photos: Path) -> None:
    made = own_architecture(f"{net}:MyModel", {}, 3, 0.0, (16, 16))
    users = vars(sys.modules[f"bunryu_own_{made.own.sha256}"])["MyModel"](7)  # type: ignore[union-attr]
    save_file(users.state_dict(), "seven.safetensors")
    given = ("train", photos, "model.file=net.py:MyModel", "model.weights=seven.safetensors", *SMALL, FROZEN)
    assert "input.normalize=imagenet or train" in refused(bunryu(*given))
    ended = bunryu(*given, "input.normalize=imagenet", "optim.lr=1e-12", "--out", "run", "train.epochs=2")
    assert ended.code == 0, ended.err
    assert "left out, as the head is new: 마지막" in ended.err
    sealed = load_file(here / "run/model.safetensors")
    torch.testing.assert_close(sealed["backbone.conv.weight"], users.conv.weight.detach())
    del users.conv
    save_file(users.state_dict(), "short.safetensors")
    said = refused(bunryu(*given, "model.weights=short.safetensors", "input.normalize=imagenet"))
    assert "tensors are missing (conv.weight" in said


@pytest.mark.parametrize(
    ("source", "name", "told"),
    [
        ("x = 1\nclass MyModel: pass\n", "MyModle", r"has no 'MyModle'. Did you mean 'MyModel'\? It has: MyModel"),
        ("x = 1\n", "x", r"has 'x', which is no class or function"),
        ("def f(): return 3\n", "f", r"gives a int; expected a torch.nn.Module"),
        ("def f(:\n", "f", r"line 1: it cannot be run: SyntaxError"),
        ("\nimport nothing_here\n", "f", r"line 2: it cannot be run: ModuleNotFoundError: .* installed packages only"),
        ("def f(num_classes, deep): pass\n", "f", r"f cannot be made: TypeError: .*'deep'"),
        ("from torch import nn\ndef f(): return nn.Conv2d(3, 2, 1)\n", "f", r"gives \(2, 2, 8, 8\) for two pictures"),
        ("from torch import nn\ndef f(): return nn.Linear(9, 2)\n", "f", r"it cannot take two pictures of 8x8, 3 ch"),
        (
            "class A:\n    def __init__(self):\n        raise OSError('일')\n",
            "A",
            r"line 3: A cannot be made: OSError: 일",
        ),
    ],
)
def test_mistakes_are_told(tmp_path: Path, source: str, name: str, told: str) -> None:
    (tmp_path / "n.py").write_text(source, encoding="utf-8")
    with pytest.raises(ModelError, match=told):
        own_architecture(f"{tmp_path / 'n.py'}:{name}", {}, 3, 0.0, (8, 8))


def test_more_mistakes(bunryu: Command, here: Path, net: Path, photos: Path) -> None:
    assert "There is no file" in (said := refused(bunryu("train", photos, "model.file=nett.py:MyModel", *SMALL)))
    assert "net.py'?" in said
    (here / "five.py").write_text("from torch import nn\ndef f(): return nn.Sequential(nn.Flatten(), "
                                  "nn.Linear(768, 5), nn.Tanh())\n", encoding="utf-8")  # fmt: skip
    said = refused(bunryu("train", photos, "model.file=five.py:f", *SMALL))
    assert "gives 5 numbers for a picture; there are 3 classes" in said
    said = refused(bunryu("train", photos, "model.file=net.py:MyModel", *SMALL, "input.size=32"))
    assert "it cannot take two pictures of 32x32" in said
    assert sorted(path.name for path in here.iterdir()) == ["five.py", "net.py", "사진"]
    for pairs, told in (
        (["model.file=net.py"], r"expected FILE.py:NAME"),
        (["model.file=net.py:A", "model.name=resnet18"], r"give one of the two"),
        (["model.file=net.py:A", "model.weights=imagenet"], r"a network of your own has none"),
        (["model.arguments={a: 1}"], r"needs model.file"),
        (["model.name=own/A"], r"needs model.file"),
    ):
        with pytest.raises(ConfigError, match=told):
            load_settings(pairs)
    read = load_settings(["model.file=net.py:A", "model.arguments={a: 1, b: [0.5, x], c: false, d: 1e-3}"]).model
    assert read.arguments == {"a": 1, "b": [0.5, "x"], "c": False, "d": 1e-3}
    assert (read.name, read.dropout, load_settings(["model.file=net.py:A"]).recipe) == ("own/A", 0.0, "scratch")


def test_folds_and_ensembles(bunryu: Command, here: Path, net: Path, photos: Path) -> None:
    pairs = ("model.file=net.py:MyModel", *SMALL, "train.epochs=1", "split.val=0.2")
    ended = bunryu("train", photos, *pairs, "--folds", 2, "--out", "cv")
    assert ended.code == 0, ended.err
    assert bunryu("ensemble", "cv/fold-1", "cv/fold-2", "--out", "both").code == 0
    found = bunryu("predict", "both", photos / "b", "--out", "-")
    for run in ("cv", "both"):
        forget()
        assert "code is run only if you say so" in refused(bunryu("predict", run, photos / "b"))
        trusted = bunryu("predict", run, photos / "b", "--out", "-", "--trust-code")
        assert trusted.code == 0, trusted.err
        assert trusted.out == found.out
