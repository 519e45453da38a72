"""What the table of epochs says of its figures."""

from __future__ import annotations

import pytest

from bunryu.settings.load import load_settings
from bunryu.train.epoch_table import learning_told, loss_note

PLAIN = ("augment.crop_scale=null", "augment.hflip=0", "loss.label_smoothing=0", "train.stages=[{name: all}]")


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        (PLAIN, "on plain pictures"),
        ((*PLAIN, "loss.label_smoothing=0.1"), "with label smoothing"),
        ((*PLAIN, "augment.hflip=0.5", "loss.class_weights=balanced"), "with augmentation and class weights"),
        (
            (*PLAIN, "augment.hflip=0.5", "loss.class_weights=balanced", "loss.label_smoothing=0.1"),
            "with augmentation, label smoothing and class weights",
        ),
        ((), "with augmentation (not in head) and label smoothing"),
        ((*PLAIN, "loss.name=logit_adjusted", "mix.name=mixup"), "with logit-adjusted loss and mixing"),
    ],
)
def test_only_what_is_used_is_named(pairs: tuple[str, ...], told: str) -> None:
    assert loss_note(load_settings(pairs)) == told


def test_what_is_minimised_and_how() -> None:
    pairs = ["loss.name=focal", "loss.class_weights={a: 1, b: 2}", "loss.label_smoothing=0.1", "mix.name=mixup"]
    pairs += ["optim.name=sgd", "optim.lr=0.1", "optim.head_lr=null", "optim.weight_decay=0.01", "train.ema=null"]
    told = learning_told(load_settings([*pairs, "schedule.name=step", "train.stages=[{name: all}]"]))
    assert told == ("focal loss; class weights given; label smoothing 0.1; mixup; sgd at 0.1, step; weight decay 0.01")
    more = learning_told(load_settings(["optim.lr=0.1", "optim.head_lr=0.2", "train.ema=0.9", "loss.group_dro=[a, b]"]))
    assert "group DRO over a, b" in more
    assert "at 0.1, of the head 0.2, cosine" in more
    assert more.endswith("average (EMA) 0.9")
