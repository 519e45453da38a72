"""What calls something better, worse or beyond noise is one of `benchmarks/claims.py`, and seldom said in vain."""

from __future__ import annotations

import ast
import importlib.util
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import binom

import bunryu

ROOT = Path(__file__).parents[1]
SRC = Path(bunryu.__file__).parent
WORDS = re.compile(
    r"better than|worse|beyond|clearly|far below|not better|\bhelps\b|\bpays\b|significant|not seen to be|within noise"
)
NO_CLAIMS = {
    "results would look better than they are": "of copies, which are counted",
    "rename one so that both are clearly two": "of names",
    "lie beyond": "of values",
    "bands beyond": "of channels",
    "not seen to be copies by their pixels": "of pixels, which are compared",
    "not better": "of an ensemble whose figure is not higher: that is what was found, and noise is told beside",
    "pictures a class that stay": "of training from scratch: docs/training/few.md",
}
"""Other sentences with such words, and of what they are."""


def module(name: str) -> Any:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[name] = found  # dataclasses look themselves up
    spec.loader.exec_module(found)
    return found


module("claims_of_probe")  # which the next one imports
CLAIMS = module("claims").CLAIMS


def sentences() -> Iterator[str]:
    """Yield the texts of the package that are no docstrings."""
    for path in sorted(SRC.rglob("*.py")):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        told = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in told:
                yield node.value


def test_every_claim_is_counted() -> None:
    said = [text for text in sentences() if " " in text and WORDS.search(text)]
    words = [word for claim in CLAIMS for word in claim.words]
    assert len(said) > 15
    assert [text for text in said if not any(word in text for word in (*words, *NO_CLAIMS))] == []
    assert [word for word in (*words, *NO_CLAIMS) if not any(word in text for text in said)] == []


def cases(kind: str) -> list[Any]:
    return [
        pytest.param(claim, case, id=f"{claim.says[:24]}: {data}")
        for claim in CLAIMS
        for data, case in getattr(claim, kind).items()
    ]


def said(claim: Any, case: Callable[[np.random.Generator], bool], times: int) -> Iterator[bool]:
    return (case(np.random.default_rng([zlib.crc32(claim.says.encode()), i])) for i in range(times))


@pytest.mark.parametrize(("claim", "case"), cases("false"))
def test_what_is_false_is_seldom_said(claim: Any, case: Callable[[np.random.Generator], bool]) -> None:
    """At a rate of the level so many come less than once in ten thousand."""
    times = 1 if "probe" in claim.says else 20
    assert sum(said(claim, case, times)) <= binom.ppf(0.9999, times, claim.level)


@pytest.mark.parametrize(("claim", "case"), cases("true"))
def test_what_is_true_is_said(claim: Any, case: Callable[[np.random.Generator], bool]) -> None:
    assert any(said(claim, case, 10))


def test_the_page_has_every_claim() -> None:
    page = (ROOT / "docs" / "false-alarms.md").read_text(encoding="utf-8")
    for claim in CLAIMS:
        for data in (*claim.false, *claim.true):
            assert f"| {claim.says} | {data} |" in page, "run `python benchmarks/false_alarms.py`"
