"""Files to fitted uint8 pixels, ms an image: the tutorial's way, ours in full, ours scaled.

    python benchmarks/decode.py [PHOTOS] [--json benchmarks/decode.json]

PHOTOS is a tree of JPEGs (../shared/data/ants_bees). They are measured as they are, and enlarged to 0.4 and 12 MP.
All three give 224 x 224 from a shorter side of 256, bilinear, in threads, and take turns; medians of several rounds.
The tutorial's way is torchvision's ImageFolder with Resize and CenterCrop on PIL images, here in threads too: no
worker processes to start, nothing to send between them.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import PIL
import torch
from PIL import Image
from torchvision import transforms
from torchvision.datasets import ImageFolder

from bunryu.data.images.decode import load
from bunryu.data.images.load import load_batches
from bunryu.settings.data import DecodeSpec, InputSpec

ROOT = Path(__file__).resolve().parents[1]
INPUT = InputSpec(height=224, width=224, crop_pct=0.875, mean=[0.0] * 3, std=[1.0] * 3)
FULL, SCALED = DecodeSpec(scaling="full"), DecodeSpec(scaling="jpeg")
TUTORIAL = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.PILToTensor()])
SETS = [("as they are", None, 300), ("0.4 MP", 0.43e6, 150), ("12 MP", 12e6, 16)]
ROUNDS = 5


def copy(photos: list[Path], folder: Path, pixels: float | None) -> list[str]:
    """Write the photos into one class of `folder`, enlarged to so many pixels; return their paths."""
    (folder / "class").mkdir(parents=True)
    files = [folder / "class" / f"{number:04d}.jpg" for number in range(len(photos))]
    for photo, file in zip(photos, files, strict=True):
        if pixels is None:
            file.write_bytes(photo.read_bytes())
            continue
        with Image.open(photo) as im:
            by = (pixels / (im.width * im.height)) ** 0.5
            size = round(im.width * by), round(im.height * by)
            im.convert("RGB").resize(size, Image.Resampling.LANCZOS).save(file, quality=88)
    return [str(file) for file in files]


def contenders(folder: Path, files: list[str]) -> dict[str, Callable[[int], object]]:
    """Return, by name, what reads all files with so many threads."""
    dataset = ImageFolder(str(folder), transform=TUTORIAL)

    def tutorial(threads: int) -> None:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(dataset.__getitem__, range(len(dataset))))

    def ours(spec: DecodeSpec) -> Callable[[int], object]:
        batches = np.array_split(np.arange(len(files)), max(1, len(files) // 32))
        return lambda threads: [
            len(batch) for batch in load_batches(files.__getitem__, batches, spec, INPUT, workers=threads)
        ]

    return {"tutorial": tutorial, "full": ours(FULL), "scaled": ours(SCALED)}


def measure(name: str, folder: Path, files: list[str]) -> list[dict[str, object]]:
    """Return a row for each number of threads: ms an image of each contender, and how far scaled is from full."""
    apart = [
        np.abs(load(file, SCALED, INPUT).astype(int) - load(file, FULL, INPUT)).mean() for file in files
    ]  # also the warm-up
    rows: list[dict[str, object]] = []
    for threads in (1, 2):
        seconds: dict[str, list[float]] = {}
        for _ in range(ROUNDS):
            for contender, read in contenders(folder, files).items():
                start = time.perf_counter()
                read(threads)
                seconds.setdefault(contender, []).append(time.perf_counter() - start)
        ms = {contender: 1000 * statistics.median(times) / len(files) for contender, times in seconds.items()}
        rows.append({"photos": name, "n": len(files), "threads": threads, "ms": ms, "apart": float(np.mean(apart))})
        gains = "".join(f"{ms['tutorial'] / ms[contender]:7.2f}x" for contender in ("full", "scaled"))
        print(
            f"{name:<12}{threads:>8}" + "".join(f"{value:10.2f}" for value in ms.values()) + gains,
            f"{np.mean(apart):8.2f}",
            flush=True,
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", nargs="?", type=Path, default=ROOT.parent / "shared" / "data" / "ants_bees")
    parser.add_argument("--json", type=Path, default=ROOT / "benchmarks" / "decode.json")
    options = parser.parse_args()
    photos = sorted(options.photos.rglob("*.jpg"))
    if not photos:
        parser.error(f"no .jpg below {options.photos}")
    torch.set_num_threads(1)  # the rival resizes in PIL; torch only wraps the result
    print("ms an image of           threads  tutorial      full    scaled   full  scaled   apart (grey levels)")
    found: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as temporary:
        for name, pixels, count in SETS:
            folder = Path(temporary) / name
            found += measure(name, folder, copy(photos[:: max(1, len(photos) // count)][:count], folder, pixels))
    about = {"cores": len(os.sched_getaffinity(0)), "pillow": PIL.__version__, "rounds": ROUNDS}
    options.json.write_text(json.dumps({"environment": about, "rows": found}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
