"""Read OME metadata: the images of a TIFF file, the names of their channels, and which page is which plane."""

import functools
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from xml.etree import ElementTree

from fieldwork import FrameError

MOST_PLANES = 2**20  # more is a damaged file
COMPANION = ".companion.ome"  # the end of the name of a file that has the metadata of a set of images


class OmeImage(NamedTuple):
    """An image of the metadata that has planes in the file."""

    number: int  # among the images of the metadata, from 0
    axes: str  # T, Z and C, slowest first
    sizes: list[int]
    names: list[str]  # of the channels; their numbers from 1 where the metadata name none
    pages: list[int | None]  # of each plane, in the order of the axes; None: not in this file
    elsewhere: set[int]  # planes that are in another file of the set
    undescribed: set[int]  # channels of which the metadata place no plane in any file

    @property
    def missing_planes(self) -> dict[int, list[dict[str, int]]]:
        """The planes that are in no file, by channel: where they should be, as axis -> index from 0."""
        of_channels = defaultdict(list)
        for index, page in enumerate(self.pages):
            if page is None and index not in self.elsewhere:
                position = dict(zip(self.axes, _position(index, self.sizes), strict=True))
                of_channels[position["C"]].append(position)
        return dict(of_channels)

    def missing(self, channel: int) -> str:
        """Describe which planes of a channel no file has; an empty text where none is missing.

        Parameters
        ----------
        channel : int
            From 0.
        """
        of_channels = self.missing_planes
        if channel not in of_channels:
            return ""
        planes = math.prod(self.sizes) // self.sizes[self.axes.index("C")]
        listed = [
            f"none of {self.names[number]}"
            if len(positions) == planes
            else f"of {self.names[number]} not {', '.join(_moment(position, self) for position in positions[:6])}"
            + f" and {len(positions) - 6} more" * (len(positions) > 6)
            for number, positions in sorted(of_channels.items(), key=lambda item: item[0] != channel)
        ]
        there = len(self.pages) - sum(map(len, of_channels.values()))
        return f"{there} of {len(self.pages)} planes are there: {'; '.join(listed[:4])}"


def images_of(xml: str, path: str | os.PathLike, pages: int) -> list[OmeImage]:
    """Read which images the OME metadata of a TIFF file describe.

    Parameters
    ----------
    xml : str
        OME metadata. If they only name a companion file, that is read.
    path : path-like
        Of the TIFF file.
    pages : int
        Number of its pages.

    Returns
    -------
    list of OmeImage
        Those with planes in this file. Empty if the metadata cannot be parsed, or describe no plane of it.

    Raises
    ------
    FrameError
        The companion file is absent or unreadable; or the metadata have more than `MOST_PLANES` planes, modulo axes,
        planes outside of their own axes, or several planes of one page.
    """
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return []
    uuid, described = root.get("UUID"), _described(root, path)
    if any("ModuloAlong" in element.tag for element in described.iter()):
        raise FrameError("OME metadata of modulo axes, such as lifetimes or angles: not supported")
    elements = [(image, image.find("{*}Pixels")) for image in described.iterfind("{*}Image")]
    elements = [(number, pixels) for number, (_, pixels) in enumerate(elements) if pixels is not None]
    files = {
        (child.text, child.get("FileName"))
        for _, pixels in elements
        for child in pixels.iterfind("{*}TiffData/{*}UUID")
    }
    name = os.path.basename(path).lower()
    called = {file for file in files if (file[1] or "").lower() == name}
    own = {file for file in files if uuid and file[0] == uuid}
    own = (own & called or own) if own else called  # files that were renamed may have each other's names
    if not own and not uuid and len({file[0] for file in files}) == 1:  # a file of its own, under another name
        own = files
    alone = described is root  # of a set's companion, each block names its file
    images = [
        _image(number, pixels, own, pages, alone=alone)
        for number, pixels in elements
        if any(_is_own(block, own, alone=alone) for block in pixels.iterfind("{*}TiffData"))
    ]
    return [image for image in images if any(page is not None for page in image.pages)]


def parsed(xml: str, path: str | os.PathLike) -> ElementTree.Element:
    """Return the root of OME metadata; of those that only name a companion file, the root of that.

    Parameters
    ----------
    xml : str
        OME metadata that can be parsed.
    path : path-like
        Of the TIFF file.

    Raises
    ------
    FrameError
        The companion file is absent or unreadable.
    """
    return _described(ElementTree.fromstring(xml), path)


def files_named(xml: str) -> list[str]:
    """Return the names of the files that OME metadata name: those of a set, and a companion file."""
    try:
        root = ElementTree.fromstring(xml)
    except ElementTree.ParseError:
        return []
    names = [child.get("FileName") for child in root.iterfind("{*}Image/{*}Pixels/{*}TiffData/{*}UUID")]
    names += [only.get("MetadataFile") for only in root.iterfind("{*}BinaryOnly")]
    return list(dict.fromkeys(os.path.basename(name) for name in names if name))


def companion_of(xml: str, path: str | os.PathLike) -> str | None:
    """Return the path of the file that has the metadata of a TIFF file in a set; None where it has its own, or none."""
    try:
        only = ElementTree.fromstring(xml).find("{*}BinaryOnly")
        return None if only is None else _companion_path(only.get("MetadataFile", ""), os.fspath(path))
    except (ElementTree.ParseError, FrameError):
        return None


def _described(root, path):
    """Return the root of the metadata of a TIFF file: its own, or its companion file's."""
    if (only := root.find("{*}BinaryOnly")) is None:
        return root
    companion = _companion_path(only.get("MetadataFile", ""), os.fspath(path))
    try:
        return _parsed(companion, os.stat(companion).st_mtime_ns)
    except (OSError, ElementTree.ParseError) as error:
        raise FrameError(f"its OME metadata are in {companion!r}, which cannot be read: {error}") from None


def _companion_path(name, path):
    """Return the path of a set's metadata file: the one of this name beside the image, or the only one there."""
    folder = os.path.dirname(path)
    companion = os.path.join(folder, os.path.basename(name))
    if os.path.isfile(companion):
        return companion
    others = [entry for entry in os.listdir(folder or ".") if entry.lower().endswith(COMPANION)]
    if len(others) != 1:
        raise FrameError(f"its OME metadata are in {name!r}, which is not beside it: put it there")
    return os.path.join(folder, others[0])


@functools.lru_cache(maxsize=2)  # every image of a plate may ask for it
def _parsed(companion, _):
    return ElementTree.parse(companion).getroot()


def _is_own(block, own, *, alone):
    """Return True if a block of metadata is about this file; `own` and `alone` as for `_image`."""
    child = block.find("{*}UUID")
    return alone if child is None else (child.text, child.get("FileName")) in own


def _image(number, pixels, own, pages, *, alone):
    """Return an image; `own`: UUID and file name of this file; `alone`: a block without a UUID is about this file."""
    blocks = pixels.findall("{*}TiffData")
    axes = pixels.get("DimensionOrder", "XYZCT")[:1:-1]
    sizes = [int(pixels.get(f"Size{axis}", 1)) for axis in axes]
    counts = [int(block.get(name, 0)) for block in blocks for name in ("NumPlanes", "PlaneCount")]
    if sorted(axes) != ["C", "T", "Z"] or min(sizes) < 1:
        raise FrameError(f"OME metadata of axes {axes} and sizes {sizes}; expected C, T and Z, each at least 1")
    if (most := max([math.prod(sizes), *counts])) > MOST_PLANES:
        raise FrameError(f"OME metadata of {most} planes; at most {MOST_PLANES} are supported")
    channels = pixels.findall("{*}Channel")
    colours = int(channels[0].get("SamplesPerPixel", 1)) if channels else 1
    sizes[axes.index("C")] = max(1, sizes[axes.index("C")] // colours)
    numbers, elsewhere, placed, plane_of = [None] * math.prod(sizes), set(), set(), {}
    for block in blocks:
        is_own = _is_own(block, own, alone=alone)
        position = [int(block.get(f"First{axis}", 0)) for axis in axes]
        page = int(block.get("IFD", 0))
        if page < 0 or not all(0 <= index < size for index, size in zip(position, sizes, strict=True)):
            if not is_own:
                continue
            raise FrameError(f"OME metadata of page {page} for plane {position} of {sizes}")
        start = _number(position, sizes)
        fallback = 1 if "IFD" in block.attrib else len(numbers)
        count = min(int(block.get("PlaneCount", block.get("NumPlanes", fallback))), len(numbers) - start)
        placed.update(range(start, start + count))
        if not is_own:
            elsewhere.update(range(start, start + count))
            continue
        for plane, at in zip(range(start, start + count), range(page, pages), strict=False):
            if numbers[plane] not in (None, at) or plane_of.setdefault(at, plane) != plane:
                raise FrameError(f"OME metadata in which page {at} is of several planes, or a plane of several pages")
            numbers[plane] = at
    if elsewhere:  # nor does a set of files lack a plane in this one that it places in none
        elsewhere.update(set(range(len(numbers))) - placed)
    elsewhere -= {index for index, page in enumerate(numbers) if page is not None}
    names = [channel.get("Name", "").strip() for channel in channels]
    names = [name or str(index) for index, name in enumerate(names, 1)]
    names += [str(index) for index in range(len(names) + 1, sizes[axes.index("C")] + 1)]
    channels = {_position(index, sizes)[axes.index("C")] for index in placed}
    undescribed = set(range(sizes[axes.index("C")])) - channels
    return OmeImage(number, axes, sizes, names[: sizes[axes.index("C")]], numbers, elsewhere, undescribed)


def _number(position: Sequence[int], sizes: Sequence[int]) -> int:
    """Return the number of planes before a position."""
    number = 0
    for index, size in zip(position, sizes, strict=True):
        number = number * size + index
    return number


def _position(number, sizes):
    """Return the position of a plane by its number."""
    position = []
    for size in reversed(sizes):
        number, index = divmod(number, size)
        position.append(index)
    return position[::-1]


def _moment(position, image):
    """Return a plane's z and time point for people, where the image has several."""
    words = {"Z": "z", "T": "t"}
    sizes = dict(zip(image.axes, image.sizes, strict=True))
    moment = [f"{word} {position[axis] + 1}" for axis, word in words.items() if sizes[axis] > 1]
    return " ".join(moment) or "its plane"
