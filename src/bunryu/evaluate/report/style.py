"""What all pictures share: the sheet with its title, colours, axes, legends, and writing the PNG.

Matplotlib's Figure and Agg canvas are used directly, never pyplot: nothing is global, and threads may draw
at once. Importing this module imports matplotlib (about half a second), so import it late.

Colours are those of Okabe & Ito, "Color Universal Design" (2008), told apart by colour-blind eyes.
"""

from __future__ import annotations

import io
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.text import Text

from bunryu.core.shown import shown_lines
from bunryu.core.storage import write_atomic
from bunryu.core.text_width import shorten, width
from bunryu.evaluate.report.fonts import characters_of, drawable, fonts_for

BLUE, GREEN, ORANGE = "#0072B2", "#009E73", "#D55E00"
GREY, PALE, INK = "#767676", "#EDEDED", "#333333"
_DPI = 110
_TITLE, _NOTE = 12, 9
_OF_CELLS = 44
SEPARATOR = " · "


def sheet(wide: float, high: float, of: str, what: str, note: str = "") -> Figure:
    """Return an empty figure with `wide` x `high` inches to draw on, below the title and a grey note.

    It is wider where the title or the note needs that.

    Args:
        wide: inches.
        high: inches, without title and note.
        of: the run and the split, joined by `SEPARATOR`. One that no installed font can draw is left out; beyond
            44 cells the middle is.
        what: what is drawn, the end of the title.
        note: how to read it.
    """
    of = SEPARATOR.join(part for part in of.split(SEPARATOR) if drawable(part))
    title = SEPARATOR.join([shorten(of, _OF_CELLS), what] if of else [what])
    wide = max(wide, inches(title, _TITLE) + 0.3, inches(note, _NOTE) + 0.3)
    head = 0.58 if note else 0.38
    tall = high + head
    layout = ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.1, rect=(0, 0, 1, high / tall))
    figure = Figure(figsize=(wide, tall), dpi=_DPI, layout=layout, facecolor="white")
    figure.text(0.12 / wide, 1 - 0.12 / tall, title, va="top", fontsize=_TITLE, color=INK)
    figure.text(0.12 / wide, 1 - 0.36 / tall, note, va="top", fontsize=_NOTE, color=GREY)
    return figure


def inches(text: str, size: float) -> float:
    """Return about how wide `text` is in a font of `size` points."""
    return width(text) * size * 0.6 / 72


def style(axes: Axes, title: str, x: str, y: str, *, pad: float = 8) -> None:
    """Set the texts of the axes, and leave of its frame what is needed."""
    axes.set_title(title, loc="left", fontsize=10, color=INK, pad=pad)
    axes.set_xlabel(x, fontsize=9, color=INK)
    axes.set_ylabel(y, fontsize=9, color=INK)
    axes.tick_params(labelsize=8, labelcolor=INK, length=0)
    for place, spine in axes.spines.items():
        spine.set_visible(place == "bottom" or (place == "left" and bool(y)))
        spine.set_color(GREY)


def legend_below(axes: Axes) -> None:
    """Put the legend below the axes, where it covers nothing."""
    if axes.get_legend_handles_labels()[0]:
        axes.legend(
            frameon=False,
            fontsize=8,
            labelcolor=INK,
            ncols=2,
            loc="upper left",
            bbox_to_anchor=(0, -0.16),
            borderaxespad=0,
        )


def save(figure: Figure, path: Path) -> None:
    """Set the fonts of every text, draw, write. Names are plain text: a $ in them starts no formula.

    Raises:
        TrainingError: the disk is full.
    """
    texts = [artist for artist in figure.findobj(Text) if isinstance(artist, Text)]
    for text in texts:
        text.set_text(shown_lines(text.get_text().split("\n")))
    fonts = list(fonts_for(characters_of(text.get_text() for text in texts))[0])
    for text in texts:
        text.set_fontfamily(fonts)
        text.set_parse_math(False)
    canvas = FigureCanvasAgg(figure)
    figure.draw_without_rendering()  # one layout leaves too little room for long names beside square cells
    buffer = io.BytesIO()
    canvas.print_png(buffer)  # type: ignore[no-untyped-call]
    write_atomic(path, buffer.getvalue())
