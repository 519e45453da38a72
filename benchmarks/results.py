"""Run the jobs whose results the documentation states, and write docs/results.md from what they gave.

    make bench                     # five seeds; needs ../shared
    python benchmarks/results.py --only cifar10 --seeds 0

Every figure in docs/results.md comes from here: nothing is typed by hand.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import platform
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
FIGURES = ROOT / "benchmarks" / "results.json"
CIFAR = "../shared/data/cifar10"
ANTS = "../shared/data/ants_bees"
MOBILENET = ("model.name=torchvision/mobilenet_v2", "model.weights=../shared/weights/mobilenet_v2.pth")


@dataclass(frozen=True)
class Job:
    name: str
    title: str
    arguments: tuple[str, ...]
    split: str
    every_seed: bool = False


def jobs(folder: Path) -> list[Job]:
    table = folder / "ants_bees.csv"
    return [
        Job("ants_bees", "Photos of ants and bees, MobileNetV2, all defaults", (ANTS, *MOBILENET), "val", True),
        Job("ants_bees_csv", "The same files from a CSV", (str(table), f"data.image_root={ANTS}", *MOBILENET), "val"),
        Job("ants_bees_frame", "The same files from a DataFrame", (str(table), ANTS, *MOBILENET), "val"),
        Job("cifar10", "A tenth of CIFAR-10, scratch CNN, all defaults", (CIFAR, "model.name=scratch_cnn"), "test"),
    ]


def write_table(path: Path) -> None:
    """Write the same images as a CSV of path, label and split."""
    root = SHARED / "data" / "ants_bees"
    files = sorted(file for file in root.glob("*/*/*") if file.is_file())
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["path", "label", "split"])
        writer.writerows([file.relative_to(root).as_posix(), file.parent.name, file.parts[-3]] for file in files)


FROM_FRAME = """
import sys, pandas, bunryu
table, root, out, *pairs = sys.argv[1:]
bunryu.train(pandas.read_csv(table, dtype=str), f"data.image_root={root}", *pairs, out=out)
"""


def run(job: Job, seed: int, folder: Path) -> dict[str, object]:
    """Run one job in a fresh process; return its figures."""
    out = folder / f"{job.name}-{seed}"
    pairs = [*job.arguments, f"train.seed={seed}"]
    if job.name == "ants_bees_frame":
        table, root, *rest = pairs
        command = [sys.executable, "-c", FROM_FRAME, table, root, str(out), *rest]
        shown = "bunryu.train(pandas.read_csv(...), ...)"
    else:
        command = [sys.executable, "-m", "bunryu", "train", *pairs, "--out", str(out)]
        shown = "bunryu train " + shlex.join(["ants_bees.csv" if pair.endswith(".csv") else pair for pair in pairs])
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True)
    seconds = time.perf_counter() - start
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))[job.split]
    environment = json.loads((out / "environment.json").read_text(encoding="utf-8"))
    figures = {key: metrics[key] for key in ("n", "accuracy", "macro_f1", "macro_f1_ci")}
    print(f"{job.name} seed {seed}: {figures} in {seconds:.0f} s", flush=True)
    about = {"processor": environment["processor"], "versions": environment["versions"]}
    return {"job": job.name, "seed": seed, "command": shown, "seconds": seconds, **figures, "environment": about}


def write_page(found: list[dict], folder: Path) -> None:
    """Write docs/results.md from the figures."""
    environment = found[0]["environment"]
    lines = [
        "# Results",
        "",
        "Written by `make bench` (`benchmarks/results.py`); every figure is measured by the command beside it.",
        f"Machine: {environment['processor']}, {os.cpu_count()} cores, no GPU; Python {platform.python_version()}, "
        f"torch {environment['versions']['torch']}, timm {environment['versions']['timm']}. "
        "Times are of the whole process, import of torch included.",
        "",
    ]
    for job in jobs(folder):
        rows = [row for row in found if row["job"] == job.name]
        if not rows:
            continue
        first = rows[0]
        lines += [f"## {job.title}", "", "```", str(first["command"]), "```", ""]
        lines += [f"| seed | {job.split} macro-F1 | 95 % interval | {job.split} accuracy | images | time |"]
        lines += ["|---|---|---|---|---|---|"]
        for row in rows:
            low, high = row["macro_f1_ci"]
            lines.append(
                f"| {row['seed']} | {row['macro_f1']:.3f} | [{low:.3f}, {high:.3f}] | {row['accuracy']:.3f} "
                f"| {row['n']} | {row['seconds']:.0f} s |"
            )
        if len(rows) > 1:
            scores = [row["macro_f1"] for row in rows]
            lines.append(
                f"| **mean of {len(rows)}** | **{statistics.mean(scores):.3f}** | std {statistics.stdev(scores):.3f} | "
                f"{statistics.mean(row['accuracy'] for row in rows):.3f} | | "
                f"{statistics.mean(row['seconds'] for row in rows):.0f} s |"
            )
        lines.append("")
    notes = ROOT / "docs" / "results.notes.md"
    if notes.exists():
        lines += [notes.read_text(encoding="utf-8").rstrip(), ""]
    (ROOT / "docs" / "results.md").write_text("\n".join(lines), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--only", nargs="+", help="names of jobs to run again; the others keep their figures")
    options = parser.parse_args()
    if not (SHARED / "data").is_dir():
        sys.exit(f"needs the development images in {SHARED}")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_table(folder / "ants_bees.csv")
        found = json.loads(FIGURES.read_text(encoding="utf-8")) if options.only and FIGURES.exists() else []
        for job in jobs(folder):
            if options.only and job.name not in options.only:
                continue
            found = [row for row in found if row["job"] != job.name]
            for seed in options.seeds if job.every_seed else options.seeds[:1]:
                found.append(run(job, seed, folder))
                FIGURES.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        write_page(found, folder)


if __name__ == "__main__":
    main()
