"""How few pictures are too few: a net from scratch, frozen weights and fine-tuning on subsets; docs/training/few.md.

    python benchmarks/small_data.py [--seeds 0 1] [--jobs ants_bees sketch]

Each subset has the same number of pictures a class, drawn anew for each seed; a fifth of them validates. What is
measured are other pictures, the same for all. What was measured before, of other seeds and jobs, is kept.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
WEIGHTS = "model.weights=../shared/weights/tf_efficientnetv2_b0.safetensors"
WAYS = {
    "from scratch": ("model.name=scratch_cnn", "input.size=64"),
    "frozen": (WEIGHTS, "input.size=128", "train.stages=[{name: head, freeze: backbone, views: 0, solve: true}]"),
    "fine-tuned": (WEIGHTS, "input.size=128"),
}
"""The defaults of each way, but for smaller pictures."""
SIZES = {"ants_bees": (10, 20, 50, 100), "sketch": (10, 20, 50, 200)}
"""Pictures a class, the validation's fifth among them."""
SKETCHES = ("n000", "n001", "n002", "n003", "n004")
"""The classes of sketch that have so many."""
TESTED = 75
"""Pictures a class that measure, of sketch; of ants_bees all of its own validation folder."""
FIGURES, PAGE = ROOT / "benchmarks" / "small_data.json", ROOT / "docs" / "training" / "few.md"
NOTES = ROOT / "docs" / "training" / "few.notes.md"


def subset(job: str, n: int, seed: int, folder: Path) -> None:
    """Link `n` pictures of each class under train/, and those that measure under test/."""
    data = SHARED / "data" / job
    tests = data / "val" if job == "ants_bees" else None
    for source in sorted((data / "train").iterdir()):
        if tests is None and source.name not in SKETCHES:
            continue
        files = sorted(source.iterdir())
        random.Random(0).shuffle(files)
        held = sorted((tests / source.name).iterdir()) if tests else files[:TESTED]
        chosen = random.Random(seed).sample(files if tests else files[TESTED:], n)
        for split, own in (("train", chosen), ("test", held)):
            place = folder / split / source.name
            place.mkdir(parents=True)
            for file in own:
                (place / file.name).symlink_to(file)


def run(job: str, way: str, n: int, seed: int) -> dict[str, Any]:
    """Train once on a subset; return its figures."""
    with tempfile.TemporaryDirectory() as place:
        subset(job, n, seed, Path(place) / job)
        out = Path(place) / "run"
        command = [sys.executable, "-m", "bunryu", "train", f"{place}/{job}", *WAYS[way], f"train.seed={seed}"]
        start = time.perf_counter()
        subprocess.run([*command, "--out", str(out), "-q"], cwd=ROOT, check=True, capture_output=True)
        seconds = time.perf_counter() - start
        test = json.loads((out / "metrics.json").read_text(encoding="utf-8"))["test"]
    found = {name: test[name] for name in ("accuracy", "macro_f1", "macro_recall", "n")}
    return {"job": job, "way": way, "pictures": n, "seed": seed, "seconds": round(seconds), **found}


def write_page(rows: list[dict[str, Any]]) -> None:
    """Write docs/training/few.md."""
    lines = [*NOTES.read_text(encoding="utf-8").splitlines(), ""]
    for job, sizes in SIZES.items():
        own = [row for row in rows if row["job"] == job]
        classes = 2 if job == "ants_bees" else len(SKETCHES)
        tested = max(row["n"] for row in own)
        lines += [f"## {job}: {classes} classes, chance {1 / classes:.2f}, measured on {tested} other pictures", ""]
        lines += ["| pictures a class | " + " | ".join(WAYS) + " |", "|---|" + "---|" * len(WAYS)]
        for n in sizes:
            cells = [[row["macro_recall"] for row in own if (row["pictures"], row["way"]) == (n, way)] for way in WAYS]
            lines.append(f"| {n} | " + " | ".join(map(_told, cells)) + " |")
        lines.append("")
    PAGE.write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")


def _told(values: list[float]) -> str:
    spread = f" ({min(values):.2f} to {max(values):.2f})" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{spread}" if values else "-"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--jobs", nargs="+", default=list(SIZES), choices=list(SIZES))
    asked = parser.parse_args()
    rows = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else []
    for seed in asked.seeds:
        for job in asked.jobs:
            for n in SIZES[job]:
                for way in WAYS:
                    rows = [row for row in rows if [row[key] for key in _KEY] != [job, way, n, seed]]
                    rows.append(run(job, way, n, seed))
                    print(rows[-1], flush=True)
                    FIGURES.write_text(json.dumps(rows, indent=1) + "\n", encoding="utf-8")
    if NOTES.exists():
        write_page(rows)


_KEY = ("job", "way", "pictures", "seed")


if __name__ == "__main__":
    main()
