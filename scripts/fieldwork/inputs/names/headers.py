"""Read the size of an image from the first bytes of its file."""

import os
import struct
from typing import NamedTuple

_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG's markers SOF0 to SOF15
_MOST_JPEG_BYTES = 1 << 20  # before the size: metadata, and a small picture in it
_MOST_TIFF_TAGS = 4096
_TIFF_NUMBERS = {3: "H", 4: "I", 16: "Q"}  # SHORT, LONG, LONG8
_TIFF_CODES = {256: "width", 257: "height", 258: "bits"}


class Size(NamedTuple):
    """Columns, rows, and bits of a pixel's number, as a file's header states them."""

    width: int
    height: int
    bits: int


def size_of(path: str | os.PathLike) -> Size | None:
    """Return the size of a TIFF, PNG, BMP or JPEG file; None where it cannot be read."""
    try:
        with open(path, "rb") as file:
            head = file.read(32)
            if head[:2] in (b"II", b"MM"):
                return _of_tiff(file, head)
            if head[:8] == b"\x89PNG\r\n\x1a\n":
                return Size(*struct.unpack_from(">IIB", head, 16))
            if head[:2] == b"BM":
                width, height = struct.unpack_from("<ii", head, 18)
                return Size(width, abs(height), 8)
            if head[:2] == b"\xff\xd8":
                return _of_jpeg(file)
    except (OSError, OverflowError, ValueError, KeyError, struct.error):
        pass
    return None


def _of_tiff(file, head):
    order = "<" if head[:2] == b"II" else ">"
    is_big = struct.unpack_from(order + "H", head, 2)[0] == 43
    word, counter, entry = ("Q", "Q", "HHQ8s") if is_big else ("I", "H", "HHI4s")
    file.seek(struct.unpack_from(order + word, head, 8 if is_big else 4)[0])
    (tags,) = struct.unpack(order + counter, file.read(struct.calcsize(order + counter)))
    if tags > _MOST_TIFF_TAGS:
        return None
    entry = struct.Struct(order + entry)
    texts = {}
    for code, kind, count, value in entry.iter_unpack(file.read(tags * entry.size)):
        if code in _TIFF_CODES:
            number = _TIFF_NUMBERS[kind]
            if count * struct.calcsize(number) > len(value):  # the bits of several colours
                file.seek(struct.unpack(order + word, value)[0])
                value = file.read(8)
            (texts[_TIFF_CODES[code]],) = struct.unpack_from(order + number, value)
    return Size(**{"bits": 1, **texts}) if {"width", "height"} <= texts.keys() else None


def _of_jpeg(file):
    file.seek(2)
    while file.tell() < _MOST_JPEG_BYTES:
        mark, code, length = struct.unpack(">BBH", file.read(4))
        if mark != 0xFF:
            return None
        if code in _FRAME_HEADERS:
            bits, height, width = struct.unpack(">BHH", file.read(5))
            return Size(width, height, bits)
        file.seek(length - 2, os.SEEK_CUR)
    return None
