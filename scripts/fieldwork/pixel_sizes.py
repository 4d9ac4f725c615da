"""Read the pixel size that image files state, and decide whether it can be that of a microscope."""

import math
import re
import unicodedata
from collections.abc import Mapping
from os import PathLike
from typing import NamedTuple
from xml.etree import ElementTree

import tifffile
from tifffile.tifffile import svs_description_metadata

from fieldwork import frames
from fieldwork.frames import FrameError, NotReadError
from fieldwork.surroundings.unread import patient

SMALLEST_PIXEL_UM = 0.02  # a tenth of what the best objective resolves; never believed below
LARGEST_PIXEL_UM = 20  # 0.5x; of a larger one only `MICROSCOPY_FORMATS` are believed
LARGEST_STATED_PIXEL_UM = 1000
MICROSCOPY_FORMATS = ("OME", "Aperio", "Hamamatsu", "DICOM")  # what they state was never meant for a printer
PRINTERS_DPI = (72, 4800)  # resolutions of printers, screens and desktop scanners
DPI_TOLERANCE = 0.02  # 72 dots an inch are 28 a centimetre, rounded
INCH_UM = 25400
UNKNOWN = "unknown"
_NO_LENGTH = "{} states the size of a pixel in no known unit of length"

# Micrometres in a unit of length, by its signs, which `_um_in` makes one: both micro signs, both of Ångström, escapes.
_SIGNS_UM = {
    **{"m": 1e6, "dm": 1e5, "cm": 1e4, "mm": 1e3, "\u03bcm": 1, "\u03bc": 1, "um": 1, "nm": 1e-3, "\xc5": 1e-4},
    **{"pm": 1e-6, "in": INCH_UM, "thou": INCH_UM / 1000},
}
_WORDS_UM = {
    **{"micron": 1, "micrometer": 1, "micrometre": 1, "nanometer": 1e-3, "nanometre": 1e-3, "millimeter": 1e3},
    **{"millimetre": 1e3, "centimeter": 1e4, "centimetre": 1e4, "angstrom": 1e-4, "ångström": 1e-4},
    **{"inch": INCH_UM, "inche": INCH_UM},  # of inches, as words lose their plural
}
_TIFF_UNITS_UM = {2: INCH_UM, 3: 1e4, 4: 1e3, 5: 1}  # values of ResolutionUnit; the last two are tifffile's


class PixelSizes(NamedTuple):
    """The pixel size of an image."""

    um: dict[str, float]  # axis (y and x, and maybe z) -> micrometres; empty: unknown
    source: str = UNKNOWN  # OME, ImageJ, TIFF, Aperio, Hamamatsu, or another vendor
    doubt: str = ""  # why no size is known although the file states something
    unit: str = ""  # the unit that is no known one, as the file states it

    @property
    def mpp(self) -> tuple[float, float] | None:
        """Return (y, x) micrometres per pixel; None where they are unknown."""
        return (self.um["y"], self.um["x"]) if self.um else None


def number_or_none(text: str | float | None) -> float | None:
    """Return a text as a finite number; None if it is not one."""
    try:
        number = float(text)
    except (TypeError, ValueError):  # absent, or "20x", or "0,25"
        return None
    return number if math.isfinite(number) else None


def believed(um: Mapping[str, str | float | None], source: str) -> PixelSizes:
    """Decide whether a microscope can have pixels of the size that a file states.

    Parameters
    ----------
    um : mapping of str to str, float or None
        Axis (y, x, and maybe z) -> micrometres, as stated.
    source : str
        Who states them. TIFF's own resolution may be a printer's.

    Returns
    -------
    PixelSizes
        Without sizes, and with the reason, unless those of y and x are at least `SMALLEST_PIXEL_UM`, at most
        `LARGEST_PIXEL_UM` (`LARGEST_STATED_PIXEL_UM` of `MICROSCOPY_FORMATS`), and no resolution of a printer.
    """
    sizes = {axis: number_or_none(value) for axis, value in um.items()}
    largest = LARGEST_STATED_PIXEL_UM if source in MICROSCOPY_FORMATS else LARGEST_PIXEL_UM
    likely = {axis: size for axis, size in sizes.items() if size and SMALLEST_PIXEL_UM <= size <= largest}
    doubtful = [size for axis, size in sizes.items() if axis in "yx" and axis not in likely]
    if source == "TIFF":
        low, high = PRINTERS_DPI[0] * (1 - DPI_TOLERANCE), PRINTERS_DPI[1] * (1 + DPI_TOLERANCE)
        dpi = [INCH_UM / sizes[axis] for axis in "yx" if sizes.get(axis)]
        if printers := [value for value in dpi if low <= value <= high]:
            return PixelSizes({}, doubt=f"its resolution is a printer's, {printers[0]:.0f} dots an inch")
    if {"y", "x"} <= likely.keys():
        return PixelSizes(likely, source)
    stated = f"{doubtful[0]:.3g} \xb5m" if doubtful[0] else "no number of micrometres"
    return PixelSizes({}, doubt=f"{source} states {stated} a pixel; expected {SMALLEST_PIXEL_UM} to {largest} \xb5m")


@patient
def pixel_sizes(path: str | PathLike) -> dict[str, float]:
    """Read the pixel size of an image file; see `stated_sizes`.

    Parameters
    ----------
    path : str or path-like
        An image file.

    Returns
    -------
    dict of str to float
        Axis (y, x, and maybe z) -> micrometres. Empty where the file states no size, or one that no microscope has.

    Raises
    ------
    NotReadError
        It cannot be read for a reason outside it.
    """
    try:
        with frames.decoding(), tifffile.TiffFile(path) as tif:
            return stated_sizes(tif).um
    except NotReadError:  # another time it may state a size
        raise
    except FrameError:  # no TIFF, or damaged metadata
        return {}


def stated_sizes(tif: tifffile.TiffFile, page: tifffile.TiffPage | None = None, image: int = 0) -> PixelSizes:
    """Read the pixel size from OME's, ImageJ's or a vendor's metadata in a TIFF file, or else from its resolution.

    Parameters
    ----------
    tif : tifffile.TiffFile
    page : tifffile.TiffPage, optional
        Of the image, the first of the file by default.
    image : int
        Its number in OME metadata.

    Returns
    -------
    PixelSizes
        Unknown, and without a doubt, where nothing is stated.
    """
    page = tif.pages.first if page is None else page
    if tif.is_ome and (stated := _ome_sizes(tif.ome_metadata, image)):
        return stated
    if tif.is_svs:  # what they write as resolution is no pixel size, and OpenSlide does not read it either
        aperio = aperio_metadata(tif, page)
        sizes = dict.fromkeys("yx", str(aperio.get("MPP")).replace(",", "."))  # OpenSlide takes a comma, too
        return believed(sizes, "Aperio") if "MPP" in aperio else PixelSizes({}, doubt="Aperio states no MPP")
    resolution = {axis: _resolution(page, tag) for axis, tag in (("y", 283), ("x", 282))}
    if None in resolution.values():
        return PixelSizes({})
    if "unit" in (imagej := tif.imagej_metadata or {}):
        return _imagej_sizes(imagej, resolution)
    um = _TIFF_UNITS_UM.get(page.resolutionunit)
    if um is None:
        return PixelSizes({})
    sizes = {axis: value and um / value for axis, value in resolution.items()}
    return believed(sizes, "Hamamatsu" if tif.is_ndpi else "TIFF")


def aperio_metadata(tif: tifffile.TiffFile, page: tifffile.TiffPage) -> dict[str, str | float]:
    """Return the values in Aperio's description of a page, or else of the file's first page."""
    described = page if page.description.startswith("Aperio") else tif.pages.first
    return svs_description_metadata(described.description)


def _imagej_sizes(imagej, resolution):
    """Return the pixel size that ImageJ's description of a TIFF file and the file's resolution make."""
    units = {axis: str(imagej.get(f"{axis}unit") or imagej["unit"]) for axis in "zyx"}  # one for all, but for others
    if {"pixel", "pixels", ""} & {units["y"], units["x"]}:
        return PixelSizes({})
    um = {axis: _um_in(unit) or 0 for axis, unit in units.items()}
    if lost := [units[axis] for axis in "yx" if not um[axis]]:
        return PixelSizes({}, doubt=_NO_LENGTH.format("ImageJ"), unit=lost[0])
    sizes = {axis: value and um[axis] / value for axis, value in resolution.items()}
    sizes["z"] = um["z"] * (number_or_none(imagej.get("spacing")) or 0)
    # ImageJ passes resolutions of printers on, and their unit with them.
    return believed(sizes, "TIFF" if um["x"] in (INCH_UM, 1e4) else "ImageJ")


def _ome_sizes(xml, number):
    """Return the pixel size of an image in OME metadata; None where they state none, or cannot be parsed."""
    try:
        pixels = ElementTree.fromstring(xml).findall("{*}Image")[number].find("{*}Pixels")
    except (ElementTree.ParseError, IndexError):
        return None
    stated = {} if pixels is None else {axis: pixels.get(f"PhysicalSize{axis.upper()}") for axis in "zyx"}
    stated = {axis: text for axis, text in stated.items() if text is not None}
    if not {"y", "x"} & stated.keys():
        return None
    if not {"y", "x"} <= stated.keys():
        return PixelSizes({}, doubt="OME states the size of a pixel in one of x and y alone")
    units = {axis: pixels.get(f"PhysicalSize{axis.upper()}Unit", "\xb5m") for axis in stated}
    if lost := [units[axis] for axis in "yx" if _um_in(units[axis]) is None]:
        return PixelSizes({}, doubt=_NO_LENGTH.format("OME"), unit=lost[0])
    um = {axis: (number_or_none(text) or 0) * (_um_in(units[axis]) or 0) for axis, text in stated.items()}
    return believed(um, "OME")


def _um_in(unit):
    """Return the micrometres in a unit of length; None if it is none."""
    text = re.sub(r"\\u([0-9A-Fa-f]{4})", lambda escape: chr(int(escape[1], 16)), unit)  # as Java writes it
    text = unicodedata.normalize("NFKC", text).strip()
    return _SIGNS_UM.get(text) or _WORDS_UM.get(text.lower().removesuffix("s"))


def _resolution(page, tag):
    """Return the pixels per unit that a tag states; None if it is absent or no fraction, 0 if it is none."""
    try:
        numerator, denominator = page.tags.valueof(tag)
        return numerator / denominator if denominator else 0
    except (TypeError, ValueError):
        return None
