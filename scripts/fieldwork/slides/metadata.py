"""What slides state of themselves, what the sheet states of them, and what of it is kept."""

import logging
import os
from collections.abc import Mapping
from typing import Any, NamedTuple
from xml.etree import ElementTree

import tifffile

from fieldwork import pixel_sizes
from fieldwork.pixel_sizes import UNKNOWN, PixelSizes, number_or_none
from fieldwork.slides import SlideError
from fieldwork.slides.overview import UNKNOWN_MPP

SHEET = "sheet"  # the source of a pixel size that slides.tsv states
LARGEST_SLIDE_MM = 250  # the largest glasses are 8 x 6 inches
DIFFERENT_SHARE = 0.01  # pixel sizes that differ by more are different
# The vendors, as OpenSlide names them, of what `pixel_sizes` calls otherwise.
_SOURCES = {"aperio": "Aperio", "hamamatsu": "Hamamatsu", "dicom": "DICOM", "generic-tiff": "TIFF"}
_HIDDEN = "FIELDWORK_HIDE_PROPERTIES"  # an environment variable, which processes inherit
NO_SIZE = (
    f"nothing is measured in \xb5m, and tissue is searched as at {UNKNOWN_MPP} \xb5m a pixel; "
    "column mpp of the sheet of slides sets it"
)


class Metadata(NamedTuple):
    """What a slide's file states of the slide."""

    properties: dict[str, str]
    pixel: PixelSizes
    objective_power: float | None  # nominal magnification

    def turned(self) -> "Metadata":
        """Return the metadata of the slide when its rows are shown as columns."""
        um = self.pixel.um
        return self._replace(pixel=self.pixel._replace(um=um | {"y": um["x"], "x": um["y"]} if um else um))


def metadata_of(tif: tifffile.TiffFile, page: tifffile.TiffPage, image: int = 0) -> Metadata:
    """Return what a TIFF file states of one of its pictures.

    Parameters
    ----------
    tif : tifffile.TiffFile
    page : tifffile.TiffPage
        The first of the picture's level 0.
    image : int
        The picture's number among the images of OME metadata.
    """
    properties, power = {}, None
    for name in ("ImageDescription", "Make", "Model", "Software", "DateTime"):
        if page.tags.valueof(name):
            properties[f"tiff.{name}"] = str(page.tags.valueof(name))
    vendor = {"aperio": pixel_sizes.aperio_metadata(tif, page)} if tif.is_svs else {}
    if tif.is_ndpi:
        vendor = {"hamamatsu": page.ndpi_tags}
    properties |= {f"{name}.{key}": str(value) for name, tags in vendor.items() for key, value in tags.items()}
    power = properties.get("aperio.AppMag", "").replace(",", ".") or properties.get("hamamatsu.Magnification")
    if tif.is_ome:
        power = _ome_power(tif.ome_metadata, image)
    return Metadata(properties, pixel_sizes.stated_sizes(tif, page, image), _power(power))


def metadata_of_openslide(properties: Mapping[str, str]) -> Metadata:
    """Return what OpenSlide's properties state of a slide."""
    vendor = properties.get("openslide.vendor", "")
    um = {axis: properties.get(f"openslide.mpp-{axis}") for axis in "yx"}
    sizes = pixel_sizes.believed(um, _SOURCES.get(vendor, vendor)) if any(um.values()) else PixelSizes({})
    return Metadata(dict(properties), sizes, _power(properties.get("openslide.objective-power")))


class Wanted(NamedTuple):
    """What the sheet states of a slide, which counts in any case, and what the configuration keeps of it."""

    mpp: float | None = None  # micrometres per pixel
    magnification: float | None = None
    keep_associated: bool = True  # label and macro pictures
    keep_properties: bool = True  # the vendor's, in which there may be names, dates and barcodes


def hide_properties() -> None:
    """Keep what files state about people out of the messages of this process and of those that it starts."""
    os.environ[_HIDDEN] = "1"
    logging.getLogger("tifffile").disabled = True  # its warnings quote what it cannot decode


def are_hidden() -> bool:
    """Return True if `hide_properties` was called."""
    return bool(os.environ.get(_HIDDEN))


def shown(text: str, otherwise: str = "picture") -> str:
    """Return a text of a file, such as the name of a picture in it; another one where properties are hidden."""
    return otherwise if are_hidden() else text


def facts_of(stated: Metadata, shape: tuple[int, int], wanted: Wanted) -> tuple[dict[str, Any], list[str]]:
    """Decide on pixel size and magnification of a slide.

    Parameters
    ----------
    stated : Metadata
        What the file states.
    shape : (int, int)
        Height and width of level 0, in pixels.
    wanted : Wanted

    Returns
    -------
    dict
        Keys of ``slide.json``: ``mpp`` ([y, x] or None), ``mpp_source`` (``sheet``, who states it in the file, or
        ``unknown``), ``objective_power``, ``bounds`` and ``properties``. ``bounds`` (x, y, width, height) is the part
        of level 0 that was scanned, in its pixels, where OpenSlide knows it.
    list of str
        Warnings: what is unknown, and where sheet and file differ.

    Raises
    ------
    SlideError
        With the sheet's pixel size the slide would be larger than `LARGEST_SLIDE_MM`.
    """
    sizes, mpp, warnings = stated.pixel, wanted.mpp, []
    if too_large := _too_large(sizes.mpp, shape):
        sizes = PixelSizes({}, doubt=f"{sizes.source} states {too_large}")
    if mpp is not None and (too_large := _too_large((mpp, mpp), shape)):
        raise SlideError(f"the column mpp of the sheet states {too_large}")
    if mpp is not None:
        differ = sizes.mpp and any(abs(size - mpp) > DIFFERENT_SHARE * mpp for size in sizes.mpp)
        if differ:
            in_file = " x ".join(f"{size:.4g}" for size in sizes.mpp)
            warnings.append(f"the sheet's mpp, {mpp:g}, counts; {sizes.source} in the file states {in_file} (y x)")
        sizes = PixelSizes({"y": mpp, "x": mpp}, SHEET)
    elif not sizes.um:
        doubt = sizes.doubt or "the file states none"
        unit = f", {sizes.unit!r}" if sizes.unit and wanted.keep_properties else ""
        warnings.append(f"pixel size unknown: {doubt}{unit}; {NO_SIZE}")
    facts = {
        "mpp": sizes.mpp and list(sizes.mpp),
        "mpp_source": sizes.source if sizes.um else UNKNOWN,
        "objective_power": wanted.magnification or stated.objective_power,
        "bounds": _bounds(stated.properties),
        "properties": stated.properties if wanted.keep_properties else {},
    }
    return facts, warnings


def _too_large(mpp, shape):
    """Describe the slide that pixels of a size make, if no glass is so large; else return an empty text."""
    mm = max(size * side / 1000 for size, side in zip(mpp, shape, strict=True)) if mpp else 0
    if mm <= LARGEST_SLIDE_MM:
        return ""
    return f"{max(mpp):.3g} \xb5m a pixel, and so a slide of {mm:.0f} mm; expected at most {LARGEST_SLIDE_MM} mm"


def _bounds(properties):
    bounds = [number_or_none(properties.get(f"openslide.bounds-{key}")) for key in ("x", "y", "width", "height")]
    return None if None in bounds else [int(value) for value in bounds]


def _power(text):
    """Return a magnification as a number; None if it is none."""
    power = number_or_none(text)
    return power if power and power > 0 else None


def _ome_power(xml, number):
    """Return the nominal magnification of an image in OME metadata, as it is written there; None where none is."""
    try:
        root = ElementTree.fromstring(xml)
        settings = root.findall("{*}Image")[number].find("{*}ObjectiveSettings")
    except (ElementTree.ParseError, IndexError):
        return None
    objectives = root.iterfind("{*}Instrument/{*}Objective")
    powers = {objective.get("ID"): objective.get("NominalMagnification") for objective in objectives}
    return None if settings is None else powers.get(settings.get("ID"))
