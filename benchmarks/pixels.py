"""Photos to fitted uint8 pixels, ms an image: decoded in full, scaled, and from the cache (data.pixel_cache).

    python benchmarks/pixels.py [PHOTOS] [--json benchmarks/pixels.json]

PHOTOS is a tree of JPEGs (../shared/data/ants_bees). They are measured as they are, and enlarged. Each is fitted to
256 x 256, as for training at 224. "fill" is the first pass, which decodes (scaled) and writes; "kept" the passes after
it, from files that the system still has in memory. Contenders take turns; medians of several rounds. Pixels from the
cache are compared with those decoded: they must be the same.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL

from bunryu.data.checks.verdict import content_digest
from bunryu.data.images.load import load_batches
from bunryu.data.images.pixel_cache import PixelCache
from bunryu.data.table import texts
from bunryu.settings.data import DecodeSpec, InputSpec
from decode import FULL, SCALED, copy

ROOT = Path(__file__).resolve().parents[1]
INPUT = InputSpec(height=256, width=256, mean=[0.0] * 3, std=[1.0] * 3)
SETS = [("as they are", None), ("0.4 MP", 0.43e6), ("1 MP", 1e6), ("2 MP", 2e6), ("4 MP", 4e6), ("12 MP", 12e6)]
COUNT, ROUNDS = 60, 5


def read(files: list[str], spec: DecodeSpec, threads: int, cache: PixelCache | None = None) -> int:
    """Read all files once; return a sum that depends on every batch."""
    batches = np.array_split(np.arange(len(files)), max(1, len(files) // 32))
    found = load_batches(files.__getitem__, batches, spec, INPUT, workers=threads, cache=cache)
    return sum(int(batch.pixels_BHWC.sum()) for batch in found)


def measure(name: str, files: list[str], threads: int) -> dict[str, object]:
    """Return a row: ms an image of each contender."""
    digests = texts([content_digest(Path(file).read_bytes()).hex() for file in files])  # also brings them into memory
    seconds: dict[str, list[float]] = {}
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            os.environ["BUNRYU_CACHE"] = folder
            cache = PixelCache(digests, 1.0)
            contenders: dict[str, Callable[[], int]] = {
                "full": lambda: read(files, FULL, threads),
                "scaled": lambda: read(files, SCALED, threads),
                "fill": lambda cache=cache: read(files, SCALED, threads, cache),
                "kept": lambda cache=cache: read(files, SCALED, threads, cache),
            }
            sums = {}
            for contender, run in contenders.items():
                start = time.perf_counter()
                sums[contender] = run()
                seconds.setdefault(contender, []).append(time.perf_counter() - start)
            assert sums["scaled"] == sums["fill"] == sums["kept"]
    ms = {contender: 1000 * statistics.median(times) / len(files) for contender, times in seconds.items()}
    gains = "".join(f"{ms[contender] / ms['kept']:8.1f}x" for contender in ("full", "scaled"))
    print(f"{name:<12}{threads:>8}" + "".join(f"{value:10.2f}" for value in ms.values()) + gains, flush=True)
    return {"photos": name, "n": len(files), "threads": threads, "ms": ms}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path, default=ROOT.parent / "shared" / "data" / "ants_bees")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "pixels.json")
    options = parser.parse_args()
    photos = sorted(options.photos.rglob("*.jpg"))
    if not photos:
        parser.error(f"no .jpg below {options.photos}")
    print("ms an image of           threads      full    scaled      fill      kept   full    scaled (to kept)")
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, pixels in SETS:
            files = copy(photos[:: max(1, len(photos) // COUNT)][:COUNT], Path(temporary) / name, pixels)
            found += [measure(name, files, threads) for threads in (1, 2)]
    about = {"cores": len(os.sched_getaffinity(0)), "pillow": PIL.__version__, "rounds": ROUNDS}
    options.json.write_text(json.dumps({"environment": about, "rows": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
