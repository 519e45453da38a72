"""How often is something called better, worse or beyond noise that is not? Of the sentences in claims.py; and what an
interval covers, and what a setting costs that is chosen by a score: docs/false-alarms.md.

    python benchmarks/false_alarms.py [--times 400] [--probes 120]

Needs no pictures.
"""

from __future__ import annotations

import argparse
import json
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import binomtest

from bunryu.evaluate.decision.ensemble_weights import fit_weights, log_loss
from bunryu.evaluate.decision.logit_adjustment import adjusted, choose_tau
from bunryu.evaluate.decision.thresholds import best_thresholds
from bunryu.evaluate.metrics import averages, counts_of, measure
from claims import CLAIMS, Random

ROOT = Path(__file__).resolve().parents[1]
FIGURES, PAGE = ROOT / "benchmarks" / "false_alarms.json", ROOT / "docs" / "false-alarms.md"
NOTES = ROOT / "docs" / "false-alarms.notes.md"
Rows = list[dict[str, Any]]
COVERED = ("accuracy", "macro-F1", "recall", "precision", "F1")
"""The last three of the rarest class."""
GROUPS = (5, 10, 20, 30)


def draw(name: str, times: int) -> Iterator[Random]:
    """Yield a generator for each data set."""
    return (np.random.default_rng([zlib.crc32(name.encode()), number]) for number in range(times))


def alarms(times: int, probes: int, only: str) -> Iterator[dict[str, Any]]:
    """Yield of each sentence and kind of data how often it was said."""
    for claim in (claim for claim in CLAIMS if only in claim.says):
        for kind, cases in (("false", claim.false), ("true", claim.true)):
            for data, case in cases.items():
                of = probes if "probe" in claim.says else times
                of = max(1, of // (1 if kind == "false" else 4))
                said = sum(case(rng) for rng in draw(claim.says + data, of))
                yield {"says": claim.says, "level": claim.level, "kind": kind, "data": data, "said": said, "of": of}


def covered(groups: int, apart: bool, times: int) -> dict[str, Any]:
    """Count how often 95 % intervals of rows in groups of ten hold what is true of all groups.

    Three classes of 50, 30 and 20 %; groups are answered 70 % right, some more and some less (a beta distribution,
    correlation 0.3 within a group); each is of one class where they are `apart`.
    """
    known, share_K = 0.7, np.array([0.5, 0.3, 0.2])
    of_each = (known * np.eye(3) + (1 - known) / 2 * (1 - np.eye(3))) * share_K[:, None]
    f1_K = 2 * np.diag(of_each) / (of_each.sum(axis=0) + of_each.sum(axis=1))
    truth = dict(zip(COVERED, (known, f1_K.mean(), known, of_each[2, 2] / of_each[:, 2].sum(), f1_K[2]), strict=True))
    hits, made = dict.fromkeys(COVERED, 0), dict.fromkeys(COVERED, 0)
    for number, rng in enumerate(draw(f"covered {groups} {apart}", times)):
        unit_N = np.repeat(np.arange(groups), 10)
        true_N = rng.choice(3, groups, p=share_K)[unit_N] if apart else rng.choice(3, len(unit_N), p=share_K)
        right_N = rng.random(len(unit_N)) < rng.beta(known * 7 / 3, (1 - known) * 7 / 3, groups)[unit_N]
        pred_N = np.where(right_N, true_N, (true_N + rng.integers(1, 3, len(unit_N))) % 3)
        names = [f"g{unit}" for unit in unit_N]
        probs_NK = np.eye(3, dtype=np.float32)[pred_N]
        found = measure(probs_NK, true_N, ["a", "b", "c"], groups=names, bootstrap=500, seed=number, ranked=False)
        rare = found.per_class["c"]
        ends = (found.accuracy_ci, found.macro_f1_ci, rare.recall_ci, rare.precision_ci, rare.f1_ci)
        for name, interval in zip(COVERED, ends, strict=True):
            made[name] += interval is not None
            hits[name] += interval is not None and interval.low <= truth[name] <= interval.high
    return {"groups": groups, "apart": apart, "times": times, "covers": {n: [int(hits[n]), made[n]] for n in COVERED}}


def tau(rng: Random, n: int, shares: list[float]) -> float:
    """Return how much macro-F1 changes on new rows by decision.tau=auto, chosen on n rows."""

    def rows(n: int) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        true_N = rng.choice(3, n, p=shares)
        x_NK = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[true_N]
        odds_NK = np.exp(1.5 * x_NK) * np.array(shares)
        return (odds_NK / odds_NK.sum(axis=1, keepdims=True)).astype(np.float32), true_N

    def f1(probs_NK: NDArray[np.float32], true_N: NDArray[np.int64]) -> float:
        return float(averages(*counts_of(probs_NK.argmax(axis=1), true_N, 3))["macro_f1"])

    chosen = choose_tau(*rows(n), np.array(shares))
    probs_NK, true_N = rows(4000)
    return f1(adjusted(probs_NK, np.array(shares), chosen), true_N) - f1(probs_NK, true_N)


def thresholds(rng: Random, n: int, held: float) -> float:
    """Return how much the F1 of a label changes on new rows by a threshold chosen on n rows instead of 0.5."""

    def rows(n: int) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        held_N = rng.random(n) < held
        x_N = rng.normal(size=n) + 2 * held_N
        logit_N = 2 * x_N - 2 + np.log(held / (1 - held))
        return (1 / (1 + np.exp(-logit_N))).astype(np.float32), held_N

    def f1(threshold: float) -> float:
        said_N = probs_N >= threshold
        return float(2 * (said_N & held_N).sum() / max(said_N.sum() + held_N.sum(), 1))

    given_N, known_N = rows(n)
    chosen = best_thresholds(given_N[:, None], known_N[:, None])[0]
    probs_N, held_N = rows(4000)
    return f1(chosen) - f1(0.5)


def weights(rng: Random, n: int, broken: bool) -> float:
    """Return how much the log loss of three members rises on new rows by weights fitted on n rows instead of equal."""

    def rows(n: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        true_N = rng.integers(0, 3, n)
        logits_MNK = 1.5 * np.eye(3)[true_N] + rng.normal(size=(3, n, 3)) / 1.5 + rng.normal(size=(n, 3))
        if broken:
            logits_MNK[2] = rng.normal(size=(n, 3))
        odds_MNK = np.exp(logits_MNK)
        return odds_MNK / odds_MNK.sum(axis=2, keepdims=True), true_N

    fitted_M = fit_weights(*rows(n))
    probs_MNK, true_N = rows(4000)
    return log_loss(np.einsum("m,mnk->nk", fitted_M, probs_MNK), true_N) - log_loss(probs_MNK.mean(axis=0), true_N)


CHOSEN: dict[str, Callable[[Random, int], float]] = {
    "`decision.tau=auto`, 3 even classes: macro-F1": lambda rng, n: tau(rng, n, [1 / 3] * 3),
    "`decision.tau=auto`, classes of 80, 10 and 10 %: macro-F1": lambda rng, n: tau(rng, n, [0.8, 0.1, 0.1]),
    "threshold of a label of 50 % of the rows: F1": lambda rng, n: thresholds(rng, n, 0.5),
    "threshold of a label of 10 %: F1": lambda rng, n: thresholds(rng, n, 0.1),
    "`ensemble --weights fit`, 3 members alike: log loss": lambda rng, n: weights(rng, n, broken=False),
    "`ensemble --weights fit`, one member knows nothing: log loss": lambda rng, n: weights(rng, n, broken=True),
}
"""What a score chooses: how much a figure changes on new rows, chosen on so many."""
SIZES = (50, 200, 1000)


def changes(times: int) -> Iterator[dict[str, Any]]:
    """Yield of each choice what it changes on new rows, the mean of many and its standard error."""
    for name, change in CHOSEN.items():
        for n in SIZES:
            found = np.array([change(rng, n) for rng in draw(name, times)])
            error = float(found.std(ddof=1) / len(found) ** 0.5)
            yield {"choice": name, "rows": n, "change": float(found.mean()), "error": error}


def write_page(found: dict[str, Rows]) -> None:
    """Write docs/false-alarms.md."""
    lines = [*NOTES.read_text(encoding="utf-8").splitlines(), ""]
    for kind, head in (("false", "## Said where it is false"), ("true", "## Said where it is true")):
        lines += [head, "", "| sentence | data | at most | said | 95 % interval |", "|---|---|---|---|---|"]
        for row in (row for row in found["alarms"] if row["kind"] == kind):
            low, high = binomtest(row["said"], row["of"]).proportion_ci()
            level = f"{row['level']:.1%}" if kind == "false" else "-"
            share = f"{row['said'] / row['of']:.1%} of {row['of']:,}"
            lines.append(f"| {row['says']} | {row['data']} | {level} | {share} | {low:.1%} to {high:.1%} |")
        lines.append("")
    lines += ["## What 95 % intervals cover", "", "| groups of ten rows | " + " | ".join(COVERED) + " |"]
    lines += ["|---|" + "---|" * len(COVERED)]
    for row in found["covered"]:
        cells = [f"{hits / made:.3f}" if made else "-" for hits, made in row["covers"].values()]
        lines.append(f"| {row['groups']}{', each of one class' if row['apart'] else ''} | " + " | ".join(cells) + " |")
    lines += ["", "## What a choice by a score changes on new rows", ""]
    lines += [
        "| chosen, and the figure | " + " | ".join(f"on {n:,} rows" for n in SIZES) + " |",
        "|---|" + "---|" * len(SIZES),
    ]
    for name in CHOSEN:
        own = {row["rows"]: row for row in found["changes"] if row["choice"] == name}
        lines.append(
            f"| {name} | " + " | ".join(f"{own[n]['change']:+.3f} ± {own[n]['error']:.3f}" for n in SIZES) + " |"
        )
    PAGE.write_text("\n".join(lines).rstrip("\n") + "\n", encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--times", type=int, default=400)
    parser.add_argument("--probes", type=int, default=120)
    parser.add_argument("--only", help="count the sentences with these words anew; the rest is kept")
    parser.add_argument("--page", action="store_true", help="only write the page, from what was counted")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    if not asked.page:
        found: dict[str, Rows] = {"alarms": [], "covered": [], "changes": []}
        counts = {"alarms": alarms(asked.times, asked.probes, asked.only or "")}
        if asked.only is None:
            counts["covered"] = (covered(n, apart, asked.times) for n in GROUPS for apart in (False, True))
            counts["changes"] = changes(asked.times)
        else:
            found = json.loads(FIGURES.read_text(encoding="utf-8"))
            says = {claim.says for claim in CLAIMS if asked.only not in claim.says}
            found["alarms"] = [row for row in found["alarms"] if row["says"] in says]
        for name, rows in counts.items():
            for row in rows:
                print(row, flush=True)
                found[name].append(row)
                FIGURES.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    write_page(json.loads(FIGURES.read_text(encoding="utf-8")))


if __name__ == "__main__":
    main()
