"""A run whose network is code of the user's own goes on only where they allow it, and then to the same bits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import killing

NET = """
import torch
from torch import nn


class MyModel(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=4, padding=1)
        self.norm = nn.BatchNorm2d(4)
        self.drop = nn.Dropout(0.2)
        self.fc = nn.Linear(64, num_classes)

    def forward(self, x):
        return self.fc(self.drop(torch.relu(self.norm(self.conv(x))).view(x.size(0), -1)))
"""
SMALL = (
    "train.device=cpu", "train.precision=fp32", "train.threads=1", "train.epochs=3", "train.batch_size=8",
    "input.size=16", "evaluate.bootstrap=20", "split.val=0.3", "model.dropout=0.3",
    "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true, epochs: 1}, "
    "{name: head, freeze: backbone, epochs: 1}, {name: all}]",
)  # fmt: skip


def test_resume_asks_for_the_code_and_ends_with_the_same_bits(make_images: Any, tmp_path: Path) -> None:
    nursery, net = killing.nursery(), tmp_path / "net.py"
    net.write_text(NET, encoding="utf-8")
    photos = make_images(tmp_path / "사진", {"가": 12, "b": 12, "c": 12})
    given = ("train", photos, f"model.file={net}:MyModel", *SMALL)
    nursery.finish(*given, "--out", tmp_path / "whole")
    expected = killing.results(tmp_path / "whole")
    for point, at in (("update", 4), ("half written", 1)):  # the latter: before there is any checkpoint
        run = tmp_path / f"run{at}"
        assert nursery.run(*given, "--out", run, point=point, at=at).killed
        stopped = nursery.run("train", "--resume", run)
        assert (stopped.code, "code is run only if you say so" in stopped.text) == (2, True), stopped.text
        trusted = ["--trust-code"] if at == 1 else ["--model-file", net]
        nursery.finish("train", "--resume", run, *trusted)
        found = killing.results(run)
        differ = [name for name in expected if found[name] != expected[name] and name not in ("best", "last")]
        assert differ == []
        assert found["last"]["tensors"] == expected["last"]["tensors"]
    # a run folder that names code to be run, and has no copy of it
    (tmp_path / "evil.py").write_text("print('evil')\n", encoding="utf-8")
    (run / "code/net.py").unlink()
    for written in (*(run / "checkpoints").iterdir(), run / "metrics.json"):
        written.unlink()
    config = run / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("net.py:MyModel", "evil.py:MyModel"), encoding="utf-8")
    (run / "SHA256SUMS").unlink()  # its author would not forget that
    ended = nursery.run("train", "--resume", run)
    assert (ended.code, "has no copy of" in ended.text, "evil\n" in ended.text) == (2, True, False), ended.text
