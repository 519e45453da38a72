"""The formats of pictures: endings, first bytes, who reads them, and what to do about those that nobody here reads."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.util import find_spec

from PIL import Image


@dataclass(frozen=True)
class Format:
    """A format that people keep pictures in.

    Attributes:
        name: as people call it.
        endings: of its files, lower-case with the dot.
        starts: bytes that its files begin with; each a (place, bytes).
        reader: of Pillow's, by Pillow's name; "" where Pillow itself has none.
        module: what has to be installed to read it; "" where nothing has to be, or nothing helps.
        install: how that is installed.
        convert: how to make of it what is read here.
    """

    name: str
    endings: tuple[str, ...]
    starts: tuple[tuple[int, bytes], ...] = ()
    reader: str = ""
    module: str = ""
    install: str = ""
    convert: str = ""

    @property
    def unread(self) -> str:
        """Why it is not read, and the way out."""
        if self.install:
            return f"{self.name}: to read it, {self.install}; or {self.convert}"
        return f"{self.name}, which is not read: {self.convert}"


_BY_CAMERA = "develop it to JPEG or TIFF, as with darktable-cli IN OUT.jpg"
_BY_MAGICK = "convert it to PNG, as with: magick IN OUT.png"
_BY_NUMPY = "save its pictures as arrays: numpy.save('OUT.npy', array)"
_BY_HEAD = tuple((4, b"ftyp" + brand) for brand in (b"heic", b"heix", b"hevc", b"hevx", b"heim", b"heis"))

# Read by Pillow. Its other readers start programs (EPS), guess (TGA), or are never meant here (fonts).
_PILLOW = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "AVIF", "DIB", "JPEG2000")
HEIC = Format(
    "HEIC",
    (".heic", ".heif", ".hif", ".heics", ".heifs"),
    _BY_HEAD,
    "HEIF",
    "pillow_heif",
    "pip install 'bunryu[heif]'",
    "convert it to JPEG",
)
JXL = Format(
    "JPEG XL",
    (".jxl",),
    ((0, b"\xff\x0a"), (0, b"\0\0\0\x0cJXL \r\n\x87\n")),
    "JXL",
    "pillow_jxl",
    "pip install pillow-jxl-plugin",
    "convert it to PNG, as with: djxl IN OUT.png",
)
DICOM = Format(
    "DICOM",
    (".dcm", ".dicom"),
    ((128, b"DICM"),),
    "",
    "pydicom",
    "pip install 'bunryu[dicom]'",
    "convert it to 16-bit PNG, as with: dcm2img --write-16-bit-png IN OUT.png",
)
NPY = Format("NumPy array", (".npy",), ((0, b"\x93NUMPY"),))
RAW = Format(
    "a camera's raw file",
    (
        *(".raw", ".dng", ".cr2", ".cr3", ".crw", ".nef", ".nrw", ".arw", ".srf", ".sr2", ".orf", ".rw2", ".raf"),
        *(".pef", ".srw", ".x3f", ".rwl", ".iiq", ".3fr", ".mrw", ".erf", ".kdc", ".dcr"),
    ),
    (
        *((0, b"IIRO"), (0, b"IIRS"), (0, b"MMOR"), (0, b"IIU\0"), (0, b"FUJIFILMCCD-RAW"), (0, b"FOVb")),
        *((0, b"\0MRM"), (4, b"ftypcrx "), (6, b"HEAPCCDR"), (8, b"CR\x02\0")),
    ),
    convert=_BY_CAMERA,
)
_TEXTS = (b"", b"\xef\xbb\xbf", b"\n", b" ")
_SVG = Format(
    "a drawing (SVG)",
    (".svg", ".svgz"),
    tuple((0, before + tag) for before in _TEXTS for tag in (b"<svg", b"<!DOCTYPE svg")),
    convert="make pixels of it, as with: rsvg-convert -w 512 IN -o OUT.png",
)
TARGA = Format("Targa", (".tga",), convert=_BY_MAGICK)
_OTHERS = (
    HEIC,
    JXL,
    DICOM,
    NPY,
    RAW,
    _SVG,
    Format("a PDF", (".pdf",), ((0, b"%PDF"),), convert="make pixels of its pages, as with: pdftoppm -png IN OUT"),
    Format("PostScript", (".eps", ".ps", ".ai"), ((0, b"%!PS"), (0, b"\xc5\xd0\xd3\xc6")), convert=_BY_MAGICK),
    Format("Photoshop's own file", (".psd", ".psb"), ((0, b"8BPS"),), convert="export it as PNG"),
    Format("GIMP's own file", (".xcf",), ((0, b"gimp xcf"),), convert="export it as PNG"),
    Format("OpenEXR", (".exr",), ((0, b"\x76\x2f\x31\x01"),), convert="convert it to float TIFF: magick IN OUT.tif"),
    Format("Radiance HDR", (".hdr",), ((0, b"#?RADIANCE"), (0, b"#?RGBE")), convert=_BY_MAGICK),
    Format("FITS", (".fits", ".fit", ".fts"), ((0, b"SIMPLE  ="),), convert=_BY_NUMPY),
    Format("NIfTI", (".nii",), ((344, b"n+1\0"),), convert=_BY_NUMPY),
    Format("an icon", (".ico", ".icns"), ((0, b"\0\0\1\0"), (0, b"icns")), convert=_BY_MAGICK),
    TARGA,
    Format("DirectDraw", (".dds",), ((0, b"DDS "),), convert=_BY_MAGICK),
    Format("JPEG XR", (".jxr", ".wdp", ".hdp"), ((0, b"II\xbc"),), convert="convert it to PNG"),
    Format("DjVu", (".djvu", ".djv"), ((0, b"AT&TFORM"),), convert="make TIFF of it: ddjvu -format=tiff IN OUT.tif"),
    Format("QOI", (".qoi",), ((0, b"qoif"),), convert=_BY_MAGICK),
    Format("a Windows metafile", (".emf", ".wmf"), ((0, b"\xd7\xcd\xc6\x9a"),), convert=_BY_MAGICK),
    Format("NumPy arrays in one file", (".npz",), convert="save each as numpy.save('OUT.npy', array)"),
)


Image.init()
PILLOW_FORMATS = tuple(name for name in _PILLOW if name in Image.OPEN)
"""Pillow's names of those that it reads here, in the order in which they are tried."""
_BY_PILLOW = frozenset(
    ending for ending, name in Image.registered_extensions().items() if name in (*PILLOW_FORMATS, "MPO")
)
_BY_ENDING = {ending: one for one in _OTHERS for ending in one.endings}
IMAGE_SUFFIXES: frozenset[str] = _BY_PILLOW | frozenset(_BY_ENDING)
"""Endings of files that are pictures, lower-case with the dot: those that are read, and those that have to be listed
with the way to convert them. `decode` itself goes by content."""
HEAD_BYTES = 512


def of_content(head: bytes) -> Format | None:
    """Return the format, other than Pillow's own, of a file that begins so; None where it is none of these.

    Args:
        head: its first `HEAD_BYTES`.
    """
    if head[4:8] == b"ftyp" and head[8:12] in (b"mif1", b"msf1", b"heif"):  # the general brands: the others decide
        brands = [head[at : at + 4] for at in range(16, min(int.from_bytes(head[:4]), len(head)), 4)]
        return HEIC if any((4, b"ftyp" + brand) in _BY_HEAD for brand in brands) else None
    for one in _OTHERS:
        if any(head.startswith(start, place) for place, start in one.starts):
            return one
    return _SVG if head.lstrip().startswith(b"<?xml") and b"<svg" in head else None


_BY_START = (
    (b"\xff\xd8\xff", ".jpg"),
    (b"\x89PNG\r\n", ".png"),
    (b"GIF8", ".gif"),
    (b"II*\0", ".tif"),
    (b"MM\0*", ".tif"),
)


def true_ending(head: bytes) -> str:
    """Return the ending that a file which begins so should have; "" where that does not look like a picture.

    Args:
        head: its first `HEAD_BYTES`.
    """
    if other := of_content(head):
        return other.endings[0]
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return ".webp"
    return next((ending for start, ending in _BY_START if head.startswith(start)), "")


def of_ending(ending: str) -> Format | None:
    """Return the format, other than Pillow's own, that files with this ending have."""
    return _BY_ENDING.get(ending.lower())


@cache
def installed() -> tuple[str, ...]:
    """Return which modules that read more formats are installed: what was refused without one may be read with it."""
    return tuple(one.module for one in _OTHERS if one.module and find_spec(one.module) is not None)
