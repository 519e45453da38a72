"""Speed against the plain way, in one run on one machine: ratios, medians of several; docs/performance.md from them.

    python benchmarks/speed.py [--only train memory timm frozen predict] [--repeats 3]

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
from typing import Any, NamedTuple

import torch

from bunryu.core.environment import processor_name
from bunryu.core.process import keep_freed_memory
from precision import rates
from speed_page import EPOCHS, FIGURES, FROZEN_EPOCHS, NETS, RIVAL_EPOCHS, ROOT, write_page

PHOTOS = ROOT.parent / "shared" / "data" / "ants_bees"
WEIGHTS = ROOT.parent / "shared" / "weights" / "mobilenet_v2.pth"
TIMM = {"resnet18": "resnet18", "efficientnet_b0": "efficientnet_b0", "mobilenet_v2": "mobilenetv2_100"}
FROZEN = (("resnet18", None), ("efficientnet_b0", None), ("mobilenet_v2", WEIGHTS))
"""Nets of the frozen stage, each with its weights."""


def photos(folder: Path) -> Path:
    """Link 320 photos to train on and 80 to validate on."""
    files = sorted(PHOTOS.rglob("*.jpg"))[:400]
    for number, file in enumerate(files):
        target = folder / ("val" if number % 5 == 0 else "train") / file.parent.name / file.name
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(file, target)
    return folder


class Done(NamedTuple):
    """A process that has ended: seconds from start to end, what it printed, its peak memory in MB."""

    seconds: float
    text: str
    peak_mb: float


def timed(command: list[str], cache: Path) -> Done:
    """Run a process to its end; of its peak memory, that of its own largest process counts."""
    start = time.perf_counter()
    environment = {**os.environ, "BUNRYU_CACHE": str(cache)}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as run:
        assert run.stdout is not None
        text = run.stdout.read().decode()
        _, status, usage = os.wait4(run.pid, 0)
        run.returncode = os.waitstatus_to_exitcode(status)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}")
    return Done(time.perf_counter() - start, text, usage.ru_maxrss / 1024)


def plain(what: str, *arguments: object, cache: Path) -> tuple[Done, dict[str, Any]]:
    done = timed([sys.executable, "benchmarks/plain.py", what, *map(str, arguments)], cache)
    return done, json.loads(done.text)


def ours(data: Path, out: Path, cache: Path, *pairs: str) -> tuple[Done, list[dict[str, Any]], dict[str, Any]]:
    """Train with bunryu; return the process, its history and its validation figures."""
    shutil.rmtree(out, ignore_errors=True)
    done = timed([sys.executable, "-m", "bunryu", "train", str(data), *pairs, "--out", str(out), "-q"], cache)
    history = [json.loads(line) for line in (out / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return done, history, json.loads((out / "metrics.json").read_text(encoding="utf-8"))["val"]


def train_rows(data: Path, folder: Path, repeats: int) -> list[dict[str, Any]]:
    """One epoch and validation as a whole process; then the epochs from the second on; then the pure step."""
    rows = []
    for net in NETS:
        pairs = (
            f"model.name=torchvision/{net}",
            "model.weights=none",
            "input.normalize=imagenet",
            "train.stages=[{name: all}]",
            "evaluate.bootstrap=0",
        )
        whole: list[tuple[float, float]] = []
        for i in range(repeats):
            rival, _ = plain("train", data, net, 1, cache=folder)
            own, _, _ = ours(data, folder / "run", folder / f"cache{net}{i}", *pairs, "train.epochs=1")
            whole.append((rival.seconds, own.seconds))
        rival, found = plain("train", data, net, EPOCHS, cache=folder)
        rival_rate = found["images"] / statistics.median(found["train"][1:])
        own, history, _ = ours(data, folder / "run", folder / f"cache{net}0", *pairs, f"train.epochs={EPOCHS}")
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
                "plain_peak_mb": rival.peak_mb,
                "own_peak_mb": own.peak_mb,
            }
        )
        print(rows[-1], flush=True)
    return rows


def tree_mb(pid: int) -> float:
    """Return the memory of a process and those it started, in MB; what they share is counted once (PSS)."""
    total, waiting = 0.0, [pid]
    while waiting:
        folder = Path("/proc") / str(waiting.pop())
        try:
            lines = (folder / "smaps_rollup").read_text(encoding="ascii").splitlines()
            total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024
            waiting += [int(child) for task in folder.glob("task/*/children") for child in task.read_text().split()]
        except OSError:  # it has ended
            continue
    return total


def peak_mb(command: list[str], cache: Path) -> float:
    """Run a process to its end and return the most memory that it and those it started held together."""
    peak = 0.0
    environment = {**os.environ, "BUNRYU_CACHE": str(cache)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, cwd=ROOT, env=environment, **quiet) as run:
        while run.poll() is None:
            peak = max(peak, tree_mb(run.pid))
            time.sleep(0.3)
    if run.returncode:
        raise SystemExit(f"{' '.join(command)} ended with {run.returncode}")
    return peak


def memory_rows(data: Path, folder: Path, _: int) -> list[dict[str, Any]]:
    """One epoch and validation: peak memory of all processes of the rival (it has two workers) and of ours."""
    rows = []
    for net in NETS:
        pairs = (f"model.name=torchvision/{net}", "model.weights=none", "input.normalize=imagenet", "train.epochs=1")
        rival = peak_mb([sys.executable, "benchmarks/plain.py", "train", str(data), net, "1"], folder)
        out = folder / f"memory{net}"
        command = [sys.executable, "-m", "bunryu", "train", str(data), *pairs, "train.stages=[{name: all}]", "-q"]
        own = peak_mb([*command, "evaluate.bootstrap=0", "--out", str(out)], folder / f"cache{net}")
        rows.append({"net": net, "plain_mb": rival, "own_mb": own})
        print(rows[-1], flush=True)
    return rows


def timm_rows(data: Path, folder: Path, _: int) -> list[dict[str, Any]]:
    """Train the same nets by timm's loop and by ours: images/s from the second epoch on."""
    rows = []
    for net, name in TIMM.items():
        pairs = (f"model.name=timm/{name}", "model.weights=none", "input.normalize=imagenet", "evaluate.bootstrap=0")
        rival, found = plain("timm", data, name, EPOCHS, cache=folder)
        stage = ("train.stages=[{name: all}]", f"train.epochs={EPOCHS}", "input.size=224")
        own, history, _ = ours(data, folder / "run", folder / f"timm{net}", *pairs, *stage)
        rows.append(
            {
                "net": name,
                "timm_process_s": rival.seconds,
                "own_process_s": own.seconds,
                "timm_rate": found["images"] / statistics.median(found["train"][1:]),
                "own_rate": statistics.median(row["images_per_second"] for row in history[1:]),
            }
        )
        print(rows[-1], flush=True)
    return rows


def frozen_rows(data: Path, folder: Path, _: int) -> list[dict[str, Any]]:
    """Fifteen epochs of a head on a frozen net: the plain way, ours without cache, with it, and again.

    Without ImageNet weights for the first two nets only their times mean something.
    """
    rows = []
    for net, weights in FROZEN:
        pairs = (
            f"model.name=torchvision/{net}",
            f"model.weights={weights or 'none'}",
            *(("input.normalize=imagenet",) if weights is None else ()),
            f"train.epochs={FROZEN_EPOCHS}",
            "optim.head_lr=1e-3",
            "evaluate.bootstrap=0",
        )
        given = [weights] if weights else []
        timed_epochs = FROZEN_EPOCHS if weights else RIVAL_EPOCHS
        rival, found = plain("frozen", data, net, timed_epochs, *given, cache=folder)
        row: dict[str, Any] = {"net": net, "weights": weights is not None}
        timed_s = sum(found["train"]) + sum(found["val"])
        epochs = timed_s * FROZEN_EPOCHS / timed_epochs
        row["plain"] = {
            "process_s": rival.seconds - timed_s + epochs,
            "epochs_s": epochs,
            "accuracy": found["accuracy"],
        }
        for name, views in (("uncached", ""), ("cached", "views: 0"), ("again", "views: 0"), ("two views", "views: 2")):
            rate = ("optim.head_lr=2e-3",) if name == "again" else ()
            stage = f"train.stages=[{{name: head, freeze: backbone{views and ', ' + views}}}]"
            own, history, metrics = ours(data, folder / "run", folder / f"frozen{net}", *pairs, *rate, stage)
            epochs = sum(epoch["seconds"] for epoch in history)
            row[name] = {"process_s": own.seconds, "epochs_s": epochs, "accuracy": metrics["accuracy"]}
        rows.append(row)
        print(json.dumps(row), flush=True)
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
            own = timed([*command, "--out", str(folder / "own.csv"), "-q"], folder / "cache")
            found.append((rival.seconds, own.seconds, inside["seconds"]))
        sealed = json.loads((folder / "run" / "environment.json").read_text(encoding="utf-8"))["precision"]
        limit = 300 / rates(f"torchvision/{net}", sealed)[1]
        start = statistics.median(timed([sys.executable, "-c", "import torch"], folder).seconds for _ in range(repeats))
        rows.append(
            {
                "net": net,
                "plain_process_s": statistics.median(a for a, _, _ in found),
                "own_process_s": statistics.median(b for _, b, _ in found),
                "process_ratio": statistics.median(a / b for a, b, _ in found),
                "plain_loop_s": statistics.median(c for _, _, c in found),
                "forward_s": limit,
                "import_torch_s": start,
            }
        )
        print(rows[-1], flush=True)
    return rows


JOBS = {"train": train_rows, "memory": memory_rows, "timm": timm_rows, "frozen": frozen_rows, "predict": predict_rows}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="+", choices=list(JOBS), default=list(JOBS))
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    keep_freed_memory()  # as the command does: the pure step is the limit that it could reach
    if not PHOTOS.is_dir():
        sys.exit(f"needs the development images in {PHOTOS}")
    found = json.loads(FIGURES.read_text(encoding="utf-8")) if FIGURES.exists() else {}
    found["machine"] = f"{processor_name()}, {os.cpu_count()} cores, no GPU, torch {torch.__version__}"
    with tempfile.TemporaryDirectory() as name:
        data = photos(Path(name) / "photos")
        for key in options.only:
            found[key] = JOBS[key](data, Path(name), options.repeats)
            FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
            write_page(found)


sys.path.insert(0, str(Path(__file__).parent))
if __name__ == "__main__":
    main()
