"""What people hand over to be predicted: pictures as paths, bytes or arrays; anything else is refused."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from bunryu.core.errors import DataError
from bunryu.data.images.decode import Source

_EXPECTED = (
    "a path, the bytes of an image file, a uint8 array of shape (H, W), (H, W, 3) or (H, W, 4), or a list of these"
)


def as_sources(images: Source | Iterable[Source], *, deep: Callable[[], bool] = lambda: False) -> list[Source]:
    """Return one picture, or several (also as one array of shape (N, H, W, C)), as a list.

    Args:
        images: paths, bytes, arrays.
        deep: asked where an array of other numbers than uint8 comes: whether that is a picture (there is a range).

    Raises:
        DataError: something that is no picture, with how to make one of it.
    """
    if isinstance(images, np.ndarray) and images.ndim == 4:
        items = list(images)
    elif isinstance(images, (str, bytes, os.PathLike, np.ndarray)):
        return [_required(images, "", deep)]
    elif _mend(images) or not isinstance(images, Iterable):
        raise _refused(images, "")
    else:
        items = list(images)
    return [_required(item, f" as image {position}", deep) for position, item in enumerate(items)]


def source_name(source: Source, position: int) -> str:
    """Return what a picture is called in results: its path, or its position."""
    return f"image {position}" if isinstance(source, (bytes, np.ndarray)) else os.fspath(cast(str, source))


def _required(item: Any, where: str, deep: Callable[[], bool]) -> Source:
    if isinstance(item, (str, bytes, os.PathLike)) or (isinstance(item, np.ndarray) and _is_picture(item, deep)):
        return cast(Source, item)
    raise _refused(item, where)


def _is_picture(array: NDArray[Any], deep: Callable[[], bool]) -> bool:
    shaped = array.ndim == 2 or (array.ndim == 3 and array.shape[2] in (1, 3, 4))
    return shaped and (array.dtype == np.uint8 or (array.dtype.kind in "uif" and deep()))


def _refused(item: Any, where: str) -> DataError:
    if isinstance(item, np.ndarray):
        received = f"a {item.dtype} array of shape {item.shape}"
    else:
        received = "None" if item is None else f"a value of type {type(item).__name__}"
    return DataError(f"Expected {_EXPECTED}; received {received}{where}.{_mend(item)}")


def _mend(item: Any) -> str:
    """Return how to make a picture, or a list of them, of `item`; an empty string where that is not known."""
    if isinstance(item, np.ndarray):
        return _mend_array(item)
    if isinstance(item, Image.Image):
        return " Give the path of its file (then EXIF counts), or np.asarray(image.convert('RGB'))."
    if hasattr(item, "columns") and hasattr(item, "iterrows"):
        return ' Give its column with the paths: frame["path"].tolist()'
    if hasattr(item, "detach") and hasattr(item, "numpy"):
        return " Give an array: tensor.numpy(), as uint8 from 0 to 255 and with the colours last."
    if hasattr(item, "read"):
        return " Give its bytes: file.read()"
    if isinstance(item, (bytearray, memoryview)):
        return " Give bytes(...) of it."
    return " Give a list: list(images.values())" if isinstance(item, Mapping) else ""


def _mend_array(array: NDArray[Any]) -> str:
    """Return how to make a picture of an array that is none."""
    if array.dtype.kind in "OUS":
        return " For an array of paths: array.tolist()"
    if array.dtype != np.uint8:
        return " Give uint8 from 0 to 255; values from 0 to 1: (array * 255).round().astype(np.uint8)"
    colours_first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
    return " Put the colours last: array.transpose(1, 2, 0)" if colours_first else ""
