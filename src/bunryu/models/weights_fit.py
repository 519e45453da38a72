"""How the tensors of a file lie over a backbone's: under which prefix, in whose naming, and which of two copies."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from bunryu.core.errors import ModelError, some
from bunryu.models.weights_file import Held, State, is_averaged

_OLD_NAMES = (  # in torchvision's own files: DenseNet's and ViT's
    (re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)"), r"\1\2"),
    (re.compile(r"\.mlp\.linear_1\."), ".mlp.0."),
    (re.compile(r"\.mlp\.linear_2\."), ".mlp.3."),
)
_OF_TRAINING = re.compile(
    r"(^|\.|_)(criterion|criterions|loss|losses|loss_?fn|loss_?func|metrics?|acc|accuracy|auroc|f1|precision|recall|"
    r"confusion|confmat|queue|queue_ptr|n_averaged)([._\d]|$)",
    re.IGNORECASE,
)
"""Names of what trains a network and is no part of it: a loss with class weights, a metric's counts."""
_MOST_PREFIXES = 8


@dataclass(frozen=True)
class Fit:
    """How tensors lie over a backbone's."""

    missing: list[str]
    extra: list[str]
    shapes: list[str]
    left_out: list[str]

    @property
    def whole(self) -> bool:
        """Whether every tensor of the backbone is there, and no others but its classifier's."""
        return not (self.missing or self.extra or self.shapes)


@dataclass(frozen=True)
class Reading:
    """One way to read the network from a file: a set of its tensors, and what stands before each of their names."""

    held: Held
    prefix: str
    state: State
    """Under the backbone's own names."""
    fit: Fit

    @property
    def place(self) -> str:
        """Where in the file it is, as people are told."""
        return ".".join(part for part in (self.held.where, self.prefix.rstrip(".")) if part) or "its top"

    @property
    def averaged(self) -> bool:
        """Whether its place names it an average of the weights over training (EMA, SWA)."""
        return is_averaged(self.place)


def readings(
    held: Sequence[Held], target: Mapping[str, torch.Tensor], head: tuple[str, ...], mend: Callable[[State], State]
) -> list[Reading]:
    """Return the ways to read a file, the one that leaves least missing first; at least one.

    `head` are the beginnings of the classifier's names, `mend` brings another naming to the backbone's own.
    """
    found: list[Reading] = []
    for one in held:
        prefixes = _prefixes(one.tensors, target)
        copies = [prefix for prefix in prefixes if not _missing(one.tensors, target, prefix)]
        for prefix in prefixes:
            below = tuple(other for other in copies if other != prefix and other.startswith(prefix))
            state = {
                _own_name(key[len(prefix) :], target): value
                for key, value in one.tensors.items()
                if key.startswith(prefix) and not key.startswith(below)
            }
            fit = compare(state, target, head)
            if not fit.whole and (other := compare(mended := mend(state), target, head)).whole:
                state, fit = mended, other
            found.append(Reading(one, prefix, state, fit))
    return sorted(found, key=lambda r: (len(r.fit.missing) + len(r.fit.shapes), len(r.fit.extra)))


def _prefixes(state: State, target: Mapping[str, torch.Tensor]) -> list[str]:
    """Return what may stand before every name of the backbone: nothing, or what names that match begin with.

    DataParallel, Lightning, torch.compile and people's own wrappers each put a word before all others.
    """
    found: Counter[str] = Counter()
    for key in state:
        for start in [0, *(dot.end() for dot in re.finditer(r"\.", key))]:
            if key[start:] in target:
                found[key[:start]] += 1
    likely = [prefix for prefix, _ in found.most_common(_MOST_PREFIXES)]
    return likely if "" in likely else [*likely, ""]


def _own_name(key: str, target: Mapping[str, torch.Tensor]) -> str:
    if key in target:
        return key
    renamed = key
    for old, new in _OLD_NAMES:
        renamed = old.sub(new, renamed)
    return renamed if renamed in target else key


def _missing(state: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor], prefix: str = "") -> list[str]:
    return [key for key in target if prefix + key not in state and not key.endswith("num_batches_tracked")]


def compare(state: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor], head: tuple[str, ...]) -> Fit:
    """Compare names and shapes; counters of batch norm may be missing, as older files have none."""
    left_out = [key for key in state if key not in target]
    return Fit(
        missing=_missing(state, target),
        extra=[key for key in left_out if not key.startswith(head) and not _OF_TRAINING.search(key)],
        shapes=[key for key in target if key in state and state[key].shape != target[key].shape],
        left_out=left_out,
    )


def choose(whole: Sequence[Reading], averaged: bool, path: Path) -> Reading:
    """Return the reading that is meant: the weights themselves, or their average where `averaged` asks for it.

    Raises:
        ModelError: there is no average, or the file holds several different networks that fit.
    """
    kept = [reading for reading in whole if reading.averaged == averaged]
    if not kept and averaged:
        raise ModelError(
            f"model.ema=true: {path} holds no averaged weights beside the others. It has: "
            f"{some((r.place for r in whole), 4)}. Leave model.ema out."
        )
    kept = kept or list(whole)  # the average is all there is
    different = [kept[0], *(reading for reading in kept[1:] if not _same(reading.state, kept[0].state))]
    if len(different) > 1:
        places = [reading.place for reading in different]
        key = next(iter(kept[0].held.tensors))
        raise ModelError(
            f"model.weights: {path} holds {len(places)} different networks that fit: {some(places, 4)}. Save the one "
            f"that is meant as a file of its own: a state dict with its tensors alone (such as {key})."
        )
    return kept[0]


def _same(one: State, other: State) -> bool:
    return one.keys() == other.keys() and all(torch.equal(value, other[key]) for key, value in one.items())


def require_numbers(wanted: Mapping[str, torch.Tensor], target: Mapping[str, torch.Tensor], path: Path) -> None:
    """Refuse quantised values, and such as a training that diverged leaves behind.

    Raises:
        ModelError: naming the first tensors.
    """
    quantised = [key for key, v in wanted.items() if target[key].is_floating_point() and not v.is_floating_point()]
    if quantised:
        raise ModelError(
            f"model.weights: {path} holds whole numbers ({wanted[quantised[0]].dtype}) for {len(quantised)} tensors of "
            f"weights ({some(quantised, 2)}): it was quantised. Give the file from before that."
        )
    broken = [key for key, v in wanted.items() if v.is_floating_point() and not bool(torch.isfinite(v.float()).all())]
    if broken:
        raise ModelError(
            f"model.weights: {path} holds values that are no numbers (nan or infinite) in {len(broken)} tensors "
            f"({some(broken, 2)}): the training that wrote it had diverged. Give an earlier checkpoint of it."
        )


def remark(chosen: Reading, whole: Iterable[Reading]) -> tuple[list[str], str]:
    """Return the names that were left out for the head's sake, and what else of the file is to be told."""
    copies = [r.prefix for r in whole if r.held is chosen.held and r.prefix]
    outside = [key for key in chosen.held.tensors if not key.startswith(chosen.prefix)]
    rest = [key for key in outside if not key.startswith(tuple(copies))] + chosen.fit.left_out
    training = [key for key in rest if _OF_TRAINING.search(key)]
    told = f"; passed over, as no part of the network: {some(training, 4)}" if training else ""
    other = next((r for r in whole if r.averaged != chosen.averaged), None)
    if other is not None:
        told += f"; taken from {chosen.place}, not from {other.place}: model.ema={str(other.averaged).lower()} for that"
    elif chosen.averaged:
        told += f"; from {chosen.place}: averaged weights, the only ones in it"
    return [key for key in rest if key not in training], told
