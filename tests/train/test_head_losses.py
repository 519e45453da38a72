"""Several heads: each learns its own part of the outputs, and their product answers."""

from __future__ import annotations

from itertools import product
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from bunryu.core.errors import ConfigError
from bunryu.inference.model import probabilities
from bunryu.models.classifier import Classifier
from bunryu.models.record import Architecture, Attribute, Decision, Head, Sealed
from bunryu.settings.data import DecodeSpec, InputSpec
from bunryu.settings.train import LossSettings
from bunryu.train.head_losses import HeadLosses
from bunryu.train.linear_probe import judges, solve, solve_best, solve_into
from bunryu.train.losses import Loss

SIZES = (3, 2)
PAIRS = list(product(range(3), range(2)))
HEADS = [Head(column=str(k), classes=[f"{k}{i}" for i in range(size)]) for k, size in enumerate(SIZES)]
PARTS = [
    Attribute(column=head.column, classes=head.classes, of=[pair[k] for pair in PAIRS]) for k, head in enumerate(HEADS)
]
COUNTS = [1, 2, 3, 0, 5, 6]
TARGET = torch.tensor([0, 5, 2, 4])
LOGITS = torch.randn(4, 5, generator=torch.Generator().manual_seed(0))


def losses(**settings: object) -> HeadLosses:
    return HeadLosses.prepare(LossSettings(**settings), COUNTS, HEADS, PARTS)  # type: ignore[arg-type]


def test_the_loss_is_the_mean_of_the_heads() -> None:
    first, second = TARGET // 2, TARGET % 2
    want = (
        F.cross_entropy(LOGITS[:, :3], first, reduction="none")
        + F.cross_entropy(LOGITS[:, 3:], second, reduction="none")
    ) / 2
    torch.testing.assert_close(losses().rows(LOGITS, TARGET), want)


def test_each_head_has_weights_and_priors_of_its_own_classes() -> None:
    first, second = losses(class_weights="balanced").heads
    assert first.counts_K.tolist() == [3, 3, 11]
    assert second.counts_K.tolist() == [9, 8]
    assert first.weights_K is not None
    torch.testing.assert_close(first.weights_K, torch.tensor([17 / 9, 17 / 9, 17 / 33]))
    adjusted = losses(name="logit_adjusted", tau=1.0).rows(LOGITS, TARGET)
    priors = torch.tensor([3, 3, 11, 9, 8]) / 17
    torch.testing.assert_close(adjusted, losses().rows(LOGITS + priors.log(), TARGET))


@pytest.mark.parametrize("name", ["cross_entropy", "focal", "logit_adjusted", "soft_f1"])
def test_shares_of_joint_classes_are_shares_of_each_heads(name: str) -> None:
    whole = F.one_hot(TARGET, 6).float()
    torch.testing.assert_close(losses(name=name).rows(LOGITS, whole), losses(name=name).rows(LOGITS, TARGET))
    mixed = 0.7 * whole + 0.3 * whole.flip(0)
    first, second = losses().targets(mixed)
    torch.testing.assert_close(first, 0.7 * F.one_hot(TARGET // 2) + 0.3 * F.one_hot(TARGET // 2).flip(0))
    torch.testing.assert_close(second.sum(dim=1), torch.ones(4))


def test_right_means_right_in_every_head() -> None:
    logits = torch.cat([F.one_hot(TARGET // 2, 3), F.one_hot(TARGET % 2, 2)], dim=1).float()
    logits[1, 3:] = logits[1, 3:].flip(0)
    assert losses().right(logits, TARGET).tolist() == [True, False, True, True]
    assert losses().right(logits, F.one_hot(TARGET, 6).float()).tolist() == [True, False, True, True]


def test_one_head_is_that_loss_alone() -> None:
    head = Head(column="a", classes=["x", "y", "z"])
    one = HeadLosses.prepare(LossSettings(class_weights="balanced"), [3, 4, 5], [head], [])
    alone = Loss.of(LossSettings(class_weights="balanced"), [3, 4, 5], ["x", "y", "z"])
    target = torch.tensor([0, 2, 1, 1])
    assert torch.equal(one.rows(LOGITS[:, :3], target), alone.rows(LOGITS[:, :3], target))
    assert torch.equal(one.right(LOGITS[:, :3], target), LOGITS[:, :3].argmax(1) == target)


def test_weights_by_name_are_refused() -> None:
    with pytest.raises(ConfigError, match="balanced or effective"):
        losses(class_weights={"00": 1.0})


def test_the_product_answers_and_its_marginals_are_the_heads() -> None:
    joint = probabilities(LOGITS, Decision(), HEADS)
    first, second = LOGITS[:, :3].softmax(1), LOGITS[:, 3:].softmax(1)
    for k, (a, b) in enumerate(PAIRS):
        torch.testing.assert_close(joint[:, k], first[:, a] * second[:, b])
    torch.testing.assert_close(joint.reshape(4, 3, 2).sum(2), first)
    moved = probabilities(LOGITS, Decision(logit_offsets=[0.0, 1.0, 0.0, 0.0, -2.0]), HEADS)
    shifted = LOGITS + torch.tensor([0.0, 1.0, 0.0, 0.0, -2.0])
    torch.testing.assert_close(moved, probabilities(shifted, Decision(), HEADS))


def test_every_head_is_solved_for_itself() -> None:
    generator = torch.Generator().manual_seed(1)
    x_NF, target_N = torch.randn(60, 4, generator=generator), torch.randint(0, 6, (60,), generator=generator)
    net = Classifier(nn.Identity(), 4, 5, 0.0, repeat=False)
    sums = solve_into(net, x_NF[None], target_N, losses(), judges(target_N.numpy(), 0))
    alone = Classifier(nn.Identity(), 4, 2, 0.0, repeat=False)
    solve_into(alone, x_NF[None], target_N % 2, HeadLosses.one(losses().heads[1]), judges(target_N.numpy(), 0))
    torch.testing.assert_close(net.head[1].weight[3:], alone.head[1].weight)
    torch.testing.assert_close(net.head[1].bias[3:], alone.head[1].bias)
    right = losses().right(net.eval()(x_NF), target_N)
    assert sums["correct"] == float(right.sum())
    assert solve_best(x_NF, target_N // 2, 3, losses().heads[0], torch.arange(60) < 12).weight_KF.shape == (3, 4)


def test_the_record_counts_the_outputs_and_names_the_answer() -> None:
    sealed = Sealed(
        architecture=Architecture(name="mlp"),
        heads=HEADS,
        joint=Head(column="0+1", classes=[f"{a}+{b}" for a, b in PAIRS]),
        attributes=PARTS,
        decode=DecodeSpec(),
        input=InputSpec(height=8, width=8, mean=[0.5] * 3, std=[0.2] * 3),
    )
    assert (sealed.outputs, len(sealed.classes), sealed.answer.column) == (5, 6, "0+1")


@pytest.mark.parametrize("name", ["cross_entropy", "logit_adjusted"])
@pytest.mark.parametrize("weights", [None, "balanced"])
@pytest.mark.parametrize("separate", [False, True])
@given(own=st.lists(st.integers(1, 9), min_size=4, max_size=4), times=st.integers(1, 12))
@settings(max_examples=20, deadline=None)
def test_rows_once_weigh_as_much_as_their_copies(
    own: list[int], times: int, separate: bool, weights: Any, name: Any
) -> None:
    """Rows of the first class come `times` in an epoch: weighted rows have the mean loss of rows and copies."""
    of = {"A": [0, 0, 1, 1], "B": [0, 1, 0, 1]}
    heads = [Head(column=column, classes=["a", "b"]) for column in of]
    attributes = [Attribute(column=column, classes=["a", "b"], of=values) for column, values in of.items()]
    if not separate:
        heads, attributes = [Head(column="C", classes=list("abcd"))], []
    copied = [own[0] * times, *own[1:]]
    loss = HeadLosses.prepare(LossSettings(name=name, class_weights=weights), copied, heads, attributes)
    target = torch.repeat_interleave(torch.arange(4), torch.tensor(own))
    logits = torch.randn(len(target), 4, generator=torch.Generator().manual_seed(1))
    logits[target == 0] += torch.tensor([3.0, -3, 3, -3])
    repeats = torch.where(target == 0, times, 1)
    every = loss.rows(logits.repeat_interleave(repeats, 0), target.repeat_interleave(repeats))
    once = loss.row_weights(target)
    assert (once is None) == (times == 1)
    if once is not None:
        assert once.mean().item() == pytest.approx(1)
        torch.testing.assert_close((loss.rows(logits, target) * once).mean(), every.mean())


def test_a_solved_head_weighs_rows_as_their_copies() -> None:
    """Heads solved on weighted rows are those solved on the rows and their copies, whatever the joint classes say."""
    made = torch.Generator().manual_seed(1)
    target_N = torch.repeat_interleave(torch.arange(4), torch.tensor([40, 8, 4, 32]))
    x_NF = torch.randn(len(target_N), 4, generator=made) + F.one_hot(target_N, 4)
    times = torch.tensor([1, 5, 10, 1])[target_N]
    heads = [Head(column=column, classes=["a", "b"]) for column in "AB"]
    parts = [Attribute(column="A", classes=["a", "b"], of=[0, 0, 1, 1])]
    parts += [Attribute(column="B", classes=["a", "b"], of=[0, 1, 0, 1])]
    loss_of_all = HeadLosses.prepare(LossSettings(), [40, 40, 40, 32], heads, parts)
    weights_N = loss_of_all.row_weights(target_N)
    for loss, part_N in zip(loss_of_all.heads, (target_N // 2, target_N % 2), strict=True):
        weighted = solve(x_NF, part_N, 2, loss, 0.01, weights_N=weights_N)
        copied = solve(x_NF.repeat_interleave(times, 0), part_N.repeat_interleave(times), 2, loss, 0.01)
        equal = solve(x_NF, part_N, 2, loss, 0.01)
        assert torch.allclose(weighted.logits(x_NF).softmax(1), copied.logits(x_NF).softmax(1), atol=0.02)
        assert not torch.allclose(equal.logits(x_NF).softmax(1), copied.logits(x_NF).softmax(1), atol=0.05)
