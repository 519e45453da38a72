"""Whether a sealed file is, to the bit, what was sealed: the SHA-256 of its own bytes, kept in its metadata.

It tells damage, of a disk or a copy. It does not tell who sealed the file: who changes one can seal it again.
"""

from __future__ import annotations

import hashlib
import struct
from pathlib import Path

from bunryu.core.errors import RunError

KEY = "digest"
BLANK = "0" * 64
"""Stands in the place of the digest while it is taken."""
_PIECE = 1 << 20


def with_digest(content: bytes) -> list[bytes | memoryview]:
    """Return a safetensors file whose metadata has ``digest`` blank, with its digest there, in pieces."""
    digest = hashlib.sha256(content).hexdigest()
    end = 8 + struct.unpack("<Q", content[:8])[0]
    return [content[:8], content[8:end].replace(_pair(BLANK), _pair(digest), 1), memoryview(content)[end:]]


def digest_of(path: Path, digest: str) -> str:
    """Return the digest of a file which has this one in its metadata; they differ where it is damaged."""
    with path.open("rb") as file:
        start = file.read(8)
        header = file.read(struct.unpack("<Q", start)[0])
        found = hashlib.sha256(start + header.replace(_pair(digest), _pair(BLANK), 1))
        while piece := file.read(_PIECE):
            found.update(piece)
    return found.hexdigest()


def require_intact(path: Path, digest: str) -> None:
    """Refuse a file that is not what was sealed.

    Raises:
        RunError: naming it, and how to mend it.
    """
    if digest_of(path, digest) != digest:
        best = path.parent / "checkpoints" / "best.safetensors"
        also = f" Or use {best}: the same training, without what was chosen after it." if best.exists() else ""
        raise RunError(
            f"{path} is damaged: its content is not what was sealed (the SHA-256 differs), so its answers could be "
            f"wrong. Copy it again from where it came.{also}"
        )


def _pair(digest: str) -> bytes:
    """Return the field as it stands in the header; within a text its quotes would be escaped."""
    return f'"{KEY}":"{digest}"'.encode()
