"""Names from outside act on no terminal and forge no line, in whatever position of whatever command they stand."""

from __future__ import annotations

import csv
import json
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.text import Text

from bunryu.core.shown import acts
from conftest import TINY, Command, Ended, write_class_folders

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="this file system permits no such names")
EVIL = "가\x1b[2J\nFORGED\x9b7m\u202e[red]x:smile:"
"""Clears the screen, begins a line, sets inverse, turns text around, and is markup and an emoji's name to rich."""
BAD = f"bad{EVIL}.png"


def lines_are_ours(text: str) -> None:
    """Nothing acts, no line is forged, and markup is shown as it is."""
    for line in text.split("\n"):
        assert not acts(line.replace("\t", "")), ascii(line)
        assert not line.startswith("FORGED"), text
    assert "😄" not in text


def checked(ended: Ended, code: int | None = None, *, told: bool = True) -> Ended:
    lines_are_ours(ended.out)
    lines_are_ours(ended.err)
    assert "Traceback" not in ended.err
    assert "FORGED" in ended.out + ended.err or not told, "the test is blind: the name was not told"
    assert code is None or ended.code == code, ended
    return ended


def files_are_ours(folder: Path) -> int:
    """Reports and JSON have nothing that acts; JSON and CSV hold the true names. Returns how many held any."""
    held = 0
    for path in sorted(folder.rglob("*")):
        if path.suffix in (".txt", ".json", ".jsonl"):
            text = path.read_text(encoding="utf-8")
            lines_are_ours(text)
            if path.suffix == ".json":
                assert "FORGED" not in text or any("\nFORGED" in one for one in strings(json.loads(text))), path
            held += "FORGED" in text
        elif path.suffix == ".csv" and path.name != "folds.csv":
            with path.open(encoding="utf-8", newline="") as stream:
                cells = [cell for row in csv.reader(stream) for cell in row]
            assert not any("FORGED" in cell and "\nFORGED" not in cell for cell in cells), path
            held += any("FORGED" in cell for cell in cells)
    return held


def strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from (key, *strings(inner))
    elif isinstance(value, list):
        for inner in value:
            yield from strings(inner)
    elif isinstance(value, str):
        yield value


class Hostile(NamedTuple):
    """A folder of pictures and a run whose names all are hostile, and what was drawn."""

    data: Path
    run: Path
    ended: Ended
    drawn: list[str]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Hostile:
    """Train once, pictures and all."""
    import contextlib
    import io

    folder, drawn = tmp_path_factory.mktemp("hostile"), []
    data, run = folder / f"data{EVIL}", folder / f"run{EVIL}"
    write_class_folders(data, {f"cat{EVIL}": 12, f"dog{EVIL}": 12})
    for path in sorted((data / f"cat{EVIL}").iterdir())[:6]:
        path.rename(path.with_name(f"{path.stem}{EVIL}.png"))
    (data / f"cat{EVIL}" / BAD).write_bytes(b"no image")
    recipe = folder / f"recipe{EVIL}.yaml"
    recipe.write_text(
        json.dumps({"train": {"stages": [{"name": f"s{EVIL}", "epochs": 1}], "epochs": 1}}), encoding="utf-8"
    )
    draw = FigureCanvasAgg.print_png

    def print_png(canvas: Any, *args: Any, **options: Any) -> None:
        drawn.extend(text.get_text() for text in canvas.figure.findobj(Text))
        draw(canvas, *args, **options)

    out, err = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUNRYU_CACHE", str(folder / "cache"))
        patch.setattr(FigureCanvasAgg, "print_png", print_png)
        tiny = [pair for pair in TINY if "epochs" not in pair]
        patch.setattr(sys, "argv", ["bunryu", "train", str(data), "--out", str(run), "--recipe", str(recipe), *tiny])
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            from bunryu.cli import app

            with pytest.raises(SystemExit) as end:
                app.main()
    return Hostile(data, run, Ended(int(end.value.code or 0), out.getvalue(), err.getvalue()), drawn)


def test_training(hostile: Hostile) -> None:
    checked(hostile.ended, 0)
    assert files_are_ours(hostile.run) >= 6
    assert "[red]x:smile:" in hostile.ended.err


def test_pictures_show_nothing_that_acts(hostile: Hostile) -> None:
    assert any("FORGED" in text for text in hostile.drawn)
    for text in hostile.drawn:
        lines_are_ours(text)


def test_evaluating(hostile: Hostile, bunryu: Command, tmp_path: Path) -> None:
    out = tmp_path / f"out{EVIL}"
    checked(bunryu("evaluate", hostile.run, "--data", hostile.data, "--out", out, "--name", "n\x1b\nFORGED"))
    assert files_are_ours(out)


def test_predicting(hostile: Hostile, bunryu: Command, tmp_path: Path) -> None:
    one = next((hostile.data / f"cat{EVIL}").glob("0*FORGED*"))
    checked(bunryu("predict", hostile.run, one), 0)
    ended = checked(bunryu("predict", hostile.run, hostile.data, "--format", "jsonl"), 2)
    assert any(EVIL in json.loads(line)["path"] for line in ended.out.splitlines())
    out = tmp_path / f"answers{EVIL}.csv"
    checked(bunryu("predict", hostile.run, hostile.data, "--out", out), 2)
    assert files_are_ours(tmp_path) == 2


def test_results_on_a_terminal_act_no_more_than_messages(
    hostile: Hostile, bunryu: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout.isatty", lambda: True)
    checked(bunryu("predict", hostile.run, hostile.data), 2)


def test_what_lays_files_out(hostile: Hostile, bunryu: Command, tmp_path: Path) -> None:
    checked(bunryu("augment", hostile.data, "--out", tmp_path / f"a{EVIL}", "--square"), 0)
    checked(bunryu("split", hostile.data, "--out", tmp_path / f"s{EVIL}"), 2)  # such classes cannot be folders
    checked(bunryu("ensemble", hostile.run, hostile.run, "--out", tmp_path / f"e{EVIL}"), 0)
    assert files_are_ours(tmp_path)


def test_probing(hostile: Hostile, bunryu: Command, tmp_path: Path) -> None:
    out, few = tmp_path / f"p{EVIL}", ("train.threads=1", "evaluate.bootstrap=20")
    checked(bunryu("probe", hostile.data, "--out", out, f"model.weights={hostile.run}", *few), 0)
    assert files_are_ours(out)


def test_benching(hostile: Hostile, bunryu: Command, tmp_path: Path) -> None:
    out = tmp_path / f"tuned{EVIL}.yaml"
    tiny = [pair for pair in TINY if "batch_size" not in pair]
    checked(bunryu("bench", hostile.data, *tiny, "train.batch_size=4", "--tune", "--out", out), 0)
    assert out.exists()


def test_damage(hostile: Hostile, bunryu: Command, tmp_path: Path) -> None:
    """Each file that is read back of a run with such a name, damaged."""
    for number, name in enumerate(
        ("model.safetensors", "config.yaml", "split.csv", "environment.json", "metrics.json")
    ):
        run = shutil.copytree(hostile.run, tmp_path / f"{number}{EVIL}")
        (run / name).write_bytes(b"\xff{FORGED\n")
        command = ("ensemble", run, run, "--weights", "fit") if name == "metrics.json" else ("evaluate", run)
        checked(bunryu(*command, "--out", tmp_path / f"{number}"))
    last = run / "checkpoints" / "last.safetensors"
    last.write_bytes(b"\xff")
    checked(bunryu("train", "--resume", run, "--more-epochs", "1"), 2)


def test_tables(hostile: Hostile, bunryu: Command, tmp_path: Path) -> None:
    table = tmp_path / f"table{EVIL}.csv"
    rows = [(str(path), path.parent.name, EVIL) for path in sorted(hostile.data.glob("*/0*.png"))]
    write_table(table, [("path", f"label{EVIL}", f"set{EVIL}"), *rows])
    checked(bunryu("train", table, "--dry-run", *TINY), told=True)
    column = f"data.label_column=label{EVIL}"
    checked(bunryu("train", table, column, f"data.group_column=set{EVIL}", "--dry-run", *TINY))
    checked(bunryu("train", table, column, f"data.group_column=no{EVIL}", "--dry-run", *TINY), 2)
    named = [(f"{number}{EVIL}.png", EVIL) for number in range(4)]
    write_table(tmp_path / "truth.csv", [("path", "label"), *named])
    write_table(tmp_path / "said.csv", [("path", "label"), *named[1:]])
    checked(bunryu("score", tmp_path / "said.csv", tmp_path / "truth.csv"), 2)


def write_table(path: Path, rows: list[tuple[str, ...]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows(rows)


MISTAKES = [
    (f"train{EVIL}",),
    (f"--{EVIL}",),
    ("train", f"no{EVIL}"),
    ("train", "DATA", f"--{EVIL}"),
    ("train", "DATA", f"train.{EVIL}=1"),
    ("train", "DATA", f"train.epochs={EVIL}"),
    ("train", "DATA", f"model.name={EVIL}"),
    ("train", "DATA", f"model.weights={EVIL}"),
    ("train", "DATA", f"model.file={EVIL}.py:{EVIL}"),
    ("train", "DATA", f"data.label_column={EVIL}"),
    ("train", "DATA", f"split.file={EVIL}"),
    ("train", "DATA", f"evaluate.positive={EVIL}"),
    ("train", "DATA", "--recipe", EVIL),
    ("train", "DATA", "--out", "RUN"),
    ("train", "--resume", EVIL),
    ("train", "--resume", "RUN"),
    ("train", "a", EVIL),
    ("evaluate", EVIL),
    ("evaluate", "RUN", "--data", EVIL),
    ("evaluate", "RUN", "--checkpoint", EVIL),
    ("evaluate", "RUN", "--device", EVIL),
    ("predict", "RUN", EVIL),
    ("predict", EVIL, EVIL),
    ("predict", "RUN", "DATA", "--out", f"{EVIL}.xlsx"),
    ("predict", "RUN", "DATA", "--tta", EVIL),
    ("predict", "RUN", "DATA", "--submission", EVIL),
    ("probe", "DATA", "--backbone", EVIL),
    ("ensemble", EVIL, EVIL, "--out", EVIL),
    ("split", "DATA", "--out", "RUN"),
    ("augment", "DATA", "--out", "o", "--ops", EVIL),
    ("augment", "DATA", "--out", "o", "--square", "--colour", EVIL),
    ("score", EVIL, EVIL),
    ("settings", EVIL),
    ("recipes", EVIL),
    ("bench", EVIL),
]


@pytest.mark.parametrize("arguments", MISTAKES, ids=lambda arguments: f"{arguments[0][:8]}-{arguments[-1][:12]!a}")
def test_mistakes(arguments: tuple[str, ...], hostile: Hostile, bunryu: Command, here: Path) -> None:
    known = {"DATA": hostile.data, "RUN": hostile.run}
    checked(bunryu(*(known.get(argument, argument) for argument in arguments)), 2)


@pytest.mark.parametrize("variable", ["SM_CHANNEL_TRAIN", "SM_CHANNEL_MODEL", "SM_CHANNEL_EVAL"])
def test_variables(variable: str, bunryu: Command, monkeypatch: pytest.MonkeyPatch, here: Path) -> None:
    monkeypatch.setenv(variable, EVIL)
    command = "train" if variable == "SM_CHANNEL_TRAIN" else "predict"
    checked(bunryu(command, *([] if variable != "SM_CHANNEL_EVAL" else [EVIL])), 2)


FORMULAS = ("=1+1", "+1", "-1", "@SUM(1)", "=cmd|' !A0'", "\t=1")
FOR_PROGRAMS = ("split.csv", "folds.csv", "submission.csv")
"""What is read back, or has the cells of another file: names are as they were."""


def test_no_spreadsheet_runs_a_name(bunryu: Command, here: Path) -> None:
    """Of a class, a file, a group, in every table that is written for people; JSON has the true name."""
    write_class_folders(here / "data", dict.fromkeys(FORMULAS, 8))
    for folder in sorted((here / "data").iterdir()):
        for path, name in zip(sorted(folder.iterdir()), FORMULAS, strict=False):
            path.rename(folder / f"{name.replace('/', '')}.png")
        (folder / "=broken.png").write_bytes(b"no image")
    assert bunryu("train", "data", "--out", "run", *TINY, "split.test=0.25").code == 0
    assert bunryu("evaluate", "run", "--data", "data", "--out", "=evaluated").code in (0, 2)
    bunryu("predict", "run", "data", "--out", "=answers.csv")
    bunryu("augment", "data", "--out", "augmented", "--flip", "horizontal")
    bunryu("ensemble", "run", "run", "--out", "both")
    tables = sorted(here.rglob("*.csv"))
    seen = 0
    for path in tables:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            cells = [cell for row in csv.reader(stream) for cell in row]
        if path.name in FOR_PROGRAMS or path.name.endswith(".split.csv") or path.parent.name == "augmented":
            continue
        seen += sum(cell.startswith("'") for cell in cells)
        bad = [
            cell for cell in cells if cell[:1] in ("=", "+", "@", "\t", "\r") or (cell[:1] == "-" and not number(cell))
        ]
        assert not bad, (path, bad)
    assert seen > 50
    assert "=1+1" in json.loads((here / "run/metrics.json").read_text(encoding="utf-8"))["val"]["per_class"]


def number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def test_names_that_are_no_text(bunryu: Command, here: Path) -> None:
    """Bytes that are no UTF-8, as old archives have them: Python holds them as halves of characters."""
    name = os.fsdecode(b"caf\xe9FORGED")
    write_class_folders(here / "data", {name: 8, "other": 8})
    (here / "data" / name / f"{name}.png").write_bytes(b"no image")
    ended = checked(bunryu("train", "data", "--out", "run", *TINY), 2)
    assert "FORGED" in ended.err
