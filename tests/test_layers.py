"""The import rule of docs/architecture.md, and the public face."""

from __future__ import annotations

import ast
import inspect
import subprocess
import sys
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

import bunryu

ROOT = Path(bunryu.__file__).parent
ROOMS = {"data", "models", "train", "evaluate", "ship", "explain"}
SETTINGS = "settings"

# From the bottom up. "ROOM" is every module of that room; a module of its own stands by its name.
FLOORS: list[set[str]] = [
    {"errors"},
    {"cells", "config", "config_errors", "operations", "storage", "kept", "randomness", "console", "process", "ranks"},
    {SETTINGS},
    {"data", "models"},
    {"predictions", "label_predictions", "inference", "ensembling", "members", "run", "environment", "trusting"},
    {"train", "evaluate", "ship", "explain"},
    {
        "heads",
        "measuring",
        "labelled",
        "pooling",
        "preparing",
        "input_choice",
        "requirements",
        "planning",
        "pacing",
        "recording",
        "picturing",
        "probed",
        "stopping",
    },
    {"experiment", "evaluation", "probing", "benching", "scoring", "splitting", "uniting", "augmenting"},
    {"resuming", "folding", "fold_planning", "api", "demo", "usage"},
    {"commands"},
    {"reference", "side_commands"},
    {"cli"},
]
OUTSIDE = {"__init__": {"api", "errors", "process"}, "__main__": {"cli"}}  # the two doors


def modules() -> Iterator[tuple[str, Path]]:
    """Yield the dotted name below bunryu, and the file, of every module."""
    for path in sorted(ROOT.rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        yield name.removesuffix(".__init__"), path


NAMES = {name for name, _ in modules()}


def unit(name: str) -> str:
    """Return what a module counts as: settings (a settings.py, train/stage_settings.py), its room, or itself."""
    if name.rsplit(".", 1)[-1].endswith(SETTINGS):
        return SETTINGS
    return name.split(".", 1)[0]


def floor(name: str) -> int:
    found = [i for i, members in enumerate(FLOORS) if unit(name) in members]
    assert found, f"{name} has no floor: say in tests/test_layers.py and docs/architecture.md where it belongs"
    return found[0]


def imports(path: Path) -> set[str]:
    """Return the modules of bunryu that a file imports anywhere, also within functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}, line {node.lineno}: a relative import"
            module = node.module or ""
            if module == "bunryu" or module.startswith("bunryu."):
                base = module.removeprefix("bunryu").lstrip(".")
                for alias in node.names:
                    deeper = f"{base}.{alias.name}".lstrip(".")
                    found.add(deeper if deeper in NAMES else base)
        elif isinstance(node, ast.Import):
            found |= {alias.name.removeprefix("bunryu.") for alias in node.names if alias.name.startswith("bunryu.")}
        elif isinstance(node, ast.Call) and getattr(node.func, "id", "") == "import_module":
            argument = node.args[0]
            if isinstance(argument, ast.Constant) and str(argument.value).startswith("bunryu."):
                found.add(str(argument.value).removeprefix("bunryu."))
    return found - {""}


def broken(name: str, target: str) -> str | None:
    """Return which rule an import breaks, if any."""
    here, there = unit(name), unit(target)
    if floor(target) > floor(name):
        return f"{name} imports {target}, which stands on a higher floor"
    if floor(target) == floor(name) and here != there and {here, there} <= ROOMS:
        return f"{name} imports {target}, the room next door"
    return None


def test_imports_go_down_only() -> None:
    found = []
    seen = 0
    for name, path in modules():
        if name in OUTSIDE or (name == "" and path.name == "__init__.py"):
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
    assert broken("evaluate.results", "ship.predict")
    assert broken("errors", "config")
    assert broken("config", "settings")
    assert broken("data.settings", "data.table")
    assert broken("experiment", "api")
    assert not broken("train.loop", "evaluate.settings")
    assert not broken("models.sealed", "data.settings")
    assert not broken("inference", "predictions")
    assert not broken("settings", "train.settings")


def test_the_doors_import_little() -> None:
    for name, path in (("__init__", ROOT / "__init__.py"), ("__main__", ROOT / "__main__.py")):
        assert imports(path) <= OUTSIDE[name]


def test_no_dumping_ground() -> None:
    assert not {name.rsplit(".", 1)[-1] for name in NAMES} & {"utils", "util", "common", "helpers", "misc", "core"}


_FREE = """
import sys
import bunryu, bunryu.cli.app, bunryu.settings.load, bunryu.settings.messages
import bunryu.inference.predictions, bunryu.runs.folder
import bunryu.data.sources.read, bunryu.data.checks.check, bunryu.data.images.decode, bunryu.data.splits.assign
import bunryu.ship.predict
import bunryu.evaluate.metrics
print(sorted({"torch", "timm", "torchvision", "pandas", "matplotlib", "sklearn", "scipy"} & set(sys.modules)))
"""


def test_rooms_below_the_network_are_free_of_heavy_libraries() -> None:
    told = subprocess.run([sys.executable, "-c", _FREE], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"


# The public face.


def test_public_names_are_sorted_and_there() -> None:
    assert bunryu.__all__ == sorted(bunryu.__all__)
    assert len(set(bunryu.__all__)) == len(bunryu.__all__)
    assert {"train", "evaluate", "predict", "open_run", "resume", "Run", "Model"} <= set(bunryu.__all__)
    for name in bunryu.__all__:
        assert getattr(bunryu, name) is not None
        assert name in dir(bunryu)
    with pytest.raises(AttributeError, match="nothing_here"):
        bunryu.nothing_here  # noqa: B018
    assert (ROOT / "py.typed").exists()


def test_verbs_stay_verbs_after_their_rooms_are_imported() -> None:
    import bunryu.evaluate.metrics
    import bunryu.settings.train

    for name in ("train", "evaluate", "predict"):
        assert callable(getattr(bunryu, name)), name
        assert inspect.isfunction(getattr(bunryu, name)), name


def public_callables() -> Iterator[tuple[str, typing.Any]]:
    for name in bunryu.__all__:
        value = getattr(bunryu, name)
        if inspect.isfunction(value):
            yield name, value
        elif not issubclass(value, Exception):
            for attribute, member in vars(value).items():
                function = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
                if not attribute.startswith("_") and inspect.isfunction(function):
                    yield f"{name}.{attribute}", function


def test_everything_public_is_documented_and_typed() -> None:
    for name in bunryu.__all__:
        assert (inspect.getdoc(getattr(bunryu, name)) or "").strip(), name
    checked = 0
    for name, function in public_callables():
        assert (inspect.getdoc(function) or "").strip(), f"{name} has no docstring"
        signature = inspect.signature(function)
        assert signature.return_annotation is not signature.empty, f"{name} says nothing of what it returns"
        for parameter in list(signature.parameters.values()):
            if parameter.name not in ("self", "cls"):
                assert parameter.annotation is not parameter.empty, f"{name}: {parameter.name} has no type"
        checked += 1
    assert checked > 15


def test_every_module_says_what_it_is_for() -> None:
    for name, path in modules():
        text = path.read_text(encoding="utf-8")
        if text.strip():
            assert ast.get_docstring(ast.parse(text)), name
