"""Are copies told from pictures that are merely alike? Plants copies of real pictures and counts.

python benchmarks/copies.py ../shared/data/sketch ../shared/data/ants_bees --count 200
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from bunryu.evaluate.same_picture import SAME, Thumbnails, correlation, thumbnails

ENDINGS = {".jpg", ".jpeg", ".png"}


def planted(image: Image.Image, rng: np.random.Generator) -> dict[str, Image.Image]:
    """Return copies of a picture by what was done to it."""
    width, height = image.size
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    left, top, right, bottom = rng.uniform(0, 0.04, 4)
    box = (int(left * width), int(top * height), int((1 - right) * width), int((1 - bottom) * height))
    bright = np.clip(np.asarray(image, np.float32) * rng.choice([0.75, 1.25]), 0, 255).astype(np.uint8)
    return {
        "JPEG at 40": Image.open(stream).convert("RGB"),
        "half the size": image.resize((max(width // 2, 1), max(height // 2, 1)), Image.Resampling.BICUBIC),
        "brightness 3/4 or 5/4": Image.fromarray(bright),
        "cropped by up to 4 % a side": image.crop(box),
    }


def measure(folder: Path, count: int) -> None:
    """Print recall of each kind of copy, and how many pairs of different pictures are called copies."""
    rng = np.random.default_rng(0)
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS)
    chosen = [files[i] for i in sorted(rng.choice(len(files), min(count, len(files)), replace=False))]
    own: list[Thumbnails] = []
    found: dict[str, list[float]] = {}
    for file in chosen:
        image = Image.open(file).convert("RGB")
        own.append(thumbnails(np.asarray(image)))
        for kind, copy in planted(image, rng).items():
            found.setdefault(kind, []).append(correlation(own[-1], thumbnails(np.asarray(copy))))
    print(f"{folder.name}: {len(own)} pictures, threshold {SAME}")
    for kind, values in found.items():
        print(
            f"  {kind}: {np.mean(np.array(values) >= SAME):.3f} found (5th percentile {np.quantile(values, 0.05):.3f})"
        )
    different = sorted((correlation(a, b), i, j) for i, a in enumerate(own) for j, b in enumerate(own[:i]))
    wrong = [one for one in different if one[0] >= SAME]
    all_found = sum(int((np.array(values) >= SAME).sum()) for values in found.values())
    print(f"  different pictures: {len(wrong)} of {len(different)} pairs called copies; highest {different[-1][0]:.3f}")
    print(f"  precision {all_found / max(all_found + len(wrong), 1):.3f}")
    for value, i, j in different[-4:]:
        print(f"    {value:.3f} {chosen[i]} {chosen[j]}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args()
    for folder in given.folders:
        measure(folder, given.count)
