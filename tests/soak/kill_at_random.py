"""Kill a training at random moments, resume it after each, and compare with one that was never stopped.

    python tests/soak/kill_at_random.py --count 100        # what `make soak` runs

Every training has everything on: two stages, BatchNorm, dropout, momentum, plateau, augmentation, accumulation, and
a checkpoint after each update, so that some of the kills fall into a save. Each round begins a new training
(with a seed of its own) and kills it again and again until it ends; all that it left must then be the same bit for
bit as what the undisturbed training of that seed left. Prints a summary; the exit code is 1 on any difference.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS), str(TESTS / "workflows")]

from test_resume import EVERYTHING  # noqa: E402

from conftest import write_class_folders  # noqa: E402
from killing import Ended, Nursery, results  # noqa: E402

SHORTEST = 0.02


def one_round(nursery: Nursery, folder: Path, seed: int, kills: int, rng: random.Random, seen: Counter[str]) -> str:
    """Train with up to `kills` kills; return what differs from the undisturbed training, or ""."""
    pairs = (*EVERYTHING, f"train.seed={seed}")
    straight, run = folder / f"straight{seed}", folder / f"killed{seed}"
    start = time.monotonic()
    nursery.finish("train", folder / "photos", "--out", straight, *pairs)
    whole = time.monotonic() - start
    command: tuple[object, ...] = ("train", folder / "photos", "--out", run, *pairs)
    for _ in range(kills):
        ended = nursery.run(*command, kill_after=rng.uniform(SHORTEST, 0.6 * whole))
        where = state_of(run, ended)
        seen[where] += 1
        if where == "ended":
            break
        if where.startswith("broken"):
            return f"{where}: {ended.text}"
        if where == "not set up":
            shutil.rmtree(run, ignore_errors=True)
        else:
            command = ("train", "--resume", run)
    else:
        ended = nursery.run(*command)
        if ended.code:
            return f"not resumed: {ended.text}"
    found, expected = results(run), results(straight)
    shutil.rmtree(run)
    shutil.rmtree(straight)
    return ", ".join(name for name in expected if found.get(name) != expected[name])


def state_of(run: Path, ended: Ended) -> str:
    """Say where a kill left the run; a checkpoint that is there has to be readable."""
    from bunryu.core.errors import RunError
    from bunryu.train.checkpoint import load_checkpoint

    if not ended.killed:
        return "ended" if ended.code == 0 else f"broken (exit code {ended.code})"
    if not (run / "config.yaml").exists():
        return "not set up"
    if (run / "metrics.json").exists():
        return "ended"
    last = run / "checkpoints" / "last.safetensors"
    inside = ", inside a save" if list(run.rglob(".*.tmp")) else ""
    if not last.exists():
        return f"before the first checkpoint{inside}"
    try:
        progress = load_checkpoint(last).progress
    except RunError as error:
        return f"broken ({error})"
    return ("measuring" if progress.stage == 2 else f"stage {progress.stage + 1}") + inside


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=100, help="kills in all [100]")
    parser.add_argument("--each", type=int, default=12, help="kills of one training at most [12]")
    parser.add_argument("--seed", type=int, default=0, help="of the moments [0]")
    options = parser.parse_args()
    rng, seen, wrong = random.Random(options.seed), Counter[str](), []
    start, folder, nursery = time.monotonic(), Path(tempfile.mkdtemp(prefix="bunryu-soak-")), Nursery()
    write_class_folders(folder / "photos", {"가": 12, "b": 12, "c": 12})
    rounds = 0
    while (kills := sum(seen.values()) - seen["ended"]) < options.count:
        difference = one_round(nursery, folder, rounds, min(options.each, options.count - kills), rng, seen)
        rounds += 1
        print(f"training {rounds}: {'DIFFERS in ' + difference if difference else 'the same bits'}", flush=True)
        wrong += [difference] if difference else []
    nursery.close()
    where = ", ".join(f"{name}: {count}" for name, count in sorted(seen.items()) if name != "ended")
    kept = f"; the runs are in {folder}" if wrong else ""
    told = f"{kills} kills in {rounds} trainings ({where}), {time.monotonic() - start:.0f} s"
    print(f"{told}: {len(wrong)} of {rounds} trainings differ{kept}" if wrong else f"{told}: every one the same bits")
    if not wrong:
        shutil.rmtree(folder)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
