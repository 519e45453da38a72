"""Several models, or several views of a picture, predicting together; and the folder that several models live in."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from bunryu.core import console
from bunryu.core.errors import ConfigError, ModelError, some
from bunryu.data.images.decode import Source
from bunryu.data.images.deep import Seen
from bunryu.data.images.load import load_ways
from bunryu.inference.device import memory_advice
from bunryu.inference.ensemble_record import Mean, member_files, read_ensemble
from bunryu.inference.model import Model, Predictor, forward, probabilities
from bunryu.inference.reading import PLAIN, Answers, Reading, in_chunks
from bunryu.inference.tta import View, views
from bunryu.models.build import require_fit
from bunryu.models.record import Decision
from bunryu.runs.folder import model_file
from bunryu.settings.data import DecodeSpec, InputSpec
from bunryu.settings.validate import replaced

Device = Literal["auto", "cuda", "mps", "cpu"]


class Ensemble(Predictor):
    """Models that predict together, each at its own sealed preprocessing, and each on several views where asked.

    Example:
        >>> bunryu.open_run("runs/photos-1").predict("new/")
    """

    def __init__(
        self,
        members: Sequence[Model],
        weights: Sequence[float] = (),
        *,
        mean: Mean = "probabilities",
        decision: Decision | None = None,
        tta: Sequence[str] = (),
    ) -> None:
        require_same_classes([(f"member {i}", model.classes) for i, model in enumerate(members, 1)])
        self.members = list(members)
        self.weights_M = np.array(weights or [1.0] * len(members), np.float64)
        self.weights_M /= self.weights_M.sum()
        self.mean, self.tta = mean, tuple(tta)
        first = members[0]
        offsets = None if decision is None else decision.logit_offsets
        if offsets is not None and len(offsets) != len(first.classes):
            raise ConfigError(
                f"logit_offsets of several models: expected {len(first.classes)}, received {len(offsets)}."
            )
        self.sealed = replaced(first.sealed, {"decision": decision or Decision()})
        self.device = first.device
        self._orders = [[model.classes.index(name) for name in self.classes] for model in members]
        self.views = [views(model.sealed.input, tta) for model in members]
        self._require_fit()

    def _require_fit(self) -> None:
        """Refuse views of a size that a network cannot take."""
        for model, shown in zip(self.members, self.views, strict=True):
            for size in {view.window for view in shown} - {shown[0].window}:
                try:
                    require_fit(model.net, model.sealed.architecture, size)
                except ModelError as error:
                    raise ConfigError(
                        f"tta: scales shows pictures of {size[0]}x{size[1]}, which this network does not take. Leave "
                        f"scales out; hflip and crops keep the size. ({error})"
                    ) from None

    def takes_deep(self) -> bool:
        """See `Predictor.takes_deep`; all members have to."""
        return all(model.takes_deep() for model in self.members)

    def infer(self, source: Callable[[int], Source], rows: NDArray[np.int64], reading: Reading = PLAIN) -> Answers:
        """See `Predictor.infer`."""
        place = {int(row): i for i, row in enumerate(rows)}
        probs_MNK = np.zeros((len(self.members), len(rows), len(self.classes)), np.float64)
        failed: dict[int, str] = {}
        seen: dict[int, Seen] = {}
        looks, chunks = self._looks(), in_chunks(rows, reading.batch_size)
        ways = [(decode, spec) for decode, spec, _ in looks]
        read_ways = load_ways(source, chunks, ways, workers=reading.workers, cache=reading.cache)
        with memory_advice(reading.batch_size, self.device):
            for batches in console.tracked_rows(read_ways, reading.told, len(rows), lambda found: len(found[0])):
                for batch, (_, _, lookers) in zip(batches, looks, strict=True):
                    failed |= batch.failed
                    seen |= batch.seen
                    at = [place[int(row)] for row in batch.rows]
                    for m, view in lookers if at else ():
                        pixels = torch.from_numpy(batch.pixels_BHWC).to(self.device)
                        probs_MNK[m, at] += self._answer(m, view, pixels) / len(self.views[m])
                if reading.examples is not None:
                    first = batches[0]  # as the first member sees pictures
                    good = np.array([int(row) not in failed for row in first.rows], bool)
                    at = [place[int(row)] for row in first.rows[good]]
                    reading.examples.see(first.rows[good], first.pixels_BHWC[good], self._together(probs_MNK[:, at]))
        read = np.array([int(row) not in failed for row in rows], bool)
        pictures = {} if reading.examples is None else reading.examples.pictures
        return Answers(rows[read], self._together(probs_MNK[:, read]), failed, pictures=pictures, seen=seen)

    def _looks(self) -> list[tuple[DecodeSpec, InputSpec, list[tuple[int, View]]]]:
        """Return each way of reading pictures, and who looks at them so: all who can share a reading do."""
        found: dict[str, tuple[DecodeSpec, InputSpec, list[tuple[int, View]]]] = {}
        for m, (model, shown) in enumerate(zip(self.members, self.views, strict=True)):
            for view in shown:
                decode = model.sealed.decode
                key = decode.model_dump_json() + view.input.model_dump_json(exclude={"mean", "std"})
                found.setdefault(key, (decode, view.input, []))[2].append((m, view))
        return list(found.values())

    def _answer(self, m: int, view: View, pixels_BHWC: torch.Tensor) -> NDArray[np.float64]:
        """Return a member's probabilities, without its decision but for the temperature, in the order of all."""
        model = self.members[m]
        logits = forward(model.net, view.of(pixels_BHWC), view.input, model.sealed.precision)
        sealed = model.sealed
        probs = probabilities(logits, Decision(temperature=sealed.decision.temperature), sealed.heads)
        return probs[:, self._orders[m]].cpu().numpy().astype(np.float64)

    def _together(self, probs_MNK: NDArray[np.float64]) -> NDArray[np.float32]:
        found_NK = combined(probs_MNK, self.weights_M, self.mean)
        if self.sealed.decision.logit_offsets is None and self.sealed.decision.temperature is None:
            return found_NK.astype(np.float32)
        logits = torch.from_numpy(np.log(np.maximum(found_NK, np.finfo(np.float64).tiny)))
        return probabilities(logits, self.sealed.decision).numpy().astype(np.float32)

    def __repr__(self) -> str:
        """Return the ensemble in a line, for notebooks."""
        shown = f", {len(self.views[0])} views ({', '.join(self.tta)})" if self.tta else ""
        return f"Ensemble({len(self.members)} models, {len(self.classes)} classes{shown}, {self.device})"


def combined(probs_MNK: NDArray[np.float64], weights_M: NDArray[np.float64], mean: Mean) -> NDArray[np.float64]:
    """Return the weighted mean of M members' probabilities, (N, K): arithmetic, or of the logits (geometric).

    The logarithms of the probabilities are the logits up to a constant of each row, which softmax takes away.
    """
    if mean == "probabilities":
        found: NDArray[np.float64] = np.einsum("m,mnk->nk", weights_M, probs_MNK)
        return found
    logs_NK = np.einsum("m,mnk->nk", weights_M, np.log(np.maximum(probs_MNK, np.finfo(np.float64).tiny)))
    odds_NK = np.exp(logs_NK - logs_NK.max(axis=1, keepdims=True))
    found = odds_NK / odds_NK.sum(axis=1, keepdims=True)
    return found  # noqa: RET504 - it gives the type


def require_same_classes(members: Sequence[tuple[str, list[str]]]) -> None:
    """Refuse members that do not know the same classes; their order may differ.

    Raises:
        ConfigError: naming the difference.
    """
    first, classes = members[0]
    for name, others in members[1:]:
        missing, more = [c for c in classes if c not in others], [c for c in others if c not in classes]
        if missing or more:
            told = [f"{name} lacks {some(map(repr, missing))}"] if missing else []
            told += [f"{first} lacks {some(map(repr, more))}"] if more else []
            raise ConfigError(
                f"{first} and {name} do not know the same classes: {', and '.join(told)}. Models predict together "
                "only where all of them know the same classes."
            )


def open_predictor(path: Path, *, device: Device = "auto", tta: Sequence[str] = ()) -> Predictor:
    """Open a model file, a run, or several models in a folder; on several views of each picture with `tta`.

    Raises:
        RunError: it is missing or damaged, or the run's training was stopped.
        DeviceError: the device is not there.
        ConfigError: views that the network cannot take.
    """
    file = model_file(path)
    if file.suffix != ".json":
        model = Model.open(file, device=device)
        return with_tta(model, tta)
    record = read_ensemble(file)
    members = [Model.open(one, device=device) for one in member_files(file)]
    weights = [member.weight for member in record.members]
    return Ensemble(members, weights, mean=record.mean, decision=record.decision, tta=tta)


def with_tta(model: Predictor, tta: Sequence[str]) -> Predictor:
    """Return the same predictor on several views of each picture; itself without any."""
    if not tta:
        return model
    if isinstance(model, Ensemble):
        decision = model.sealed.decision
        return Ensemble(model.members, model.weights_M.tolist(), mean=model.mean, decision=decision, tta=tta)
    assert isinstance(model, Model)
    decision = Decision(logit_offsets=model.sealed.answer_offsets, thresholds=model.sealed.decision.thresholds)
    return Ensemble([model], decision=decision, tta=tta)
