"""Which installed fonts can draw a text: chosen by the glyphs they have, not by their names.

Hangul can be drawn everywhere: where the system has no font for it, that of a package is used.
"""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path

from matplotlib import font_manager

from bunryu.core.errors import some
from bunryu.core.text_width import shorten

NAME_CELLS = 24
_OWN_FONT = "DejaVu Sans"  # comes with matplotlib
_FONTS = (
    *("Noto Sans CJK KR", "Noto Sans KR", "NanumGothic", "NanumBarunGothic", "Malgun Gothic"),
    *("Apple SD Gothic Neo", "AppleGothic", "Noto Sans CJK JP", "Noto Sans CJK SC", "Source Han Sans KR"),
    *("Source Han Sans K", "UnDotum", "Baekmuk Dotum", "Gulim", "Arial Unicode MS", "Droid Sans Fallback"),
)
"""Fonts with Hangul, the preferred first; any other installed font comes after them."""
_NO_FONTS = ("Last Resort", "STIX", "cm", "DejaVu", "Noto Color Emoji", "Apple Color Emoji")
"""How families begin that stand in for glyphs they do not have, are for formulas, or cannot be drawn."""


def font_note(classes: Sequence[str], run: str, again: str, *, listed: int = 10) -> str | None:
    """Say what the plots show instead of names that no installed font can draw, and the mend; None if all can be drawn.

    Args:
        classes: names in the model's order.
        run: what begins the title of every picture.
        again: the command that draws the plots again.
        listed: the most classes to name.
    """
    fonts_for.cache_clear()  # a font may have been installed since
    names = [shorten(name, NAME_CELLS) for name in classes]
    renamed = {short: name for short, name in zip(short_names(classes), names, strict=True) if short != name}
    missing = sorted(fonts_for(characters_of([*renamed.values(), run]))[1])
    if not missing:
        return None
    told = []
    if renamed:
        pairs = [f"{short} = {name}" for short, name in renamed.items()]
        told.append(f"show {some(pairs, listed)} (the order of the classes)")
    if not drawable(run):
        told.append("leave the run's name out of their titles")
    hangul = any("가" <= char <= "힣" or "ᄀ" <= char <= "ㆎ" for char in missing)
    mend = "one with Hangul (`pip install koreanize-matplotlib`)" if hangul else "one that has them"
    shown = "".join(missing[:8]) + ("…" if len(missing) > 8 else "")
    return (
        f"No installed font has the characters {shown} ({len(missing)}), so the plots {' and '.join(told)}. "
        f"To mend, install {mend}, then: {again}"
    )


def short_names(classes: Sequence[str]) -> list[str]:
    """Return class names short enough to draw; ``#index`` for one that no installed font can draw."""
    short = [shorten(name, NAME_CELLS) for name in classes]
    missing = fonts_for(characters_of(short))[1]
    return [f"#{i}" if missing.intersection(name) else name for i, name in enumerate(short)]


def drawable(text: str) -> bool:
    """Return whether the installed fonts can draw every character of `text`."""
    return not fonts_for(characters_of([text]))[1]


def characters_of(texts: Iterable[str]) -> str:
    """Return the different characters of `texts`, sorted."""
    return "".join(sorted({char for text in texts for char in shorten(text, 10**9) if char != " "}))


@lru_cache(maxsize=256)
def fonts_for(characters: str) -> tuple[tuple[str, ...], frozenset[str]]:
    """Return the font families that draw `characters` together, and the characters that none has."""
    fonts, missing = [_OWN_FONT], set(characters) - _covered(_OWN_FONT, set(characters))
    for candidates in (_installed, _installed_now):
        covers = {family: _covered(family, missing) for family in (candidates() if missing else [])}
        while missing and covers:
            family = max(covers, key=lambda name: len(covers[name] & missing))  # the first of the best
            if not covers[family] & missing:
                break
            fonts.append(family)
            missing -= covers[family]
    return tuple(fonts), frozenset(missing)


def _installed() -> list[str]:
    """Return the font families matplotlib knows, those with Hangul first."""
    known = {entry.name for entry in font_manager.fontManager.ttflist}
    others = sorted(name for name in known.difference(_FONTS) if not name.startswith(_NO_FONTS))
    return [name for name in _FONTS if name in known] + others


def _installed_now() -> list[str]:
    """Return the same after a look at the disk: matplotlib keeps a list of fonts that may be old."""
    known = {entry.fname for entry in font_manager.fontManager.ttflist}
    for file in {*font_manager.findSystemFonts(), *_packaged()} - known:
        with contextlib.suppress(OSError, RuntimeError, ValueError):
            font_manager.fontManager.addfont(file)
    return _installed()


def _packaged() -> list[str]:
    """Return the Korean font that comes as a package; it is not imported, since it would change matplotlib's fonts."""
    spec = importlib.util.find_spec("koreanize_matplotlib")
    folders = spec.submodule_search_locations if spec and spec.submodule_search_locations else []
    files = [Path(folder, "fonts", "NanumGothic.ttf") for folder in folders]
    return [str(file) for file in files if file.exists()]


def _covered(family: str, characters: set[str]) -> set[str]:
    """Return those of `characters` that the family's regular face has a glyph for."""
    try:
        file = font_manager.findfont(font_manager.FontProperties(family=[family]), fallback_to_default=False)
        glyphs = font_manager.get_font(file).get_charmap()
    except (OSError, RuntimeError, ValueError):
        return set()
    return {char for char in characters if ord(char) in glyphs}
