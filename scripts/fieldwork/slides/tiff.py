"""Read the parts of a TIFF slide: pages, their tiles or strips, JPEG streams, metadata."""

import math
import re
from collections.abc import Iterator
from xml.etree import ElementTree

import numpy as np
import tifffile
from tifffile.tifffile import svs_description_metadata

from fieldwork.pixel_sizes import OME_UNITS_UM, likely_mpp, number_or_none
from fieldwork.slides import SlideError

LARGEST_SEGMENT_PX = 2**28  # pixels of a tile or strip; more is a damaged header, or a slide of a single segment
JPEG_COMPRESSIONS, JPEG_2000_COMPRESSIONS = (6, 7, 34892), (33003, 33004, 33005, 34712)  # values of the TIFF tag


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


def segment_shape(page: tifffile.TiffPage) -> tuple[int, int]:
    """Return height and width of a page's tiles or strips, in pixels."""
    return (page.tilelength, page.tilewidth) if page.is_tiled else (page.rowsperstrip, page.imagewidth)


def segment_grid(page: tifffile.TiffPage) -> tuple[int, int]:
    """Count the rows and columns of tiles or strips of a page."""
    length, width = segment_shape(page)
    return math.ceil(page.imagelength / length), math.ceil(page.imagewidth / width)


def segments_showing(page: tifffile.TiffPage, y: int, x: int, height: int, width: int) -> list[int]:
    """Return the numbers of the tiles or strips that show a box of pixels, row by row, sample plane by sample plane."""
    (length, breadth), (down, across) = segment_shape(page), segment_grid(page)
    planes = page.samplesperpixel if page.planarconfig == 2 else 1
    rows = range(y // length, (y + height - 1) // length + 1)
    columns = range(x // breadth, (x + width - 1) // breadth + 1)
    return [(plane * down + row) * across + column for plane in range(planes) for row in rows for column in columns]


def segment_name(page: tifffile.TiffPage, number: int) -> str:
    """Name a tile or strip of a page, with its row and column."""
    down, across = segment_grid(page)
    kind = "tile" if page.is_tiled else "strip"
    return f"{kind} {number} (row {number // across % down}, column {number % across})"


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


def jpeg_markers(stream: bytes, name: str) -> Iterator[tuple[int, bytes]]:
    """Yield the parts of a JPEG stream up to its end.

    Parameters
    ----------
    stream : bytes
    name : str
        Of the tile or strip, for messages.

    Yields
    ------
    int
        The part's marker, its second byte.
    bytes
        The bytes of the part. The part of a scan has its header and pixels.

    Raises
    ------
    SlideError
        The stream is damaged.
    """
    end_of_scan = re.compile(rb"\xff[^\x00\xd0-\xd7\xff]")  # stuffed bytes, restarts and fill bytes belong to it
    position, marker = 2, None
    if not stream.startswith(b"\xff\xd8"):
        raise SlideError(f"{name} cannot be decoded: not a JPEG stream: it starts with {stream[:2]!r}")
    while marker != 0xD9:
        starts_part = stream[position : position + 1] == b"\xff" and position + 1 < len(stream)
        marker = stream[position + 1] if starts_part else 0
        stop = position + 2 + (0 if marker == 0xD9 else int.from_bytes(stream[position + 2 : position + 4]))
        if marker == 0xDA:
            end = end_of_scan.search(stream, stop)
            stop = end.start() if end else len(stream) + 1
        if marker < 0xC0 or stop > len(stream) or (marker != 0xD9 and stop < position + 4):
            raise SlideError(f"{name} cannot be decoded: its JPEG stream is damaged at byte {position}")
        yield marker, stream[position:stop]
        position = stop
