"""Images of one table found among those of another, one for one: scores, and submissions in a sample's order."""

from __future__ import annotations

from collections.abc import Sequence

from bunryu.core import console
from bunryu.core.errors import DataError, count, nearest, some
from bunryu.core.same_paths import join_paths


def places(images: Sequence[str], where: str, answered: Sequence[str], answers: str, mend: str = "") -> list[int]:
    """Return where in `answered` each image is, by the longest tail that two paths share (`join_paths`).

    Args:
        images: as a table names them.
        where: that table.
        answered: the images that there are answers to.
        answers: where they are from.
        mend: what to do where there are answers to other images alone.

    Raises:
        DataError: an image without an answer, or that may be several, or an answer to none of the images.
    """
    join = join_paths(images, answered)
    if join.unclear:
        one, others = join.unclear[0]
        raise DataError(
            f"{answers} and {where} do not fit: {one} may be {some(others)}. Write more of the path, so that the "
            "folders tell them apart."
        )
    missing = [images[at] for at in join.missing]
    extra = [answered[at] for at in sorted(set(range(len(answered))) - set(join.place))]
    told = []
    if missing:
        told.append(f"{count(len(missing), 'image')} of {where} without an answer: {some(missing)}")
    if extra:
        told.append(f"{count(len(extra), 'answer')} to images that {where} does not have: {some(extra)}")
    if told:
        hint = nearest(missing[0], extra) if missing and extra else ""
        raise DataError(
            f"{answers} and {where} do not fit: {'; '.join(told)}.{hint} "
            f"Every image needs one answer.{'' if missing else mend}"
        )
    for note in join.told:
        console.say(f"{where}: {note}")
    return join.place
