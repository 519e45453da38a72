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
SRC = ROOT / "src" / "bunryu"
TOP = ["README.md", "README.ko.md", "CONTRIBUTING.md", "CHANGELOG.md"]
PAGES = [*TOP, *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md"))]
FRAGMENTS = (
    *("docs/results.notes.md", "docs/performance.notes.md", "docs/training/few.notes.md"),
    "docs/false-alarms.notes.md",
)
"""Parts of pages that benchmarks write."""


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def typed(page: str) -> list[list[str]]:
    """Return the words of every `bunryu ...` line in the blocks of code of a page."""
    blocks = re.findall(r"^ *```[a-z]*\n(.*?)^ *```", text_of(page), re.DOTALL | re.MULTILINE)
    lines = [line.strip() for block in blocks for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.startswith("bunryu ")]


def options_of_commands() -> dict[str, set[str]]:
    from typer.main import get_command

    from bunryu.cli.app import app

    return {name: {o for p in c.params for o in p.opts} for name, c in get_command(app).commands.items()}


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


@pytest.mark.parametrize("page", [page for page in PAGES if typed(page)])
def test_commands_in_the_pages_are_real(page: str) -> None:
    options = options_of_commands()
    for _, command, *rest in typed(page):
        assert command in options, (page, command)
        used = {word for word in rest if re.match(r"--[a-z]", word)}
        assert used <= options[command], (page, command, used - options[command])
        recipe = next((rest[i + 1] for i, word in enumerate(rest) if word == "--recipe"), None)
        pairs = [word for word in rest if re.match(r"[a-z_.]+=", word)]
        load_settings(pairs, recipe=recipe if recipe in recipe_names() else None)


def test_every_page_has_something_to_type() -> None:
    guides = [page for page in PAGES if re.match(r"docs/training/|docs/(data|models|predicting|evaluating)\.md", page)]
    assert len(guides) > 15
    assert not [page for page in guides if "```\nbunryu" not in text_of(page) and "```\ntorchrun" not in text_of(page)
                and "```yaml\n# mine.yaml: bunryu" not in text_of(page)]  # fmt: skip


def test_every_command_has_a_row() -> None:
    rows = re.findall(r"^\| `bunryu ([a-z]+)", text_of("docs/commands.md"), re.MULTILINE)
    assert sorted(rows) == sorted(options_of_commands())


def anchors(page: str) -> set[str]:
    """Return what the headings of a page are called in links, on GitHub and in the site."""
    code = re.sub(r"^ *```.*?^ *```", "", text_of(page), flags=re.DOTALL | re.MULTILINE)
    headings = re.findall(r"^#+ (.*)$", code, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower().strip()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES)
def test_pages_link_to_what_is_there(page: str) -> None:
    path = ROOT / page
    for link, _, anchor in re.findall(r"\]\(([^)#\s]*)(#([^)]+))?\)", text_of(page)):
        if link.startswith("http"):
            continue
        target = (path.parent / link).resolve() if link else path
        assert target.exists(), (page, link)
        if anchor:
            assert anchor in anchors(target.relative_to(ROOT).as_posix()), (page, link, anchor)


def test_every_page_can_be_reached() -> None:
    """From the first page of the docs, and in the site's navigation."""
    reached, ahead = set(), ["docs/index.md"]
    while ahead:
        page = ahead.pop()
        if page in reached or not page.endswith(".md"):
            continue
        reached.add(page)
        links = re.findall(r"\]\(([^):#\s]+)", text_of(page))
        ahead += [((ROOT / page).parent / link).resolve().relative_to(ROOT).as_posix() for link in links]
    assert set(PAGES) - reached - set(FRAGMENTS) <= {"README.md"}
    navigation = re.findall(r"[\w/.-]+\.md$", text_of("mkdocs.yml").split("\nnav:")[1], re.MULTILINE)
    assert len(navigation) == len(set(navigation))
    ours = {page.removeprefix("docs/") for page in PAGES if page.startswith("docs/") and page not in FRAGMENTS}
    assert set(navigation) == ours | {"ko.md", "contributing.md", "changelog.md", "modules.md"}


def defines(file: Path, name: str) -> bool:
    return bool(
        re.search(rf"^ *(?:def|class) {name}\b|^{name}\b[^=\n]*=", file.read_text(encoding="utf-8"), re.MULTILINE)
    )


@pytest.mark.parametrize("page", PAGES)
def test_every_file_of_code_that_a_page_names_is_there(page: str) -> None:
    """Of the project or of src/bunryu; with `:name` the file defines that name."""
    text = text_of(page)
    named = re.findall(r"(?<![\w./-])((?:[a-z_]+/)+[a-z_]+\.(?:py|yaml|yml|ipynb))(?::(\w+))?", text)
    if page in ("CONTRIBUTING.md", "docs/architecture.md"):
        named += [(name, "") for name in re.findall(r"`([a-z_]+\.py)`", text)]
    for name, definition in named:
        found = [root / name for root in (ROOT, SRC) if (root / name).is_file()]
        assert found, (page, name)
        assert not definition or defines(found[0], definition), (page, name, definition)


def layout() -> dict[str, str]:
    """Return the lines of the layout in docs/architecture.md, by their first word."""
    (block,) = re.findall(r"```\nsrc/bunryu/\n(.*?)```", text_of("docs/architecture.md"), re.DOTALL)
    return {line.split()[0].rstrip("/"): line for line in block.splitlines()}


@pytest.mark.parametrize("page", [page for page in PAGES if re.search("CONTRIB|architecture|decisions", page)])
def test_every_folder_of_code_that_a_page_names_is_there(page: str) -> None:
    for name in re.findall(rf"`((?:{'|'.join(layout())})/(?:[a-z_]+/)*)`", text_of(page)):
        assert (SRC / name).is_dir(), (page, name)


def test_every_test_that_a_page_names_is_there() -> None:
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    named = {name for page in PAGES for name in re.findall(r"`(test_\w+)`", text_of(page))}
    assert len(named) > 10
    assert not [name for name in named if f"def {name}(" not in tests]


def test_the_layout_is_that_of_the_package() -> None:
    rows = layout()
    assert len(rows) <= 15
    there = {path.name for path in SRC.iterdir() if path.name != "__pycache__"}
    assert set(rows) == there - {"__init__.py", "__main__.py", "py.typed"}
    for room, line in rows.items():
        for part in re.findall(r"\b([a-z]+)/(?= |,|;|$)", line.split(None, 1)[1]):
            assert (SRC / room / part).is_dir(), (room, part)
    core = {path.stem for path in (SRC / "core").glob("*.py")} - {"__init__"}
    assert set(rows["core"].split()[1:]) == core


def test_everything_public_is_in_the_reference() -> None:
    named = re.findall(r"^::: bunryu\.(?:api\.)?(\w+)$", text_of("docs/api.md"), re.MULTILINE)
    assert sorted(named) == bunryu.__all__


def test_decisions_are_numbered_and_listed() -> None:
    files = sorted(path.name for path in (ROOT / "docs" / "decisions").glob("[0-9]*.md"))
    assert [int(name[:2]) for name in files] == list(range(1, len(files) + 1))
    assert re.findall(r"\]\(([^)]+)\)", text_of("docs/decisions/index.md")) == files
    for name in files:
        text = text_of(f"docs/decisions/{name}")
        assert f"[{name[:2]} · {text.splitlines()[0].removeprefix('# ')}]" in text_of("docs/decisions/index.md")
        assert "## Decision\n" in text


def test_the_readme_is_one_screen() -> None:
    for page in ("README.md", "README.ko.md"):
        assert len(text_of(page).splitlines()) <= 66, page


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
    for page in [*PAGES, "requirements.lock", "Makefile", "mkdocs.yml"]:
        assert not suspicious.search(text_of(page)), page


def test_settings_explains_every_setting(capsys):
    from bunryu.cli.app import app

    with pytest.raises(SystemExit):
        app(["settings"])
    said = capsys.readouterr().out
    assert not [key.name for key in keys(RunSettings) if f"\n{key.name}  (" not in said]
    assert {"[data]", "[train]"} <= set(said.splitlines())


def test_the_page_of_the_five_systems_names_what_is_there():
    """Every `section.key` is a setting, every `bunryu COMMAND --option` exists."""
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
    options = options_of_commands()
    lines = [shlex.split(word)[1:] for word in words if word.startswith("bunryu ")]
    for command, *rest in lines:
        assert command in options, command
        used = {word for word in rest if word.startswith("-")}
        assert used <= options[command] | {"--recipe"}, (command, used)
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
