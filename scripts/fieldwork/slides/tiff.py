"""Read the metadata of a TIFF slide."""

from xml.etree import ElementTree

import tifffile
from tifffile.tifffile import svs_description_metadata

from fieldwork.pixel_sizes import OME_UNITS_UM, likely_mpp, number_or_none


def metadata_of(
    tif: tifffile.TiffFile, page: tifffile.TiffPage, image: int
) -> tuple[dict[str, str], tuple[float, float] | None, float | None]:
    """Return properties, (y, x) micrometres per pixel and objective power as a TIFF file states them.

    Parameters
    ----------
    tif : tifffile.TiffFile
    page : tifffile.TiffPage
        The first of the slide's level 0.
    image : int
        The slide's number among the images of OME metadata.
    """
    properties, mpp = {}, None
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
        mpp, power = _ome_metadata(tif.ome_metadata, image)
    unit = {2: 25400, 3: 10000}.get(page.resolutionunit)
    if mpp is None and unit:
        mpp = [unit / value if value else 0 for value in page.resolution[::-1]]
    return properties, likely_mpp(mpp), number_or_none(power)


def _ome_metadata(xml, number):
    """Return (y, x) micrometres per pixel and the objective power of an image; None where they are not stated."""
    try:
        root = ElementTree.fromstring(xml)
        image = root.findall("{*}Image")[number]
    except (ElementTree.ParseError, IndexError):
        return None, None
    pixels = image.find("{*}Pixels")
    if pixels is None:
        return None, None
    units = [OME_UNITS_UM.get(pixels.get(f"PhysicalSize{axis}Unit", "\xb5m"), 0) for axis in "YX"]
    sizes = [number_or_none(pixels.get(f"PhysicalSize{axis}")) or 0 for axis in "YX"]
    settings = image.find("{*}ObjectiveSettings")
    objectives = root.iterfind("{*}Instrument/{*}Objective")
    powers = {objective.get("ID"): objective.get("NominalMagnification") for objective in objectives}
    mpp = [size * unit for size, unit in zip(sizes, units, strict=True)]
    return mpp if all(mpp) else None, powers.get(settings.get("ID")) if settings is not None else None
