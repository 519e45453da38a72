"""What telling a damaged model costs: the SHA-256 of a sealed file of so many MB, taken at every opening.

python benchmarks/sealed_digest.py [MB]
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import torch
from safetensors.torch import save

from bunryu.models import digest


def main() -> None:
    """Print the best of seven times."""
    megabytes = int(sys.argv[1]) if len(sys.argv) > 1 else 25
    content = save({"weight": torch.rand(megabytes * 250_000)}, {digest.KEY: digest.BLANK})
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.safetensors"
        path.write_bytes(digest.with_digest(content))
        times = []
        sealed = digest.with_digest(content)[:200].split(b'"digest":"')[1][:64].decode()
        for _ in range(7):
            start = time.perf_counter()
            digest.require_intact(path, sealed)
            times.append(time.perf_counter() - start)
    print(f"{megabytes} MB: {min(times) * 1e3:.1f} ms")


if __name__ == "__main__":
    main()
