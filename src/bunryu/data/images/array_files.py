"""Files that hold an array of values and no picture format: .npy, and DICOM by pydicom."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import ImageError
from bunryu.data.images.formats import DICOM, Format

Values = NDArray[Any]


@dataclass(frozen=True)
class ArrayFile:
    """An open file of an array.

    Attributes:
        format: its name.
        size: width and height.
        read: returns the values, H x W or H x W x C.
        frames: how many pictures it holds; the first is read.
    """

    format: str
    size: tuple[int, int]
    read: Callable[[], Values]
    frames: int = 1
    mode: str = field(default="array")


def open_npy(file: IO[bytes]) -> ArrayFile:
    """Open a .npy file: its head says the shape, and nothing in it is ever run. Raise ImageError or ValueError."""
    version = np.lib.format.read_magic(file)
    read_head = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_head(file)
    if dtype.kind not in "uif" or not is_shape(shape):
        raise ImageError(
            "a NumPy array that is no picture: expected numbers of H×W, H×W×1, H×W×3 or H×W×4, received "
            f"{dtype} of {'×'.join(map(str, shape)) or 'no size'}"
        )

    def read() -> Values:
        file.seek(0)
        found: Values = np.lib.format.read_array(file, allow_pickle=False)
        return found

    return ArrayFile("NPY", (shape[1], shape[0]), read)


def open_dicom(file: IO[bytes]) -> ArrayFile:
    """Open a DICOM file with pydicom. Raise ImageError where that is not installed."""
    pydicom = plug_in(DICOM)
    found = pydicom.dcmread(file)
    if "PixelData" not in found or "Rows" not in found:
        raise ImageError("a DICOM file without pixels")

    def read() -> Values:
        pixels = pydicom.pixels.pixel_array(found, index=0)
        if found.get("PhotometricInterpretation") == "MONOCHROME1":  # low values are bright
            signed, bits = bool(found.get("PixelRepresentation", 0)), int(found.get("BitsStored", 16))
            pixels = (-1 if signed else 2**bits - 1) - pixels.astype(np.int32)
        if pixels.ndim == 2:
            pixels = pydicom.pixels.apply_modality_lut(pixels, found)
        return np.asarray(pixels)

    return ArrayFile("DICOM", (int(found.Columns), int(found.Rows)), read, int(found.get("NumberOfFrames", 1) or 1))


def is_shape(shape: tuple[int, ...]) -> bool:
    """Return whether an array of this shape can be one picture."""
    return len(shape) in (2, 3) and 0 not in shape and (len(shape) == 2 or shape[2] in (1, 3, 4))


def plug_in(one: Format) -> Any:
    """Return the module that reads a format. Raise ImageError, saying how it is installed."""
    try:
        return importlib.import_module(one.module)
    except ImportError:
        raise ImageError(one.unread) from None
