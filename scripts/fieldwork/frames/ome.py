"""OME metadata in TIFF files."""

import math
from xml.etree import ElementTree

from fieldwork import FrameError


def own_ome(xml: str, name: str) -> tuple[str | None, list[str]]:
    """Reduce the OME metadata of a set of files to one file.

    Parameters
    ----------
    xml : str
        OME metadata.
    name : str
        Of the file.

    Returns
    -------
    xml : str or None
        The metadata of this file's planes; None if they cannot be parsed.
    names : list of str
        The channels' names in lower case.

    Raises
    ------
    FrameError
        The metadata has more than 2**20 planes, or modulo axes.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return None, []
    names = []
    for pixels in root.iterfind("{*}Image/{*}Pixels"):
        blocks = pixels.findall("{*}TiffData")
        declared = [math.prod(int(pixels.get("Size" + axis, 1)) for axis in "CZT")]
        declared += [int(block.get(count, 0)) for block in blocks for count in ("NumPlanes", "PlaneCount")]
        if max(declared) > 2**20 or "ModuloAlong" in xml:
            raise FrameError(f"OME metadata of {max(declared)} planes, or with modulo axes: not supported")
        for block in blocks:
            uuid = block.find("{*}UUID")
            if uuid is None:
                continue
            if uuid.text == root.get("UUID") or uuid.get("FileName", "").lower() == name.lower():
                block.remove(uuid)
            else:
                pixels.remove(block)  # tifffile would open that file, or return zeros if it is absent
        if not names and pixels.find("{*}TiffData") is not None:
            names = [element.get("Name", "").lower() for element in pixels.iterfind("{*}Channel")]
    return ElementTree.tostring(root, encoding="unicode"), names
