"""`bunryu demo`: the main job on digits that come with scikit-learn."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu.cli.arguments import Quiet
from bunryu.core import console


def demo(
    folder: Annotated[Path, typer.Argument(help="Where digits and run go.")] = Path("bunryu-demo"),
    quiet: Quiet = False,
) -> None:
    """Train on real handwritten digits, offline, in a minute."""
    console.set_quiet(quiet)
    from bunryu import api

    api.demo(folder)
