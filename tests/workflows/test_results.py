"""What a finished run holds, and that every way of asking the model gives the same answer."""

from __future__ import annotations

import csv
import io
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import f1_score, precision_recall_fscore_support, roc_auc_score

import bunryu
from bunryu.core.csv_text import guard, unguard
from bunryu.data.images.decode import load
from bunryu.evaluate.report import files as written
from bunryu.inference.model import Model, forward
from bunryu.inference.reading import BATCH
from bunryu.models import build as networks
from bunryu.models.record import Head, Sealed, read_sealed
from bunryu.models.weights import load_file_into
from bunryu.runs.folder import create_run
from bunryu.settings.config import load_yaml
from bunryu.settings.data import DecodeSpec, InputSpec
from bunryu.settings.run import RunSettings
from bunryu.settings.validate import build

KEYS = {
    "n", "accuracy", "macro_f1", "weighted_f1", "macro_precision", "macro_recall", "loss",
    "accuracy_ci", "macro_f1_ci", "weighted_f1_ci", "per_class",
}  # fmt: skip
TWO_CLASS_KEYS = {"positive", "positive_precision", "positive_recall", "positive_f1", "roc_auc"}


def read_table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def probabilities(frame: Any) -> Any:
    return frame[[name for name in frame.columns if name.startswith("p_")]].to_numpy()


@pytest.fixture(scope="module")
def two_run(tmp_path_factory: pytest.TempPathFactory, make_images: Any, tiny_settings: list[str]) -> Path:
    """A two-class run from a table: text labels that look like numbers, with a published index and groups."""
    root = tmp_path_factory.mktemp("two")
    make_images(root, {"01": 20, "NA": 20})
    lines = [
        f"{name}/{i:03}.png,{name},{int(name == '01')},person{i // 2}-{name}\n"
        for name in ("01", "NA")
        for i in range(20)
    ]
    (root / "t.csv").write_text("path,label,code,person\n" + "".join(lines), encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BUNRYU_CACHE", str(root / "cache"))
        bunryu.train(root / "t.csv", *tiny_settings, "split.test=0.3", out=root / "run", quiet=True)
    return root / "run"


# The run folder.


def test_all_files_of_a_run(tiny_run: Any) -> None:
    found = {str(path.relative_to(tiny_run.run)) for path in tiny_run.run.rglob("*") if path.is_file()}
    expected = {
        "config.yaml", "environment.json", "split.csv", "skipped.csv", "history.jsonl", "model.safetensors",
        *(f"checkpoints/{name}.safetensors" for name in ("best", "last", "stage-1-all", "final")),
        "metrics.json", "report.txt",
        "plots/curves.png", "SHA256SUMS",
    }  # fmt: skip
    for split in ("val", "test"):
        expected |= {f"predictions_{split}.csv", f"confusion_{split}.csv", f"confusion_{split}.npy"}
        expected |= {f"mistakes_{split}.csv"}
        expected |= {f"plots/{name}_{split}.png" for name in ("confusion", "per_class_f1", "probabilities", "examples")}
        expected |= {f"plots/confusion_{split}_normalized.png"}
    assert expected <= found
    assert found - expected <= {".lock"}
    assert not [name for name in found if name.endswith(".tmp")]


def test_config_and_environment(tiny_run: Any) -> None:
    settings = build(RunSettings, [load_yaml(tiny_run.run / "config.yaml")])
    assert settings.data.source == str(tiny_run.data)
    assert settings.train.epochs == 2
    environment = json.loads((tiny_run.run / "environment.json").read_text(encoding="utf-8"))
    assert {"command", "started", "python", "system", "processor", "cores", "device", "precision", "threads"} < set(
        environment
    )
    assert environment["versions"]["bunryu"] == bunryu.__version__
    assert environment["data_root"] == str(tiny_run.data)


def test_split_and_skipped(tiny_run: Any) -> None:
    rows = read_table(tiny_run.run / "split.csv")
    assert list(rows[0]) == ["path", "label", "split", "digest"]
    assert len(rows) == 42
    assert {row["label"] for row in rows} == set(tiny_run.classes)
    assert all((tiny_run.data / row["path"]).exists() for row in rows)
    assert {(row["label"], row["split"]) for row in rows} == {
        (name, split) for name in tiny_run.classes for split in ("train", "val", "test")
    }
    assert read_table(tiny_run.run / "skipped.csv") == [
        {"path": "cat/broken.png", "label": "cat", "split": "", "reason": "not an image (text)"}
    ]


def test_history(tiny_run: Any) -> None:
    rows = [json.loads(line) for line in (tiny_run.run / "history.jsonl").read_text(encoding="utf-8").splitlines()]
    assert [row["epoch"] for row in rows] == [1, 2]
    for key in ("stage", "lr", "head_lr", "train_loss", "train_accuracy", "val_loss", "val_accuracy", "val_macro_f1",
                "images_per_second", "seconds", "best"):  # fmt: skip
        assert key in rows[0]


def test_metrics_json(tiny_run: Any, two_run: Path) -> None:
    for folder, further in ((tiny_run.run, set()), (two_run, TWO_CLASS_KEYS)):
        metrics = json.loads((folder / "metrics.json").read_text(encoding="utf-8"))
        assert set(metrics) == {"val", "test"}
        for split, figures in metrics.items():
            assert KEYS | further <= set(figures), split
            assert not TWO_CLASS_KEYS - further & set(figures)
            assert figures["n"] == sum(row["support"] for row in figures["per_class"].values())
            for row in figures["per_class"].values():
                assert {"precision", "recall", "f1", "support"} <= set(row)
            low, high = figures["macro_f1_ci"]
            assert 0 <= low <= figures["macro_f1"] <= high <= 1


def test_metrics_agree_with_scikit_learn_and_the_predictions(tiny_run: Any) -> None:
    rows = read_table(tiny_run.run / "predictions_test.csv")
    true, pred = ([unguard(row[name]) for row in rows] for name in ("true", "pred"))
    figures = bunryu.open_run(tiny_run.run).metrics["test"]
    precision, recall, f1, _ = precision_recall_fscore_support(true, pred, average="macro", zero_division=0)
    assert figures["accuracy"] == np.mean(np.array(true) == np.array(pred))
    assert [figures[key] for key in ("macro_precision", "macro_recall", "macro_f1")] == pytest.approx(
        [precision, recall, f1]
    )
    assert figures["weighted_f1"] == pytest.approx(f1_score(true, pred, average="weighted"))
    matrix = np.load(tiny_run.run / "confusion_test.npy")
    assert matrix.dtype == np.int64
    for i, name in enumerate(tiny_run.classes):
        for j, answer in enumerate(tiny_run.classes):
            pairs = list(zip(true, pred, strict=True))
            assert matrix[i, j] == pairs.count((name, answer))
    table = list(csv.reader(io.StringIO((tiny_run.run / "confusion_test.csv").read_text(encoding="utf-8"))))
    assert [[unguard(row[0]), *map(int, row[1:])] for row in table[1:]] == [
        [name, *matrix[i].tolist()] for i, name in enumerate(tiny_run.classes)
    ]


def test_the_model_is_sealed_with_its_classes(tiny_run: Any, two_run: Path) -> None:
    sealed = read_sealed(tiny_run.run / "model.safetensors")
    assert sealed.classes == tiny_run.classes
    assert (sealed.heads[0].column, sealed.heads[0].published) == ("label", None)
    assert (sealed.precision, sealed.input.height, sealed.input.width) == ("fp32", 16, 16)
    assert sealed.provenance["best"]["epoch"] in (1, 2)
    two = read_sealed(two_run / "model.safetensors")
    assert two.classes == ["NA", "01"], "by the index that the table pairs with them"
    assert two.heads[0].published == [0, 1]


def test_groups_stay_together_and_labels_stay_text(two_run: Path) -> None:
    rows = read_table(two_run / "split.csv")
    assert {row["label"] for row in rows} == {"01", "NA"}
    by_group: dict[str, set[str]] = {}
    for row in rows:
        by_group.setdefault(row["group"], set()).add(row["split"])
    assert {len(splits) for splits in by_group.values()} == {1}
    metrics = bunryu.open_run(two_run).metrics["test"]
    assert list(metrics["per_class"]) == ["NA", "01"]
    assert metrics["bootstrap"]["of"] == "groups"
    frame = bunryu.open_run(two_run).predict(two_run.parent / "NA")
    assert list(frame.columns) == ["path", "pred", "conf", "p_NA", "p_01"]
    assert set(frame["pred"]) <= {"NA", "01"}


def test_two_class_runs_report_the_positive_class(two_run: Path) -> None:
    found = bunryu.open_run(two_run).evaluate(two_run.parent / "t.csv", out=two_run.parent / "positive")
    figures, frame = found.metrics["test"], found.predictions["test"]
    assert figures["positive"] == "01", "of two equally frequent the last in order"
    truth = (frame["true"] == "01").to_numpy()
    assert figures["roc_auc"] == pytest.approx(roc_auc_score(truth, frame["p_01"]))
    precision, recall, f1, _ = precision_recall_fscore_support(
        truth, frame["pred"] == "01", average="binary", zero_division=0
    )
    assert [figures[f"positive_{key}"] for key in ("precision", "recall", "f1")] == pytest.approx(
        [precision, recall, f1]
    )
    other = bunryu.evaluate(
        two_run, two_run.parent / "t.csv", out=two_run.parent / "other", overrides=["evaluate.positive=NA"]
    )
    assert other.metrics["test"]["positive"] == "NA"
    report = (two_run.parent / "other/report.txt").read_text(encoding="utf-8")
    assert "NA" in report
    assert "ROC AUC" in report


def test_a_run_folder_is_never_overwritten(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken/notes.txt").touch()
    (tmp_path / "file").touch()
    for name in ("taken", "file"):
        with pytest.raises(bunryu.RunError, match="a run is never overwritten"):
            create_run("x", tmp_path / name)
    (tmp_path / "empty").mkdir()
    assert create_run("x", tmp_path / "empty").path == tmp_path / "empty"
    assert create_run("x", tmp_path / "new/deep").path == tmp_path / "new/deep"
    numbered = [create_run("x [1]*", None, tmp_path / "runs").path.name for _ in range(3)]
    assert numbered == ["x [1]*-1", "x [1]*-2", "x [1]*-3"]


# The same answer, however it is asked.


def test_validation_evaluate_and_the_run_agree_to_the_bit(tiny_run: Any, tmp_path: Path) -> None:
    run = bunryu.open_run(tiny_run.run)
    found = run.evaluate(out=tmp_path / "again")
    assert set(found.metrics) == {"val", "test"}
    for name in ("val", "test"):
        assert found.metrics[name] == run.metrics[name]
        again = (tmp_path / f"again/predictions_{name}.csv").read_bytes()
        assert again == (tiny_run.run / f"predictions_{name}.csv").read_bytes()
        assert np.array_equal(np.load(tmp_path / f"again/confusion_{name}.npy"), found.confusion[name].to_numpy())
    history = run.history
    best = history[history["best"]].iloc[-1]
    assert best["val_loss"] == run.metrics["val"]["loss"], "validation during training took the same path"
    assert best["val_macro_f1"] == run.metrics["val"]["macro_f1"]


def test_paths_bytes_and_arrays_agree_to_the_bit(tiny_run: Any, tmp_path: Path) -> None:
    run = bunryu.open_run(tiny_run.run)
    truth = run.evaluate(out=tmp_path / "r").predictions["val"]
    files = [tiny_run.data / path for path in truth["path"]]
    want = probabilities(truth)
    assert want.dtype == np.float32
    arrays = [np.asarray(Image.open(file).convert("RGB")) for file in files]
    asked = {
        "paths": files,
        "texts": [str(file) for file in files],
        "bytes": [file.read_bytes() for file in files],
        "arrays": arrays,
        "one array": np.stack(arrays),
        "a mix": [file if i % 2 else file.read_bytes() for i, file in enumerate(files)],
    }
    for name, images in asked.items():
        assert np.array_equal(probabilities(run.predict(images)), want), name
        assert np.array_equal(run.model.probabilities(images), want), name
    assert np.array_equal(probabilities(bunryu.predict(tiny_run.run, files)), want)
    assert np.array_equal(probabilities(bunryu.predict(tiny_run.run / "model.safetensors", files)), want)
    listing = tmp_path / "list.csv"
    listing.write_text("path\n" + "".join(f"{file}\n" for file in files), encoding="utf-8")
    bunryu.predict(run, listing, out=tmp_path / "p.csv")
    written = [[float(row[f"p_{name}"]) for name in tiny_run.classes] for row in read_table(tmp_path / "p.csv")]
    assert written == [[float(f"{value:.6g}") for value in row] for row in want.tolist()]


def test_evaluate_and_predict_agree_over_several_batches(tiny_run: Any, tmp_path: Path) -> None:
    """More pictures than one batch, one of them unreadable, in the order of the folder."""
    run = bunryu.open_run(tiny_run.run)
    measured = run.evaluate(tiny_run.data, out=tmp_path / "r")
    predicted = run.predict(tiny_run.data)
    assert len(predicted) == 42 > BATCH
    assert [Path(path).relative_to(tiny_run.data).as_posix() for path in predicted["path"]] == list(
        measured.predictions["test"]["path"]
    )
    assert np.array_equal(probabilities(predicted), probabilities(measured.predictions["test"]))
    assert measured.skipped["test"] == {"cat/broken.png": "not an image (text)"}
    assert predicted.attrs["skipped"] == [(str(tiny_run.data / "cat/broken.png"), "not an image (text)")]


def odd_images(folder: Path) -> list[Path]:
    """Write pictures of every kind that people have."""
    rng = np.random.default_rng(0)

    def pixels(*shape: int) -> Any:
        return rng.integers(0, 256, shape, dtype=np.uint8)

    colour = Image.fromarray(pixels(40, 30, 3))
    palette = colour.quantize(16)
    exif = Image.Exif()
    exif[0x0112] = 6
    deep = Image.fromarray((pixels(20, 20).astype(np.uint16) << 8) | 7)
    float_ = Image.fromarray(rng.random((20, 20), dtype=np.float32))
    made: list[tuple[str, Image.Image, dict[str, Any]]] = [
        ("rgb.png", colour, {}),
        ("grey.png", Image.fromarray(pixels(33, 20)), {}),
        ("bit.png", Image.fromarray(pixels(20, 20)).convert("1"), {}),
        ("alpha.png", Image.fromarray(pixels(20, 20, 4)), {}),
        ("grey_alpha.png", Image.fromarray(pixels(20, 20, 4)).convert("LA"), {}),
        ("palette.png", palette, {"transparency": 3}),
        ("deep.png", deep, {}),
        ("turned.jpg", colour, {"exif": exif}),
        ("cmyk.jpg", colour.convert("CMYK"), {}),
        ("float.tif", float_, {}),
        ("lossy.webp", colour, {"quality": 40}),
        ("old.bmp", colour, {}),
        ("moving.gif", palette, {"save_all": True, "append_images": [palette.rotate(90)]}),
        ("one.png", Image.fromarray(pixels(1, 1, 3)), {}),
        ("wide.png", Image.fromarray(pixels(1, 400, 3)), {}),
        ("tall.png", Image.fromarray(pixels(400, 1, 3)), {}),
        ("large.jpg", Image.fromarray(pixels(700, 900, 3)), {}),
    ]
    folder.mkdir()
    for name, image, options in made:
        image.save(folder / name, **options)
    return [folder / name for name, _, _ in made]


def opinionated(name: str, files: list[Path], weights: Path | None = None) -> Model:
    """Return a model of drawn (or given) weights whose logits differ from picture to picture, by 1.5 or so."""
    torch.manual_seed(3)
    architecture = networks.Architecture(name=name)
    net = networks.build(architecture, 5)
    if weights is not None:
        load_file_into(net, architecture, weights)
    spec = InputSpec(height=40, width=48, mean=[0.5, 0.4, 0.3], std=[0.2, 0.2, 0.3], interpolation="bicubic")
    head = Head(column="label", classes=list("abcde"))
    sealed = Sealed(architecture=architecture, heads=[head], decode=DecodeSpec(), input=spec)
    model = Model(net, sealed, torch.device("cpu"))
    with torch.no_grad():
        pixels = torch.from_numpy(np.stack([load(file, sealed.decode, spec) for file in files]))
        logits = forward(net, pixels, spec, "fp32")
        last = net.head[-1]
        last.weight.mul_(1.5 / logits.std(dim=0)[:, None])
        last.bias.sub_(logits.mean(dim=0)).mul_(1.5 / logits.std(dim=0))
    return model


@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-5), ("bf16", 2e-2)])
@pytest.mark.parametrize("name", ["scratch_cnn", "torchvision/resnet18", "timm/tf_efficientnetv2_b0", "the run"])
def test_any_batch_size_gives_the_same_answer(
    tiny_run: Any, tmp_path: Path, name: str, precision: Any, tolerance: float, request: pytest.FixtureRequest
) -> None:
    files = [*odd_images(tmp_path / "odd"), *sorted((tiny_run.data / "강아지").glob("*.png"))]
    given = None
    if name.startswith("timm/"):  # depthwise, and with real weights
        given = request.getfixturevalue("shared") / "weights/tf_efficientnetv2_b0.safetensors"
    opened = Model.open(tiny_run.run, device="cpu") if name == "the run" else opinionated(name, files, given)
    model = Model(opened.net, opened.sealed.model_copy(update={"precision": precision}), opened.device)
    together = model.probabilities(files)
    assert together.dtype == np.float32
    assert together.std(axis=0).max() > (0.005 if name == "the run" else 0.1), "the answers differ between pictures"
    assert np.allclose(together.sum(axis=1), 1, atol=1e-5)
    for batch_size in (1, 2, 7, len(files), 64):
        found = model.probabilities(files, batch_size=batch_size)
        assert np.abs(found - together).max() <= tolerance, batch_size
    assert np.abs(model.probabilities(files[::-1], batch_size=5)[::-1] - together).max() <= tolerance
    assert np.array_equal(model.probabilities([file.read_bytes() for file in files]), together)
    again = Model(opened.net, model.sealed, opened.device)
    assert np.array_equal(again.probabilities(files), together)


# Labels are mapped by name.


def test_a_class_absent_from_a_test_folder_shifts_nothing(tiny_run: Any, tmp_path: Path, make_images: Any) -> None:
    run = bunryu.open_run(tiny_run.run)
    for absent in tiny_run.classes:
        data = tmp_path / f"without{absent}"
        shutil.copytree(tiny_run.data, data, ignore=shutil.ignore_patterns(absent, "broken.png"))
        found = run.evaluate(data, out=tmp_path / f"r{absent}", overrides=["evaluate.bootstrap=0"])
        figures, frame = found.metrics["test"], found.predictions["test"]
        assert figures["absent"] == [absent]
        present = [name for name in tiny_run.classes if name != absent]
        want = f1_score(frame["true"], frame["pred"], labels=present, average="macro", zero_division=0)
        assert figures["macro_f1"] == pytest.approx(want)
        assert list(frame["true"]) == [Path(path).parent.name for path in frame["path"]]
        assert found.confusion["test"].loc[absent].sum() == 0
        assert list(found.confusion["test"].columns) == tiny_run.classes
        whole = run.predict([data / path for path in frame["path"]])
        assert np.array_equal(probabilities(whole), probabilities(frame))
        assert absent in (tmp_path / f"r{absent}/report.txt").read_text(encoding="utf-8")


def test_an_unknown_class_is_an_error_that_names_it(tiny_run: Any, tmp_path: Path, make_images: Any) -> None:
    make_images(tmp_path / "new", {"cat": 1, "wolf": 1})
    with pytest.raises(bunryu.LabelError, match=r"1 image has a label that the model does not know: 'wolf'"):
        bunryu.evaluate(tiny_run.run, tmp_path / "new")


# From Python.


def test_a_run_in_python(tiny_run: Any) -> None:
    run = bunryu.open_run(str(tiny_run.run))
    assert run.path == tiny_run.run
    assert run.classes == tiny_run.classes
    assert isinstance(run, bunryu.Run)
    assert isinstance(run.model, bunryu.Model)
    assert run.settings.train.epochs == 2
    assert list(run.history["epoch"]) == [1, 2]
    assert "macro-F1" in repr(run)
    assert "scratch_cnn, 3 classes, 16x16 rgb, fp32" in repr(run.model)


def test_predict_gives_frames(tiny_run: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    import pandas as pd

    one = bunryu.predict(tiny_run.run, tiny_run.data / "cat/001.png")
    assert isinstance(one, pd.DataFrame)
    assert list(one.columns) == ["path", "pred", "conf", *(f"p_{name}" for name in tiny_run.classes)]
    assert one.loc[0, "conf"] == one.loc[0, f"p_{one.loc[0, 'pred']}"]
    content = (tiny_run.data / "cat/001.png").read_bytes()
    many = bunryu.predict(tiny_run.run, [content, b"no image", content], out=tmp_path / "p.jsonl", format="jsonl")
    assert list(many["path"]) == ["image 0", "image 2"]
    assert many.attrs["skipped"] == [("image 1", "not an image (text)")]
    assert "1 of 3 files could not be read" in capsys.readouterr().err
    assert [json.loads(line)["path"] for line in (tmp_path / "p.jsonl").read_text().splitlines()] == list(many["path"])
    assert read_table(tmp_path / "p.skipped.csv")[0]["path"] == "image 1"
    with pytest.raises(bunryu.ImageError, match="1 of 1 file could not be read"):
        bunryu.predict(tiny_run.run, b"no image")
    empty = bunryu.predict(tiny_run.run, [])
    assert (len(empty), list(empty.columns)) == (0, list(one.columns))


def test_a_device_that_is_named_is_honoured(tiny_run: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    run, image = bunryu.open_run(tiny_run.run), tiny_run.data / "cat/001.png"
    kept = run.model
    opened = []
    first = Model.open
    monkeypatch.setattr(Model, "open", lambda path, *, device="auto": opened.append(device) or first(path))
    bunryu.predict(run, image)
    assert opened == []
    bunryu.predict(run, image, device="cpu")
    assert opened == ["cpu"]
    assert run.model is kept
    monkeypatch.undo()
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(bunryu.DeviceError, match="cuda is not available"):
        bunryu.predict(run, image, device="cuda")


def test_evaluate_gives_frames_and_takes_them(tiny_run: Any, tmp_path: Path) -> None:
    import pandas as pd

    rows = [
        {"path": str(tiny_run.data / name / f"{i:03}.png"), "label": name}
        for name in ("cat", "강아지")
        for i in range(3)
    ]
    found = bunryu.evaluate(tiny_run.run, pd.DataFrame(rows), out=tmp_path / "r", name="frame")
    assert isinstance(found, bunryu.Evaluation)
    assert list(found.predictions["frame"]["true"]) == ["cat"] * 3 + ["강아지"] * 3
    assert isinstance(found.confusion["frame"], pd.DataFrame)
    assert found.path == tmp_path / "r"
    assert "frame: macro-F1" in repr(found)
    assert "a table" in (tmp_path / "r/report.txt").read_text(encoding="utf-8")


def test_train_on_a_frame(tmp_path: Path, make_images: Any, tiny_settings: list[str]) -> None:
    import pandas as pd

    make_images(tmp_path / "photos", {"10": 5, "9": 5})
    rows = [{"file": f"photos/{name}/{i:03}.png", "label": int(name)} for name in ("10", "9") for i in range(5)]
    run = bunryu.train(
        pd.DataFrame(rows), *tiny_settings, f"data.image_root={tmp_path}", "train.epochs=1",
        out=tmp_path / "run", quiet=True,
    )  # fmt: skip
    assert run.classes == ["9", "10"], "whole numbers in their own order"
    assert set(run.metrics) == {"val"}
    kept = [row["file"] for row in read_table(tmp_path / "run/data.csv")]
    assert kept == [str(tmp_path / row["file"]) for row in rows], "the same files from anywhere"
    assert set(run.evaluate(out=tmp_path / "r").metrics) == {"val"}
    assert bunryu.open_run(tmp_path / "run").settings.data.source == str(tmp_path / "run/data.csv")


@pytest.mark.parametrize(
    ("ask", "error", "message"),
    [
        (lambda _, tmp: bunryu.open_run(tmp / "gone"), bunryu.RunError, "There is no run folder"),
        (lambda _, tmp: bunryu.predict(tmp / "gone", b""), bunryu.RunError, "There is no run folder"),
        (lambda run, tmp: bunryu.predict(run, tmp / "gone.png"), bunryu.DataError, "There is no file or folder"),
        (lambda run, tmp: bunryu.predict(run, b"", out=tmp), bunryu.ConfigError, "is a folder"),
        (lambda run, _: bunryu.open_run(run).model.predict(b"x"), bunryu.ImageError, "image 0: not an image"),
        (lambda _, tmp: bunryu.train(tmp / "gone"), bunryu.DataError, "There is no file or folder"),
        (lambda _, tmp: bunryu.train(tmp, "train.epoch=3"), bunryu.ConfigError, "Did you mean 'train.epochs'"),
        (lambda run, tmp: bunryu.train(tmp, out=run), bunryu.RunError, "a run is never overwritten"),
        (lambda _, tmp: bunryu.train(tmp, epochs=3), bunryu.ConfigError, r'train\(data, "train.epochs=3"\)'),
        (lambda _, tmp: bunryu.train(tmp, train_epochs=3), bunryu.ConfigError, r'\(data, "train.epochs=3"\).$'),
        (lambda _, tmp: bunryu.train(tmp, train_epoch=3), bunryu.ConfigError, "Did you mean 'train.epochs'"),
        (lambda run, _: bunryu.evaluate(run, overrides=["data.check=none"]), bunryu.ConfigError, "Give the data"),
        (lambda _, __: bunryu.train(), bunryu.ConfigError, "No data was named"),
        (lambda _, __: bunryu.train([1, 2], "model.weights=none"), bunryu.DataError, "received list"),
        (lambda run, _: bunryu.evaluate(run, out=run), bunryu.RunError, "results are never overwritten"),
        (lambda run, _: bunryu.evaluate(run, overrides=["x=1"]), bunryu.ConfigError, "evaluate takes"),
    ],
)  # fmt: skip
def test_errors_in_python(tiny_run: Any, tmp_path: Path, ask: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        ask(tiny_run.run, tmp_path)
    assert issubclass(error, bunryu.BunryuError)


def test_titles_of_plots_name_the_run_and_other_data(
    tiny_run: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    of: list[str] = []
    monkeypatch.setattr(written, "_write_plots", lambda *arguments: of.append(arguments[-1]))
    bunryu.evaluate(tiny_run.run, tiny_run.data, out=tmp_path / "a", name="again", quiet=True)
    bunryu.evaluate(tiny_run.run, out=tmp_path / "b", quiet=True)
    assert of == ["run on photos · again", "run · val", "run · test"]


def test_guarded_cells_come_back() -> None:
    for text in ("=1", "+", "-a", "@", "\tx", "\r", "'=x", "", "'", "a=b", "''-", "가"):
        assert guard(text)[:1] not in ("=", "+", "-", "@", "\t", "\r") or text == ""
        assert unguard(guard(text)) == text or text.startswith("'")
    assert guard(-1.5) == -1.5


def test_a_tau_is_chosen_sealed_and_used_everywhere(tmp_path: Path, make_images: Any, tiny_settings: list[str]) -> None:
    make_images(tmp_path / "photos", {"a": 30, "b": 8, "c": 6})
    run = bunryu.train(
        tmp_path / "photos", *tiny_settings, "decision.tau=auto", "split.val=0.3", out=tmp_path / "run", quiet=True
    )
    kept = run.model.sealed.decision.logit_offsets
    assert kept is not None
    assert "decision  " in (tmp_path / "run/report.txt").read_text(encoding="utf-8")
    again = run.evaluate(out=tmp_path / "r", tta="hflip")
    for metrics in (run.metrics["val"], again.metrics["val"], again.metrics["val_tta"]):
        assert metrics["notes"][-1].startswith("The best epoch and tau were chosen on these images")
    assert again.metrics["val"]["macro_f1"] == run.metrics["val"]["macro_f1"]
    best = bunryu.Model.open(tmp_path / "run/checkpoints/best.safetensors")
    assert best.sealed.decision.logit_offsets is None
    rows = read_table(tmp_path / "run/predictions_val.csv")
    files = [tmp_path / "photos" / row["path"] for row in rows]
    plain, used = best.probabilities(files), run.model.probabilities(files)
    odds = plain * np.exp(kept)
    np.testing.assert_allclose(used, odds / odds.sum(1, keepdims=True), rtol=1e-4)
    np.testing.assert_allclose(used[:, 0], [float(row["p_a"]) for row in rows], atol=1e-5)
    set_by_hand = bunryu.train(
        tmp_path / "photos", *tiny_settings, "decision.tau=1", "split.val=0.3", out=tmp_path / "one", quiet=True
    )
    labels = [row["label"] for row in read_table(tmp_path / "one/split.csv") if row["split"] == "train"]
    prior = np.array([labels.count(name) for name in "abc"]) / len(labels)
    np.testing.assert_allclose(set_by_hand.model.sealed.decision.logit_offsets, -np.log(prior), rtol=1e-6)
