"""What a look at one picture finds besides its pixels: how deep it is, whether it is blank, what is not used of it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile

from bunryu.data.images.deep import Deep

LEVELS = (0.0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1.0)
"""Which quantiles of a deep picture's values are kept."""
_ENOUGH = 1 << 20
"""Values of a large picture that its inner quantiles are taken of."""


@dataclass(frozen=True)
class Facts:
    """Of one picture.

    Attributes:
        kind: 12-bit, 16-bit, 32-bit or float; "" of 8 bits.
        quantiles: of its values at `LEVELS`; none of 8 bits, or where nothing in it is a number.
        blank: whether all of it is of one colour.
        alpha_like_data: whether what should be transparency looks like a further band of data.
        unused_bands: how many bands are not looked at, beyond the colours.
        warning: what Pillow warned of.
    """

    kind: str = ""
    quantiles: tuple[float, ...] = ()
    blank: bool = False
    alpha_like_data: bool = False
    unused_bands: int = 0
    warning: str = ""

    def text(self) -> str:
        """Return them as text; "" where there is nothing to say."""
        said = {name: value for name, value in asdict(self).items() if value}
        return json.dumps(said) if said else ""

    @classmethod
    def read(cls, text: str) -> Facts:
        """Return what `text` says."""
        said = json.loads(text) if text else {}
        known = {field.name for field in fields(cls)}
        found: dict[str, Any] = {name: value for name, value in said.items() if name in known}
        return cls(**found | {"quantiles": tuple(found.get("quantiles", ()))})


PLAIN = Facts()


def facts_of(raw: Image.Image | Deep, flat: NDArray[np.uint8], file: Any, warning: str) -> Facts:
    """Return the facts of a picture.

    Args:
        raw: as its file holds it.
        flat: its pixels in 8 bits.
        file: as it was opened.
        warning: of Pillow.
    """
    alpha = _alpha(raw)
    common: dict[str, Any] = {
        "alpha_like_data": alpha is not None and _looks_like_data(alpha),
        "unused_bands": _unused_bands(file),
        "warning": warning,
    }
    if isinstance(raw, Deep):
        found = _quantiles(raw.values)
        return Facts(raw.kind, found, not found or found[0] == found[-1], **common)
    return Facts(blank=_blank(flat), **common)


def _quantiles(values: NDArray[Any]) -> tuple[float, ...]:
    flat = values.ravel()
    known = flat[np.isfinite(flat)] if flat.dtype.kind == "f" else flat
    if not known.size:
        return ()
    ends = float(known.min()), float(known.max())
    some = known[:: max(1, known.size // _ENOUGH)].astype(np.float64)
    inner = np.quantile(some, LEVELS[1:-1]).tolist()
    return (ends[0], *inner, ends[1])


def _blank(pixels: NDArray[np.uint8]) -> bool:
    """Return whether all pixels are alike; nearly always a few of them tell that they are not."""
    first = pixels[0, 0]
    few = pixels[:: max(1, len(pixels) // 8), :: max(1, pixels.shape[1] // 8)]
    return bool((few == first).all()) and bool((pixels == first).all())


def _alpha(raw: Image.Image | Deep) -> NDArray[np.uint8] | None:
    if isinstance(raw, Deep):
        return raw.alpha
    return np.asarray(raw.getchannel("A")) if raw.mode in ("RGBA", "LA") else None


def _looks_like_data(alpha: NDArray[np.uint8]) -> bool:
    """Return whether an alpha channel is hardly one: most of it half transparent, and in many steps."""
    counts = np.bincount(alpha.ravel(), minlength=256)
    return bool(counts[1:255].sum() > alpha.size / 2) and int((counts > 0).sum()) > 16


def _unused_bands(file: Any) -> int:
    tags: Any = getattr(file, "tag_v2", None) if isinstance(file, ImageFile.ImageFile) else None
    if tags is None or tags.get(262) not in (1, 2):
        return 0
    return sum(kind == 0 for kind in tags.get(338, ()))
