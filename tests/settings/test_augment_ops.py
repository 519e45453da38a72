"""augment.ops and augment.preset as settings: read, checked, said once, written down whole."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from bunryu.core.errors import ConfigError
from bunryu.settings.augment import NO_AUGMENT, AugmentSettings
from bunryu.settings.augment_ops import OPERATIONS
from bunryu.settings.config import dump_yaml, load_yaml
from bunryu.settings.fields import value_text
from bunryu.settings.load import load_settings
from bunryu.settings.run import RunSettings
from bunryu.settings.validate import build

OPS = "augment.ops=[hflip, {rotate: {degrees: 5}}, {GaussianBlur: {kernel_size: 3, sigma: [1e-1, 2]}}]"


def test_the_command_line_and_a_file_say_the_same(tmp_path: Path) -> None:
    typed = load_settings([OPS]).augment
    assert typed.ops == [
        {"hflip": {"p": 0.5}},
        {"rotate": {"p": 1.0, "degrees": 5.0}},
        {"GaussianBlur": {"kernel_size": 3, "sigma": [0.1, 2]}},
    ]
    file = tmp_path / "mine.yaml"
    file.write_text(
        "augment:\n  ops:\n    - hflip\n    - rotate:\n        degrees: 5\n"
        "    - GaussianBlur: {kernel_size: 3, sigma: [0.1, 2]}\n"
    )
    assert load_settings([], recipe=str(file)).augment == typed


@pytest.mark.parametrize("pair", [OPS, "augment.preset=rand_augment", "augment.preset=none"])
def test_they_stand_in_place_of_the_recipe_s_and_are_written_down_whole(pair: str, tmp_path: Path) -> None:
    settings = load_settings([pair])
    assert (settings.augment.crop_scale, settings.augment.hflip) == (None, 0.0)  # the recipe has [0.5, 1] and 0.5
    (tmp_path / "config.yaml").write_text(dump_yaml(settings), encoding="utf-8")
    assert build(RunSettings, [load_yaml(tmp_path / "config.yaml")]) == settings


def test_presets_are_what_they_say() -> None:
    def preset(name: str, channels: str = "rgb") -> AugmentSettings:
        return AugmentSettings(preset=name).settled(channels)  # type: ignore[arg-type]

    assert preset("none") == NO_AUGMENT
    assert preset("light") == AugmentSettings(crop_scale=(0.5, 1.0), hflip=0.5)
    assert preset("heavy").erase > preset("medium").erase == 0
    assert preset("heavy").hue > 0
    assert preset("heavy", "grey").hue == preset("heavy", "grey").saturation == 0
    assert preset("heavy", "grey").brightness == preset("heavy").brightness
    names = [name for item in preset("trivial_augment").ops or [] for name in item]
    assert names == ["random_resized_crop", "hflip", "trivial_augment"]
    assert AugmentSettings(rotate=3).settled() == AugmentSettings(rotate=3)


@pytest.mark.parametrize(
    ("pairs", "told"),
    [
        ((OPS, "augment.hflip=0.3"), "augment.ops and augment.hflip came both"),
        (("augment.preset=light", "augment.crop_scale=[0.5, 1]"), "augment.preset and augment.crop_scale came both"),
        ((OPS, "augment.erase_scale=[0.1, 0.2]"), "augment.ops and augment.erase_scale came both"),
        ((OPS, "augment.preset=light"), "augment.preset=light and augment.ops came both; give one"),
        (("augment.backend=albumentations",), "augment.backend=albumentations carries out augment.ops, and there are"),
        (("augment.backend=albumentations", "augment.ops=[hflip, rand_augment]"), "rand_augment is torchvision's"),
        (("augment.ops=[hflp]",), "augment.ops: there is no operation 'hflp'. Did you mean 'hflip'?"),
        (("augment.ops=[{rotate: {degres: 3}}]",), "rotate has no parameter 'degres'. Did you mean 'degrees'?"),
        (("augment.ops=[{rotate: {degrees: 300}}]",), "rotate: degrees: expected a number of at most 180, received"),
        (("augment.ops=[{rotate: {degrees: many}}]",), "rotate: degrees: expected a number, received 'many'"),
        (("augment.ops=[{affine: {scale: [2, 1]}}]",), "affine: scale is [smallest, largest], received [2.0, 1.0]"),
        (("augment.ops=[center_crop]",), "center_crop: size is missing"),
        (("augment.ops=[{center_crop: {size: 3by4}}]",), "center_crop: size: expected one number or HEIGHTxWIDTH"),
        (("augment.ops=[{rotate: 15}]",), "rotate: expected its parameters, {PARAMETER: VALUE}, received '15'"),
        (("augment.ops=hflip",), "augment.ops: expected a list, such as [hflip, {rotate: {degrees: 15}}]"),
        (("augment.ops=[]",), "augment.ops: expected a list"),
        (("augment.ops=[{hflip: {}, vflip: {}}]",), "operation 1: expected NAME or {NAME: {PARAMETER: VALUE}}"),
        (("augment.preset=hard",), "augment.preset: expected none, light, medium, heavy, trivial_augment"),
        (("data.balance_to=9", "train.sampler=class_aware"), "data.balance_to=9 and train.sampler=class_aware both"),
        (
            ("train.sampler=class_aware", "loss.name=soft_f1", "loss.label_smoothing=0"),
            "class_aware weights the rows of",
        ),
        (
            ("data.balance_to=9", "loss.name=soft_f1", "loss.label_smoothing=0"),
            "data.balance_to=9 weights the rows of a",
        ),
    ],
)
def test_what_is_wrong_is_told_with_the_nearest_right(pairs: tuple[str, ...], told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_settings(pairs)


def test_the_page_has_every_operation_with_its_defaults() -> None:
    page = (Path(__file__).parents[2] / "docs/training/augmentation.md").read_text(encoding="utf-8")
    for name, kind in OPERATIONS.items():
        (line,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` |")]
        assert line.endswith(f"| {(kind.__doc__ or '').strip()} |")
        for key, info in kind.model_fields.items():
            told = "HEIGHTxWIDTH" if info.is_required() else value_text(info.default)
            assert f"`{key}: {told}`" in line or (key, told) == ("p", "1.0"), (name, key)


def test_every_operation_says_what_it_does() -> None:
    for name, kind in OPERATIONS.items():
        assert (kind.__doc__ or "").strip(), name
        assert kind.model_fields["p"].default in (0.1, 0.5, 1.0)
