"""Sealed model and pictures in, probabilities out: the only forward path without gradients.

Validation during training, evaluate, predict and the Python call all end in `forward`.
"""

from __future__ import annotations

import dataclasses
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bunryu.core import console
from bunryu.core.errors import ImageError, RunError, some
from bunryu.core.shown import shown
from bunryu.data.images.decode import Source
from bunryu.data.images.deep import Seen
from bunryu.data.images.load import Batch, load_batches
from bunryu.data.images.sources import as_sources, source_name
from bunryu.inference.device import autocast, choose_device, memory_advice, to_device
from bunryu.inference.multilabel_predictions import answers_of
from bunryu.inference.reading import BATCH, PLAIN, Answers, Reading, in_chunks, say_strange
from bunryu.models.classifier import Classifier
from bunryu.models.record import Decision, Head, Precision, Sealed
from bunryu.models.sealed_file import open_sealed
from bunryu.runs.folder import model_file
from bunryu.settings.data import InputSpec

if TYPE_CHECKING:
    import pandas as pd


def normalize(x_BHWC: torch.Tensor, input: InputSpec) -> torch.Tensor:
    """Turn uint8 pixels into the net's float32 input, (B, H, W, C) -> (B, C, H, W) in channels_last memory."""
    scale = torch.tensor([255.0 * value for value in input.std], device=x_BHWC.device)
    shift = torch.tensor([255.0 * value for value in input.mean], device=x_BHWC.device)
    return x_BHWC.float().sub_(shift).div_(scale).permute(0, 3, 1, 2)


@torch.no_grad()
def forward(
    net: nn.Module,
    x_BHWC: torch.Tensor,
    input: InputSpec,
    precision: Precision,
) -> torch.Tensor:
    """Return float32 logits (B, K) of uint8 pixels (B, H, W, C). The net must be in eval mode."""
    with autocast(x_BHWC.device, precision):
        return cast(torch.Tensor, net(normalize(x_BHWC, input))).float()


def probabilities(logits_BK: torch.Tensor, decision: Decision, heads: Sequence[Head] = ()) -> torch.Tensor:
    """Return softmax(logits / temperature + offsets), float32 (B, K); of labels that can hold together the sigmoid.

    Of several heads: for each combination of their classes the product of the heads' softmaxes, the last head's classes
    changing first.
    """
    logits_BK = logits_BK / (decision.temperature or 1.0)
    if decision.logit_offsets is not None:
        logits_BK = logits_BK + torch.tensor(decision.logit_offsets, device=logits_BK.device)
    if heads and heads[0].kind == "sigmoid":
        return torch.sigmoid(logits_BK)
    if len(heads) < 2:
        return torch.softmax(logits_BK, dim=1)
    first, *others = torch.split(logits_BK, [len(head.classes) for head in heads], dim=1)
    joint_BJ = torch.softmax(first, dim=1)
    for logits in others:
        joint_BJ = (joint_BJ[:, :, None] * torch.softmax(logits, dim=1)[:, None, :]).flatten(1)
    return joint_BJ


class Predictor(ABC):
    """Pictures in, class probabilities out: one sealed model, or several together (`bunryu.inference.ensemble`)."""

    sealed: Sealed
    """What it says of itself; of several, the first's record with the decision of all."""
    device: torch.device

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the outputs."""
        return self.sealed.classes

    def takes_deep(self) -> bool:
        """Return whether it has sealed a range of values, so that arrays of other numbers than uint8 are pictures."""
        return self.sealed.decode.range is not None

    @abstractmethod
    def infer(self, source: Callable[[int], Source], rows: NDArray[np.int64], reading: Reading = PLAIN) -> Answers:
        """Return what the model answers to pictures.

        Args:
            source: row -> path, bytes or array.
            rows: which rows, in the order wanted.
            reading: how they are read.

        Raises:
            DeviceError: memory ran out.
        """

    def probabilities(self, images: Source | Sequence[Source], *, batch_size: int = BATCH) -> NDArray[np.float32]:
        """Return class probabilities, float32, shape (N, K).

        Args:
            images: a path, encoded bytes, a uint8 array (H, W), (H, W, 3) or (H, W, 4) in the order red, green, blue,
                or a list of these. OpenCV reads blue, green, red: give ``image[:, :, ::-1]``. A model that learned
                from pictures of more than 8 bits takes arrays of other numbers too, on the scale of those.
            batch_size: pictures in one forward pass.

        Raises:
            DataError: something that is no picture.
            ImageError: a picture cannot be read.
        """
        sources = as_sources(images, deep=self.takes_deep)
        found = self.infer(sources.__getitem__, np.arange(len(sources)), Reading(batch_size=batch_size))
        if found.failed:
            raise ImageError(some(f"{source_name(sources[row], row)}: {why}" for row, why in found.failed.items()))
        say_strange(found, self.sealed)
        return found.probs_NK

    def predict(self, images: Source | Sequence[Source], *, batch_size: int = BATCH) -> pd.DataFrame:
        """Return a DataFrame with path, pred, conf and p_CLASS for each picture; see `probabilities`."""
        sources = as_sources(images, deep=self.takes_deep)
        probs = self.probabilities(sources, batch_size=batch_size)
        names = [source_name(source, i) for i, source in enumerate(sources)]
        return answers_of(self.sealed, names, probs).frame()


class Model(Predictor):
    """A sealed model, ready to predict.

    Example:
        >>> model = bunryu.open_run("runs/photos-1").model
        >>> model.predict("new/one.jpg")
    """

    def __init__(self, net: Classifier, sealed: Sealed, device: torch.device) -> None:
        self.net = net.to(device=device, memory_format=net.memory_format).eval()  # type: ignore[call-overload]
        self.sealed = sealed
        self.device = device

    @classmethod
    def open(cls, path: str | Path, *, device: Literal["auto", "cuda", "mps", "cpu"] = "auto") -> Model:
        """Open a model file, or the one in a run folder.

        Raises:
            RunError: it is missing or damaged, or the run's training was stopped.
            DeviceError: the device is not there.
        """
        file = model_file(Path(path))
        if file.suffix == ".json":
            raise RunError(f"{file.parent} holds several models, which predict together: bunryu.open_run(PATH).model")
        net, sealed = open_sealed(file)
        return cls(net, sealed, choose_device(device))

    def infer(self, source: Callable[[int], Source], rows: NDArray[np.int64], reading: Reading = PLAIN) -> Answers:
        """See `Predictor.infer`."""
        chunks, sealed = in_chunks(rows, reading.batch_size), self.sealed
        batches = load_batches(
            source, chunks, sealed.decode, sealed.input, workers=reading.workers, cache=reading.cache
        )
        return self.infer_batches(batches, len(rows), reading)

    def infer_batches(self, batches: Iterable[Batch], total: int, reading: Reading = PLAIN) -> Answers:
        """As `infer`, of pictures that are being read already: `total` of them, `reading.batch_size` at a time."""
        self.net.eval()
        sealed = self.sealed
        kept = [np.zeros(0, np.int64)]
        found = [np.zeros((0, len(self.classes)), np.float32)]
        said = [np.zeros((0, sealed.outputs), np.float32)]
        failed: dict[int, str] = {}
        seen: dict[int, Seen] = {}
        with memory_advice(reading.batch_size, self.device):
            for batch in console.tracked_rows(batches, reading.told, total):
                failed |= batch.failed
                seen |= batch.seen
                if len(batch.rows):
                    pixels = to_device(batch.pixels_BHWC, self.device)
                    logits = forward(self.net, pixels, sealed.input, sealed.precision)
                    probs = probabilities(logits, sealed.decision, sealed.heads).cpu().numpy()
                    kept.append(batch.rows)
                    found.append(probs)
                    if reading.logits:
                        said.append(logits.cpu().numpy())
                    if reading.examples is not None:
                        reading.examples.see(batch.rows, batch.pixels_BHWC, probs)
        logits_NC = np.concatenate(said) if reading.logits else None
        pictures = {} if reading.examples is None else reading.examples.pictures
        return Answers(np.concatenate(kept), np.concatenate(found), failed, logits_NC, pictures, seen)

    def decided(self, answers: Answers) -> Answers:
        """Return answers with their logits as the present decision answers: to the bits of `infer`, without a pass.

        That goes for answers without failed rows, since a batch of other length may round its last values otherwise.
        """
        assert answers.logits_NC is not None
        found = [np.zeros((0, len(self.classes)), np.float32)]
        for logits_BC in torch.split(torch.from_numpy(answers.logits_NC), BATCH):
            probs = probabilities(logits_BC.to(self.device), self.sealed.decision, self.sealed.heads)
            found.append(probs.cpu().numpy())
        return dataclasses.replace(answers, probs_NK=np.concatenate(found))

    def __repr__(self) -> str:
        """Return the model in a line, for notebooks."""
        s = self.sealed
        size = f"{s.input.height}x{s.input.width} {s.input.channels}"
        return shown(f"Model({s.architecture.name}, {len(self.classes)} classes, {size}, {s.precision}, {self.device})")
