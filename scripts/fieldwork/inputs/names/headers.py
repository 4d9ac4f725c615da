"""Read the size of an image from the first bytes of its file."""

import os
import struct
from typing import NamedTuple

from fieldwork.inputs.inside.headers import tiff_header
from fieldwork.inputs.paths import open_file

_FRAME_HEADERS = {*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC}  # JPEG's markers SOF0 to SOF15
_MOST_JPEG_BYTES = 1 << 20  # before the size: metadata, and a small picture in it


class Size(NamedTuple):
    """Columns, rows, and bits of a pixel's number, as a file's header states them."""

    width: int
    height: int
    bits: int


def size_of(path: str | os.PathLike) -> Size | None:
    """Return the size of a TIFF, PNG, BMP or JPEG file; None where it cannot be read."""
    try:
        with open_file(path) as file:
            head = file.read(32)
            if head[:2] in (b"II", b"MM"):
                tiff = tiff_header(path)
                return Size(tiff.width, tiff.height, tiff.bits) if tiff.width and tiff.height else None
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
