"""Operations picture by picture: the backends' own, with draws that follow from the seed alone, in any thread."""

from __future__ import annotations

import colorsys
import itertools
import re
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
import torch
from torchvision.transforms import InterpolationMode, v2

from bunryu.core.errors import ConfigError
from bunryu.data.augment.batch import canvas
from bunryu.data.augment.per_image import described, pipeline, require_working
from bunryu.data.augment.torchvision_ops import own_draws, shift_hsv
from bunryu.settings.augment import AugmentSettings
from bunryu.settings.augment_ops import OPERATIONS, TORCHVISION_ONLY
from bunryu.settings.data import InputSpec

LINEAR = InterpolationMode.BILINEAR
SPEC = InputSpec(height=24, width=32, mean=[0.5] * 3, std=[0.5] * 3, pad_colour=(200, 30, 10))
GREY = SPEC.model_copy(update={"channels": "grey", "mean": [0.5], "std": [0.5]})
FILL = [200, 30, 10]
MEAN = [128, 128, 128]
NOISE = np.random.default_rng(0).integers(0, 256, (24, 32, 3), np.uint8)
ALL = [{name: {"size": "20x16"} if name == "center_crop" else {}} for name in OPERATIONS]
ALL_ALBUMENTATIONS = [item for item in ALL if not {*item} & {*TORCHVISION_ONLY}]


def ops(*given: Any, backend: str = "torchvision") -> AugmentSettings:
    if backend == "albumentations":
        pytest.importorskip("albumentations")
    return AugmentSettings(ops=list(given), backend=backend)


def by_torchvision(transforms: Any, seed: int, pixels: np.ndarray = NOISE) -> np.ndarray:
    """What torchvision itself does after a seed, in this thread."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        changed: np.ndarray = (
            transforms(torch.from_numpy(pixels).permute(2, 0, 1).contiguous()).permute(1, 2, 0).numpy()
        )
    return changed


REFERENCES: dict[str, tuple[Any, Any]] = {
    "flips": (["hflip", "vflip"], v2.Compose([v2.RandomHorizontalFlip(), v2.RandomVerticalFlip()])),
    "rotate": ([{"rotate": {"degrees": 20}}], v2.RandomRotation(20, LINEAR, fill=FILL)),
    "affine": (["affine"], v2.RandomAffine(10, (0.1, 0.1), (0.9, 1.1), None, LINEAR, FILL)),
    "perspective": (["perspective"], v2.RandomPerspective(0.2, 0.5, LINEAR, FILL)),
    "resized crop": (["random_resized_crop"], v2.RandomResizedCrop((24, 32), (0.35, 1), (0.75, 1.3333), LINEAR)),
    "crop": (["random_crop"], v2.RandomCrop((24, 32), 4, pad_if_needed=True, fill=FILL)),
    "colours": ([{"colour_jitter": {"hue": 0.1}}], v2.ColorJitter(0.2, 0.2, 0.2, 0.1)),
    "noise and blur": (
        ["gaussian_noise", "gaussian_blur"], v2.Compose([v2.GaussianNoise(sigma=0.05), v2.GaussianBlur(13, (0.1, 2))])
    ),
    "erasing, grey": (
        ["random_erasing", {"grayscale": {"p": 0.5}}],
        v2.Compose([v2.RandomErasing(0.5, value=MEAN), v2.RandomGrayscale(0.5)]),
    ),
    "trivial": (["trivial_augment"], v2.TrivialAugmentWide(interpolation=LINEAR, fill=FILL)),
    "rand": (
        [{"rand_augment": {"operations": 3, "magnitude": 14}}], v2.RandAugment(3, 14, interpolation=LINEAR, fill=FILL)
    ),
    "seldom": (
        [{"brightness_contrast": {"p": 0.4}}], v2.RandomApply([v2.ColorJitter(0.2, 0.2)], 0.4)
    ),
    "a class": ([{"RandomRotation": {"degrees": 9, "interpolation": "bilinear"}}, "AugMix"], None),
}  # fmt: skip
REFERENCES["a class"] = (REFERENCES["a class"][0], v2.Compose([v2.RandomRotation(9, LINEAR), v2.AugMix()]))


@pytest.mark.parametrize("name", REFERENCES)
def test_ours_are_torchvision_s_own_bit_for_bit(name: str) -> None:
    given, reference = REFERENCES[name]
    change = pipeline(ops(*given), SPEC)
    for seed in range(6):
        np.testing.assert_array_equal(change(NOISE, seed), by_torchvision(reference, seed))


@pytest.mark.parametrize(("backend", "every"), [("torchvision", ALL), ("albumentations", ALL_ALBUMENTATIONS)])
def test_a_seed_decides_in_whatever_thread_and_nothing_global_moves(backend: str, every: list[Any]) -> None:
    change = pipeline(ops(*every, backend=backend), SPEC)
    before = torch.random.get_rng_state(), np.random.get_state()[1].tolist()
    alone = [change(NOISE, seed) for seed in range(24)]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda seed: change(NOISE, seed), range(24)))
    for one, other in zip(alone, together, strict=True):
        np.testing.assert_array_equal(one, other)
    assert len({picture.tobytes() for picture in alone}) == 24, "every seed draws anew"
    assert all(picture.shape == (24, 32, 3) and picture.dtype == np.uint8 for picture in alone)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1] == np.random.get_state()[1].tolist()


@pytest.mark.parametrize("backend", ["torchvision", "albumentations"])
def test_every_operation_changes_pictures_and_keeps_their_size(backend: str) -> None:
    for item in ALL if backend == "torchvision" else ALL_ALBUMENTATIONS:
        change = pipeline(ops(item, backend=backend), SPEC)
        changed = [change(NOISE, seed) for seed in range(40)]
        assert any((picture != NOISE).any() for picture in changed), item
        assert {picture.shape for picture in changed} == {NOISE.shape}, item


def test_albumentations_draws_each_transform_apart() -> None:
    """Its own set_random_seed would let all flips of a picture fall alike."""
    change = pipeline(ops("hflip", "vflip", backend="albumentations"), SPEC)
    kinds = {}
    for seed in range(60):
        changed = change(NOISE, seed)
        kinds[changed.tobytes()] = kinds.get(changed.tobytes(), 0) + 1
    expected = {
        np.ascontiguousarray(picture).tobytes() for picture in (NOISE, NOISE[:, ::-1], NOISE[::-1], NOISE[::-1, ::-1])
    }
    assert kinds.keys() == expected
    assert min(kinds.values()) >= 5


def test_albumentations_by_its_class_is_albumentations() -> None:
    a = pytest.importorskip("albumentations")
    change = pipeline(ops({"HorizontalFlip": {"p": 1.0}}, {"ToGray": {"p": 1}}, backend="albumentations"), SPEC)
    expected = a.Compose([a.HorizontalFlip(p=1), a.ToGray(p=1)])(image=NOISE)["image"]
    np.testing.assert_array_equal(change(NOISE, 3), expected)


def test_strengths_mean_the_same_to_both_backends() -> None:
    """A flat colour: the mean and the spread of what becomes of it."""
    flat = np.full((24, 32, 3), (180, 90, 60), np.uint8)
    for item in ({"brightness_contrast": {"brightness": 0.3, "contrast": 0}}, {"hsv": {"hue": 0, "value": 0.2}},
                 {"hsv": {"hue": 0.1, "saturation": 0}}, {"gaussian_noise": {"std": 0.1}}):  # fmt: skip
        found = {}
        for backend in ("torchvision", "albumentations"):
            change = pipeline(ops(item, backend=backend), SPEC)
            found[backend] = np.stack([change(flat, seed) for seed in range(300)]).astype(float)
        one, other = found.values()
        np.testing.assert_allclose(one.mean((0, 1, 2)), other.mean((0, 1, 2)), atol=6)
        np.testing.assert_allclose(one.std((0, 1, 2)), other.std((0, 1, 2)), atol=4)


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.2, 0.0, 0.0), (-0.4, 0.3, -0.1), (0.1, -0.5, 0.2)])
def test_hsv_is_colorsys(shift: tuple[float, float, float]) -> None:
    x_CHW = torch.from_numpy(NOISE).permute(2, 0, 1)
    found = shift_hsv(x_CHW, *shift).permute(1, 2, 0).numpy()
    for i, j in itertools.product(range(24), range(32)):
        h, s, v = colorsys.rgb_to_hsv(*(NOISE[i, j] / 255))
        s, v = min(max(s + shift[1], 0), 1), min(max(v + shift[2], 0), 1)
        expected = np.array(colorsys.hsv_to_rgb((h + shift[0]) % 1, s, v)) * 255
        np.testing.assert_allclose(found[i, j], expected, atol=0.51)


def test_every_random_operation_of_torch_draws_from_the_seed_or_is_refused() -> None:
    def draws() -> list[torch.Tensor]:
        x = torch.zeros(50)
        return [
            *(torch.rand(9), torch.randn(9), torch.randint(99, (9,)), torch.randint(5, 99, (9,)), torch.randperm(9)),
            *(torch.rand_like(x), torch.randn_like(x), torch.bernoulli(x + 0.5), torch.multinomial(x + 1, 5)),
            *(torch.normal(x, 1.0), x.clone().uniform_(), x.clone().normal_(), x.clone().exponential_()),
        ]

    torch.manual_seed(5)
    expected = draws()
    before = torch.random.get_rng_state()
    with own_draws(5):
        found = draws()
    assert all(torch.equal(one, other) for one, other in zip(found, expected, strict=True))
    with own_draws(5), pytest.raises(ConfigError, match="takes no generator"):
        torch.native_dropout(torch.ones(9), 0.5, True)
    assert torch.equal(before, torch.random.get_rng_state())


def test_what_comes_out_in_another_size_is_fitted() -> None:
    change = pipeline(ops({"center_crop": {"size": "12x16"}}), SPEC)
    twice = np.asarray(change(np.full((24, 32, 3), 77, np.uint8), 0))
    assert twice.shape == (24, 32, 3)
    assert (twice == 77).all()
    small = SPEC.model_copy(update={"crop_pct": 0.75})
    assert canvas(small, ops("random_resized_crop")).height == 32, "what is cut has validation's margin"
    assert canvas(small, ops("rotate")) == small


@pytest.mark.parametrize("backend", ["torchvision", "albumentations"])
def test_grey_pictures(backend: str) -> None:
    grey = [item for item in ALL_ALBUMENTATIONS if not {*item} & {"hsv", "grayscale", "colour_jitter"}]
    grey.append({"colour_jitter": {"saturation": 0}})
    change = pipeline(ops(*grey, backend=backend), GREY)
    assert change(NOISE[:, :, :1], 4).shape == (24, 32, 1)
    for item in ("hsv", "grayscale", "colour_jitter"):
        with pytest.raises(ConfigError, match=f"augment.ops: {item} changes colours; with input.channels=grey"):
            pipeline(ops(item, backend=backend), GREY)


@pytest.mark.parametrize(
    ("item", "backend", "told"),
    [
        ({"RandomAfine": {"degrees": 3}}, "torchvision", "no class 'RandomAfine'. Did you mean 'RandomAffine'?"),
        ({"RandomAffine": {"degres": 3}}, "torchvision", "no parameter 'degres'. Did you mean 'degrees'?"),
        ("RandomAffine", "torchvision", "RandomAffine needs degrees: {RandomAffine: {degrees: ...}}. It takes:"),
        ({"RandomAffine": {"degrees": -4}}, "torchvision", "RandomAffine does not take {'degrees': -4}"),
        ({"RandomRotation": {"degrees": 4, "interpolation": "cubic"}}, "torchvision", "interpolation is one of near"),
        ({"Normalize": {"mean": [0.5], "std": [0.5]}}, "torchvision", "Normalize fails on a picture of 24x32x3: "),
        ("ToPILImage", "torchvision", "ToPILImage gives Image"),
        ("Grayscale", "torchvision", "Grayscale gives torch.uint8 of [1, 24, 32]; expected a picture again"),
        ("MixUp", "torchvision", "MixUp fails on a picture"),
        ("HorizontalFlop", "albumentations", "no class 'HorizontalFlop'. Did you mean 'HorizontalFlip'?"),
        ({"Rotate": {"limt": 3}}, "albumentations", "Rotate has no parameter 'limt'. Did you mean 'limit'?"),
        ({"Rotate": {"limit": "abc"}}, "albumentations", "Rotate does not take {'limit': 'abc'}"),
        ("Normalize", "albumentations", "Normalize gives float32 of [24, 32, 3]; expected a picture again"),
    ],
)  # fmt: skip
def test_what_cannot_be_is_told_before_a_run_begins(item: Any, backend: str, told: str) -> None:
    with pytest.raises(ConfigError, match=re.escape(told)):
        require_working(ops(item, backend=backend), SPEC)


def test_a_missing_library_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "albumentations", None)
    with pytest.raises(ConfigError, match=re.escape("pip install 'bunryu[albumentations]'")):
        require_working(AugmentSettings(ops=["hflip"], backend="albumentations"), SPEC)


def test_the_record_says_the_order_and_who_did_it() -> None:
    found = described(ops("vflip", {"rotate": {"degrees": 3}}))
    assert found["backend"] == "torchvision"
    assert found["version"].split(".")[0].isdigit()
    assert [*map(list, found["operations"])] == [["vflip"], ["rotate"]]
    assert described(AugmentSettings(rotate=7))["operations"]["rotate"] == 7.0
