"""The rules of the house (docs/architecture.md): who may import whom, and what a room may know."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import bunryu

ROOT = Path(bunryu.__file__).parent

# From the ground up. Rooms of one floor never import each other.
FLOORS = [
    {"core"},
    {"settings"},
    {"data", "models", "runs"},
    {"inference"},
    {"train", "ship"},
    {"evaluate"},
    {"inspect", "explain"},
    {"workflows"},
    {"api"},
    {"cli"},
]
DOORS = {"__init__": {"api", "core"}, "__main__": {"cli"}}
DATA = {"recipes"}
"""Folders without code."""
CHAIN = {"train", "resume", "cross_validate", "demo"}
"""The workflows that go on with one another; the others share only plan/."""
DRAWING = "evaluate.report."
"""Where matplotlib may be imported."""
FOREIGN = {"image", "images", "picture", "pictures", "label", "labels", "model", "models", "run", "runs"}
"""What core knows nothing of; but for the tree of errors, which names what they are about."""


def modules() -> dict[str, Path]:
    """Return dotted name below bunryu -> file."""
    found = {}
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def room(name: str) -> str:
    return name.split(".", 1)[0]


def floor(name: str) -> int:
    found = [i for i, rooms in enumerate(FLOORS) if room(name) in rooms]
    assert found, f"{name} has no room: say in tests/test_layers.py and docs/architecture.md where it belongs"
    return found[0]


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield every module that a file imports anywhere, also within functions; of ours by their names below bunryu."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"line {node.lineno}: a relative import"
            base = node.module or ""
            for alias in node.names:
                deeper = f"{base}.{alias.name}"
                yield deeper if deeper.removeprefix("bunryu.") in MODULES else base
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            yield from (str(argument.value) for argument in node.args if isinstance(argument, ast.Constant))


def imports(path: Path, *, ours: bool = True) -> set[str]:
    found = set(imported(ast.parse(path.read_text(encoding="utf-8"))))
    mine = {name.removeprefix("bunryu.") for name in found if name.startswith("bunryu.")}
    return mine if ours else {name for name in found if not name.startswith("bunryu")}


def broken(name: str, target: str) -> str | None:
    """Return which rule an import breaks, if any."""
    if room(name) == room(target):
        return None if room(name) != "workflows" else _between_workflows(name, target)
    if floor(target) > floor(name):
        return f"{name} imports {target}, which stands on a higher floor"
    if floor(target) == floor(name):
        return f"{name} imports {target}, the room next door"
    return None


def _between_workflows(name: str, target: str) -> str | None:
    """Workflows share plan/; a verb may have a second file of its own name (probe, probe_report)."""
    here, there = name.split(".")[1], target.split(".")[1]
    if there == "plan" or {here, there} <= CHAIN or there.startswith(f"{here}_"):
        return None
    return f"{name} imports {target}: workflows share only plan/"


def test_imports_go_down_only() -> None:
    found, seen = [], 0
    for name, path in MODULES.items():
        if name in DOORS or room(name) in DATA:
            continue
        for target in imports(path):
            seen += 1
            found.append(broken(name, target))
    assert seen > 100
    assert [rule for rule in found if rule] == []


def test_the_rule_catches_what_it_should() -> None:
    assert broken("data.table", "train.loop")
    assert broken("data.table", "models.build")
    assert broken("train.loop", "evaluate.metrics")
    assert broken("train.loop", "ship.predict")
    assert broken("core.errors", "settings.config")
    assert broken("settings.data", "data.table")
    assert broken("workflows.train", "api")
    assert broken("api", "cli.train")
    assert broken("workflows.probe", "workflows.train")
    assert broken("workflows.plan.decide", "workflows.train")
    assert broken("inspect.report", "explain.cam")
    assert not broken("evaluate.measure", "train.linear_probe")
    assert not broken("workflows.probe", "workflows.plan.decide")
    assert not broken("workflows.resume", "workflows.train")
    assert not broken("inference.model", "models.record")
    assert not broken("train.loop", "train.stages")


def test_the_doors_import_little() -> None:
    for name, rooms in DOORS.items():
        assert {room(target) for target in imports(ROOT / f"{name}.py")} <= rooms


def test_there_are_no_circles() -> None:
    graph = {name: imports(path) & MODULES.keys() for name, path in MODULES.items() if name not in DOORS}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None


SHARED_BY_COMMANDS = {"cli.arguments", "cli.sagemaker", "cli.usage_errors"}
EXPLAINING = {"cli.lookup", "cli.arguments", "cli.usage_errors"}
"""What explains settings, and so reads them; a command leaves that to its verb."""
VERBS = {"train": {"train", "dry_run", "resume"}, "predict": {"predicted"}, "lookup": set()}
"""The verbs of api behind a command, where they are not the one of its name."""


def commands() -> dict[str, Path]:
    """Return the files of the commands: those of cli but for the door and what they share."""
    rest = SHARED_BY_COMMANDS | {"cli", "cli.app"}
    return {name: path for name, path in MODULES.items() if room(name) == "cli" and name not in rest}


def verbs_called(tree: ast.AST) -> set[str]:
    """Return which names of api a file uses."""
    uses = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute))
    return {node.attr for node in uses if isinstance(node.value, ast.Name) and node.value.id == "api"}


def test_a_command_is_one_verb_of_api() -> None:
    """So that the command line and Python are one face: what is asked for is decided once."""
    from bunryu import api

    assert len(commands()) > 8
    for name, path in commands().items():
        allowed = SHARED_BY_COMMANDS | ({"api"} if name != "cli.lookup" else set())
        wrong = {
            target
            for target in imports(path) - allowed
            if room(target) not in ({"core", "settings"} if name in EXPLAINING else {"core"})
            and target != "api.new_run"  # for the type of an option
        }
        assert not wrong, f"{name} imports {wrong}"
        command = name.removeprefix("cli.")
        called = verbs_called(ast.parse(path.read_text(encoding="utf-8")))
        assert called == VERBS.get(command, {command}), name
        assert all(callable(getattr(api, verb)) and getattr(api, verb).__doc__ for verb in called)
    shared = {target for name in SHARED_BY_COMMANDS for target in imports(MODULES[name])}
    assert {room(target) for target in shared - SHARED_BY_COMMANDS} == {"api", "core", "settings"}
    assert all("settings" not in map(room, imports(MODULES[name])) for name in SHARED_BY_COMMANDS - EXPLAINING)


def test_every_command_has_its_file() -> None:
    from bunryu.cli import app

    files = {command.callback.__module__.removeprefix("bunryu.") for command in app.app.registered_commands}
    assert files == commands().keys()


def test_no_dumping_ground() -> None:
    assert not {name.rsplit(".", 1)[-1] for name in MODULES} & {"utils", "util", "common", "helpers", "misc", "base"}
    assert len({room(name) for name in MODULES} - DOORS.keys()) <= 16


def test_core_knows_nothing_of_pictures_and_models() -> None:
    """So that it cannot become a dumping ground."""
    found = []
    for name, path in MODULES.items():
        if room(name) == "core" and name != "core.errors":
            found += [f"{name}: {word}" for word in sorted(words_of(path)) if word in FOREIGN]
    assert found == []


def words_of(path: Path) -> set[str]:
    """Return the words of every name that a file defines, binds or uses."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        for field in ("id", "attr", "arg", "name"):
            if isinstance(value := getattr(node, field, None), str):
                names.add(value)
    return {word.lower() for name in names for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])", name)}


def test_only_drawing_rooms_import_matplotlib() -> None:
    drawing = {name for name, path in MODULES.items() if "matplotlib" in {room(m) for m in imports(path, ours=False)}}
    assert drawing
    assert [name for name in drawing if not name.startswith(DRAWING)] == []


HEAVY = {"torch", "timm", "torchvision", "pandas", "matplotlib", "sklearn", "scipy"}
FREE = ["cli.app", "api", "inference.predictions", "runs.folder", "ship.predict", "evaluate.metrics"]
FREE += ["data.sources.read", "data.checks.check", "data.images.decode", "data.splits.assign"]
"""Modules that load none of HEAVY, beside all of core and settings."""


def test_what_is_needed_for_a_quick_answer_loads_nothing_heavy() -> None:
    free = [*FREE, *(name for name in MODULES if room(name) in ("core", "settings"))]
    code = f"import sys, {', '.join(f'bunryu.{name}' for name in free)}; print(*({HEAVY!r} & set(sys.modules)))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == ""


def test_every_module_says_what_it_is_for() -> None:
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        if text.strip():
            assert ast.get_docstring(ast.parse(text)), name


def test_files_and_functions_stay_short() -> None:
    """Aim at 300 and 40 lines; what grows beyond is to be divided before it is added to."""
    long = []
    for name, path in MODULES.items():
        text = path.read_text(encoding="utf-8")
        if text.count("\n") > 350:
            long.append(name)
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and (node.end_lineno or 0) - node.lineno >= 60:
                long.append(f"{name}:{node.name}")
    assert long == []
