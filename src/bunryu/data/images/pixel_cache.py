"""Fitted pictures kept between epochs and runs, so that large originals are decoded once.

One .npy file of records for each set of pictures and way of reading them: a row is a checksum and the pixels. Whoever
decodes a picture writes its row; a row is believed only where its checksum fits. So nothing is locked: two runs
write the same bytes to the same places, and what a kill left half written is decoded again. Rows are read and
written by calls, not through a memory map, where a full disk or a file cut short would be a crash, not an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shutil
import threading
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import PIL
from numpy.typing import NDArray
from PIL import features

from bunryu.core import console
from bunryu.core.cache import cache_folder, key_of_facts, make_room
from bunryu.core.errors import TrainingError
from bunryu.core.storage import write_atomic
from bunryu.data.checks.verdict import content_digest
from bunryu.data.images.decode import Pixels, Source, load
from bunryu.data.table import Table, Texts
from bunryu.settings.data import DataSettings, DecodeSpec, InputSpec

VERSION = 1
"""Bump it when decoding or fitting changes its pixels: everything kept before is then decoded again."""
WORTH_MEGAPIXELS = 1.0
"""With ``data.pixel_cache=auto``, pictures are kept where the originals have so many or more, on average."""
_LOSSY = ("jpg", "libjpeg_turbo", "jpg_2000", "webp", "avif")
"""Libraries whose versions may decode the same file to other pixels."""
_FREE = 10**9
"""Bytes of the disk that are left free, for the run itself."""
_CHECKSUM_BYTES = 4


def worth_keeping(settings: DataSettings, megapixels: float, epochs: int) -> bool:
    """Return whether a run keeps its decoded pictures: as `data.pixel_cache` says; auto never depends on timing.

    Args:
        settings: what the user wants.
        megapixels: of the originals, on average; 0 where that is not known.
        epochs: how often the run reads each picture.
    """
    if settings.pixel_cache == "auto":
        return settings.cache_gb > 0 and epochs > 1 and megapixels >= WORTH_MEGAPIXELS
    return settings.pixel_cache == "on"


def pixel_facts(decode: DecodeSpec, input: InputSpec) -> dict[str, Any]:
    """Return all that fitted pixels follow from, beside the content of their file. Mean and std have no part in it."""
    return {
        "version": VERSION,
        "decode": decode.model_dump(),
        "input": input.model_dump(exclude={"mean", "std"}),
        "libraries": [PIL.__version__, *(features.version(name) for name in _LOSSY)],
    }


def pixel_cache(table: Table, settings: DataSettings) -> PixelCache | None:
    """Return where the table's pictures are kept, or None where they are not to be, or were never digested."""
    if settings.pixel_cache != "on" or table.digests is None or not settings.cache_gb:
        return None
    return PixelCache(table.digests, settings.cache_gb)


class PixelCache:
    """The pictures of one table, by content: a copied or renamed folder is the same data."""

    def __init__(self, digests: Texts, limit_gb: float) -> None:
        self.digests, self.slots = np.unique(digests, return_inverse=True)
        self._set = hashlib.sha256("\n".join(self.digests).encode()).hexdigest()
        self._limit_gb = limit_gb
        self._files: dict[str, KeptPixels | None] = {}
        self._told = False
        self._lock = threading.Lock()

    def opened(self, decode: DecodeSpec, input: InputSpec) -> KeptPixels | None:
        """Return the file of pictures read and fitted so; None where none can be kept, which is said once.

        What was refused, or removed by another run, is not begun again.
        """
        key = key_of_facts(images=self._set, **pixel_facts(decode, input))
        if key not in self._files:
            self._files[key] = self._open(KeptPixels(self, key, decode, input))
        found = self._files[key]
        if found is not None:
            with contextlib.suppress(OSError):
                os.utime(found.path)  # used now, so others are removed before it
        return found

    def _open(self, file: KeptPixels) -> KeptPixels | None:
        try:
            why = self._found_or_begun(file)
        except (OSError, TrainingError) as error:
            why = str(error)
        if why:
            self.tell(why)
        return None if why else file

    def _found_or_begun(self, file: KeptPixels) -> str:
        """Find the file, or begin it; return why it cannot be, or ""."""
        needed = f"those of {file.told} need {file.size / 1e9:.2g} GB"
        if file.size > self._limit_gb * 1e9:
            return f"{needed}, and data.cache_gb is {self._limit_gb:g}"
        if file.is_there():
            return ""
        file.path.parent.mkdir(parents=True, exist_ok=True)
        if not make_room(file.size, self._limit_gb, [own.path for own in self._files.values() if own]):
            return f"{needed} beside the others, and data.cache_gb is {self._limit_gb:g}"
        if shutil.disk_usage(file.path.parent).free < file.size + _FREE:
            return f"{needed}, which the disk of {file.path.parent} does not have"
        file.begin()
        return ""

    def tell(self, why: str) -> None:
        """Say once that pictures are decoded anew each time."""
        with self._lock:
            told, self._told = self._told, True
        if not told:
            console.say(f"Decoded pictures cannot all be kept ({why}); the others are decoded anew each time.")


class KeptPixels:
    """One file of pictures. Any number of threads and processes may use it at a time.

    Attributes:
        path: an .npy file; each record has ``checksum`` and ``pixels`` (H, W, C), and is all 0 until it is written.
        size: its bytes. It is so long from the start, and takes space on the disk as rows are written.
        told: height and width, for messages.
    """

    def __init__(self, cache: PixelCache, key: str, decode: DecodeSpec, input: InputSpec) -> None:
        self.path = cache_folder() / "pixels" / f"{key}.npy"
        self._cache, self._decode, self._input = cache, decode, input
        self._shape = (input.height, input.width, input.depth)
        self._row_bytes = _CHECKSUM_BYTES + int(np.prod(self._shape))
        self._head = _head(len(cache.digests), self._shape)
        self._writing = True
        self.told = f"{input.height}x{input.width}"
        self.size = len(self._head) + len(cache.digests) * self._row_bytes

    def is_there(self) -> bool:
        """Return whether the file is there."""
        try:
            with self.path.open("rb") as file:
                return file.read(len(self._head)) == self._head
        except FileNotFoundError:
            return False

    def begin(self) -> None:
        """Make the file, without rows; one that is there is replaced, never cut short under its readers."""
        write_atomic(self.path, self._head)
        os.truncate(self.path, self.size)

    def load(self, row: int, source: Source) -> Pixels:
        """Return the pixels of a row of the table: as kept, else from `source`, and kept from now on.

        Raises:
            ImageError: `source` cannot be read.
        """
        slot = int(self._cache.slots[row])
        found = self._find(slot)
        if found is not None:
            return found
        if not self._writing or not isinstance(source, (str, os.PathLike, bytes)):
            return load(source, self._decode, self._input)
        try:
            content = source if isinstance(source, bytes) else Path(source).read_bytes()
        except OSError:
            return load(source, self._decode, self._input)  # which says what is wrong
        pixels = load(content, self._decode, self._input)
        if content_digest(content).hex() == self._cache.digests[slot]:  # else it changed since it was checked
            self._keep(slot, pixels)
        return pixels

    def _find(self, slot: int) -> Pixels | None:
        record = np.empty(self._row_bytes, np.uint8)
        try:
            with self.path.open("rb", buffering=0) as file:
                file.seek(self._place(slot))
                if file.readinto(record) != len(record):  # type: ignore[arg-type]
                    return None
        except OSError:
            return None
        checksum, pixels = int.from_bytes(record[:_CHECKSUM_BYTES], "little"), record[_CHECKSUM_BYTES:]
        if not checksum or checksum != self._checksum(slot, pixels):
            return None
        return pixels.reshape(self._shape)

    def _keep(self, slot: int, pixels: Pixels) -> None:
        pixels = np.ascontiguousarray(pixels)
        record = self._checksum(slot, pixels).to_bytes(_CHECKSUM_BYTES, "little") + pixels.tobytes()
        try:
            with self.path.open("r+b") as file:
                file.seek(self._place(slot))
                file.write(record)
        except OSError as error:
            self._writing = False
            self._cache.tell(str(error))

    def _place(self, slot: int) -> int:
        return len(self._head) + slot * self._row_bytes

    def _checksum(self, slot: int, pixels: NDArray[np.uint8]) -> int:
        return zlib.crc32(pixels, zlib.crc32(self._cache.digests[slot].encode()))  # type: ignore[arg-type]


def _head(rows: int, shape: tuple[int, ...]) -> bytes:
    """Return the head of the .npy file."""
    record: list[tuple[Any, ...]] = [("checksum", "<u4"), ("pixels", "u1", shape)]
    descr = np.lib.format.dtype_to_descr(np.dtype(record))
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": descr, "fortran_order": False, "shape": (rows,)})
    return buffer.getvalue()
