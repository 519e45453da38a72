"""The one forward path: files in, probabilities out, whatever the batch; what cannot be read is named."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torchvision.transforms.v2.functional as tv
from PIL import Image
from torch import nn

from bunryu.core.errors import DeviceError, ImageError, RunError
from bunryu.data.images.sources import as_sources
from bunryu.inference import model as inference
from bunryu.inference.device import autocast, choose_device
from bunryu.inference.model import Model, forward, normalize, probabilities
from bunryu.inference.reading import BATCH, Reading
from bunryu.models.build import build
from bunryu.models.record import Architecture, Decision, Head, Sealed
from bunryu.models.sealed_file import seal
from bunryu.settings.data import DecodeSpec, InputSpec
from bunryu.train.precision import memory_advice

CPU = torch.device("cpu")
CLASSES = ["개미", "bee", "cat"]
NETS = ["scratch_cnn", "timm/test_resnet", "timm/test_efficientnet"]


def sealed(name: str = "timm/test_resnet", *, grey: bool = False, **values: Any) -> Sealed:
    depth = 1 if grey else 3
    return Sealed(
        architecture=Architecture(name=name, channels=depth),
        heads=[Head(column="label", classes=CLASSES)],
        decode=DecodeSpec(),
        input=InputSpec(
            height=32,
            width=40,
            channels="grey" if grey else "rgb",
            mean=[0.485, 0.456, 0.406][:depth],
            std=[0.229, 0.224, 0.225][:depth],
        ),
        **values,
    )


def model(name: str = "timm/test_resnet", *, grey: bool = False, **values: Any) -> Model:
    """Make a model whose answers differ from picture to picture."""
    torch.manual_seed(0)
    record = sealed(name, grey=grey, **values)
    net = build(record.architecture, 3)
    x = torch.randn(16, 1 if grey else 3, 32, 40) * torch.linspace(0.1, 2, 16).view(-1, 1, 1, 1)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.5
    with torch.no_grad():
        for _ in range(3):
            net.train()(x)  # running statistics of their own
        logits = net.eval()(x)
        net.head[-1].weight.mul_(1.5 / logits.std(dim=0).mean())
        net.head[-1].bias.sub_(net(x).mean(dim=0))
    return Model(net, record, CPU)


@pytest.fixture(scope="module")
def pictures() -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, rng.integers(20, 256), (30 + i, 50 - i, 3), np.uint8) for i in range(23)]


# Pixels to numbers


@pytest.mark.parametrize("grey", [False, True])
def test_normalize_is_torchvisions(grey: bool) -> None:
    record = sealed(grey=grey)
    shape = (5, 32, 40, record.input.depth)
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 256, shape, np.uint8))
    before = x.clone()
    y = normalize(x, record.input)
    expected = tv.normalize(tv.to_dtype(x.permute(0, 3, 1, 2), scale=True), record.input.mean, record.input.std)
    torch.testing.assert_close(y, expected, rtol=1e-6, atol=1e-6)
    assert y.dtype == torch.float32
    assert y.is_contiguous(memory_format=torch.channels_last)
    assert torch.equal(x, before)


def test_probabilities_are_softmax_at_the_temperature() -> None:
    logits = torch.tensor([[1.0, 2.0, 4.0], [1000.0, -1000.0, 0.0]])
    torch.testing.assert_close(probabilities(logits, Decision()), logits.softmax(1))
    torch.testing.assert_close(probabilities(logits, Decision(temperature=2.0)), (logits / 2).softmax(1))
    assert probabilities(logits, Decision()).sum(1).tolist() == pytest.approx([1, 1])


# Batches


@pytest.mark.parametrize("grey", [False, True])
@pytest.mark.parametrize("name", NETS)
def test_the_batch_does_not_matter_in_fp32(name: str, grey: bool, pictures: list[np.ndarray]) -> None:
    ours = model(name, grey=grey)
    whole = ours.probabilities(pictures)
    assert whole.shape == (23, 3)
    assert whole.dtype == np.float32
    assert whole.std(axis=0).max() > 0.01
    for batch_size in (1, 5, 64):
        np.testing.assert_allclose(ours.probabilities(pictures, batch_size=batch_size), whole, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", NETS)
def test_the_batch_hardly_matters_in_bf16(name: str, pictures: list[np.ndarray]) -> None:
    ours = model(name, precision="bf16")
    whole = ours.probabilities(pictures)
    assert whole.dtype == np.float32
    for batch_size in (1, 5):
        np.testing.assert_allclose(ours.probabilities(pictures, batch_size=batch_size), whole, rtol=0, atol=2e-2)
    np.testing.assert_allclose(whole, model(name).probabilities(pictures), rtol=0, atol=0.1)


@pytest.mark.parametrize(("precision", "dtype"), [("fp32", "float32"), ("bf16", "bfloat16"), ("fp16", "float16")])
def test_the_net_computes_at_the_sealed_precision(precision: Any, dtype: str) -> None:
    seen: list[torch.dtype] = []

    class Watching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear = nn.Linear(32 * 40 * 3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.linear(x.flatten(1))
            seen.append(found.dtype)
            return found

    logits = forward(Watching().eval(), torch.zeros(2, 32, 40, 3, dtype=torch.uint8), sealed().input, precision)
    assert [str(dtype) for dtype in seen] == [f"torch.{dtype}"]
    assert logits.dtype == torch.float32
    assert not logits.requires_grad
    with autocast(CPU, precision):
        assert torch.is_autocast_enabled("cpu") is (precision != "fp32")


def test_the_same_files_give_the_same_bits(pictures: list[np.ndarray]) -> None:
    ours = model()
    assert np.array_equal(ours.probabilities(pictures), ours.probabilities(pictures))
    assert BATCH == 32


def test_probabilities_by_hand(pictures: list[np.ndarray]) -> None:
    """Decode, fit, scale, shift, net, softmax: nothing else."""
    from bunryu.data.images.decode import load

    ours = model()
    pixels = np.stack([load(picture, ours.sealed.decode, ours.sealed.input) for picture in pictures[:4]])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (ours.sealed.input.mean, ours.sealed.input.std))
    with torch.no_grad():
        expected = ours.net((x - mean) / std).softmax(1).numpy()
    np.testing.assert_allclose(ours.probabilities(pictures[:4]), expected, rtol=0, atol=1e-5)


def test_a_net_left_in_training_mode_is_put_right(pictures: list[np.ndarray]) -> None:
    ours = model()
    expected = ours.probabilities(pictures)
    ours.net.train()
    assert np.array_equal(ours.probabilities(pictures), expected)
    assert all(p.grad is None for p in ours.net.parameters())


# Sources


def png(picture: np.ndarray) -> bytes:
    buffer = BytesIO()
    Image.fromarray(picture).save(buffer, "PNG")
    return buffer.getvalue()


def test_paths_bytes_and_arrays_give_the_same(pictures: list[np.ndarray], tmp_path: Path) -> None:
    ours, path = model(), tmp_path / "한글 이름.png"
    path.write_bytes(png(pictures[0]))
    expected = ours.probabilities(pictures[0])
    assert expected.shape == (1, 3)
    for source in (path, str(path), path.read_bytes(), [path], [pictures[0]], pictures[0][None]):
        assert np.array_equal(ours.probabilities(source), expected)


def test_several_in_one_array(pictures: list[np.ndarray]) -> None:
    many = np.stack([picture[:30, :28] for picture in pictures[:4]])
    assert len(as_sources(many)) == 4
    assert model().probabilities(many).shape == (4, 3)
    assert model().probabilities([]).shape == (0, 3)


def test_what_cannot_be_read_is_left_out_and_named(pictures: list[np.ndarray]) -> None:
    ours = model()
    sources: list[Any] = [*pictures]
    sources[3], sources[10] = b"not a picture", png(pictures[10])[:300]
    rows = np.random.default_rng(1).permutation(23)
    found = ours.infer(sources.__getitem__, rows, Reading(batch_size=4))
    assert sorted(found.failed) == [3, 10]
    assert all(found.failed.values())
    assert found.rows.tolist() == [row for row in rows if row not in (3, 10)]
    assert found.probs_NK.shape == (21, 3)
    np.testing.assert_allclose(found.probs_NK, ours.probabilities(pictures)[found.rows], rtol=0, atol=1e-5)


def test_a_whole_batch_that_cannot_be_read() -> None:
    found = model().infer(lambda _: b"no", np.arange(5), Reading(batch_size=2))
    assert (found.rows.shape, found.probs_NK.shape) == ((0,), (0, 3))
    assert sorted(found.failed) == [0, 1, 2, 3, 4]


def test_a_picture_given_by_hand_that_cannot_be_read_is_an_error(pictures: list[np.ndarray], tmp_path: Path) -> None:
    missing = tmp_path / "missing.png"
    with pytest.raises(ImageError) as error:
        model().probabilities([pictures[0], b"no", missing])
    assert "image 1: " in str(error.value)
    assert f"{missing}: " in str(error.value)


def test_predict_is_a_table(pictures: list[np.ndarray]) -> None:
    ours = model()
    frame, probs = ours.predict(pictures), ours.probabilities(pictures)
    assert list(frame) == ["path", "pred", "conf", "p_개미", "p_bee", "p_cat"]
    assert frame["pred"].tolist() == [CLASSES[k] for k in probs.argmax(1)]
    assert np.array_equal(frame["conf"], probs.max(1))
    assert len(ours.predict([])) == 0


@pytest.mark.parametrize(
    "ran_out",
    [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("can't allocate memory: 9 GB"), MemoryError()],
)
def test_out_of_memory_says_what_to_lower(
    pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch, ran_out: Exception
) -> None:
    ours = model()

    def fail(*_: Any) -> None:
        raise ran_out

    monkeypatch.setattr(inference, "forward", fail)
    with pytest.raises(DeviceError, match=r"batch size of 8\. Lower the batch size \(predict: --batch-size 4\)\. "):
        ours.predict(pictures, batch_size=8)
    with pytest.raises(DeviceError, match=r"batch size of 1\. Free some memory"):
        ours.predict(pictures, batch_size=1)
    with pytest.raises(DeviceError, match=r"train\.batch_size=6\..*train\.batch_size=3 "), memory_advice(6):
        ours.predict(pictures)
    gpu = pytest.raises(DeviceError, match=r"on cuda .*--batch-size 4\), or compute with --device cpu")
    with gpu, inference.memory_advice(8, torch.device("cuda")):
        fail()


def test_other_errors_of_the_net_pass(pictures: list[np.ndarray], monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: Any) -> None:
        raise RuntimeError("shape mismatch")

    monkeypatch.setattr(inference, "forward", fail)
    with pytest.raises(RuntimeError, match="shape mismatch"):
        model().predict(pictures)


# Opening


def test_a_model_file_or_its_folder_opens(pictures: list[np.ndarray], tmp_path: Path) -> None:
    ours = model()
    seal(tmp_path / "model.safetensors", ours.net, ours.sealed)
    for path in (tmp_path, str(tmp_path), tmp_path / "model.safetensors"):
        opened = Model.open(path, device="cpu")
        assert opened.classes == CLASSES
        assert np.array_equal(opened.probabilities(pictures), ours.probabilities(pictures))
    assert repr(opened) == "Model(timm/test_resnet, 3 classes, 32x40 rgb, fp32, cpu)"
    with pytest.raises(RunError, match=r"There is no model file .*modle\.safetensors\. Did you mean '.*/model\.s"):
        Model.open(tmp_path / "modle.safetensors")
    with pytest.raises(RunError, match="There is no run folder"):
        Model.open(tmp_path / "nowhere")


def test_devices(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)
    assert choose_device() == choose_device("cpu") == CPU
    with pytest.raises(DeviceError, match=r"cuda is not available here \(there is: cpu\)\. Use --device auto \("):
        choose_device("cuda")
    with pytest.raises(DeviceError, match=r"Use train\.device=auto\.$"):
        choose_device("cuda", mend="train.device=auto")
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: True)
    assert choose_device().type == "mps"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device().type == "cuda"
    assert choose_device("cpu") == CPU


@pytest.mark.parametrize("decision", [Decision(), Decision(temperature=1.7, logit_offsets=[0.3, -0.2, 1.1])])
def test_kept_logits_are_decided_to_the_same_bits(pictures: list[np.ndarray], decision: Decision) -> None:
    ours = model()
    rows = np.arange(70) % len(pictures)
    said = ours.infer(pictures.__getitem__, rows, Reading(logits=True))
    assert said.logits_NC is not None
    assert said.logits_NC.shape == (70, 3)
    ours.sealed = ours.sealed.model_copy(update={"decision": decision})
    expected = ours.infer(pictures.__getitem__, rows)
    assert expected.logits_NC is None
    assert np.array_equal(ours.decided(said).probs_NK, expected.probs_NK)
    assert np.array_equal(said.probs_NK, expected.probs_NK) == (decision == Decision())
