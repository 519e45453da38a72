"""What to know before a figure is believed: every sentence of that, from facts of how the rows were measured."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from bunryu.core.errors import count
from bunryu.evaluate.figures import Bootstrap

FEW = 30
"""Below this many images one answer moves the figures visibly."""
_FEW_GROUPS = 20
"""Below this many groups resampling them gives averages an interval that is too narrow: docs/false-alarms.md."""


@dataclass(frozen=True)
class Copies:
    """Rows that are exact copies of images which a model met before: `rows` of `of`, and what it did with them."""

    rows: int
    of: int
    why: str


@dataclass(frozen=True)
class Exposure:
    """How far a model, or who chose it, already knew the rows that it is measured on. Nothing, as it should be."""

    copies: tuple[Copies, ...] = ()
    learned: bool = False
    """The model learned from these rows in its last epochs."""
    before: tuple[int, int] | None = None
    """(e, best): the sealed model did so from epoch e on, and what is measured here is that of an epoch before."""
    tested: bool = True
    """There is a test split beside, which chose nothing."""
    thresholds: bool = False
    """The threshold of each label was chosen on them."""
    chosen: tuple[str, ...] = ()
    """What else was: the best epoch, tau."""
    members: bool = False
    """So were the epochs and weights of models that predict together."""
    own_fold: bool = False
    """Each run of a cross-validation chose its epoch on its fold of them."""


UNSEEN = Exposure()
"""Of rows that nothing knew."""


def of_validation(
    monitor: str, tau: float | Literal["auto"] | None, *, thresholds: bool, tested: bool, before: tuple[int, int] | None
) -> Exposure:
    """Return how far a run knows its validation rows.

    Args:
        monitor: what chose the best epoch.
        tau: of logit adjustment; auto is chosen on them too.
        thresholds: labels that can hold together got theirs on them.
        tested: test rows are measured beside.
        before: see `Exposure`.
    """
    chosen = [] if monitor.startswith("train_") else ["the best epoch"]
    chosen += ["tau"] if tau == "auto" else []
    return Exposure(thresholds=thresholds, tested=tested, before=before, chosen=tuple(chosen))


def learned_told(epoch: int) -> str:
    """Say for the report, after what the best epoch is, that a run learned from its validation rows from one on."""
    return (
        f" of those before epoch {epoch}, from which on it learned from validation rows and figures of validation are "
        "not clean; the sealed model has the last epoch's weights"
    )


def caveats(
    n: int,
    bootstrap: Bootstrap | None = None,
    exposure: Exposure = UNSEEN,
    *,
    one_of_two: bool = False,
    probe: bool = False,
) -> tuple[str, ...]:
    """Return the sentences, those first that take most from the figures.

    Args:
        n: images measured.
        bootstrap: what is resampled for the intervals, even where that is too little; None where none were asked for.
        exposure: how far the model knew them.
        one_of_two: the truth has only one of two classes.
        probe: `bunryu probe` knows such answers, and can be advised.
    """
    measured = _of_measuring(n, bootstrap, one_of_two=one_of_two, probe=probe)
    return (*_that_void(exposure), *measured, *_that_flatter(exposure))


def _that_void(exposure: Exposure) -> Iterator[str]:
    for copies in exposure.copies:
        are = "is an exact copy" if copies.rows == 1 else "are exact copies"
        yield (
            f"{copies.rows:,} of {count(copies.of, 'image')} {are} of images that this model has {copies.why}, "
            "so the figures promise more than new images will give."
        )
    if exposure.learned:
        yield "The model learned from these images in its last epochs, so their figures mean nothing."
    if exposure.before is not None:
        epoch, best = exposure.before
        where = "only the test rows measure." if exposure.tested else "nothing here measures: keep a split.test."
        yield (
            f"From epoch {epoch} on the model learned from these rows, and their figures are not clean. These are of "
            f"epoch {best}, the best before that; the sealed model has the last epoch's weights, which {where}"
        )


def _of_measuring(n: int, bootstrap: Bootstrap | None, *, one_of_two: bool, probe: bool) -> Iterator[str]:
    if n < FEW:
        yield (
            f"Only {count(n, 'image')}: each moves the accuracy by {1 / n:.2f}, which can hardly tell two models apart"
            + (" (`bunryu probe` cross-validates on all images)." if probe else ".")
        )
    if one_of_two:
        yield "There is no ROC AUC: it needs images of both classes."
    if bootstrap is None:
        return
    if bootstrap.units < 2:
        yield f"There are no intervals: they need more than one of the {bootstrap.of} that are resampled."
        return
    if bootstrap.of == "groups" and bootstrap.units < _FEW_GROUPS:
        yield (
            f"The intervals come from {bootstrap.units} groups only: those of averages (accuracy, macro-F1) are a "
            "little too narrow, those of classes very wide."
        )
    if bootstrap.resamples == 0:
        yield (
            "Every answer is right, so resampling finds no spread. The intervals are exact ones, of Clopper "
            f"and Pearson for the accuracy of {bootstrap.units} independent {bootstrap.of} without an error."
        )


def _that_flatter(exposure: Exposure) -> Iterator[str]:
    if exposure.thresholds:
        yield (
            "The threshold of each label was chosen on these images for its F1, which flatters F1 and accuracy; the "
            "average precision knows no threshold."
        )
    if exposure.chosen and not exposure.tested:
        first, *more = exposure.chosen
        what = " and ".join([first[0].upper() + first[1:], *more])
        yield (
            f"{what} {'were' if more else 'was'} chosen on these images, so they flatter "
            f"{'them' if more else 'it'} a little. Keep some for a test that chose nothing: split.test=0.2."
        )
    if exposure.members:
        yield (
            "The members' best epochs, and their weights where those are fitted, were chosen on these images, so they "
            "flatter it a little."
        )
    if exposure.own_fold:
        yield "The best epoch of each run was chosen on its own fold, so these figures flatter it a little."
