"""What the whole of `bunryu probe` says of features drawn at random, for `claims.py`."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import yaml
from numpy.typing import NDArray

from bunryu.core import console
from bunryu.workflows import probe as probing
from bunryu.workflows.plan.decide import make_plan
from bunryu.workflows.probe_report import Probed, advice

Random = np.random.Generator
Ints = NDArray[np.int64]


@contextmanager
def probed(rng: Random, n: int, right: float, shares: Sequence[float]) -> Iterator[tuple[Probed, Path]]:
    """Yield what the whole of `bunryu probe` finds on features drawn at random, and its folder.

    Everything is the command's own but for the pictures: the features of rows that know their class lie 2 apart.

    Args:
        rng: draws features and labels.
        n: rows.
        right: the share of rows that know it.
        shares: of the classes.
    """
    k, width = len(shares), 8
    label_N = rng.choice(k, n, p=shares)
    label_N[: 3 * k] = np.arange(3 * k) % k
    x_NF = rng.normal(size=(n, width)) + 2 * np.eye(k, width)[label_N] * (rng.random((n, 1)) < right)
    with tempfile.TemporaryDirectory() as place, console.quietly(True):
        folder = Path(place)
        pictures = _pictures(folder, n)
        lines = [f"{path.name},class {label}" for path, label in zip(pictures, label_N, strict=True)]
        (folder / "labels.csv").write_text("path,label\n" + "\n".join(lines) + "\n")
        given = [
            f"data.source={folder}/labels.csv",
            "model.name=scratch_cnn",
            "input.size=16",
            "evaluate.bootstrap=200",
        ]
        given += ["split.val=0.2", "train.device=cpu", "train.precision=fp32"]

        def features(_model: Any, _settings: Any, table: Any, rows: Ints, *_: Any) -> torch.Tensor:
            index = {path.name: i for i, path in enumerate(pictures)}
            order = [index[Path(str(table.paths[row])).name] for row in rows]
            return torch.from_numpy(x_NF[order].astype(np.float32))

        with (
            mock.patch.object(probing, "_plan", lambda settings, frame, quiet: make_plan(settings, frame)),  # noqa: ARG005
            mock.patch.object(probing, "plain_features", features),
            mock.patch.object(probing, "_review", return_value=[]),
        ):
            yield probing.probe(given, [], {}, out=folder / "found"), folder / "found"


def _pictures(folder: Path, n: int) -> list[Path]:
    from PIL import Image

    found = []
    for i in range(n):
        pixels = np.random.default_rng(i).integers(0, 256, (16, 16, 3), np.uint8)
        found.append(folder / f"{i:03}.png")
        Image.fromarray(pixels).save(found[-1])
    return found


def wrote_a_loss(n: int, right: float, shares: Sequence[float]) -> Callable[[Random], bool]:
    """Whether the recipe of a probe has another loss than the plain one, or tau."""

    def case(rng: Random) -> bool:
        with probed(rng, n, right, shares) as (_, folder):
            recipe = yaml.safe_load((folder / "recipe.yaml").read_text(encoding="utf-8"))
        loss = recipe.get("loss", {})
        return (
            "decision" in recipe
            or loss.get("name", "cross_entropy") != "cross_entropy"
            or bool(loss.get("class_weights"))
        )

    return case


def told_apart(n: int, right: float, shares: Sequence[float]) -> Callable[[Random], bool]:
    """Whether a probe tells two losses apart, in its table or below it."""

    def case(rng: Random) -> bool:
        with probed(rng, n, right, shares) as (found, _):
            clear = any(one.behind is not None and one.behind.clear for one in found.tried)
            return clear or any("beyond noise" in line for line in advice(found))

    return case
