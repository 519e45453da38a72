"""The threshold of each label that can hold together, chosen on validation."""

from __future__ import annotations

import numpy as np

from bunryu.evaluate.multilabel_metrics import Bools, Counts, Floats
from bunryu.inference.multilabel_predictions import USUAL


def best_thresholds(probs_NL: Floats, held_NL: Bools) -> list[float]:
    """Return the threshold of each label with the best F1 on these rows: between two scores, or 0.5.

    Of several as good the one nearest to 0.5; 0.5 for a label that holds for no row. Chosen on the rows that are
    measured, it flatters their F1 (Lipton, Elkan & Naryanaswamy 2014, "Optimal thresholding of classifiers to
    maximize F1 measure").
    """
    return [_best_threshold(probs_NL[:, k].astype(np.float64), held_NL[:, k]) for k in range(held_NL.shape[1])]


def _best_threshold(probs_N: Counts, held_N: Bools) -> float:
    if not held_N.any():
        return USUAL
    scores = np.unique(probs_N)
    tries = np.append((scores[1:] + scores[:-1]) / 2, [scores[0] / 2, USUAL])
    order = np.argsort(probs_N, kind="stable")
    below = np.searchsorted(probs_N[order], tries, side="left")
    held_below = np.append(0, np.cumsum(held_N[order]))[below]
    tp = held_N.sum() - held_below
    f1 = np.round(2 * tp / (held_N.sum() + len(probs_N) - below), 12)
    best = tries[f1 == f1.max()]
    return float(best[np.argmin(np.abs(best - USUAL))])
