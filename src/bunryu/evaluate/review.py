"""Which images deserve a look: likely wrong labels, near-duplicates, outliers."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from bunryu.core.csv_text import csv_lines
from bunryu.core.errors import count
from bunryu.evaluate.report.fonts import short_names
from bunryu.evaluate.same_picture import Thumbnails, same_picture, thumbnails
from bunryu.inference.predictions import Predictions

_Rows = NDArray[np.int64]
_Floats = NDArray[np.float32]

SIMILAR = 0.9
"""Least cosine similarity of pictures that are alike, features centred. On ants and bees, sketches, faces and masks,
with EfficientNetV2-B0, the median of recompressed, halved, flipped or slightly cropped copies lies between 0.81 and
0.97; different pictures reach 0.88 among sketches, 0.81 elsewhere."""
MOST = 100_000
"""Images above which they are not compared all with all: it would take minutes."""
_SURE = 0.9
NEIGHBOURS = 10
"""k of the outlier score."""
_CHUNK = 1024
"""Rows whose similarities to all others are held at once."""


class Pair(NamedTuple):
    """Two images that look alike."""

    row: int
    other: int
    similarity: float
    copy: bool = False
    """Their pixels say that one is a copy of the other: see `confirmed`."""


class Nearest(NamedTuple):
    """What a look at all similarities gives."""

    pairs: list[Pair]
    """At least as similar as asked for, the most similar first."""
    distance_N: _Floats
    """Euclidean distance of each row to its k-th nearest other row, features of length 1; larger is stranger."""


def unit_features(x_NF: NDArray[np.floating[Any]]) -> _Floats:
    """Return features centred and of length 1, so that a product of two is their cosine similarity.

    Centring takes away what all images of the data share; without it all cosines lie close together.
    """
    centred = np.asarray(x_NF, np.float32) - np.asarray(x_NF, np.float32).mean(axis=0)
    length = np.linalg.norm(centred, axis=1, keepdims=True)
    unit_NF: _Floats = centred / np.maximum(length, np.finfo(np.float32).tiny)
    return unit_NF


def nearest(unit_NF: _Floats, *, similar: float, k: int = NEIGHBOURS) -> Nearest:
    """Compare all rows with all: near-duplicates, and how far each row is from its k-th neighbour.

    The distance is the out-of-distribution score of Sun et al. 2022, "Out-of-Distribution Detection with Deep Nearest
    Neighbors" (ICML, equation 1 and section 4), here of each row against the other rows of its own data.

    Args:
        unit_NF: features of length 1, see `unit_features`.
        similar: the least cosine similarity of a pair.
        k: which neighbour; fewer where there are fewer rows.
    """
    n = len(unit_NF)
    pairs: list[Pair] = []
    distance_N = np.zeros(n, np.float32)
    for start, cosine_BN in _similarities(unit_NF):
        own = np.arange(start, start + len(cosine_BN))
        cosine_BN[np.arange(len(own)), own] = -1.0
        for b, other in zip(*np.nonzero(cosine_BN >= similar), strict=True):
            if other > own[b]:
                pairs.append(Pair(int(own[b]), int(other), float(cosine_BN[b, other])))
        if n > 1:
            place = n - min(k, n - 1)
            kth = np.partition(cosine_BN, place, axis=1)[:, place]
            distance_N[own] = np.sqrt(np.maximum(2 - 2 * kth, 0))
    return Nearest(sorted(pairs, key=lambda pair: -pair.similarity), distance_N)


def _similarities(unit_NF: _Floats) -> Iterator[tuple[int, _Floats]]:
    for start in range(0, len(unit_NF), _CHUNK):
        yield start, unit_NF[start : start + _CHUNK] @ unit_NF.T


def label_errors(probs_NK: _Floats, true_N: _Rows) -> _Rows:
    """Return the rows whose label is likely wrong, the likeliest first.

    Confident learning (Northcutt, Jiang & Chuang 2021, "Confident Learning: Estimating Uncertainty in Dataset Labels",
    JAIR 70): a class's threshold is the mean probability it is given by rows of its own label (equation 2); a row
    counts as the likeliest class among those that reach their thresholds (equation 1), and is suspect where that is
    not its label. The order is by normalised margin: p(label) minus the highest other p (section 3.2). Beyond the
    paper, the likeliest class needs a probability of `_SURE`: a model that is often wrong doubts labels in vain.

    Args:
        probs_NK: probabilities out of fold: no row may have a say in its own.
        true_N: the labels given.
    """
    k = probs_NK.shape[1]
    threshold_K = np.array([probs_NK[true_N == c, c].mean() if (true_N == c).any() else np.inf for c in range(k)])
    reached_NK = np.where(probs_NK >= threshold_K, probs_NK, -1.0)
    counted_N = reached_NK.argmax(axis=1)
    suspect = np.flatnonzero((reached_NK.max(axis=1) >= _SURE) & (counted_N != true_N))
    rows = np.arange(len(true_N))
    others_NK = probs_NK.copy()
    others_NK[rows, true_N] = -1.0
    margin_N = probs_NK[rows, true_N] - others_NK.max(axis=1)
    return suspect[np.argsort(margin_N[suspect], kind="stable")]


def outliers(distance_N: _Floats, *, times: float = 3.0) -> _Rows:
    """Return the rows far from all others, the farthest first: beyond the third quartile by `times` the quartiles' gap.

    That is Tukey's "far out" fence (Exploratory Data Analysis, 1977), on the distances of `nearest`.
    """
    low, high = np.quantile(distance_N, [0.25, 0.75]) if len(distance_N) else (0.0, 0.0)
    found = np.flatnonzero(distance_N > high + times * (high - low))
    return found[np.argsort(-distance_N[found], kind="stable")]


class Found(NamedTuple):
    """What deserves a look, each kind worst first."""

    labels: _Rows
    pairs: list[Pair]
    outliers: _Rows
    distance_N: _Floats


def review(x_NF: NDArray[np.floating[Any]], probs_NK: _Floats, true_N: _Rows) -> Found:
    """Find the images that deserve a look; see `label_errors`, `nearest` and `outliers`.

    More than `MOST` images are not compared with each other.
    """
    few = len(x_NF) <= MOST
    near = nearest(unit_features(x_NF), similar=SIMILAR) if few else Nearest([], np.zeros(len(x_NF), np.float32))
    return Found(label_errors(probs_NK, true_N), near.pairs, outliers(near.distance_N), near.distance_N)


def confirmed(found: Found, picture: Callable[[int], NDArray[np.uint8]], most: int = 1_000) -> Found:
    """Return the same with the pairs told apart that are copies by their pixels: what is similar need not be the same.

    Args:
        found: what `review` found.
        picture: gives the pixels of a row, uint8 (H, W, C).
        most: pairs to look at, the most similar first; the others are called alike.
    """
    seen: dict[int, Thumbnails] = {}

    def of(row: int) -> Thumbnails:
        return seen[row] if row in seen else seen.setdefault(row, thumbnails(picture(row)))

    first = [pair._replace(copy=same_picture(of(pair.row), of(pair.other))) for pair in found.pairs[:most]]
    return found._replace(pairs=sorted([*first, *found.pairs[most:]], key=lambda pair: not pair.copy))


def review_lines(found: Found, predictions: Predictions) -> Iterator[str]:
    """Yield review.csv: kind, path, label, and what speaks for a look (another label, another image, a distance)."""
    return csv_lines(
        ["kind", "path", "label", "rather", "score", "other", "other_label"], _review_rows(found, predictions)
    )


def _review_rows(found: Found, predictions: Predictions) -> Iterator[list[str]]:
    paths, classes, true_N = predictions.paths, predictions.classes, predictions.true_N
    assert true_N is not None
    labels = [classes[k] for k in true_N]
    for row in found.labels:
        rather = classes[predictions.pred_N[row]]
        yield ["label", paths[row], labels[row], rather, f"{predictions.probs_NK[row].max():.4f}", "", ""]
    for row, other, similarity, copy in found.pairs:
        yield [
            "near-duplicate" if copy else "alike",
            paths[row],
            labels[row],
            "",
            f"{similarity:.4f}",
            paths[other],
            labels[other],
        ]
    for row in found.outliers:
        yield ["outlier", paths[row], labels[row], "", f"{found.distance_N[row]:.4f}", "", ""]


def review_examples(found: Found, predictions: Predictions, each: int = 8) -> tuple[list[int], list[str]]:
    """Return rows to show and a title each: up to `each` of a kind, the images of a pair side by side."""
    true_N, names = predictions.true_N, short_names(predictions.classes)
    assert true_N is not None
    shown = [
        (int(row), f"{names[true_N[row]]}?\nrather {names[predictions.pred_N[row]]}") for row in found.labels[:each]
    ]
    for number, (row, other, similarity, copy) in enumerate(found.pairs[: each // 2], 1):
        shown += [
            (at, f"{'copies' if copy else 'alike'} {number}: {similarity:.2f}\n{names[true_N[at]]}")
            for at in (row, other)
        ]
    shown += [(int(row), f"unlike others\n{names[true_N[row]]}") for row in found.outliers[:each]]
    return [row for row, _ in shown], [title for _, title in shown]


def review_told(found: Found, true_N: _Rows, fold_N: _Rows) -> list[str]:
    """Say in sentences what was found."""
    lines = []
    if len(found.labels):
        lines.append(f"The frozen weights disagree with {count(len(found.labels), 'label')}, and are sure of it.")
    copies = [pair for pair in found.pairs if pair.copy]
    if copies:
        two = sum(int(true_N[pair.row] != true_N[pair.other]) for pair in copies)
        apart = sum(int(fold_N[pair.row] != fold_N[pair.other]) for pair in copies)
        told = f"{count(len(copies), 'pair of images is', 'pairs of images are')} copies of each other by their pixels"
        told += f", {two:,} of them under two labels" if two else ""
        leak = f"; {apart:,} stood in two folds, so the figures promise too much (data.group_column)" if apart else ""
        lines.append(told + leak + ".")
    if len(found.pairs) > len(copies):
        many = count(len(found.pairs) - len(copies), "pair of images is", "pairs of images are")
        lines.append(f"{many} alike, but not seen to be copies by their pixels.")
    if len(found.outliers):
        lines.append(f"{count(len(found.outliers), 'image is', 'images are')} unlike all others.")
    return lines
