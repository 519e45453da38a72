"""The check of many small files, its second time, and whether memory stays flat; docs/performance.md from it.

    python benchmarks/checking.py [--files 100000] [--decoded 20000]

Prints one JSON line and writes it to benchmarks/checking.json.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

HERE = Path(__file__).parent
FIGURES = HERE / "checking.json"
PER_FOLDER = 1000
STARTS = {"--help": ["--help"], "an argument error": ["train", "--epoch", "3"]}


def make(folder: Path, files: int) -> None:
    """Write so many different JPEGs of 32 px, a thousand a class."""
    rng = np.random.default_rng(0)
    for number in range(files):
        target = folder / f"class{number // PER_FOLDER:04}" / f"{number}.jpg"
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(target)


def memory_mb() -> float:
    """Return the memory that this process holds now, in MB."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def check(folder: Path) -> dict[str, float]:
    """Check the images of a folder, as training does first; return seconds, and memory before and after."""
    from bunryu.data.checks.check import check_images
    from bunryu.data.sources.read import read_source
    from bunryu.settings.data import DataSettings, DecodeSpec

    start = time.perf_counter()
    table = read_source(DataSettings(source=str(folder)))
    listed, before = time.perf_counter() - start, memory_mb()
    checked = check_images(table, DecodeSpec(), level="full")
    return {
        "listed_s": listed,
        "checked_s": checked.seconds,
        "remembered": checked.remembered,
        "before_mb": before,
        "after_mb": memory_mb(),
    }


def decode(folder: Path, images: int) -> dict[str, list[float]]:
    """Decode so many images in threads; return the memory held after each tenth of them."""
    from bunryu.data.images.load import load_batches
    from bunryu.data.sources.read import read_source
    from bunryu.settings.data import DataSettings, DecodeSpec, InputSpec

    table = read_source(DataSettings(source=str(folder)))
    spec = InputSpec(height=224, width=224, channels="rgb", fit="crop", mean=[0.0] * 3, std=[1.0] * 3)
    batches = np.array_split(np.arange(images), images // 32)
    held = []
    for number, _ in enumerate(load_batches(table.file, iter(batches), DecodeSpec(), spec), 1):
        if number % (len(batches) // 10) == 0:
            held.append(memory_mb())
    return {"held_mb": held}


def child(what: str, folder: Path, count: int, cache: Path) -> dict[str, Any]:
    """Run a part in a process of its own."""
    command = [sys.executable, __file__, "--part", what, str(folder), "--decoded", str(count)]
    environment = {**os.environ, "BUNRYU_CACHE": str(cache)}
    run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    found: dict[str, Any] = json.loads(run.stdout.splitlines()[-1])
    return found


def start_seconds(arguments: list[str]) -> float:
    """Return the median seconds of a command that needs no model."""
    seconds = []
    for _ in range(5):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-m", "bunryu", *arguments], capture_output=True, check=False)
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--decoded", type=int, default=20_000)
    parser.add_argument("--part", nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part:
        what, folder = options.part
        print(json.dumps(check(Path(folder)) if what == "check" else decode(Path(folder), options.decoded)))
        return
    found: dict[str, Any] = {"files": options.files, "decoded": options.decoded}
    found["start_s"] = {name: start_seconds(arguments) for name, arguments in STARTS.items()}
    with tempfile.TemporaryDirectory() as name:
        photos, cache = Path(name) / "photos", Path(name) / "cache"
        make(photos, options.files)
        for time_ in ("first", "second"):
            found[time_] = child("check", photos, 0, cache)
        found["decode"] = child("decode", photos, options.decoded, cache)
    print(json.dumps(found))
    FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
