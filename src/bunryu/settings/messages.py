"""What is wrong with settings, a sentence each: which key, what was expected, what came, from where, the nearest."""

from __future__ import annotations

import difflib
import types
import typing
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Union

from pydantic import BaseModel

from bunryu.core.errors import nearest, some
from bunryu.settings.config import Layer
from bunryu.settings.fields import keys, type_text

Location = tuple[str, ...]
_LIMITS = {
    "greater_than": "above",
    "greater_than_equal": "of at least",
    "less_than": "below",
    "less_than_equal": "of at most",
}
_KINDS = {int: "whole number", float: "number"}
_NUMBERS = {int: (64, 128, 192), float: (0.5, 1.0, 1.5)}
ALSO = {"gpu": "cuda", "nvidia": "cuda"}


def explain(model: type[BaseModel], problems: Sequence[Any], layers: Sequence[Layer]) -> list[str]:
    """Return one sentence for each wrong setting.

    Args:
        model: what was validated.
        problems: as pydantic lists them: a union has one for each of its arms.
        layers: where the values came from, the later over the earlier.
    """
    traced = [(*_trace(model, problem["loc"]), problem) for problem in problems]
    deeper = {path[:length] for path, _, _ in traced for length in range(len(path))}
    told: dict[Location, str] = {}
    for path, annotation, problem in traced:
        at = _place(path, layers) if path else ""
        key = ".".join(path)
        match problem["type"]:
            case "extra_forbidden":
                told[path] = f"There is no setting '{key}'{at}.{_suggest(model, path)}"
            case "value_error":
                text = str(problem["ctx"]["error"])
                told[path] = f"{text if text.startswith(key) else f'{key}: {text}'}{at}."
            case _ if path not in deeper and path not in told:
                told[path] = f"{_mismatch(key, annotation, problem)}{at}.{_nearest_word(annotation, problem['input'])}"
    return list(told.values())


def _trace(model: type[BaseModel], location: Sequence[int | str]) -> tuple[Location, Any]:
    """Return the path of a setting as the user wrote it, and its type: pydantic adds the arms of unions."""
    path: list[str] = []
    whole: Any = model
    arm: Any = model
    for part in location:
        if arm is None:  # the part names the arm of a union
            arm = next((one for one in _arms(whole) if str(part).startswith(_arm_name(one))), str)
            continue
        inner = typing.get_args(arm)
        if isinstance(arm, type) and issubclass(arm, BaseModel):
            field = arm.model_fields.get(str(part))
            whole = field.annotation if field else None
        elif inner and not _is_pair(arm):
            whole = inner[-1]
        else:
            break  # a pair is told as a whole
        path.append(str(part))
        arms = [one for one in _arms(whole) if one is not type(None)]
        arm = arms[0] if len(arms) == 1 else None
    return tuple(path), whole


def _arms(annotation: Any) -> list[Any]:
    """Return the types that a setting may have, without what `Annotated` says of them."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return _arms(inner[0])
    return [arm for part in inner for arm in _arms(part)] if origin in (Union, types.UnionType) else [annotation]


def _is_pair(annotation: Any) -> bool:
    return typing.get_origin(annotation) is tuple and Ellipsis not in typing.get_args(annotation)


def _arm_name(annotation: Any) -> str:
    """Return how pydantic begins the name of a union's arm, such as ``dict[str,int]``."""
    origin = typing.get_origin(annotation) or annotation
    return "literal" if origin is Literal else str(getattr(origin, "__name__", origin))


def _mismatch(key: str, annotation: Any, problem: Any) -> str:
    value = problem["input"]
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        first = next(iter(annotation.model_fields))
        if key.rpartition(".")[2].isdigit():
            return f"{key}: expected {{{first}: ...}}, received {_shown(value)}"
        return f"{key} is a section: expected settings in it, such as {key}.{first}, received {_shown(value)}"
    if problem["type"] == "missing" and not isinstance(problem["loc"][-1], int):
        return f"{key} is missing: expected {_expected(annotation)}"
    limit = problem.get("ctx", {})
    bound = next((limit[name] for name in ("gt", "ge", "lt", "le") if name in limit), None)
    if problem["type"] in _LIMITS and bound is not None:
        number = _expected(annotation).removesuffix(" or null")
        return f"{key}: expected {number} {_LIMITS[problem['type']]} {bound:g}, received {_shown(value)}"
    return f"{key}: expected {_expected(annotation)}, received {_shown(value)}"


def _expected(annotation: Any) -> str:
    *words, last = [word for arm in _arms(annotation) for word in _words(arm)]
    return f"{', '.join(words)} or {last}" if words else last


def _words(arm: Any) -> list[str]:
    """Say in plain words what one arm of a union takes, with an example where it has several parts."""
    origin, inner = typing.get_origin(arm), typing.get_args(arm)
    if origin is Literal:
        return [str(value) for value in inner]
    if arm is bool:
        return ["true", "false"]
    if origin is dict:
        return [f"{_several(inner[1])} by name (such as {{cat: 2.0, dog: 1.0}})"]
    if _is_pair(arm):
        many = {2: "two", 3: "three"}.get(len(inner), str(len(inner)))
        return [f"{many} {_several(inner[0])} (such as {_example(inner[0], len(inner))})"]
    if origin in (list, tuple):
        return [f"a list of {_several(inner[0])} (such as {_example(inner[0], 2)})"]
    return [f"a {_KINDS[arm]}" if arm in _KINDS else type_text(arm)]


def _several(annotation: Any) -> str:
    one = _arms(annotation)[0]
    return f"{_KINDS.get(one) or type_text(one)}s"


def _example(annotation: Any, length: int) -> str:
    one = _arms(annotation)[0]
    if isinstance(one, type) and issubclass(one, BaseModel):
        return f"[{{{next(iter(one.model_fields))}: ...}}]"
    return str(list(_NUMBERS.get(one, ("a", "b", "c"))[:length]))


def _nearest_word(annotation: Any, value: Any) -> str:
    """Name the nearest of the words that a setting takes."""
    words = [str(word) for arm in _arms(annotation) if _arm_name(arm) == "literal" for word in typing.get_args(arm)]
    return nearest(ALSO.get(value.lower(), value), words) if words and isinstance(value, str) else ""


def _shown(value: Any) -> str:
    return "null" if value is None else repr(value) if isinstance(value, str) else some([value])


def _place(path: Location, layers: Sequence[Layer]) -> str:
    """Say where the value at `path` comes from: a list or a plain value hides what earlier layers say."""
    best, depth = None, 0
    for layer in reversed(layers):
        held, hides = _held(layer.values, path)
        if held > depth:
            best, depth = layer, held
        if hides or held == len(path):
            break
    return f" ({best.where(path[:depth])})" if best else ""


def _held(values: Any, path: Location) -> tuple[int, bool]:
    """Return how much of `path` is there, and whether a list or a plain value stands on it."""
    hides = False
    for depth, part in enumerate(path):
        hides = hides or not isinstance(values, Mapping)
        if isinstance(values, Mapping) and part in values:
            values = values[part]
        elif isinstance(values, list) and part.isdigit() and int(part) < len(values):
            values = values[int(part)]
        else:
            return depth, hides
    return len(path), hides


def _suggest(model: type[BaseModel], path: Location) -> str:
    """Name the nearest right key: one that ends alike, one of the same section, or any."""
    every = [key.name for key in keys(model)]
    last = path[-1]
    _, section = _trace(model, path[:-1])
    prefix = "".join(f"{part}." for part in path[:-1])
    arm = next((one for one in _arms(section) if isinstance(one, type) and issubclass(one, BaseModel)), None)
    siblings = list(arm.model_fields) if arm else []
    if close := difflib.get_close_matches(last, siblings, n=1, cutoff=0.6):
        return f" Did you mean '{prefix}{close[0]}'?"
    ends = {name: name.rsplit(".", 1)[-1] for name in every}
    if close := difflib.get_close_matches(last, ends.values(), n=1, cutoff=0.7):
        return f" Did you mean {' or '.join(repr(name) for name in every if ends[name] == close[0])}?"
    if prefix and siblings:
        return f" Known in {prefix.rstrip('.')}: {some(siblings, 20)}."
    return nearest(".".join(path), every) or f" Known: {some(model.model_fields, 20)}."
