"""How large a pixel is, as image files state it."""

from xml.etree import ElementTree

import tifffile

from fieldwork import frames
from fieldwork.frames import FrameError

LARGEST_MPP = 25  # micrometres; above are resolutions for printing: 72 dots per inch are 353 micrometres

MICROMETRES = {"m": 1e6, "cm": 1e4, "mm": 1e3, "\xb5m": 1, "nm": 1e-3, "in": 25400}  # OME's units of length


def likely_mpp(mpp):
    """Give (y, x) micrometres per pixel as numbers, or None for what is no pixel size of a microscope."""
    mpp = tuple(number_or_none(value) or 0 for value in mpp or ())
    return mpp if mpp and all(0 < value <= LARGEST_MPP for value in mpp) else None


def number_or_none(text):
    try:
        return float(text)
    except (TypeError, ValueError):  # absent, or "20x", or "0,25"
        return None


UNITS = MICROMETRES | {"micron": 1, "um": 1, "\\u00B5m": 1, "\u03bcm": 1, "inch": 25400}  # ImageJ's too


def pixel_sizes(path):
    """Give the pixel size that an image file states: axis (y, x, and maybe z) -> micrometers; empty where it does not.

    Known are OME's and ImageJ's metadata and TIFF's resolution, but for sizes that no microscope has.
    """
    try:
        with frames.decoding(), tifffile.TiffFile(path) as tif:
            found = _stated_sizes(tif)
    except FrameError:  # no TIFF, or damaged metadata
        return {}
    likely = {axis: float(size) for axis, size in found.items() if 0 < size <= LARGEST_MPP}
    return likely if {"y", "x"} <= likely.keys() else {}


def _stated_sizes(tif):
    if tif.is_ome:
        pixels = ElementTree.fromstring(tif.ome_metadata).find("{*}Image/{*}Pixels")
        return {
            axis: float(pixels.get(f"PhysicalSize{axis.upper()}", 0))
            * UNITS.get(pixels.get(f"PhysicalSize{axis.upper()}Unit", "\xb5m"), 0)
            for axis in "zyx"
        }
    page, imagej = tif.pages.first, tif.imagej_metadata or {}
    unit = UNITS.get(imagej.get("unit")) or {2: UNITS["in"], 3: UNITS["cm"]}.get(page.resolutionunit, 0)
    x, y = page.resolution
    return {"z": imagej.get("spacing", 0) * unit, "y": y and unit / y, "x": x and unit / x}
