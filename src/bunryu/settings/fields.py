"""What a field of the settings looks like to a reader: its key, type, default and meaning."""

from __future__ import annotations

import re
import types
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Union

from pydantic import BaseModel


@dataclass(frozen=True)
class Key:
    """One setting, for the help and the reference page."""

    name: str
    type: str
    default: str
    help: str


REQUIRED = "must be given"


def keys(model: type[BaseModel], prefix: str = "") -> Iterator[Key]:
    """List every dotted key of `model`, depth first, in the order of definition."""
    for name, info in model.model_fields.items():
        annotation = info.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from keys(annotation, f"{prefix}{name}.")
            continue
        default = REQUIRED if info.is_required() else value_text(info.get_default(call_default_factory=True))
        extra = info.json_schema_extra
        told = extra.get("type") if isinstance(extra, dict) else None
        yield Key(prefix + name, str(told or type_text(annotation)), default, info.description or "")


def type_text(annotation: Any) -> str:
    """Return a short readable name of a field's type."""
    origin = typing.get_origin(annotation)
    arguments = typing.get_args(annotation)
    if origin is Literal:
        return " | ".join(str(value) for value in arguments)
    if origin in (Union, types.UnionType):
        return " | ".join(type_text(part) for part in arguments)
    if origin is typing.Annotated:
        return type_text(arguments[0])
    if origin is tuple and Ellipsis not in arguments:
        return "[" + ", ".join(type_text(part) for part in arguments) + "]"
    if origin in (list, tuple):
        return f"list of {type_text(arguments[0])}"
    if origin is dict:
        return f"{{{type_text(arguments[0])}: {type_text(arguments[1])}}}"
    names = {type(None): "null", str: "text", int: "integer", float: "number", bool: "true | false"}
    return names.get(annotation) or getattr(annotation, "__name__", str(annotation)).lower()


def value_text(value: Any) -> str:
    """Return a value as it is written in YAML, on one line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, BaseModel):
        told = (f"{key}: {value_text(item)}" for key, item in value if item is not None)
        return "{" + ", ".join(told) + "}"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {value_text(item)}" for key, item in value.items()) + "}"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(value_text(item) for item in value) + "]"
    return str(value)


def as_it_looks(value: Any) -> Any:
    """Return the text in a value, however deep, as the number, truth value or null that it looks like.

    For what no field of ours gives a type: the arguments of somebody else's class.
    """
    if isinstance(value, Mapping):
        return {key: as_it_looks(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [as_it_looks(item) for item in value]
    if not isinstance(value, str):
        return value
    if value in ("true", "false", "null"):
        return {"true": True, "false": False, "null": None}[value]
    if re.fullmatch(r"[+-]?[0-9]+", value):
        return int(value)
    return float(value) if re.fullmatch(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?", value) else value
