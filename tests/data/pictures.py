"""What the tests of decoding and fitting share."""

from io import BytesIO

import numpy as np
from PIL import Image

from bunryu.core.errors import ImageError
from bunryu.settings.data import DecodeSpec, InputSpec

SPEC = DecodeSpec()
SMALL = DecodeSpec(max_pixels=10**5)
RED = (200, 30, 10)
rng = np.random.default_rng(7)
NOISE = rng.integers(0, 256, (13, 17, 3), dtype=np.uint8)
GREY16 = np.linspace(0, 65535, 64 * 64).astype(np.uint16).reshape(64, 64)


def encode(picture, form, **options):
    stream = BytesIO()
    (picture if isinstance(picture, Image.Image) else Image.fromarray(picture)).save(stream, form, **options)
    return stream.getvalue()


def spec(height, width, fit="crop", crop_pct=1.0, **options):
    options = {"interpolation": "bilinear", "mean": [0.5], "std": [0.5], **options}
    return InputSpec(height=height, width=width, fit=fit, crop_pct=crop_pct, **options)


def attempt(read, *arguments):
    """What `read` returns, or the text of its ImageError."""
    try:
        return read(*arguments)
    except ImageError as error:
        return str(error)
