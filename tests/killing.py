"""Trainings that die where a test wants them to.

A warm process (torch imported, no thread started) forks one child a training, so that a training costs its own
time alone. The child runs the real command; what kills or disturbs it is patched in from here, at a named point.
The product knows nothing of it.
"""

from __future__ import annotations

import atexit
import functools
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
ONE_THREAD["OMP_WAIT_POLICY"] = "passive"  # where a test has two, one that waits shall leave its core to others
TIMES = ("seconds", "images_per_second")


@dataclass(frozen=True)
class Ended:
    """How a training ended: its exit code (minus the signal that killed it), and what it printed."""

    code: int
    text: str

    @property
    def killed(self) -> bool:
        return self.code == -signal.SIGKILL


class Nursery:
    """The warm process, as tests see it."""

    def __init__(self) -> None:
        self.logs: dict[int, Path] = {}
        self.folder = Path(tempfile.mkdtemp(prefix="bunryu-nursery-"))
        env = os.environ | ONE_THREAD | {"BUNRYU_CACHE": str(self.folder / "cache")}
        self.process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env
        )

    def start(
        self,
        *args: object,
        point: str | None = None,
        at: int = 1,
        env: dict[str, str] | None = None,
        pictures: bool = False,
    ) -> int:
        """Start ``bunryu ARGS`` and return its process id; `point` happens when it is reached the `at`-th time."""
        log = Path(tempfile.mkstemp(dir=self.folder, suffix=".log")[1])
        told = {"args": list(map(str, args)), "point": point, "at": at, "log": str(log), "env": env or {}}
        told["pictures"] = pictures
        pid = int(self._ask(told))
        self.logs[pid] = log
        return pid

    def wait(self, pid: int, kill_after: float | None = None) -> Ended:
        """Wait for its end, with SIGKILL after so many seconds."""
        code = int(self._ask({"wait": pid, "kill_after": kill_after}))
        return Ended(code, self.logs.pop(pid).read_text(encoding="utf-8"))

    def run(self, *args: object, kill_after: float | None = None, **options: Any) -> Ended:
        return self.wait(self.start(*args, **options), kill_after)

    def finish(self, *args: object, **options: Any) -> None:
        """Run to a good end."""
        ended = self.run(*args, **options)
        assert ended.code == 0, ended.text

    def close(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()
        self.process.wait(timeout=60)
        shutil.rmtree(self.folder)

    def _ask(self, question: dict[str, Any]) -> str:
        assert self.process.stdin
        assert self.process.stdout
        self.process.stdin.write(json.dumps(question) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, "the warm process died"
        return answer


@functools.cache
def nursery() -> Nursery:
    """Return the one warm process of this process's tests."""
    made = Nursery()
    atexit.register(made.close)
    return made


def tensors(path: Path) -> dict[str, bytes]:
    """Return the bytes (and type and shape) of each tensor of a safetensors file."""
    from safetensors.torch import load_file, save

    return {name: save({"": value}) for name, value in load_file(path).items()}


def state(run: Path, name: str = "last") -> dict[str, Any]:
    """Return all that a checkpoint holds, but for times."""
    from safetensors import safe_open

    path = run / "checkpoints" / f"{name}.safetensors"
    with safe_open(path, "pt") as file:
        metadata = {key: json.loads(value) for key, value in file.metadata().items() if value[:1] in "{[n"}
    metadata.get("progress", {}).pop("spent_seconds", None)
    return {"tensors": tensors(path), **metadata}


def history(run: Path) -> list[dict[str, Any]]:
    """Return the history, but for times."""
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


def results(run: Path) -> dict[str, Any]:
    """Return all that a finished run found: everything that has to be the same bit for bit."""
    files = ["metrics.json", *sorted(path.name for path in run.glob("predictions_*.csv"))]
    files += sorted(path.name for path in run.glob("confusion_*"))
    return {
        "model": tensors(run / "model.safetensors"),
        "best": state(run, "best"),
        "last": state(run),
        "history": history(run),
        **{name: (run / name).read_bytes() for name in files},
    }


def assert_same(found: Path, expected: Path) -> None:
    """Two runs found the same, bit for bit, and as many things."""
    have, want = results(found), results(expected)
    assert have.keys() == want.keys()
    assert [name for name in want if have[name] != want[name]] == []


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def on_call(module: Any, name: str, at: int, action: Callable[[], None], *, before: bool = False) -> None:
    """Do `action` after (or before) the `at`-th call of a function of a module from now on."""
    original = getattr(module, name)
    calls = 0

    def watched(*args: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if before and calls == at:
            action()
        found = original(*args, **options)
        if not before and calls == at:
            action()
        return found

    setattr(module, name, watched)


def die_half_written(at: int) -> None:
    """Die when half of the `at`-th last checkpoint is in its temporary file."""
    opened = Path.open
    calls = 0

    def watched(self: Path, *args: Any, **options: Any) -> Any:
        nonlocal calls
        file = opened(self, *args, **options)
        if self.name.startswith(".last.safetensors"):
            calls += 1
            if calls == at:
                whole = file.write
                file = _Half(file, whole)
        return file

    Path.open = watched  # type: ignore[method-assign]


class _Half:
    def __init__(self, file: Any, write: Callable[[bytes], int]) -> None:
        self.file, self.whole = file, write

    def __enter__(self) -> _Half:
        return self

    def __exit__(self, *_: object) -> None:
        self.file.close()

    def write(self, payload: bytes) -> None:
        self.whole(payload[: len(payload) // 2])
        self.file.flush()
        die()


def _raise(error: Exception) -> None:
    raise error


def tell_rows(loop: Any, experiment: Any) -> None:
    """Print the rows of every batch that is learned from, with the seed of its dropout, and those validated."""
    import torch

    original, scorer = loop.learn_from, experiment.scorer

    def watched(job: Any, state: Any, feed: Any, x: Any, rows: Any, group_rows: int) -> Any:
        progress = state.progress
        print(
            "rows", json.dumps([progress.total_epochs, progress.step, rows.tolist(), torch.initial_seed()]), flush=True
        )
        return original(job, state, feed, x, rows, group_rows)

    def watched_scorer(*args: Any) -> Any:
        score = scorer(*args)

        def watched_score(rows: Any, probs: Any) -> Any:
            print("validated", json.dumps(rows.tolist()), flush=True)
            return score(rows, probs)

        return watched_score

    loop.learn_from, experiment.scorer = watched, watched_scorer


def arm(point: str, at: int) -> None:
    """Let something happen when a training reaches a point for the `at`-th time."""
    from bunryu.core.errors import TrainingError
    from bunryu.evaluate.report import files as written
    from bunryu.train import feed as feeding
    from bunryu.train import loop
    from bunryu.train import save as saving
    from bunryu.workflows import resume
    from bunryu.workflows import train as experiment
    from bunryu.workflows.plan import record

    def send(*numbers: signal.Signals) -> Callable[[], None]:
        return lambda: [os.kill(os.getpid(), number) for number in numbers] and None

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, resource.RLIM_INFINITY))

    match point:
        case "before the settings":
            on_call(record, "write_config", at, die, before=True)
        case "update":
            on_call(loop, "update", at, die)
        case "remembered":
            on_call(loop, "remember", at, die)
        case "remembered, saving each epoch":
            feeding.Features.seconds_between_saves = 0.0
            on_call(loop, "remember", at, die)
        case "half a group after a pause":
            on_call(loop, "pause", at, lambda: on_call(loop, "backward", 1, die))
        case "half written":
            die_half_written(at)
        case "best":
            on_call(saving, "seal_state", at, die)
        case "history":
            on_call(saving, "write_jsonl", at, die)
        case "end of stage":
            on_call(loop, "next_stage", at, die)
        case "trained":
            on_call(experiment, "finish", at, die, before=True)
        case "measured":
            on_call(written, "write_json", at, die, before=True)
        case "extended":
            on_call(resume, "write_config", at, die)
        case "SIGTERM":
            on_call(loop, "backward", at, send(signal.SIGTERM))
        case "SIGINT":
            on_call(loop, "backward", at, send(signal.SIGINT))
        case "SIGINT twice":
            on_call(loop, "backward", at, send(signal.SIGINT, signal.SIGINT))
        case "SIGINT while measuring":
            on_call(experiment, "measure_rows", at, send(signal.SIGINT))
        case "sleep":
            on_call(loop, "update", at, lambda: time.sleep(600))
        case "error":
            on_call(loop, "learn_from", at, lambda: _raise(TrainingError("it broke here")))
        case "rows":
            tell_rows(loop, experiment)
        case "small files":
            on_call(loop, "save", at, limit)
        case _:
            raise ValueError(point)


def draw_nothing(put: Callable[[Any, str, Any], None]) -> None:
    """Leave out what a run draws, and its look for fonts: more than half the time of a small training."""
    from bunryu.evaluate.report import files
    from bunryu.workflows import evaluate, train

    for module, names in (
        (files, ("_write_plots", "font_note")),
        (train, ("plot_curves", "write_augmented", "font_note")),
        (evaluate, ("plot_curves",)),
    ):
        for name in names:
            put(module, name, lambda *_, **__: None)


def child(args: list[str], point: str | None, at: int, log: str, pictures: bool) -> int:
    """Be ``bunryu ARGS``."""
    from bunryu.cli import app

    signal.signal(signal.SIGINT, signal.default_int_handler)
    nothing, out = os.open(os.devnull, os.O_RDONLY), os.open(log, os.O_WRONLY)
    os.dup2(nothing, 0), os.dup2(out, 1), os.dup2(out, 2)
    if not pictures:
        draw_nothing(setattr)
    sys.argv = ["bunryu", *args]
    try:
        if point:
            arm(point, at)
        app.main()
    except SystemExit as end:
        return int(end.code or 0)
    except BaseException:
        traceback.print_exc()
        return 70
    return 0


def reap(pid: int, kill_after: float | None) -> int:
    if kill_after is not None:
        until = time.monotonic() + kill_after
        while time.monotonic() < until:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.001)
        os.kill(pid, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def serve() -> None:
    """Answer questions on standard input until it ends."""
    import matplotlib.pyplot  # noqa: F401
    import pandas  # noqa: F401
    import safetensors.torch  # noqa: F401
    import scipy.stats  # noqa: F401
    import timm.optim  # noqa: F401

    from bunryu import api  # noqa: F401
    from bunryu.cli import app  # noqa: F401
    from bunryu.workflows import resume  # noqa: F401

    answers = sys.stdout
    for line in sys.stdin:
        question = json.loads(line)
        if "wait" in question:
            print(reap(question["wait"], question["kill_after"]), file=answers, flush=True)
            continue
        pid = os.fork()
        if pid == 0:
            os.environ.update(question["env"])
            code = child(question["args"], question["point"], question["at"], question["log"], question["pictures"])
            sys.stdout.flush(), sys.stderr.flush()
            os._exit(code)
        print(pid, file=answers, flush=True)


if __name__ == "__main__":
    serve()
