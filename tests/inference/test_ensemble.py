"""Several models, and several views of a picture, predicting together."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy.optimize import minimize_scalar

import bunryu as product
from bunryu.core.errors import ConfigError, DataError, RunError
from bunryu.evaluate.decision.ensemble_weights import fit_weights, log_loss
from bunryu.inference.ensemble import Ensemble, combined, open_predictor, with_tta
from bunryu.inference.ensemble_record import records_of
from bunryu.inference.model import Model
from bunryu.inference.predictions import Predictions, read_predictions
from bunryu.inference.tta import parse_tta, views
from bunryu.models.record import Decision, read_metadata
from bunryu.settings.data import InputSpec
from conftest import TINY, Tiny, refused
from killing import draw_nothing


@pytest.fixture(scope="module")
def other_run(tiny_run: Tiny, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on the same rows that sees larger, stretched pictures."""
    out = tmp_path_factory.mktemp("other") / "run"
    with pytest.MonkeyPatch.context() as patch:
        draw_nothing(patch.setattr)
        patch.setenv("BUNRYU_CACHE", str(tmp_path_factory.mktemp("cache")))
        pairs = ("split.val=0.25", "split.test=0.25", "train.seed=5", "input.size=20x24", "input.fit=stretch")
        product.train(tiny_run.data, *TINY, *pairs, "optim.lr=1e-3", out=out, quiet=True)
    return out


def pictures_of(tiny: Tiny) -> list[str]:
    return sorted(str(path) for path in tiny.data.glob("*/*.png") if path.name != "broken.png")


# Views.


def test_the_plain_view_alone_gives_the_plain_bits(tiny_run: Tiny) -> None:
    model = Model.open(tiny_run.run)
    pictures = pictures_of(tiny_run)
    np.testing.assert_array_equal(Ensemble([model]).probabilities(pictures), model.probabilities(pictures))
    assert with_tta(model, ()) is model


@pytest.mark.parametrize("tta", ["hflip", "hflip,crops", "crops,scales,hflip"])
def test_a_picture_and_its_mirror_image_have_one_answer(tta: str, tiny_run: Tiny) -> None:
    model = open_predictor(tiny_run.run, tta=parse_tta(tta))
    rng = np.random.default_rng(0)
    picture = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
    mirrored = np.ascontiguousarray(picture[:, ::-1])
    one, other = model.probabilities(picture), model.probabilities(mirrored)
    if tta == "hflip":
        np.testing.assert_array_equal(one, other)
    else:  # summed in another order
        np.testing.assert_allclose(one, other, atol=1e-6)
    plain = Model.open(tiny_run.run)
    assert not np.array_equal(plain.probabilities(picture), plain.probabilities(mirrored))


def test_the_answer_is_the_mean_over_the_views(tiny_run: Tiny) -> None:
    model = Model.open(tiny_run.run)
    picture = np.random.default_rng(1).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    expected = (model.probabilities(picture) + model.probabilities(np.ascontiguousarray(picture[:, ::-1]))) / 2
    np.testing.assert_allclose(with_tta(model, ["hflip"]).probabilities(picture), expected, atol=1e-7)


def test_what_the_views_show() -> None:
    spec = InputSpec(height=224, width=224, crop_pct=0.875, mean=[0, 0, 0], std=[1, 1, 1])
    shown = views(spec, ("hflip", "crops", "scales"))
    assert len(shown) == 2 * (1 + 4 + 2)
    assert shown[0].input == spec
    corners = [(view.top, view.left) for view in shown[1:5]]
    assert corners == [(0, 0), (0, 32), (32, 0), (32, 32)]  # of the 256 that the centre crop is cut from
    assert {view.window for view in shown[1:5]} == {(224, 224)}
    assert [view.window for view in shown[5:7]] == [(202, 202), (246, 246)]
    x = torch.arange(256 * 256 * 3).reshape(1, 256, 256, 3)
    assert torch.equal(shown[4].of(x), x[:, 32:, 32:])
    assert torch.equal(shown[11].of(x), x[:, 32:, 32:].flip(2))
    whole = views(spec.model_copy(update={"crop_pct": 1.0, "fit": "pad"}), ("crops",))
    assert (whole[1].input.height, whole[1].input.fit, whole[4].top) == (256, "pad", 32)


def test_wrong_views_are_told_before_torch(tiny_run: Tiny, bunryu) -> None:
    for command in (("predict", tiny_run.run, tiny_run.data), ("evaluate", tiny_run.run)):
        assert "received 'hflop'. Did you mean 'hflip'?" in refused(bunryu(*command, "--tta", "hflop,crops"))
    assert parse_tta("scales, hflip") == ("hflip", "scales")


def test_a_net_of_one_size_refuses_scales(tiny_run: Tiny, monkeypatch: pytest.MonkeyPatch) -> None:
    model = Model.open(tiny_run.run)
    real = model.net.features
    monkeypatch.setattr(model.net, "features", lambda x: real(x) if x.shape[-1] == 16 else 1 / 0)
    with pytest.raises(ConfigError, match=r"scales shows pictures of 1[48]x1[48], which this network does not take"):
        with_tta(model, ["scales"])
    with_tta(model, ["hflip", "crops"])


def test_predict_says_that_it_looked_several_times(tiny_run: Tiny, tmp_path: Path, bunryu) -> None:
    out = tmp_path / "p.csv"
    assert bunryu("predict", tiny_run.run, tiny_run.data / "cat" / "001.png", "--tta", "hflip", "--out", out).code == 0
    rows = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert [row["tta"] for row in rows] == ["hflip"]
    frame = product.predict(tiny_run.run, tiny_run.data / "cat" / "001.png", tta="hflip", quiet=True)
    assert frame["tta"].tolist() == ["hflip"]
    assert "tta" not in product.predict(tiny_run.run, tiny_run.data / "cat" / "001.png", quiet=True)


def test_evaluate_says_what_the_views_change(tiny_run: Tiny, tmp_path: Path, bunryu) -> None:
    ended = bunryu("evaluate", tiny_run.run, "--tta", "hflip,crops", "--out", tmp_path / "e")
    assert ended.code == 0, ended.err
    assert "val with tta: macro-F1 " in ended.err
    found = json.loads((tmp_path / "e" / "metrics.json").read_text(encoding="utf-8"))
    assert set(found) == {"val", "val_tta", "test", "test_tta"}
    change = found["val_tta"]["tta"]["macro_f1_change"]
    assert change["value"] == pytest.approx(found["val_tta"]["macro_f1"] - found["val"]["macro_f1"])
    assert "tta" in (tmp_path / "e" / "report.txt").read_text(encoding="utf-8")
    plain = product.evaluate(tiny_run.run, out=tmp_path / "plain", quiet=True)
    assert plain.metrics["val"]["loss"] == found["val"]["loss"]


def test_the_decision_is_applied_once_to_the_mean(tiny_run: Tiny) -> None:
    model = Model.open(tiny_run.run)
    offsets = [1.0, -0.5, 0.0]
    picture = np.random.default_rng(2).integers(0, 256, (16, 16, 3), dtype=np.uint8)
    mean = with_tta(model, ["hflip"]).probabilities(picture).astype(np.float64)
    expected = mean * np.exp(offsets)
    model.sealed = model.sealed.model_copy(update={"decision": Decision(logit_offsets=offsets)})
    found = with_tta(model, ["hflip"]).probabilities(picture)
    np.testing.assert_allclose(found, expected / expected.sum(), rtol=1e-5)


# Several models.


def test_an_ensemble_is_the_mean_of_its_members_and_needs_none_of_them(
    tiny_run: Tiny, other_run: Path, tmp_path: Path
) -> None:
    run = product.ensemble([tiny_run.run, product.open_run(other_run)], out=tmp_path / "both", quiet=True)
    pictures = pictures_of(tiny_run)
    alone = [Model.open(path).probabilities(pictures).astype(np.float64) for path in (tiny_run.run, other_run)]
    np.testing.assert_allclose(run.model.probabilities(pictures), np.mean(alone, axis=0), atol=1e-7)
    record = json.loads((tmp_path / "both" / "ensemble.json").read_text(encoding="utf-8"))
    for member in record["members"]:
        assert member["digest"] == read_metadata(tmp_path / "both" / member["file"])["digest"]
    assert [member["weight"] for member in record["members"]] == [0.5, 0.5]
    for member, path in zip(record["members"], (tiny_run.run, other_run), strict=True):
        assert (tmp_path / "both" / member["file"]).read_bytes() == (path / "model.safetensors").read_bytes()
    frame = product.predict(tmp_path / "both", tiny_run.data, quiet=True)
    assert len(frame) == len(pictures)
    assert frame.attrs["skipped"][0][0].endswith("broken.png")
    found = product.evaluate(run, out=tmp_path / "e", quiet=True)
    assert set(found.metrics) == {"val", "test"}
    assert found.metrics["val"]["loss"] == pytest.approx(run.metrics["val"]["loss"], abs=1e-5)
    assert "best epochs" in found.metrics["val"]["notes"][-1]  # as in the ensemble's own report
    assert found.metrics["val"]["notes"][-1] == run.metrics["val"]["notes"][-1]
    assert "best epochs" not in str(found.metrics["test"]["notes"])


def test_an_ensemble_keeps_the_groups_and_the_resamples_of_its_members(
    make_images: Callable[..., Path], tmp_path: Path
) -> None:
    photos = make_images(tmp_path / "photos", {"cat": 12, "dog": 12})
    rows = [(path.relative_to(photos).as_posix(), path.parent.name) for path in sorted(photos.glob("*/*.png"))]
    cells = "".join(f"{path},{label},p{i // 2}\n" for i, (path, label) in enumerate(rows))
    (photos / "t.csv").write_text("path,label,person\n" + cells, encoding="utf-8")
    pairs = ("data.group_column=person", "evaluate.bootstrap=123", "train.epochs=1", "split.val=0.4")
    product.train(photos / "t.csv", *TINY, *pairs, out=tmp_path / "run", quiet=True)
    one = product.open_run(tmp_path / "run").metrics["val"]
    both = product.ensemble([tmp_path / "run", tmp_path / "run"], out=tmp_path / "both", quiet=True).metrics["val"]
    assert one["groups"] < one["n"]
    assert {key: both[key] for key in ("n", "groups", "bootstrap")} == {
        key: one[key] for key in ("n", "groups", "bootstrap")
    }
    if one["bootstrap"]["resamples"]:  # not every answer is right
        assert both["bootstrap"]["resamples"] == 123


def test_logits_are_averaged_as_a_geometric_mean(tiny_run: Tiny, other_run: Path, tmp_path: Path) -> None:
    run = product.ensemble([tiny_run.run, other_run], out=tmp_path / "both", mean="logits", quiet=True)
    pictures = pictures_of(tiny_run)
    alone = [Model.open(path).probabilities(pictures).astype(np.float64) for path in (tiny_run.run, other_run)]
    expected = np.sqrt(alone[0] * alone[1])
    np.testing.assert_allclose(
        run.model.probabilities(pictures), expected / expected.sum(axis=1, keepdims=True), atol=1e-6
    )


def test_weights_are_fitted_on_the_rows_that_all_were_validated_on(
    tiny_run: Tiny, other_run: Path, tmp_path: Path, bunryu
) -> None:
    out = tmp_path / "both"
    ended = bunryu("ensemble", tiny_run.run, other_run, "--out", out, "--weights", "fit")
    assert ended.code == 0, ended.err
    assert ended.out.startswith("val: macro-F1")
    assert "where those are fitted, were chosen on these images" in (out / "report.txt").read_text(encoding="utf-8")
    first, second = (
        read_predictions(path / "predictions_val.csv", tiny_run.classes) for path in (tiny_run.run, other_run)
    )
    order = [second.paths.index(path) for path in first.paths]
    stacked = np.stack([first.probs_NK, second.probs_NK[order]]).astype(np.float64)

    def loss(weight: float) -> float:
        return log_loss(combined(stacked, np.array([weight, 1 - weight]), "probabilities"), first.true_N)

    best = minimize_scalar(loss, bounds=(0, 1), method="bounded", options={"xatol": 1e-7})
    record = json.loads((out / "ensemble.json").read_text(encoding="utf-8"))
    weight = record["members"][0]["weight"]
    assert loss(weight) <= best.fun + 1e-9
    assert f"{loss(weight):.4f} together" in (out / "report.txt").read_text(encoding="utf-8")


def test_members_in_another_order_are_aligned_by_name(tiny_run: Tiny) -> None:
    model = Model.open(tiny_run.run)
    turned = Model.open(tiny_run.run)
    head = turned.net.head[-1]
    with torch.no_grad():
        head.weight.copy_(head.weight.flip(0))
        head.bias.copy_(head.bias.flip(0))
    own = turned.sealed.heads[0].model_copy(update={"classes": turned.classes[::-1]})
    turned.sealed = turned.sealed.model_copy(update={"heads": [own]})
    pictures = pictures_of(tiny_run)
    np.testing.assert_allclose(
        Ensemble([model, turned]).probabilities(pictures), model.probabilities(pictures), atol=1e-6
    )


def test_an_ensemble_in_another_is_said_to_keep_no_answers(
    tiny_run: Tiny, other_run: Path, tmp_path: Path, bunryu
) -> None:
    bunryu("ensemble", tiny_run.run, other_run, "--out", tmp_path / "both")
    done = bunryu("ensemble", tmp_path / "both", other_run, "--out", tmp_path / "more")
    assert "both is an ensemble, which keeps no answers of its own: name its runs instead" in done.err
    assert "had no validation rows" not in done.err


def test_what_cannot_go_together_is_refused(
    make_images: Callable[..., Path], tiny_run: Tiny, other_run: Path, tmp_path: Path, bunryu
) -> None:
    photos = make_images(tmp_path / "photos", {"cat": 8, "dog": 8, "강아지": 8})
    product.train(photos, *TINY, "train.epochs=1", out=tmp_path / "dogs", quiet=True)
    out = ("--out", tmp_path / "both")
    message = refused(bunryu("ensemble", tiny_run.run, tmp_path / "dogs", *out))
    assert f"{tmp_path / 'dogs'} lacks '=1+1', and {tiny_run.run} lacks 'dog'" in message
    assert "two runs or more, received 1 run" in refused(bunryu("ensemble", tiny_run.run, *out))
    product.train(tiny_run.data, *TINY, "train.epochs=1", "split.seed=3", out=tmp_path / "split", quiet=True)
    message = refused(bunryu("ensemble", tiny_run.run, tmp_path / "split", *out, "--weights", "fit"))
    assert "were validated on different rows" in message
    assert "--weights equal" in message
    assert not (tmp_path / "both").exists()
    both = product.ensemble([tiny_run.run, tmp_path / "split"], out=tmp_path / "both", quiet=True)
    found = product.evaluate(both, tiny_run.data, out=tmp_path / "seen", quiet=True).metrics["test"]
    assert "exact copies of images that this model has learned from" in found["notes"][0]
    assert "holds several models" in refused(
        bunryu("train", tiny_run.data, *TINY, f"model.weights={tmp_path / 'both'}")
    )
    assert "no images of its own" in refused(bunryu("evaluate", tmp_path / "both"))
    assert "is not empty" in refused(bunryu("ensemble", tiny_run.run, other_run, *out))
    with pytest.raises(RunError, match="several models"):
        Model.open(tmp_path / "both")
    (tmp_path / "both" / "ensemble.json").write_text("{}", encoding="utf-8")
    with pytest.raises(RunError, match="damaged"):
        open_predictor(tmp_path / "both")


# Weights.


@pytest.mark.parametrize("logits", [False, True])
def test_fitted_weights_are_the_minimum(logits: bool) -> None:
    """Against a search over the whole simplex."""
    rng = np.random.default_rng(0)
    true_N = rng.integers(0, 4, 300)
    signals = [2.0, 1.0, 0.0]
    logits_MNK = np.stack([rng.normal(size=(300, 4)) + signal * np.eye(4)[true_N] for signal in signals])
    probs_MNK = np.exp(logits_MNK) / np.exp(logits_MNK).sum(axis=2, keepdims=True)
    mean = "logits" if logits else "probabilities"

    def loss(weights_M: np.ndarray) -> float:
        return log_loss(combined(probs_MNK, weights_M, mean), true_N)

    found = fit_weights(probs_MNK, true_N, logits=logits)
    grid = [np.array([a, b, 100 - a - b]) / 100 for a in range(101) for b in range(101 - a)]
    assert found.sum() == pytest.approx(1)
    assert (found >= 0).all()
    assert loss(found) <= min(map(loss, grid)) + 1e-9
    assert found[0] == found.max() > 0.5


def test_a_member_that_knows_nothing_gets_no_weight() -> None:
    true_N = np.arange(60) % 3
    sure = np.full((60, 3), 0.05) + 0.85 * np.eye(3)[true_N]
    wrong = np.full((60, 3), 0.05) + 0.85 * np.eye(3)[(true_N + 1) % 3]
    np.testing.assert_array_equal(fit_weights(np.stack([sure, wrong]), true_N), [1.0, 0.0])


def test_predictions_read_back(tmp_path: Path) -> None:
    probs = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    given = Predictions(["=a.png", "나.png"], ["-x", "강"], probs, np.array([1, 0]), more={"fold": [1, 2]})
    (tmp_path / "p.csv").write_text("".join(given.lines()), encoding="utf-8")
    found = read_predictions(tmp_path / "p.csv", ["강", "-x"])
    assert found.paths == given.paths
    np.testing.assert_array_equal(found.probs_NK, probs[:, ::-1])
    np.testing.assert_array_equal(found.true_N, [0, 1])


def test_predictions_of_odd_class_names_read_back(tmp_path: Path) -> None:
    classes = ["a|b|c|d|e|f|g|h", "cat ", "cat", 'x;y,"z"']
    given = Predictions(["1.png"], classes, np.array([[0.125, 0.5, 0.25, 0.125]], np.float32), np.array([1]))
    (tmp_path / "p.csv").write_text("".join(given.lines()), encoding="utf-8")
    found = read_predictions(tmp_path / "p.csv", classes)
    np.testing.assert_array_equal(found.probs_NK, given.probs_NK)
    assert found.true_N is not None
    assert found.true_N.tolist() == [1]
    (tmp_path / "p.csv").write_text("path,true,p_a\n1.png\n", encoding="utf-8")
    with pytest.raises(DataError, match="is damaged"):
        read_predictions(tmp_path / "p.csv", ["a"])


def test_another_model_in_the_place_of_a_member_is_told(tiny_run: Tiny, other_run: Path, tmp_path: Path) -> None:
    product.ensemble([tiny_run.run, other_run], out=tmp_path / "both", quiet=True)
    first, second = sorted((tmp_path / "both" / "members").glob("*.safetensors"))
    second.write_bytes(first.read_bytes())
    for reading in (open_predictor, records_of):
        with pytest.raises(RunError, match=r"2-1\.safetensors is not the model that .*ensemble\.json was made of"):
            reading(tmp_path / "both")
