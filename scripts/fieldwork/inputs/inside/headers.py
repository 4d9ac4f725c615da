"""Read from the heads of image files which channels are inside, and how large their tiles and strips are."""

import json
import math
import os
import re
import struct
from typing import NamedTuple

from fieldwork.inputs.inside import ome
from fieldwork.inputs.paths import open_file

COLOURS = ("red", "green", "blue")
DIRECTORY_BYTES, DESCRIPTION_BYTES = 2**16, 2**24  # more is a damaged file
MOST_PAGES = 2**16
TYPE_FORMATS = {1: "B", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}  # of numbers in a TIFF's tags
TAGS = {256: 0, 257: 0, 258: 1, 262: 1, 277: 1}  # width to samples of `TiffHeader` -> what they are without the tag
IMAGEJ_LENGTHS = {"C": rb"(?m)^channels=(\d+)", "T": rb"(?m)^frames=(\d+)"}
RGB, YCBCR = 2, 6  # values of PhotometricInterpretation
UNCOMPRESSED, JPEG_2000 = 1, (33003, 33004, 33005, 34712)  # values of Compression
# Width, height, bits, compression, samples, rows of a strip, sample planes, width and height of a tile.
SEGMENT_TAGS = {256: 0, 257: 0, 258: 1, 259: 1, 277: 1, 278: 2**32, 284: 1, 322: 0, 323: 0}
IMAGE_DEPTH = 32997
STRIP_TABLES, TILE_TABLES = (273, 279), (324, 325)  # offsets, numbers of bytes
SUB_PAGES = 330
RESTARTS, RESTART_ROWS = 65426, 8  # of Hamamatsu's NDPI: where the pieces of a page's one strip begin, and their height
LONGEST_PX = 4096  # a tile's or strip's longer side: several blocks of a slide have parts of a longer one
LARGEST_SEGMENT_PX = 2**28  # pixels of a tile or strip; more is a damaged header, or a slide of a single segment
MOST_COMPRESSED = 10**6  # bytes of pixels in one of a file; Zstandard, which repeats best, reaches 32,000
DECODED_COPIES, DECODED_COPIES_OF_JPEG_2000 = 3, 10  # as it is stored, decoded, without prediction; OpenJPEG's own


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
    with open_file(path) as file:
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
    with open_file(path) as file:
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
    with open_file(path) as file:
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
        with open_file(path) as file:
            return _tiff_header(file)
    except OverflowError:  # a position that no file has
        raise ValueError("a damaged TIFF file") from None


def _tiff_header(file):
    """Read what `tiff_header` returns from an open file."""
    form = _form(file)
    count, first = 0, None
    for directory in _directories(file, form):
        count, first = count + 1, first or directory
    if first is None:
        raise ValueError("a TIFF file without pages")
    tags = _tags(first, form)
    values = {code: _numbers(file, form, tags[code]) for code in (*TAGS, 338) if code in tags}
    _, length, start = tags.get(270, (0, 0, 0))
    description = b""
    if form.word.size < length <= DESCRIPTION_BYTES:
        file.seek(start)
        description = file.read(length).rstrip(b"\0")
    firsts = [(values.get(code) or [default])[0] for code, default in TAGS.items()]
    return TiffHeader(count, *firsts, values.get(338, []), description)


def decoding_mb(path: str | os.PathLike) -> float:
    """Return the memory that decoding a TIFF file's largest tile or strip takes, of those longer than `LONGEST_PX`.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    float
        MB: `DECODED_COPIES` of it. 0 where none is so long and compressed, and of other files. Those of more than
        `LARGEST_SEGMENT_PX` are not decoded.
    """
    try:
        with open_file(path) as file:
            form = _form(file)
            return max((_segment_mb(file, form, tags) for tags in _all_tags(file, form)), default=0)
    except (OSError, OverflowError, ValueError, struct.error):
        return 0  # the conversion says what is wrong with it


def lost_pixels(path: str | os.PathLike) -> str:
    """Describe pixels that a TIFF file states and cannot hold.

    Parameters
    ----------
    path : path-like

    Returns
    -------
    str
        Of the first page that lists fewer tiles or strips than its size needs, or that has `MOST_COMPRESSED` times as
        many bytes as the file; empty where no page does, and for other files.
    """
    try:
        with open(path, "rb") as file:
            form, size = _form(file), os.fstat(file.fileno()).st_size
            return next(filter(None, (_lost_pixels(file, form, tags, size) for tags in _all_tags(file, form))), "")
    except (OSError, OverflowError, ValueError, struct.error):
        return ""  # its reader says what is wrong with it


def _lost_pixels(file, form, tags, size):
    """Describe the pixels of a page that a file of `size` bytes cannot hold, as `lost_pixels` does."""
    width, height, bits, _, samples, rows, planes, breadth, length = _segment_numbers(file, form, tags)
    pixels = f"{width} x {height} px"
    is_tiled = breadth and length
    counts = [tags[code][1] for code in (TILE_TABLES if is_tiled else STRIP_TABLES) if code in tags]
    if width * height and rows and len(counts) == 2 and RESTARTS not in tags:
        across, down = (width / breadth, height / length) if is_tiled else (1, height / rows)
        needed = math.ceil(across) * math.ceil(down) * (samples if planes == 2 else 1)
        if (listed := min(counts)) < needed:
            return f"lists {listed} of {needed} {'tiles' if is_tiled else 'strips'}: its {pixels} need all of them"
        if is_tiled and listed > needed and IMAGE_DEPTH not in tags:
            return f"lists {listed} tiles, and says that it has {pixels}, which need {needed} of them"
    if width * height * samples * bits // 8 > MOST_COMPRESSED * size:
        return f"says that it has {pixels}, and is {size} bytes large: its header is damaged, or most of it is missing"
    return ""


def _all_tags(file, form):
    """Yield the tags of all pages of a TIFF file, and of the smaller ones that hang on them."""
    pages = list(_directories(file, form))
    for page in list(pages):
        tag = _tags(page, form).get(SUB_PAGES)
        for offset in _numbers(file, form, tag) if tag else []:
            pages += _directories(file, form, offset)
    return (_tags(page, form) for page in pages)


def _segment_numbers(file, form, tags):
    """Return the numbers of `SEGMENT_TAGS` of a page."""
    stated = (_numbers(file, form, tags[code]) if code in tags else [] for code in SEGMENT_TAGS)
    return [(numbers or [default])[0] for numbers, default in zip(stated, SEGMENT_TAGS.values(), strict=True)]


def _segment_mb(file, form, tags):
    """Return the memory that a tile or strip of a page takes, 0 where it is short or uncompressed."""
    width, height, bits, compression, samples, rows, planes, breadth, length = _segment_numbers(file, form, tags)
    is_tiled = breadth and length
    shape = (length, breadth) if is_tiled else (min(rows, height), width)
    if RESTARTS in tags:
        shape = RESTART_ROWS, math.ceil(height * width / RESTART_ROWS / max(tags[RESTARTS][1], 1))
    if max(shape) <= LONGEST_PX or (not is_tiled and compression == UNCOMPRESSED):
        return 0
    if math.prod(shape) > LARGEST_SEGMENT_PX:
        return 0
    copies = DECODED_COPIES_OF_JPEG_2000 if compression in JPEG_2000 else DECODED_COPIES
    return copies * math.prod(shape) * (samples if planes == 1 else 1) * math.ceil(bits / 8) / 1e6


class _Form(NamedTuple):
    """The numbers of a TIFF file."""

    order: str
    word: struct.Struct
    counter: struct.Struct
    entry: struct.Struct


def _form(file):
    """Read the form of a TIFF file's numbers from its first bytes."""
    head = file.read(16)
    order = {b"II": "<", b"MM": ">"}.get(head[:2])
    if order is None or head[2:4] not in (b"*\0", b"\0*", b"+\0", b"\0+"):
        raise ValueError("no TIFF file")
    codes = ("Q", "Q", "HHQQ") if b"+" in head[2:4] else ("I", "H", "HHII")
    return _Form(order, *(struct.Struct(order + code) for code in codes))


def _directories(file, form, offset=None):
    """Yield the directories of a TIFF file, from its first page or from an offset on, as bytes."""
    if offset is None:
        file.seek(form.word.size)
        (offset,) = form.word.unpack(file.read(form.word.size))
    seen = set()
    while offset and offset not in seen and len(seen) < MOST_PAGES:
        seen.add(offset)
        file.seek(offset)
        (tags,) = form.counter.unpack(file.read(form.counter.size))
        directory = file.read(min(tags * form.entry.size, DIRECTORY_BYTES))
        file.seek(offset + form.counter.size + tags * form.entry.size)
        (offset,) = form.word.unpack(file.read(form.word.size).ljust(form.word.size, b"\0"))
        yield directory


def _tags(directory, form):
    """Return the tags of a directory: code -> type, number of values, field."""
    entries = form.entry.iter_unpack(directory[: len(directory) // form.entry.size * form.entry.size])
    return {code: (kind, count, value) for code, kind, count, value in entries}


def _numbers(file, form, tag):
    """Return the numbers of a tag, whose field holds them if they are small, and else their place."""
    kind, count, value = tag
    numbers = struct.Struct(f"{form.order}{min(count, 64)}{TYPE_FORMATS.get(kind, 'B')}")
    content = form.word.pack(value)
    if numbers.size > form.word.size:
        file.seek(value)
        content = file.read(numbers.size)
    return list(numbers.unpack_from(content.ljust(numbers.size, b"\0")))
