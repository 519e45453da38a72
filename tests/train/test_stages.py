"""What each stage may say for itself: optimiser, schedule, patience and rows; and which weights are kept of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

import killing
from bunryu import api
from bunryu.core.errors import ConfigError
from bunryu.core.storage import read_json
from bunryu.evaluate.decision.logit_adjustment import adjusted
from bunryu.inference.predictions import read_predictions
from bunryu.runs.folder import RunFolder
from bunryu.settings.load import load_settings
from bunryu.settings.run import whole_stages
from bunryu.settings.stages import Stage, size_at
from bunryu.train import best_epoch, loop
from bunryu.train.best_epoch import remember
from bunryu.train.checkpoint import Progress
from bunryu.train.stages import Learned
from bunryu.workflows import train as experiment
from conftest import Command, refused
from killing import history, results, state, tensors

SMALL = (
    *("model.name=scratch_cnn", "train.device=cpu", "input.size=16", "train.threads=1", "train.precision=fp32"),
    *("train.batch_size=8", "evaluate.bootstrap=0", "schedule.warmup_epochs=0"),
)


@pytest.fixture
def train(photos: Path, tmp_path: Path) -> Callable[..., RunFolder]:
    def trained(*pairs: str) -> RunFolder:
        out = tmp_path / f"run{sum(1 for _ in tmp_path.glob('run*'))}"
        return RunFolder(api.train(photos, *SMALL, *pairs, out=out, quiet=True).path)

    return trained


class TestOwnSettings:
    def test_a_stage_has_its_own_optimiser_and_schedule(
        self, train: Callable[..., RunFolder], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        made: list[torch.optim.Optimizer] = []
        create = loop.create_optimizer
        monkeypatch.setattr(loop, "create_optimizer", lambda *args: made.append(create(*args)) or made[-1])
        head = "{name: head, freeze: backbone, epochs: 2, optim: {name: adam, lr: 1e-2, weight_decay: 0}}"
        some = "{name: 전체, epochs: 3, optim: {lr: 1e-3}, schedule: {name: exponential, gamma: 0.5}}"
        run = train(
            "train.epochs=5", f"train.stages=[{head}, {some}]", "schedule.name=constant", "optim.name=sgd", "optim.lr=1"
        )
        rows = run.read_history()
        assert [row["head_lr"] for row in rows] == pytest.approx([1e-2, 1e-2, 1e-3, 5e-4, 2.5e-4])
        assert [row["lr"] for row in rows] == [None, None, *(row["head_lr"] for row in rows[2:])]
        assert [type(one).__name__.lower() for one in made] == ["adam", "sgd"]
        assert {group["weight_decay"] for group in made[0].param_groups} == {0.0}
        assert {group["weight_decay"] for group in made[1].param_groups} == {0.05, 0.0}

        read = run.settings().train.stages
        assert read[0].optim
        assert read[0].optim.model_fields_set == {"name", "lr", "weight_decay"}
        assert read[1].schedule
        assert read[1].schedule.model_fields_set == {"name", "gamma"}
        assert "momentum" not in run.config.read_text(encoding="utf-8").split("\noptim:")[0]

    def test_a_stage_has_its_own_patience(self, train: Callable[..., RunFolder]) -> None:
        stages = "train.stages=[{name: one, epochs: 4, patience: 1}, {name: two, epochs: 4}, {name: three, epochs: 4}]"
        run = train("train.epochs=12", stages, "train.patience=2", "train.min_improvement=100")
        assert [row["stage"] for row in run.read_history()] == ["one"] * 2 + ["two"] * 3 + ["three"] * 3

    def test_plateau_is_as_patient_as_the_stage_says(self, train: Callable[..., RunFolder]) -> None:
        stages = "train.stages=[{name: all, schedule: {name: plateau, plateau_patience: 1, gamma: 0.5}}]"
        run = train("train.epochs=5", stages, "train.min_improvement=100", "optim.lr=1", "schedule.plateau_patience=9")
        assert [row["lr"] for row in run.read_history()] == [1, 1, 1, 0.5, 0.5]

    @pytest.mark.parametrize(
        ("stages", "told"),
        [
            ("{name: a, optim: {lrr: 1}}", r"no setting 'train\.stages\.0\.optim\.lrr'.*lr"),
            ("{name: a, schedule: {name: cosin}}", r"cosine"),
            ("{name: a, freeze: backbone, train_blocks: 3}", "freeze: backbone trains no block"),
            ("{name: a, freeze: backbone, optim: {layer_decay: 0.8}}", "leave out optim.layer_decay"),
            ("{name: a, freeze: backbone, views: 0, solve: true, patience: 2}", "a solved head needs no optim"),
            ("{name: a/b}", "a name that a file can have"),
            ("{name: a, train_blocks: 0}", r"at least 1"),
            ("{name: a, rows: val}", "rows: val is for the last stages"),
            (
                "{name: a, epochs: 1}, {name: b, rows: all, epochs: 1}, {name: c}",
                "'b': rows: all is for the last stages",
            ),
            ("{name: a, epochs: 2}, {name: b, rows: all, patience: 2}", "leaves patience no clean figure"),
        ],
    )
    def test_what_cannot_be_is_refused(self, stages: str, told: str) -> None:
        with pytest.raises(ConfigError, match=told):
            load_settings(["train.epochs=5", f"train.stages=[{stages}]"])

    def test_a_rate_that_nothing_would_have_is_refused(self) -> None:
        stage = "train.stages=[{name: a, freeze: backbone, optim: {lr: 1}}]"
        load_settings([stage])
        with pytest.raises(ConfigError, match=r"'a': the backbone is frozen and optim\.head_lr is the head's rate"):
            load_settings([stage, "optim.head_lr=2"])


def test_a_person_judges_a_solved_head_whole_or_teaches_it_whole(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the weight decay is chosen on the people that the head was solved on."""
    people = {f"{path.parent.name}/{path.name}": f"p{i % 8}" for i, path in enumerate(sorted(photos.glob("*/*.png")))}
    lines = [f"{photos / path},{path.split('/')[0]},{person}" for path, person in people.items()]
    (tmp_path / "t.csv").write_text("\n".join(["path,label,person", *lines]), encoding="utf-8")
    solve_into, judged = loop.solve_into, []

    def watched(net: Any, views: Any, target: Any, loss: Any, judge_N: torch.Tensor, *rest: Any) -> Any:
        judged.append(judge_N.tolist())
        return solve_into(net, views, target, loss, judge_N, *rest)

    monkeypatch.setattr(loop, "solve_into", watched)
    solved = "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true}]"
    run = RunFolder(
        api.train(tmp_path / "t.csv", *SMALL, "train.epochs=1", solved, out=tmp_path / "run", quiet=True).path
    )
    rows = [line.split(",") for line in run.split.read_text(encoding="utf-8").splitlines()[1:]]
    taught = [row[2] for row in rows if row[3] == "train"]
    sides: dict[str, set[bool]] = {person: set() for person in taught}
    for person, judge in zip(taught, judged[0], strict=True):
        sides[person].add(judge)
    assert {tuple(found) for found in sides.values()} == {(False,), (True,)}


def test_patience_waits_for_the_full_size(train: Callable[..., RunFolder]) -> None:
    pairs = ("train.epochs=9", "train.min_improvement=100", "train.patience=2")
    plain = train(*pairs, "train.stages=[{name: all}]")
    assert len(plain.read_history()) == 3
    sized = train(*pairs, "train.stages=[{name: all, sizes: [8, 12, 16]}]")
    assert len(sized.read_history()) == 6 + 2
    ended = state(sized.path)["progress"]["ended_by"]
    assert ended == "no better val_macro_f1 for 2 epochs"


class TestOtherRows:
    STAGES = "train.stages=[{name: all, epochs: 2}, {name: 끝, rows: %s, epochs: 2}]"
    PAIRS = ("train.epochs=4", "split.val=0.25", "split.test=0.25", "train.monitor=loss", "optim.lr=3e-3")

    @pytest.fixture
    def seen(self, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Any]]:
        """Collect which rows were learned from and validated, and by which class counts."""
        found: dict[str, list[Any]] = {"learned": [], "validated": [], "counts": [], "labels": []}
        learn_from, scorer = loop.learn_from, experiment.scorer

        def watched(job: Any, state: Any, feed: Any, x: Any, rows: Any, *rest: Any) -> Any:
            found["learned"].append((state.progress.total_epochs, set(rows.tolist())))
            found["counts"].append((state.progress.total_epochs, job.loss.counts_K.tolist()))
            found["labels"].append((state.progress.total_epochs, job.loss.heads[0].counts_K.tolist()))
            return learn_from(job, state, feed, x, rows, *rest)

        def watched_scorer(*args: Any) -> Any:
            score = scorer(*args)
            return lambda rows, probs: found["validated"].append(set(rows.tolist())) or score(rows, probs)

        monkeypatch.setattr(loop, "learn_from", watched)
        monkeypatch.setattr(experiment, "scorer", watched_scorer)
        return found

    @pytest.mark.parametrize("rows", ["val", "all"])
    def test_they_are_learned_from(
        self, rows: str, train: Callable[..., RunFolder], seen: dict[str, list[Any]]
    ) -> None:
        run = train(*self.PAIRS, self.STAGES % rows, "loss.class_weights=balanced")
        splits = [line.split(",")[2] for line in run.split.read_text(encoding="utf-8").splitlines()[1:]]
        own = {name: {i for i, split in enumerate(splits) if split == name} for name in ("train", "val", "test")}
        learned = [set.union(*(ids for epoch, ids in seen["learned"] if epoch == number)) for number in range(4)]
        expected = own["val"] | own["train"] if rows == "all" else own["val"]
        assert learned == [own["train"]] * 2 + [expected] * 2
        other = own["train"] if rows == "val" else own["val"]
        assert seen["validated"] == [own["val"]] * 2 + [other] * 2
        totals = [sum(counts) for _, counts in seen["counts"]]
        assert (totals[0], totals[-1]) == (len(own["train"]), len(expected))

    @pytest.mark.parametrize("ema", ["null", "0.5"])
    def test_the_last_weights_are_sealed_and_the_best_clean_epoch_is_told(
        self, ema: str, train: Callable[..., RunFolder]
    ) -> None:
        run = train(*self.PAIRS, self.STAGES % "val", f"train.ema={ema}", "train.stages=" + self.STAGES[13:] % "val")
        rows = run.read_history()
        assert [row.get("clean", True) for row in rows] == [True, True, False, False]
        best = [row for row in rows if row["best"]]
        assert best
        assert best[-1]["epoch"] <= 2
        sealed, last = load_file(run.model), load_file(run.last)
        part = "net." if ema == "null" else "ema."
        assert all(torch.equal(value, last[part + name]) for name, value in sealed.items())
        assert tensors(run.model) == tensors(run.final)
        assert tensors(run.model) != tensors(run.best)
        metrics = run.read_metrics()
        assert metrics["val"]["loss"] == pytest.approx(best[-1]["val_loss"], rel=1e-6)
        found = api.evaluate(run.path, name="test", quiet=True)
        assert found.metrics["test"]["loss"] == metrics["test"]["loss"], "the test is of what is sealed"
        assert metrics["val"]["notes"][0].startswith("From epoch 3 on the model learned from these rows")
        assert "which only the test rows measure" in metrics["val"]["notes"][0]
        report = run.report.read_text(encoding="utf-8")
        assert "from which on it learned from validation rows" in report
        assert "epoch 3" in report
        assert "끝 (2 epochs, on the validation rows)" in report
        found = api.evaluate(run.path, name="val", quiet=True)
        assert "so their figures mean nothing" in found.metrics["val"]["notes"][0]

    def test_without_validation_rows_it_is_refused(self, train: Callable[..., RunFolder]) -> None:
        with pytest.raises(ConfigError, match="stage '끝': rows: val, but there are no validation rows"):
            train("train.epochs=4", "split.val=0", "train.monitor=train_loss", self.STAGES % "val")

    def test_a_class_without_validation_rows_is_refused_where_counts_matter(
        self, make_images: Any, tmp_path: Path
    ) -> None:
        make_images(tmp_path / "data" / "train", {"가": 6, "b": 6})
        make_images(tmp_path / "data" / "val", {"b": 4})
        pairs = (*SMALL, "train.epochs=4", self.STAGES % "val")
        for counted in ("loss.class_weights=balanced", "decision.tau=1", "loss.name=logit_adjusted"):
            with pytest.raises(ConfigError, match=r"rows: val, but 가 has no validation row, and (loss|decision)\."):
                api.train(tmp_path / "data", *pairs, counted, quiet=True)
        api.train(tmp_path / "data", *pairs, out=tmp_path / "run", quiet=True)

    @pytest.mark.parametrize(("rows", "prior"), [("val", [6, 4]), ("all", [10, 14])])
    def test_what_is_sealed_is_adjusted_by_the_prior_of_the_rows_it_learned_last(
        self, rows: str, prior: list[int], make_images: Any, tmp_path: Path
    ) -> None:
        make_images(tmp_path / "data" / "train", {"가": 10, "b": 4})
        make_images(tmp_path / "data" / "val", {"가": 4, "b": 6}, seed=1)
        pairs = (*SMALL, "train.epochs=4", "decision.tau=0.5", "loss.label_smoothing=0", self.STAGES % rows)
        run = api.train(tmp_path / "data", *pairs, out=tmp_path / "run", quiet=True)
        expected = -0.5 * np.log(np.array(prior) / sum(prior))
        assert run.model.sealed.decision.logit_offsets == pytest.approx(expected.tolist(), rel=1e-5)
        best = read_predictions(run.path / "predictions_val.csv", ["b", "가"])
        plain = api.train(
            tmp_path / "data", *(pair for pair in pairs if "tau" not in pair), out=tmp_path / "plain", quiet=True
        )
        known = read_predictions(plain.path / "predictions_val.csv", ["b", "가"]).probs_NK
        found = adjusted(known, np.array([4, 10]), 0.5)
        np.testing.assert_allclose(best.probs_NK, found, atol=1e-5, err_msg="the best epoch learned from training rows")

    def test_each_epoch_knows_whether_its_labels_are_moved(
        self, make_images: Any, tmp_path: Path, seen: dict[str, list[Any]]
    ) -> None:
        """Until mix.end_epoch ReMix gives the rare class more labels than it has rows; then it has its rows."""
        data = make_images(tmp_path / "data", {"가": 24, "b": 6})
        mixing = ("mix.name=mixup", "mix.alpha=1", "mix.remix=true", "mix.end_epoch=2")
        pairs = (*SMALL, "train.epochs=4", "split.val=0.2", "loss.class_weights=balanced", *mixing)
        api.train(data, *pairs, out=tmp_path / "run", quiet=True)
        rows, labels = dict(seen["counts"]), dict(seen["labels"])
        assert [labels[epoch][0] > 1.1 * rows[epoch][0] for epoch in range(4)] == [True, True, False, False]
        assert [labels[epoch] == rows[epoch] for epoch in range(4)] == [False, False, True, True]


SOLVED: dict[str, Any] = {"freeze": "backbone", "views": 0, "solve": True}


@pytest.mark.parametrize(
    ("pairs", "stages", "ran", "found"),
    [
        ((), [{"epochs": 3}], [3], ["train"] * 3),
        (("mix.name=mixup",), [SOLVED, {"epochs": 3}], [1, 3], ["train", *["train mixed"] * 3]),
        (("mix.name=mixup", "mix.end_epoch=2"), [{"epochs": 3}], [3], ["train mixed", "train mixed", "train"]),
        (
            ("mix.name=mixup",),
            [{"epochs": 3}, {"rows": "val", "epochs": 1}, {"rows": "all", "epochs": 2}],
            [2, 1, 1],  # the first ends early
            ["train mixed", "train mixed", "val mixed", "all mixed"],
        ),
        (("train.swa=0.5", "mix.name=mixup", "mix.end_epoch=4"), [{"epochs": 4}], [4, 1], ["train mixed"] * 5),
    ],
)
def test_what_an_epoch_has_learned_is_read_from_the_history(
    pairs: tuple[str, ...], stages: list[dict[str, Any]], ran: list[int], found: list[str]
) -> None:
    """Also where a stage ended early, or averaged what the one before it learned."""
    trained = sum(int(stage.get("epochs", 0)) for stage in stages)
    whole = sum(ran) >= trained  # names may be the same where no stage ended early
    named = [Stage(name="same" if whole else f"s{i}", **stage).model_dump() for i, stage in enumerate(stages)]
    pairs = (f"train.epochs={trained}", "train.ema=null", *pairs)
    settings = load_settings(pairs, values={"train": {"stages": named}})
    names = [stage.name for stage in whole_stages(settings)]
    history = [{"stage": name} for name, epochs in zip(names, ran, strict=True) for _ in range(epochs)]
    learned = [Learned.at(settings, history, epoch + 1) for epoch in range(len(history))]
    assert [f"{one.rows} mixed" if one.mixed else one.rows for one in learned] == found


class TestKeptWeights:
    def test_the_best_of_each_stage_and_the_final(self, train: Callable[..., RunFolder]) -> None:
        head = "{name: 머리, freeze: backbone, epochs: 2}"
        solved = "{name: probe, freeze: backbone, views: 0, solve: true}"
        alone = train("train.epochs=2", f"train.stages=[{head}]", "train.monitor=loss")
        assert {path.stem for path in alone.best.parent.iterdir()} == {"best", "last"}
        run = train("train.epochs=4", f"train.stages=[{head}, {{name: all}}]", "train.monitor=loss")
        names = {path.stem for path in run.best.parent.iterdir()}
        assert names == {"best", "last", "stage-1-머리", "stage-2-all", "final"}
        folder = run.best.parent
        assert tensors(folder / "stage-1-머리.safetensors") == tensors(alone.best)
        rows = run.read_history()
        if [row for row in rows if row["best"]][-1]["stage"] == "all":
            assert tensors(folder / "stage-2-all.safetensors") == tensors(run.best)
        last = load_file(run.last)
        assert all(torch.equal(value, last[f"net.{name}"]) for name, value in load_file(run.final).items())
        assert len(api.predict(folder / "stage-1-머리.safetensors", np.zeros((16, 16, 3), np.uint8), quiet=True)) == 1
        facts = run.report.read_text(encoding="utf-8")
        assert "the best of each stage (머리, all) and the final weights are kept as well, " in facts
        probed = train("train.epochs=2", f"train.stages=[{solved}, {{name: all}}]")
        assert {path.stem for path in probed.best.parent.iterdir()} == {"best", "last"}

    def test_the_best_of_a_stage_may_be_worse_than_the_best_of_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(best_epoch, "weights", lambda *_: {})
        stages = [Stage(name="one", epochs=2), Stage(name="two", epochs=2)]
        job: Any = SimpleNamespace(settings=load_settings(["train.monitor=accuracy"]), stages=stages)
        at: Any = SimpleNamespace(progress=Progress(), history=[], unsaved={})
        kept = []
        for value in (0.9, 0.5, 0.6, 0.7):
            remember(job, at, {"val_accuracy": value, "val_loss": 1.0, "train_loss": 1.0})
            kept.append(list(at.unsaved))
            at.unsaved.clear()
            if at.progress.epoch == 2:
                best_epoch.next_stage(job, at, why="")
        assert kept == [["best", "stage-1-one"], [], ["stage-2-two"], ["stage-2-two"]]
        assert at.unsaved.keys() == {"final"}

    @given(st.data())
    def test_a_figure_of_learning_chooses_among_the_last_epochs_that_learn_alike(self, data: st.DataObject) -> None:
        """Whatever the stages, sizes and mixing are, an epoch before them never wins, however good it looks."""
        monitor = data.draw(st.sampled_from(["train_loss", "train_accuracy"]))
        kinds: list[dict[str, Any]] = [
            {},
            {"sizes": [16, 24]},
            {"freeze": "backbone", "views": 0, "solve": True, "epochs": 1},
        ]
        stages = []
        for number in range(data.draw(st.integers(1, 3))):
            given_kind = {"epochs": data.draw(st.integers(1, 4)), **data.draw(st.sampled_from(kinds))}
            stages.append(Stage(name=f"stage{number}", **given_kind))
        mixing = data.draw(st.sampled_from([[], ["mix.name=mixup"], ["mix.name=mixup", "mix.end_epoch=3"]]))
        job: Any = SimpleNamespace(settings=load_settings([f"train.monitor={monitor}", *mixing]), stages=stages)
        at: Any = SimpleNamespace(progress=Progress(), history=[], unsaved={})
        alike, values = [], []
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(best_epoch, "weights", lambda *_: {})
            for number, stage in enumerate(stages):
                for epoch in range(int(stage.epochs or 0)):
                    size = size_at(stage.sizes, epoch, int(stage.epochs or 0)) if stage.sizes else None
                    mixed = bool(mixing) and (len(mixing) == 1 or len(values) < 3) and not stage.solve
                    alike.append((number, size, mixed))
                    values.append(data.draw(st.sampled_from([0.1, 0.2, 0.3, 0.4])))
                    remember(job, at, {"train_loss": values[-1], "train_accuracy": values[-1], "epoch": len(values)})
                best_epoch.next_stage(job, at, why="")
        last = [i for i, key in enumerate(alike) if key == alike[-1]]
        wanted = (min if monitor == "train_loss" else max)(values[i] for i in last)
        assert at.progress.best_epoch - 1 in last
        assert values[at.progress.best_epoch - 1] == wanted

    def test_of_equal_figures_the_lower_loss_is_the_best_of_a_stage_too(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(best_epoch, "weights", lambda *_: {})
        stages = [Stage(name="one", epochs=3), Stage(name="two", epochs=1)]
        job: Any = SimpleNamespace(settings=load_settings(["train.monitor=accuracy"]), stages=stages)
        at: Any = SimpleNamespace(progress=Progress(), history=[], unsaved={})
        kept = []
        for loss in (1.0, 0.5, 0.7):
            remember(job, at, {"val_accuracy": 1.0, "val_loss": loss, "train_loss": 1.0})
            kept.append(list(at.unsaved))
            at.unsaved.clear()
        assert kept == [["best", "stage-1-one"], ["best", "stage-1-one"], []]
        assert at.progress.stale_epochs == 2, "patience asks for a better figure"


RESUMED = (
    *("model.name=timm/test_resnet", "model.weights=none", "input.size=32", "train.batch_size=4", "train.device=cpu"),
    *("train.threads=1", "train.precision=fp32", "evaluate.bootstrap=50", "split.val=0.25", "split.test=0.2"),
    *("train.epochs=6", "train.monitor=loss", "optim.layer_decay=0.7", "model.dropout=0.3", "optim.lr=1e-3"),
    "train.stages=[{name: head, freeze: backbone, epochs: 2, optim: {name: sgd, lr: 0.05}, schedule: {name: constant}},"
    " {name: last, train_blocks: 2, epochs: 2, optim: {name: adam}, schedule: {name: plateau}, patience: 9},"
    " {name: other, rows: val, epochs: 2, schedule: {name: step, step_epochs: 1}}]",
)


@pytest.fixture(scope="module")
def never_stopped(photos: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("reference") / "run"
    killing.nursery().finish("train", photos, "--out", run, *RESUMED)
    return run


@pytest.mark.parametrize(
    ("point", "at"),
    [("end of stage", 1), ("update", 18), ("best", 3), ("update", 22), ("end of stage", 3), ("trained", 1)],
)
def test_resumed_is_never_stopped(point: str, at: int, never_stopped: Path, photos: Path, tmp_path: Path) -> None:
    run, nursery = tmp_path / "run", killing.nursery()
    often = "train.checkpoint_minutes=1e-6"
    assert nursery.run("train", photos, "--out", run, *RESUMED, often, point=point, at=at).killed
    nursery.finish("train", "--resume", run)
    assert {name for name, value in results(never_stopped).items() if results(run)[name] != value} == set()
    for name in ("stage-1-head", "stage-2-last", "final"):
        assert tensors(run / f"checkpoints/{name}.safetensors") == tensors(
            never_stopped / f"checkpoints/{name}.safetensors"
        )
    assert not (run / "checkpoints/stage-3-other.safetensors").exists()
    assert [row.get("clean", True) for row in history(run)] == [True] * 4 + [False] * 2


def test_a_checkpoint_is_measured_instead_of_the_model(never_stopped: Path, bunryu: Command, tmp_path: Path) -> None:
    """The best of a stage gives the figure that its history says; the last epochs learned from validation rows."""
    rows = history(never_stopped)
    best = max(row["val_macro_f1"] for row in rows if row["stage"] == "head")
    ended = bunryu("evaluate", never_stopped, "--checkpoint", "stage-1-head", "--out", tmp_path / "head")
    assert ended.code == 0, ended.err
    metrics = read_json(tmp_path / "head/metrics.json")["val"]
    assert metrics["macro_f1"] == best
    assert not any("mean nothing" in note for note in metrics["notes"])
    assert "checkpoints/stage-1-head.safetensors" in (tmp_path / "head/report.txt").read_text(encoding="utf-8")
    last = api.evaluate(never_stopped, checkpoint="final", out=tmp_path / "final", quiet=True).metrics["val"]
    assert "mean nothing" in last["notes"][0]
    told = refused(bunryu("evaluate", never_stopped, "--checkpoint", "stage-1-haed"))
    assert "has no checkpoint 'stage-1-haed'. Did you mean 'stage-1-head'?" in told
    assert "Checkpoints: best, final, stage-1-head, stage-2-last." in told
