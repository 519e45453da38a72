"""The page that `speed.py` writes: docs/performance.md."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
EPOCHS, FROZEN_EPOCHS = 3, 15
RIVAL_EPOCHS = 5
"""Epochs that the plain way of a frozen stage is timed for where there are no weights to look at the accuracy with;
each costs the same, so that its fifteen cost three times as much."""
FIGURES = ROOT / "benchmarks" / "speed.json"
PAGE = ROOT / "docs" / "performance.md"
NOTES = ROOT / "docs" / "performance.notes.md"
DECODE = ROOT / "benchmarks" / "decode.json"
CHECKING = ROOT / "benchmarks" / "checking.json"
NETS = ("resnet18", "efficientnet_b0", "mobilenet_v2")


def write_page(found: dict[str, Any]) -> None:
    """Write docs/performance.md from the figures."""
    lines = [
        "# Performance",
        "",
        "Written by `python benchmarks/speed.py` (`make bench`), in one run on one machine:",
        f"{found['machine']}.",
        "The rival is `benchmarks/plain.py`: ImageFolder, DataLoader with two workers, PIL, fp32, as tutorials do it.",
        "Only the ratios carry over to other machines. 320 photos to train on, 80 to validate, 224 px, batches of 32.",
    ]
    for key, section in (
        ("train", _training),
        ("memory", _memory),
        ("timm", _timm),
        ("frozen", _frozen),
        ("predict", _prediction),
    ):
        lines += ["", *section(found[key])] if key in found else []
    lines += ["", *_decoding()] if DECODE.exists() else []
    lines += ["", *_checking()] if CHECKING.exists() else []
    lines += ["", NOTES.read_text(encoding="utf-8").rstrip()] if NOTES.exists() else []
    PAGE.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _training(rows: list[dict[str, Any]]) -> list[str]:
    columns = ["net", "precision", "one epoch, whole process: plain, ours", "ratio"]
    columns += ["later epochs, images/s: plain, ours", "ratio", "pure step", "of the pure step", "peak MB: plain, ours"]
    lines = ["## Training", "", f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for r in rows:
        lines.append(
            f"| {r['net']} | {r['precision']} | {r['plain_process_s']:.0f} s, {r['own_process_s']:.0f} s | "
            f"**{r['process_ratio']:.1f}** | {r['plain_rate']:.1f}, {r['own_rate']:.1f} | "
            f"**{r['rate_ratio']:.1f}** | {r['pure_step']:.1f} | {r['of_pure_step']:.2f} | "
            f"{r['plain_peak_mb']:.0f}, {r['own_peak_mb']:.0f} |"
        )
    return lines


def _memory(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["## Peak memory of training, all processes together", ""]
    lines += ["| net | plain (two workers), MB | ours (threads), MB | ratio |", "|---|---|---|---|"]
    for r in rows:
        ratio = r["own_mb"] / r["plain_mb"]
        lines.append(f"| {r['net']} | {r['plain_mb']:.0f} | {r['own_mb']:.0f} | **{ratio:.2f}** |")
    return [*lines, "", "What processes share is counted once (PSS), looked at every 0.3 s."]


def _timm(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["## Against timm's training loop", ""]
    lines += ["| net | later epochs, images/s: timm, ours | ratio | whole process: timm, ours |", f"|{'---|' * 4}"]
    for r in rows:
        lines.append(
            f"| timm/{r['net']} | {r['timm_rate']:.1f}, {r['own_rate']:.1f} | "
            f"**{r['own_rate'] / r['timm_rate']:.1f}** | {r['timm_process_s']:.0f} s, {r['own_process_s']:.0f} s |"
        )
    told = f"{EPOCHS} epochs of both, in one process each; timm's datasets, loader, network and optimiser, at fp32."
    return [*lines, "", told]


def _frozen(rows: list[dict[str, Any]]) -> list[str]:
    columns = [
        "net",
        "way",
        "whole process",
        "against plain",
        "the stage alone",
        "against plain",
        "validation accuracy",
    ]
    lines = [f"## A frozen stage of {FROZEN_EPOCHS} epochs", ""]
    lines += [f"| {' | '.join(columns)} |", f"|{'---|' * len(columns)}"]
    for row in rows:
        start, rival = row["again"]["process_s"] - row["again"]["epochs_s"], row["plain"]
        for name in ("plain", "uncached", "cached", "two views", "again"):
            way = row[name]
            stage = way["epochs_s"] if name == "plain" else way["process_s"] - start
            accuracy = f"{way['accuracy']:.3f}" if row["weights"] else "-"
            lines.append(
                f"| {row['net']} | {name} | {way['process_s']:.1f} s | {rival['process_s'] / way['process_s']:.1f} | "
                f"{stage:.2f} s | **{rival['epochs_s'] / stage:.0f}** | {accuracy} |"
            )
    told = (
        "`again` is the same stage with another rate, in a new process: its features are kept. The stage alone is the"
    )
    scaled = f"Where no accuracy is shown, {RIVAL_EPOCHS} epochs of the plain way were timed and counted three times."
    return [*lines, "", told, "whole process less what `again` takes beside its epochs; of plain, its epochs.", scaled]


def _prediction(rows: list[dict[str, Any]]) -> list[str]:
    lines = ["## 300 JPEGs of a folder to predictions.csv, whole process", ""]
    lines += ["| net | plain | ours | ratio | of ours: import of torch, pure forward |", f"|{'---|' * 5}"]
    for r in rows:
        lines.append(
            f"| {r['net']} | {r['plain_process_s']:.1f} s | {r['own_process_s']:.1f} s | "
            f"**{r['process_ratio']:.1f}** | {r['import_torch_s']:.1f} s, {r['forward_s']:.1f} s |"
        )
    return lines


def _decoding() -> list[str]:
    found = json.loads(DECODE.read_text(encoding="utf-8"))
    lines = ["## Decoding and fitting one photo (`python benchmarks/decode.py`)", ""]
    lines += ["| photos | threads | tutorial, ms | full, ms | scaled, ms | tutorial / scaled |", f"|{'---|' * 6}"]
    for row in found["rows"]:
        ms = row["ms"]
        lines.append(
            f"| {row['photos']} | {row['threads']} | {ms['tutorial']:.1f} | {ms['full']:.1f} | {ms['scaled']:.1f} | "
            f"**{ms['tutorial'] / ms['scaled']:.1f}** |"
        )
    return lines


def _checking() -> list[str]:
    found = json.loads(CHECKING.read_text(encoding="utf-8"))
    held, starts = found["decode"]["held_mb"], found["start_s"]
    lines = ["## Many files, and starting (`python benchmarks/checking.py`)", ""]
    lines += [f"| {found['files']:,} JPEGs of 32 px | listed | checked | memory before, after |", "|---|---|---|---|"]
    for name in ("first", "second"):
        r = found[name]
        lines.append(
            f"| the {name} time | {r['listed_s']:.1f} s | **{r['checked_s']:.1f} s** | "
            f"{r['before_mb']:.0f}, {r['after_mb']:.0f} MB |"
        )
    lines += ["", f"Decoding {found['decoded']:,} of them in threads: {held[0]:.0f} MB held after the first tenth, "]
    lines[-1] += f"{held[-1]:.0f} MB at the end."
    told = ", ".join(f"`bunryu` with {name} {seconds:.2f} s" for name, seconds in starts.items())
    return [*lines, f"Start to end: {told}."]
