"""Two processes end where one ends: the same rows in each batch, none twice, the same weights and figures."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

import killing
from bunryu.core import distributed
from bunryu.core.errors import DeviceError
from bunryu.train.data_parallel import block, part
from conftest import assert_same_sums, refused, rounding
from killing import Ended, Nursery, assert_same, history

SMALL = (
    "model.name=scratch_cnn",
    "model.dropout=0",
    "train.device=cpu",
    "train.precision=fp32",
    "train.batch_size=13",
    "train.epochs=3",
    "train.threads=1",
    "input.size=16",
    "optim.name=sgd",
    "optim.lr=0.05",
    "evaluate.bootstrap=20",
    "split.val=0.6",
)
"""No BatchNorm, no dropout, and SGD: two processes compute what one does, but for the order of sums. 29 rows:
batches of 13, 13 and 3, of which the second process gets nothing. 43 rows to validate: 32 for the first, 11 for
the second."""
EVERYTHING = (
    *SMALL,
    "model.batch_norm=true",
    "model.dropout=0.3",
    "train.ema=0.9",
    "train.accumulate=2",
    "train.checkpoint_minutes=1e-6",
    "train.epochs=4",
    "optim.name=adamw",
    "optim.lr=4e-3",
    "train.stages=[{name: probe, freeze: backbone, views: 0, solve: true, epochs: 1}, "
    "{name: head, freeze: backbone, views: 2, epochs: 1}, {name: all}]",
)


@pytest.fixture(scope="module")
def nursery() -> Nursery:
    return killing.nursery()


@pytest.fixture(scope="module")
def photos(make_images, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_images(tmp_path_factory.mktemp("photos") / "photos", {"가": 24, "b": 24, "c": 24})


def pair(nursery: Nursery, *args: object, points: tuple[str | None, str | None] = (None, None), at: int = 1):
    """Run ``bunryu ARGS`` in two processes, with torchrun's environment; return how each ended."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    env = {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    pids = [
        nursery.start(*args, point=point, at=at, env=env | {"RANK": str(rank), "LOCAL_RANK": str(rank)})
        for rank, point in enumerate(points)
    ]
    return [nursery.wait(pid, kill_after=60) for pid in pids]


def rows_of(*ended: Ended) -> dict[tuple[int, int], list[int]]:
    """Return the sorted rows of each (epoch, batch), over all processes, with repetition."""
    found: dict[tuple[int, int], list[int]] = {}
    for process in ended:
        for line in process.text.splitlines():
            if line.startswith("rows "):
                epoch, step, rows, _ = json.loads(line.removeprefix("rows "))
                found.setdefault((epoch, step), []).extend(rows)
    return {key: sorted(rows) for key, rows in found.items()}


def validated(ended: Ended) -> list[str]:
    return [line for line in ended.text.splitlines() if line.startswith("validated ")]


def assert_close(found: Path, expected: Path) -> None:
    """Compare weights and figures; the sums of 4 epochs of 29 rows, or of 72, in another order."""
    have, want = load_file(found / "model.safetensors"), load_file(expected / "model.safetensors")
    terms = 4 * 72
    assert_same_sums(have, want, terms)
    for row, other in zip(history(found), history(expected), strict=True):
        assert row.keys() == other.keys()
        for name, value in other.items():
            assert row[name] == (pytest.approx(value, rel=rounding(terms)) if isinstance(value, float) else value), name
    assert (found / "confusion_val.csv").read_bytes() == (expected / "confusion_val.csv").read_bytes()


def test_two_processes_end_where_one_does(nursery, photos, tmp_path):
    args = (*SMALL, "train.accumulate=2", "train.clip_norm=0.5", "schedule.warmup_epochs=1")
    one = nursery.run("train", photos, "--out", tmp_path / "one", *args, point="rows")
    two = pair(nursery, "train", photos, "--out", tmp_path / "two", *args, points=("rows", "rows"))
    assert [process.code for process in two] == [0, 0], two
    assert rows_of(*two) == rows_of(one)
    assert [len(rows) for (epoch, _), rows in sorted(rows_of(*two).items()) if epoch == 0] == [13, 13, 3]
    for epoch in range(3):
        seen = [row for (e, _), rows in rows_of(*two).items() if e == epoch for row in rows]
        assert len(seen) == len(set(seen)) == 29
    assert [len(rows_of(process)) for process in two] == [9, 6], "both work; nobody trains on a single row"
    seeds = [line.rsplit(maxsplit=1)[1] for process in two for line in process.text.splitlines() if "rows [" in line]
    assert len(seeds) == len(set(seeds)) == 15, "dropout differs by batch and process"
    assert_close(tmp_path / "two", tmp_path / "one")
    assert "processes: 2" in two[0].text
    assert validated(two[0]) == validated(two[1]) == validated(one), "all know the answers to all rows, each once"
    others = [line for line in two[1].text.splitlines() if not line.startswith(("rows ", "validated "))]
    assert others == [], "the first process speaks alone"


def test_two_climb_by_the_sum_of_their_gradients_and_average_alike(nursery, photos, tmp_path):
    """SAM, SWA and a last stage on all rows: the same in two processes as in one."""
    stages = "train.stages=[{name: all, epochs: 3}, {name: both, rows: all, epochs: 1}]"
    args = (*SMALL, stages, "train.epochs=4", "train.swa=0.67", "optim.sam_rho=0.2")
    nursery.finish("train", photos, "--out", tmp_path / "one", *args)
    two = pair(nursery, "train", photos, "--out", tmp_path / "two", *args)
    assert [process.code for process in two] == [0, 0], two
    assert_close(tmp_path / "two", tmp_path / "one")


def test_stopped_and_resumed_by_two_is_never_stopped(nursery, photos, tmp_path):
    whole = pair(nursery, "train", photos, "--out", tmp_path / "whole", *EVERYTHING)
    assert [process.code for process in whole] == [0, 0], whole
    stopped = pair(nursery, "train", photos, "--out", tmp_path / "run", *EVERYTHING, points=(None, "SIGTERM"), at=7)
    assert [process.code for process in stopped] == [130, 130], stopped
    assert sum(process.text.count("the state is saved") for process in stopped) == 1
    resumed = pair(nursery, "train", "--resume", tmp_path / "run")
    assert [process.code for process in resumed] == [0, 0], resumed
    assert_same(tmp_path / "run", tmp_path / "whole")


def test_another_number_of_processes_goes_on(nursery, photos, tmp_path):
    nursery.finish("train", photos, "--out", tmp_path / "one", *SMALL)
    stopped = pair(nursery, "train", photos, "--out", tmp_path / "run", *SMALL, points=("SIGTERM", None), at=5)
    assert [process.code for process in stopped] == [130, 130], stopped
    alone = nursery.run("train", "--resume", tmp_path / "run")
    assert alone.code == 0, alone
    assert "2 processes then, 1 now" in alone.text
    assert_close(tmp_path / "run", tmp_path / "one")


def test_cached_features_are_those_of_one_process(nursery, photos, tmp_path):
    stages = "train.stages=[{name: probe, freeze: backbone, views: 2, solve: true, epochs: 1}, {name: all}]"
    # A solved head is steep: with a larger step its last bits grow from update to update.
    args = (*SMALL, stages, "data.cache_gb=0", "optim.lr=1e-3")
    nursery.finish("train", photos, "--out", tmp_path / "one", *args)
    two = pair(nursery, "train", photos, "--out", tmp_path / "two", *args)
    assert [process.code for process in two] == [0, 0], two
    assert history(tmp_path / "two")[0] == history(tmp_path / "one")[0], "the same features, and so the same head"
    assert_close(tmp_path / "two", tmp_path / "one")


@pytest.mark.parametrize("broken", [0, 1])
def test_an_error_in_one_ends_both_with_one_message(nursery, photos, tmp_path, broken):
    points = ("error", None) if broken == 0 else (None, "error")
    ended = pair(nursery, "train", photos, "--out", tmp_path / "run", *SMALL, points=points, at=3)
    assert [process.code for process in ended] == [2, 2] or (broken == 0 and ended[1].code in (1, 2)), ended
    text = "".join(process.text for process in ended)
    assert text.count("error: ") == 1, text
    assert "error: it broke here" in ended[broken].text
    assert "Traceback" not in text


def test_a_process_that_is_killed_ends_the_other(nursery, photos, tmp_path):
    first, other = pair(nursery, "train", photos, "--out", tmp_path / "run", *SMALL, points=(None, "update"), at=3)
    assert other.code == -signal.SIGKILL
    assert first.code == 2
    assert "error: Another process of this training ended without a word" in first.text
    assert "Traceback" not in first.text


def test_an_error_while_planning_ends_both(nursery, photos, tmp_path):
    ended = pair(nursery, "train", photos / "b", "--out", tmp_path / "run", *SMALL)
    assert ended[0].code == 2
    assert ended[1].code in (1, 2)
    assert [process.text.count("error: ") for process in ended] == [1, 0], ended
    assert not (tmp_path / "run").exists()


def test_torchrun_starts_it(photos, tmp_path):
    """The real launcher, once; where the folder's name is the first process's choice."""
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "bunryu"]
    env = os.environ | killing.ONE_THREAD
    told = subprocess.run(
        [*command, "train", photos, *SMALL, "train.epochs=1"],
        cwd=tmp_path, env=env, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert told.returncode == 0, told.stderr
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["photos-1"]
    assert (tmp_path / "runs/photos-1/metrics.json").exists()
    assert json.loads((tmp_path / "runs/photos-1/environment.json").read_text(encoding="utf-8"))["processes"] == 2
    assert told.stdout.count("macro-F1") == 1, "results are shown once"


@pytest.mark.parametrize("world", [1, 2, 3, 4, 7])
def test_parts_and_blocks_leave_nothing_out(monkeypatch, world):
    monkeypatch.setattr(distributed, "world", lambda: world)

    def each(make) -> list[np.ndarray]:
        found = []
        for rank in range(world):
            monkeypatch.setattr(distributed, "rank", lambda rank=rank: rank)
            found.append(make())
        return found

    for n in range(1, 70):
        rows = np.random.default_rng(n).permutation(n)
        parts = each(lambda rows=rows: part(rows))
        assert np.concatenate(parts).tolist() == rows.tolist()
        assert n == 1 or all(len(rows) != 1 for rows in parts)
        sizes = [len(rows) for rows in parts if len(rows)]
        assert max(sizes) - min(sizes) <= 1
        blocks = each(lambda rows=rows: block(rows, 8))
        assert np.concatenate(blocks).tolist() == rows.tolist()
        assert all(len(rows) % 8 == 0 for rows in blocks[: max(0, -(-n // 8) - 1)][:-1]), "whole batches"


def test_other_commands_are_not_for_several(bunryu, monkeypatch):
    for name, value in (("WORLD_SIZE", "2"), ("RANK", "0"), ("MASTER_ADDR", "localhost")):
        monkeypatch.setenv(name, value)
    assert refused(bunryu("recipes")).endswith("Start it once: bunryu recipes ...")


def test_more_processes_than_gpus_are_refused(monkeypatch):
    monkeypatch.setattr(distributed, "_inside", True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in ("WORLD_SIZE", "LOCAL_WORLD_SIZE", "RANK"):
        monkeypatch.setenv(name, "2")
    monkeypatch.setenv("MASTER_ADDR", "localhost")
    distributed.require_devices("cpu")
    with pytest.raises(DeviceError, match="2 processes on this machine, which has 1 cuda device"):
        distributed.require_devices("cuda")
