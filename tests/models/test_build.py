"""Any name of either library becomes a classifier: (B, C, H, W) in, (B, K) out, with nothing left of its own head."""

from __future__ import annotations

import dataclasses
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
import timm
import timm.models._builder
import torch
from families import LARGE, TIMM, pair, small
from pydantic import ValidationError
from torch import nn
from torchvision import models

from bunryu.core import console
from bunryu.core.errors import ModelError
from bunryu.models import hub
from bunryu.models.build import (
    build,
    expected_input,
    find,
    has_depthwise,
    libraries_with,
    require_fit,
    size_arguments,
    torchvision_names,
)
from bunryu.models.record import Architecture
from bunryu.settings.data import InputSpec

NOT_ON_META = {"regnet_x_400mf", "regnet_y_400mf"}  # they compute their widths with tensors; larger ones are left out
TORCHVISION = [name for name in torchvision_names() if not name.startswith("regnet_") or name in NOT_ON_META]


def on_meta(name: str, size: tuple[int, int], classes: int, channels: int = 3) -> Any:
    with torch.device("meta"):
        return build(Architecture(name=name, channels=channels, arguments=size_arguments(name, size)), classes).eval()


@pytest.mark.parametrize("name", TORCHVISION)
def test_every_torchvision_model_classifies(name: str) -> None:
    full = f"torchvision/{name}"
    size = expected_input(full).size
    meta = name not in NOT_ON_META
    net = on_meta(full, size, 1000) if meta else build(Architecture(name=full), 1000).eval()
    with torch.no_grad():
        features = net.features(torch.zeros(2, 3, *size, device="meta" if meta else "cpu"))
        assert features.shape == (2, net.head[-1].in_features)
        assert net.head(features).shape == (2, 1000)
    assert no_classifier(net.backbone)


@pytest.mark.parametrize(("name", "size"), [*TIMM.items(), *LARGE.items()])
def test_timm_families_classify(name: str, size: int | tuple[int, int]) -> None:
    net = on_meta(f"timm/{name}", pair(size), 1000)
    features = net.features(torch.zeros(2, 3, *pair(size), device="meta"))
    assert features.shape == (2, net.head[-1].in_features)
    assert net.head(features).shape == (2, 1000)
    assert no_classifier(net.backbone)


def no_classifier(backbone: nn.Module) -> bool:
    return all(p.ndim == 0 or p.shape[0] != 1000 for p in backbone.parameters())


@pytest.mark.parametrize("channels", [1, 3], ids=["grey", "rgb"])
@pytest.mark.parametrize("classes", [2, 1000])
@pytest.mark.parametrize(
    "name", ["scratch_cnn", "timm/fastvit_t8", "timm/repvgg_a0", "timm/crossvit_tiny_240", "torchvision/googlenet"]
)
def test_grey_or_rgb_and_any_class_count(name: str, classes: int, channels: int) -> None:
    size = (32, 40) if name == "scratch_cnn" else expected_input(name).size
    net = on_meta(name, size, classes, channels) if name != "scratch_cnn" else small(name, size, channels, classes)
    device = next(net.parameters()).device
    with torch.no_grad():
        assert net(torch.zeros(2, channels, *size, device=device)).shape == (2, classes)
        if name != "torchvision/googlenet":  # which picks the first three itself
            with pytest.raises(RuntimeError):  # the other number of channels is not taken silently
                net(torch.zeros(2, 4 - channels, *size, device=device))


def test_grey_is_the_sum_of_the_first_convolutions_colours() -> None:
    net = small("torchvision/resnet18", (64, 64), channels=1)
    x = torch.rand(2, 1, 64, 64)
    reference = build(Architecture(name="torchvision/resnet18"), 3).eval()
    reference.load_state_dict(net.state_dict())
    first = reference.backbone.conv1
    first.weight = nn.Parameter(first.weight.sum(dim=1, keepdim=True))
    first.in_channels = 1
    with torch.no_grad():
        torch.testing.assert_close(net(x), reference(x), rtol=1e-4, atol=1e-5)


# scratch_cnn


@pytest.mark.parametrize("batch_norm", [False, True])
@pytest.mark.parametrize("channels", [1, 3])
def test_scratch_cnn_is_the_net_that_is_described(channels: int, batch_norm: bool) -> None:
    net = build(
        Architecture(name="scratch_cnn", channels=channels, dropout=0.2, arguments={"batch_norm": batch_norm}), 5
    )
    kinds = [type(m).__name__ for m in net.modules() if not isinstance(m, nn.Sequential)][1:]
    norm = ["BatchNorm2d"] if batch_norm else []
    block = ["Conv2d", *norm, "ReLU", "MaxPool2d"]
    assert kinds == [*block * 3, "AdaptiveAvgPool2d", "Flatten", "Linear", "ReLU", "Dropout", "Linear"]
    convolutions = [m for m in net.modules() if isinstance(m, nn.Conv2d)]
    assert [(m.in_channels, m.out_channels) for m in convolutions] == [(channels, 32), (32, 64), (64, 128)]
    assert {(m.kernel_size, m.padding, m.stride) for m in convolutions} == {((3, 3), (1, 1), (1, 1))}
    linear = [m for m in net.modules() if isinstance(m, nn.Linear)]
    assert [(m.in_features, m.out_features) for m in linear] == [(128, 128), (128, 5)]
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)] == [0.2]


@pytest.mark.parametrize("size", [(1, 1), (5, 7), (8, 8), (33, 64)])
def test_scratch_cnn_takes_any_size(size: tuple[int, int]) -> None:
    assert small("scratch_cnn", size)(torch.zeros(2, 3, *size)).shape == (2, 3)


def test_dropout_stands_before_the_last_linear_layer_alone() -> None:
    for name in ("timm/efficientnet_b0", "torchvision/efficientnet_b0", "torchvision/mobilenet_v3_small"):
        net = on_meta(name, (64, 64), 3)
        assert [m.p for m in net.head if isinstance(m, nn.Dropout)] == [0.0]
        net = build(Architecture(name="scratch_cnn", dropout=0.5), 3)
        assert [m.p for m in net.head if isinstance(m, nn.Dropout)] == [0.5]
    head = [
        name for name, m in on_meta("torchvision/efficientnet_b0", (64, 64), 3).named_modules() if type(m) is nn.Dropout
    ]
    assert head == ["head.0"]  # the library's own, before its classifier, went with it


# Names


def test_a_bare_name_means_timm_first() -> None:
    assert find("resnet18") == ("timm", "resnet18")
    assert find("torchvision/resnet18") == ("torchvision", "resnet18")
    assert find("timm/resnet18.a1_in1k") == ("timm", "resnet18.a1_in1k")
    assert find("mobilenet_v2") == ("torchvision", "mobilenet_v2")  # timm calls it mobilenetv2_100
    assert find("scratch_cnn") == ("scratch", "scratch_cnn")
    assert libraries_with("resnet18") == ["timm/resnet18", "torchvision/resnet18"]
    assert libraries_with("torchvision/resnet18") == []


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("resnet-18", ["there is no model 'resnet-18'", "Did you mean one of timm/resnet18, torchvision/resnet18?"]),
        ("torchvision/resnet19", ["Did you mean 'torchvision/resnet1"]),
        ("MobileNet", ["Did you mean one of torchvision/mobilenet_v2, timm/mobilenetv", "and ", " more?"]),
        ("EfficientNetB0", ["Did you mean one of timm/efficientnet_b0, torchvision/efficientnet_b0?"]),
        ("torchvision/ViT-B-16", ["Did you mean 'torchvision/vit_b_16'?"]),
        ("mobilenet_v3_larg", ["torchvision/mobilenet_v3_large"]),
        ("resnt18", ["Did you mean 'timm/resnet18' or 'torchvision/resnet18'?"]),
        ("mobilnet_v2", ["Did you mean 'torchvision/mobilenet_v2'?"]),
        ("timm/mobilnetv2_100", ["Did you mean 'timm/mobilenetv2_100'?"]),
        ("zzzzqqqq", ["there is no model 'zzzzqqqq'."]),
        ("keras/resnet18", ["expected timm/NAME, torchvision/NAME or scratch_cnn", "'keras/resnet18'"]),
        ("scratch_cn", ["Did you mean 'scratch_cnn'?"]),
        ("resnet18.a1_in2k", ["no weights 'resnet18.a1_in2k'", "Did you mean 'resnet18.a1_in1k'?", "resnet18.tv_in1k"]),
        ("hf-hub:someone/model", ["expected timm/NAME"]),
        ("", ["there is no model ''"]),
    ],
)
def test_an_unknown_name_is_told_the_nearest(name: str, words: list[str]) -> None:
    with pytest.raises(ModelError) as error:
        find(name)
    assert all(word in str(error.value) for word in words), error.value


def test_only_known_arguments_reach_a_constructor() -> None:
    """A sealed file may come from anyone: its arguments must not make timm unpickle a file."""
    for arguments in ({"checkpoint_path": "evil.pth"}, {"pretrained_cfg_overlay": {"file": "evil.pth"}}):
        with pytest.raises(ValidationError, match="Extra inputs are not permitted"):
            Architecture(name="timm/test_resnet", arguments=arguments)
        unchecked = Architecture(name="timm/test_resnet").model_copy(update={"arguments": arguments})
        with pytest.raises(ModelError, match="there is no argument"):
            build(unchecked, 2)


# Sizes and the input that weights expect


def test_expected_input_of_known_weights() -> None:
    assert expected_input("torchvision/mobilenet_v2").size == (224, 224)
    assert expected_input("torchvision/mobilenet_v2").crop_pct == pytest.approx(224 / 232)
    assert expected_input("torchvision/inception_v3").size == (299, 299)
    assert expected_input("torchvision/vit_h_14").size == (518, 518)
    efficient = expected_input("timm/tf_efficientnetv2_b0")
    assert (efficient.size, efficient.interpolation) == ((224, 224), "bicubic")  # tested larger than it was trained
    assert expected_input("timm/vit_tiny_patch16_224").mean == [0.5, 0.5, 0.5]


def test_expected_input_of_every_model_is_an_input() -> None:
    names = [f"timm/{name}" for name in timm.list_models()] + [f"torchvision/{name}" for name in torchvision_names()]
    for name in names:
        known = expected_input(name)
        spec = dataclasses.asdict(known)
        height, width = spec.pop("size")
        InputSpec(height=height, width=width, **spec)
        assert 0 < known.crop_pct <= 1, name
        assert len(known.mean) == len(known.std) == 3, name
        assert min(known.std) > 0, name


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("timm/vit_tiny_patch16_224", (160, 160)),
        ("timm/vit_tiny_patch16_224", (96, 160)),
        ("timm/swin_tiny_patch4_window7_224", (160, 96)),
        ("torchvision/vit_b_32", (160, 160)),
        ("torchvision/vit_h_14", (518, 518)),
        ("timm/resnet18", (96, 160)),
        ("torchvision/resnet18", (96, 160)),
        ("torchvision/swin_t", (96, 160)),
    ],
)
def test_other_sizes_than_the_weights(name: str, size: tuple[int, int]) -> None:
    net = on_meta(name, size, 3)
    assert net(torch.zeros(2, 3, *size, device="meta")).shape == (2, 3)
    require_fit(net, Architecture(name=name), size)


def test_size_arguments() -> None:
    assert size_arguments("timm/vit_tiny_patch16_224", (224, 224)) == {}
    assert size_arguments("timm/vit_tiny_patch16_224", (96, 160)) == {"img_size": [96, 160]}
    assert size_arguments("torchvision/vit_b_32", (160, 160)) == {"image_size": 160}
    assert size_arguments("torchvision/resnet18", (96, 160)) == size_arguments("scratch_cnn", (9, 9)) == {}
    with pytest.raises(ModelError, match="takes square input only, received 96x160"):
        size_arguments("torchvision/vit_b_32", (96, 160))


@pytest.mark.parametrize(
    ("name", "size", "words"),
    [
        ("torchvision/inception_v3", (32, 32), ["cannot take pictures of 32x32", "made for 299x299"]),
        ("torchvision/maxvit_t", (100, 100), ["cannot take pictures of 100x100", "made for 224x224"]),
        ("timm/qwen3_vit_88m_enc", (768, 768), ["gives features of shape", "cannot classify"]),
    ],
)
def test_a_net_that_cannot_take_the_pictures_is_refused(name: str, size: tuple[int, int], words: list[str]) -> None:
    net = on_meta(name, size, 3).train()
    with pytest.raises(ModelError) as error:
        require_fit(net, Architecture(name=name), size)
    assert all(word in str(error.value) for word in (name, *words)), error.value
    assert net.training


def test_require_fit_changes_nothing() -> None:
    net = small("torchvision/resnet18", (64, 64)).train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    state = torch.get_rng_state()
    require_fit(net, Architecture(name="torchvision/resnet18"), (64, 64))
    assert net.training
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_size_that_the_constructor_refuses_names_the_model() -> None:
    with pytest.raises(ModelError, match=r"torchvision/vit_b_32 cannot be made with .*image_size.* 150"):
        on_meta("torchvision/vit_b_32", (150, 150), 2)


@pytest.mark.parametrize(
    ("name", "depthwise"),
    [
        *((name, True) for name in ("torchvision/mobilenet_v2", "timm/efficientnet_b0", "timm/convnext_atto")),
        *((name, False) for name in ("torchvision/resnet18", "torchvision/resnext50_32x4d", "timm/test_vit")),
    ],
)
def test_depthwise_nets_are_known(name: str, depthwise: bool) -> None:
    assert has_depthwise(on_meta(name, (224, 224), 2)) is depthwise


# Weights from the hub


@pytest.fixture
def empty_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf"))
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    return tmp_path


@pytest.fixture
def no_hub(empty_caches: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "reachable", lambda _: False)


@pytest.fixture
def timm_hub(monkeypatch: pytest.MonkeyPatch) -> dict[str, torch.Tensor]:
    """A hub that answers with the state of a net of timm's; the test may change it."""
    torch.manual_seed(7)
    state: dict[str, torch.Tensor] = timm.create_model("test_resnet").state_dict()
    monkeypatch.setattr(hub, "reachable", lambda _: True)
    monkeypatch.setattr(timm.models._builder, "load_state_dict_from_hf", lambda *_, **__: dict(state))
    return state


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize(
    ("name", "source"),
    [
        ("timm/resnet18", "https://huggingface.co/timm/resnet18.a1_in1k/resolve/main/model.safetensors "),
        ("torchvision/resnet18", "https://download.pytorch.org/models/resnet18-f37072fd.pth"),
        ("timm/legacy_seresnet18", "https://"),
    ],
)
def test_an_unreachable_hub_stops_at_once_and_says_how_to_give_a_file(name: str, source: str) -> None:
    import huggingface_hub.constants

    before, start = huggingface_hub.constants.HF_HUB_OFFLINE, time.monotonic()
    with pytest.raises(ModelError) as error:
        build(Architecture(name=name), 2, pretrained=True)
    words = ["could not be fetched", source, "model.weights=FILE", "model.weights=none", "Nothing was trained"]
    assert all(word in str(error.value) for word in words), error.value
    assert "does not answer, and they are not in the local cache. Nothing" in str(error.value)
    assert "Error" not in str(error.value)
    assert time.monotonic() - start < 5
    assert before == huggingface_hub.constants.HF_HUB_OFFLINE


def test_a_hub_that_never_answers_is_given_up_in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.create_server(("127.0.0.1", 0)) as silent:
        start = time.monotonic()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/"
        assert not hub.reachable(url, seconds=0.2)
        assert time.monotonic() - start < 2
    assert not hub.reachable(url, seconds=0.2)  # nobody there any more
    assert not hub.reachable("http://bunryu.invalid/", seconds=0.2)


def test_a_name_that_is_looked_up_for_ever_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    released = threading.Event()
    monkeypatch.setattr(hub, "urlopen", lambda *_, **__: released.wait(30) and BytesIO())
    start = time.monotonic()
    assert not hub.reachable("http://bunryu.invalid/", seconds=0.1)
    assert time.monotonic() - start < 3
    released.set()


@pytest.fixture
def web_server() -> Iterator[str]:
    class Refusing(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self.send_error(404)

        def log_message(self, *args: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/"
    server.shutdown()
    thread.join()
    server.server_close()


def test_any_answer_of_a_hub_counts(web_server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    assert hub.reachable(web_server, seconds=5)


def test_weights_of_timms_hub_are_in_the_backbone(timm_hub: dict[str, torch.Tensor]) -> None:
    net = build(Architecture(name="timm/test_resnet"), 2, pretrained=True)
    own = net.backbone.state_dict()
    assert set(timm_hub) - set(own) == {"fc.weight", "fc.bias"}
    assert all(torch.equal(value, timm_hub[name]) for name, value in own.items())
    assert hub.weights_name("timm", "test_resnet") == "timm/test_resnet.r160_in1k"


def test_weights_of_the_hub_that_do_not_fill_the_backbone_are_refused(timm_hub: dict[str, torch.Tensor]) -> None:
    del timm_hub["layer1.0.conv1.weight"]
    with pytest.raises(ModelError, match=r"do not fill its backbone: 1 of \d+ tensors are missing \(layer1.0.conv1"):
        build(Architecture(name="timm/test_resnet"), 2, pretrained=True)


def test_a_norm_that_the_hub_lacks_is_told(timm_hub: dict[str, torch.Tensor], monkeypatch: pytest.MonkeyPatch) -> None:
    said: list[str] = []
    monkeypatch.setattr(console, "say", lambda text, **_: said.append(text))
    del timm_hub["bn1.weight"]
    build(Architecture(name="timm/test_resnet"), 2, pretrained=True)
    assert said == ["weights: not on the hub, so they start anew: bn1.weight"]


def test_weights_of_the_hub_with_other_shapes_are_refused(timm_hub: dict[str, torch.Tensor]) -> None:
    timm_hub["layer1.0.conv1.weight"] = torch.zeros(3, 3)
    with pytest.raises(ModelError, match="cannot be made with its weights"):
        build(Architecture(name="timm/test_resnet"), 2, pretrained=True)


def test_a_model_without_weights_says_so() -> None:
    with pytest.raises(ModelError, match=r"convnext_atto_rms.* has no weights on its hub. Give model.weights=FILE"):
        build(Architecture(name="timm/convnext_atto_rms"), 2, pretrained=True)


@pytest.mark.usefixtures("no_hub")
@pytest.mark.parametrize("name", ["resnet18", "inception_v3", "googlenet", "mnasnet0_5"])
def test_torchvisions_weights_come_from_its_cache_without_a_network(name: str, empty_caches: Path) -> None:
    enum = models.get_model_weights(name).DEFAULT
    heads = {"aux_logits": True, "init_weights": False} if name in ("inception_v3", "googlenet") else {}
    state = models.get_model(name, **heads).state_dict()
    cached = empty_caches / "torch" / "hub" / "checkpoints" / Path(enum.url).name
    cached.parent.mkdir(parents=True)
    torch.save(state, cached)
    net = build(Architecture(name=f"torchvision/{name}"), 2, pretrained=True)
    own = net.backbone.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in own.items())
    assert {key.split(".")[0] for key in set(state) - set(own)} <= {"fc", "classifier", "AuxLogits", "aux1", "aux2"}
    assert net.train()(torch.zeros(2, 3, 96, 96)).shape == (2, 2)  # without a second head in training either
    assert hub.weights_name("torchvision", name) == f"torchvision/{enum}"


def test_torchvisions_vit_has_its_positions_resized(monkeypatch: pytest.MonkeyPatch) -> None:
    class Tiny(models.VisionTransformer):
        def __init__(self, image_size: int = 224) -> None:
            super().__init__(image_size, patch_size=16, num_layers=1, num_heads=1, hidden_dim=8, mlp_dim=8)

    torch.manual_seed(0)
    source = Tiny()
    nn.init.normal_(source.encoder.pos_embedding)
    monkeypatch.setattr(hub, "reachable", lambda _: True)
    monkeypatch.setattr(models, "get_model", lambda _, weights=None, **kw: source if weights else Tiny(**kw))
    net = build(Architecture(name="torchvision/vit_b_16", arguments={"image_size": 160}), 2, pretrained=True)
    assert net(torch.zeros(1, 3, 160, 160)).shape == (1, 2)
    own, theirs = net.backbone.state_dict(), source.state_dict()
    assert own["encoder.pos_embedding"].shape == (1, 101, 8)
    assert torch.equal(own["encoder.pos_embedding"][:, 0], theirs["encoder.pos_embedding"][:, 0])
    assert torch.equal(own["conv_proj.weight"], theirs["conv_proj.weight"])


@pytest.mark.parametrize("name", ["scratch_cnn", "timm/test_resnet", "timm/test_vit"])
def test_logits_are_fp32_under_autocast(name: str) -> None:
    """In bf16 many pictures would share one logit, and the order of the classes would decide."""
    torch.manual_seed(0)
    net = build(Architecture(name=name), 3).eval()
    x_BF = torch.randn(2000, net.width)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        logits_BK = net.head(x_BF)
        assert net(torch.zeros(1, 3, 160, 160)).dtype == torch.float32
    assert logits_BK.dtype == torch.float32
    torch.testing.assert_close(logits_BK, net.head(x_BF))
    assert len(logits_BK[:, 0].unique()) > 1_900
