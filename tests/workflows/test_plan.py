"""What is decided before the first step: network, weights, input, normalisation, precision."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from bunryu.core import console
from bunryu.core.errors import BunryuError, ConfigError, DataError, DeviceError, ModelError
from bunryu.data.images.statistics import mean_and_std
from bunryu.data.table import Table, texts
from bunryu.models import hub
from bunryu.models.build import IMAGENET_MEAN, IMAGENET_STD, build, size_arguments
from bunryu.models.record import Architecture, Sealed
from bunryu.models.sealed_file import seal
from bunryu.runs.folder import RunFolder
from bunryu.settings.config import load_yaml
from bunryu.settings.data import DecodeSpec, InputSpec
from bunryu.settings.load import load_settings
from bunryu.settings.run import RunSettings, absolute, whole_stages
from bunryu.settings.validate import build as build_settings
from bunryu.train.precision import choose_precision
from bunryu.workflows import train
from bunryu.workflows.plan.decide import make_plan
from bunryu.workflows.plan.plan import Plan
from bunryu.workflows.plan.record import write_config

SCRATCH = ("model.name=scratch_cnn", "train.epochs=2", "train.device=cpu")
TINY = ("model.name=test_resnet", "model.weights=none", "train.device=cpu")
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory, make_images: Callable[..., Path]) -> Path:
    return make_images(tmp_path_factory.mktemp("photos"), {"ant": 8, "bee": 6, "cat": 6}, size=24)


def settings_of(source: Path, *pairs: str) -> RunSettings:
    return absolute(load_settings(pairs, values={"data": {"source": str(source)}}))


def plan_of(source: Path, *pairs: str) -> Plan:
    return make_plan(settings_of(source, *pairs))


def given(path: Path, name: str = "timm/test_resnet") -> Path:
    """Save weights of the library's own naming to `path`."""
    torch.manual_seed(3)
    torch.save(build(Architecture(name=name), 2).backbone.state_dict(), path)
    return path


def donate(source: Path, folder: Path, *pairs: str) -> Plan:
    """Make a run folder with a sealed model of the settings in `pairs`."""
    folder.mkdir()
    plan = plan_of(source, *pairs)
    with torch.no_grad():
        for parameter in plan.net.parameters():
            parameter.add_(0.01)
    seal(folder / "model.safetensors", plan.net, plan.sealed)
    return plan


# Classes, rows, what is told


def test_everything_is_decided(photos: Path) -> None:
    plan = plan_of(photos, *SCRATCH, "split.val=0.25", "split.test=0.2")
    assert plan.classes == ["ant", "bee", "cat"] == plan.sealed.classes
    assert sum(len(plan.table.split(name)) for name in ("train", "val", "test")) == len(plan.table) == 20
    assert plan.sealed.architecture == Architecture(name="scratch_cnn", dropout=0.2, arguments={"batch_norm": False})
    head = plan.net.head[-1]
    assert (head.in_features, head.out_features) == (128, 3)
    assert plan.sealed.provenance["weights"] == "none: from scratch"
    assert plan.sealed.provenance["seed"] == 0
    told = plan.decisions.told()
    assert " ".join(told) == "model weights classes images rows input device recipe learning pictures"
    assert told["learning"].startswith("cross-entropy loss")
    assert told["weights"] == "none: from scratch"
    assert told["classes"] == "3: ant, bee, cat"
    assert told["rows"].startswith("train ")
    assert told["recipe"] == "scratch"


def test_the_default_network_is_named_in_the_facts_and_in_the_settings_of_the_run(photos: Path) -> None:
    plan = plan_of(photos, "model.weights=none", "input.size=32")
    assert plan.decisions.told()["model"].startswith("timm/tf_efficientnetv2_b0, 5,8")
    assert plan.decisions.told()["input"] == "32x32 rgb, crop; mean and std of the training rows"
    assert plan.settings.model.name == "timm/tf_efficientnetv2_b0"


def test_a_bare_name_is_sealed_with_its_library(photos: Path) -> None:
    plan = plan_of(photos, *TINY, "input.size=32")
    assert plan.sealed.architecture.name == plan.settings.model.name == "timm/test_resnet"


def test_weights_are_settled_before_the_images_are_looked_at(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bunryu.workflows.plan.data.check_images", lambda *_, **__: pytest.fail("looked at images"))
    with pytest.raises(DataError, match="There is no file or folder"):
        plan_of(tmp_path / "nowhere", f"model.weights={tmp_path / 'missing.pth'}")
    with pytest.raises(ModelError, match=r"there is no file or run folder .*missing.pth. Expected imagenet, none"):
        plan_of(photos, f"model.weights={tmp_path / 'missing.pth'}")
    monkeypatch.setattr(hub, "reachable", lambda _: False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    with pytest.raises(ModelError, match=r"tf_efficientnetv2_b0.* could not be fetched"):
        plan_of(photos)


def test_the_same_seed_gives_the_same_start(photos: Path) -> None:
    def start(*pairs: str) -> dict[str, torch.Tensor]:
        return dict(plan_of(photos, *SCRATCH, *pairs).net.state_dict())

    first, again, other = start(), start("split.seed=4"), start("train.seed=1")
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert not torch.equal(first["backbone.0.weight"], other["backbone.0.weight"])
    assert not torch.equal(first["head.1.weight"], other["head.1.weight"])


def test_the_heads_draw_depends_on_the_seed_alone(photos: Path, tmp_path: Path) -> None:
    """Not on where the backbone's weights came from, nor on what was drawn for it."""
    own = donate(photos, tmp_path / "run", *TINY, "input.size=32")
    pairs = ("model.name=test_resnet", "input.size=32")
    for weights in (given(tmp_path / "w.pth"), tmp_path / "run"):
        plan = plan_of(photos, *pairs, f"model.weights={weights}")
        torch.testing.assert_close(plan.net.head[-1].weight, own.net.head[-1].weight - 0.01)
    assert torch.equal(plan_of(photos, *TINY, "input.size=32").net.head[-1].weight, plan.net.head[-1].weight)


def test_no_validation_rows_are_refused_with_the_mend(photos: Path) -> None:
    with pytest.raises(BunryuError, match=r"train\.monitor=train_epochs"):
        plan_of(photos, *SCRATCH, "split.val=0")
    assert len(plan_of(photos, *SCRATCH, "split.val=0", "train.monitor=train_epochs").table.split("val")) == 0


def test_paths_become_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = settings_of(Path("photos"), "model.weights=w.pth", "data.val=v", "split.file=s.csv")
    assert made.data.source == str(tmp_path / "photos")
    assert (made.data.val, made.data.test) == (str(tmp_path / "v"), None)
    assert made.split.file == str(tmp_path / "s.csv")
    assert made.model.weights == str(tmp_path / "w.pth")
    assert settings_of(Path("photos"), "model.weights=none").model.weights == "none"
    assert "name" not in made.model.model_fields_set


def test_whole_stages() -> None:
    stages = whole_stages(load_settings(("train.epochs=10",), recipe="default"))
    assert [(stage.name, stage.epochs) for stage in stages] == [("head", 1), ("all", 10)]


def test_a_dry_run_takes_the_first_batch_and_makes_no_run(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    monkeypatch.setattr(console, "say", lambda text, **_: said.append(text))
    monkeypatch.chdir(tmp_path)
    train.dry_run(settings_of(photos, *SCRATCH, "train.batch_size=5", "input.size=20x28"))
    assert "first batch: (5, 20, 28, 3) uint8 -> (5, 3) scores of classes (logits)" in said
    assert list(tmp_path.iterdir()) == []


# The input: size, crop, mean and std


def test_the_size_comes_from_the_weights(photos: Path, tmp_path: Path) -> None:
    weights = given(tmp_path / "w.pth", "timm/mobilenetv3_small_050")
    spec = plan_of(photos, "model.name=mobilenetv3_small_050", f"model.weights={weights}").sealed.input
    assert (spec.height, spec.width, spec.crop_pct, spec.interpolation) == (224, 224, 0.875, "bicubic")


@pytest.mark.parametrize(("side", "expected"), [(24, 32), (50, 56), (64, 64), (300, 128)])
def test_from_scratch_the_size_comes_from_the_data(side: int, expected: int, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for i in range(4):
            pixels = np.random.default_rng([i, ord(name)]).integers(0, 255, (side, side + 30, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{i}.png")
    spec = plan_of(tmp_path, *SCRATCH).sealed.input
    assert (spec.height, spec.width, spec.crop_pct, spec.interpolation) == (expected, expected, 1.0, "bilinear")


def test_a_size_asked_for_wins(photos: Path) -> None:
    spec = plan_of(photos, *TINY, "input.size=96x160", "input.crop_pct=0.8", "input.interpolation=nearest").sealed.input
    assert (spec.height, spec.width, spec.crop_pct, spec.interpolation) == (96, 160, 0.8, "nearest")


def test_only_a_crop_has_a_share(photos: Path) -> None:
    assert plan_of(photos, *TINY, "input.fit=stretch", "input.size=32").sealed.input.crop_pct == 1.0


def test_a_net_made_for_one_size_is_made_for_the_size_asked(photos: Path) -> None:
    plan = plan_of(photos, "model.name=vit_tiny_patch16_224", "model.weights=none", "input.size=96x160")
    assert plan.sealed.architecture.arguments == {"img_size": [96, 160]}


def test_a_net_whose_weights_want_another_size_than_its_default_is_made_for_theirs(
    monkeypatch: pytest.MonkeyPatch, photos: Path
) -> None:
    from bunryu.models.initial import choose_architecture

    monkeypatch.setattr("bunryu.models.initial.size_arguments", seen := Seen(size_arguments))
    made, _ = choose_architecture(settings_of(photos, "model.name=torchvision/vit_h_14"))
    assert made.arguments == {"image_size": 518}
    assert seen.calls == [("torchvision/vit_h_14", (518, 518))]


class Seen:
    def __init__(self, function: Any) -> None:
        self.function, self.calls = function, []

    def __call__(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        return self.function(*arguments)


def test_a_size_the_net_cannot_take_is_told_before_training(photos: Path) -> None:
    with pytest.raises(ModelError, match=r"torchvision/maxvit_t cannot take pictures of 60x60: .* made for 224x224"):
        plan_of(photos, "model.name=torchvision/maxvit_t", "model.weights=none", "input.size=60")


def test_normalisation_of_the_weights(photos: Path, tmp_path: Path) -> None:
    plan = plan_of(
        photos,
        "model.name=vit_tiny_patch16_224",
        f"model.weights={given(tmp_path / 'w.pth', 'timm/vit_tiny_patch16_224')}",
    )
    assert (plan.sealed.input.mean, plan.sealed.input.std) == ([0.5] * 3, [0.5] * 3)
    assert plan.decisions.told()["input"].endswith("mean and std of the weights")


def test_normalisation_of_imagenet(photos: Path) -> None:
    plan = plan_of(photos, *SCRATCH, "input.normalize=imagenet")
    assert (plan.sealed.input.mean, plan.sealed.input.std) == (IMAGENET_MEAN, IMAGENET_STD)


def test_normalisation_by_given_numbers(photos: Path) -> None:
    plan = plan_of(photos, *SCRATCH, "input.mean=[0.1, 0.2, 0.3]", "input.std=[1, 2, 3]")
    assert (plan.sealed.input.mean, plan.sealed.input.std) == ([0.1, 0.2, 0.3], [1, 2, 3])
    assert plan.decisions.told()["input"].endswith("mean and std as given")


def test_normalisation_of_the_training_rows_by_hand(photos: Path) -> None:
    plan = plan_of(photos, *SCRATCH, "input.size=24")
    rows = plan.table.split("train")
    assert 0 < len(rows) < len(plan.table)
    pixels = np.stack([np.asarray(Image.open(plan.table.file(row)), np.float64) for row in rows]) / 255
    assert plan.sealed.input.mean == pytest.approx(pixels.mean(axis=(0, 1, 2)).tolist(), abs=1e-6)
    assert plan.sealed.input.std == pytest.approx(pixels.std(axis=(0, 1, 2)).tolist(), abs=1e-6)


def test_grey_normalisation_of_the_training_rows_by_hand(photos: Path) -> None:
    plan = plan_of(photos, *SCRATCH, "input.size=24", "input.channels=grey")
    pixels = np.stack(
        [np.asarray(Image.open(plan.table.file(r)).convert("L"), np.float64) for r in plan.table.split("train")]
    )
    assert plan.sealed.input.mean == pytest.approx([pixels.mean() / 255], abs=1e-6)
    assert plan.sealed.input.std == pytest.approx([pixels.std() / 255], abs=1e-6)
    assert plan.sealed.architecture.channels == 1


def test_grey_takes_the_mean_of_the_weights_colours(photos: Path, tmp_path: Path) -> None:
    weights = given(tmp_path / "w.pth", "timm/mobilenetv3_small_050")
    plan = plan_of(photos, "model.name=mobilenetv3_small_050", f"model.weights={weights}", "input.channels=grey")
    assert plan.sealed.input.mean == pytest.approx([np.mean(IMAGENET_MEAN)])
    assert plan.sealed.input.std == pytest.approx([np.mean(IMAGENET_STD)])
    assert plan.net.eval()(torch.zeros(2, 1, 64, 64)).shape == (2, 3)


def test_pictures_of_one_colour_do_not_divide_by_zero(tmp_path: Path) -> None:
    Image.new("RGB", (16, 16), (10, 20, 30)).save(tmp_path / "a.png")
    table = Table(tmp_path, texts(["a.png"]), {"label": texts(["a"])}, texts(["train"]))
    spec = InputSpec(height=8, width=8, mean=[0.0] * 3, std=[1.0] * 3)
    mean, std = mean_and_std(table, DecodeSpec(), spec, seed=0, workers=1)
    assert mean == pytest.approx([10 / 255, 20 / 255, 30 / 255], abs=1e-6)
    assert std == [0.01] * 3


def test_of_many_rows_a_named_draw_is_measured(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def measured(seed: int) -> list[float]:
        return mean_and_std(table, DecodeSpec(), spec, seed=seed, workers=1)[0]

    table = plan_of(photos, *SCRATCH).table
    spec = InputSpec(height=24, width=24, mean=[0.0] * 3, std=[1.0] * 3)
    whole = measured(0)
    monkeypatch.setattr("bunryu.data.images.statistics._ROWS", 6)
    assert measured(0) == measured(0) != measured(1)
    assert measured(0) == pytest.approx(whole, abs=0.1)
    assert measured(0) != whole


@pytest.mark.parametrize("pairs", [SCRATCH, TINY])
def test_without_weights_there_is_no_normalisation_of_theirs(pairs: tuple[str, ...], photos: Path) -> None:
    with pytest.raises(ConfigError, match=r"input.normalize=weights: there are no pretrained weights. Use train or"):
        plan_of(photos, *pairs, "input.normalize=weights")


# model.weights=RUN


def test_a_run_gives_its_network_and_input(photos: Path, tmp_path: Path) -> None:
    donor = donate(photos, tmp_path / "run", *TINY, "input.size=40x48", "input.fit=stretch")
    plan = plan_of(photos, f"model.weights={tmp_path / 'run'}", "model.dropout=0.4", "input.fit=stretch")
    assert plan.sealed.architecture == donor.sealed.architecture.model_copy(update={"dropout": 0.4})
    assert plan.sealed.input == donor.sealed.input
    own, theirs = plan.net.backbone.state_dict(), donor.net.backbone.state_dict()
    assert all(torch.equal(value, theirs[key]) for key, value in own.items())
    assert not torch.equal(plan.net.head[-1].weight, donor.net.head[-1].weight)
    assert plan.decisions.told()["weights"].endswith(
        f"all {len(own)} tensors of the backbone loaded; left out, as the head is new: the head of that run"
    )
    assert plan.sealed.provenance["weights"] == str(tmp_path / "run" / "model.safetensors")
    by_file = plan_of(photos, f"model.weights={tmp_path / 'run' / 'model.safetensors'}", "input.fit=stretch")
    assert by_file.sealed.input == donor.sealed.input


@pytest.mark.parametrize(
    "pairs",
    [
        ("model.name=scratch_cnn", "model.batch_norm=true"),
        ("model.name=vit_tiny_patch16_224", "model.weights=none", "input.size=96x160"),
        ("model.name=torchvision/mnasnet0_5", "model.weights=none", "input.size=64"),
    ],
)
def test_a_run_started_from_a_run_seals_a_file_that_opens(pairs: tuple[str, ...], photos: Path, tmp_path: Path) -> None:
    """The record must describe the net that there is, not the one that settings would make."""
    from bunryu.models.sealed_file import open_sealed

    donor = donate(photos, tmp_path / "run", *pairs)
    plan = plan_of(photos, f"model.weights={tmp_path / 'run'}")
    assert plan.sealed.architecture.arguments == donor.sealed.architecture.arguments
    seal(tmp_path / "new.safetensors", plan.net, plan.sealed)
    open_sealed(tmp_path / "new.safetensors")


def test_a_run_from_a_run_can_be_planned_again_from_its_written_settings(photos: Path, tmp_path: Path) -> None:
    """Resuming before the first checkpoint reads config.yaml, in which every setting stands."""
    donate(photos, tmp_path / "run", "model.name=scratch_cnn", "model.batch_norm=true")
    plan = plan_of(photos, f"model.weights={tmp_path / 'run'}")
    folder = RunFolder(tmp_path / "new")
    folder.path.mkdir()
    write_config(folder, plan.settings)
    read = build_settings(RunSettings, [load_yaml(folder.config)])
    again = make_plan(read)
    assert again.sealed == plan.sealed
    assert all(torch.equal(value, again.net.state_dict()[key]) for key, value in plan.net.state_dict().items())


def test_another_network_than_the_runs_is_refused(photos: Path, tmp_path: Path) -> None:
    donate(photos, tmp_path / "run", *TINY, "input.size=32")
    weights = f"model.weights={tmp_path / 'run'}"
    with pytest.raises(ModelError, match=r"is a timm/test_resnet, not a resnet18. Leave model.name out"):
        plan_of(photos, weights, "model.name=resnet18")
    with pytest.raises(ModelError, match=r"takes rgb pictures; set input.channels=rgb \(it is grey\)"):
        plan_of(photos, weights, "input.channels=grey")
    for name in ("test_resnet", "timm/test_resnet"):
        assert plan_of(photos, weights, f"model.name={name}").sealed.architecture.name == "timm/test_resnet"


def test_a_run_of_the_other_library_may_be_named_barely(photos: Path, tmp_path: Path) -> None:
    donate(photos, tmp_path / "run", "model.name=torchvision/resnet18", "model.weights=none", "input.size=32")
    plan = plan_of(photos, f"model.weights={tmp_path / 'run'}", "model.name=resnet18")
    assert plan.sealed.architecture.name == "torchvision/resnet18"


def test_other_sizes_and_options_than_the_runs_are_refused(photos: Path, tmp_path: Path) -> None:
    donate(photos, tmp_path / "vit", "model.name=vit_tiny_patch16_224", "model.weights=none", "input.size=96x160")
    with pytest.raises(ModelError, match=r"has weights for 96x160 alone, not for 64x64. Leave input.size out"):
        plan_of(photos, f"model.weights={tmp_path / 'vit'}", "input.size=64")
    assert plan_of(photos, f"model.weights={tmp_path / 'vit'}", "input.size=96x160").sealed.input.width == 160
    donate(photos, tmp_path / "scratch", *SCRATCH)
    with pytest.raises(ModelError, match=r"has model.batch_norm=false. Leave the setting out"):
        plan_of(photos, f"model.weights={tmp_path / 'scratch'}", "model.name=scratch_cnn", "model.batch_norm=true")
    assert plan_of(photos, f"model.weights={tmp_path / 'scratch'}", "input.size=40").sealed.input.width == 40


def test_a_folder_that_is_no_run_is_refused(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ModelError, match=r"is not a run folder\. Expected imagenet, none"):
        plan_of(photos, f"model.weights={tmp_path / 'empty'}")


def test_a_damaged_sealed_file_is_one_error(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "m.safetensors"
    path.write_bytes(b"nothing")
    with pytest.raises(ModelError, match="it is damaged"):
        plan_of(photos, *TINY[:1], f"model.weights={path}")


# Precision


def capabilities(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: dict.fromkeys(names, True) | {"avx2": True})


PLAIN = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=2))
DEPTHWISE = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3, groups=8))


@pytest.mark.parametrize("capability", ["amx_bf16", "avx512_bf16"])
def test_a_cpu_that_computes_in_bf16_uses_it_but_for_depthwise_nets(
    capability: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    capabilities(monkeypatch, capability)
    assert choose_precision("auto", CPU, PLAIN)[0] == "bf16"
    assert choose_precision("auto", CPU, DEPTHWISE) == (
        "fp32",
        "depthwise convolutions train slowly in bf16 on many CPUs",
    )
    assert choose_precision("bf16", CPU, DEPTHWISE) == ("bf16", "as asked")
    assert choose_precision("fp32", CPU, PLAIN) == ("fp32", "as asked")


def test_small_pictures_are_trained_in_fp32_on_the_cpu(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities(monkeypatch, "amx_bf16")
    assert choose_precision("auto", CPU, PLAIN, 32)[0] == "bf16"
    assert choose_precision("auto", CPU, PLAIN, 31)[0] == "fp32"
    assert plan_of(photos, *SCRATCH, "input.size=64x28").sealed.precision == "fp32"


@pytest.mark.parametrize("names", [(), ("amx_int8", "avx512_fp16", "avx512_f")])
def test_any_other_cpu_uses_fp32(names: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities(monkeypatch, *names)
    assert choose_precision("auto", CPU, PLAIN) == ("fp32", "the device has no fast bf16")


def test_an_earlier_torch_that_does_not_know_the_cpu_uses_fp32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities")
    assert choose_precision("auto", CPU, PLAIN)[0] == "fp32"


def test_fp16_on_the_cpu_is_refused(photos: Path) -> None:
    with pytest.raises(DeviceError, match=r"train.precision=fp16 needs a GPU. On the CPU use bf16 or fp32"):
        plan_of(photos, *SCRATCH, "train.precision=fp16")


def test_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    cuda = torch.device("cuda")
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation)
    assert choose_precision("auto", cuda, PLAIN)[0] == "fp16"
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda **_: True)
    assert choose_precision("auto", cuda, DEPTHWISE)[0] == "bf16"
    assert choose_precision("fp16", cuda, PLAIN)[0] == "fp16"
    assert choose_precision("auto", torch.device("mps"), PLAIN)[0] == "fp32"


def test_the_precision_is_sealed_and_said(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    capabilities(monkeypatch, "amx_bf16")
    plan = plan_of(photos, *SCRATCH)
    assert isinstance(plan.sealed, Sealed)
    assert plan.sealed.precision == "bf16"
    assert plan.decisions.told()["device"] == "cpu, bf16 (the CPU computes in it)"
