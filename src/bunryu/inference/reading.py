"""How pictures are read and answered in one pass, and what comes back of it. No torch here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bunryu.core import console
from bunryu.data.images.value_range import why_strange

if TYPE_CHECKING:
    from bunryu.data.images.deep import Seen
    from bunryu.data.images.pixel_cache import PixelCache
    from bunryu.inference.examples import Examples
    from bunryu.models.record import Sealed

BATCH = 32
"""Pictures in one forward pass, everywhere, so that the same files give the same bits."""


@dataclass(frozen=True)
class Reading:
    """How a pass over pictures goes.

    Attributes:
        batch_size: pictures in one forward pass.
        workers: threads that decode; the number of cores when None.
        told: shown with the progress; none is shown when None.
        cache: where the pictures of the rows' table are kept; None to decode them.
        logits: whether the answers keep what one network said before its decision (`Answers.logits_NC`).
        examples: keeps pictures to show as they are read, where all that is asked of them is known at once.
    """

    batch_size: int = BATCH
    workers: int | None = None
    told: str | None = None
    cache: PixelCache | None = None
    logits: bool = False
    examples: Examples | None = None


PLAIN = Reading()
"""Nothing shown, nothing kept."""


@dataclass(frozen=True)
class Answers:
    """What a model answers to pictures.

    Attributes:
        rows: those that could be read, in the order asked for, int64 (N,).
        probs_NK: class probabilities of each, float32 (N, K).
        failed: row -> reason of the others.
        logits_NC: what the network said, float32 (N, C), C over all its heads; None where `Reading.logits` did not
            ask, or several predict together.
        pictures: row -> pixels, uint8 (H, W, C), of those that `Reading.examples` kept.
        seen: row -> what values it held, of pictures of more than 8 bits.
    """

    rows: NDArray[np.int64]
    probs_NK: NDArray[np.float32]
    failed: dict[int, str] = field(default_factory=dict)
    logits_NC: NDArray[np.float32] | None = None
    pictures: dict[int, NDArray[np.uint8]] = field(default_factory=dict)
    seen: dict[int, Seen] = field(default_factory=dict)


def say_strange(answers: Answers, sealed: Sealed) -> None:
    """Warn where the values of deep pictures differ strongly from what the model learned from."""
    if why := why_strange(list(answers.seen.values()), sealed.decode.range):
        console.say(f"warning: {why}.", style="yellow")


def in_chunks(rows: NDArray[np.int64], size: int) -> Iterator[NDArray[np.int64]]:
    """Yield the rows `size` at a time, in order."""
    return (rows[start : start + size] for start in range(0, len(rows), size))
