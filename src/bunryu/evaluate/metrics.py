"""What a classifier's predictions are worth: pure functions on arrays, torch-free.

Every figure comes from three counts a class: right answers (tp), rows of the truth (support) and
answers given (predicted). The intervals resample those counts, never the rows: see `bootstrap`; those of each class
are in `class_intervals` and `ranks`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import zip_longest
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bunryu.core.errors import DataError
from bunryu.evaluate import class_intervals
from bunryu.evaluate.bootstrap import drawn_from, exact_interval, percentile_interval, resampled, units_of
from bunryu.evaluate.caveats import UNSEEN, Exposure, caveats
from bunryu.evaluate.difference import BETTER
from bunryu.evaluate.figures import Bootstrap, ClassMetrics, Metrics, Shuffled
from bunryu.evaluate.positive import positive_class
from bunryu.evaluate.ranks import class_aucs
from bunryu.settings.evaluate import BOOTSTRAP

_Ints = NDArray[np.integer[Any]]
_Counts = NDArray[np.float64]
_Fields = Sequence[Mapping[str, Any]]
"""Of each class some of its fields; empty where there are none."""
_NONE: tuple[None, dict[str, Any], _Fields] = (None, {}, [])
INTERVALS = ("accuracy", "macro_f1", "weighted_f1")
"""The figures that get one."""


def measure(
    probs_NK: NDArray[np.floating[Any]],
    true_N: _Ints,
    classes: list[str],
    *,
    groups: list[str] | None = None,
    positive: str | None = None,
    bootstrap: int = BOOTSTRAP,
    seed: int = 0,
    intervals: Sequence[str] = INTERVALS,
    exposure: Exposure = UNSEEN,
    ranked: bool = True,
) -> Metrics:
    """Measure predictions against the truth.

    Macro averages run over the classes present in the truth; a row predicted as an absent class is still wrong, and
    costs its own class recall. Ratios without a denominator are 0, as in scikit-learn. Of equally probable classes
    the first in order is the answer.

    Args:
        probs_NK: class probabilities, shape (N, K).
        true_N: index of the true class in `classes`, shape (N,).
        classes: K class names in the model's order.
        groups: N group names; rows of one group are not independent, and the intervals then resample groups.
        positive: the positive one of two classes; the rarer in the truth when None.
        bootstrap: resamples of the 95 % percentile intervals; none when 0.
        seed: names the bootstrap's draws. The order of the rows and the names of the groups do not matter.
        intervals: which figures get one.
        exposure: how far the model knew the rows.
        ranked: whether `probs_NK` rank the rows, so that there are ROC AUCs; not where answers alone are known.

    Raises:
        DataError: no rows, or arrays that do not fit together.
        ConfigError: `positive` is not one of two classes.
    """
    _check(probs_NK, true_N, classes, groups)
    n, k = probs_NK.shape
    pred_N = probs_NK.argmax(axis=1)
    tp, support, predicted = counts_of(pred_N, true_N, k)
    positive = positive_class(positive, classes, support.tolist())
    p_true = probs_NK[np.arange(n), true_N].astype(np.float64)
    drawn, ends, of_class = _NONE
    if bootstrap:
        drawn, ends, of_class = _intervals(pred_N, true_N, k, groups, bootstrap, seed, intervals)
    aucs = class_aucs(probs_NK, true_N[:, None] == np.arange(k), groups, intervals=bootstrap > 0) if ranked else []
    per_class = _per_class(classes, (tp, support, predicted), of_class, aucs)
    two = {} if positive is None else _two_class(positive, per_class[positive])
    one_of_two = positive is not None and (support == 0).any()
    return Metrics(
        n=n,
        **{name: float(value) for name, value in averages(tp, support, predicted).items()},
        loss=float(-np.log(np.maximum(p_true, np.finfo(np.float32).tiny)).mean()),
        absent=tuple(name for name, rows in zip(classes, support, strict=True) if not rows),
        per_class=per_class,
        notes=caveats(n, drawn, exposure, one_of_two=bool(one_of_two) and ranked, probe=True),
        **two,
        **({} if groups is None else {"groups": len(set(groups))}),
        **ends,
    )


def counts_of(pred_N: _Ints, true_N: _Ints, k: int) -> tuple[_Counts, _Counts, _Counts]:
    """Return of each class, shape (K,): right answers, rows of the truth, and answers given."""
    counted = (np.bincount(rows, minlength=k) for rows in (true_N[pred_N == true_N], true_N, pred_N))
    tp, support, predicted = (counts.astype(np.float64) for counts in counted)
    return tp, support, predicted


def confusion(pred_N: _Ints, true_N: _Ints, k: int) -> NDArray[np.int64]:
    """Count answers by class: shape (K, K), a row the true class, a column the answer."""
    cells_N = np.asarray(true_N, np.int64) * k + np.asarray(pred_N, np.int64)
    return np.bincount(cells_N, minlength=k * k).reshape(k, k).astype(np.int64, copy=False)


def averages(tp: _Counts, support: _Counts, predicted: _Counts) -> dict[str, _Counts]:
    """Average over the classes with support.

    Args:
        tp: right answers by class, shape (K, ...); further axes are resamples.
        support: rows of the truth by class, same shape.
        predicted: answers given by class, same shape.

    Returns:
        accuracy, macro_f1, weighted_f1, macro_precision, macro_recall, each of shape (...).
    """
    present = support > 0
    n, k_present = support.sum(axis=0), present.sum(axis=0)
    f1 = _ratio(2 * tp, support + predicted)
    return {
        "accuracy": tp.sum(axis=0) / n,
        "macro_f1": (f1 * present).sum(axis=0) / k_present,
        "weighted_f1": (f1 * support).sum(axis=0) / n,
        "macro_precision": (_ratio(tp, predicted) * present).sum(axis=0) / k_present,
        "macro_recall": _ratio(tp, support).sum(axis=0) / k_present,
    }


def _ratio(above: _Counts, below: _Counts) -> _Counts:
    """Divide, 0 where the denominator is 0 (the numerator is 0 there too)."""
    return above / np.maximum(below, 1)


def _per_class(
    classes: list[str], counts: tuple[_Counts, _Counts, _Counts], more: _Fields, aucs: _Fields
) -> dict[str, ClassMetrics]:
    """Return what is measured of each class: from its counts, and further fields as far as there are any."""
    tp, support, predicted = counts
    columns = (_ratio(tp, predicted), _ratio(tp, support), _ratio(2 * tp, support + predicted))
    table = zip(classes, *(column.tolist() for column in (*columns, support, predicted)), strict=True)
    none: Mapping[str, Any] = {}
    further = [{**own, **auc} for own, auc in zip_longest(more, aucs, fillvalue=none)] or [{}] * len(classes)
    return {
        name: ClassMetrics(precision=p, recall=r, f1=f1, support=int(s), predicted=int(answers), **own)
        for (name, p, r, f1, s, answers), own in zip(table, further, strict=True)
    }


def _tested(
    pred_N: _Ints, true_N: _Ints, k: int, groups: list[str] | None, seed: int, *, intervals: bool
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return as fields what chance would give; and of each class its intervals, and whether chance explains it."""
    from bunryu.evaluate.chance import accuracy_by_chance, classes_by_chance  # it takes scipy, which is slow to load
    from bunryu.evaluate.significance import below, numbered

    true, pred, unit_N = true_N.astype(np.int64), pred_N.astype(np.int64), numbered(groups)
    counts = _, support_K, predicted_K = counts_of(pred, true, k)
    blind = float(support_K @ predicted_K) / len(true) ** 2
    if unit_N is not None:
        units, right, sums_of = int(unit_N.max()) + 1, pred == true, class_intervals.sums_of
        tp = sums_of(unit_N[right], true[right], units, k)
        counts = tp, sums_of(unit_N, true, units, k), sums_of(unit_N, pred, units, k)
    shuffled = Shuffled(accuracy=blind, p=accuracy_by_chance(pred, true, groups, seed=seed))
    worse = below(BETTER, classes_by_chance(*counts, seed=seed))
    ends = class_intervals.of_counts(*counts) if intervals else [{}] * k
    each = [own | ({} if low is None else {"worse": low}) for own, low in zip(ends, worse, strict=True)]
    return {"shuffled": shuffled}, each


def _two_class(positive: str, row: ClassMetrics) -> dict[str, Any]:
    """Return the figures of the positive class, as fields."""
    own = row.as_fields()
    named = ("precision", "recall", "f1", "precision_ci", "recall_ci", "f1_ci")
    ranked: dict[str, Any] = {name: own[name] for name in ("roc_auc", "roc_auc_ci") if name in own}
    return {"positive": positive, **{f"positive_{name}": own[name] for name in named if name in own}, **ranked}


def _intervals(
    pred_N: _Ints,
    true_N: _Ints,
    k: int,
    groups: list[str] | None,
    resamples: int,
    seed: int,
    names: Sequence[str],
) -> tuple[Bootstrap, dict[str, Any], _Fields]:
    """Return what is resampled; as fields that, the interval of each figure and what chance gives; those of each class.

    There are intervals where more than one unit is resampled.
    """
    units = units_of(true_N.astype(np.int64) * k + pred_N, groups, seed)
    perfect = bool((pred_N == true_N).all())
    drawn = drawn_from(units, groups is not None, resamples, perfect=perfect)
    tested, of_class = _tested(pred_N, true_N, k, groups, seed, intervals=drawn.units > 1)
    if drawn.units < 2:
        return drawn, tested, of_class
    if perfect:
        ends = dict.fromkeys(names, exact_interval(drawn.units))
    else:
        found = [averages(*chunk) for chunk in resampled(units, k, resamples, seed)]
        ends = {name: percentile_interval(np.concatenate([c[name] for c in found]), drawn.units) for name in names}
    fields = {"bootstrap": drawn, **{f"{name}_ci": interval for name, interval in ends.items()}}
    return drawn, fields | tested, of_class


def _check(
    probs_NK: NDArray[np.floating[Any]],
    true_N: _Ints,
    classes: list[str],
    groups: list[str] | None,
) -> None:
    n, k = len(true_N), len(classes)
    if probs_NK.shape != (n, k) or (groups is not None and len(groups) != n):
        names = "" if groups is None else f" and {len(groups)} group names"
        raise DataError(
            f"Predictions do not fit the truth: expected probabilities of shape ({n}, {k}) for {n} labels "
            f"and {k} classes, got {probs_NK.shape}{names}. Give one row of probabilities for each label."
        )
    if n == 0:
        raise DataError(
            "There is nothing to measure: 0 images have both a label and a prediction. "
            "Check that the data has labels, and see the list of skipped images."
        )
    if int(true_N.min()) < 0 or int(true_N.max()) >= k:
        raise DataError(f"True class indices must be 0 to {k - 1}, got {true_N.min()} to {true_N.max()}.")
    if not np.isfinite(probs_NK).all():
        bad = int((~np.isfinite(probs_NK)).any(axis=1).sum())
        raise DataError(f"{bad} of {n} images have probabilities that are not finite: they have no answer.")
