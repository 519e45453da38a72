"""Digests of what runs leave behind, for `reference.py`: a line an artefact, without times, versions and places."""

from __future__ import annotations

import hashlib
import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

VOLATILE = {"seconds", "images_per_second", "spent_seconds", "versions"}
TIMES = re.compile(r"\b\d+(\.\d+)?(?= ?(s|seconds?|min|minutes?|h|hours?|images/s)\b)|\d{4}-\d\d-\d\d[T ]\d\d:\d\d\S*")


def calm(value: Any, work: Path) -> Any:
    """Return a value without what no two runs share: times, versions, paths."""
    if isinstance(value, dict):
        return {calm(key, work): calm(inner, work) for key, inner in value.items() if key not in VOLATILE}
    if isinstance(value, list):
        return [calm(inner, work) for inner in value]
    if isinstance(value, str):  # the resumed run must say what the other says
        return TIMES.sub("T", value.replace(str(work), "WORK").replace("stopped/run", "straight/run"))
    return value


def canonical(value: Any, work: Path) -> bytes:
    return json.dumps(calm(value, work), sort_keys=True, ensure_ascii=False, default=str).encode()


def parts(path: Path, work: Path) -> Iterable[tuple[str, bytes]]:
    """Yield what a file holds: (which part, its bytes)."""
    match path.suffix:
        case ".safetensors":
            raw = path.read_bytes()
            size = 8 + int.from_bytes(raw[:8], "little")
            header = json.loads(raw[8:size])
            told = {key: _parsed(value) for key, value in header.pop("__metadata__", {}).items()}
            yield ":metadata", canonical(told, work)
            begins = {name: header[name].pop("data_offsets") for name in header}
            whole = hashlib.sha256()
            for name in sorted(header):
                first, last = (size + offset for offset in begins[name])
                whole.update(canonical({name: header[name]}, work) + raw[first:last])
            yield ":tensors", whole.digest()
        case ".npy":
            import numpy as np

            values = np.load(path)
            yield "", f"{values.dtype} {values.shape}".encode() + values.tobytes()
        case ".json":
            yield "", canonical(json.loads(path.read_bytes()), work)
        case ".jsonl" | ".yaml":
            import yaml

            text = path.read_text(encoding="utf-8")
            read = [json.loads(line) for line in text.splitlines()] if path.suffix == ".jsonl" else yaml.safe_load(text)
            yield "", canonical(read, work)
        case ".png" | ".jpg" if path.relative_to(work).parts[0] in ("augment", "split"):
            from PIL import Image

            with Image.open(path) as image:
                yield "", f"{image.mode} {image.size}".encode() + image.tobytes()
        case ".png" | ".jpg":
            yield ":name", b""
        case _:
            text = path.read_text("utf-8", "surrogateescape")
            yield "", calm(text, work).encode("utf-8", "surrogateescape")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError:
        return text


def digest(work: Path) -> dict[str, str]:
    """Return the SHA-256 of each artefact of a work folder."""
    told = {"logs/" + name for name in ("predict", "score", "python", "photos-tta", "heads-score", "heads-submission")}
    told |= {f"logs/predict-{name}" for name in ("one", "jsonl", "ensemble")}
    found = {}
    for path in work.rglob("*"):
        name = path.relative_to(work).as_posix()
        top, hidden = name.split("/")[0], path.name.startswith(".")
        if path.is_dir() or hidden or top in ("inputs", "cache") or name.startswith("demo/digits/"):
            continue
        if path.name == "environment.json" or (top == "logs" and name.removesuffix(".stdout") not in told):
            continue
        for part, held in parts(path, work):
            found[name + part] = hashlib.sha256(held).hexdigest()
    return dict(sorted(found.items()))


def unequal(found: dict[str, str]) -> list[str]:
    """Return what the resumed run has otherwise than the one that was never stopped."""
    runs = ("straight/run/", "stopped/run/")
    straight, stopped = ({k.removeprefix(n): v for k, v in found.items() if k.startswith(n)} for n in runs)
    return [name for name in sorted(straight | stopped) if straight.get(name) != stopped.get(name)]


def total(lines: list[str]) -> str:
    return f"total  {hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def compare(before: Path, lines: list[str], first: int = 20) -> int:
    """Print the first lines that differ from those of a file; return how many do."""
    old, new = (dict(line.rsplit("  ", 1) for line in text) for text in (before.read_text("utf-8").splitlines(), lines))
    names = [name for name in sorted(old | new) if old.get(name) != new.get(name)]
    for name in names[:first]:
        print(f"{name}: {old.get(name, 'not there')} before, {new.get(name, 'not there')} now", file=sys.stderr)
    print(f"{len(names)} of {len(old | new)} lines differ" if names else "no line differs", file=sys.stderr)
    return len(names)
