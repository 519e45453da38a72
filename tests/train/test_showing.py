"""What the table of epochs says of its figures."""

from __future__ import annotations

import pytest

from bunryu.settings import load_settings
from bunryu.train.showing import loss_note

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
