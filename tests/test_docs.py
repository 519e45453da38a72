"""The documentation says what the code does."""

from __future__ import annotations

import importlib.util
import re
import shlex
from pathlib import Path

import pytest

import bunryu
from bunryu.settings.fields import keys
from bunryu.settings.load import load_settings
from bunryu.settings.recipes import recipe_names
from bunryu.settings.run import RunSettings

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "demo",
    "probe",
    "bench",
    "train",
    "evaluate",
    "predict",
    "settings",
    "recipes",
    "score",
    "split",
    "augment",
    "ensemble",
}


def generated_page() -> str:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return str(module.page())


def test_the_settings_page_is_what_the_code_generates():
    assert (ROOT / "docs" / "settings.md").read_text(encoding="utf-8") == generated_page(), "run `make docs`"


def test_every_setting_is_explained():
    silent = [key.name for key in keys(RunSettings) if len(key.help) < 10]
    assert not silent


@pytest.mark.parametrize("page", ["README.md", "README.ko.md"])
def test_commands_in_the_pages_are_real(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    lines = [line.split(" # ")[0].strip() for line in text.splitlines()]
    commands = [shlex.split(line, comments=True) for line in lines if line.startswith("bunryu ")]
    assert commands
    for command in commands:
        assert command[1] in COMMANDS, command
        pairs = [word for word in command[2:] if re.match(r"[a-z_.]+=", word)]
        load_settings(pairs)


def test_pages_link_to_files_that_are_there():
    for page in ["README.md", "README.ko.md", *[str(p) for p in (ROOT / "docs").glob("*.md")]]:
        path = ROOT / page
        for link in re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8")):
            if not link.startswith("http"):
                assert (path.parent / link).exists(), (page, link)


def test_both_readmes_have_the_same_commands():
    def commands(name: str) -> list[str]:
        text = (ROOT / name).read_text(encoding="utf-8")
        blocks = re.findall(r"```(?:python)?\n(.*?)```", text, re.DOTALL)
        return [line.split("#")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]

    assert commands("README.md") == commands("README.ko.md")


def test_recipes_tell_their_use_and_are_valid():
    for name in recipe_names():
        text = (ROOT / "src" / "bunryu" / "recipes" / f"{name}.yaml").read_text(encoding="utf-8")
        head = [line for line in text.splitlines() if line.startswith("#")]
        assert {"Data:", "Command:", "Measured:"} <= {line.split()[1] for line in head if len(line.split()) > 1}
        assert load_settings(recipe=name).recipe == name


def test_the_changelog_names_the_version():
    assert f"## {bunryu.__version__}" in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")


def test_nothing_committed_names_a_machine():
    suspicious = re.compile(r"/" + r"(work|root|home|tmp)/[a-z]")
    for path in [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "requirements.lock", ROOT / "Makefile"]:
        assert not suspicious.search(path.read_text(encoding="utf-8")), path


def test_train_help_explains_every_setting(capsys):
    from bunryu.cli import app

    with pytest.raises(SystemExit):
        app(["train", "--help"])
    said = capsys.readouterr().out
    assert not [key.name for key in keys(RunSettings) if key.name not in said]


def test_the_page_of_the_five_systems_names_what_is_there():
    """Every `section.key` is a setting, every `bunryu COMMAND --option` exists, every module is a file."""
    from typer.main import get_command

    from bunryu.cli import app

    words = re.findall(r"`([^`]+)`", (ROOT / "docs" / "systems.md").read_text(encoding="utf-8"))
    known = {key.name for key in keys(RunSettings)}
    sections = {name.split(".")[0] for name in known if "." in name}
    named = {found for word in words for found in re.findall(r"\b([a-z]+\.[a-z_]+)\b(?!\.)", word)}
    settings = {
        name
        for name in named
        if name.split(".")[0] in sections and not name.endswith((".py", ".csv", ".safetensors", ".predict"))
    }
    assert len(settings) > 50
    assert settings <= known, settings - known
    options = {name: {o for p in c.params for o in p.opts} for name, c in get_command(app).commands.items()}
    lines = [shlex.split(word)[1:] for word in words if word.startswith("bunryu ")]
    for command, *rest in lines:
        assert command in options, command
        used = {word for word in rest if word.startswith("-")}
        assert used <= options[command] | {"--recipe"}, (command, used)
    for module in re.findall(r"\b((?:data|train|models|evaluate|ship)/[a-z_]+\.py|\binference\.py)", " ".join(words)):
        assert (ROOT / "src" / "bunryu" / module).is_file(), module
    assert set(recipe_names()) - {"default"} <= set(words)


def test_the_values_that_the_page_of_the_five_systems_gives_are_taken():
    words = re.findall(r"`([^`]+)`", (ROOT / "docs" / "systems.md").read_text(encoding="utf-8"))
    pairs = {
        p
        for word in words
        for p in word.split()
        if re.fullmatch(r"[a-z]+\.[a-z_]+=[\w./:x-]+", p) and not p.endswith("=value")
    }
    assert len(pairs) > 20
    beside = {"loss.name": "loss.label_smoothing=0", "model.batch_norm": "model.name=scratch_cnn"}
    for pair in sorted(pairs):
        if not pair.startswith("augment.backend"):  # needs operations beside it
            load_settings([pair, *(other for key, other in beside.items() if pair.startswith(key))])
