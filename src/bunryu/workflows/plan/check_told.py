"""What the check of the images found, in sentences."""

from __future__ import annotations

import numpy as np

from bunryu.core import console
from bunryu.core.errors import count, some
from bunryu.data.checks.check import Checked, told_skipped
from bunryu.data.images.facts import Facts


def say_checked(checked: Checked, total: int) -> None:
    """Say what was found: skipped first, then what is used in another way than one may think, then copies."""
    known = f" ({checked.remembered:,} unchanged since last time)" if checked.remembered else ""
    console.say(f"data: {count(total, 'image')} checked{known} in {console.duration(checked.seconds)}")
    if checked.skipped:
        console.say(
            f"data: {len(checked.skipped)} of {total:,} skipped: {told_skipped(checked.skipped)}", style="yellow"
        )
    _say_frames(checked)
    _say_facts(checked)
    for kind, meaning in (
        ("two labels", "under two labels"),
        ("across splits", "in two splits"),
        ("copies", "twice or more"),
    ):
        groups = [group for group in checked.copies if group.kind == kind]
        if groups:
            shown = some((" = ".join(str(checked.table.paths[row]) for row in group.rows[:3]) for group in groups), 3)
            many = "1 picture stands" if len(groups) == 1 else f"{len(groups):,} pictures stand"
            console.say(f"data: {many} {meaning}: {shown} (all kept)", style="yellow")


def _say_frames(checked: Checked) -> None:
    several = np.flatnonzero(checked.frames > 1)
    if not len(several):
        return
    least, most = int(checked.frames[several].min()), int(checked.frames[several].max())
    each = str(least) if least == most else f"{least} to {most}"
    blank = sum(one.blank for one in checked.facts_of(checked.table, several))
    told = f"; that is blank in {blank:,} of them" if blank else ""
    console.say(
        f"data: {count(len(several), 'file')} of several pages or frames ({each}): only the first is used{told}",
        style="yellow" if blank else None,
    )


def _say_facts(checked: Checked) -> None:
    """Say what is odd about pictures that are used."""
    rows = np.arange(len(checked.table))
    facts = list(zip(checked.table.paths.tolist(), checked.facts_of(checked.table, rows), strict=True))

    def say(found: list[tuple[str, Facts]], what: str, whats: str, limit: int = 3) -> None:
        if found:
            names = some((path for path, _ in found), limit)
            console.say(f"data: {len(found):,} {what if len(found) == 1 else whats}: {names}", style="yellow")

    say(
        [one for one in facts if one[1].blank],
        "picture is blank (of one colour), and is used all the same",
        "pictures are blank (of one colour), and are used all the same",
        10,
    )
    say(
        [one for one in facts if one[1].alpha_like_data],
        "picture has a fourth band that looks like data; it is taken for transparency. Leave it out, or give it "
        "pictures of its own",
        "pictures have a fourth band that looks like data; it is taken for transparency. Leave it out, or give it "
        "pictures of its own",
    )
    say(
        [one for one in facts if one[1].unused_bands],
        "picture has bands beyond its colours, which are not looked at",
        "pictures have bands beyond their colours, which are not looked at",
    )
    warned = [one for one in facts if one[1].warning]
    say(
        warned,
        f"picture is read all the same, of which Pillow warns ({warned[0][1].warning if warned else ''})",
        f"pictures are read all the same, of which Pillow warns ({warned[0][1].warning if warned else ''})",
    )
