"""A competition's sample file is filled in as its own header and cells say, or refused with what it may want."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from bunryu.core.errors import BunryuError, ConfigError, DataError
from bunryu.inference.multilabel_predictions import LabelPredictions
from bunryu.inference.predictions import Predictions
from bunryu.models.record import Architecture, Decision, Head, Sealed
from bunryu.settings.data import DecodeSpec, InputSpec
from bunryu.ship.submission import fill

PATHS = ["new/b.png", "new/a.png", "new/c.png"]
TWO = np.array([[0.75, 0.25], [0.125, 0.875], [0.375, 0.625]], np.float32)
THREE = np.array([[0.75, 0.25, 0], [0.125, 0.375, 0.5], [0, 0.625, 0.375]], np.float32)
SETS = np.array([[0.75, 0.5, 0], [0.125, 0.25, 0.5], [0, 0.25, 0.375]], np.float32)


def sealed(
    classes: list[str], published: list[int] | None = None, positive: str | None = None, *, together: bool = False
) -> Sealed:
    kind = "sigmoid" if together else "softmax"
    head = Head.model_validate(
        {"column": "label", "kind": kind, "classes": classes, "published": published, "positive": positive}
    )
    return Sealed(
        architecture=Architecture(name="scratch_cnn"),
        heads=[head],
        decode=DecodeSpec(max_pixels=1000),
        input=InputSpec(height=8, width=8, mean=[0.5] * 3, std=[0.5] * 3),
        decision=Decision(thresholds=dict.fromkeys(classes, 0.5) if together else {}),
    )


CATS = sealed(["cat", "dog"])
MODELS = {
    "names": CATS,
    "positive": sealed(["cat", "dog"], positive="cat"),
    "published": sealed(["cat", "dog"], [7, 5]),
    "numbered": sealed(["cat", "dog"], [1, 0]),
    "disagreeing": sealed(["cat", "dog"], [1, 0], "dog"),
    "numbers": sealed(["0", "1"]),
    "three": sealed(["cat", "dog", "red fox"]),
    "labels": sealed(["cat", "dog", "fox"], together=True),
    "spaced labels": sealed(["cat", "dog", "red fox"], together=True),
}


def filled(model: str, sample: str, folder: Path, given: str | None = None, paths: list[str] = PATHS) -> str:
    file = folder / "sample.csv"
    file.write_text(sample, encoding="utf-8")
    one = MODELS[model]
    if one.multi_label:
        table = LabelPredictions(paths, one.classes, SETS, thresholds=[0.5] * 3)
        return fill(file, table, one, given)
    return fill(file, Predictions(paths, one.classes, THREE if len(one.classes) == 3 else TWO), one, given)


FILLED = {
    "a probability a class, in the sample's order": (
        "names", "image,dog,cat\na.png,0.5,0.5\nb.png,0.5,0.5\nc.png,0.5,0.5\n", None,
        "image,dog,cat\na.png,0.875,0.125\nb.png,0.25,0.75\nc.png,0.625,0.375\n",
    ),
    "columns of classes first, the id last, without an ending": (
        "names", "Dog,CAT,id\n0.5,0.5,c\n0.5,0.5,b\n0.5,0.5,a\n", None,
        "Dog,CAT,id\n0.625,0.375,c\n0.25,0.75,b\n0.875,0.125,a\n",
    ),
    "columns called p_CLASS": (
        "three", "id,p_cat,p_red fox\na,.1,.1\nb,.1,.1\nc,.1,.1\n", None,
        "id,p_cat,p_red fox\na,0.125,0.5\nb,0.75,0.0\nc,0.0,0.375\n",
    ),
    "columns called by published numbers": (
        "published", "id,5,7\na,0.1,0.1\nb,0.1,0.1\nc,0.1,0.1\n", None,
        "id,5,7\na,0.875,0.125\nb,0.25,0.75\nc,0.625,0.375\n",
    ),
    "columns called by index, where it is said": (
        "names", "id,0,1\na,.5,.5\nb,.5,.5\nc,.5,.5\n", "index",
        "id,0,1\na,0.125,0.875\nb,0.75,0.25\nc,0.375,0.625\n",
    ),
    "one column of one of two classes": (
        "names", "id,dog\na,0.5\nb,0.5\nc,0.5\n", None, "id,dog\na,0.875\nb,0.25\nc,0.625\n",
    ),
    "one-hot rows": (
        "names", "id,cat,dog\na,1,0\nb,0,1\nc,1,0\n", None, "id,cat,dog\na,0,1\nb,1,0\nc,0,1\n",
    ),
    "one probability: of the positive class": (
        "positive", "id,label\na,0.5\nb,0.5\nc,0.5\n", None, "id,label\na,0.125\nb,0.75\nc,0.375\n",
    ),
    "one probability: of the class with the number 1": (
        "numbered", "id,label\na,0.5\nb,0.5\nc,0.5\n", None, "id,label\na,0.125\nb,0.75\nc,0.375\n",
    ),
    "one probability: of the class called 1": (
        "numbers", "id,label\na,0.5\nb,0.5\nc,0.5\n", None, "id,label\na,0.875\nb,0.25\nc,0.625\n",
    ),
    "one probability: as it is said": (
        "names", "id,label\na,0.5\nb,0.5\nc,0.5\n", "p_cat", "id,label\na,0.125\nb,0.75\nc,0.375\n",
    ),
    "names, in the sample's spelling": (
        "names", "id,label\na,Cat\nb,Cat\nc,Cat\n", None, "id,label\na,dog\nb,Cat\nc,dog\n",
    ),
    "names in sub-folders": (
        "names", "id,label\nx/a.jpg,cat\nx/b.jpg,cat\nx/c.jpg,cat\n", None,
        "id,label\nx/a.jpg,dog\nx/b.jpg,cat\nx/c.jpg,dog\n",
    ),
    "numbers that are the names": (
        "numbers", "id,label\na,0\nb,0\nc,0\n", None, "id,label\na,1\nb,0\nc,1\n",
    ),
    "published numbers": ("published", "id,label\na,0\nb,0\nc,0\n", None, "id,label\na,5\nb,7\nc,5\n"),
    "indices, where it is said": ("names", "id,label\na,0\nb,0\nc,0\n", "index", "id,label\na,1\nb,0\nc,1\n"),
    "names, where it is said": ("names", "id,label\na,0\nb,0\nc,0\n", "name", "id,label\na,dog\nb,cat\nc,dog\n"),
    "rows called id_class": (
        "three", "id,p\na_cat,0.1\nc_red fox,0.1\nb_dog,0.1\n", None,
        "id,p\na_cat,0.125\nc_red fox,0.375\nb_dog,0.25\n",
    ),
    "rows with a column of classes": (
        "names", "id,class,value\na,dog,0.1\na,cat,0.1\nb,cat,0.1\nc,cat,0.1\n", None,
        "id,class,value\na,dog,0.875\na,cat,0.125\nb,cat,0.75\nc,cat,0.375\n",
    ),
    "labels: a probability each": (
        "labels", "id,fox,cat,dog\na,0.5,0.5,0.5\nb,0.0,0.0,0.0\nc,0.0,0.0,0.0\n", None,
        "id,fox,cat,dog\na,0.5,0.125,0.25\nb,0.0,0.75,0.5\nc,0.375,0.0,0.25\n",
    ),
    "labels: 0 or 1 each": (
        "labels", "id,fox,cat,dog\na,0,0,0\nb,0,0,0\nc,0,0,0\n", None,
        "id,fox,cat,dog\na,1,0,0\nb,0,1,1\nc,0,0,0\n",
    ),
    "labels: True or False each": (
        "labels", "id,fox,cat,dog\na,True,False,True\nb,True,True,True\nc,True,True,True\n", None,
        "id,fox,cat,dog\na,True,False,False\nb,False,True,True\nc,False,False,False\n",
    ),
    "labels: separated by spaces": (
        "labels", "id,labels\na,cat dog\nb,fox\nc,fox\n", None, "id,labels\na,fox\nb,cat dog\nc,\n",
    ),
    "labels with spaces, separated by semicolons": (
        "spaced labels", "id,labels\na,cat;red fox\nb,cat\nc,cat\n", None, "id,labels\na,red fox\nb,cat;dog\nc,\n",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", FILLED)
def test_each_kind_of_sample_is_filled(kind: str, tmp_path: Path) -> None:
    model, sample, said, expected = FILLED[kind]
    assert filled(model, sample, tmp_path, said) == expected


REFUSED = {
    "numbers, which the model does not know": ("names", "id,label\na,0\nb,0\nc,0\n", "index"),
    "one probability of two classes, neither positive": ("names", "id,label\na,0.5\nb,0.5\nc,0.5\n", "p_dog"),
    "a positive class that has not the number 1": ("disagreeing", "id,label\na,.5\nb,.5\nc,.5\n", "p_dog"),
    "one probability of three classes": ("three", "id,label\na,0.5\nb,0.5\nc,0.5\n", '"p_red fox"'),
    "zeros of classes that exclude each other": ("names", "id,cat,dog\na,0,0\nb,0,0\nc,0,0\n", "probability"),
    "labels in one column of zeros": ("labels", "id,label\na,0\nb,0\nc,0\n", "p_cat"),
    "several names in a cell": ("names", "id,label\na,cat dog\nb,cat dog\nc,dog cat\n", "name"),
    "columns of indices": ("names", "id,0,1\na,.5,.5\nb,.5,.5\nc,.5,.5\n", "index"),
}


@pytest.mark.parametrize(
    ("sample", "told"),
    [
        ("id,label,confidence\na,cat,0.9\nb,cat,0.9\nc,cat,0.9\n", "left as they are in the sample: 'confidence'"),
        ("id,label\na,bird\nb,bird\nc,bird\n", "column 'label': 'bird' in the sample, no class of the model"),
    ],
)
def test_what_is_not_filled_or_not_known_is_told(
    sample: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    filled("names", sample, tmp_path)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("kind", REFUSED)
def test_what_cannot_be_told_is_refused_and_the_advice_works(kind: str, tmp_path: Path) -> None:
    model, sample, advice = REFUSED[kind]
    with pytest.raises(DataError) as error:
        filled(model, sample, tmp_path)
    said = re.findall(r'--submission-as ("[^"]+"|[\w-]+)', str(error.value))
    assert advice in said
    for one in said:
        assert filled(model, sample, tmp_path, one.strip('"')).count("\n") == 4, one


@pytest.mark.parametrize(
    ("model", "sample", "given", "told"),
    [
        ("names", "id,cat,dog,dgo\na,.5,.5,.5\nb,.5,.5,.5\nc,.5,.5,.5\n", None, "Did you mean 'dog'?"),
        ("names", "id,cat,Cat\na,.5,.5\nb,.5,.5\nc,.5,.5\n", None, "are all the class 'cat'"),
        ("names", "id,x,y\na,.5,.5\nb,.5,.5\nc,.5,.5\n", None, "which column is to be filled in: 'x', 'y'"),
        ("names", "id,label\na,0\nb,0\nc,0\n", "number", "--submission-as index"),
        ("names", "id,label\na,0\nb,0\nc,0\n", "p_dgo", "Did you mean 'p_dog'?"),
        ("labels", "id,label\na,\nb,\nc,\n", None, "Write labels into a cell"),
    ],
)
def test_a_sample_that_does_not_fit_is_told(
    model: str, sample: str, given: str | None, told: str, tmp_path: Path
) -> None:
    with pytest.raises(BunryuError, match=re.escape(told)) as error:
        filled(model, sample, tmp_path, given)
    assert isinstance(error.value, ConfigError if given == "p_dgo" else DataError)


def cells(text: str) -> dict[tuple[str, str], str]:
    """Return (row, column) -> cell; a row is known by its first cells, which are not filled in."""
    rows = list(csv.DictReader(io.StringIO(text)))
    keys = [name for name in rows[0] if name in ("id", "image", "class")]
    return {("/".join(row[key] for key in sorted(keys)), name): row[name] for row in rows for name in row}


@given(kind=st.sampled_from(sorted(FILLED)), data=st.data())
def test_the_order_of_the_samples_rows_and_columns_changes_nothing(
    kind: str, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    model, sample, said, expected = FILLED[kind]
    header, *rows = list(csv.reader(io.StringIO(sample)))
    columns = data.draw(st.permutations(range(len(header))))
    order = data.draw(st.permutations(rows))
    text = "".join(",".join(row[at] for at in columns) + "\n" for row in [header, *order])
    found = filled(model, text, tmp_path_factory.getbasetemp(), said)
    assert found.split("\n")[0] == text.split("\n")[0], "its own columns, in its own order"
    assert cells(found) == cells(expected)
