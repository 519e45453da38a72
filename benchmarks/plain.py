"""The rival: the tutorial's way (ImageFolder, DataLoader, PIL, fp32), as people write it by hand.

python benchmarks/plain.py train|timm|frozen|predict FOLDER MODEL EPOCHS [WEIGHTS]

`timm` is the loop of timm's own train.py at its defaults, with timm's datasets, loader, network, loss and optimiser.
Prints one JSON line: the seconds of each epoch's training and validation, and the last validation accuracy.
"""

from __future__ import annotations

import csv
import json
import sys
import time
from pathlib import Path

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, models, transforms

NORMALIZE = transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
TRAIN = transforms.Compose(
    [transforms.RandomResizedCrop(224), transforms.RandomHorizontalFlip(), transforms.ToTensor(), NORMALIZE]
)
USE = transforms.Compose([transforms.Resize(256), transforms.CenterCrop(224), transforms.ToTensor(), NORMALIZE])


def network(name: str, classes: int, weights: str | None) -> nn.Module:
    net = models.get_model(name)
    if weights:
        net.load_state_dict(torch.load(weights, weights_only=True))
    last = [key for key, module in net.named_modules() if isinstance(module, nn.Linear)][-1]
    parent, _, attribute = last.rpartition(".")
    features = net.get_submodule(last).in_features
    setattr(net.get_submodule(parent), attribute, nn.Linear(features, classes))
    return net


def train(folder: Path, name: str, epochs: int, weights: str | None, *, frozen: bool) -> dict[str, object]:
    data = {"train": datasets.ImageFolder(folder / "train", TRAIN), "val": datasets.ImageFolder(folder / "val", USE)}
    loaders = {key: DataLoader(part, 32, shuffle=key == "train", num_workers=2) for key, part in data.items()}
    net = network(name, len(data["train"].classes), weights)
    if frozen:
        linear = [module for module in net.modules() if isinstance(module, nn.Linear)][-1]
        net.requires_grad_(False)
        linear.requires_grad_(True)
    optimizer = torch.optim.AdamW([p for p in net.parameters() if p.requires_grad], lr=1e-3 if frozen else 1e-4)
    found: dict[str, list[float]] = {"train": [], "val": []}
    accuracy = 0.0
    for _ in range(epochs):
        start = time.perf_counter()
        net.train()
        for x, y in loaders["train"]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        found["train"].append(time.perf_counter() - start)
        start = time.perf_counter()
        net.eval()
        with torch.no_grad():
            right = sum(int((net(x).argmax(1) == y).sum()) for x, y in loaders["val"])
        accuracy = right / len(data["val"])
        found["val"].append(time.perf_counter() - start)
    return {**found, "images": len(data["train"]), "accuracy": accuracy}


def train_timm(folder: Path, name: str, epochs: int) -> dict[str, object]:
    from timm import create_model
    from timm.data import create_dataset, create_loader
    from timm.optim import create_optimizer_v2

    shape = {"input_size": (3, 224, 224), "batch_size": 32, "num_workers": 2, "use_prefetcher": False}
    data = {key: create_dataset("", str(folder / key), is_training=key == "train") for key in ("train", "val")}
    loaders = {
        key: create_loader(part, is_training=key == "train", device=torch.device("cpu"), **shape)
        for key, part in data.items()
    }
    net = create_model(name, num_classes=2)
    optimizer = create_optimizer_v2(net, opt="adamw", lr=1e-4)
    found: dict[str, list[float]] = {"train": [], "val": []}
    for _ in range(epochs):
        start = time.perf_counter()
        net.train()
        for x, y in loaders["train"]:
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x), y).backward()
            optimizer.step()
        found["train"].append(time.perf_counter() - start)
        start = time.perf_counter()
        net.eval()
        with torch.no_grad():
            right = sum(int((net(x).argmax(1) == y).sum()) for x, y in loaders["val"])
        found["val"].append(time.perf_counter() - start)
    return {**found, "images": len(data["train"]) // 32 * 32, "accuracy": right / len(data["val"])}


def predict(folder: Path, name: str, out: Path) -> dict[str, object]:
    """Predict one file after the other, as the tutorials do."""
    net = network(name, 2, None).eval()
    files = sorted(folder.rglob("*.jpg"))
    start = time.perf_counter()
    with out.open("w", newline="") as stream, torch.no_grad():
        writer = csv.writer(stream)
        for file in files:
            probs = net(USE(Image.open(file).convert("RGB"))[None]).softmax(1)[0]
            writer.writerow([file, int(probs.argmax()), float(probs.max())])
    return {"seconds": time.perf_counter() - start, "images": len(files)}


if __name__ == "__main__":
    what, where, model, count, *rest = sys.argv[1:]
    if what == "predict":
        print(json.dumps(predict(Path(where), model, Path(count))))
    elif what == "timm":
        print(json.dumps(train_timm(Path(where), model, int(count))))
    else:
        weights = rest[0] if rest else None
        print(json.dumps(train(Path(where), model, int(count), weights, frozen=what == "frozen")))
