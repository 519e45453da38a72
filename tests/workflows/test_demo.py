"""The demo does what the README says of it."""

from __future__ import annotations

import pytest

from bunryu.core.errors import DataError
from bunryu.core.storage import read_json
from bunryu.runs.folder import RunFolder
from bunryu.workflows import demo
from bunryu.workflows.demo import run_demo


@pytest.mark.pictures
def test_the_demo_reaches_what_is_promised(tmp_path, capsys):
    run = run_demo(tmp_path)
    test = read_json(run.metrics)["test"]
    low, high = test["macro_f1_ci"]
    assert test["macro_f1"] >= 0.97
    assert low < test["macro_f1"] < high
    said = capsys.readouterr().err
    assert f"{test['macro_f1']:.3f} [{low:.3f}, {high:.3f}]" in said
    assert "bunryu predict" in said
    assert str(run.plots / "examples_test.png") in said
    assert (run.plots / "examples_test.png").stat().st_size > 10_000
    assert len(list((tmp_path / "digits").glob("*/*.png"))) == 1797


def test_a_second_demo_takes_the_next_folder(tmp_path, monkeypatch):
    trained = []
    monkeypatch.setattr(demo.train, "train", lambda _, *, out: trained.append(out) or RunFolder(out))
    monkeypatch.setattr(demo.train, "say_results", lambda _: None)
    demo.run_demo(tmp_path)
    (tmp_path / "run-1").mkdir()
    written = (tmp_path / "digits/0/0000.png").stat().st_mtime_ns
    demo.run_demo(tmp_path)
    assert trained == [tmp_path / "run-1", tmp_path / "run-2"]
    assert (tmp_path / "digits/0/0000.png").stat().st_mtime_ns == written, "the digits are written once"


@pytest.mark.parametrize("left", [[], ["0/0000.png", "1/0001.png"]])
def test_digits_that_a_killed_demo_left_are_written_anew(tmp_path, monkeypatch, left):
    monkeypatch.setattr(demo.train, "train", lambda _, *, out: RunFolder(out))
    monkeypatch.setattr(demo.train, "say_results", lambda _: None)
    digits = tmp_path / "digits"
    digits.mkdir()
    for name in left:
        (digits / name).parent.mkdir()
        (digits / name).write_bytes(b"to")
    demo.run_demo(tmp_path)
    assert len(list(digits.glob("*/*.png"))) == 1797
    assert min(path.stat().st_size for path in digits.glob("*/*.png")) > 2


def test_a_demo_killed_while_writing_leaves_no_digits(tmp_path, monkeypatch):
    saved = []

    def save(image, path):
        if len(saved) == 3:
            raise KeyboardInterrupt
        saved.append(path)

    with monkeypatch.context() as patch:
        patch.setattr(demo.Image.Image, "save", save)
        with pytest.raises(KeyboardInterrupt):
            demo.run_demo(tmp_path)
    assert not (tmp_path / "digits").exists()
    assert demo.write_digits(tmp_path / "digits") == 1797
    assert [path.name for path in tmp_path.iterdir()] == ["digits"]


def test_a_folder_of_other_digits_is_left_alone(tmp_path):
    (tmp_path / "digits").mkdir()
    (tmp_path / "digits/mine.txt").write_text("dear", encoding="utf-8")
    with pytest.raises(DataError, match="is not the demo's"):
        demo.run_demo(tmp_path)
    assert (tmp_path / "digits/mine.txt").read_text(encoding="utf-8") == "dear"
