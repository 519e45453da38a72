"""Losses: one value a row, equal to torch's; class weights as scikit-learn's."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, get_args

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from sklearn.utils.class_weight import compute_class_weight

from bunryu.core.errors import ConfigError
from bunryu.evaluate.decision.logit_adjustment import adjusted
from bunryu.settings.train import LossSettings, TrainSettings
from bunryu.train.losses import Loss, class_weights, cross_entropy, focal, smoothed, soft_f1
from bunryu.train.sampling import epoch_counts

quick = settings(max_examples=40, deadline=None)
SMOOTHING = [0.0, 0.1, 0.9]


def row_losses(
    loss: LossSettings, logits: torch.Tensor, target: torch.Tensor, weights: torch.Tensor | None
) -> torch.Tensor:
    return Loss(loss, weights, torch.ones(logits.shape[1])).rows(logits, target)


def case(rows: int, classes: int, seed: int = 0, scale: float = 3.0) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    return torch.randn(rows, classes, generator=made) * scale, torch.randint(classes, (rows,), generator=made)


@pytest.mark.parametrize("smoothing", SMOOTHING)
@pytest.mark.parametrize("classes", [2, 7, 1000])
def test_cross_entropy_is_torchs(classes: int, smoothing: float) -> None:
    logits, target = case(33, classes)
    loss = row_losses(LossSettings(label_smoothing=smoothing), logits, target, None)
    assert loss.shape == (33,)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss.mean(), F.cross_entropy(logits, target, label_smoothing=smoothing))


@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_cross_entropy_is_its_definition(smoothing: float) -> None:
    """Minus the sum over classes of the smoothed target times log softmax, in float64."""
    logits, target = case(9, 5)
    wanted = np.full((9, 5), smoothing / 5)
    wanted[np.arange(9), target.numpy()] += 1 - smoothing
    z = logits.double().numpy()
    log_softmax = z - np.log(np.exp(z).sum(1, keepdims=True))
    loss = row_losses(LossSettings(label_smoothing=smoothing), logits, target, None)
    np.testing.assert_allclose(loss.numpy(), -(wanted * log_softmax).sum(1), rtol=1e-5)


def test_class_weights_are_torchs_without_smoothing() -> None:
    logits, target = case(40, 4)
    weights = torch.tensor([0.1, 1.0, 2.5, 7.0])
    loss = row_losses(LossSettings(), logits, target, weights)
    torch.testing.assert_close(loss, F.cross_entropy(logits, target, weights, reduction="none"))
    torch.testing.assert_close(loss.sum() / weights[target].sum(), F.cross_entropy(logits, target, weights))


def test_a_class_weight_is_the_weight_of_the_whole_row() -> None:
    """Smoothed or not, a row counts as much as its own class: torch spreads the other classes' weights into it."""
    logits, target = case(40, 4)
    weights, smooth = torch.tensor([0.1, 1.0, 2.5, 7.0]), LossSettings(label_smoothing=0.2)
    plain = row_losses(smooth, logits, target, None)
    torch.testing.assert_close(row_losses(smooth, logits, target, weights), plain * weights[target])


@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
def test_a_mixed_row_is_the_sum_of_its_rows_each_with_its_weight_and_share(smoothing: float, name: Any) -> None:
    """Zhang et al. 2018 mix two losses; else a frequent class gets some of a rare one's weight."""
    (logits, one), (_, other) = case(40, 4), case(40, 4, seed=1)
    weights, loss = torch.tensor([0.1, 1.0, 2.5, 7.0]), LossSettings(name=name, label_smoothing=smoothing)
    shares = 0.6 * smoothed(one, 4, 0.0) + 0.4 * smoothed(other, 4, 0.0)
    mixed = row_losses(loss, logits, shares, weights)
    parts = [share * row_losses(loss, logits, own, weights) for share, own in ((0.6, one), (0.4, other))]
    torch.testing.assert_close(mixed, sum(parts))


@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_a_row_does_not_depend_on_the_others(smoothing: float) -> None:
    logits, target = case(20, 6)
    loss_settings = LossSettings(label_smoothing=smoothing)
    whole = row_losses(loss_settings, logits, target, torch.arange(1.0, 7.0))
    for k in range(20):
        alone = row_losses(loss_settings, logits[k : k + 1], target[k : k + 1], torch.arange(1.0, 7.0))
        torch.testing.assert_close(alone[0], whole[k])


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("classes", [2, 1000])
def test_half_precision_is_computed_in_float32(classes: int, dtype: torch.dtype) -> None:
    logits, target = case(16, classes)
    loss = row_losses(LossSettings(label_smoothing=0.1), logits.to(dtype), target, None)
    assert loss.dtype == torch.float32
    assert torch.equal(loss, row_losses(LossSettings(label_smoothing=0.1), logits.to(dtype).float(), target, None))


@pytest.mark.parametrize("smoothing", SMOOTHING)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("size", [1e4, 6e4])
def test_extremes_stay_finite(size: float, dtype: torch.dtype, smoothing: float) -> None:
    logits = torch.tensor([[size, -size, 0.0], [-size, size, 0.0], [size, size, size], [0.0, 0.0, -size]], dtype=dtype)
    logits.requires_grad_()
    target = torch.tensor([0, 0, 2, 2])
    loss = row_losses(LossSettings(label_smoothing=smoothing), logits, target, torch.tensor([1e-3, 1.0, 1e3]))
    assert torch.isfinite(loss).all()
    assert (loss >= 0).all()
    loss.sum().backward()
    assert logits.grad is not None
    assert torch.isfinite(logits.grad).all()


def test_known_values() -> None:
    logits = torch.tensor([[0.0, 0.0], [100.0, -100.0]])
    loss = row_losses(LossSettings(), logits, torch.tensor([1, 0]), None)
    assert loss.tolist() == pytest.approx([float(np.log(2)), 0.0])


@pytest.mark.parametrize("smoothing", SMOOTHING)
@pytest.mark.parametrize("classes", [2, 5])
def test_gradients(classes: int, smoothing: float) -> None:
    logits, target = case(4, classes)
    wanted = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: cross_entropy(z, target, smoothing), (wanted,))


def test_the_gradient_of_a_row_is_softmax_minus_the_target() -> None:
    logits, target = case(8, 5)
    logits.requires_grad_()
    weights = torch.tensor([0.5, 1.0, 1.5, 2.0, 2.5])
    row_losses(LossSettings(), logits, target, weights).sum().backward()
    expected = (logits.softmax(1) - F.one_hot(target, 5)) * weights[target, None]
    torch.testing.assert_close(logits.grad, expected.detach())


# Class weights


@quick
@given(st.lists(st.integers(1, 5000), min_size=2, max_size=30))
def test_balanced_is_scikit_learns(counts: list[int]) -> None:
    names = [f"c{k}" for k in range(len(counts))]
    weights = class_weights(LossSettings(class_weights="balanced"), counts, names)
    rows = np.repeat(np.arange(len(counts)), counts)
    np.testing.assert_allclose(weights, compute_class_weight("balanced", classes=np.arange(len(counts)), y=rows))
    assert np.dot(weights, counts) / sum(counts) == pytest.approx(1)


@quick
@given(st.lists(st.tuples(st.integers(1, 500), st.floats(0.01, 100)), min_size=1, max_size=10))
def test_given_weights_keep_their_ratios_and_a_mean_of_one(pairs: list[tuple[int, float]]) -> None:
    counts, asked = [count for count, _ in pairs], [weight for _, weight in pairs]
    names = [f"c{k}" for k in range(len(pairs))]
    loss_settings = LossSettings(class_weights=dict(zip(names, asked, strict=True)))
    weights = class_weights(loss_settings, counts, names)
    assert weights is not None
    np.testing.assert_allclose(np.array(weights) / weights[0], np.array(asked) / asked[0])
    assert np.dot(weights, counts) / sum(counts) == pytest.approx(1)


def test_given_weights_go_to_their_class_whatever_the_order() -> None:
    weights = class_weights(LossSettings(class_weights={"b": 3, "a": 1}), [1, 1], ["a", "b"])
    assert weights == pytest.approx([0.5, 1.5])


def test_none_are_none() -> None:
    assert class_weights(LossSettings(), [3, 4], ["a", "b"]) is None


def test_an_unknown_class_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError) as error:
        class_weights(LossSettings(class_weights={"ant": 1, "beee": 2}), [3, 4], ["ant", "bee"])
    message = str(error.value)
    assert message == "loss.class_weights: there is no class 'beee'. Did you mean 'bee'? Classes: ant, bee."


def test_a_class_without_a_weight_is_named() -> None:
    with pytest.raises(ConfigError, match=r"no weight for class bee, wasp. Give one for each class"):
        class_weights(LossSettings(class_weights={"ant": 1}), [3, 4, 5], ["ant", "bee", "wasp"])


# The other losses

EVERY = {
    "cross_entropy": LossSettings(),
    "smoothed": LossSettings(label_smoothing=0.1),
    "weighted": LossSettings(class_weights="balanced"),
    "focal": LossSettings(name="focal"),
    "focal smoothed": LossSettings(name="focal", label_smoothing=0.1),
    "class-balanced focal": LossSettings(name="focal", class_weights="effective"),
    "logit_adjusted": LossSettings(name="logit_adjusted"),
    "soft_f1": LossSettings(name="soft_f1"),
}


def of(loss: LossSettings, classes: int) -> Loss:
    return Loss.of(loss, [3 * k + 1 for k in range(classes)], [f"c{k}" for k in range(classes)])


def test_every_loss_has_a_case() -> None:
    assert {case.name for case in EVERY.values()} == set(get_args(LossSettings.model_fields["name"].annotation))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("classes", [2, 1000])
@pytest.mark.parametrize("soft", [False, True])
def test_every_loss_keeps_the_contract(name: str, classes: int, soft: bool) -> None:
    """One float32 value a row, of indices or shares, in half precision too; gradients; finite at extremes."""
    loss = of(EVERY[name], classes)
    logits, target = case(16, classes)
    shares = smoothed(target, classes, 0.3)
    given = shares if soft else target
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        for size in (1.0, 1e3):
            z = (logits * size).to(dtype).requires_grad_()
            value = loss.rows(z, given)
            assert value.shape == (16,)
            assert value.dtype == torch.float32
            assert torch.isfinite(value).all()
            assert (value >= -1e-6).all()
            value.sum().backward()
            assert z.grad is not None
            assert torch.isfinite(z.grad).all()
    torch.testing.assert_close(loss.rows(logits, smoothed(target, classes, 0.0)), loss.rows(logits, target))


@pytest.mark.parametrize(
    "loss",
    [LossSettings(name="focal", gamma=0.0), LossSettings(name="logit_adjusted", tau=0.0)],
    ids=["gamma 0", "tau 0"],
)
@pytest.mark.parametrize("smoothing", SMOOTHING)
def test_they_are_cross_entropy_where_their_parameter_says_so(loss: LossSettings, smoothing: float) -> None:
    logits, target = case(30, 5)
    loss = loss.model_copy(update={"label_smoothing": smoothing})
    expected = F.cross_entropy(logits, target, reduction="none", label_smoothing=smoothing)
    torch.testing.assert_close(of(loss, 5).rows(logits, target), expected)


@pytest.mark.parametrize("gamma", [0.5, 2.0, 5.0])
def test_focal_is_its_paper(gamma: float) -> None:
    """Lin et al. 2017, equation 4: -(1 - p_t)^gamma log p_t; for two classes that of torchvision (sigmoid)."""
    from torchvision.ops import sigmoid_focal_loss

    logits, target = case(20, 4)
    p_B = logits.softmax(1)[torch.arange(20), target]
    torch.testing.assert_close(focal(logits, target, gamma), -((1 - p_B) ** gamma) * p_B.log())
    two, right = case(20, 2)
    theirs = sigmoid_focal_loss(two[:, 1] - two[:, 0], right.float(), alpha=-1, gamma=gamma)
    torch.testing.assert_close(focal(two, right, gamma), theirs, rtol=1e-4, atol=1e-6)
    mixed = smoothed(target, 4, 0.2)
    each = torch.stack([focal(logits, torch.full((20,), k), gamma) for k in range(4)], dim=1)
    torch.testing.assert_close(focal(logits, mixed, gamma), (mixed * each).sum(1))


def test_focal_has_gradients() -> None:
    logits, target = case(4, 3)
    wanted = logits.double().requires_grad_()
    assert torch.autograd.gradcheck(lambda z: focal(z, target, 2.0, 0.1), (wanted,))


def test_logit_adjustment_is_its_paper() -> None:
    """Menon et al. 2021, equation 10: -log (e^(f_y + tau log pi_y) / sum_k e^(f_k + tau log pi_k))."""
    logits, target = case(20, 3)
    counts, tau = [100, 10, 1], 1.5
    z = logits.double().numpy() + tau * np.log(np.array(counts) / 111)
    expected = -(z[np.arange(20), target.numpy()] - np.log(np.exp(z).sum(1)))
    loss = Loss.of(LossSettings(name="logit_adjusted", tau=tau), counts, ["a", "b", "c"])
    np.testing.assert_allclose(loss.rows(logits, target).numpy(), expected, rtol=1e-5, atol=1e-6)


def test_soft_f1_of_sure_answers_is_one_minus_macro_f1() -> None:
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    true, said = rng.integers(0, 4, 60), rng.integers(0, 4, 60)
    logits = torch.full((60, 4), -100.0)
    logits[torch.arange(60), torch.from_numpy(said)] = 100.0
    loss = soft_f1(logits, torch.from_numpy(true))
    torch.testing.assert_close(loss, torch.full((60,), 1 - float(f1_score(true, said, average="macro"))))
    only = torch.from_numpy(np.where(true == 3, 0, true))  # class 3 is said, but not in the truth
    absent = f1_score(only, said, average="macro", labels=[0, 1, 2])
    torch.testing.assert_close(soft_f1(logits, only)[0], torch.tensor(1 - float(absent)))


@quick
@given(st.lists(st.integers(1, 5000), min_size=2, max_size=8), st.sampled_from([0.0, 0.9, 0.999, 0.9999]))
def test_effective_weights_are_their_paper(counts: list[int], beta: float) -> None:
    """Cui et al. 2019, equation 2: E_n = (1 - beta^n) / (1 - beta); weights are proportional to 1 / E_n."""
    names = [f"c{k}" for k in range(len(counts))]
    weights = class_weights(LossSettings(class_weights="effective", beta=beta), counts, names)
    effective = np.array([sum(beta**i for i in range(count)) for count in counts])
    np.testing.assert_allclose(np.array(weights) / weights[0], effective[0] / effective, rtol=1e-6)
    assert np.dot(weights, counts) / sum(counts) == pytest.approx(1)


def test_soft_f1_takes_no_weights_and_no_smoothing() -> None:
    for wrong in ({"label_smoothing": 0.1}, {"class_weights": "balanced"}):
        with pytest.raises(ValueError, match="soft_f1 has no rows to weight or smooth"):
            LossSettings(name="soft_f1", **wrong)


def test_the_answer_is_right_where_its_logit_is_the_largest() -> None:
    """Of a mixed row the class with the larger share is the right one."""
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 2.0, 1.0], [0.0, 1.0, 5.0], [9.0, 0.0, 0.0]])
    shares = torch.tensor([[0.4, 0.6, 0.0], [0.4, 0.0, 0.6], [0.0, 0.3, 0.7], [0.6, 0.0, 0.4]])
    for given_target in (torch.tensor([1, 2, 2, 0]), shares):
        assert of(LossSettings(), 3).right(logits, given_target).tolist() == [True, False, True, True]


def test_one_loss_of_one_head_takes_an_output_a_class() -> None:
    assert (of(LossSettings(), 7).size, of(LossSettings(), 7).parts) == (7, 1)


@pytest.mark.parametrize("loss", [cross_entropy, lambda z, target, *rest: focal(z, target, 2.0, *rest)])
def test_nothing_is_smoothed_unless_asked_for(loss: Callable[..., torch.Tensor]) -> None:
    logits, target = case(6, 4)
    assert torch.equal(loss(logits, target), loss(logits, target, 0.0))
    assert not torch.allclose(loss(logits, target), loss(logits, target, 0.1))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_a_sure_answer_has_a_gradient_also_below_a_gamma_of_one(smoothing: float) -> None:
    """There (1 - p)^gamma is a root, whose slope at 0 is infinite."""
    logits = torch.tensor([[200.0, -200.0, 0.0]], requires_grad=True)
    focal(logits, torch.tensor([0]), 0.5, smoothing).sum().backward()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()


@pytest.mark.parametrize("rows", [[0, 0, 0, 1], [2, 2, 2], [1, 0, 2]])
def test_soft_f1_is_its_definition_over_the_classes_of_the_batch(rows: list[int]) -> None:
    """One row makes a class count, and where all rows are of one class its F1 is all there is."""
    logits, target = case(len(rows), 3)[0], np.array(rows)
    p = logits.double().softmax(1).numpy()
    y = np.eye(3)[target]
    f1 = [2 * (p[:, k] * y[:, k]).sum() / (p[:, k].sum() + y[:, k].sum()) for k in sorted(set(rows))]
    np.testing.assert_allclose(soft_f1(logits, torch.from_numpy(target)).numpy(), 1 - np.mean(f1), rtol=1e-5)


# A picture that says nothing

CORRECTED: list[dict[str, Any]] = [
    {"name": "logit_adjusted"},
    {"class_weights": "balanced"},
    {"name": "focal", "class_weights": "balanced"},
    {"name": "logit_adjusted", "class_weights": "balanced"},
    {"name": "logit_adjusted", "class_weights": "effective"},
]
"""Losses that promise a rare class the same as a frequent one."""
COUNTS = st.lists(st.integers(5, 1000), min_size=2, max_size=5)


def case_of(
    counts: list[int], chosen: dict[str, Any], sampling: dict[str, Any] | None = None
) -> tuple[Loss, NDArray[np.float64]]:
    """Return the loss, and the probabilities of the one answer to all rows of an epoch that has the least of it."""
    sampling = dict(sampling or {})
    to = sampling.pop("to", None)
    shown = list(epoch_counts(counts, TrainSettings.model_validate(sampling), to))
    loss = Loss.of(LossSettings.model_validate(chosen), shown, [f"c{k}" for k in range(len(counts))])
    share_K = torch.tensor(shown) / sum(shown)
    logits_K = torch.zeros(len(shown), requires_grad=True)
    solver = torch.optim.LBFGS([logits_K], max_iter=300, tolerance_change=1e-12, line_search_fn="strong_wolfe")

    def objective() -> torch.Tensor:
        solver.zero_grad()
        rows_K = loss.rows(logits_K.expand(len(shown), -1), torch.arange(len(shown)))
        value = (rows_K * share_K).sum()
        value.backward()  # type: ignore[no-untyped-call]
        return value

    solver.step(objective)  # type: ignore[no-untyped-call]
    if loss.weights_K is not None:
        assert float((loss.weights_K * share_K).sum()) == pytest.approx(1, rel=1e-4), "the mean weight of a row"
    return loss, logits_K.detach().double().softmax(0).numpy()


@quick
@given(
    COUNTS,
    st.sampled_from([0.0, 0.1, 0.4]),
    st.sampled_from(CORRECTED),
    st.sampled_from([{}, {"sampler": "class_aware"}, {"sampler": "class_aware", "sampler_power": 0.5}, {"to": 60}]),
)
def test_a_picture_that_says_nothing_is_answered_evenly(
    counts: list[int], smoothing: float, chosen: dict[str, Any], sampling: dict[str, Any]
) -> None:
    """Whatever loss, smoothing, weights, sampler and copies are: rare classes are lifted once, not twice."""
    _, found = case_of(counts, {**chosen, "label_smoothing": smoothing}, sampling)
    np.testing.assert_allclose(found, 1 / len(counts), atol=0.01)


@quick
@given(
    COUNTS,
    st.sampled_from([0.0, 0.1, 0.4]),
    st.sampled_from(["cross_entropy", "focal", "logit_adjusted"]),
    st.sampled_from([None, "balanced", "effective"]),
    st.sampled_from([0.5, 1.0]),
    st.sampled_from(["shuffle", "class_aware"]),
)
def test_what_such_a_picture_is_answered_is_known(
    counts: list[int], smoothing: float, name: str, weights: str | None, tau: float, sampler: str
) -> None:
    """By it the logits are adjusted after training, and with decision.tau=1 the answer is then even, for each loss."""
    chosen = {"name": name, "class_weights": weights, "label_smoothing": smoothing, "tau": tau}
    loss, found = case_of(counts, chosen, {"sampler": sampler, "sampler_power": 0.5})
    known = loss.uninformed().numpy()
    np.testing.assert_allclose(known, found, atol=0.01)
    np.testing.assert_allclose(adjusted(known[None], known, 1.0)[0], 1 / len(counts), rtol=1e-5)


@pytest.mark.parametrize("chosen", CORRECTED)
def test_the_counts_that_were_answered_unevenly(chosen: dict[str, Any]) -> None:
    for smoothing, sampler in ((0.1, "shuffle"), (0.0, "class_aware"), (0.1, "class_aware")):
        _, found = case_of([1000, 100, 10], {**chosen, "label_smoothing": smoothing}, {"sampler": sampler})
        np.testing.assert_allclose(found, 1 / 3, atol=0.01)
