"""What goes wrong in a training is said in one message, and costs nothing that was saved."""

from __future__ import annotations

import errno
import math
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import killing
from bunryu import api
from bunryu.cli import app
from bunryu.core import storage
from bunryu.core.errors import ConfigError, DeviceError, Interrupted, RunError, TrainingError, count
from bunryu.core.storage import read_json, remove_leftovers, write_atomic
from bunryu.inference.model import Model
from bunryu.train import checkpoint, loop
from bunryu.train.checkpoint import load_checkpoint
from bunryu.train.losses import Loss
from bunryu.train.precision import memory_advice
from bunryu.workflows import train
from killing import Nursery, history, results, state

SMALL = (
    "model.name=scratch_cnn",
    "train.device=cpu",
    "input.size=16",
    "train.batch_size=8",
    "train.threads=1",
    "train.precision=fp32",
)
TWO = (*SMALL, "train.epochs=2", "evaluate.bootstrap=0")


@pytest.fixture(scope="module")
def nursery() -> Nursery:
    return killing.nursery()


@pytest.fixture
def photos(make_images, tmp_path: Path) -> Path:
    return make_images(tmp_path / "photos", {"a": 12, "b": 12})


def on_call(monkeypatch: pytest.MonkeyPatch, module: Any, name: str, at: int, action: Callable[[], object]) -> None:
    """Do `action` before the `at`-th call of a function of a module."""
    original, calls = getattr(module, name), []

    def watched(*args: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == at:
            action()
        return original(*args, **options)

    monkeypatch.setattr(module, name, watched)


def interrupt() -> None:
    raise Interrupted("now")


def stopped(photos: Path, run: Path, monkeypatch: pytest.MonkeyPatch, *pairs: str) -> Path:
    """Train until the second epoch begins; its checkpoint is that of the first."""
    with monkeypatch.context() as patch:
        on_call(patch, loop, "train_epoch", 2, interrupt)
        with pytest.raises(Interrupted):
            api.train(photos, *(pairs or TWO), out=run, quiet=True)
    assert state(run)["progress"]["total_epochs"] == 1
    return run


class TestNotFinite:
    def test_a_loss_stops_before_the_update_and_names_the_files(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        run = tmp_path / "run"
        seen: list[list[str]] = []
        losses, backward = Loss.rows, loop.backward

        def watch(job: Any, state: Any, feed: Any, x: Any, rows: Any, *rest: Any) -> None:
            seen.append([job.file(int(row)) for row in rows])
            backward(job, state, feed, x, rows, *rest)

        monkeypatch.setattr(loop, "backward", watch)
        monkeypatch.setattr(Loss, "rows", lambda *a: losses(*a) * (math.inf if len(seen) == 5 else 1))
        with pytest.raises(TrainingError, match="The loss is not finite") as caught:
            api.train(photos, *TWO, out=run, quiet=True)
        assert len(seen) == 5, "it stops at once"
        listed = (run / "nonfinite_batch.txt").read_text(encoding="utf-8").splitlines()
        assert listed == seen[4]
        assert listed[0] in str(caught.value)
        assert "optim.lr" in str(caught.value)
        assert f"the last good state is in {run / 'checkpoints'}" in str(caught.value)
        assert state(run)["progress"]["total_epochs"] == 1
        monkeypatch.undo()
        assert finite(run)

    def test_before_the_first_checkpoint_it_promises_none(self, photos: Path, tmp_path: Path):
        with pytest.raises(TrainingError, match="is not finite") as caught:
            api.train(photos, *TWO, "optim.lr=1e30", "schedule.warmup_epochs=0", out=tmp_path / "run", quiet=True)
        assert "no state had been saved yet" in str(caught.value)
        assert not (tmp_path / "run" / "checkpoints" / "last.safetensors").exists()

    def test_a_gradient_names_the_files_of_all_batches_that_are_in_it(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        run = tmp_path / "run"
        clip = loop.nn.utils.clip_grad_norm_
        monkeypatch.setattr(loop.nn.utils, "clip_grad_norm_", lambda *a: clip(*a) * math.nan)
        with pytest.raises(TrainingError, match="The gradient is not finite"):
            api.train(photos, *TWO, "train.accumulate=2", "optim.lr=1e-3", out=run, quiet=True)
        assert len((run / "nonfinite_batch.txt").read_text(encoding="utf-8").splitlines()) == 16

    def test_a_validation_loss_keeps_nothing_of_the_epoch(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        run, infer, calls = tmp_path / "run", Model.infer, []

        def broken(self: Model, *args: Any, **options: Any) -> Any:
            calls.append(1)
            answers = infer(self, *args, **options)
            return replace(answers, probs_NK=answers.probs_NK * (math.nan if len(calls) == 2 else 1))

        monkeypatch.setattr(Model, "infer", broken)
        with pytest.raises(TrainingError, match="The validation loss of epoch 2 is not finite"):
            api.train(photos, *TWO, out=run, quiet=True)
        assert state(run)["progress"]["total_epochs"] == len(history(run)) == 1

    def test_the_command_ends_with_one_message(self, nursery: Nursery, photos: Path, tmp_path: Path):
        ended = nursery.run("train", photos, "--out", tmp_path / "run", *TWO, "optim.lr=1e30")
        assert ended.code == 2
        assert "error: The " in ended.text
        assert "Traceback" not in ended.text


def finite(run: Path) -> bool:
    net = load_checkpoint(run / "checkpoints" / "last.safetensors").net
    return all(tensor.isfinite().all() for tensor in net.values())


class TestDiskFull:
    def test_the_old_checkpoint_stays_and_the_message_says_how_much(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        run = tmp_path / "run"
        opened = Path.open
        full: list[bytes] = []

        class Full:
            def __init__(self, file: Any) -> None:
                self.file = file

            def __enter__(self) -> Full:
                return self

            def __exit__(self, *_: object) -> None:
                self.file.close()

            def write(self, payload: bytes) -> None:
                self.file.write(payload[:100])
                full.append(payload)
                raise OSError(errno.ENOSPC, "No space left on device")

        def open_(path: Path, *args: Any, **options: Any) -> Any:
            file = opened(path, *args, **options)
            late = path.name.startswith(".last.safetensors") and (run / "checkpoints" / "last.safetensors").exists()
            return Full(file) if late else file

        monkeypatch.setattr(Path, "open", open_)
        monkeypatch.setattr(storage.shutil, "disk_usage", lambda _: SimpleNamespace(free=123_400_000))
        with pytest.raises(TrainingError, match="No space left to write") as caught:
            api.train(photos, *TWO, out=run, quiet=True)
        monkeypatch.undo()
        assert f"needs at least {len(full[0]) / 1e6:.1f} MB and 123.4 MB of the disk are free" in str(caught.value)
        assert not list((run / "checkpoints").glob(".*.tmp"))
        assert state(run)["progress"]["total_epochs"] == 1
        assert_resumes_to_the_same(run, photos)

    def test_a_real_limit(self, nursery: Nursery, photos: Path, tmp_path: Path):
        """The system refuses files above 100 kB once the first checkpoint is written."""
        run = tmp_path / "run"
        ended = nursery.run("train", photos, "--out", run, *TWO, point="small files")
        assert ended.code == 2, ended.text
        assert ended.text.count("error:") == 1
        assert "No space left to write" in ended.text
        assert "(File too large): it needs at least 0." in ended.text
        assert "Traceback" not in ended.text
        assert not list((run / "checkpoints").glob(".*.tmp"))
        assert state(run)["progress"]["total_epochs"] == 1
        assert_resumes_to_the_same(run, photos)

    def test_leftovers_of_a_kill_are_removed_and_nothing_else(self, tmp_path: Path):
        for name in (".last.safetensors.123.tmp", "last.safetensors", ".lock", "mine.tmp"):
            write_atomic(tmp_path / name, b"x")
        remove_leftovers(tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == [".lock", "last.safetensors", "mine.tmp"]


def assert_resumes_to_the_same(run: Path, photos: Path) -> None:
    straight = api.train(photos, *TWO, out=run.parent / "straight", quiet=True).path
    assert results(api.resume(run, quiet=True).path) == results(straight)


class TestChangedData:
    @pytest.fixture
    def run(self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
        return stopped(photos, tmp_path / "run", monkeypatch)

    @pytest.mark.parametrize(
        ("change", "told"),
        [
            (lambda a: (a / "000.png").unlink(), ["removed or no longer readable: a/000.png"]),
            (lambda a: (a / "000.png").write_bytes(b"none"), ["removed or no longer readable: a/000.png"]),
            (lambda a: shutil.copy(a / "000.png", a / "new.png"), ["added: a/new.png"]),
            (lambda a: shutil.copy(a / "001.png", a / "000.png"), ["changed: a/000.png"]),
            (
                lambda a: (a / "000.png").rename(a.parent / "b" / "x.png"),
                ["added: b/x.png", "removed or no longer readable: a/000.png"],
            ),
        ],
    )
    def test_it_is_refused_and_the_differences_listed(
        self, change: Callable[[Path], object], told: list[str], run: Path, photos: Path
    ):
        change(photos / "a")
        with pytest.raises(RunError, match=r"changed since it started \(\d difference") as caught:
            api.resume(run, quiet=True)
        assert f"({count(len(told), 'difference')}): {', '.join(told)} (all in" in str(caught.value)
        assert (run / "data_changes.txt").read_text(encoding="utf-8").splitlines() == told
        assert not (run / "metrics.json").exists()

    def test_a_renamed_class_lists_all_its_files(self, run: Path, photos: Path):
        (photos / "a").rename(photos / "c")
        with pytest.raises(RunError, match=r"\(24 differences\).* and 18 more"):
            api.resume(run, quiet=True)
        assert len((run / "data_changes.txt").read_text(encoding="utf-8").splitlines()) == 24

    def test_put_back_it_goes_on(self, run: Path, photos: Path):
        moved = photos.with_name("moved")
        photos.rename(moved)
        with pytest.raises(Exception, match="There is no file or folder"):
            api.resume(run, quiet=True)
        moved.rename(photos)
        assert_resumes_to_the_same(run, photos)

    def test_labels_and_groups_in_a_table(self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        table = photos / "labels.csv"
        rows = [f"{path.relative_to(photos)},{path.parent.name},p{i}" for i, path in enumerate(photos.glob("*/*.png"))]

        def write(lines: list[str]) -> None:
            table.write_text("\n".join(["image,label,person", *lines]) + "\n", encoding="utf-8")

        write(rows)
        run = stopped(table, tmp_path / "run", monkeypatch, *TWO, "data.group_column=person")
        path = rows[0].split(",")[0]
        for line, told in ((f"{path},b,p0", "label changed"), (f"{path},a,p1", "group changed")):
            line = line.replace(",b,", ",a,") if path.startswith("b") and "label" in told else line
            line = line.replace(",a,", ",b,") if path.startswith("b") and "group" in told else line
            write([line, *rows[1:]])
            with pytest.raises(RunError, match=f"1 difference\\).*{told}: {path}"):
                api.resume(run, quiet=True)
        write([f"{path},a,p0", f"{path},b,p0", *rows[1:]])
        with pytest.raises(RunError, match=f"label changed: {path}"):
            api.resume(run, quiet=True)
        write(rows[::-1])
        api.resume(run, quiet=True)


class TestTwoTrainings:
    def test_the_second_is_refused_until_the_first_is_gone(self, nursery: Nursery, photos: Path, tmp_path: Path):
        run = tmp_path / "run"
        first = nursery.start("train", photos, "--out", run, *TWO, point="sleep", at=4)
        until = time.monotonic() + 60
        while not (run / "checkpoints" / "last.safetensors").exists() and time.monotonic() < until:
            time.sleep(0.02)
        with pytest.raises(RunError, match="Another command is running in"):
            api.resume(run, quiet=True)
        with pytest.raises(RunError, match="is not empty, and a run is never overwritten"):
            api.train(photos, *TWO, out=run, quiet=True)
        assert nursery.wait(first, kill_after=0).killed
        assert_resumes_to_the_same(run, photos)

    def test_two_at_once_in_one_new_folder(self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        """The other one makes and locks the folder just after this one found it empty."""
        run = tmp_path / "run"
        create = train.create_run

        def late(*args: Any) -> Any:
            folder = create(*args)
            other = folder.lock()
            other.__enter__()
            kept.append(other)
            return folder

        kept: list[Any] = []
        monkeypatch.setattr(train, "create_run", late)
        with pytest.raises(RunError, match="Another command is running in"):
            api.train(photos, *TWO, out=run, quiet=True)
        assert not (run / "config.yaml").exists(), "the other's files were touched"


class TestDamage:
    @pytest.mark.parametrize(
        "damage",
        [
            lambda payload: payload[: len(payload) // 2],
            lambda payload: payload[:5],
            lambda _: b"",
            lambda _: bytes(range(256)) * 200,
            lambda payload: payload[:8] + b"\x00" * 300 + payload[308:],
            lambda payload: payload.replace(b"checkpoint_schema", b"checkpoint_schemx"),
            lambda payload: payload.replace(b'\\"total_epochs\\"', b'\\"total_epoch_\\"'),
        ],
    )
    def test_a_damaged_checkpoint_is_one_clear_message(self, damage: Callable[[bytes], bytes], tmp_path: Path):
        from bunryu.models.build import build
        from bunryu.models.record import Architecture, Head, Sealed
        from bunryu.settings.data import DecodeSpec, InputSpec

        architecture = Architecture(name="scratch_cnn")
        spec = InputSpec(height=8, width=8, mean=[0, 0, 0], std=[1, 1, 1])
        head = Head(column="label", classes=["a", "b"])
        sealed = Sealed(architecture=architecture, heads=[head], decode=DecodeSpec(), input=spec)
        file = tmp_path / "last.safetensors"
        checkpoint.save_checkpoint(file, checkpoint.Progress(), sealed, build(architecture, 2), None, {})
        load_checkpoint(file)
        payload = file.read_bytes()
        assert damage(payload) != payload
        file.write_bytes(damage(payload))
        with pytest.raises(RunError, match=r"is damaged or not a checkpoint \(.+\), so .+ start again"):
            load_checkpoint(file)

    def test_resuming_from_it_says_so(self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        run = stopped(photos, tmp_path / "run", monkeypatch)
        last = run / "checkpoints" / "last.safetensors"
        last.write_bytes(last.read_bytes()[:1000])
        with pytest.raises(RunError, match="is damaged"):
            api.resume(run, quiet=True)

    def test_a_history_that_lost_rows(self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        run = stopped(photos, tmp_path / "run", monkeypatch)
        (run / "history.jsonl").unlink()
        with pytest.raises(RunError, match=r"history\.jsonl lost rows"):
            api.resume(run, quiet=True)

    def test_a_picture_that_can_no_longer_be_read_while_training(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        spoiled = photos / "a" / "003.png"
        whole = spoiled.read_bytes()
        on_call(monkeypatch, loop, "train_epoch", 2, lambda: spoiled.write_bytes(b"spoiled"))
        with pytest.raises(Exception, match=r"cannot be read: .*003\.png"):
            api.train(photos, *TWO, out=tmp_path / "run", quiet=True)
        spoiled.write_bytes(whole)
        assert_resumes_to_the_same(tmp_path / "run", photos)


class TestWhatCannotBeResumed:
    def test_nothing_there_and_no_run(self, photos: Path, tmp_path: Path):
        with pytest.raises(RunError, match="There is no run folder"):
            api.resume(tmp_path / "nowhere", quiet=True)
        with pytest.raises(RunError, match="is not a run folder"):
            api.resume(photos, quiet=True)

    @pytest.mark.parametrize(
        "more", [["photos/"], ["train.epochs=9"], ["--out", "x"], ["--recipe", "scratch"], ["--dry-run"]]
    )
    def test_other_arguments(self, more: list[str], tmp_path: Path):
        with pytest.raises(ConfigError, match="--resume goes on with the run exactly as it was set up"):
            app.app(["train", "--resume", str(tmp_path), *more], standalone_mode=False)

    def test_more_epochs_without_resume(self, photos: Path):
        with pytest.raises(ConfigError, match="--more-epochs belongs to --resume"):
            app.app(["train", str(photos), "--more-epochs", "2"], standalone_mode=False)

    def test_more_epochs_of_a_run_that_has_not_ended(
        self, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        run = stopped(photos, tmp_path / "run", monkeypatch)
        config = (run / "config.yaml").read_bytes()
        with pytest.raises(RunError, match="has not finished; resume it without --more-epochs first"):
            api.resume(run, more_epochs=2, quiet=True)
        assert (run / "config.yaml").read_bytes() == config
        (run / "checkpoints" / "last.safetensors").unlink()
        with pytest.raises(RunError, match="has no checkpoint yet"):
            api.resume(run, more_epochs=2, quiet=True)


@pytest.fixture(scope="module")
def pictures(make_images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("more") / "photos", {"a": 12, "b": 12})


@pytest.fixture(scope="module")
def finished(nursery: Nursery, pictures: Path) -> Path:
    run = pictures.with_name("run")
    nursery.finish("train", pictures, "--out", run, *TWO)
    return run


@pytest.fixture(scope="module")
def extended(nursery: Nursery, finished: Path) -> Path:
    run = shutil.copytree(finished, finished.with_name("extended"))
    nursery.finish("train", "--resume", run, "--more-epochs", "2")
    return run


class TestMoreEpochs:
    def test_a_finished_run_is_refused_and_told_how_to_go_further(self, finished: Path):
        before = {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name != ".lock"}
        with pytest.raises(RunError, match=rf"has finished.*bunryu train --resume {finished} --more-epochs 5"):
            api.resume(finished, quiet=True)
        assert before == {path: path.stat().st_mtime_ns for path in finished.rglob("*") if path.name != ".lock"}

    def test_they_are_a_further_stage(self, finished: Path, extended: Path):
        rows = history(extended)
        assert rows[:2] == history(finished)
        assert [(row["epoch"], row["stage"]) for row in rows[2:]] == [(3, "more1"), (4, "more1")]
        settings = api.open_run(extended).settings
        assert settings.train.epochs == 4
        assert [(stage.name, stage.epochs) for stage in settings.train.stages] == [("all", 2), ("more1", 2)]
        assert state(extended)["tensors"] != state(finished)["tensors"]
        assert "4 epochs (all epochs done)" in (extended / "report.txt").read_text(encoding="utf-8")

    @pytest.mark.parametrize(("point", "at"), [("extended", 1), ("update", 2), ("history", 1), ("measured", 1)])
    def test_they_resume_too(
        self, point: str, at: int, nursery: Nursery, finished: Path, extended: Path, tmp_path: Path
    ):
        run = shutil.copytree(finished, tmp_path / "run")
        assert nursery.run("train", "--resume", run, "--more-epochs", "2", point=point, at=at).killed
        if point != "measured":
            refused = nursery.run("train", "--resume", run, "--more-epochs", "2")
            assert refused.code == 2
            assert "resume it without --more-epochs first" in refused.text
        nursery.finish("train", "--resume", run)
        assert results(run) == results(extended)
        assert api.open_run(run).settings == api.open_run(extended).settings

    def test_and_again(self, nursery: Nursery, extended: Path, tmp_path: Path):
        run = shutil.copytree(extended, tmp_path / "run")
        nursery.finish("train", "--resume", run, "--more-epochs", "1")
        assert [row["stage"] for row in history(run)] == ["all", "all", "more1", "more1", "more2"]


class TestMemory:
    @pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: 9 GB")])
    def test_advice_keeps_the_effective_batch(
        self, error: Exception, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ):
        def fail() -> None:
            raise error

        on_call(monkeypatch, Loss, "rows", 2, fail)
        with pytest.raises(DeviceError, match=r"Out of memory with train\.batch_size=8\.") as caught:
            api.train(photos, *TWO, "train.accumulate=3", out=tmp_path / "run", quiet=True)
        assert "train.batch_size=4 train.accumulate=6" in str(caught.value)

    def test_one_picture_at_a_time_cannot_be_lowered(self):
        with pytest.raises(DeviceError, match=r"batch_size=1\. Lower input\.size"), memory_advice(1):
            raise MemoryError

    def test_other_errors_pass(self):
        with pytest.raises(RuntimeError, match="shape"), memory_advice(8):
            raise RuntimeError("shape mismatch")


def test_the_threads_of_the_run_are_used_again(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import torch

    run = stopped(photos, tmp_path / "run", monkeypatch)
    assert read_json(run / "environment.json")["threads"] == 1
    torch.set_num_threads(2)
    try:
        api.resume(run, quiet=True)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(1)


def test_a_run_of_another_device_goes_on_here_and_says_so(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    import torch

    run = stopped(photos, tmp_path / "run", monkeypatch)
    gone = "mps" if torch.cuda.is_available() else "cuda"
    environment = run / "environment.json"
    environment.write_text(environment.read_text(encoding="utf-8").replace('"device": "cpu"', f'"device": "{gone}"'))
    api.resume(run)
    assert f"there is no {gone} here" in capsys.readouterr().err
