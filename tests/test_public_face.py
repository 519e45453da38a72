"""The public face: what `import bunryu` gives is sorted, there, documented and typed."""

from __future__ import annotations

import inspect
import typing
from collections.abc import Iterator
from pathlib import Path

import pytest

import bunryu


def test_public_names_are_sorted_and_there() -> None:
    assert bunryu.__all__ == sorted(bunryu.__all__)
    assert len(set(bunryu.__all__)) == len(bunryu.__all__)
    assert {"train", "evaluate", "predict", "open_run", "resume", "Run", "Model"} <= set(bunryu.__all__)
    for name in bunryu.__all__:
        assert getattr(bunryu, name) is not None
        assert name in dir(bunryu)
    with pytest.raises(AttributeError, match="nothing_here"):
        bunryu.nothing_here  # noqa: B018
    assert Path(bunryu.__file__).with_name("py.typed").exists()


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
