"""Reference jobs and a digest of every tensor and figure that they leave: the proof that a rewrite changed nothing.

    python benchmarks/reference.py --out before.txt          # then change the code, on the same machine
    python benchmarks/reference.py --against before.txt      # exit code 1, and the first lines that differ

About three minutes of one core. Everything runs through the command and the verbs of `import bunryu`, so that modules
may move at will: trainings of each kind (from scratch, the default recipe, stages with copies, folds, separate heads,
labels at once, groups, mixing and averaging; one stopped and resumed, which must equal the one that was not), then
predict, evaluate, ensemble, probe, score, split and augment on what they made. A line is an artefact's name and the
SHA-256 of what it holds. Left out: environment.json, times, versions, paths of this machine, standard error, and what
plots look like (their names are there). Equal lines prove equal bits on this machine and these library versions only.

Photographs and masks come from ../shared (`--shared`); without them those jobs are skipped, and lines say so.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import runpy
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from digests import compare, digest, total, unequal

ROOT = Path(__file__).resolve().parents[1]
WEIGHTS = "tf_efficientnetv2_b0.safetensors"
SMALL = ("model.name=scratch_cnn", "input.size=16", "input.channels=grey", "augment.hflip=0", "evaluate.bootstrap=200")
PHOTOS = (f"model.weights=inputs/{WEIGHTS}", "input.size=64", "train.epochs=1", "evaluate.bootstrap=200")
STAGES = """
data: {balance_to: 24}
train:
  epochs: 5
  stages:
    - {name: head, freeze: backbone, views: 2, epochs: 3}
    - {name: last blocks, freeze: statistics, train_blocks: 2, epochs: 2, optim: {name: sgd, lr: 1e-3}}
  monitor: loss
  patience: 4
optim: {name: adam, lr: 1e-3}
schedule: {name: plateau, plateau_patience: 1}
loss: {class_weights: balanced}
augment: {ops: [random_resized_crop, hflip, brightness_contrast, gaussian_noise]}
"""


AVERAGED = ("mix.name=both", "mix.remix=true", "train.sampler=class_aware", "loss.name=focal", "train.swa=0.5")


def start(work: Path, name: str, act: Callable[[], object]) -> int:
    """Do something in a fork of this warm process, its output in logs/NAME; return the process id."""
    logs = work / "logs"
    logs.mkdir(exist_ok=True)
    sys.stdout.flush(), sys.stderr.flush()
    if pid := os.fork():
        return pid
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number, ending in ((1, "stdout"), (2, "stderr")):
        os.dup2(os.open(logs / f"{name}.{ending}", os.O_WRONLY | os.O_CREAT | os.O_APPEND), number)
    code = 70
    try:
        act()
        code = 0
    except SystemExit as ended:
        code = int(ended.code or 0)
    except BaseException:
        import traceback

        traceback.print_exc()
    sys.stdout.flush(), sys.stderr.flush()
    os._exit(code)


def finish(work: Path, name: str, pid: int, expected: int = 0) -> None:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    if code != expected:
        told = (work / "logs" / f"{name}.stderr").read_text(encoding="utf-8", errors="replace")
        sys.exit(f"{told[-3000:]}\n{name}: exit code {code} in place of {expected}; see {work}")


def command(*args: object) -> None:
    """Be ``python -m bunryu ARGS``."""
    sys.argv = ["bunryu", *map(str, args)]
    runpy.run_module("bunryu", run_name="__main__")


class Jobs:
    """The jobs, in a work folder that is also the current one."""

    def __init__(self, work: Path) -> None:
        self.work, self.skipped, self.began = work, [], time.monotonic()

    def do(self, name: str, *args: object, code: int = 0) -> None:
        """Run ``python -m bunryu ARGS`` to its end."""
        finish(self.work, name, start(self.work, name, partial(command, *args)), code)
        print(f"{time.monotonic() - self.began:5.0f} s  {name}", file=sys.stderr, flush=True)

    def stop_and_resume(self, name: str, run: Path, *args: object) -> None:
        """Run, send SIGINT after the first epoch, and resume."""
        pid = start(self.work, name, partial(command, *args, "--out", run))
        look = os.WEXITED | os.WNOHANG | os.WNOWAIT
        while not (run / "history.jsonl").exists() and os.waitid(os.P_PID, pid, look) is None:
            time.sleep(0.01)
        os.kill(pid, signal.SIGINT)
        finish(self.work, name, pid, 130)
        self.do(name, "train", "--resume", run)


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def digits(*, first: int, count: int, classes: int = 10) -> list[tuple[str, int, int]]:
    """Return (path, digit, number) of some of the demo's digits, relative to inputs/."""
    found = []
    for digit in range(classes):
        paths = sorted(Path(f"demo/digits/{digit}").iterdir())[first : first + count]
        found += [(f"../{path.as_posix()}", digit, int(path.stem)) for path in paths]
    return found


def copy_files(source: Path, target: Path, count: int) -> None:
    """Copy the first files of a folder to a new one."""
    target.mkdir(parents=True)
    for path in sorted(source.iterdir())[:count]:
        shutil.copyfile(path, target / path.name)


def make_inputs() -> None:
    """Write tables and folders of the demo's digits: labels, attributes, groups, copies, a broken picture."""
    for name, first in (("table", 0), ("other", 100)):
        found = digits(first=first, count=30, classes=6)
        write_table(Path(f"inputs/{name}.csv"), [{"path": p, "label": d} for p, d, n in found if n % (d + 2)])
        held = [
            {"path": p, "even": int(d % 2 == 0), "large": int(d > 2), "round": int(d in (0, 3))} for p, d, _ in found
        ]
        write_table(Path(f"inputs/{name}_labels.csv"), held)
    rows = digits(first=0, count=30, classes=4)
    parted = [
        {"path": p, "size": "large" if d > 1 else "small", "parity": d % 2, "person": n // 40} for p, d, n in rows
    ]
    write_table(Path("inputs/groups.csv"), parted)
    for name, (digit, count) in {"영": (0, 30), "one": (1, 20), "two": (2, 9)}.items():
        folder = Path("inputs/copies") / name
        copy_files(Path(f"demo/digits/{digit}"), folder, count)
        for path in sorted(folder.glob("*1.png")):
            shutil.copyfile(path, folder / f"copy_{path.name}")
    Path("inputs/stages.yaml").write_text(STAGES, encoding="utf-8")
    copy_files(Path("demo/digits/3"), Path("inputs/new"), 5)
    Path("inputs/new/broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")


def digit_jobs(jobs: Jobs) -> None:
    """Do what needs no data but the demo's."""
    do = jobs.do
    do("demo", "demo", "demo")
    make_inputs()
    weights = ("model.weights=demo/run-1", "model.batch_norm=true")
    copies = ("inputs/copies", *SMALL, *weights, "input.size=32")
    do("copies", "train", *copies, "--recipe", "inputs/stages.yaml", "--out", "copies")
    fold = (*SMALL, "train.epochs=3", "split.test=0.2", "decision.tau=auto", "train.ema=0.9")
    do("folds", "train", "inputs/table.csv", *fold, "--folds", 3, "--out", "folds")
    labels = (*SMALL, "train.epochs=4", "data.multi_label=[even, large, round]", "split.test=0.2")
    do("labels", "train", "inputs/table_labels.csv", *labels, "--out", "labels")
    robust = ("loss.group_dro=[size, parity]", "train.monitor=worst_group_accuracy", "train.accumulate=2")
    groups = ("inputs/groups.csv", "data.label_columns=[size, parity]", *SMALL, *robust, "train.epochs=3")
    do("groups", "train", *groups, "--out", "groups")
    do("groups-more", "train", "--resume", "groups", "--more-epochs", 1)
    do("averaged", "train", "inputs/table.csv", *SMALL, *AVERAGED, "train.epochs=4", "--out", "averaged")
    plain = ("train", "inputs/table.csv", *SMALL, "train.epochs=12", "model.batch_norm=true", "schedule.name=one_cycle")
    do("straight", *plain, "--out", "straight/run")
    jobs.stop_and_resume("stopped", Path("stopped/run"), *plain)

    do("predict", "predict", "demo/run-1", "inputs/new", code=2)
    do("predict-one", "predict", "demo/run-1", "demo/digits/7/0007.png")
    do("predict-jsonl", "predict", "folds", "inputs/other.csv", "--format", "jsonl", "--tta", "hflip")
    do("predict-file", "predict", "straight/run", "inputs/new", "--out", "predicted/straight.csv", code=2)
    do("predict-labels", "predict", "labels", "inputs/new", "--out", "predicted/labels.csv", "--tta", "crops", code=2)
    do("predict-other", "predict", "averaged", "inputs/other.csv", "--out", "predicted/other.csv")
    do("score", "score", "predicted/other.csv", "inputs/other.csv", "--out", "predicted/score.json")
    do("evaluate", "evaluate", "straight/run", "--data", "inputs/other.csv", "--out", "evaluated/other")
    do("evaluate-own", "evaluate", "demo/run-1", "--out", "evaluated/own", "--tta", "scales")
    do("evaluate-stage", "evaluate", "copies", "--checkpoint", "stage-1-head", "--out", "evaluated/stage")
    do("evaluate-folds", "evaluate", "folds", "--tta", "hflip", "--out", "evaluated/folds")
    do("evaluate-labels", "evaluate", "labels", "--data", "inputs/other_labels.csv", "--out", "evaluated/labels")
    united = ("straight/run", "averaged", "--weights", "fit", "--mean", "logits", "--out", "ensemble")
    do("ensemble", "ensemble", *united)
    do("predict-ensemble", "predict", "ensemble", "inputs/other.csv", "--format", "csv")
    do("probe", "probe", *copies, "--out", "probe-digits")
    do("split", "split", "inputs/copies", "split.test=0.2", "--out", "split")
    more = ("inputs/copies", "--square", "--flip", "horizontal", "--balance-to", 70)
    do("augment", "augment", *more, "--out", "augment")
    finish(jobs.work, "python", start(jobs.work, "python", use_from_python))


def use_from_python() -> None:
    """Print what the verbs return that no file has."""
    import numpy as np

    import bunryu

    run = bunryu.open_run("straight/run")
    arrays = list(np.random.default_rng(0).integers(0, 256, (3, 20, 20, 3), np.uint8))
    print(run.predict(arrays).to_csv(index=False))
    print(run.history.drop(columns=["seconds", "images_per_second"]).to_csv(index=False))
    print(run.evaluate("inputs/other.csv", out="evaluated/python", quiet=True).confusion["test"].to_csv())
    print(run.classes, json.dumps(run.metrics, sort_keys=True), len(bunryu.open_run("folds").folds))


def shared_jobs(jobs: Jobs, shared: Path) -> None:
    """Do what needs real photographs and pretrained weights."""
    photos, masks, weights = shared / "data/ants_bees", shared / "data/masks", shared / "weights" / WEIGHTS
    for name, there in (("photos", photos), ("heads", masks)):
        if not there.is_dir() or not weights.is_file():
            jobs.skipped.append(f"{name}: skipped, its data or the weights are not there")
            continue
        shutil.copyfile(weights, Path("inputs") / WEIGHTS)
        photo_jobs(jobs, photos) if name == "photos" else mask_jobs(jobs, masks)


def photo_jobs(jobs: Jobs, photos: Path) -> None:
    for name in ("ants", "bees"):
        copy_files(photos / "train" / name, Path("inputs/photos") / name, 24)
        copy_files(photos / "val" / name, Path("inputs/others") / name, 8)
    jobs.do("photos", "train", "inputs/photos", *PHOTOS, "split.test=0.2", "--out", "photos")
    jobs.do("photos-tta", "predict", "photos", "inputs/others", "--tta", "hflip,crops,scales")
    jobs.do("photos-other", "evaluate", "photos", "--data", "inputs/others", "--out", "evaluated/photos")
    jobs.do("photos-probe", "probe", "inputs/photos", *PHOTOS[:2], "--out", "probe-photos")


def mask_jobs(jobs: Jobs, masks: Path) -> None:
    for person in sorted((masks / "train/images").iterdir())[:14]:
        copy_files(person, Path("inputs/masks") / person.name, 7)
    copy_files(masks / "eval/images", Path("inputs/eval"), 12)
    asked = {path.name for path in Path("inputs/eval").iterdir()}
    for table in ("info.csv", "gt.csv"):
        with (masks / "eval" / table).open(encoding="utf-8", newline="") as file:
            write_table(Path("inputs") / table, [row for row in csv.DictReader(file) if row["ImageID"] in asked])
    jobs.do("heads", "train", "inputs/masks", *PHOTOS, "model.heads=separate", "--out", "heads")
    submission = ("--submission", "inputs/info.csv", "--out", "predicted/submission.csv")
    jobs.do("heads-submission", "predict", "heads", "inputs/eval", *submission)
    jobs.do("heads-score", "score", "predicted/submission.csv", "inputs/gt.csv")


def run_all(work: Path, shared: Path) -> list[str]:
    """Do all jobs in a folder; return the lines."""
    os.environ["BUNRYU_CACHE"] = str(work / "cache")
    for name in [name for name in os.environ if name.startswith("SM_")]:
        del os.environ[name]
    os.chdir(work)
    import matplotlib.pyplot  # noqa: F401  imported once, for all that are forked
    import pandas  # noqa: F401
    import scipy.stats  # noqa: F401
    import sklearn.metrics  # noqa: F401
    import timm.optim  # noqa: F401
    import torchvision.transforms.v2  # noqa: F401

    import bunryu

    print(f"the code of {Path(bunryu.__file__).parent}", file=sys.stderr)
    jobs = Jobs(work)
    digit_jobs(jobs)
    shared_jobs(jobs, shared)
    found = digest(work)
    if differing := unequal(found):
        sys.exit(f"the resumed run is another than the one never stopped: {', '.join(differing)}; see {work}")
    return [f"{name}  {value}" for name, value in found.items()] + [f"{told}  -" for told in jobs.skipped]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, help="write the lines there too")
    parser.add_argument("--against", type=Path, help="lines of an earlier run to compare with")
    parser.add_argument("--keep", type=Path, help="a new folder to work in, which stays")
    parser.add_argument("--shared", type=Path, default=ROOT.parent / "shared", help="where data/ and weights/ are")
    options = parser.parse_args()
    out, against, shared = (path and path.absolute() for path in (options.out, options.against, options.shared))
    if options.keep:
        options.keep.mkdir(parents=True)
    work = (options.keep or Path(tempfile.mkdtemp(prefix="bunryu-reference-"))).resolve()
    lines = run_all(work, shared)
    os.chdir("/")
    if not options.keep:
        shutil.rmtree(work)
    lines.append(total(lines))
    print("\n".join(lines))
    if out:
        out.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return 1 if against and compare(against, lines) else 0


os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
os.environ |= {"CUDA_VISIBLE_DEVICES": "", "COLUMNS": "120", "NO_COLOR": "1", "MPLBACKEND": "agg"}
AVERAGED += ("loss.class_weights=effective", "optim.sam_rho=0.05", "decision.tau=auto")
if __name__ == "__main__":
    sys.exit(main())
