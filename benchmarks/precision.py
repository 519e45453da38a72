"""Pure training and inference step, images/s, by precision: what the fixed precision rule rests on.

python benchmarks/precision.py [NAME ...]
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import torch

from bunryu.core.process import keep_freed_memory
from bunryu.models.build import build, has_depthwise
from bunryu.models.record import Architecture

BATCH, SIDE, REPEATS = 32, 224, 3


def rates(name: str, precision: str) -> tuple[float, float]:
    """Return (training, inference) images/s, medians of several."""
    net = build(Architecture(name=name), 10).to(memory_format=torch.channels_last)
    x = torch.randn(BATCH, 3, SIDE, SIDE).contiguous(memory_format=torch.channels_last)
    target = torch.randint(0, 10, (BATCH,))

    def train() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            loss = torch.nn.functional.cross_entropy(net(x).float(), target)
        loss.backward()
        net.zero_grad()

    def infer() -> None:
        with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=precision == "bf16"):
            net(x)

    net.train()
    training = rate(train)
    net.eval()
    return training, rate(infer)


def rate(step: Callable[[], None]) -> float:
    """Return images/s, the median of several steps."""
    step()
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        step()
        seconds.append(time.perf_counter() - start)
    return BATCH / statistics.median(seconds)


def main() -> None:
    keep_freed_memory()  # as the command does; BUNRYU_MALLOC=system shows the difference
    names = sys.argv[1:] or ["torchvision/resnet18", "torchvision/mobilenet_v2", "timm/tf_efficientnetv2_b0"]
    print(f"{torch.get_num_threads()} threads, batch {BATCH}, {SIDE} px")
    for name in names:
        depthwise = "depthwise" if has_depthwise(build(Architecture(name=name), 10)) else ""
        for precision in ("fp32", "bf16"):
            training, inference = rates(name, precision)
            print(f"{name:<28}{precision}  train {training:6.1f}  infer {inference:6.1f}  {depthwise}", flush=True)


if __name__ == "__main__":
    main()
