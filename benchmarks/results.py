"""Run the jobs whose results the documentation states, and write docs/results.md from what they gave.

    make bench                     # five seeds; needs ../shared
    python benchmarks/results.py --only cifar10 --seeds 0

Every figure in docs/results.md comes from here: nothing is typed by hand.
"""

from __future__ import annotations

import argparse
import csv
import json
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import numpy as np

from results_jobs import FINE_STAGES, ROOT, Job, jobs
from results_page import FREQUENT, write_page

SHARED = ROOT.parent / "shared"
FIGURES = ROOT / "benchmarks" / "results.json"


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
        shown = "bunryu train " + shlex.join([Path(pair).name if Path(pair).is_absolute() else pair for pair in pairs])
    start = time.time()
    if not (out / "metrics.json").exists():  # else it was kept
        subprocess.run(command, cwd=ROOT, check=True)
    else:
        start = datetime.fromisoformat(json.loads((out / "environment.json").read_text())["started"]).timestamp()
    seconds = (out / "metrics.json").stat().st_mtime - start
    metrics = json.loads((out / "metrics.json").read_text(encoding="utf-8"))[job.split]
    environment = json.loads((out / "environment.json").read_text(encoding="utf-8"))
    figures = {key: metrics[key] for key in ("n", "accuracy", "macro_f1", "macro_f1_ci")}
    frequent = [row["f1"] for row in metrics["per_class"].values() if row["support"] >= FREQUENT]
    figures |= {"frequent_f1": statistics.mean(frequent) if frequent else None}
    figures |= {"stages": best_of_stages(out / "history.jsonl") if (out / "history.jsonl").exists() else {}}
    figures |= {"attributes": {n: a["accuracy"] for n, a in metrics.get("attributes", {}).items()}}
    for line in job.then:
        subprocess.run([sys.executable, "-m", "bunryu", *(p.format(out=out) for p in line)], cwd=ROOT, check=True)
    if (out / "score.json").exists():
        score = json.loads((out / "score.json").read_text(encoding="utf-8"))
        figures |= {"score": {key: score[key] for key in ("n", "accuracy", "macro_f1", "macro_f1_ci")}}
    print(f"{job.name} seed {seed}: {figures} in {seconds:.0f} s", flush=True)
    about = {"processor": environment["processor"], "versions": environment["versions"]}
    row = {"job": job.name, "seed": seed, "command": shown, "seconds": seconds}
    return {**row, **figures, "environment": about}


def best_of_stages(history: Path) -> dict[str, float]:
    """Return the best validation macro-F1 that each stage came to."""
    best: dict[str, float] = {}
    for line in history.read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        best[row["stage"]] = max(best.get(row["stage"], 0.0), row["val_macro_f1"])
    return best


def read(file: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV."""
    with file.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def against(first: Path, others: list[Path], split: str) -> list[float]:
    """Return by how much runs answer better than the first (macro-F1), and the ends of the 95 % interval.

    A paired bootstrap over the groups of the pictures; the answers of several runs to a picture go together.
    """
    from bunryu.evaluate.compare import macro_f1_difference

    file = f"predictions_{split}.csv"
    one = [row for run in others for row in read(run / file)]
    two = read(first / file) * len(others)
    assert [row["path"] for row in one] == [row["path"] for row in two]
    groups = {row["path"]: row.get("group") or row.get("person") or row["path"] for row in read(first / "split.csv")}
    names = sorted({row["true"] for row in one})
    index = {name: k for k, name in enumerate(names)}
    answers = [
        np.array([index[row[key]] for row in rows]) for rows, key in ((one, "pred"), (two, "pred"), (one, "true"))
    ]
    found = macro_f1_difference(*answers, len(names), groups=[groups[row["path"]] for row in one])
    return [found.value, found.low, found.high]


def compare(job: Job, folder: Path, found: list[dict]) -> None:
    """Compare the runs of a job with their rival, or with the first of its table, where their folders are there."""
    first = next(
        other for other in jobs(folder) if (other.name == job.rival if job.rival else other.title == job.title)
    )
    rows = [row for row in found if row["job"] == job.name and (folder / f"{job.name}-{row['seed']}").exists()]
    if first == job or not rows or not (folder / f"{first.name}-0").exists() or not (job.rival or job.variant):
        return
    for row in rows:
        row.pop("against", None)
    rows[0]["against"] = against(
        folder / f"{first.name}-0", [folder / f"{job.name}-{row['seed']}" for row in rows], job.split
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--only", nargs="+", help="jobs to run again, by the beginning of their names; the others keep their figures"
    )
    parser.add_argument("--keep", type=Path, help="a folder for the runs, not to train them again")
    options = parser.parse_args()
    if not (SHARED / "data").is_dir():
        sys.exit(f"needs the development images in {SHARED}")
    with tempfile.TemporaryDirectory() as name:
        folder = options.keep.absolute() if options.keep else Path(name)
        folder.mkdir(parents=True, exist_ok=True)
        write_table(folder / "ants_bees.csv")
        found = json.loads(FIGURES.read_text(encoding="utf-8")) if options.only and FIGURES.exists() else []
        for job in jobs(folder):
            if options.only and not any(job.name.startswith(name) for name in options.only):
                continue
            for seed in options.seeds if job.every_seed else options.seeds[:1]:
                found = [row for row in found if (row["job"], row["seed"]) != (job.name, seed)]
                found.append(run(job, seed, folder))
                compare(job, folder, found)
                FIGURES.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        write_page(found, folder)


FINE_STAGES += "{name: all, freeze: statistics, sizes: [96, 128]}]"
if __name__ == "__main__":
    main()
