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
from datetime import datetime
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
FIGURES = ROOT / "benchmarks" / "results.json"
CIFAR = "../shared/data/cifar10"
ANTS = "../shared/data/ants_bees"
MOBILENET = ("model.name=torchvision/mobilenet_v2", "model.weights=../shared/weights/mobilenet_v2.pth")


EFFICIENTNET = "model.weights=../shared/weights/tf_efficientnetv2_b0.safetensors"
EMOTION = ("../shared/data/emotion/labels.csv", "--recipe", "emotion", EFFICIENTNET)
FROZEN = ("train.stages=[{name: head, freeze: backbone, views: 0}]", "train.epochs=30", "optim.head_lr=3e-3")
"""A head on cached features: a fold takes seconds."""
PLAIN = ("loss.name=cross_entropy", "loss.class_weights=null")
LOSSES = {
    "cross-entropy": PLAIN,
    "focal": ("loss.name=focal", "loss.class_weights=null"),
    "class-balanced focal": ("loss.name=focal", "loss.class_weights=effective"),
    "logit-adjusted, tau 1": ("loss.name=logit_adjusted", "loss.class_weights=null"),
    "logit-adjusted, tau 0.5": ("loss.name=logit_adjusted", "loss.class_weights=null", "loss.tau=0.5"),
    "class-aware sampler": (*PLAIN, "train.sampler=class_aware"),
    "ReMix": (*PLAIN, "mix.name=mixup", "mix.remix=true"),
    "cross-entropy, adjusted afterwards": (*PLAIN, "decision.tau=auto"),
}
PROBE = "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true}]"
FINE = ("train.epochs=3", "input.size=128", "train.precision=bf16")
FINE_STAGES = "train.stages=[{name: head, freeze: backbone, views: 0, solve: true}, "
FINE_STAGES += "{name: all, freeze: statistics, sizes: [96, 128]}]"
"""The recipe's two stages, smaller and shorter: a fold takes minutes."""
FINE_TUNED = ("cross-entropy", "class-balanced focal", "logit-adjusted, tau 0.5")
"""Plain, and the two losses that did best on frozen features."""
SKETCH = ("../shared/data/sketch/train.csv", "data.image_root=../shared/data/sketch/train", "--recipe", "sketch")
SKETCH_TEST = "../shared/data/sketch/test.csv"
MASKS = "../shared/data/masks"
FREQUENT = 30
"""Pictures of a class, from which on its F1 says something."""


@dataclass(frozen=True)
class Job:
    name: str
    title: str
    arguments: tuple[str, ...]
    split: str
    every_seed: bool = False
    variant: str = ""
    """Jobs of one title that differ in this share a table; each is compared with the first one."""
    then: tuple[tuple[str, ...], ...] = ()
    """Commands on the finished run, {out} being its folder."""
    rival: str = ""
    """The job whose answers on the same pictures those of all seeds are compared with."""


def jobs(folder: Path) -> list[Job]:
    table = folder / "ants_bees.csv"
    return [
        Job("ants_bees", "Photos of ants and bees, MobileNetV2, all defaults", (ANTS, *MOBILENET), "val", True),
        Job("ants_bees_csv", "The same files from a CSV", (str(table), f"data.image_root={ANTS}", *MOBILENET), "val"),
        Job("ants_bees_frame", "The same files from a DataFrame", (str(table), ANTS, *MOBILENET), "val"),
        Job("cifar10", "A tenth of CIFAR-10, scratch CNN, all defaults", (CIFAR, "model.name=scratch_cnn"), "test"),
        *(
            Job(
                f"emotion {name}",
                "Emotion: heads on frozen features, five folds by person",
                (*EMOTION, *FROZEN, *pairs, "--folds", "5", "--final", "none"),
                "oof",
                variant=name,
            )
            for name, pairs in LOSSES.items()
        ),
        *(
            Job(
                f"emotion-fine {name}",
                "Emotion: fine-tuned, five folds by person",
                (*EMOTION, *FINE, FINE_STAGES, *LOSSES[name], "--folds", "5", "--final", "none"),
                "oof",
                variant=name,
            )
            for name in FINE_TUNED
        ),
        Job("recipe emotion", "Emotion by the recipe as written", (*EMOTION, "train.precision=bf16"), "val"),
        Job("probe", "Ants and bees: a linear probe, for comparison", (ANTS, EFFICIENTNET, PROBE), "val"),
        Job(
            "two-stage",
            "Ants and bees by the recipe two-stage",
            (ANTS, "--recipe", "two-stage", EFFICIENTNET, "train.precision=bf16"),
            "val",
            True,
            rival="probe",
        ),
        Job(
            "sketch",
            "Sketch: five folds and a submission",
            (*SKETCH, EFFICIENTNET, "train.precision=bf16"),
            "oof",
            then=(("predict", "{out}", SKETCH_TEST, "--submission", SKETCH_TEST, "--out", "{out}/submission.csv"),),
        ),
        Job(
            "mask",
            "Mask: three attributes of person folders, by person",
            (f"{MASKS}/train/images", "--recipe", "mask", EFFICIENTNET, "train.precision=bf16"),
            "val",
            then=(
                (
                    "predict",
                    "{out}",
                    f"{MASKS}/eval/images",
                    "--submission",
                    f"{MASKS}/eval/info.csv",
                    "--out",
                    "{out}/s.csv",
                ),
                ("score", "{out}/s.csv", f"{MASKS}/eval/gt.csv", "--out", "{out}/score.json"),
            ),
        ),
        *template(),
    ]


def template() -> list[Job]:
    """Return the jobs of the template system: from scratch and by transfer, on small pictures and on photos."""
    transfer = ("--recipe", "resnet18", *MOBILENET, "train.precision=bf16")
    frozen = ("train.stages=[{name: head, freeze: backbone, views: 4}]",)
    scratch = ("--recipe", "resnet18", "model.weights=none")
    large = ("train.batch_size=128", "optim.lr=1e-3", "train.epochs=4")
    return [
        Job(
            "template resnet18", "CIFAR-10: ResNet-18 from scratch", (CIFAR, *scratch, *large, "input.size=32"), "test"
        ),
        Job(
            "template transfer",
            "CIFAR-10: transfer, MobileNetV2",
            (CIFAR, *transfer, *large, "input.size=96"),
            "test",
        ),
        Job(
            "template scratch photos",
            "Ants and bees: scratch CNN",
            (ANTS, "model.name=scratch_cnn", "input.size=96"),
            "val",
        ),
        Job(
            "template resnet18 photos",
            "Ants and bees: ResNet-18 from scratch",
            (ANTS, *scratch, "input.size=96"),
            "val",
        ),
        Job("template transfer photos", "Ants and bees: transfer, MobileNetV2", (ANTS, *transfer), "val"),
        Job("template frozen photos", "Ants and bees: transfer, backbone frozen", (ANTS, *transfer, *frozen), "val"),
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


def then_told(job: Job) -> list[str]:
    """Return the commands on the finished run, as a page shows them."""
    return ["bunryu " + shlex.join(part.replace("{out}", "RUN") for part in line) for line in job.then]


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


def write_page(found: list[dict], folder: Path) -> None:
    """Write docs/results.md from the figures."""
    environment = found[0]["environment"]
    lines = [
        "# Results",
        "",
        "Written by `make bench` (`benchmarks/results.py`); every figure is measured by the command beside it.",
        f"Machine: {environment['processor']}, {os.cpu_count()} cores, no GPU; Python {platform.python_version()}, "
        f"torch {environment['versions']['torch']}, timm {environment['versions']['timm']}. "
        "Times are of the whole process, import of torch included (of runs kept from earlier: from their setup on).",
        "",
    ]
    told: set[str] = set()
    for job in jobs(folder):
        rows = sorted((row for row in found if row["job"] == job.name), key=lambda row: row["seed"])
        if not rows:
            continue
        if job.variant:
            if job.title not in told:
                told.add(job.title)
                lines += _variants([other for other in jobs(folder) if other.title == job.title], found)
            continue
        first = rows[0]
        lines += [f"## {job.title}", "", "```", str(first["command"]), *then_told(job), "```", ""]
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
        if len(first.get("stages", {})) > 1:
            lines += ["", *_stages(rows)]
        compared = next((row["against"] for row in rows if row.get("against")), None)
        if job.rival and compared:
            of = next(other.title for other in jobs(folder) if other.name == job.rival)
            told_against = "{:+.3f} [{:+.3f}, {:+.3f}]".format(*compared)
            lines += ["", f"All seeds against `{of}`, on the same pictures: {told_against}."]
        if first.get("attributes"):
            told_of = ", ".join(f"{name} {value:.3f}" for name, value in first["attributes"].items())
            lines += ["", f"Accuracy of each attribute: {told_of}."]
        if first.get("score"):
            low, high = first["score"]["macro_f1_ci"]
            lines += ["", f"The submission, scored: macro-F1 {first['score']['macro_f1']:.3f} [{low:.3f}, {high:.3f}]."]
        lines.append("")
    notes = ROOT / "docs" / "results.notes.md"
    if notes.exists():
        lines += [notes.read_text(encoding="utf-8").rstrip(), ""]
    (ROOT / "docs" / "results.md").write_text("\n".join(lines), encoding="utf-8")


def _stages(rows: list[dict]) -> list[str]:
    """Return what each stage came to, seed by seed, and what the later ones add to the first, with its uncertainty."""
    from scipy.stats import t

    names = list(rows[0]["stages"])
    lines = [
        "Best validation macro-F1 of each stage:",
        "",
        f"| stage | {' | '.join(str(r['seed']) for r in rows)} | mean |",
    ]
    lines += ["|---" * (len(rows) + 2) + "|"]
    for name in names:
        scores = [row["stages"][name] for row in rows]
        lines.append(f"| {name} | {' | '.join(f'{score:.3f}' for score in scores)} | {statistics.mean(scores):.3f} |")
    if len(rows) < 2:
        return lines
    for name in names[1:]:
        gains = [row["stages"][name] - row["stages"][names[0]] for row in rows]
        half = t.ppf(0.975, len(gains) - 1) * statistics.stdev(gains) / len(gains) ** 0.5
        mean = statistics.mean(gains)
        lines += [
            "",
            f"`{name}` against `{names[0]}`: {mean:+.3f} [{mean - half:+.3f}, {mean + half:+.3f}] over seeds (t).",
        ]
    return lines


def _variants(alike: list[Job], found: list[dict]) -> list[str]:
    """Return the section of jobs that differ in one thing."""
    rows = {job.variant: row for job in alike for row in found if row["job"] == job.name}
    lines = [f"## {alike[0].title}", "", "```", str(next(iter(rows.values()))["command"]), "```", ""]
    lines += [
        f"| instead | macro-F1 | 95 % interval | against the first | classes of {FREQUENT} or more | accuracy | time |"
    ]
    lines += ["|---|---|---|---|---|---|---|"]
    for name, row in rows.items():
        low, high = row["macro_f1_ci"]
        difference = "" if row.get("against") is None else "{:+.3f} [{:+.3f}, {:+.3f}]".format(*row["against"])
        lines.append(
            f"| {name}: `{' '.join(LOSSES[name])}` | {row['macro_f1']:.3f} | [{low:.3f}, {high:.3f}] | {difference} | "
            f"{row['frequent_f1']:.3f} | {row['accuracy']:.3f} | {row['seconds']:.0f} s |"
        )
    return [*lines, ""]


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


if __name__ == "__main__":
    main()
