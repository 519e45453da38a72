"""Formats that Pillow does not read: read by a plug-in, or told for what they are."""

import io

import numpy as np
import pytest
from PIL import Image

from bunryu.core.errors import DataError, ImageError
from bunryu.data.images import formats
from bunryu.data.images.decode import decode, examine, read_header
from bunryu.data.images.formats import IMAGE_SUFFIXES, of_content
from bunryu.data.sources.class_folders import Listing, read_class_folders
from bunryu.settings.data import DecodeSpec

SPEC = DecodeSpec()
HEIC = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(range(9, 250))
CONTENTS = {
    "HEIC": HEIC,
    "HEIC of a general brand": b"\0\0\0\x18ftypmif1\0\0\0\0mif1heic" + bytes(200),
    "JPEG XL": b"\xff\x0a" + bytes(range(200)),
    "JPEG XL in boxes": b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(100),
    "DICOM": bytes(128) + b"DICM" + bytes(100),
    "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    "SVG with a head": b'<?xml version="1.0"?>\n<!-- by hand --><svg/>',
    "PDF": b"%PDF-1.7\n%\xe2\xe3",
    "Photoshop": b"8BPS\0\1" + bytes(60),
    "raw file": b"II*\0\x10\0\0\0CR\x02\0" + bytes(100),
    "raw file of Fuji": b"FUJIFILMCCD-RAW 0201" + bytes(100),
    "raw file CR3": b"\0\0\0\x18ftypcrx \0\0\0\1" + bytes(100),
    "OpenEXR": b"\x76\x2f\x31\x01" + bytes(60),
    "FITS": b"SIMPLE  =                    T",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_other_format_is_told_for_what_it_is_whatever_its_ending(name, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.import_module", lambda module: _absent(module))
    for ending in (".jpg", ".png", ""):
        file = tmp_path / f"picture{ending}"
        file.write_bytes(CONTENTS[name])
        with pytest.raises(ImageError) as caught:
            decode(file, SPEC)
        told = str(caught.value)
        assert name.split()[0] in told
        assert any(way in told for way in ("convert", "pip install", "make pixels", "export", "develop", "save"))


def _absent(module):
    raise ImportError(module)


def test_avif_is_no_heic():
    assert of_content(b"\0\0\0\x1cftypavif\0\0\0\0avifmif1miaf" + bytes(40)) is None
    assert of_content(b"\0\0\0\x1cftypmif1\0\0\0\0mif1avifmiaf" + bytes(40)) is None


def test_a_raw_file_that_begins_as_a_tiff_is_no_small_preview():
    """NEF, ARW and DNG are TIFF by their first bytes, and their first page is a thumbnail."""
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, "TIFF", tiffinfo={254: 1, 330: 8})
    with pytest.raises(ImageError, match="a camera's raw file"):
        decode(buffer.getvalue(), SPEC)
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, "TIFF", tiffinfo={254: 1})
    assert decode(buffer.getvalue(), SPEC).shape == (12, 16, 3)


@pytest.mark.parametrize(
    ("name", "head", "ending"),
    [
        ("IM0001", bytes(128) + b"DICM", ".dcm"),
        ("1.2.840.113", bytes(128) + b"DICM", ".dcm"),
        ("photo", b"\xff\xd8\xff\xe0\0\x10JFIF", ".jpg"),
        ("a.jpg_large", b"\x89PNG\r\n\x1a\n", ".png"),
        ("b.img", b"RIFF\0\0\0\0WEBP", ".webp"),
        ("IMG_1.heic~", b"\0\0\0\x18ftypheic\0\0\0\0mif1heic", ".heic"),
        ("notes", b"a list of what I did", ""),
    ],
)
def test_a_picture_under_a_name_that_is_none_is_told(tmp_path, name, head, ending):
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        (tmp_path / label / name).write_bytes(head + bytes(40))
    with pytest.raises(DataError) as caught:
        read_class_folders(tmp_path, "", Listing())
    assert (f"(the first is a {ending} inside: name them so)" in str(caught.value)) == bool(ending)
    assert "the first is" in str(caught.value) or not ending
    Image.new("RGB", (8, 8)).save(tmp_path / "a" / "x.png")
    Image.new("RGB", (8, 8)).save(tmp_path / "b" / "x.png")
    listing = Listing()
    read_class_folders(tmp_path, "", listing)
    assert any(f"the first is a {ending} inside" in note for note in listing.all_notes()) == bool(ending)


@pytest.mark.parametrize("ending", ["PEF", "kdc", "3fr"])
def test_a_raw_file_whose_tiff_cannot_be_read_is_called_one(tmp_path, ending):
    buffer = io.BytesIO()
    Image.new("RGB", (16, 12)).save(buffer, "TIFF")
    whole = buffer.getvalue()
    packed = whole.replace(b"\x03\x01\x03\0\1\0\0\0\1\0", b"\x03\x01\x03\0\1\0\0\0\xff\xff")  # a camera's own packing
    assert packed != whole
    (tmp_path / f"x.{ending}").write_bytes(packed)
    with pytest.raises(ImageError, match="a camera's raw file"):
        decode(tmp_path / f"x.{ending}", SPEC)
    with pytest.raises(ImageError, match="unreadable TIFF"):
        decode(packed, SPEC)


def test_the_table_is_whole():
    endings = [ending for one in formats._OTHERS for ending in one.endings]
    assert len(endings) == len(set(endings))
    assert all(ending.startswith(".") and ending == ending.lower() for ending in IMAGE_SUFFIXES)
    for one in formats._OTHERS:
        assert one is formats.NPY or one.convert
        assert bool(one.install) == bool(one.module)
    assert {"heif", "dicom"} <= _extras()


def _extras():
    import tomllib
    from pathlib import Path

    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text(encoding="utf-8"))
    return set(project["project"]["optional-dependencies"])


def test_heic_with_its_plug_in():
    plug_in = pytest.importorskip("pillow_heif", reason="needs pip install 'bunryu[heif]'")
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:, :24] = (250, 120, 20)
    buffer = io.BytesIO()
    plug_in.from_pillow(Image.fromarray(picture)).save(buffer, quality=100, chroma=444)
    np.testing.assert_allclose(decode(buffer.getvalue(), SPEC).astype(int), picture, atol=3)
    assert read_header(buffer.getvalue(), 10**6).format == "HEIF"
    with pytest.raises(ImageError):
        decode(HEIC, SPEC)


def test_dicom_with_its_plug_in():
    pydicom = pytest.importorskip("pydicom", reason="needs pip install 'bunryu[dicom]'")
    values = np.linspace(0, 4000, 64).astype(np.uint16).reshape(8, 8)
    expected = np.rint(values / 4000 * 255)
    plain = _dicom(pydicom, values, RescaleSlope=1, RescaleIntercept=-1000)
    found = decode(plain, DecodeSpec(range=(-1000.0, 3000.0)), "grey")[:, :, 0]
    np.testing.assert_allclose(found, expected, atol=1)
    assert examine(plain, SPEC).quantiles[0] == -1000
    turned = _dicom(pydicom, values, PhotometricInterpretation="MONOCHROME1")
    found = decode(turned, DecodeSpec(range=(95.0, 4095.0)), "grey")[:, :, 0]
    np.testing.assert_allclose(found, 255 - expected, atol=1)
    with pytest.raises(ImageError):
        decode(CONTENTS["DICOM"], SPEC)


def _dicom(pydicom, values, **more):
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.SecondaryCaptureImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    found = pydicom.dataset.FileDataset(None, {}, file_meta=meta, preamble=bytes(128))
    found.Rows, found.Columns = values.shape
    common = {"SamplesPerPixel": 1, "PhotometricInterpretation": "MONOCHROME2", "PixelRepresentation": 0}
    for name, value in {**common, "BitsAllocated": 16, "BitsStored": 12, "HighBit": 11, **more}.items():
        setattr(found, name, value)
    found.PixelData = values.tobytes()
    buffer = io.BytesIO()
    found.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
