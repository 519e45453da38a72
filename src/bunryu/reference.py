"""What people look up: settings and recipes."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from bunryu import console
from bunryu.errors import ConfigError, typed


def settings(
    word: Annotated[str | None, typer.Argument(help="Show settings with this word only.")] = None,
) -> None:
    """Explain every setting of a run: key, type, default, meaning."""
    from bunryu.config import keys
    from bunryu.errors import nearest
    from bunryu.settings import RunSettings, defaults
    from bunryu.train.settings import Stage

    every = [*keys(RunSettings), *keys(Stage, "train.stages[].")]
    found = [key for key in every if not word or word in key.name or word in key.help]
    if not found and word:
        raise ConfigError(f"No setting has {word!r} in its name or help.{nearest(word, [k.name for k in every])}")
    for key in found:
        print(f"{key.name}  ({key.type}; {defaults(key)})\n    {' '.join(key.help.split())}")


def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this recipe whole.")] = None,
    out: Annotated[Path | None, typer.Option(help="Copy it to this file, to change it.")] = None,
) -> None:
    """List the recipes that come with bunryu, show one, or copy it."""
    from bunryu.settings import recipe_names, recipe_text

    if out is not None:
        if name is None:
            raise ConfigError("--out: which recipe? Name it: bunryu recipes NAME --out FILE.yaml")
        text = recipe_text(name)
        if out.exists():
            raise ConfigError(f"--out: {out} is there already, and is not overwritten. Name another file.")
        out.write_text(text, encoding="utf-8")
        console.say(f"{out}; next: bunryu train DATA --recipe {typed(out)}")
        return
    if name is not None:
        print(recipe_text(name), end="")
        return
    for known in recipe_names():
        print(f"{known:<12}{recipe_text(known).splitlines()[0].lstrip('# ')}")
    print("\nOne of them whole: bunryu recipes NAME. To change one: bunryu recipes NAME --out FILE.yaml.")
