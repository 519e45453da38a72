"""What training does to the weights: it learns what is there, and nothing else."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from bunryu import api
from bunryu.core.errors import ConfigError, DeviceError
from bunryu.core.storage import read_json, read_jsonl
from bunryu.inference.model import Model
from bunryu.models.build import build
from bunryu.models.classifier import Classifier
from bunryu.models.record import Architecture
from bunryu.settings.stages import OptimSettings, Stage
from bunryu.settings.train import LossSettings
from bunryu.train import loop, precision
from bunryu.train.feed import Pictures
from bunryu.train.losses import Loss, class_weights
from bunryu.train.optim import create_optimizer
from bunryu.train.stages import epoch_batches, freeze, training_mode
from bunryu.workflows import train as experiment

FP32 = ("model.name=scratch_cnn", "train.device=cpu", "input.size=16", "train.threads=1", "train.precision=fp32")
SMALL = (*FP32, "train.batch_size=8", "evaluate.bootstrap=0")
BATCH_NORM = (*SMALL, "model.batch_norm=true")
ALL = Stage(name="all")
HEAD = Stage(name="head", freeze="backbone")


@pytest.fixture(scope="module")
def photos(make_images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of 16 pictures; three quarters of them, 24, are trained on with split.val=0.25."""
    return make_images(tmp_path_factory.mktemp("photos") / "photos", {"a": 16, "b": 16})


@pytest.fixture
def train(tmp_path: Path) -> Callable[..., Path]:
    """Train into the next folder and return it."""

    def trained(data: Path, *pairs: str) -> Path:
        out = tmp_path / f"run{sum(1 for _ in tmp_path.glob('run*'))}"
        return api.train(data, *pairs, out=out, quiet=True).path

    return trained


def weights(run: Path) -> dict[str, torch.Tensor]:
    return load_file(run / "model.safetensors")


def same(one: Mapping[str, torch.Tensor], other: Mapping[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class TestWhatIsLearned:
    @pytest.fixture(scope="class")
    @classmethod
    def pictures(cls, make_images, tmp_path_factory: pytest.TempPathFactory) -> Path:
        return make_images(tmp_path_factory.mktemp("learn") / "photos", {"a": 40, "b": 40, "c": 40})

    def learned(self, folder: Path, labels: Iterable[str], run: Callable[..., Path]) -> tuple[float, dict[str, Any]]:
        """Train until everything is known by heart; return the last training accuracy and the measures of test."""
        table = folder.with_name("table.csv")
        with table.open("w", newline="", encoding="utf-8") as file:
            rows = zip(sorted(folder.glob("*/*.png")), labels, strict=True)
            csv.writer(file).writerows([["image", "label"], *rows])
        learn = (*FP32, "model.batch_norm=true", "train.epochs=25", "train.batch_size=16", "train.monitor=train_loss")
        out = run(table, *learn, "optim.lr=3e-3", "augment.crop_scale=null", "augment.hflip=0", "split.test=0.4")
        return read_jsonl(out / "history.jsonl")[-1]["train_accuracy"], read_json(out / "metrics.json")["test"]

    def test_labels_that_the_pictures_show(self, pictures: Path, train: Callable[..., Path]):
        by_heart, test = self.learned(pictures, (p.parent.name for p in sorted(pictures.glob("*/*.png"))), train)
        assert by_heart > 0.95
        assert test["n"] == 48
        assert test["macro_f1"] > 0.9

    def test_shuffled_labels_stay_at_chance(self, pictures: Path, train: Callable[..., Path]):
        """They are learned by heart, so any row of test that leaked into training would show."""
        labels = np.random.default_rng(1).permutation(["a"] * 40 + ["b"] * 40 + ["c"] * 40).tolist()
        by_heart, test = self.learned(pictures, labels, train)
        assert by_heart > 0.95
        assert test["n"] == 48
        assert test["macro_f1_ci"][0] < 1 / 3
        assert test["macro_f1"] < 0.55

    def test_no_validation_rows_at_all(self, photos: Path, train: Callable[..., Path]):
        run = train(photos, *SMALL, "split.val=0", "train.monitor=train_loss", "train.epochs=3")
        rows = read_jsonl(run / "history.jsonl")
        assert not any(name.startswith("val_") for row in rows for name in row)
        assert [row["best"] for row in rows] == [
            row["train_loss"] < min((before["train_loss"] for before in rows[:i]), default=np.inf)
            for i, row in enumerate(rows)
        ]
        assert read_json(run / "metrics.json") == {}
        assert "3 epochs (all epochs done)" in (run / "report.txt").read_text(encoding="utf-8")
        assert not list(run.glob("predictions_*"))
        assert len(api.predict(run, list(photos.glob("*/*.png")))) == 32


class TestSeeds:
    def test_the_same_seed_is_the_same_bits_whatever_the_workers(self, photos: Path, train: Callable[..., Path]):
        one = weights(train(photos, *BATCH_NORM, "train.epochs=2", "train.seed=5", "data.workers=1"))
        again = weights(train(photos, *BATCH_NORM, "train.epochs=2", "train.seed=5", "data.workers=4"))
        other = weights(train(photos, *BATCH_NORM, "train.epochs=2", "train.seed=6"))
        assert same(one, again)
        assert not any(torch.equal(one[name], other[name]) for name in one if name.endswith("weight"))

    def test_the_split_has_a_seed_of_its_own(self, photos: Path, train: Callable[..., Path]):
        def split(*pairs: str) -> bytes:
            return (train(photos, *SMALL, "train.epochs=1", *pairs) / "split.csv").read_bytes()

        assert split("train.seed=5") == split("train.seed=6") != split("split.seed=1")


class TestBatches:
    @pytest.mark.parametrize(("rows", "sizes"), [(9, [9]), (17, [8, 9]), (16, [8, 8]), (18, [8, 8, 2]), (1, [1])])
    def test_a_last_single_row_joins_the_batch_before(self, rows: int, sizes: list[int]):
        batches = epoch_batches(np.arange(rows) + 100, 8, seed=0, epoch=3)
        assert [len(batch) for batch in batches] == sizes
        assert sorted(np.concatenate(batches).tolist()) == list(range(100, 100 + rows))

    def test_the_order_is_new_in_each_epoch_and_seed(self):
        orders = {np.concatenate(epoch_batches(np.arange(50), 8, *key)).tobytes() for key in ((0, 0), (0, 1), (1, 0))}
        assert len(orders) == 3

    def test_batch_norm_takes_what_is_left_over(self, photos: Path, train: Callable[..., Path]):
        run = train(photos, *BATCH_NORM, "split.val=0.22", "train.epochs=1")
        with (run / "split.csv").open(encoding="utf-8") as file:
            assert sum(row["split"] == "train" for row in csv.DictReader(file)) == 25, "3 batches of 8 and 1 row"
        assert weights(run)["backbone.1.num_batches_tracked"] == 3

    @pytest.mark.parametrize(
        "stages", ["[{name: all}]", "[{name: head, freeze: backbone, epochs: 1}, {name: all}]"], ids=["one", "two"]
    )
    def test_one_row_and_batch_norm_are_refused_before_anything_is_written(
        self, stages: str, photos: Path, train: Callable[..., Path], tmp_path: Path
    ):
        with pytest.raises(ConfigError, match=r"train\.batch_size=1: this model has BatchNorm.*freeze the backbone"):
            train(photos, *BATCH_NORM, "train.batch_size=1", "train.epochs=2", f"train.stages={stages}")
        assert not list(tmp_path.iterdir())

    def test_one_row_and_a_frozen_backbone_or_no_batch_norm(self, photos: Path, train: Callable[..., Path]):
        frozen = "train.stages=[{name: head, freeze: backbone}]"
        for options in ((*BATCH_NORM, frozen), SMALL):
            run = train(photos, *options, "train.batch_size=1", "train.epochs=1")
            assert math.isfinite(read_jsonl(run / "history.jsonl")[0]["train_loss"])

    @pytest.mark.parametrize("share", ["0.25", "0.2", "0.22"])
    def test_accumulated_batches_are_one_larger_batch(self, share: str, photos: Path, train: Callable[..., Path]):
        """24 rows; 26, whose last batch is short; 25, whose last row joins the batch before."""
        options = (*SMALL, "model.dropout=0", "train.epochs=2", "optim.name=sgd", "optim.lr=0.05", f"split.val={share}")
        options += ("loss.class_weights={a: 1, b: 3}",)
        whole = weights(train(photos, *options, "train.batch_size=8"))
        parts = weights(train(photos, *options, "train.batch_size=4", "train.accumulate=2"))
        for name, value in whole.items():
            torch.testing.assert_close(parts[name], value, rtol=1e-4, atol=1e-6)

    def test_accumulation_is_not_a_smaller_batch(self, photos: Path, train: Callable[..., Path]):
        options = (*SMALL, "model.dropout=0", "train.epochs=2", "optim.name=sgd", "optim.lr=0.05", "split.val=0.25")
        whole = weights(train(photos, *options, "train.batch_size=8"))
        small = weights(train(photos, *options, "train.batch_size=4"))
        assert max(float((small[name] - whole[name]).abs().max()) for name in whole) > 1e-3


class TestFreezing:
    def test_nothing_of_a_frozen_backbone_changes(
        self, photos: Path, train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ):
        before: dict[str, torch.Tensor] = {}
        during: list[bool] = []
        fit, backward = loop.fit, loop.backward

        def remember(job: Any, checkpoint: Any) -> Any:
            before.update({name: value.clone() for name, value in job.model.net.state_dict().items()})
            return fit(job, checkpoint)

        def watch(job: Any, *rest: Any) -> None:
            backward(job, *rest)
            during.extend(module.training for module in job.model.net.backbone.modules())
            during.extend(p.grad is not None for p in job.model.net.backbone.parameters())

        monkeypatch.setattr(experiment, "fit", remember)
        monkeypatch.setattr(loop, "backward", watch)
        run = train(photos, *BATCH_NORM, "train.epochs=2", "train.stages=[{name: head, freeze: backbone}]")
        after = weights(run)
        of_backbone = {name for name in before if name.startswith("backbone.")}
        assert {"backbone.1.running_mean", "backbone.0.weight"} < of_backbone
        assert all(torch.equal(before[name], after[name]) for name in of_backbone)
        assert not any(torch.equal(before[name], after[name]) for name in before if name.startswith("head."))
        assert during
        assert not any(during)

    def test_a_stage_without_freezing_changes_all_of_it(self, photos: Path, train: Callable[..., Path]):
        stages = "train.stages=[{name: head, freeze: backbone, epochs: 1}, {name: all}]"
        first = train(photos, *BATCH_NORM, "train.epochs=1", "train.stages=[{name: head, freeze: backbone}]")
        both = weights(train(photos, *BATCH_NORM, "train.epochs=2", "train.monitor=train_loss", stages))
        assert not any(torch.equal(value, both[name]) for name, value in weights(first).items())

    def test_dropout_and_batch_norm_are_off_in_what_is_frozen_alone(self):
        net = build(Architecture(name="scratch_cnn", dropout=0.5), 2)
        net.backbone = nn.Sequential(nn.Dropout(0.9), nn.BatchNorm1d(4), nn.Dropout(0.9))
        training_mode(net, ALL)
        assert all(module.training for module in net.modules())
        x = torch.randn(8, 4)
        freeze(net, HEAD)
        training_mode(net, HEAD)
        assert not any(module.training for module in net.backbone.modules())
        assert all(module.training for module in net.head.modules())
        assert torch.equal(net.backbone(x), net.backbone(x))
        assert net.backbone[1].num_batches_tracked == 0

    def test_gradients_come_back_in_the_next_stage(self):
        net = build(Architecture(name="scratch_cnn"), 2)
        freeze(net, HEAD)
        assert {name for name, p in net.named_parameters() if p.requires_grad} == {"head.1.weight", "head.1.bias"}
        freeze(net, ALL)
        assert all(p.requires_grad for p in net.parameters())


class TestOptimizerGroups:
    @pytest.fixture
    def net(self) -> Classifier:
        return build(Architecture(name="scratch_cnn", arguments={"batch_norm": True}), 2)

    def groups(self, net: Classifier, stage: Stage, **settings: Any) -> dict[str, tuple[float, float, str]]:
        """Return parameter -> (rate, decay, group), each parameter being in one group."""
        freeze(net, stage)
        names = {parameter: name for name, parameter in net.named_parameters()}
        found = {}
        for group in create_optimizer(net, OptimSettings(**settings), stage).param_groups:
            for parameter in group["params"]:
                assert names[parameter] not in found
                found[names[parameter]] = (group["lr"], group["weight_decay"], group["name"])
        return found

    def test_decay_is_kept_from_biases_and_norms(self, net: Classifier):
        found = self.groups(net, ALL, weight_decay=0.1)
        assert found.keys() == {name for name, _ in net.named_parameters()}
        plain = {name for name, (_, decay, _) in found.items() if decay == 0}
        assert plain == {name for name, p in net.named_parameters() if p.ndim <= 1}
        assert {"backbone.1.weight", "backbone.1.bias", "head.1.bias"} <= plain
        assert {decay for name, (_, decay, _) in found.items() if name not in plain} == {0.1}

    def test_two_rates(self, net: Classifier):
        found = self.groups(net, ALL, lr=1e-4, head_lr=1e-2)
        assert {rate for name, (rate, _, _) in found.items() if name.startswith("head.")} == {1e-2}
        assert {rate for name, (rate, _, _) in found.items() if name.startswith("backbone.")} == {1e-4}
        assert {rate for rate, _, _ in self.groups(net, ALL, lr=1e-4).values()} == {1e-4}

    def test_a_frozen_backbone_is_in_no_group(self, net: Classifier):
        assert self.groups(net, HEAD, lr=1e-4, head_lr=1e-2) == {
            "head.1.weight": (1e-2, 0.01, "head"),
            "head.1.bias": (1e-2, 0.0, "head"),
        }

    def test_the_history_has_both_rates(self, photos: Path, train: Callable[..., Path]):
        rates = ("optim.lr=0.001", "optim.head_lr=0.01", "schedule.name=constant", "schedule.warmup_epochs=0")
        stages = "train.stages=[{name: head, freeze: backbone, epochs: 1}, {name: all}]"
        rows = read_jsonl(train(photos, *SMALL, "train.epochs=2", stages, *rates) / "history.jsonl")
        assert [(row["lr"], row["head_lr"]) for row in rows] == [(None, 0.01), (0.001, 0.01)]


class TestLosses:
    logits = torch.tensor([[2.0, 0.0, -1.0], [0.5, 0.5, 0.5], [-3.0, 1.0, 0.0]])
    target = torch.tensor([0, 2, 0])

    def test_label_smoothing_is_as_in_its_paper(self):
        log_p = torch.log_softmax(self.logits, dim=1)
        for share in (0.0, 0.1, 0.5):
            wanted = torch.full((3, 3), share / 3)
            wanted[torch.arange(3), self.target] += 1 - share
            found = Loss(LossSettings(label_smoothing=share), None, torch.ones(3)).rows(self.logits, self.target)
            torch.testing.assert_close(found, -(wanted * log_p).sum(dim=1))

    def test_class_weights_multiply_each_row(self):
        plain = Loss(LossSettings(), None, torch.ones(3)).rows(self.logits, self.target)
        weighted = Loss(LossSettings(), torch.tensor([2.0, 9.0, 0.5]), torch.ones(3)).rows(self.logits, self.target)
        torch.testing.assert_close(weighted, plain * torch.tensor([2.0, 0.5, 2.0]))

    def test_half_precision_logits_are_computed_in_full(self):
        found = Loss(LossSettings(), None, torch.ones(3)).rows(self.logits.bfloat16(), self.target)
        assert found.dtype == torch.float32

    def test_balanced_weights_give_each_class_the_same_sum_and_the_mean_row_1(self):
        found = class_weights(LossSettings(class_weights="balanced"), [10, 30, 60], ["a", "b", "c"])
        assert found is not None
        np.testing.assert_allclose(np.array(found) * [10, 30, 60], 100 / 3)
        given = class_weights(LossSettings(class_weights={"a": 4, "b": 2, "c": 1}), [10, 30, 60], ["a", "b", "c"])
        np.testing.assert_allclose(given, np.array([4, 2, 1]) / 1.6)
        assert class_weights(LossSettings(), [1, 2], ["a", "b"]) is None

    @pytest.mark.parametrize(
        ("given", "told"),
        [({"a": 1.0, "bb": 2.0}, "there is no class 'bb'. Did you mean 'b'"), ({"a": 1.0}, "no weight for class b")],
    )
    def test_class_weights_for_other_classes(self, given: dict[str, float], told: str):
        with pytest.raises(ConfigError, match=rf"loss\.class_weights: {told}"):
            class_weights(LossSettings(class_weights=given), [1, 1], ["a", "b"])

    def test_they_reach_the_training(self, photos: Path, train: Callable[..., Path]):
        def answers(pair: str) -> set[str]:
            run = train(photos, *SMALL, "train.epochs=2", pair, "train.monitor=train_loss")
            with next(run.glob("predictions_val.csv")).open(encoding="utf-8") as file:
                return {row["pred"] for row in csv.DictReader(file)}

        assert answers("loss.class_weights={a: 1, b: 1000}") == {"b"}
        assert answers("loss.class_weights={a: 1000, b: 1}") == {"a"}


Script = Mapping[str, list[float]]


class TestBestEpoch:
    """Validation answers from a script; the weights at each answer are kept, to compare with those sealed."""

    @pytest.fixture
    def scripted(
        self, photos: Path, train: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
    ) -> Callable[..., tuple[list[int], int]]:
        def trained(script: Script, *pairs: str) -> tuple[list[int], int]:
            """Return the epochs that were best when they came, and how many there were."""
            kept: list[dict[str, torch.Tensor]] = []

            validate = Pictures.validate

            def keep(self: Pictures, model: Model) -> Any:
                kept.append({name: value.clone() for name, value in model.net.state_dict().items()})
                return validate(self, model)

            def score(*_: Any) -> dict[str, float]:
                answers = {name: values[len(kept) - 1] for name, values in script.items()}
                return {"macro_f1": 0.5, "loss": 1.0, "accuracy": 0.5} | answers

            monkeypatch.setattr(Pictures, "validate", keep)
            monkeypatch.setattr(experiment, "scorer", lambda *_: score)
            monkeypatch.setattr(experiment.EpochNoise, "of", lambda *_: None)  # the answers are not of this script
            epochs = len(next(iter(script.values())))
            run = train(photos, *SMALL, f"train.epochs={epochs}", *pairs)
            rows = read_jsonl(run / "history.jsonl")
            best = [row["epoch"] for row in rows if row["best"]]
            assert same(weights(run), kept[best[-1] - 1])
            assert f"is epoch {best[-1]}\n" in (run / "report.txt").read_text(encoding="utf-8")
            return best, len(rows)

        return trained

    figures = [0.5, 0.55, 0.54, 0.70, 0.70, 0.69, 0.9]

    def test_the_best_is_kept_not_the_last(self, scripted: Callable[..., tuple[list[int], int]]):
        assert scripted({"macro_f1": self.figures}) == ([1, 2, 4, 7], 7)

    def test_patience_ends_it(self, scripted: Callable[..., tuple[list[int], int]]):
        assert scripted({"macro_f1": self.figures}, "train.patience=2") == ([1, 2, 4], 6)

    def test_an_improvement_has_to_be_large_enough(self, scripted: Callable[..., tuple[list[int], int]]):
        found = scripted({"macro_f1": self.figures}, "train.patience=3", "train.min_improvement=0.1")
        assert found == ([1, 4, 7], 7)
        found = scripted({"macro_f1": self.figures}, "train.patience=2", "train.min_improvement=0.1")
        assert found == ([1], 3)

    def test_each_stage_has_patience_of_its_own(self, scripted: Callable[..., tuple[list[int], int]]):
        stages = "train.stages=[{name: head, freeze: backbone, epochs: 4}, {name: all, epochs: 3}]"
        assert scripted({"macro_f1": [0.6, 0.5, 0.4, 0.3, 0.7, 0.6, 0.9]}, "train.patience=1", stages) == ([1], 4)
        assert scripted({"macro_f1": [0.6, 0.5, 0.3, 0.7, 0.6, 0.6, 0.9]}, "train.patience=1", stages) == ([1, 4], 5)

    def test_a_loss_is_better_when_it_is_lower(self, scripted: Callable[..., tuple[list[int], int]]):
        script = {"loss": [1.0, 0.4, 0.6, 0.5], "macro_f1": [0.1, 0.2, 0.3, 0.4]}
        assert scripted(script, "train.monitor=loss") == ([1, 2], 4)
        assert scripted(script, "train.monitor=macro_f1") == ([1, 2, 3, 4], 4)
        assert scripted(script, "train.monitor=loss", "train.patience=1") == ([1, 2], 3)

    def test_of_equal_figures_the_lower_loss_is_best(self, scripted: Callable[..., tuple[list[int], int]]):
        assert scripted({"macro_f1": [0.5, 0.5, 0.5], "loss": [1.0, 0.9, 0.95]}) == ([1, 2], 3)
        assert scripted({"macro_f1": [0.5, 0.5, 0.5], "loss": [1.0, 0.9, 0.8]}, "train.patience=2") == ([1, 2, 3], 3)

    def test_training_figures_too(
        self, scripted: Callable[..., tuple[list[int], int]], monkeypatch: pytest.MonkeyPatch
    ):
        losses, epoch = iter([0.9, 0.7, 0.8]), loop.train_epoch
        monkeypatch.setattr(loop, "train_epoch", lambda *args: epoch(*args) | {"train_loss": next(losses)})
        assert scripted({"macro_f1": [0.1, 0.2, 0.3]}, "train.monitor=train_loss") == ([1, 2], 3)


class TestPrecision:
    def test_fp16_needs_a_gpu(self, photos: Path, train: Callable[..., Path], tmp_path: Path):
        with pytest.raises(DeviceError, match=r"train\.precision=fp16 needs a GPU\. On the CPU use bf16 or fp32"):
            train(photos, *SMALL, "train.precision=fp16", "train.device=cpu")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize(
        ("has_bf16", "name", "expected"),
        [(True, "scratch_cnn", "bf16"), (False, "scratch_cnn", "fp32"), (True, "timm/test_efficientnet", "fp32")],
    )
    def test_auto_is_a_fixed_rule(self, has_bf16: bool, name: str, expected: str, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(precision, "cpu_has_bf16", lambda: has_bf16)
        net = build(Architecture(name=name), 2)
        assert precision.choose_precision("auto", torch.device("cpu"), net)[0] == expected

    def test_bf16_is_sealed_and_its_weights_stay_fp32(self, photos: Path, train: Callable[..., Path]):
        run = train(photos, *SMALL, "train.precision=bf16", "train.epochs=1")
        assert api.open_run(run).model.sealed.precision == "bf16"
        assert {value.dtype for value in weights(run).values()} == {torch.float32}
        assert json.loads((run / "environment.json").read_text(encoding="utf-8"))["precision"] == "bf16"
