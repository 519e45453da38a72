"""The page that `results.py` writes: docs/results.md."""

from __future__ import annotations

import os
import platform
import statistics
from pathlib import Path

from results_jobs import LOSSES, ROOT, Job, jobs, then_told

FREQUENT = 30
"""Pictures of a class, from which on its F1 says something."""


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
