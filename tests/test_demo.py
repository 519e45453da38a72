"""The demo does what the README says of it."""

from __future__ import annotations

from bunryu import demo
from bunryu.demo import run_demo
from bunryu.run import RunFolder
from bunryu.storage import read_json


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
    monkeypatch.setattr(demo.experiment, "train", lambda _, *, out: trained.append(out) or RunFolder(out))
    (tmp_path / "digits").mkdir()
    (tmp_path / "run-1").mkdir()
    demo.run_demo(tmp_path)
    assert trained == [tmp_path / "run-2"]
