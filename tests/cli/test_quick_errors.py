"""What is told before torch is imported: help, and every mistake in what was typed."""

from __future__ import annotations

import json
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from bunryu.core.errors import ConfigError, typed
from bunryu.settings.config import dump_yaml
from bunryu.settings.load import load_settings
from bunryu.settings.run import RunSettings

# Before torch.

_PROBE = """
import contextlib, io, json, sys
HEAVY = {"torch", "torchvision", "timm", "pandas", "matplotlib", "sklearn", "scipy"}

class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in HEAVY:
            raise RuntimeError(f"{name} was imported")

sys.meta_path.insert(0, Refuse())
from bunryu.cli.app import main
found = []
for arguments in json.loads(sys.argv[1]):
    sys.argv = ["bunryu", *arguments]
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code or 0
        except BaseException as error:
            code = repr(error)
    found.append([code, out.getvalue(), err.getvalue(), sorted(HEAVY & set(sys.modules))])
print(json.dumps(found))
"""


def test_help_and_every_argument_error_come_before_torch(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.yaml").write_text(dump_yaml(RunSettings()), encoding="utf-8")
    (run / "model.safetensors").touch()
    (tmp_path / "t.csv").write_text("a,b\n1,2\n", encoding="utf-8")
    cases: list[tuple[list[str], int, str]] = [
        ([], 2, ""),
        (["--help"], 0, "Commands:"),
        (["--version"], 0, "bunryu "),
        (["settings"], 0, "train.epochs  (integer; 10 in recipe 'default', 30 in recipe 'scratch')"),
        (["settings", "epochs"], 0, "train.epochs"),
        (["recipes"], 0, "scratch"),
        *(([command, "--help"], 0, "Usage:") for command in ("demo", "train", "evaluate", "predict", "settings")),
        (["settings", "lerning"], 2, "No setting has"),
        (["settings", "early", "stopping"], 0, "train.patience"),
        (["settings", "freeze_backbone"], 0, "train.stages[].freeze"),
        (["settings", "stages[].name"], 0, "train.stages[].name  (text; must be given)"),
        (["infer", "runs/a-1"], 2, "There is no command 'infer'. Did you mean 'predict'?"),
        (["trian"], 2, "Did you mean 'train'"),
        (["train"], 2, "No data was named"),
        (["train", "foto"], 2, "Did you mean 'photos'"),
        (["train", "photos", "--epochs", "3"], 2, "Settings are given as KEY=VALUE: train.epochs=3"),
        (["train", "photos", "more"], 2, "Expected one DATA"),
        (["train", "photos", "train.epoch=3"], 2, "Did you mean 'train.epochs'"),
        (["train", "photos", "train.epochs=x"], 2, "expected a whole number"),
        (["train", "photos", "split.val=0.9", "split.test=0.9"], 2, "must be below 1"),
        (["train", "photos", "--recipe", "fast"], 2, "There is no recipe"),
        (["train", "photos", "--recipe", "fast.yaml"], 2, "There is no settings file"),
        (["train", "--train-dir", "photos", "--val-dir", "phots"], 2, "Did you mean 'photos'"),
        (["train", "photos", "--more-epochs", "3"], 2, "belongs to --resume"),
        (["train", "photos", "--resume", "run"], 2, "takes no data"),
        (["evaluate"], 2, "Which run?"),
        (["evaluate", "runn"], 2, "There is no run folder"),
        (["evaluate", "photos"], 2, "is not a run folder"),
        (["evaluate", "run", "train.epochs=3"], 2, "evaluate takes"),
        (["evaluate", "run", "evaluate.positve=x"], 2, "Did you mean 'evaluate.positive'"),
        (["evaluate", "run", "--data", "foto"], 2, "Did you mean 'photos'"),
        (["predict"], 2, "Which run, and which images?"),
        (["predict", "run"], 2, "Which images?"),
        (["predict", "nowhere", "a.jpg"], 2, "There is no run folder"),
        (["predict", "run", "a.jpg"], 2, "There is no file or folder a.jpg"),
        (["predict", "run", "*.jpg"], 2, "No file matches"),
        (["predict", "run", "photos"], 2, "There are no images in photos"),
        (["predict", "run", "t.csv"], 2, "Rename that column to path"),
        (["predict", "run", "t.csv", "--image-root", "no"], 2, ""),
        (["predict", "run", "a.jpg", "--format", "xml"], 2, "csv"),
        (["predict", "run", "a.jpg", "--batch-size", "0"], 2, "--batch-size"),
    ]
    arguments = json.dumps([case[0] for case in cases])
    ended = subprocess.run(
        [sys.executable, "-c", _PROBE, arguments], capture_output=True, text=True, cwd=tmp_path, timeout=60, check=False
    )
    assert ended.returncode == 0, ended.stderr
    for (command, code, expected), (found, out, err, heavy) in zip(cases, json.loads(ended.stdout), strict=True):
        assert heavy == [], command
        assert found == code, (command, err)
        told_on = out if code == 0 else err
        assert " ".join(expected.split()) in " ".join(told_on.split()), (command, told_on)
        assert "Traceback" not in err, command
        if code and command:
            assert out == "", command


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("runs/photos-1", "runs/photos-1"),
        ("runs/사진-1", "runs/사진-1"),
        ("runs/내 사진-1", '"runs/내 사진-1"'),
        ("C:\\My Photos", '"C:\\My Photos"'),
        ("cost$1", "'cost$1'"),
        ('a"b', "'a\"b'"),
    ],
)
def test_paths_in_suggested_commands_can_be_pasted(path: str, shown: str) -> None:
    assert typed(path) == shown
    if "\\" not in path:
        assert shlex.split(shown) == [path]


def test_a_settings_file_that_is_not_there_is_told_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").touch()
    (tmp_path / "mine.jpg").touch()
    with pytest.raises(ConfigError, match=r"no settings file .*mine\.yml\. Did you mean 'mine\.yaml'\?"):
        load_settings(recipe=str(tmp_path / "mine.yml"))
