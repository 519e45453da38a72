"""Which values of deep pictures become black and white: one range for all of a data set, from its training rows."""

from __future__ import annotations

from collections import Counter

import numpy as np

from bunryu.core.errors import ImageError, count
from bunryu.core.randomness import generator
from bunryu.data.checks.check import Checked
from bunryu.data.images.decode import examine
from bunryu.data.images.facts import PLAIN, Facts
from bunryu.data.images.value_range import find_range, share_beyond, told_range
from bunryu.data.table import Table
from bunryu.settings.config import Range
from bunryu.settings.run import RunSettings, decode_spec
from bunryu.settings.validate import replaced

_ROWS = 1000
"""Training rows that are looked at where the check did not decode all of them."""

_FEW_LEVELS = 16
"""Grey levels of 256 that a picture has to keep, or it is told."""


def choose_range(settings: RunSettings, checked: Checked, table: Table) -> tuple[RunSettings, str | None]:
    """Return the settings with the range of values in the place of auto, and how deep pictures are read, in words.

    Both stay as they are where all pictures have 8 bits.
    """
    train = _facts(settings, checked, table)
    given: Range | None = None if settings.decode.range == "auto" else settings.decode.range
    deep = [one for one in train if one.kind]
    if not deep:
        return settings, None if given is None else "decode.range is of nothing: all pictures have 8 bits"
    found = given or find_range(train)
    if found is None:  # not one number in them
        return settings, None
    kinds = Counter(one.kind for one in deep)
    told = [
        f"{told_range(found)} becomes black to white in {count(len(deep), 'training picture')} of more than 8 bits "
        f"({', '.join(sorted(kinds))}), and in use"
    ]
    if len(deep) < len(train):
        told.append(f"the other {len(train) - len(deep):,} have 8 bits and stay as they are")
    if narrow := [one.quantiles for one in deep if 0 < _span(one) < (found[1] - found[0]) / _FEW_LEVELS]:
        low, high = min(values[0] for values in narrow), max(values[-1] for values in narrow)
        told.append(
            f"{len(narrow):,} of them keep fewer than {_FEW_LEVELS} of 256 grey levels (their values: "
            f"{low:.6g} to {high:.6g}); if that is another scale, bring all to one first"
        )
    beyond = share_beyond(deep, found)
    if beyond > 0:
        told.append(f"{_percent(beyond)} of the values lie beyond and are cut")
    for split in ("val", "test"):
        more = share_beyond(checked.facts_of(table, table.split(split)), found)
        if more > beyond + 0.01:
            told.append(f"{_percent(more)} of those of {split}")
    return replaced(settings, {"decode.range": found}), "; ".join(told)


def _facts(settings: RunSettings, checked: Checked, table: Table) -> list[Facts]:
    """Return the facts of the training rows; of some of them where not all were decoded."""
    rows = np.flatnonzero(np.isin(table.splits.astype(str), ["train", ""]))
    if settings.data.check == "full":
        return checked.facts_of(table, rows)
    if len(rows) > _ROWS:
        rows = np.sort(rows[generator(settings.split.seed, "range").permutation(len(rows))[:_ROWS]])
    spec, found = decode_spec(settings), []
    for row in rows.tolist():
        try:
            found.append(examine(table.file(row), spec))
        except ImageError:
            found.append(PLAIN)  # who needs it says so
    return found


def _span(facts: Facts) -> float:
    return facts.quantiles[-1] - facts.quantiles[0] if facts.quantiles else 0.0


def _percent(share: float) -> str:
    return "less than 0.1 %" if share < 0.001 else f"about {100 * share:.1f} %"
