"""Copies are told by their pixels, whatever was done to them; what is similar to a network is not the same."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFilter

from bunryu.evaluate.review import Found, Pair, confirmed, review_told
from bunryu.evaluate.same_picture import same_picture, thumbnails


def drawn(seed: int) -> Image.Image:
    """Return a picture of soft patches, another for each seed."""
    noise = np.random.default_rng(seed).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize((120, 90), Image.Resampling.BICUBIC)


def encoded(image: Image.Image) -> Image.Image:
    stream = io.BytesIO()
    image.save(stream, "JPEG", quality=40)
    return Image.open(stream).convert("RGB")


CHANGES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "itself": lambda image: image,
    "encoded": encoded,
    "smaller": lambda image: image.resize((60, 45)),
    "larger": lambda image: image.resize((300, 225)),
    "darker": lambda image: image.point(lambda value: value * 0.7),
    "cropped": lambda image: image.crop((3, 2, 117, 88)),
    "softer": lambda image: image.filter(ImageFilter.GaussianBlur(1)),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("seed", range(3))
def test_copies_are_found(change: Callable[[Image.Image], Image.Image], seed: int) -> None:
    one, other = (thumbnails(np.asarray(image)) for image in (drawn(seed), change(drawn(seed))))
    assert same_picture(one, other)
    assert same_picture(other, one)


def test_different_pictures_are_none() -> None:
    own = [thumbnails(np.asarray(drawn(seed))) for seed in range(20)]
    assert not any(same_picture(a, b) for i, a in enumerate(own) for b in own[:i])


def outline(seed: int) -> Image.Image:
    """Return thin lines on white along one coarse shape, drawn by another hand for each seed."""
    rng = np.random.default_rng(seed)
    turn = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    image = Image.new("RGB", (120, 90), "white")
    for radius in (46.0, 30.0, 12.0):
        by = radius + rng.normal(0, 1.0, 24)
        points = [(60 + r * np.cos(t), 45 + 0.8 * r * np.sin(t)) for r, t in zip(by, turn, strict=True)]
        ImageDraw.Draw(image).line([*points, points[0]], fill="black", width=3)
    return image


def test_drawings_of_the_same_thing_are_no_copies() -> None:
    """All that is coarse agrees; the lines do not lie on each other."""
    own = [thumbnails(np.asarray(outline(seed))) for seed in range(8)]
    pairs = [(a, b) for i, a in enumerate(own) for b in own[:i]]
    assert min(float(a.windows_WP[0] @ b.windows_WP[0]) for a, b in pairs) > 0.75, "they are alike"
    assert not any(same_picture(a, b) for a, b in pairs)


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("seed", range(3))
def test_copies_of_drawings_are_found(change: Callable[[Image.Image], Image.Image], seed: int) -> None:
    one, other = (thumbnails(np.asarray(image)) for image in (outline(seed), change(outline(seed))))
    assert same_picture(one, other)


def test_pictures_of_one_grey_are_no_copies() -> None:
    plain = [thumbnails(np.full((9, 9, 3), value, np.uint8)) for value in (0, 200)]
    assert not same_picture(*plain)


def test_what_is_alike_does_not_accuse_the_figures() -> None:
    pictures = [np.asarray(drawn(seed)) for seed in (0, 1, 1)]
    nothing = np.zeros(0, np.int64)
    found = Found(nothing, [Pair(0, 1, 0.99), Pair(1, 2, 0.94)], nothing, np.zeros(3, np.float32))
    told = confirmed(found, lambda row: pictures[row])
    assert [(pair.row, pair.other, pair.copy) for pair in told.pairs] == [(1, 2, True), (0, 1, False)]
    copies, alike = review_told(told, np.array([0, 1, 1]), np.array([0, 1, 2]))
    assert copies.startswith("1 pair of images is copies of each other by their pixels")
    assert "promise too much" in copies
    assert alike == "1 pair of images is alike, but not seen to be copies by their pixels."
    (only,) = review_told(told._replace(pairs=told.pairs[1:]), np.array([0, 1, 1]), np.array([0, 1, 2]))
    assert "promise" not in only
