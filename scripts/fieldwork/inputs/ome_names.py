"""The names of channels that OME-TIFF files state. Imports nothing of the library: jobs take it, too."""

import os
import struct
from xml.etree import ElementTree

IMAGE_DESCRIPTION = 270  # TIFF 6.0's tag, which holds OME's metadata
DIRECTORY_BYTES, DESCRIPTION_BYTES = 2**16, 2**24  # more is a damaged file


def ome_channels(path: str | os.PathLike) -> list[str]:
    """Read the names of the channels that an OME-TIFF file states.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    list of str
        In the order of the channels; empty where one has no name, where two have the same, and for other TIFF files and
        those that are one of a set, whose metadata is about all of them.

    Raises
    ------
    OSError, ValueError, struct.error
        The file cannot be read, or is no TIFF.
    """
    description = _image_description(path)
    if b"<OME" not in description[:4096]:
        return []
    try:
        pixels = ElementTree.fromstring(description).find("{*}Image/{*}Pixels")
    except ElementTree.ParseError as error:
        raise ValueError("its OME metadata cannot be read") from error
    if pixels is None:
        return []
    files = {uuid.get("FileName", "").lower() for uuid in pixels.iterfind("{*}TiffData/{*}UUID")}
    names = [channel.get("Name", "") for channel in pixels.iterfind("{*}Channel")]
    if not all(map(str.strip, names)) or len({name.lower() for name in names}) < len(names):
        return []
    return names if files <= {os.path.basename(path).lower()} else []


def _image_description(path):
    """Read the description of a TIFF file's first page; no bytes where it has none."""
    with open(path, "rb") as file:
        head = file.read(16)
        order = {b"II": "<", b"MM": ">"}.get(head[:2])
        if order is None or head[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
            raise ValueError("no TIFF file")
        word, counter, entry = ("Q", "Q", "HHQQ") if b"+" in head[2:4] else ("I", "H", "HHII")
        word, counter, entry = (struct.Struct(order + code) for code in (word, counter, entry))
        file.seek(word.unpack_from(head, word.size)[0])
        (tags,) = counter.unpack(file.read(counter.size))
        directory = file.read(min(tags * entry.size, DIRECTORY_BYTES))
        for code, _, count, value in entry.iter_unpack(directory[: len(directory) // entry.size * entry.size]):
            if code == IMAGE_DESCRIPTION and word.size < count <= DESCRIPTION_BYTES:
                file.seek(value)
                return file.read(count).rstrip(b"\0")
    return b""
