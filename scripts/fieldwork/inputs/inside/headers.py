"""Read from the heads of image files which channels are inside."""

import json
import os
import re
import struct
from typing import NamedTuple

from fieldwork.inputs.inside import ome

COLOURS = ("red", "green", "blue")
DIRECTORY_BYTES, DESCRIPTION_BYTES = 2**16, 2**24  # more is a damaged file
MOST_PAGES = 2**16
TYPE_FORMATS = {1: "B", 3: "H", 4: "I", 16: "Q"}  # of numbers in a TIFF's tags
TAGS = {256: 0, 257: 0, 258: 1, 262: 1, 277: 1}  # width to samples of `TiffHeader` -> what they are without the tag
IMAGEJ_LENGTHS = {"C": rb"(?m)^channels=(\d+)", "T": rb"(?m)^frames=(\d+)"}
RGB, YCBCR = 2, 6  # values of PhotometricInterpretation


class TiffHeader(NamedTuple):
    """The first page of a TIFF file, and the number of all."""

    pages: int
    width: int  # 0 where the page does not state it, as of the height
    height: int
    bits: int  # of a sample
    photometric: int
    samples: int
    extra_samples: list[int]  # what samples beyond grey or RGB are: 1 and 2 are alpha
    description: bytes


def channels_in(path: str | os.PathLike, *, pages_are: str = "") -> list[str]:
    """Return the names of the channels in an image file, as `frames.read` knows them.

    Parameters
    ----------
    path : path-like
    pages_are : {'', 'z', 'c', 't'}
        What pages and samples are of which the file does not say it.

    Returns
    -------
    list of str
        In the order of the channels: those of OME metadata; red, green and blue; 1, 2 and so on of channels without
        names. Of a file with one channel, or of unknown ones, none.

    Raises
    ------
    OSError, ValueError, struct.error
        The file cannot be read, or its metadata cannot.
    """
    with open(path, "rb") as file:
        head = file.read(32)
    if head[:2] not in (b"II", b"MM"):
        return list(COLOURS) if _has_colours(path, head) else []
    tiff = tiff_header(path)
    if b"<OME" in tiff.description[:4096]:
        images = ome.images_of(tiff.description.decode("utf-8", "replace"), path, tiff.pages)
        if len(images) == 1:
            return images[0].names if len(images[0].names) > 1 or images[0].names != ["1"] else []
    alpha = sum(kind in (1, 2) for kind in tiff.extra_samples) or int(tiff.photometric == RGB and tiff.samples == 4)
    if tiff.photometric in (RGB, YCBCR) and tiff.samples - alpha == 3:
        return list(COLOURS)
    count = _described(tiff.description, "C")
    if count < 2 and pages_are == "c" and not _is_described(tiff.description):
        count = min(max(tiff.pages, tiff.samples - alpha), MOST_PAGES)
    return [str(number) for number in range(1, count + 1)] if count > 1 else []


def timepoints_in(path: str | os.PathLike, *, pages_are: str = "") -> int:
    """Return the number of time points that an image file states, as `frames.read` knows them; 1 where it states none.

    Parameters
    ----------
    path : path-like
    pages_are : {'', 'z', 'c', 't'}
        As for `channels_in`.

    Raises
    ------
    OSError, ValueError, struct.error
        The file cannot be read, or its metadata cannot.
    """
    with open(path, "rb") as file:
        if file.read(2) not in (b"II", b"MM"):
            return 1
    tiff = tiff_header(path)
    if b"<OME" in tiff.description[:4096]:
        images = ome.images_of(tiff.description.decode("utf-8", "replace"), path, tiff.pages)
        if images:
            return max(image.sizes[image.axes.index("T")] for image in images)
    count = _described(tiff.description, "T")
    if count < 2 and pages_are == "t" and not _is_described(tiff.description):
        count = max(tiff.pages, tiff.samples if tiff.photometric not in (RGB, YCBCR) else 1)
    return max(1, count)


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
    tiff = tiff_header(path)
    if b"<OME" not in tiff.description[:4096]:
        return []
    images = ome.images_of(tiff.description.decode("utf-8", "replace"), path, tiff.pages)
    if len(images) != 1:
        return []
    names, elsewhere = images[0].names, images[0].elsewhere
    unnamed = any(name == str(number) for number, name in enumerate(names, 1))
    if unnamed or elsewhere or len({name.lower() for name in names}) < len(names):
        return []
    return names


def _is_described(description):
    """Return True if a description names the axes of its file's pages."""
    return description.startswith(b"ImageJ=") and bool(re.search(rb"(?m)^(slices|frames)=", description))


def _described(description, axis):
    """Return the length of an axis, C or T, that a description by ImageJ or tifffile states; 0 if it states none."""
    if description.startswith(b"ImageJ=") and (stated := re.search(IMAGEJ_LENGTHS[axis], description)):
        return min(int(stated[1]), MOST_PAGES)
    if description.startswith(b"{") and b'"axes"' in description:
        try:
            described = json.loads(description)
            count = dict(zip(described["axes"], described["shape"], strict=True)).get(axis, 0)
            return min(int(count), MOST_PAGES)
        except (ValueError, KeyError, TypeError, OverflowError, RecursionError):
            return 0
    return 0


def _has_colours(path, head):
    """Return True if a PNG, JPEG or BMP file that begins with `head` is in colour, without a palette."""
    if len(head) < 32:  # not even its header
        return False
    if head.startswith(b"\x89PNG"):
        return head[25] & 3 == 2
    if head.startswith(b"BM"):
        return head[28] in (24, 32)
    if not head.startswith(b"\xff\xd8"):
        return False
    with open(path, "rb") as file:
        file.seek(2)
        while len(marker := file.read(4)) == 4 and marker[0] == 0xFF:
            (length,) = struct.unpack(">H", marker[2:])
            if 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):  # the start of a frame
                return file.read(6)[5:] == b"\3"
            file.seek(length - 2, os.SEEK_CUR)
    return False


def tiff_header(path: str | os.PathLike) -> TiffHeader:
    """Read the first page's tags of a TIFF file, and count its pages.

    Parameters
    ----------
    path : path-like

    Raises
    ------
    OSError, ValueError, struct.error
        The file cannot be read, or is no TIFF.
    """
    try:
        with open(path, "rb") as file:
            return _tiff_header(file)
    except OverflowError:  # a position that no file has
        raise ValueError("a damaged TIFF file") from None


def _tiff_header(file):
    """Read what `tiff_header` returns from an open file."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or head[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
        raise ValueError("no TIFF file")
    word, counter, entry = ("Q", "Q", "HHQQ") if b"+" in head[2:4] else ("I", "H", "HHII")
    word, counter, entry = (struct.Struct(order + code) for code in (word, counter, entry))
    (offset,) = word.unpack_from(head, word.size)
    first, seen = None, set()
    while offset and offset not in seen and len(seen) < MOST_PAGES:
        seen.add(offset)
        file.seek(offset)
        (tags,) = counter.unpack(file.read(counter.size))
        directory = file.read(min(tags * entry.size, DIRECTORY_BYTES))
        file.seek(offset + counter.size + tags * entry.size)
        (offset,) = word.unpack(file.read(word.size).ljust(word.size, b"\0"))
        first = first or directory
    if first is None:
        raise ValueError("a TIFF file without pages")
    tags = {
        code: (kind, count, value)
        for code, kind, count, value in entry.iter_unpack(first[: len(first) // entry.size * entry.size])
    }
    values = {code: _numbers(file, order, word, tags[code]) for code in (*TAGS, 338) if code in tags}
    _, count, start = tags.get(270, (0, 0, 0))
    description = b""
    if word.size < count <= DESCRIPTION_BYTES:
        file.seek(start)
        description = file.read(count).rstrip(b"\0")
    firsts = [(values.get(code) or [default])[0] for code, default in TAGS.items()]
    return TiffHeader(len(seen), *firsts, values.get(338, []), description)


def _numbers(file, order, word, tag):
    """Return the numbers of a tag, whose field holds them if they are small, and else their place."""
    kind, count, value = tag
    form = struct.Struct(f"{order}{min(count, 64)}{TYPE_FORMATS.get(kind, 'B')}")
    content = word.pack(value)
    if form.size > word.size:
        file.seek(value)
        content = file.read(form.size)
    return list(form.unpack_from(content.ljust(form.size, b"\0")))
