"""The machinery of settings: strict YAML and ``key=value`` in, frozen models out. No keys live here.

Every scalar is read as text and given its type by the model's field, so that `01`, `no` and `1e-3`
mean what the field says, in a file as on the command line.
"""

from __future__ import annotations

import re
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from bunryu.core.errors import ConfigError, nearest


class Settings(BaseModel):
    """Base of every room's settings: frozen, unknown keys forbidden, docstrings are the help."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        allow_inf_nan=False,
    )


S = TypeVar("S", bound=Settings)
_MOST_BYTES = 1_000_000
"""Of a settings file; weights of ten thousand classes have a third of it."""
_MOST_VALUES = 25_000
"""Of a settings file, by its commas and ends of lines: PyYAML takes 0.1 ms and 2 KB for each."""
_MOST_DEPTH = 32
Size = tuple[int, int]


def parse_size(value: Any) -> Any:
    """Read ``224`` or ``256x192`` (height x width) as a pair."""
    if isinstance(value, int):
        return (value, value)
    if isinstance(value, str):
        parts = value.lower().replace("×", "x").split("x")
        if len(parts) in (1, 2) and all(part.strip().isdigit() for part in parts):
            numbers = [int(part) for part in parts]
            return (numbers[0], numbers[-1])
        raise ValueError(f"expected one number or HEIGHTxWIDTH, such as 224 or 256x192; received {value!r}")
    return value


Bound = Annotated[float, Field(allow_inf_nan=False, ge=-1e30, le=1e30)]


def _rising(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[1] - pair[0] >= 1e-30:
        raise ValueError(f"expected [low, high], the lower first, received {list(pair)}")
    return pair


Range = Annotated[tuple[Bound, Bound], AfterValidator(_rising)]
"""The values that become black and white."""


@dataclass(frozen=True)
class Layer:
    """Values from one place, and where each of them stands, for the error messages."""

    source: str
    values: dict[str, Any]
    lines: dict[tuple[str, ...], int] = field(default_factory=dict)

    def where(self, location: tuple[str, ...]) -> str:
        """Say where `location`, or what is nearest above it, was set in this layer."""
        for length in range(len(location), 0, -1):
            if line := self.lines.get(location[:length]):
                return f"{self.source}, line {line}"
        return self.source


def load_yaml(path: Path) -> Layer:
    """Read one YAML file of settings.

    Raises:
        ConfigError: it is missing, not UTF-8, not YAML, not a mapping, or names a key twice.
    """
    try:
        if path.exists() and not (path.is_file() or path.is_dir()):  # one would wait for a pipe for ever
            raise ConfigError(f"Cannot open the settings file {path}: it is a pipe or a device, not a file.")
        if (size := path.stat().st_size) > _MOST_BYTES:
            raise ConfigError(f"{path} has {size:,} bytes; expected settings, which have {_MOST_BYTES:,} at most.")
        text = path.read_text(encoding="utf-8-sig")
        if (values := text.count(",") + text.count("\n") + text.count("- ")) > _MOST_VALUES:
            raise ConfigError(f"{path} has {values:,} values; expected settings, which have {_MOST_VALUES:,} at most.")
        node = yaml.compose(text, Loader=_Loader)
    except FileNotFoundError:
        there = [entry.name for entry in path.parent.iterdir()] if path.parent.is_dir() else []
        files = [name for name in there if name.endswith((".yaml", ".yml"))]
        raise ConfigError(f"There is no settings file {path}.{nearest(path.name, files)}") from None
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not UTF-8 text ({error.reason}). Save it as UTF-8.") from None
    except OSError as error:
        raise ConfigError(f"Cannot open the settings file {path}: {error.strerror}.") from None
    except _Refused as error:
        raise ConfigError(f"{path}, line {error.line}: {error.problem}.") from None
    except (yaml.YAMLError, ValueError, OverflowError) as error:  # the latter: an escape of no character
        raise ConfigError(f"{path} is not valid YAML: {' '.join(str(error).split())}") from None
    lines: dict[tuple[str, ...], int] = {}
    if node is None or (isinstance(node, yaml.ScalarNode) and not node.value and node.style is None):
        return Layer(str(path), {})
    if not isinstance(node, yaml.MappingNode):
        raise ConfigError(f"{path}: expected `section:` with keys below it, received {type(node).__name__}.")
    values = _construct(node, (), lines, path)
    return Layer(str(path), typing.cast("dict[str, Any]", values), lines)


def parse_overrides(pairs: Sequence[str], origin: str = "the settings given") -> Layer:
    """Read ``section.key=value`` pairs; a later pair wins over an earlier one. `origin` names them in messages.

    Raises:
        ConfigError: a pair has no ``=`` or no key.
    """
    values: dict[str, Any] = {}
    for pair in pairs:
        key, equals, text = pair.partition("=")
        if not equals or not key.strip():
            raise ConfigError(f"Expected key=value, such as train.epochs=10; received {pair!r}.")
        location = tuple(key.strip().split("."))
        branch: dict[str, Any] = {}
        leaf = branch
        for part in location[:-1]:
            leaf = leaf.setdefault(part, {})
        leaf[location[-1]] = _parse_value(text, pair, key.strip())
        values = merge(values, branch)
    return Layer(origin, values)


def dump_yaml(settings: Settings) -> str:
    """Return the whole of `settings` as YAML that `load_yaml` reads back to an equal model."""
    values = settings.model_dump(mode="json")
    return yaml.dump(values, Dumper=_Dumper, allow_unicode=True, sort_keys=False, width=100)


class _Refused(yaml.YAMLError):
    """What YAML knows and settings do not need, and the line where it stands, counted from 1."""

    def __init__(self, problem: str, event: yaml.Event) -> None:
        super().__init__(problem)
        self.problem, self.line = problem, (event.start_mark.line if event.start_mark else 0) + 1


class _Loader(yaml.BaseLoader):
    """Refuses aliases, a few of which stand for any number of values, and values too deep for those who read them."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """Compose what comes next."""
        event: yaml.Event = self.peek_event()  # type: ignore[no-untyped-call]
        if isinstance(event, yaml.AliasEvent):
            raise _Refused(f"*{event.anchor}, an alias, is not read in settings. Write its value out", event)
        if self.depth == _MOST_DEPTH:
            raise _Refused(
                f"the values are more than {_MOST_DEPTH} lists and mappings deep, which no setting is", event
            )
        self.depth += 1
        try:
            return super().compose_node(parent, index)
        finally:
            self.depth -= 1


class _Dumper(yaml.SafeDumper):
    """Writes the line ends of Unicode escaped; PyYAML would write them as they are, and read them as spaces."""


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    style = '"' if set(text) & set("\x85\u2028\u2029") else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style)


_Dumper.add_representer(str, _represent_text)


_TEMPLATE = re.compile(r"\{\w+\}")
"""How text begins that is no mapping: {label}.jpg, of data.label_pattern."""


def _parse_value(text: str, pair: str, key: str) -> Any:
    stripped = text.strip()
    if stripped in ("null", "~", ""):
        return None
    if stripped[0] in "[{" and not _TEMPLATE.match(stripped):
        try:
            return _nulls(yaml.load(stripped, Loader=_Loader))
        except _Refused as error:
            raise ConfigError(f"{key}: {error.problem}.") from None
        except (yaml.YAMLError, ValueError, OverflowError):
            raise ConfigError(f"Cannot read the list or mapping in {pair!r}; expected YAML, as [1, 2].") from None
    return stripped


def _nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _nulls(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_nulls(item) for item in value]
    return None if value in ("null", "~", "") else value


def _construct(node: yaml.Node, at: tuple[str, ...], lines: dict[tuple[str, ...], int], path: Path) -> Any:
    lines[at] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value)
            if key in values:
                line = key_node.start_mark.line + 1
                raise ConfigError(f"{path}, line {line}: the key {'.'.join((*at, key))} stands twice. Keep one.")
            values[key] = _construct(value_node, (*at, key), lines, path)
            lines[(*at, key)] = key_node.start_mark.line + 1
        return values
    if isinstance(node, yaml.SequenceNode):
        return [_construct(item, (*at, str(i)), lines, path) for i, item in enumerate(node.value)]
    if node.value in ("null", "~", "") and node.style is None:  # type: ignore[attr-defined]
        return None
    return node.value


def merge(base: Mapping[str, Any], top: Mapping[str, Any]) -> dict[str, Any]:
    """Return `base` with the values of `top` laid over it, section by section."""
    merged = dict(base)
    for key, value in top.items():
        below = merged.get(key)
        both = isinstance(value, Mapping) and isinstance(below, Mapping)
        merged[key] = merge(below, value) if both else value  # type: ignore[arg-type]
    return merged
