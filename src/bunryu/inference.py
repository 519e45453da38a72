"""Sealed model and pictures in, probabilities out: the only forward path without gradients.

Validation during training, evaluate, predict and the Python call all end in `forward`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from bunryu.core import console
from bunryu.core.errors import DeviceError, ImageError, RunError, some
from bunryu.data.images.decode import Source
from bunryu.data.images.load import Batch, load_batches
from bunryu.data.images.pixel_cache import PixelCache
from bunryu.data.images.sources import as_sources, source_name
from bunryu.label_predictions import answers_of
from bunryu.models.classifier import Classifier
from bunryu.models.record import Decision, Head, Precision, Sealed
from bunryu.models.sealed_file import open_sealed
from bunryu.runs.folder import model_file
from bunryu.settings.data import InputSpec

if TYPE_CHECKING:
    import pandas as pd

BATCH = 32
"""Pictures in one forward pass, everywhere, so that the same files give the same bits."""
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
_NO_MEMORY = ("allocate memory", "not enough memory", "out of memory")


def choose_device(
    name: Literal["auto", "cuda", "mps", "cpu"] = "auto", *, mend: str = "--device auto (in Python: device='auto')"
) -> torch.device:
    """Return the device named; auto means cuda, else mps, else cpu. `mend` is what to use where it is not there.

    Raises:
        DeviceError: the device was named and is not there.
    """
    there = {"cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available(), "cpu": True}
    if name == "auto":
        name = "cuda" if there["cuda"] else "mps" if there["mps"] else "cpu"
    if not there[name]:
        have = ", ".join(key for key, yes in there.items() if yes)
        raise DeviceError(f"The device {name} is not available here (there is: {have}). Use {mend}.")
    if name == "cuda":
        torch.backends.cudnn.allow_tf32 = False  # fp32 means fp32, as sealed; speed is what bf16 is for
    return torch.device(name)


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether memory ran out, on a GPU or in the machine; torch says the latter in words only."""
    if isinstance(error, torch.OutOfMemoryError | MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(words in str(error) for words in _NO_MEMORY)


@contextmanager
def memory_advice(batch_size: int, device: torch.device) -> Iterator[None]:
    """Turn memory that ran out into one message with what to lower."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not is_out_of_memory(error):
            raise
        lower = f"Lower the batch size (predict: --batch-size {batch_size // 2})" if batch_size > 1 else ""
        other = "" if device.type == "cpu" else "compute with --device cpu (evaluate, predict)"
        mend = ", or ".join(part for part in (lower, other) if part) or "Free some memory"
        raise DeviceError(
            f"Out of memory on {device} with a batch size of {batch_size}. {mend[0].upper()}{mend[1:]}. "
            f"({type(error).__name__}: {str(error).strip()[:120]})"
        ) from error


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """Return the context in which the net computes at `precision`."""
    return torch.autocast(device.type, _DTYPES.get(precision), enabled=precision != "fp32")


def to_device(pixels_BHWC: NDArray[np.uint8], device: torch.device) -> torch.Tensor:
    """Return the pixels on the device; to a GPU by pinned memory, so that the copy waits for nothing."""
    x = torch.from_numpy(pixels_BHWC)
    return x.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else x.to(device)


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
    """Pictures in, class probabilities out: one sealed model, or several together (`bunryu.ensembling`)."""

    sealed: Sealed
    """What it says of itself; of several, the first's record with the decision of all."""
    device: torch.device

    @property
    def classes(self) -> list[str]:
        """Class names, in the order of the outputs."""
        return self.sealed.classes

    @abstractmethod
    def infer(
        self,
        source: Callable[[int], Source],
        rows: NDArray[np.int64],
        *,
        batch_size: int = BATCH,
        workers: int | None = None,
        label: str | None = None,
        cache: PixelCache | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], dict[int, str]]:
        """Return (rows read, probabilities (N, K) float32, {row: reason} of the unreadable).

        Args:
            source: row -> path, bytes or array.
            rows: which rows, in the order wanted.
            batch_size: pictures in one forward pass.
            workers: threads that decode; the number of cores when None.
            label: shown with the progress; none is shown when None.
            cache: where the pictures of the rows' table are kept; None to decode them.

        Raises:
            DeviceError: memory ran out.
        """

    def probabilities(self, images: Source | Sequence[Source], *, batch_size: int = BATCH) -> NDArray[np.float32]:
        """Return class probabilities, float32, shape (N, K).

        Args:
            images: a path, encoded bytes, a uint8 array (H, W), (H, W, 3) or (H, W, 4), or a list of these.
            batch_size: pictures in one forward pass.

        Raises:
            DataError: something that is no picture.
            ImageError: a picture cannot be read.
        """
        sources = as_sources(images)
        _, found, failed = self.infer(sources.__getitem__, np.arange(len(sources)), batch_size=batch_size)
        if failed:
            raise ImageError(some(f"{source_name(sources[row], row)}: {why}" for row, why in failed.items()))
        return found

    def predict(self, images: Source | Sequence[Source], *, batch_size: int = BATCH) -> pd.DataFrame:
        """Return a DataFrame with path, pred, conf and p_CLASS for each picture; see `probabilities`."""
        sources = as_sources(images)
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

    def infer(
        self,
        source: Callable[[int], Source],
        rows: NDArray[np.int64],
        *,
        batch_size: int = BATCH,
        workers: int | None = None,
        label: str | None = None,
        cache: PixelCache | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], dict[int, str]]:
        """See `Predictor.infer`."""
        chunks = (rows[start : start + batch_size] for start in range(0, len(rows), batch_size))
        batches = load_batches(source, chunks, self.sealed.decode, self.sealed.input, workers=workers, cache=cache)
        return self.infer_batches(batches, len(rows), batch_size=batch_size, label=label)

    def infer_batches(
        self, batches: Iterable[Batch], total: int, *, batch_size: int = BATCH, label: str | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.float32], dict[int, str]]:
        """As `infer`, of pictures that are being read already: `total` of them, `batch_size` at a time."""
        self.net.eval()
        sealed = self.sealed
        kept = [np.zeros(0, np.int64)]
        found = [np.zeros((0, len(self.classes)), np.float32)]
        failed: dict[int, str] = {}
        with memory_advice(batch_size, self.device):
            for batch in console.tracked_rows(batches, label, total):
                failed |= batch.failed
                if len(batch.rows):
                    pixels = to_device(batch.pixels_BHWC, self.device)
                    logits = forward(self.net, pixels, sealed.input, sealed.precision)
                    kept.append(batch.rows)
                    found.append(probabilities(logits, sealed.decision, sealed.heads).cpu().numpy())
        return np.concatenate(kept), np.concatenate(found), failed

    def __repr__(self) -> str:
        """Return the model in a line, for notebooks."""
        s = self.sealed
        size = f"{s.input.height}x{s.input.width} {s.input.channels}"
        return f"Model({s.architecture.name}, {len(self.classes)} classes, {size}, {s.precision}, {self.device})"
