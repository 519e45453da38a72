"""A picture that says nothing, after real epochs: rows as the sampler draws them, targets as they are mixed.

The one answer to all rows that has the least loss is found and compared with what the loss says of itself, and with
what the docs promise: even probabilities where rare classes are corrected, the shares of the rows where not.
"""

from __future__ import annotations

from functools import cache
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from bunryu.core.randomness import plain
from bunryu.evaluate.decision.logit_adjustment import adjusted
from bunryu.models.record import Attribute, Head
from bunryu.settings.load import load_settings
from bunryu.settings.run import RunSettings
from bunryu.settings.stages import Stage
from bunryu.settings.train import LossSettings, MixSettings
from bunryu.train.mixup import label_counts, mix
from bunryu.train.multilabel_loss import LabelLoss
from bunryu.train.sampling import apart_in_batches, epoch_counts, epoch_rows
from bunryu.train.stages import in_batches, losses_of_epochs, mixes

COUNTS = (240, 60, 20)
HEADS = [Head(column="label", kind="softmax", classes=["a", "b", "c"])]
SEALED: Any = SimpleNamespace(heads=HEADS, attributes=[], input=SimpleNamespace(height=12, width=12))
EPOCHS = 12
SAMPLING = {
    "shuffled": (),
    "class-aware": ("train.sampler=class_aware", "train.sampler_power=0.5"),
    "copies": ("data.balance_to=100",),
}
MIXING = {
    "plain": (),
    "mixup": ("mix.name=mixup", "mix.alpha=1"),
    "both": ("mix.name=both", "mix.probability=0.7"),
    "remix": ("mix.name=mixup", "mix.alpha=1", "mix.remix=true"),
    "remix both": ("mix.name=both", "mix.remix=true", "mix.probability=0.9", "mix.kappa=2"),
}
LOSSES = [
    {"name": name, "label_smoothing": smoothing, "class_weights": weights}
    for name in ("cross_entropy", "focal", "logit_adjusted")
    for smoothing in (0.0, 0.2)
    for weights in (None, "balanced", "effective", {"a": 1.0, "b": 2.0, "c": 5.0})
]


@cache
def taught(sampling: str, mixing: str) -> torch.Tensor:
    """Return the target of every row of some epochs, shares (N, K), as the loop would learn them."""
    settings = settings_of(sampling, mixing, {})
    target = np.repeat(np.arange(len(COUNTS)), COUNTS)
    shown = torch.tensor(epoch_counts(COUNTS, settings.train, settings.data.balance_to), dtype=torch.float32)
    found = []
    for epoch in range(EPOCHS):
        order = epoch_rows(np.arange(len(target)), target, settings.train, epoch, settings.data.balance_to)
        for step, rows in enumerate(in_batches(plain(order), settings.train.batch_size)):
            x, own = torch.zeros(len(rows), 12, 12, 1, dtype=torch.uint8), torch.from_numpy(target[rows])
            _, own = mix(x, own, shown, settings.mix, 0, epoch, step)
            found.append(own if own.ndim == 2 else torch.nn.functional.one_hot(own, len(COUNTS)).float())
    return torch.cat(found)


def settings_of(sampling: str, mixing: str, loss: dict[str, Any]) -> RunSettings:
    pairs = ("train.batch_size=16", *SAMPLING[sampling], *MIXING[mixing])
    return load_settings(pairs, values={"loss": {"label_smoothing": 0.0, **loss}})


def least(rows: Any, outputs: int) -> torch.Tensor:
    """Return the logits, the same for each row, at which the mean of `rows` of them is least."""
    logits = torch.zeros(1, outputs, requires_grad=True)
    solver = torch.optim.LBFGS([logits], max_iter=100, tolerance_change=1e-9, line_search_fn="strong_wolfe")

    def objective() -> torch.Tensor:
        solver.zero_grad()
        value = rows(logits).mean()
        value.backward()
        return value

    solver.step(objective)
    return logits.detach()[0].double()


@pytest.mark.parametrize("mixing", MIXING)
@pytest.mark.parametrize("sampling", SAMPLING)
def test_the_answer_is_the_one_that_is_known_and_promised(sampling: str, mixing: str) -> None:
    """Rare classes are lifted once, whatever shows them more often, and decision.tau=1 makes even what is left."""
    target_NK = taught(sampling, mixing)
    share_K = target_NK.double().mean(dim=0).numpy()
    for chosen in LOSSES:
        losses = losses_of_epochs(settings_of(sampling, mixing, chosen), COUNTS, SEALED, mixed=mixing != "plain")
        known = losses.heads[0].uninformed().numpy()
        found = least(lambda z, own=losses: own.rows(z.expand(len(target_NK), -1), target_NK), 3).softmax(0).numpy()
        np.testing.assert_allclose(found, known, atol=0.006, err_msg=f"{chosen}")
        np.testing.assert_allclose(adjusted(found[None], known, 1.0)[0], 1 / 3, atol=0.01, err_msg=f"{chosen}")
        if chosen["class_weights"] == "balanced" or chosen["name"] == "logit_adjusted":
            np.testing.assert_allclose(found, 1 / 3, atol=0.01, err_msg=f"{chosen}")
        elif chosen == {"name": "cross_entropy", "label_smoothing": 0.0, "class_weights": None}:
            np.testing.assert_allclose(found, share_K, atol=1e-4)
        if chosen["name"] == "cross_entropy":
            weight = float(losses.rows(torch.zeros(len(target_NK), 3), target_NK).mean()) / np.log(3)
            assert weight == pytest.approx(1, abs=0.01), "the mean weight of a row"


@pytest.mark.parametrize("sampling", SAMPLING)
def test_remix_moves_labels_to_rare_classes_and_mixup_none(sampling: str) -> None:
    """Else the test above would compare nothing."""
    settings = settings_of(sampling, "plain", {})
    shown = np.array(epoch_counts(COUNTS, settings.train, settings.data.balance_to))
    mixed, remixed = (taught(sampling, name).double().mean(dim=0).numpy() for name in ("mixup", "remix"))
    np.testing.assert_allclose(mixed, shown / shown.sum(), atol=2e-3)
    assert (remixed[0] < mixed[0] - 0.02) or sampling == "copies"


@pytest.mark.parametrize(
    ("name", "sampler", "batch", "kappa", "tau"),
    [
        ("mixup", "shuffle", 2, 3.0, 0.5),
        ("cutmix", "shuffle", 16, 3.0, 0.5),
        ("both", "shuffle", 16, 1.0, 0.8),
        ("mixup", "class_aware", 8, 3.0, 0.5),
        ("both", "class_aware", 16, 1.0, 0.8),
    ],
)
def test_the_labels_of_an_epoch_are_those_that_remix_makes(
    name: Any, sampler: str, batch: int, kappa: float, tau: float
) -> None:
    """Chou et al. 2020, equation 5, over the pairs of real batches."""
    pairs = (f"train.sampler={sampler}", "train.sampler_power=0.7", f"train.batch_size={batch}")
    settings = load_settings(pairs).train
    mixing = MixSettings(name=name, remix=True, kappa=kappa, tau=tau, probability=0.8, alpha=0.7)
    target = np.repeat(np.arange(4), [200, 60, 60, 10])
    shown = epoch_counts([200, 60, 60, 10], settings)
    told = np.array(label_counts(shown, mixing, (12, 12), apart_in_batches(shown, settings)))
    found, counts_K = np.zeros(4), torch.tensor(shown, dtype=torch.float32)
    epochs = 4 * batch + 10
    for epoch in range(epochs):
        order = plain(epoch_rows(np.arange(len(target)), target, settings, epoch))
        for step, rows in enumerate(in_batches(order, batch)):
            x = torch.zeros(len(rows), 12, 12, 1, dtype=torch.uint8)
            _, own = mix(x, torch.from_numpy(target[rows]), counts_K, mixing, 0, epoch, step)
            found += np.bincount(own, minlength=4) if own.ndim == 1 else own.sum(dim=0).numpy()
    assert told.sum() == pytest.approx(sum(shown))
    np.testing.assert_allclose(found / epochs, told, rtol=0.02, atol=0.5)
    assert np.abs(told - shown).max() > 3, "ReMix moves something"


def test_separate_heads_each_know_what_remix_makes_of_their_classes() -> None:
    """Rows are mixed by the joint class, and each head counts its own."""
    of = [[0, 0, 1], [0, 1, 1]]
    parts = [Attribute(column=str(k), classes=["x", "y"], of=own) for k, own in enumerate(of)]
    heads = [Head(column=part.column, kind="softmax", classes=["x", "y"]) for part in parts]
    sealed: Any = SimpleNamespace(heads=heads, attributes=parts, input=SEALED.input)
    target_NJ = taught("shuffled", "remix")
    losses = losses_of_epochs(settings_of("shuffled", "remix", {}), COUNTS, sealed, mixed=True)
    assert losses.counts_K.tolist() == list(COUNTS), "ReMix itself goes by the rows"
    for own, target_NK in zip(losses.heads, losses.targets(target_NJ), strict=True):
        np.testing.assert_allclose(own.uninformed().numpy(), target_NK.double().mean(dim=0).numpy(), atol=0.005)


HELD_JL = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], bool)


@pytest.mark.parametrize("mixed", [False, True])
@pytest.mark.parametrize("smoothing", [0.0, 0.2])
@pytest.mark.parametrize("name", ["cross_entropy", "focal"])
@pytest.mark.parametrize("weights", [None, "balanced", "effective"])
def test_labels_that_hold_together_are_answered_as_known(
    mixed: bool, smoothing: float, name: Any, weights: Any
) -> None:
    """Under balanced weights the yes and the no of each label are even: smoothing does not lift the rarer one."""
    counts, labels = [150, 40, 8, 2], ["p", "q"]
    own = LossSettings(name=name, label_smoothing=smoothing, class_weights=weights)
    loss = LabelLoss.of_sets(own, counts, HELD_JL, labels)
    target_N, targets = torch.from_numpy(np.repeat(np.arange(4), counts)), []
    for epoch in range(8 if mixed else 1):
        x = torch.zeros(len(target_N), 1)
        settings = MixSettings(name="mixup", alpha=1.0) if mixed else MixSettings()
        targets.append(mix(x, target_N, loss.counts_K, settings, 0, epoch, held_KL=loss.held_JL)[1])
    target = torch.cat(targets)
    found = least(lambda z: loss.rows(z.expand(len(target), -1), target), 2).sigmoid().numpy()
    np.testing.assert_allclose(found, loss.uninformed().numpy(), atol=2e-3)
    if weights == "balanced":
        np.testing.assert_allclose(found, 0.5, atol=2e-3)
    elif weights is None and name == "cross_entropy":
        share_L = np.array(counts) @ HELD_JL / 200
        np.testing.assert_allclose(found, (1 - smoothing) * share_L + smoothing / 2, atol=2e-3)


@pytest.mark.parametrize(
    ("pairs", "stage", "epochs"),
    [
        ((), {}, []),
        (("mix.name=mixup",), {}, [0, 1, 2, 3]),
        (("mix.name=mixup", "mix.end_epoch=2"), {}, [0, 1]),
        (("mix.name=mixup",), {"freeze": "backbone", "views": 0, "solve": True}, []),
    ],
)
def test_which_epochs_are_mixed(pairs: tuple[str, ...], stage: dict[str, Any], epochs: list[int]) -> None:
    assert [epoch for epoch in range(4) if mixes(load_settings(pairs), Stage(name="s", **stage), epoch)] == epochs


def test_the_losses_of_an_epoch_count_the_labels_only_where_rows_are_mixed() -> None:
    settings = settings_of("shuffled", "remix", {"class_weights": "balanced"})

    def weights(*, mixed: bool) -> NDArray[np.float64]:
        own = losses_of_epochs(settings, COUNTS, SEALED, mixed=mixed).heads[0].weights_K
        assert own is not None
        return own.numpy()

    np.testing.assert_allclose(weights(mixed=False), 320 / 3 / np.array(COUNTS), rtol=1e-5)
    assert weights(mixed=True)[2] < 0.95 * weights(mixed=False)[2]
