"""Speed against the plain way, in one run on one machine: ratios, medians of several, and docs/speed.md from them.

    python benchmarks/speed.py [--only train frozen predict] [--repeats 3]

The rival is benchmarks/plain.py. Times of another machine, or of another hour, do not compare; ratios do.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))
import torch

from bunryu.run import processor_name
from precision import rates

ROOT = Path(__file__).resolve().parents[1]
PHOTOS = ROOT.parent / "shared" / "data" / "ants_bees"
WEIGHTS = ROOT.parent / "shared" / "weights" / "mobilenet_v2.pth"
FIGURES = ROOT / "benchmarks" / "speed.json"
PAGE = ROOT / "docs" / "speed.md"
NETS = ("resnet18", "efficientnet_b0", "mobilenet_v2")
EPOCHS, FROZEN_EPOCHS = 3, 15


def photos(folder: Path) -> Path:
    """Link 320 photos to train on and 80 to validate on."""
    files = sorted(PHOTOS.rglob("*.jpg"))[:400]
    for number, file in enumerate(files):
        target = folder / ("val" if number % 5 == 0 else "train") / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return folder


def timed(command: list[str], cache: Path) -> tuple[float, str]:
    """Return the seconds of a whole process, and what it printed."""
    start = time.perf_counter()
    environment = {**os.environ, "BUNRYU_CACHE": str(cache)}
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True, env=environment)
    return time.perf_counter() - start, done.stdout


def plain(what: str, *arguments: object, cache: Path) -> tuple[float, dict[str, Any]]:
    seconds, text = timed([sys.executable, "benchmarks/plain.py", what, *map(str, arguments)], cache)
    return seconds, json.loads(text)


def ours(data: Path, out: Path, cache: Path, *pairs: str) -> tuple[float, list[dict[str, Any]], dict[str, Any]]:
    """Train with bunryu; return the seconds of the process, its history and its validation figures."""
    shutil.rmtree(out, ignore_errors=True)
    seconds, _ = timed([sys.executable, "-m", "bunryu", "train", str(data), *pairs, "--out", str(out), "-q"], cache)
    history = [json.loads(line) for line in (out / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return seconds, history, json.loads((out / "metrics.json").read_text(encoding="utf-8"))["val"]


def train_rows(data: Path, folder: Path, repeats: int) -> list[dict[str, Any]]:
    """One epoch and validation as a whole process; then the epochs from the second on; then the pure step."""
    rows = []
    for net in NETS:
        pairs = (
            f"model.name=torchvision/{net}",
            "model.weights=none",
            "train.stages=[{name: all}]",
            "evaluate.bootstrap=0",
        )
        whole: list[tuple[float, float]] = []
        for i in range(repeats):
            rival, _ = plain("train", data, net, 1, cache=folder)
            own, _, _ = ours(data, folder / "run", folder / f"cache{net}{i}", *pairs, "train.epochs=1")
            whole.append((rival, own))
        _, found = plain("train", data, net, EPOCHS, cache=folder)
        rival_rate = found["images"] / statistics.median(found["train"][1:])
        _, history, _ = ours(data, folder / "run", folder / f"cache{net}0", *pairs, f"train.epochs={EPOCHS}")
        own_rate = statistics.median(row["images_per_second"] for row in history[1:])
        precision = json.loads((folder / "run" / "environment.json").read_text(encoding="utf-8"))["precision"]
        limit, _ = rates(f"torchvision/{net}", precision)
        rows.append(
            {
                "net": net,
                "precision": precision,
                "plain_process_s": statistics.median(a for a, _ in whole),
                "own_process_s": statistics.median(b for _, b in whole),
                "process_ratio": statistics.median(a / b for a, b in whole),
                "plain_rate": rival_rate,
                "own_rate": own_rate,
                "rate_ratio": own_rate / rival_rate,
                "pure_step": limit,
                "of_pure_step": own_rate / limit,
            }
        )
        print(rows[-1], flush=True)
    return rows


def frozen_rows(data: Path, folder: Path, repeats: int) -> list[dict[str, Any]]:
    """Fifteen epochs of a head on a frozen mobilenet_v2: the plain way, ours without cache, with it, and again."""
    rows = []
    stage = "name: head, freeze: backbone"
    pairs = (
        "model.name=torchvision/mobilenet_v2",
        f"model.weights={WEIGHTS}",
        f"train.epochs={FROZEN_EPOCHS}",
        "optim.head_lr=1e-3",
        "evaluate.bootstrap=0",
    )
    for i in range(repeats):
        process, rival = plain("frozen", data, "mobilenet_v2", FROZEN_EPOCHS, WEIGHTS, cache=folder)
        cache = folder / f"frozen{i}"
        loop = sum(rival["train"]) + sum(rival["val"])
        row: dict[str, Any] = {"plain": {"process_s": process, "epochs_s": loop, "accuracy": rival["accuracy"]}}
        for name, views in (
            ("uncached", ""),
            ("cached", ", views: 0"),
            ("again", ", views: 0"),
            ("two views", ", views: 2"),
        ):
            rate = ("optim.head_lr=2e-3",) if name == "again" else ()
            stages = f"train.stages=[{{{stage}{views}}}]"
            seconds, history, metrics = ours(data, folder / "run", cache, *pairs, *rate, stages)
            loop = sum(epoch["seconds"] for epoch in history)
            row[name] = {"process_s": seconds, "epochs_s": loop, "accuracy": metrics["accuracy"]}
        rows.append(row)
        print(row, flush=True)
    return rows


def predict_rows(data: Path, folder: Path, repeats: int) -> list[dict[str, Any]]:
    """A folder of 300 JPEGs to predictions.csv, whole processes."""
    new = folder / "new"
    new.mkdir()
    for file in sorted(data.rglob("*.jpg"))[:300]:
        shutil.copy(file, new / file.name)
    rows = []
    for net in NETS:
        pairs = (f"model.name=torchvision/{net}", "model.weights=none", "train.stages=[{name: all}]", "train.epochs=1")
        ours(data, folder / "run", folder / "cache", *pairs, "evaluate.bootstrap=0")
        found = []
        for _ in range(repeats):
            rival, inside = plain("predict", new, net, folder / "plain.csv", cache=folder)
            command = [sys.executable, "-m", "bunryu", "predict", str(folder / "run"), str(new)]
            own, _ = timed([*command, "--out", str(folder / "own.csv"), "-q"], folder / "cache")
            found.append((rival, own, inside["seconds"]))
        rows.append(
            {
                "net": net,
                "plain_process_s": statistics.median(a for a, _, _ in found),
                "own_process_s": statistics.median(b for _, b, _ in found),
                "process_ratio": statistics.median(a / b for a, b, _ in found),
                "plain_loop_s": statistics.median(c for _, _, c in found),
            }
        )
        print(rows[-1], flush=True)
    return rows


def write_page(found: dict[str, Any]) -> None:
    """Write docs/speed.md from the figures."""
    lines = [
        "# Speed",
        "",
        "Written by `python benchmarks/speed.py`, in one run on one machine:",
        f"{found['machine']}.",
        "The rival is `benchmarks/plain.py`: ImageFolder, DataLoader with two workers, PIL, fp32, as tutorials do it.",
        "Only the ratios carry over to other machines. 320 photos to train on, 80 to validate, 224 px, batches of 32.",
    ]
    if "train" in found:
        lines += ["", "## Training", ""]
        lines += [
            "| net | precision | one epoch, whole process: plain, ours | ratio | later epochs, images/s: plain, ours |"
        ]
        lines[-1] += " ratio | pure step | of the pure step |"
        lines += ["|---|---|---|---|---|---|---|---|"]
        for r in found["train"]:
            lines.append(
                f"| {r['net']} | {r['precision']} | {r['plain_process_s']:.0f} s, {r['own_process_s']:.0f} s | "
                f"**{r['process_ratio']:.1f}** | {r['plain_rate']:.1f}, {r['own_rate']:.1f} | "
                f"**{r['rate_ratio']:.1f}** | {r['pure_step']:.1f} | {r['of_pure_step']:.2f} |"
            )
    if "frozen" in found:
        lines += ["", f"## A frozen stage of {FROZEN_EPOCHS} epochs (mobilenet_v2, head only)", ""]
        lines += [
            "| way | whole process | against plain | epochs alone | validation accuracy |",
            "|---|---|---|---|---|",
        ]
        for name in ("plain", "uncached", "cached", "two views", "again"):
            process = statistics.median(row[name]["process_s"] for row in found["frozen"])
            plain_s = statistics.median(row["plain"]["process_s"] for row in found["frozen"])
            loop = statistics.median(row[name]["epochs_s"] for row in found["frozen"])
            accuracy = statistics.median(row[name]["accuracy"] for row in found["frozen"])
            lines.append(f"| {name} | {process:.1f} s | {plain_s / process:.1f} | {loop:.2f} s | {accuracy:.3f} |")
        lines += ["", "`again` is the same stage with another rate, in a new process: its features are kept."]
    if "predict" in found:
        lines += ["", "## 300 JPEGs of a folder to predictions.csv, whole process", ""]
        lines += ["| net | plain | ours | ratio |", "|---|---|---|---|"]
        for r in found["predict"]:
            lines.append(
                f"| {r['net']} | {r['plain_process_s']:.1f} s | {r['own_process_s']:.1f} s | "
                f"**{r['process_ratio']:.1f}** |"
            )
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--only", nargs="+", choices=["train", "frozen", "predict"], default=["train", "frozen", "predict"]
    )
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    if not PHOTOS.is_dir():
        sys.exit(f"needs the development images in {PHOTOS}")
    found = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    found["machine"] = f"{processor_name()}, {os.cpu_count()} cores, no GPU, torch {torch.__version__}"
    jobs = {"train": train_rows, "frozen": frozen_rows, "predict": predict_rows}
    with tempfile.TemporaryDirectory() as name:
        data = photos(Path(name) / "photos")
        for key in options.only:
            found[key] = jobs[key](data, Path(name), options.repeats)
            FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            write_page(found)


if __name__ == "__main__":
    main()
