"""Read the pixel size that image files state."""

import math
from collections.abc import Iterable
from os import PathLike
from xml.etree import ElementTree

import tifffile

from fieldwork import frames
from fieldwork.frames import FrameError

LARGEST_PIXEL_UM = 25  # larger are resolutions for printing: 72 dots per inch are 353 micrometres

# Micrometres in a unit of length, as OME writes it, and also as ImageJ does.
OME_UNITS_UM = {"m": 1e6, "cm": 1e4, "mm": 1e3, "\xb5m": 1, "nm": 1e-3, "in": 25400}
UNITS_UM = OME_UNITS_UM | {"micron": 1, "um": 1, "\\u00B5m": 1, "\u03bcm": 1, "inch": 25400}


def likely_mpp(mpp: Iterable[str | float | None] | None) -> tuple[float, float] | None:
    """Return (y, x) micrometres per pixel as numbers; None if no microscope has such pixels, or they are not stated."""
    mpp = tuple(number_or_none(value) or 0 for value in mpp or ())
    return mpp if mpp and all(0 < value <= LARGEST_PIXEL_UM for value in mpp) else None


def number_or_none(text: str | float | None) -> float | None:
    """Return a text as a finite number; None if it is not one."""
    try:
        number = float(text)
    except (TypeError, ValueError):  # absent, or "20x", or "0,25"
        return None
    return number if math.isfinite(number) else None


def pixel_sizes(path: str | PathLike) -> dict[str, float]:
    """Read the pixel size from OME's or ImageJ's metadata, or from TIFF's resolution.

    Parameters
    ----------
    path : str or path-like
        An image file.

    Returns
    -------
    dict of str to float
        Axis (y, x, and maybe z) -> micrometres. Empty where the file states no size, or one that no microscope has.
    """
    try:
        with frames.decoding(), tifffile.TiffFile(path) as tif:
            sizes = _stated_sizes(tif)
    except FrameError:  # no TIFF, or damaged metadata
        return {}
    likely = {axis: float(size) for axis, size in sizes.items() if 0 < size <= LARGEST_PIXEL_UM}
    return likely if {"y", "x"} <= likely.keys() else {}


def _stated_sizes(tif):
    if tif.is_ome:
        pixels = ElementTree.fromstring(tif.ome_metadata).find("{*}Image/{*}Pixels")
        return {
            axis: float(pixels.get(f"PhysicalSize{axis.upper()}", 0))
            * UNITS_UM.get(pixels.get(f"PhysicalSize{axis.upper()}Unit", "\xb5m"), 0)
            for axis in "zyx"
        }
    page, imagej = tif.pages.first, tif.imagej_metadata or {}
    unit = UNITS_UM.get(imagej.get("unit")) or {2: UNITS_UM["in"], 3: UNITS_UM["cm"]}.get(page.resolutionunit, 0)
    x, y = page.resolution
    return {"z": imagej.get("spacing", 0) * unit, "y": y and unit / y, "x": x and unit / x}
