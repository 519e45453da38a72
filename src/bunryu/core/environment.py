"""What a run is made with: the machine, and the packages that decide results."""

from __future__ import annotations

import os
import platform
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from bunryu.core import distributed, process
from bunryu.core.storage import write_json

_PACKAGES = ("torch", "torchvision", "timm", "numpy", "pillow", "scikit-learn", "safetensors", "pandas")
_EXTRAS = ("albumentations", "opencv-python-headless")


def write_environment(
    file: Path, *, device: str, precision: str, threads: int, data_root: str, facts: dict[str, str]
) -> None:
    """Record what a run is made with."""
    write_json(
        file,
        {
            "command": sys.argv,
            "started": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "python": platform.python_version(),
            "system": platform.platform(),
            "processor": processor_name(),
            "cores": os.cpu_count(),
            "processes": distributed.world(),
            "device": device,
            "precision": precision,
            "threads": threads,
            "malloc": process.malloc(),
            "OMP_WAIT_POLICY": os.environ.get("OMP_WAIT_POLICY"),
            "data_root": data_root,
            "facts": facts,
            "versions": versions(),
        },
    )


def versions() -> dict[str, str]:
    """Return the versions of bunryu and of the packages that decide results."""
    found = {}
    for package in ("bunryu", *_PACKAGES, *_EXTRAS):
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            if package not in _EXTRAS:
                found[package] = "unknown"
    return found


def processor_name() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())
