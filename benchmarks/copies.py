"""Are copies told from pictures that are merely alike? Plants copies of real pictures and counts.

What it calls copies among the pictures that are most alike is listed: copies that the folder itself holds, or errors.

python benchmarks/copies.py ../shared/data/sketch ../shared/data/ants_bees --count 200
"""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import numpy as np
from PIL import Image

from bunryu.evaluate.same_picture import SAME, Thumbnails, agreement, thumbnails

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
    found: dict[str, list[float]] = {}
    for file in chosen:
        image = Image.open(file).convert("RGB")
        own = thumbnails(np.asarray(image))
        for kind, copy in planted(image, rng).items():
            found.setdefault(kind, []).append(agreement(own, thumbnails(np.asarray(copy))))
    print(f"{folder.name}: {len(chosen)} pictures, threshold {SAME}")
    for kind, values in found.items():
        print(
            f"  {kind}: {np.mean(np.array(values) >= SAME):.3f} found (5th percentile {np.quantile(values, 0.05):.3f})"
        )
    everyone = [thumbnails(np.asarray(Image.open(file).convert("RGB"))) for file in files]
    alike = most_alike(everyone)
    different = sorted((agreement(everyone[i], everyone[j]), i, j) for i, j in alike)
    wrong = [one for one in different if one[0] >= SAME]
    pairs = len(files) * (len(files) - 1) // 2
    print(f"  of {pairs:,} pairs of pictures the {len(alike)} most alike by thumbnail: {len(wrong)} called copies")
    for value, i, j in different[-4:]:
        print(f"    {value:.3f} {files[i].relative_to(folder)} {files[j].relative_to(folder)}")


def most_alike(own: list[Thumbnails], count: int = 300) -> list[tuple[int, int]]:
    """Return the pairs whose thumbnails correlate most: the hardest that there are."""
    whole_NP = np.stack([one.windows_WP[0] for one in own])
    found_NN = np.full((len(own), len(own)), -1, np.float32)
    for window in range(len(own[0].windows_WP)):
        part_NP = np.stack([one.windows_WP[window] for one in own])
        np.maximum(found_NN, part_NP @ whole_NP.T, out=found_NN)
    i_P, j_P = np.triu_indices(len(own), 1)
    value_P = np.maximum(found_NN, found_NN.T)[i_P, j_P]
    return [(int(i_P[at]), int(j_P[at])) for at in np.argsort(-value_P)[:count]]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folders", type=Path, nargs="+")
    parser.add_argument("--count", type=int, default=200)
    given = parser.parse_args()
    for folder in given.folders:
        measure(folder, given.count)
