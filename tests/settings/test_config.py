"""Settings: strict, frozen, explained; every mistake is one message, told before torch is imported."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import types
import typing
from pathlib import Path
from typing import Any, Literal, Union

import pytest
import yaml
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

import bunryu
from bunryu.core.errors import ConfigError
from bunryu.settings.config import Layer, Settings, dump_yaml, load_yaml, parse_overrides
from bunryu.settings.fields import keys, type_text
from bunryu.settings.load import evaluation_settings, load_settings
from bunryu.settings.recipes import recipe_names
from bunryu.settings.run import RunSettings
from bunryu.settings.stages import Stage
from bunryu.settings.validate import build, replaced


def told(*pairs: str, **options: Any) -> str:
    with pytest.raises(ConfigError) as error:
        load_settings(pairs, **options)
    return str(error.value)


def write(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_bytes(text.encode(encoding))
    return path


# Reading.


@pytest.mark.parametrize(
    ("pair", "value"),
    [
        ("train.epochs=7", 7),
        ("train.epochs= 7 ", 7),
        ("optim.lr=1e-3", 1e-3),
        ("optim.head_lr=null", None),
        ("optim.head_lr=", None),
        ("decode.exif=no", False),
        ("decode.exif=false", False),
        ("input.size=224", (224, 224)),
        ("input.size=256x192", (256, 192)),
        ("input.size=[256, 192]", (256, 192)),
        ("decode.background=[1, 2, 3]", (1, 2, 3)),
        ("augment.crop_scale=[0.5, 1]", (0.5, 1.0)),
        ("augment.crop_scale=null", None),
        ("data.label_column=01", "01"),
        ("data.label_column=no", "no"),
        ("data.label_column=a=b", "a=b"),
        ("data.image_root=내 사진/고양이 '1'", "내 사진/고양이 '1'"),
        ("loss.class_weights={01: 2, no: 0.5}", {"01": 2.0, "no": 0.5}),
        ("loss.class_weights.고양이=3", {"고양이": 3.0}),
        ("schedule.milestones=[]", []),
    ],
)
def test_pairs_take_the_type_of_their_field(pair: str, value: Any) -> None:
    found: Any = load_settings([pair])
    for part in pair.partition("=")[0].split(".")[:2]:
        found = getattr(found, part)
    assert found == value
    assert type(found) is type(value)


def test_later_wins_and_pairs_win_over_files(tmp_path: Path) -> None:
    path = write(tmp_path / "mine.yaml", "train:\n  epochs: 5\n  seed: 3\noptim: {lr: 0.5}\n")
    made = load_settings(["train.epochs=6", "train.epochs=7"], recipe=str(path), values={"train": {"seed": 4}})
    assert (made.train.epochs, made.train.seed, made.optim.lr) == (7, 4, 0.5)
    assert made.train.stages[0].name == "head", "what the file leaves out comes from its recipe"
    assert load_settings(["loss.class_weights={a: 1}", "loss.class_weights.b=2"]).loss.class_weights == {"a": 1, "b": 2}


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "\ufefftrain: {epochs: 3}\n", "train:\r\n  epochs: 3\r\n"]
)
def test_yaml_of_any_look(tmp_path: Path, text: str) -> None:
    made = load_settings(recipe=str(write(tmp_path / "a.yaml", text)))
    assert made.train.epochs == (3 if "epochs" in text else 10)


def test_yaml_scalars_are_text_until_their_field_decides(tmp_path: Path) -> None:
    text = "data: {label_column: 01, group_column: no, path_column: ~, split_column: 'null', image_root: 1e3}\n"
    data = load_settings(recipe=str(write(tmp_path / "a.yaml", text))).data
    assert (data.label_column, data.group_column, data.path_column) == ("01", "no", None)
    assert (data.split_column, data.image_root) == ("null", "1e3")


def test_yaml_cannot_run_code(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "name: !!python/object/apply:os.system ['touch hacked']\n")
    with pytest.raises(ConfigError):
        load_settings(recipe=str(path))
    assert not (tmp_path / "hacked").exists()
    assert not Path("hacked").exists()


def test_recipe_may_be_named_anywhere(tmp_path: Path) -> None:
    assert load_settings().recipe == "default"
    assert load_settings(recipe="scratch").train.epochs == 30
    assert load_settings(["recipe=scratch"]).train.epochs == 30
    mine = write(tmp_path / "a.yaml", "recipe: scratch\n")
    assert load_settings(recipe=str(mine)).recipe == "scratch"
    assert load_settings(["recipe=default"], recipe=str(mine)).recipe == "default"
    assert load_settings(["model.name=scratch_cnn"]).recipe == "scratch"
    assert load_settings(["model.weights=none"]).recipe == "scratch"
    assert load_settings(["model.name=scratch_cnn", "model.weights=run"]).recipe == "default"


@pytest.mark.parametrize("name", recipe_names())
def test_every_recipe_loads_and_says_what_it_is(name: str) -> None:
    from importlib.resources import files

    head = files("bunryu").joinpath("recipes", f"{name}.yaml").read_text(encoding="utf-8")
    for word in ("# Data:", "# Command:", "# Used:", "# Measured:"):
        assert word in head
    assert load_settings(recipe=name).recipe == name


def test_settings_are_frozen_and_forbid_unknown_keys() -> None:
    made = load_settings()
    with pytest.raises(ValidationError):
        made.train.epochs = 3  # type: ignore[misc]
    with pytest.raises(ValidationError):
        RunSettings(unknown=1)  # type: ignore[call-arg]


# Mistakes.


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        ("train.epoch=3", ["There is no setting 'train.epoch' (the settings given). Did you mean 'train.epochs'?"]),
        ("epochs=3", ["Did you mean 'train.epochs'?"]),
        ("seed=3", ["Did you mean 'split.seed' or 'train.seed'?"]),
        ("batchsize=3", ["Did you mean 'train.batch_size'?"]),
        ("optimizer.lr=3", ["no setting 'optimizer'", "Did you mean 'optim'?"]),
        ("data.lable_column=x", ["Did you mean 'data.label_column'?"]),
        ("train.zzz=1", ["Known in train: epochs, batch_size"]),
        ("zzz=1", ["Known: name, recipe, data"]),
        ("decode.background=[300,0,0]", ["decode.background: expected three whole", "at most 255, received '300'"]),
        ("input.pad_colour=[0,0,-1]", ["input.pad_colour: expected three whole", "at least 0, received '-1'"]),
        ("train.epochs=three", ["train.epochs: expected a whole number, received 'three' (the settings given)."]),
        ("train.epochs=2.5", ["expected a whole number, received '2.5'"]),
        ("train.epochs=0", ["expected a whole number of at least 1, received '0'"]),
        ("train.epochs.more=3", ["train.epochs: expected a whole number"]),
        ("optim.lr=-1", ["expected a number above 0, received '-1'"]),
        ("optim.lr=nan", ["expected a number, received 'nan'"]),
        ("optim.lr=inf", ["expected a number, received 'inf'"]),
        ("input.crop_pct=2", ["expected a number of at most 1, received '2'"]),
        ("split.val=1", ["expected a number below 1, received '1'"]),
        ("decode.exif=perhaps", ["expected true or false, received 'perhaps'"]),
        ("model.name=", ["model.name: expected text, received null"]),
        ("train.device=gpu", ["expected auto, cuda, mps or cpu, received 'gpu'", "Did you mean 'cuda'?"]),
        ("input.fit=cropp", ["expected crop, stretch or pad", "Did you mean 'crop'?"]),
        ("loss.class_weights=balance", ["balanced, effective, numbers by name (such as {cat: 2.0, dog: 1.0}) or null, ",
                                         "Did you mean 'balanced'?"]),
        ("loss.class_weights.a=-2", ["loss.class_weights.a: expected a number above 0, received '-2'"]),
        ("train.stages=3", ["train.stages: expected a list of stages (such as [{name: ...}]), received '3'"]),
        ("train.stages=[head]", ["train.stages.0: expected {name: ...}, received 'head'"]),
        ("input.mean=0.5", ["input.mean: expected a list of numbers (such as [0.5, 1.0]) or null, received '0.5'"]),
        ("train.monitor=f1", ["Did you mean 'macro_f1'?"]),
        ("optim.name=SGD", ["Did you mean 'sgd'?"]),
        ("train.stages=[{nam: x}]", ["train.stages.0.name is missing: expected text (the settings given).",
                                     "'train.stages.0.nam' (the settings given). Did you mean 'train.stages.0.name'?"]),
        ("train.stages=[{name: x, freeze: bacbone}]", ["train.stages.0.freeze", "Did you mean 'backbone'?"]),
        ("train.stages=[]", ["at least one stage"]),
        ("train.stages=[{name: a, epochs: 20}]", ["the stages take 20 epochs", "train.epochs is 10"]),
        ("augment.crop_scale=[0.1]", ["augment.crop_scale: expected two numbers (such as [0.5, 1.0]) or null, "
                                      "received ['0.1']"]),
        ("augment.crop_scale=[0.9, 0.1]", ["[smallest, largest]"]),
        ("decode.background=[1, b, 3]", ["decode.background: expected three whole numbers (such as [64, 128, 192]), "
                                         "received 'b'"]),
        ("input.size=big", ["expected one number or HEIGHTxWIDTH, such as 224 or 256x192; received 'big'"]),
        ("input.size=[1]", ["input.size: expected two whole numbers (such as [64, 128]) or null"]),
        ("input.size=0", ["at least 1 pixel"]),
        ("schedule.milestones=[0]", ["schedule.milestones.0: expected a whole number of at least 1"]),
        ("optim=adam", ["optim is a section: expected settings in it, such as optim.name, received 'adam'"]),
        ("loss=", ["loss is a section", "received null"]),
        ("train.epochs", ["Expected key=value", "received 'train.epochs'"]),
        ("=3", ["Expected key=value"]),
        ("train.stages=[1", ["Cannot read the list or mapping in 'train.stages=[1'"]),
        ("name=a/b", ["name: expected the name of a folder"]),
        ("recipe=scrach", ["Did you mean 'scratch'?", "Recipes: default, emotion"]),
    ],
)  # fmt: skip
def test_wrong_keys_types_and_values(pairs: str, expected: list[str]) -> None:
    text = told(pairs)
    for part in expected:
        assert part in text
    assert len(text.splitlines()) <= 2


@pytest.mark.parametrize(
    ("pairs", "expected"),
    [
        (["split.val=0.6", "split.test=0.5"], "split.val + split.test must be below 1, received 0.6 + 0.5"),
        (["input.channels=grey", "augment.hue=0.1"], "augment.saturation and augment.hue change colours"),
        (["model.name=scratch_cnn", "model.weights=imagenet"], "scratch_cnn has no imagenet weights"),
        (["model.batch_norm=true"], "model.batch_norm is an option of scratch_cnn"),
        (["input.mean=[0.5, 0.5, 0.5]"], "input.mean and input.std belong together"),
        (["input.mean=[0.5]", "input.std=[0.5]"], "input.mean needs 3 numbers"),
        (["input.fit=pad", "input.crop_pct=0.9"], "input.crop_pct is used with input.fit=crop only"),
        (["schedule.name=multistep"], "schedule.name=multistep needs schedule.milestones"),
        (["data.source=a", "data.train=b"], "data came twice: data.source=a and data.train=b"),
        (["train.swa=0.5", "train.ema=null", "schedule.name=plateau"], "would go on to lower the rate that train.swa"),
        (["train.swa=0.5", "train.ema=null", "train.stages=[{name: swa}]"], "call yours otherwise"),
        (
            ["train.compile=true", "train.stages=[{name: a, freeze: backbone, views: 0}]"],
            "train.compile is of pictures, and every stage learns from features",
        ),
        (["data.train=a", "split.val=0"], "split.val=0 leaves nothing to compute train.monitor=auto on"),
    ],
)
def test_wrong_combinations(pairs: list[str], expected: str) -> None:
    text = told(*pairs)
    assert expected in text
    assert len(text.splitlines()) == 1


def test_no_share_for_validation_is_fine_where_the_data_may_bring_their_own() -> None:
    assert load_settings(["split.val=0", "data.source=photos"]).split.val == 0
    assert load_settings(["split.val=0", "data.train=a", "data.val=b"]).split.val == 0
    assert load_settings(["split.val=0", "data.train=a", "train.monitor=train_loss"]).split.val == 0


def test_several_mistakes_are_told_at_once() -> None:
    assert len(told("train.epoch=3", "optim.lr=x", "train.device=gpu").splitlines()) == 3


def test_mistakes_in_a_file_name_its_line(tmp_path: Path) -> None:
    path = write(tmp_path / "my settings.yaml", "train:\n  epochs: 5\n\n  epoch: 6\noptim:\n  lr: fast\n")
    text = told(recipe=str(path))
    assert f"There is no setting 'train.epoch' ({path}, line 4). Did you mean 'train.epochs'?" in text
    assert f"optim.lr: expected a number, received 'fast' ({path}, line 6)." in text
    nested = write(tmp_path / "b.yaml", "train:\n  stages:\n    - {name: a}\n    - name: b\n      freez: none\n")
    assert f"'train.stages.1.freez' ({nested}, line 5)" in told(recipe=str(nested))
    assert f"({nested}, line 4)" in told(recipe=str(write(nested, "train:\n  stages:\n    - {name: a}\n    - {}\n")))


def test_a_value_is_blamed_on_whoever_set_it_last(tmp_path: Path) -> None:
    path = write(tmp_path / "a.yaml", "train:\n  epochs: x\n  stages: [{name: a}, {nam: b}]\n")
    assert "train.epochs: expected a whole number, received 'y' (the settings given)." in told(
        "train.epochs=y", "train.stages=[{name: all}]", recipe=str(path)
    )
    assert "(the settings given)" in told("train.epochs=3", "train.stages=[{name: a}, {nam: c}]", recipe=str(path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("train:\n  epochs: 1\n  seed: 2\n  epochs: 3\n", "line 4: the key train.epochs stands twice. Keep one."),
        ("train: {epochs: 1}\noptim: {}\ntrain: {seed: 1}\n", "line 3: the key train stands twice"),
        ("train:\n  stages:\n    - {name: a, name: b}\n", "line 3: the key train.stages.0.name stands twice"),
        ("- a\n- b\n", "expected `section:` with keys below it"),
        ("just text\n", "expected `section:` with keys below it"),
        ("train: {epochs: 1\n", "is not valid YAML"),
        ("train:\n\tepochs: 1\n", "is not valid YAML"),
        ("a: 1\n---\nb: 2\n", "is not valid YAML"),
        ("a: &x [*x]\n", "line 1: *x, an alias, is not read in settings. Write its value out."),
        ("a: &x [1]\nb:\n  c: *x\n", "line 3: *x, an alias"),
        ("a: &x {b: 1}\nc:\n  <<: *x\n", "line 3: *x, an alias"),
        ("a: &a [x, x]\n" + "".join(f"a{i}: &a{i} [*a, *a]\n" for i in range(40)), "line 2: *a, an alias"),
        ("a: " + "[" * 40 + "]" * 40 + "\n", "line 1: the values are more than 32 lists and mappings deep"),
        ("a: " + "[" * 50_000, "more than 32 lists and mappings deep"),
        ("a: " + "{b: " * 50_000, "more than 32 lists and mappings deep"),
        ("".join("  " * i + "a:\n" for i in range(600)), "line 32: the values are more than 32"),
        ("- " * 20_000, "more than 32 lists and mappings deep"),
        ("a: " + "&x " * 50_000 + "1\n", "is not valid YAML"),
        ("- " * 50_000, "has 50,000 values; expected settings, which have 25,000 at most"),
        ("#" * 1_000_001, "has 1,000,001 bytes; expected settings, which have 1,000,000 at most"),
        ("recipe: nothing\n", "there is no recipe 'nothing'"),
        ("recipe: [a, b]\n", "there is no recipe"),
        ("train: null\n", "train is a section"),
    ],
)
def test_wrong_files(tmp_path: Path, text: str, expected: str) -> None:
    path = write(tmp_path / "a.yaml", text)
    assert expected in told(recipe=str(path))


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    assert told(recipe=str(tmp_path / "none.yaml")) == f"There is no settings file {tmp_path / 'none.yaml'}."
    (tmp_path / "folder.yaml").mkdir()
    assert "Cannot open the settings file" in told(recipe=str(tmp_path / "folder.yaml"))
    assert "is not UTF-8 text" in told(recipe=str(write(tmp_path / "k.yaml", "name: 분류\n", "cp949")))
    assert "There is no recipe 'scrtch'. Did you mean 'scratch'?" in told(recipe="scrtch")


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.yaml")
    assert "it is a pipe or a device, not a file" in told(recipe=str(tmp_path / "pipe.yaml"))


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("[&x 1, *x]", "train.stages: *x, an alias, is not read in settings. Write its value out."),
        ("{a: &x [*x]}", "train.stages: *x, an alias"),
        ("[" * 5000, "train.stages: the values are more than 32 lists and mappings deep"),
        ("{a: " * 5000, "train.stages: the values are more than 32 lists and mappings deep"),
    ],
)
def test_pairs_are_as_bounded_as_files(value: str, expected: str) -> None:
    assert expected in told(f"train.stages={value}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="limits of a process are those of POSIX")
def test_a_bomb_of_aliases_takes_no_memory(tmp_path: Path) -> None:
    """Nine lines of nine references each: 9^9 values, were they written out."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 10)]
    file = write(tmp_path / "bomb.yaml", "\n".join(lines) + "\n")
    code = (
        "import resource, sys\nfrom pathlib import Path\nfrom bunryu.core.errors import ConfigError\n"
        "from bunryu.settings.config import load_yaml\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "try:\n    load_yaml(Path(sys.argv[1]))\nexcept ConfigError:\n"
        "    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    )
    ended = subprocess.run([sys.executable, "-c", code, str(file)], capture_output=True, text=True, timeout=60)
    assert int(ended.stdout) < 20_000, "KB more than before"


@example('a: "\\UFFFFFFFF"')
@example('["\\UFFFFFFFF"]')
@example('["\\ud800"]')
@given(st.text(alphabet="ab:-[]{}&*!|>'\"#,? \n\t%@\\UF", max_size=60))
def test_whatever_a_file_holds_it_is_settings_or_one_message(text: str) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = write(Path(folder) / "a.yaml", text)
        with contextlib.suppress(ConfigError):
            load_yaml(path)
        if text.strip()[:1] in ("[", "{"):
            with contextlib.suppress(ConfigError):
                parse_overrides([f"a={text}"])


def test_evaluate_takes_its_own_sections_only() -> None:
    made = load_settings(["evaluate.bootstrap=7", "data.check=none"])
    assert evaluation_settings(lambda: made, []).evaluate.bootstrap == 7
    assert evaluation_settings(lambda: made, []).data.check == "full", "where data lie is not taken over"
    assert evaluation_settings(None, ["evaluate.bootstrap=5"]).evaluate.bootstrap == 5
    with pytest.raises(ConfigError, match=r"received 'train\.epochs=3'"):
        evaluation_settings(None, ["train.epochs=3"])
    with pytest.raises(ConfigError, match=r"Did you mean 'evaluate\.bootstrap'"):
        evaluation_settings(None, ["evaluate.boostrap=3"])
    with pytest.raises(ConfigError, match="Expected key=value"):
        evaluation_settings(None, ["evaluate.bootstrap"])
    with pytest.raises(ConfigError, match=r"received 'test/'\. Did you mean: --data test/"):
        evaluation_settings(None, ["test/"])


def test_data_named_as_an_argument_and_as_a_setting_are_refused() -> None:
    values = {"data": {"source": "photos"}}
    assert told("data.source=other", values=values) == ("Data came twice: DATA photos and data.source=other. Give one.")
    assert told("data.val=w", values={"data": {"train": "a", "val": "v"}}).startswith("Data came twice: --val-dir v")
    assert "data came twice: data.source=photos and data.train=a" in told("data.train=a", values=values)
    assert load_settings(["data.label_column=x"], values=values).data.source == "photos"


# Replacing.


def test_several_values_are_replaced_together_and_the_others_stay() -> None:
    before = load_settings(["train.epochs=4", "optim.lr=0.5", "model.dropout=0.1"])
    stages = [Stage(name="a", epochs=2), Stage(name="b", epochs=5)]
    found = replaced(before, {"train.stages": stages, "train.epochs": 7, "name": "mine"})
    assert (found.train.epochs, found.train.stages, found.name) == (7, stages, "mine")
    assert (found.optim, found.model, found.train.seed) == (before.optim, before.model, before.train.seed)
    assert (before.train.epochs, before.name) == (4, None)
    assert found.model.model_fields_set == before.model.model_fields_set  # what was asked for is still told apart
    assert replaced(found, {}) == found


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"train.epochs": 0}, "train.epochs: expected a whole number of at least 1, received 0."),
        ({"train.stages": 5}, "train.stages: expected a list of"),
        ({"train.epoch": 3}, "There is no setting 'train.epoch'. Did you mean 'train.epochs'?"),
        ({"trian.epochs": 3}, "There is no setting 'trian"),
        ({"optim.lr": 0.1, "optim.lr.peak": 1}, "optim.lr: expected a number"),
        ({"train.stages": [Stage(name="a", epochs=2)], "train.epochs": 3}, "the stages take 2 epochs"),
        ({"train.accumulate": 2, "optim.sam_rho": 0.1}, "optim.sam_rho climbs from the gradient of a whole batch"),
    ],
)
def test_values_that_cannot_be_are_not_replaced(changes: dict[str, Any], expected: str) -> None:
    with pytest.raises(ConfigError) as error:
        replaced(load_settings([]), changes)
    assert str(error.value).startswith(expected) or f": {expected}" in str(error.value)


def test_who_decided_a_value_that_cannot_be_is_named() -> None:
    with pytest.raises(ConfigError, match=r"train.epochs: .* received 0 \(--minutes 3\)\.$"):
        replaced(load_settings([]), {"train.epochs": 0}, origin="--minutes 3")


def test_a_stage_that_overrides_a_schedule_half_is_refused_at_once() -> None:
    pairs = ["schedule.name=multistep", "schedule.milestones=[2]"]
    assert "stage 'a': schedule.name=multistep needs schedule.milestones" in told(
        *pairs, "train.stages=[{name: a, schedule: {milestones: []}}]"
    )


def test_settings_are_never_copied_past_their_validation() -> None:
    """`replaced` is the way; evaluate.rows says why it goes another."""
    here = Path(bunryu.__file__).parent
    found = [
        path.relative_to(here).as_posix() for path in here.rglob("*.py") if "model_copy" in path.read_text("utf-8")
    ]
    assert found == ["evaluate/rows.py"]


# Round trips.

TEXT = st.text(st.characters(codec="utf-8"), max_size=12)


def values_of(annotation: Any) -> st.SearchStrategy[Any]:
    """Return values of a field's type, of which most are within its limits."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return values_of(inner[0])
    if origin is Literal:
        return st.sampled_from(inner)
    if origin in (Union, types.UnionType):
        return st.one_of([st.none() if arm is type(None) else values_of(arm) for arm in inner])
    if origin is tuple:
        return st.tuples(*map(values_of, inner))
    if origin is list:
        return st.lists(values_of(inner[0]), max_size=3)
    if origin is dict:
        return st.dictionaries(TEXT, values_of(inner[1]), max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return section(annotation)
    kinds: dict[Any, st.SearchStrategy[Any]] = {
        bool: st.booleans(),
        int: st.integers(0, 300),
        float: st.one_of(st.floats(0, 1), st.sampled_from([0.1, 1e-7, 1e-4, 0.5, 3.0, 1e16])),
        str: TEXT,
        Any: st.one_of(TEXT, st.integers(), st.booleans(), st.lists(st.floats(0, 1), max_size=2)),
    }
    return kinds[annotation]


@st.composite
def section(draw: st.DrawFn, model: type[BaseModel]) -> Any:
    """Draw some fields of a section; those that do not fit together are left at their defaults."""
    names = draw(st.sets(st.sampled_from(sorted(model.model_fields))))
    chosen: dict[str, Any] = {}
    for name in sorted(names):
        value = draw(values_of(model.model_fields[name].annotation))
        try:
            model.model_validate({**REQUIRED.get(model.__name__, {}), **chosen, name: value})
        except ValidationError:
            continue
        chosen[name] = value
    return {**REQUIRED.get(model.__name__, {}), **chosen}


REQUIRED: dict[str, dict[str, Any]] = {"Stage": {"name": "all"}}


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(values=section(RunSettings))
def test_yaml_round_trip(values: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> None:
    made = RunSettings.model_validate(values)
    path = tmp_path_factory.mktemp("yaml") / "config.yaml"
    path.write_text(dump_yaml(made), encoding="utf-8")
    assert build(RunSettings, [load_yaml(path)]) == made


@settings(max_examples=60, deadline=None)
@given(text=TEXT)
@example(text="a\x85b")
@example(text="\u2028")
@example(text="null")
@example(text="0o7")
@example(text=" : #")
def test_any_text_survives_as_a_value_and_as_a_class_name(text: str) -> None:
    made = RunSettings.model_validate({"data": {"label_column": text}, "loss": {"class_weights": {text: 2.0}}})
    assert yaml.safe_load(dump_yaml(made))["data"]["label_column"] == text
    stripped = text.strip()
    assume(stripped not in ("", "null", "~") and stripped[0] not in "[{")
    assert load_settings([f"data.label_column={text}"]).data.label_column == stripped


def test_pairs_round_trip_for_plain_values() -> None:
    made = load_settings(["train.epochs=11", "optim.lr=3e-5", "decode.exif=false", "input.size=64x32"])
    pairs = []
    for key in keys(RunSettings):
        value: Any = made.model_dump(mode="json")
        for part in key.name.split("."):
            value = value[part]
        pairs.append(f"{key.name}={'null' if value is None else json.dumps(value) if value != str(value) else value}")
    again = load_settings(pairs)
    assert again == made


# Help.


def test_every_key_is_explained() -> None:
    listed = list(keys(RunSettings))
    assert len(listed) > 60
    assert len({key.name for key in listed}) == len(listed)
    for key in listed:
        assert key.help, key.name
        assert key.type, key.name
        assert "<" not in key.type + key.default, key


def test_type_text_is_readable() -> None:
    assert type_text(Literal["a", "b"] | None) == "a | b | null"
    assert type_text(tuple[int, int]) == "[integer, integer]"
    assert type_text(tuple[int, ...]) == "list of integer"
    assert type_text(dict[str, float]) == "{text: number}"


class Small(Settings):
    """A model of its own."""

    count: int = 1
    """How many."""


def test_the_machinery_serves_any_model() -> None:
    assert build(Small, [Layer("here", {"count": "3"})]).count == 3
    with pytest.raises(ConfigError, match=r"There is no setting 'cuont' \(here\)\. Did you mean 'count'\?"):
        build(Small, [Layer("here", {"cuont": "3"})])
    with pytest.raises(ConfigError, match="Expected key=value"):
        parse_overrides(["count"])


def test_a_key_without_a_default_must_be_given() -> None:
    assert [key.name for key in keys(Stage) if key.default == "must be given"] == ["name"]
    assert not [key.name for key in [*keys(Stage), *keys(RunSettings)] if "Undefined" in key.default]
