"""The next batch is copied to the GPU, and augmented there, while the present one is learned from."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TypeVar

import torch

T = TypeVar("T")
Item = tuple[torch.Tensor, T]


def prefetched(batches: Iterator[Item[T]], device: torch.device) -> Iterator[Item[T]]:
    """Yield the batches unchanged; on a GPU the next one is begun, on a stream of its own, before each is yielded.

    As in timm's PrefetchLoader: what a stream reads must be told to the allocator (`record_stream`), or its memory is
    given away while it is still in use. On other devices nothing would overlap, and no second batch takes memory.
    """
    if device.type != "cuda":
        yield from batches
        return
    side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def begin() -> Item[T] | None:
        with torch.cuda.stream(side):
            return next(batches, None)

    following = begin()
    while following is not None:
        present = torch.cuda.current_stream(device)
        present.wait_stream(side)
        item, following = following, begin()
        item[0].record_stream(present)
        yield item
