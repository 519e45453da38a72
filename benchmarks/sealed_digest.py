"""What telling a damaged model costs: the SHA-256 of a sealed file, and its share of opening the network in it.

python benchmarks/sealed_digest.py [MB]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import save

from bunryu.models import digest
from bunryu.models.build import build
from bunryu.models.record import Architecture, Head, Sealed, read_metadata
from bunryu.models.sealed_file import open_sealed, seal
from bunryu.settings.data import DecodeSpec, InputSpec

TIMES = 7
NET = "timm/efficientnet_b2"
"""About 31 MB."""


def least(work: Callable[[], object]) -> float:
    """Return the least of several times in milliseconds: other work on the machine only adds to it."""
    times = []
    for _ in range(TIMES):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times) * 1e3


def main() -> None:
    """Print both."""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        content = save({"weight": torch.rand(megabytes * 250_000)}, {digest.KEY: digest.BLANK})
        path.write_bytes(b"".join(digest.with_digest(content)))
        sealed = read_metadata(path)[digest.KEY]
        print(f"{megabytes} MB: {least(lambda: digest.require_intact(path, sealed)):.1f} ms")
        architecture = Architecture(name=NET)
        record = Sealed(
            architecture=architecture,
            heads=[Head(column="label", classes=["a", "b"])],
            decode=DecodeSpec(),
            input=InputSpec(height=224, width=224, mean=[0.5] * 3, std=[0.5] * 3),
        )
        seal(path, build(architecture, 2), record)
        sealed = read_metadata(path)[digest.KEY]
        whole, part = least(lambda: open_sealed(path)), least(lambda: digest.require_intact(path, sealed))
        print(f"{NET}, {path.stat().st_size / 1e6:.0f} MB: opened in {whole:.0f} ms, of which {part:.1f} ms digest")


if __name__ == "__main__":
    main()
