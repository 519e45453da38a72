"""`bunryu settings` and `bunryu recipes`: what people look up."""

from __future__ import annotations

import itertools
import re
import shutil
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from bunryu.core import console
from bunryu.core.errors import ConfigError, typed

if TYPE_CHECKING:
    from bunryu.settings.fields import Key


def settings(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="[WORD]", help="Show settings with this word, or all of these, only.")
    ] = None,
) -> None:
    """Explain every setting of a run, or those with a word.

    Key, type, default and meaning, section by section.
    """
    from bunryu.core.errors import nearest
    from bunryu.settings.fields import keys
    from bunryu.settings.recipes import defaults
    from bunryu.settings.run import RunSettings
    from bunryu.settings.stages import Stage

    every = [*keys(RunSettings), *keys(Stage, "train.stages[].")]
    asked = " ".join(words or [])
    found = [key for key in every if asked in key.name or asked in key.help]
    found = found or [key for key in every if _has_all(key, asked)]
    if not found:
        raise ConfigError(f"No setting has {asked!r} in its name or help.{nearest(asked, [k.name for k in every])}")
    columns = min(shutil.get_terminal_size().columns, 100)
    for section, some in itertools.groupby(found, key=_section):
        print(f"[{section}]")
        for key in some:
            meaning = textwrap.fill(
                " ".join(key.help.split()),
                columns,
                initial_indent="    ",
                subsequent_indent="    ",
                break_long_words=False,
                break_on_hyphens=False,
            )
            print(f"{key.name}  ({key.type}; {defaults(key)})\n{meaning}")
        print()


def _section(key: Key) -> str:
    return key.name.split(".")[0] if "." in key.name else "run"


def _has_all(key: Key, asked: str) -> bool:
    """Return whether a setting's name and help have every part of ``freeze_backbone`` or ``early stopping``."""
    text = f"{key.name} {' '.join(key.help.split())}".lower()
    parts = re.split(r"[\s_.-]+", asked.lower())
    return all(part in text for part in parts)


def recipes(
    name: Annotated[str | None, typer.Argument(help="Show this recipe whole.")] = None,
    out: Annotated[Path | None, typer.Option(help="Copy it to this file, to change it.")] = None,
) -> None:
    """List the recipes that come with bunryu, show one, or copy it."""
    from bunryu.settings.recipes import recipe_names, recipe_text

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
