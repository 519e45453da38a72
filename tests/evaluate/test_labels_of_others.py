"""Labelled data of others may spell the classes otherwise than the model."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from bunryu.core.errors import LabelError
from bunryu.evaluate.rows import labelled
from bunryu.models.record import Architecture, Head, Sealed
from bunryu.settings.data import DecodeSpec, InputSpec
from bunryu.settings.load import load_settings


def measured(folder: Path, classes: list[str], labels: list[str]) -> list[str]:
    for at in range(len(labels)):
        (folder / f"{at}.png").touch()
    frame = pd.DataFrame({"path": [f"{at}.png" for at in range(len(labels))], "label": labels})
    model = Sealed(
        architecture=Architecture(name="scratch_cnn"),
        heads=[Head(column="label", classes=classes)],
        decode=DecodeSpec(max_pixels=1000),
        input=InputSpec(height=8, width=8, mean=[0.5] * 3, std=[0.5] * 3),
    )
    found: list[str] = labelled(frame, model, load_settings([f"data.image_root={folder}"])).target_labels.tolist()
    return found


@pytest.mark.parametrize(
    ("classes", "labels", "expected"),
    [
        (["cat", "red fox"], ["Cat", "RED  FOX", "cat"], ["cat", "red fox", "cat"]),
        (["1", "2"], ["01", "2.0", "1"], ["1", "2", "1"]),
        (["고양이", "강아지"], ["고양이", "강아지"], ["고양이", "강아지"]),
        (["a", "A"], ["a", "A"], ["a", "A"]),
    ],
)
def test_labels_are_spelled_as_the_models_classes(
    classes: list[str], labels: list[str], expected: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert measured(tmp_path, classes, labels) == expected
    assert ("taken as the model spells them" in " ".join(capsys.readouterr().err.split())) == (
        classes[0] in ("cat", "1")
    )


def test_a_label_that_may_be_two_classes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LabelError, match="does not know: 'CAT'"):
        measured(tmp_path, ["cat", "Cat"], ["CAT", "cat"])
