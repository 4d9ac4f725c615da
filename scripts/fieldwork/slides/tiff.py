"""Read the parts of a TIFF slide: pages, metadata."""

from xml.etree import ElementTree

import numpy as np
import tifffile
from tifffile.tifffile import svs_description_metadata

from fieldwork.decoding.segments import JPEG_COMPRESSIONS, segment_shape
from fieldwork.pixel_sizes import OME_UNITS_UM, likely_mpp, number_or_none
from fieldwork.slides import SlideError

LARGEST_SEGMENT_PX = 2**28  # pixels of a tile or strip; more is a damaged header, or a slide of a single segment


def only_page(level: tifffile.TiffPageSeries, tif: tifffile.TiffFile) -> tifffile.TiffPage:
    """Return the only page of a pyramid's level; raise `SlideError` if its pixels do not fit 8-bit RGB."""
    page = level.keyframe
    if len(level.pages) != 1 or level[0] is not page or page.parent is not tif or page.axes not in ("YX", "YXS", "SYX"):
        raise SlideError(f"an image of axes {level.axes} and shape {level.shape}; expected one of rows and columns")
    if page.dtype != np.uint8 or page.bitspersample != 8:
        raise SlideError(f"{page.bitspersample} bits per sample ({page.dtype}); expected 8, a slide in colour or grey")
    if page.photometric not in (0, 1, 2) and not (page.photometric == 6 and page.compression in JPEG_COMPRESSIONS):
        raise SlideError(f"colours stored as {page.photometric!r}, {page.compression!r}; expected grey or RGB")
    length, width = segment_shape(page)
    if not page.imagelength * page.imagewidth or not 0 < length * width <= LARGEST_SEGMENT_PX:
        sizes = f"{page.imagelength} x {page.imagewidth} pixels in tiles or strips of {length} x {width}"
        raise SlideError(f"{sizes}; expected some, and at most {LARGEST_SEGMENT_PX} in one")
    return page


def metadata_of(tif: tifffile.TiffFile) -> tuple[dict[str, str], tuple[float, float] | None, float | None]:
    """Return properties, (y, x) micrometres per pixel and objective power as a TIFF file states them."""
    page, properties, mpp = tif.pages.first, {}, None
    for name in ("ImageDescription", "Make", "Model", "Software", "DateTime"):
        if page.tags.valueof(name):
            properties[f"tiff.{name}"] = str(page.tags.valueof(name))
    vendor = {"aperio": svs_description_metadata(page.description)} if tif.is_svs else {}
    if tif.is_ndpi:
        vendor = {"hamamatsu": page.ndpi_tags}
    properties |= {f"{name}.{key}": str(value) for name, tags in vendor.items() for key, value in tags.items()}
    power = properties.get("aperio.AppMag") or properties.get("hamamatsu.Magnification")
    if "aperio.MPP" in properties:
        mpp = (properties["aperio.MPP"],) * 2
    if tif.is_ome:
        mpp, power = _ome_metadata(tif.ome_metadata)
    unit = {2: 25400, 3: 10000}.get(page.resolutionunit)
    if mpp is None and unit:
        mpp = [unit / value if value else 0 for value in page.resolution[::-1]]
    return properties, likely_mpp(mpp), number_or_none(power)


def _ome_metadata(xml):
    """Return (y, x) micrometres per pixel and the objective power of the first image."""
    root = ElementTree.fromstring(xml)
    pixels = root.find("{*}Image/{*}Pixels")
    units = [OME_UNITS_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "\xb5m"), 0) for axis in "YX"]
    sizes = [number_or_none(pixels.get(f"PhysicalSize{axis}")) or 0 for axis in "YX"]
    settings = root.find("{*}Image/{*}ObjectiveSettings")
    objectives = root.iterfind("{*}Instrument/{*}Objective")
    powers = {objective.get("ID"): objective.get("NominalMagnification") for objective in objectives}
    mpp = [size * unit for size, unit in zip(sizes, units, strict=True)]
    return mpp if all(mpp) else None, powers.get(settings.get("ID")) if settings is not None else None
