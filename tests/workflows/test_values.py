"""The range of values of a run: found in the training rows, sealed, and the same wherever its model is used."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors import safe_open

import bunryu

LEVELS = {"bone": 900, "lung": -700}


@pytest.fixture
def scans(tmp_path: Path) -> Path:
    """Signed values whose class is their level."""
    for name, level in LEVELS.items():
        (tmp_path / "scans" / name).mkdir(parents=True)
        for i in range(12):
            Image.fromarray(scan(level, i)).save(tmp_path / "scans" / name / f"{i:02}.tif")
    return tmp_path / "scans"


def scan(level: int, seed: int) -> np.ndarray:
    return np.random.default_rng([abs(level), seed]).normal(level, 30, (16, 16)).astype(np.int32)


def sealed_range(model: Path) -> list[float] | None:
    with safe_open(model, "numpy") as file:
        found: list[float] | None = json.loads(file.metadata()["decode"]).get("range")
    return found


def test_levels_are_learned_sealed_and_the_same_in_use(
    scans: Path, tmp_path: Path, tiny_settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    run = bunryu.train(scans, *tiny_settings, "train.epochs=6", "split.val=0.25", out=tmp_path / "run")
    assert "values: " in capsys.readouterr().err
    low, high = sealed_range(run.path / "model.safetensors") or (0, 0)
    assert -900 < low < -700
    assert 900 < high < 1100
    assert list(run.settings.decode.range) == [low, high]
    found = run.predict(scans)
    assert (found["pred"] == [path.parent.name for path in sorted(scans.rglob("*.tif"))]).all()
    arrays = [scan(level, 0) for level in LEVELS.values()]
    by_array = run.predict(arrays)
    assert by_array["pred"].tolist() == list(LEVELS)
    files = run.predict([scans / name / "00.tif" for name in LEVELS])
    np.testing.assert_array_equal(by_array["conf"], files["conf"])
    np.testing.assert_array_equal(run.model.probabilities(arrays)[:, 0] > 0.5, [True, False])
    np.testing.assert_array_equal(run.predict(arrays, tta="hflip")["pred"], by_array["pred"])
    capsys.readouterr()
    run.predict(np.full((16, 16), 30000, np.int32))
    assert "differ strongly" in capsys.readouterr().err


def test_a_range_of_the_users_own_and_none_for_8_bits(
    scans: Path, photos: Path, tmp_path: Path, tiny_settings: list[str]
) -> None:
    few = [*tiny_settings, "train.epochs=1"]
    bunryu.train(scans, *few, "decode.range=[-1000,500]", out=tmp_path / "own", quiet=True)
    assert sealed_range(tmp_path / "own" / "model.safetensors") == [-1000, 500]
    plain = bunryu.train(photos, *few, out=tmp_path / "plain", quiet=True)
    assert sealed_range(tmp_path / "plain" / "model.safetensors") is None
    assert plain.settings.decode.range == "auto"
    with pytest.raises(bunryu.BunryuError, match="uint8"):
        plain.predict(np.zeros((16, 16), np.float32))
    for bad in ("[5,5]", "[9,1]", "[0,nan]", "[0,inf]", "[1]", "wide"):
        with pytest.raises(bunryu.BunryuError, match=r"decode\.range"):
            bunryu.train(photos, *few, f"decode.range={bad}", out=tmp_path / "bad", quiet=True)


@pytest.mark.parametrize("check", ["header", "none"])
def test_a_range_is_found_without_the_check(scans: Path, tmp_path: Path, tiny_settings: list[str], check: str) -> None:
    bunryu.train(scans, *tiny_settings, "train.epochs=1", f"data.check={check}", out=tmp_path / "run", quiet=True)
    low, high = sealed_range(tmp_path / "run" / "model.safetensors") or (0, 0)
    assert -900 < low < -700 < 900 < high < 1100


def test_every_fold_finds_its_own(scans: Path, tmp_path: Path, tiny_settings: list[str]) -> None:
    Image.fromarray(scan(3000, 1)).save(scans / "bone" / "00.tif")  # in the training rows of all folds but one
    options = ["train.epochs=1", "folds.k=3", "model.name=scratch_cnn"]
    bunryu.train(scans, *tiny_settings, *options, out=tmp_path / "run", quiet=True)
    highs = {(sealed_range(tmp_path / "run" / f"fold-{i}" / "model.safetensors") or (0, 0))[1] for i in (1, 2, 3)}
    assert len(highs) > 1
    assert min(highs) < 1500 < 2900 < max(highs)


def test_what_is_odd_is_told(tmp_path: Path, tiny_settings: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    data, rng = tmp_path / "odd", np.random.default_rng(5)
    for name in ("a", "b"):
        (data / name).mkdir(parents=True)
        for i in range(6):
            Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(data / name / f"{i}.png")
    Image.new("RGB", (16, 16)).save(data / "a" / "blank.png")
    pages = [Image.new("RGB", (16, 16), colour) for colour in ("black", "red", "blue")]
    pages[0].save(data / "a" / "pages.tif", save_all=True, append_images=pages[1:])
    Image.fromarray(rng.integers(40, 200, (16, 16, 4), dtype=np.uint8)).save(data / "b" / "bands.png")
    Image.fromarray(rng.integers(0, 60000, (16, 16), dtype=np.uint16)).save(data / "b" / "deep.png")
    (data / "b" / "x.svg").write_text("<svg/>")
    for i in range(3):
        (data / "b" / f"IMG_{i}.CR3").write_bytes(b"\0\0\0\x18ftypcrx " + bytes([i] * 90))
    alone = ("split.val=0", "train.monitor=train_epochs", "train.epochs=1")
    bunryu.train(data, *tiny_settings, *alone, out=tmp_path / "run")
    told = " ".join(capsys.readouterr().err.split())
    assert "4 of 20 skipped: 3 such as b/IMG_0.CR3 (a camera's raw file, which is not read: develop it" in told
    assert "b/x.svg (a drawing (SVG), which is not read: make pixels of it" in told
    assert "1 file of several pages or frames (3): only the first is used; that is blank in 1 of them" in told
    assert "2 pictures are blank" in told
    assert "1 picture has a fourth band that looks like data" in told
    assert "in 1 training picture of more than 8 bits (16-bit), and in use; the other 15 have 8 bits" in told


def test_pictures_of_another_scale_are_told(
    tmp_path: Path, tiny_settings: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    """Values from 0 to 1 among 16-bit ones become black, all of them."""
    rng = np.random.default_rng(0)
    for i in range(6):
        for name, values in (("a", np.float32(rng.random((16, 16)))), ("b", rng.integers(0, 65536, (16, 16)))):
            (tmp_path / "mixed" / name).mkdir(parents=True, exist_ok=True)
            kind = np.float32 if name == "a" else np.uint16
            Image.fromarray(values.astype(kind)).save(tmp_path / "mixed" / name / f"{i}.tif")
    bunryu.train(tmp_path / "mixed", *tiny_settings, "train.epochs=1", out=tmp_path / "run")
    assert "keep fewer than 16 of 256 grey levels (their values: " in capsys.readouterr().err
